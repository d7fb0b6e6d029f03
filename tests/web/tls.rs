//! A TLS client: it accepts any certificate with a valid signature of its key, and stores it.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, Stream};
use sha2::{Digest, Sha256};
use socket2::{Domain, Socket, Type};

use crate::client::Reply;
use crate::gateway::PATIENCE;

/// A client with a cookie, over TLS.
pub struct Browser {
    from: IpAddr,
    to: SocketAddr,
    cookie: String,
    csrf: String,
    seen: Arc<Seen>,
}

/// The last received certificate.
#[derive(Debug)]
struct Seen {
    provider: CryptoProvider,
    leaf: Mutex<Vec<u8>>,
}

/// Returns the SHA-256 of a certificate in browsers' format.
pub fn fingerprint(der: &[u8]) -> String {
    let pairs: Vec<_> = Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

impl Browser {
    pub fn at(to: SocketAddr) -> Self {
        Self::from("127.0.0.1", to)
    }

    /// Connects from the system's default source address.
    pub fn at_any(to: SocketAddr) -> Self {
        Self::from("0.0.0.0", to)
    }

    pub fn from(from: &str, to: SocketAddr) -> Self {
        let from = from.parse().expect("an address");
        let seen = Seen { provider: ring::default_provider(), leaf: Mutex::default() };
        Self { from, to, cookie: String::new(), csrf: String::new(), seen: Arc::new(seen) }
    }

    pub fn fingerprint(&self) -> String {
        fingerprint(&self.seen.leaf.lock().expect("nobody panicked"))
    }

    /// Sends a request over a new connection; code 0 without an answer.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> Reply {
        let (to, length, cookie, csrf) = (self.to, body.len(), &self.cookie, &self.csrf);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {to}\r\norigin: https://{to}\r\ncookie: {cookie}\r\n\
             x-loka-csrf: {csrf}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .dangerous()
            .with_custom_certificate_verifier(self.seen.clone())
            .with_no_client_auth();
        let name = ServerName::from(to.ip());
        let mut session = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut socket = self.connect();
        let mut stream = Stream::new(&mut session, &mut socket);
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let reply = Reply::read(answer.as_slice());
        if let Some(cookie) = reply.header("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        }
        if let Some(csrf) = reply.body["csrf"].as_str() {
            self.csrf = csrf.to_owned();
        }
        reply
    }

    fn connect(&self) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(self.from, 0).into()).expect("it is loopback");
        socket.connect(&self.to.into()).expect("the page is open");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.leaf.lock().expect("nobody panicked") = leaf.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
