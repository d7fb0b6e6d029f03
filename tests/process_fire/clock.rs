//! A wall clock that is wrong, set, and set back at run time: F65.
//!
//! The pool speaks TLS with a certificate that is valid only in 2027. The test moves the process's
//! own wall clock ([`Clock`]); the program, its TLS and the machine's clock stay unchanged.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::clocks::Clock;
use super::cpu_time;
use super::gateway::{Folder, Gateway, Pool, program};
use super::skips::skipped;

/// Days in seconds since 1970, at noon.
const DAY_IN_2016: i64 = 1_465_992_000; // 2016-06-15, ten years before the next
const DAY_IN_2026: i64 = 1_796_817_600; // 2026-12-09, after this program was written
const DAY_IN_2027: i64 = 1_812_974_400; // 2027-06-14, when the certificate is good
const DAY_IN_2037: i64 = 2_128_507_200; // 2037-06-13, when it has long expired

/// Adds TLS to a pool, with a certificate for the year 2027, and writes its CA to `ca_file`.
fn tls_before(pool: SocketAddr, ca_file: &Path) -> SocketAddr {
    let in_2027 = |mut params: CertificateParams| {
        params.not_before = date_time_ymd(2027, 1, 1);
        params.not_after = date_time_ymd(2028, 1, 1);
        params
    };
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(ca_file, authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = in_2027(CertificateParams::new(vec!["localhost".to_owned()]).unwrap());
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.into()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (said, address) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            said.send(listener.local_addr().unwrap()).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that refuses the certificate ends the handshake.
                    let Ok(mut inside) = acceptor.accept(stream).await else { return };
                    let Ok(mut outside) = TcpStream::connect(pool).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                });
            }
        });
    });
    address.recv().unwrap()
}

/// Waits until the status gives the reason for the unreachable pool.
#[track_caller]
fn wait_for_error(gateway: &Gateway, part: &str) {
    gateway.wait_for(part, |report| {
        report["upstream"][0]["error"].as_str().is_some_and(|error| error.contains(part))
    });
    assert_eq!(gateway.report()["ready"], false, "never without the right time");
}

#[test]
fn f65_a_clock_that_is_set_and_set_back_moves_no_timer_and_dates_are_always_verified() {
    let folder = Folder::new("clock");
    let Some(clock) = Clock::new(&folder.0) else {
        return skipped("no C compiler, or a program that loads no libraries");
    };
    let (pool, ca_file) = (Pool::start("abcd", 8), folder.0.join("ca.pem"));
    let port = tls_before(pool.address, &ca_file).port();
    let config = folder.0.join("gateway.toml");
    let text = format!(
        "[[pool]]\nurl = \"stratum+ssl://localhost:{port}\"\nuser = \"farm\"\nca_file = {ca_file:?}\n\
         [upstream]\nretry_max_secs = 2\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = program();
    command.args(["run", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--config"]);
    command.arg(&config);
    command.envs(clock.environment());

    clock.set(30);
    let start = Instant::now();
    let mut gateway = Gateway::spawn(command);
    let line = gateway.wait_for_line("clock reads 1970-01-01T00:00:");
    assert!(line.contains("pool 1"), "{line}");
    wait_for_error(&gateway, "clock reads 1970-01-01T00:00:");
    let mut miner = gateway.miner();
    miner.log_in("farm.1");
    let mut greeting = gateway.miner();

    // After this test was written, but before the certificate's year.
    clock.set(DAY_IN_2026);
    wait_for_error(&gateway, "clock reads 2026-12-09T");
    clock.set(DAY_IN_2037);
    wait_for_error(&gateway, "clock reads 2037-06-13T");

    clock.set(DAY_IN_2027);
    gateway.wait_for("the pool", |report| report["ready"] == true);
    let job = miner.wait_for_job();
    greeting.log_in("farm.2");
    assert_eq!(miner.submit("farm.1", &job, 1)["result"], true);

    // An open link does not depend on the clock.
    let used = cpu_time(&gateway);
    let busy = Instant::now();
    for (nonce, secs) in (2..).zip([DAY_IN_2016, DAY_IN_2037, 0, DAY_IN_2016]) {
        clock.set(secs);
        assert_eq!(miner.submit("farm.1", &job, nonce)["result"], true);
        let accepted = |report: &serde_json::Value| report["ledger"]["pool_accepted"] == nonce;
        gateway.wait_for("the pool's answer", accepted);
        std::thread::sleep(Duration::from_millis(300));
    }
    let used = cpu_time(&gateway).saturating_sub(used);
    assert!(used < busy.elapsed() / 2, "{used:?} of {:?}: a storm of timers", busy.elapsed());

    // A new link needs the right time again.
    pool.cut("ef01", 8);
    wait_for_error(&gateway, "clock reads 2016-06-15T");
    clock.set(DAY_IN_2027);
    gateway.wait_for("the pool again", |report| report["ready"] == true);
    let job = miner.wait_for_job();
    assert_eq!(miner.submit("farm.1", &job, 100)["result"], true);
    let report = gateway.wait_for("its answer", |report| report["ledger"]["pool_accepted"] == 6);
    assert_eq!(report["miners"]["connected"], 2, "{}", report["miners"]);
    let uptime = Duration::from_secs(report["uptime_secs"].as_u64().unwrap());
    assert!(uptime <= start.elapsed(), "{uptime:?}: it counts by another clock");
}
