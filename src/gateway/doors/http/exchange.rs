//! The adapter between hyper and embedded-svc's traits: one request and its answer.
//!
//! A request is read whole before it is answered, except a file, which its handler reads in pieces.
//! An answer is complete before it is sent. Both have length limits (F74). Handlers see only the
//! traits, so they can move to a board with another HTTP server.

use std::fmt;

use embedded_svc::http::server::asynch::Connection;
use embedded_svc::http::{Headers, Method, Query};
use embedded_svc::io::asynch::{Read, Write};
use embedded_svc::io::{Error, ErrorKind, ErrorType};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use loka_stratum::limits::{HTTP_ANSWER_BYTES_MAX, HTTP_BODY_BYTES_MAX};
use tokio::time::timeout;

use super::STEP;
use super::guard::CSRF;

/// A request and the answer being written.
pub struct Exchange {
    head: Head,
    body: Body,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    answer: Vec<u8>,
}

/// Method, path and headers of a request.
pub struct Head {
    method: Method,
    uri: String,
    headers: hyper::HeaderMap,
}

/// The part of a request's body that the handler has not read.
pub struct Body {
    here: Bytes,
    /// The part still on the network.
    coming: Option<Incoming>,
}

/// A refusal before the handler runs: the status, and a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub StatusCode, pub &'static str);

/// A stand-in: an exchange gives no raw connection.
pub struct Raw;

/// An error between a handler and its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeError {
    /// The answer exceeds the limit.
    AnswerTooLong,
    /// The answer was begun twice, or written before it was begun.
    Order,
    /// The handler requested the raw connection.
    NoRawConnection,
    /// The body ended early or came too slowly.
    BodyLost,
}

impl Exchange {
    /// Reads a whole request.
    ///
    /// # Errors
    ///
    /// The answer to send: the request is too long or unreadable.
    pub async fn read(request: Request<Incoming>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let limited = Limited::new(body, HTTP_BODY_BYTES_MAX);
        let body = limited.collect().await.map_err(|error| {
            let is_too_long = error.downcast_ref::<LengthLimitError>().is_some();
            if is_too_long {
                Refusal(StatusCode::PAYLOAD_TOO_LARGE, "body: got more than is allowed")
            } else {
                Refusal(StatusCode::BAD_REQUEST, "body: it did not come to its end")
            }
        })?;
        Self::new(parts, Body { here: body.to_bytes(), coming: None })
    }

    /// Takes a request whose body the handler reads in pieces.
    ///
    /// # Errors
    ///
    /// The answer to send: the head is refused.
    pub fn begin(request: Request<Incoming>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        Self::new(parts, Body { here: Bytes::new(), coming: Some(body) })
    }

    fn new(parts: Parts, body: Body) -> Result<Self, Refusal> {
        check(&parts)?;
        let method = method(&parts.method);
        let uri = parts.uri.path_and_query().map_or("/", |uri| uri.as_str()).to_owned();
        Ok(Self {
            head: Head { method, uri, headers: parts.headers },
            body,
            status: None,
            headers: Vec::new(),
            answer: Vec::new(),
        })
    }

    /// Returns the answer.
    pub fn finish(self) -> Response<Full<Bytes>> {
        let status = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        let length = self.answer.len();
        let is_head = self.head.method == Method::Head;
        let body = if is_head { Bytes::new() } else { Bytes::from(self.answer) };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
            {
                response.headers_mut().append(name, value);
            }
        }
        // For HEAD the handler has set the length of the answer to GET.
        if !is_head {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }
}

/// Headers allowed once per request: a proxy must not see another value than we do.
const ONCE: [HeaderName; 5] = [
    HOST,
    ORIGIN,
    CONTENT_TYPE,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static(CSRF),
];

/// Checks that a head is unambiguous.
fn check(parts: &Parts) -> Result<(), Refusal> {
    for name in &ONCE {
        let mut values = parts.headers.get_all(name).iter();
        let first = values.next();
        if values.next().is_some() {
            return Err(Refusal(
                StatusCode::BAD_REQUEST,
                "head: got a header twice that counts once",
            ));
        }
        if first.is_some_and(|value| str::from_utf8(value.as_bytes()).is_err()) {
            let text = "head: got a header that is not UTF-8; allowed is ASCII";
            return Err(Refusal(StatusCode::BAD_REQUEST, text));
        }
    }
    let host = parts.headers.get(HOST).map(HeaderValue::as_bytes);
    let is_other = |authority: &hyper::http::uri::Authority| {
        host.is_none_or(|host| !host.eq_ignore_ascii_case(authority.as_str().as_bytes()))
    };
    if parts.uri.authority().is_some_and(is_other) {
        let text = "head: the request names another host than the header host";
        return Err(Refusal(StatusCode::BAD_REQUEST, text));
    }
    Ok(())
}

fn method(method: &hyper::Method) -> Method {
    match *method {
        hyper::Method::GET => Method::Get,
        hyper::Method::HEAD => Method::Head,
        hyper::Method::POST => Method::Post,
        hyper::Method::PUT => Method::Put,
        hyper::Method::DELETE => Method::Delete,
        hyper::Method::PATCH => Method::Patch,
        hyper::Method::OPTIONS => Method::Options,
        hyper::Method::CONNECT => Method::Connect,
        // No path accepts any other method, so one stands for all.
        _ => Method::Trace,
    }
}

impl Query for Head {
    fn uri(&self) -> &str {
        &self.uri
    }

    fn method(&self) -> Method {
        self.method
    }
}

impl Headers for Head {
    fn header(&self, name: &str) -> Option<&str> {
        str::from_utf8(self.headers.get(name)?.as_bytes()).ok()
    }
}

impl Query for Exchange {
    fn uri(&self) -> &str {
        self.head.uri()
    }

    fn method(&self) -> Method {
        self.head.method()
    }
}

impl Headers for Exchange {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

impl ErrorType for Exchange {
    type Error = ExchangeError;
}

impl ErrorType for Body {
    type Error = ExchangeError;
}

impl ErrorType for Raw {
    type Error = ExchangeError;
}

impl Read for Body {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ExchangeError> {
        while let (true, Some(coming)) = (self.here.is_empty(), self.coming.as_mut()) {
            let frame = timeout(STEP, coming.frame()).await;
            match frame.map_err(|_| ExchangeError::BodyLost)? {
                None => self.coming = None,
                Some(Ok(frame)) => self.here = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Err(ExchangeError::BodyLost),
            }
        }
        let count = buffer.len().min(self.here.len());
        for (place, byte) in buffer.iter_mut().zip(self.here.split_to(count)) {
            *place = byte;
        }
        Ok(count)
    }
}

impl Read for Exchange {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ExchangeError> {
        self.body.read(buffer).await
    }
}

impl Write for Exchange {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ExchangeError> {
        if self.status.is_none() {
            return Err(ExchangeError::Order);
        }
        if self.answer.len() + bytes.len() > HTTP_ANSWER_BYTES_MAX {
            return Err(ExchangeError::AnswerTooLong);
        }
        self.answer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ExchangeError> {
        Ok(())
    }
}

impl Read for Raw {
    async fn read(&mut self, _: &mut [u8]) -> Result<usize, ExchangeError> {
        Err(ExchangeError::NoRawConnection)
    }
}

impl Write for Raw {
    async fn write(&mut self, _: &[u8]) -> Result<usize, ExchangeError> {
        Err(ExchangeError::NoRawConnection)
    }

    async fn flush(&mut self) -> Result<(), ExchangeError> {
        Err(ExchangeError::NoRawConnection)
    }
}

impl Connection for Exchange {
    type Headers = Head;
    type Read = Body;
    type RawConnectionError = ExchangeError;
    type RawConnection = Raw;

    fn split(&mut self) -> (&Head, &mut Body) {
        (&self.head, &mut self.body)
    }

    async fn initiate_response(
        &mut self,
        status: u16,
        _message: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<(), ExchangeError> {
        if self.status.is_some() {
            return Err(ExchangeError::Order);
        }
        self.status = Some(status);
        let own = |(name, value): &(&str, &str)| (String::from(*name), String::from(*value));
        self.headers = headers.iter().map(own).collect();
        Ok(())
    }

    fn is_response_initiated(&self) -> bool {
        self.status.is_some()
    }

    fn raw_connection(&mut self) -> Result<&mut Raw, ExchangeError> {
        Err(ExchangeError::NoRawConnection)
    }
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnswerTooLong => {
                write!(f, "answer longer than the allowed {HTTP_ANSWER_BYTES_MAX} bytes")
            }
            Self::Order => f.write_str("answer begun twice, or written before it was begun"),
            Self::NoRawConnection => f.write_str("an exchange has no raw connection"),
            Self::BodyLost => f.write_str("a body did not come to its end"),
        }
    }
}

impl std::error::Error for ExchangeError {}

impl Error for ExchangeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::AnswerTooLong => ErrorKind::OutOfMemory,
            Self::Order => ErrorKind::InvalidInput,
            Self::NoRawConnection => ErrorKind::Unsupported,
            Self::BodyLost => ErrorKind::TimedOut,
        }
    }
}
