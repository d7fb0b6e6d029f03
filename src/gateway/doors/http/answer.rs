//! Answers: a status, a body, and the common headers.

use std::borrow::Cow;

use embedded_svc::http::Method;
use embedded_svc::http::server::asynch::Connection;
use serde::Serialize;

/// Content types.
pub const JSON: &str = "application/json";
pub const BYTES: &str = "application/octet-stream";
/// The type of a submitted HTML form.
pub const FORM: &str = "application/x-www-form-urlencoded";
pub const TEXT: &str = "text/plain; charset=utf-8";

/// The page's content security policy: own resources only, no framing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Headers of every answer. They forbid caching, type sniffing, framing, window handles and loading
/// by other sites, and hide the referrer.
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

/// A refusal with its reason.
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
    /// Creates an answer with these bytes.
    pub fn new(status: u16, kind: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status, kind, body: body.into(), headers: Vec::new() }
    }

    /// Creates an answer with text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::new(status, TEXT, text.into().into_bytes())
    }

    /// Creates an answer with JSON.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(mut bytes) => {
                bytes.push(b'\n');
                Self::new(status, JSON, bytes)
            }
            Err(error) => Self::text(500, format!("{error}\n")),
        }
    }

    /// Redirects to another path of ours with GET (303).
    pub fn see(path: &str) -> Self {
        Self::text(303, "").with("location", path.to_owned())
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Writes the answer to a connection.
    ///
    /// # Errors
    ///
    /// The connection's error.
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
    /// Creates a fault; `text` is lower case, without a full stop.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), headers: Vec::new() }
    }

    /// Returns the reason.
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
