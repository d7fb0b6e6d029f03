//! A client of the API: a few lines of HTTP, with cookie and token.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::gateway::{Folder, Gateway, PATIENCE, Pool, program_with_state};

/// Paths for GET requests.
pub const PATHS: &[&str] = &[
    "/",
    "/metrics",
    "/healthz",
    "/readyz",
    "/api/v1/status",
    "/api/v1/openapi.json",
    "/api/v1/session",
    "/api/v1/sessions",
    "/api/v1/admitted",
    "/api/v1/fields",
    "/api/v1/settings",
    "/api/v1/settings?prefix=pool",
    "/api/v1/miners",
    "/api/v1/log?count=200",
    "/api/v1/audit?count=200",
];

/// A gateway with a pool.
pub struct Site {
    pub pool: Pool,
    pub gateway: Gateway,
    pub folder: Folder,
}

/// A client, with or without a session cookie.
pub struct Client {
    address: SocketAddr,
    pub cookie: String,
    pub csrf: String,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub headers: Vec<(String, String)>,
    /// The body, if it is JSON.
    pub body: Value,
    /// Head and body.
    pub raw: String,
}

impl Site {
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a gateway with its settings in a file, so that all of them can be changed.
    #[track_caller]
    pub fn with(environment: &[(&str, &str)]) -> Self {
        let pool = Pool::start("abcd", 8);
        let folder = Folder::new("web");
        let settings = format!(
            "[[pool]]\nurl = \"stratum+tcp://{}\"\nuser = \"farm\"\n\
             [listen]\naddresses = [\"127.0.0.1:0\"]\n\
             [status]\naddress = \"127.0.0.1:0\"\n\
             [state]\ndir = \"{}\"\n",
            pool.address,
            folder.0.join("state").display(),
        );
        std::fs::write(folder.0.join("settings.toml"), settings).expect("the disk is not full");
        let mut command = program_with_state();
        command.arg("run").arg("--config").arg(folder.0.join("settings.toml"));
        command.env_remove("LOKA_STATE__DIR");
        command.envs(environment.iter().copied());
        let gateway = Gateway::spawn(command);
        gateway.wait_for("the pool", |report| report["ready"] == true);
        Self { pool, gateway, folder }
    }

    /// Kills the gateway and restarts it.
    #[track_caller]
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    #[track_caller]
    pub fn restart_with(&mut self, environment: &[(&str, &str)]) {
        self.gateway.kill();
        let mut command = program_with_state();
        command.arg("run").arg("--config").arg(self.folder.0.join("settings.toml"));
        command.env_remove("LOKA_STATE__DIR");
        command.envs(environment.iter().copied());
        self.gateway = Gateway::spawn(command);
    }

    /// Ends the gateway and returns its log.
    pub fn end(mut self) -> String {
        self.gateway.signal("TERM");
        self.gateway.wait();
        self.gateway.log.join("\n")
    }
}

/// Returns the set-up code from a gateway's output.
#[track_caller]
pub fn code_of(gateway: &Gateway) -> String {
    let line = gateway.log.iter().rev().find_map(|line| line.split_once("set-up code: "));
    line.expect("the code is in the log").1.to_owned()
}

impl Client {
    pub fn new(site: &Site) -> Self {
        Self::at(site.gateway.status.expect("the status port is on"))
    }

    pub fn at(address: SocketAddr) -> Self {
        Self { address, cookie: String::new(), csrf: String::new() }
    }

    #[track_caller]
    pub fn with_code(site: &Site) -> Self {
        let mut client = Self::new(site);
        let reply = client.post("/api/v1/session", json!({"code": code_of(&site.gateway)}));
        assert_eq!(reply.code, 200, "{}", reply.body);
        client
    }

    #[track_caller]
    pub fn logged_in(site: &Site, role: &str, word: &str) -> Self {
        let mut client = Self::new(site);
        let reply = client.log_in(role, word);
        assert_eq!(reply.code, 200, "{}", reply.body);
        client
    }

    pub fn log_in(&mut self, role: &str, word: &str) -> Reply {
        self.post("/api/v1/session", json!({"role": role, "password": word}))
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "")
    }

    pub fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, "")
    }

    pub fn post(&mut self, path: &str, body: Value) -> Reply {
        let reply = self.send("POST", path, &body.to_string());
        self.keep(reply)
    }

    /// Stores the cookie and the token of an answer.
    pub fn keep(&mut self, reply: Reply) -> Reply {
        if let Some(cookie) = reply.header("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        }
        if let Some(csrf) = reply.body["csrf"].as_str() {
            self.csrf = csrf.to_owned();
        }
        reply
    }

    /// Returns the value of a key.
    #[track_caller]
    pub fn value(&self, key: &str) -> String {
        let reply = self.get(&format!("/api/v1/settings?prefix={key}"));
        assert_eq!(reply.code, 200, "{}", reply.body);
        reply.body["values"][0]["value"].as_str().expect("a text").to_owned()
    }

    /// Waits until a connection is accepted.
    #[track_caller]
    pub fn wait_until_served(&self) {
        let is_served = |_| self.get("/healthz").code == 200;
        assert!((0..10_000).any(is_served), "nobody is served");
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Reply {
        let host = self.address.to_string();
        let mut headers = vec![("host", host.as_str()), ("content-type", "application/json")];
        if !self.cookie.is_empty() {
            headers.push(("cookie", &self.cookie));
            headers.push(("x-loka-csrf", &self.csrf));
        }
        raw(self.address, method, path, &headers, body)
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn read(mut stream: impl Read) -> Self {
        let mut bytes = Vec::new();
        // A server may close before it has read everything.
        let _ = stream.read_to_end(&mut bytes);
        let raw = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = raw.split_once("\r\n\r\n").unwrap_or((&raw, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let header = |line: &str| {
            line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        };
        let headers = head.lines().skip(1).filter_map(header).collect();
        let body = serde_json::from_str(body).unwrap_or_default();
        Self { code, headers, body, raw }
    }
}

/// Makes a certificate: its PEM with its key, and its DER.
pub fn certificate(name: &str) -> (String, Vec<u8>) {
    let key = rcgen::KeyPair::generate().expect("there are random numbers");
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("it is a name");
    let certificate = params.self_signed(&key).expect("the key signs");
    (certificate.pem() + &key.serialize_pem(), certificate.der().to_vec())
}

/// Waits for the other end's close; returns whether it came.
pub fn is_closed(mut stream: TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let end = stream.read_to_end(&mut Vec::new());
    !end.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// Sends a raw request.
pub fn raw(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    part(
        address,
        &format!("{method} {path} HTTP/1.1\r\n{head}content-length: {length}\r\n\r\n{body}"),
    )
}

/// Sends bytes and waits for the answer.
pub fn part(address: SocketAddr, text: &str) -> Reply {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let _ = stream.write_all(text.as_bytes());
    Reply::read(stream)
}
