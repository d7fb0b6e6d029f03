//! Dials to pools with good and bad certificates, on loopback.

use super::fixture::{Authority, Identity, serve};
use super::*;

use loka_stratum::settings::{Key, Settings};
use rcgen::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn dialer(port: u16, sets: &[(&str, &str)]) -> Dialer {
    let mut settings = Settings::default();
    let url = format!("stratum+ssl://localhost:{port}");
    for (name, text) in [("url", url.as_str()), ("user", "farm")].iter().chain(sets) {
        settings.set(Key::named("pool", name, 0).unwrap(), text).unwrap();
    }
    settings.check(&mut |problem| panic!("{problem}"));
    Dialer::new(&settings.pools[0]).unwrap()
}

#[track_caller]
fn check(identity: &Identity, sets: &[(&str, &str)], expected: Result<(), &str>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let port = serve(identity.server(&identity.key)).await;
        dialer(port, sets).dial(None).await.map(|_| ()).map_err(|error| error.to_string())
    });
    match (&result, expected) {
        (Ok(()), Ok(())) => {}
        (Err(text), Err(part)) if text.contains(part) => {}
        _ => panic!("expected {expected:?}, got {result:?}"),
    }
}

#[test]
fn a_pool_of_an_authority_of_our_own_is_reached() {
    let authority = Authority::new("good");
    let identity = Identity::new("localhost", false, Some(&authority));
    check(&identity, &[("ca_file", authority.path())], Ok(()));
}

#[test]
fn f81_a_wrong_name_is_refused() {
    let authority = Authority::new("name");
    let identity = Identity::new("other.example", false, Some(&authority));
    check(&identity, &[("ca_file", authority.path())], Err("localhost"));
}

#[test]
fn f81_an_expired_certificate_is_refused() {
    let authority = Authority::new("expired");
    let identity = Identity::new("localhost", true, Some(&authority));
    check(&identity, &[("ca_file", authority.path())], Err("expired"));
}

#[test]
fn f81_a_certificate_of_a_stranger_is_refused_and_its_key_shown() {
    let identity = Identity::new("localhost", false, None);
    let key = format!("its key is {}", identity.pin());
    check(&identity, &[], Err(&key));
    let authority = Authority::new("stranger");
    check(&identity, &[("ca_file", authority.path())], Err("nobody that is trusted"));
}

#[test]
fn f81_a_pin_narrows_the_chain_and_several_may_be_named() {
    let authority = Authority::new("pins");
    let ca_file = ("ca_file", authority.path());
    let identity = Identity::new("localhost", false, Some(&authority));
    let other = "ab".repeat(32);
    check(&identity, &[ca_file, ("pins", &format!("{other},{}", identity.pin()))], Ok(()));
    check(&identity, &[ca_file, ("pins", &other)], Err("none of pool.pins"));
    check(&identity, &[("pins", &identity.pin())], Err("nobody that is trusted"));
}

#[test]
fn f81_a_pin_alone_takes_that_key_and_no_other() {
    let identity = Identity::new("other.example", true, None);
    let trust = ("trust", "pin");
    check(&identity, &[trust, ("pins", &identity.pin())], Ok(()));
    check(&identity, &[trust, ("pins", &"ab".repeat(32))], Err("none of pool.pins"));
}

#[test]
fn f81_a_copied_certificate_without_its_key_is_refused() {
    let identity = Identity::new("localhost", false, None);
    let thief = KeyPair::generate().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let port = serve(identity.server(&thief)).await;
        let sets = [("trust", "pin"), ("pins", &identity.pin())];
        dialer(port, &sets).dial(None).await.map(|_| ())
    });
    let text = result.expect_err("it passed").to_string();
    assert!(text.contains("BadSignature") || text.contains("bad signature"), "{text}");
}

#[test]
fn a_second_connection_resumes_the_session_of_the_first() {
    let authority = Authority::new("resume");
    let identity = Identity::new("localhost", false, Some(&authority));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let port = serve(identity.server(&identity.key)).await;
        let dialer = dialer(port, &[("ca_file", authority.path())]);
        let mut first = dialer.dial(None).await.unwrap();
        assert!(!first.is_resumed);
        // Session tickets follow the handshake, so the client must read something.
        first.stream.read_exact(&mut [0; 3]).await.unwrap();
        assert!(dialer.dial(None).await.unwrap().is_resumed);
    });
}

#[test]
fn f62_an_answer_that_is_not_tls_is_named() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let text = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
            let _ = stream.read(&mut [0; 1024]).await;
        });
        dialer(port, &[]).dial(None).await.map(|_| ()).unwrap_err().to_string()
    });
    assert!(text.contains("is it a stratum+tcp port, or a captive portal?"), "{text}");
}

#[test]
fn f81_a_stream_cut_within_the_handshake_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 16]).await;
        });
        assert!(dialer(port, &[]).dial(None).await.is_err());
    });
}

#[test]
fn f61_a_closed_port_is_named() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let text = dialer(port, &[]).dial(None).await.map(|_| ()).unwrap_err().to_string();
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    });
}

#[test]
fn f61_an_address_that_a_name_cannot_have_in_public_is_said_to_be_private() {
    let shown = |name: Option<&str>, ip: &str| {
        let address = SocketAddr::new(ip.parse().unwrap(), 3334);
        Place { address, name: name.map(str::to_owned) }.to_string()
    };
    for ip in ["10.0.0.7", "192.168.8.1", "100.64.0.1", "169.254.1.1", "0.0.0.0", "fd00::1", "::1"]
    {
        let text = shown(Some("pool.example"), ip);
        assert!(text.starts_with("pool.example at ") && text.contains("private"), "{text}");
    }
    assert_eq!(shown(Some("pool.example"), "192.0.2.1"), "pool.example at 192.0.2.1:3334");
    assert_eq!(shown(Some("pool.example"), "100.128.0.1"), "pool.example at 100.128.0.1:3334");
    assert_eq!(shown(Some("localhost"), "127.0.0.1"), "localhost at 127.0.0.1:3334");
    assert_eq!(shown(None, "10.0.0.7"), "10.0.0.7:3334", "that is what was asked for");
}

#[test]
fn a_file_of_certificates_that_holds_none_is_refused() {
    let mut settings = Settings::default();
    for (name, text) in [("url", "stratum+ssl://a.example:1"), ("ca_file", "Cargo.toml")] {
        settings.set(Key::named("pool", name, 0).unwrap(), text).unwrap();
    }
    let text = Dialer::new(&settings.pools[0]).map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        text,
        "got \"Cargo.toml\", allowed a file of PEM certificates: it holds no certificate"
    );
}
