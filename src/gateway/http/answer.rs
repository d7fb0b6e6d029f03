//! What is answered: a status, a body, and the headers that every answer has.

use std::borrow::Cow;

use embedded_svc::http::Method;
use embedded_svc::http::server::asynch::Connection;
use serde::Serialize;

/// The types of our bodies.
pub const JSON: &str = "application/json";
pub const BYTES: &str = "application/octet-stream";
/// What a form of a page sends.
pub const FORM: &str = "application/x-www-form-urlencoded";
pub const TEXT: &str = "text/plain; charset=utf-8";

/// What a page of ours may do: load what is ours and nothing else, from nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Headers of every answer: it shows a moment, so a copy is of no use; other sites must neither
/// guess at its type, nor frame it, nor hold its window, nor load it, nor learn from where they
/// were called.
pub const COMMON: [(&str, &str); 7] = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("content-security-policy", POLICY),
];

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    kind: &'static str,
    body: Cow<'static, [u8]>,
    headers: Vec<(&'static str, String)>,
}

/// Why something was not done, as a sentence.
pub struct Fault {
    /// The status of its answer.
    pub status: u16,
    /// Lower case, without a full stop.
    pub text: String,
    headers: Vec<(&'static str, String)>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

impl Answer {
    /// Makes an answer of bytes.
    pub fn new(status: u16, kind: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status, kind, body: body.into(), headers: Vec::new() }
    }

    /// Makes an answer of text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::new(status, TEXT, text.into().into_bytes())
    }

    /// Makes an answer of JSON.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(mut bytes) => {
                bytes.push(b'\n');
                Self::new(status, JSON, bytes)
            }
            Err(error) => Self::text(500, format!("{error}\n")),
        }
    }

    /// Leads to another path of ours, which is asked for by GET.
    pub fn see(path: &str) -> Self {
        Self::text(303, "").with("location", path.to_owned())
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Writes the answer.
    ///
    /// # Errors
    ///
    /// What the connection says.
    pub async fn write<C: Connection>(self, connection: &mut C) -> Result<(), C::Error> {
        let length = self.body.len().to_string();
        let mut headers = vec![("content-type", self.kind), ("content-length", &length)];
        headers.extend(COMMON);
        headers.extend(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let is_head = connection.method() == Method::Head;
        connection.initiate_response(self.status, None, &headers).await?;
        if !is_head {
            connection.write_all(&self.body).await?;
        }
        connection.flush().await
    }
}

impl Fault {
    /// Makes a fault; `text` is lower case, without a full stop.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), headers: Vec::new() }
    }

    /// Returns the sentence.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<Fault> for Answer {
    fn from(fault: Fault) -> Self {
        let answer = Self::json(fault.status, &ErrorBody { error: &fault.text });
        Self { headers: fault.headers, ..answer }
    }
}
