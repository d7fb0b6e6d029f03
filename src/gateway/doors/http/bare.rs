//! A second server for the same handlers; it shows that they need only the traits.
//!
//! It resembles a board without an operating system: no hyper, no tokio, and a head in a fixed
//! buffer. The body is read from the wire when the handler asks, and the answer is sent as it is
//! written.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::thread;

use embedded_svc::http::server::asynch::Connection;
use embedded_svc::http::{Headers, Method, Query};
use embedded_svc::io::asynch::{Read, Write};
use embedded_svc::io::{Error, ErrorKind, ErrorType};
use loka_stratum::control::Role;
use serde_json::{Value, json};
use tokio::runtime::{Builder, LocalOptions};

use super::api::Api;
use super::guard::Peer;
use crate::gateway::operate::config::Sources;
use crate::gateway::operate::control::{Control, tests};

const HEAD_BYTES_MAX: usize = 2048;

/// One request on the wire, and its answer.
struct Bare {
    head: Head,
    body: Body,
    is_begun: bool,
}

struct Head(heapless::String<HEAD_BYTES_MAX>);

struct Body {
    wire: TcpStream,
    left: usize,
}

#[derive(Debug)]
struct WireError(io::Error);

impl Bare {
    /// Reads the head of a request, byte by byte.
    fn accept(mut wire: TcpStream) -> io::Result<Self> {
        let mut head = heapless::Vec::<u8, HEAD_BYTES_MAX>::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            wire.read_exact(&mut byte)?;
            head.push(byte[0]).map_err(|_| io::ErrorKind::OutOfMemory)?;
        }
        let head = heapless::String::from_utf8(head).map_err(io::Error::other)?;
        let head = Head(head);
        let left = head.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Self { head, body: Body { wire, left }, is_begun: false })
    }
}

impl Head {
    fn word(&self, index: usize) -> &str {
        self.0.lines().next().and_then(|line| line.split(' ').nth(index)).unwrap_or_default()
    }
}

impl Query for Head {
    fn uri(&self) -> &str {
        self.word(1)
    }

    fn method(&self) -> Method {
        match self.word(0) {
            "GET" => Method::Get,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            _ => Method::Options,
        }
    }
}

impl Headers for Head {
    fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.0.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut ours = pairs.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        ours.next().map(|(_, value)| value.trim())
    }
}

impl Query for Bare {
    fn uri(&self) -> &str {
        self.head.uri()
    }

    fn method(&self) -> Method {
        self.head.method()
    }
}

impl Headers for Bare {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

impl ErrorType for Bare {
    type Error = WireError;
}

impl ErrorType for Body {
    type Error = WireError;
}

impl Read for Body {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, WireError> {
        let most = buffer.len().min(self.left);
        // A read of zero bytes would still block.
        if most == 0 {
            return Ok(0);
        }
        let count = self.wire.read(&mut buffer[..most]).map_err(WireError)?;
        self.left -= count;
        Ok(count)
    }
}

impl Write for Body {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, WireError> {
        self.wire.write(bytes).map_err(WireError)
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        self.wire.flush().map_err(WireError)
    }
}

impl Read for Bare {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, WireError> {
        self.body.read(buffer).await
    }
}

impl Write for Bare {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, WireError> {
        self.body.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), WireError> {
        self.body.flush().await
    }
}

impl Connection for Bare {
    type Headers = Head;
    type Read = Body;
    type RawConnectionError = WireError;
    type RawConnection = Body;

    fn split(&mut self) -> (&Head, &mut Body) {
        (&self.head, &mut self.body)
    }

    async fn initiate_response(
        &mut self,
        status: u16,
        _message: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<(), WireError> {
        self.is_begun = true;
        let mut head = format!("HTTP/1.1 {status} -\r\nconnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.body.wire.write_all((head + "\r\n").as_bytes()).map_err(WireError)
    }

    fn is_response_initiated(&self) -> bool {
        self.is_begun
    }

    fn raw_connection(&mut self) -> Result<&mut Body, WireError> {
        Ok(&mut self.body)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for WireError {}

impl Error for WireError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// A gateway with one pool and no ports of its own.
fn control() -> Rc<Control> {
    let environment = [
        ("LOKA_POOL__1__URL", "stratum+tcp://127.0.0.1:1"),
        ("LOKA_POOL__1__USER", "farm"),
        ("LOKA_LISTEN__ADDRESSES", "127.0.0.1:0"),
        ("LOKA_STATUS__ADDRESS", "off"),
        ("LOKA_MINERS__MAX", "4"),
    ];
    let environment = environment.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec();
    let sources = Sources { environment, ..Sources::default() };
    tests::control(sources)
}

/// Method, path, and the body, made with the set-up code.
struct Asking(&'static str, &'static str, fn(&str) -> Value);

struct Client {
    server: SocketAddr,
    cookie: String,
    csrf: String,
}

impl Client {
    fn ask(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (length, cookie, csrf) = (body.len(), &self.cookie, &self.csrf);
        let mut wire = TcpStream::connect(self.server).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncookie: {cookie}\r\n\
             x-loka-csrf: {csrf}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        wire.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        wire.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let value = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
        if let Some(cookie) = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")) {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
        if let Some(csrf) = value["csrf"].as_str() {
            self.csrf = csrf.to_owned();
        }
        (head.split(' ').nth(1).unwrap().parse().unwrap(), value)
    }
}

/// Serves `requests` in order for a peer at `address`, and returns the answers.
fn conversation(
    control: &Rc<Control>,
    (address, is_tls): (&str, bool),
    requests: &'static [Asking],
) -> Vec<(u16, Value)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let code = control.access.setup_code().unwrap_or_default();
    let asking = thread::spawn(move || {
        let mut client = Client { server, cookie: String::new(), csrf: String::new() };
        let ask = |Asking(method, path, body): &Asking| client.ask(method, path, &body(&code));
        requests.iter().map(ask).collect::<Vec<_>>()
    });
    let runtime =
        Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        let address: IpAddr = address.parse().unwrap();
        let updates = Rc::default();
        let peer = Peer { address, is_tls };
        let api = Api { control, updates: &updates, access: &control.access, peer };
        for _ in requests {
            let mut bare = Bare::accept(listener.accept().unwrap().0).unwrap();
            api.handle(&mut bare).await.unwrap();
        }
    });
    asking.join().unwrap()
}

#[test]
fn the_same_handlers_serve_session_commit_and_page_on_another_server() {
    let control = control();
    let answers = conversation(
        &control,
        ("192.168.8.2", true),
        &[
            Asking("GET", "/api/v1/session", |_| Value::Null),
            Asking("POST", "/api/v1/session", |code| json!({ "code": code })),
            Asking("GET", "/api/v1/session", |_| Value::Null),
            Asking(
                "POST",
                "/api/v1/commit",
                |_| json!({"edits": [{"key": "difficulty.start", "value": "2048"}]}),
            ),
            Asking("GET", "/api/v1/settings?prefix=difficulty.start", |_| Value::Null),
            Asking("GET", "/", |_| Value::Null),
        ],
    );
    let codes: Vec<u16> = answers.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [200; 6], "{answers:#?}");
    assert!(answers[0].1["role"].is_null());
    assert_eq!(answers[2].1["role"], "admin");
    assert_eq!(answers[3].1["changes"][0]["to"], "2048");
    assert_eq!(answers[4].1["values"][0]["value"], "2048");
    assert!(answers[5].1.as_str().is_some_and(|page| !page.is_empty()));
}

#[test]
fn f76_over_plain_http_the_local_network_gets_in_by_code_alone_and_others_not_at_all() {
    static REQUESTS: [Asking; 3] = [
        Asking("POST", "/api/v1/session", |code| json!({ "code": code })),
        Asking("GET", "/api/v1/settings", |_| Value::Null),
        Asking(
            "POST",
            "/api/v1/session",
            |_| json!({"role": "admin", "password": "a long password"}),
        ),
    ];
    let codes = |control: &Rc<Control>, peer| {
        let answers = conversation(control, peer, &REQUESTS);
        answers.into_iter().map(|(code, _)| code).collect::<Vec<_>>()
    };
    let control = control();
    assert_eq!(codes(&control, ("203.0.113.9", true)), [403, 401, 401], "not of this network");
    assert_eq!(codes(&control, ("192.168.8.2", false)), [200, 200, 403], "no password in the open");
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(control.access.set_password(Role::Admin, "a long password")).unwrap();
    assert_eq!(codes(&control, ("192.168.8.2", false)), [403, 401, 403], "the code is over");
    assert_eq!(codes(&control, ("192.168.8.2", true)), [403, 401, 200]);
    assert_eq!(codes(&control, ("127.0.0.1", false)), [403, 401, 200]);
}
