//! Tests of pools that speak real TLS and Stratum on loopback, good ones and bad ones.

use super::*;
use crate::gateway::runtime::dial::fixture::{Authority, Identity};

use loka_stratum::settings::Key;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const SUBSCRIBED: &str = r#"{"id":2,"result":[[["mining.notify","s"]],"0a0b0c0d",8],"error":null}"#;
const SHORT: &str = r#"{"id":2,"result":[[["mining.notify","s"]],"0a0b0c0d",2],"error":null}"#;
const YES: &str = r#"{"id":3,"result":true,"error":null}"#;
const NO: &str = r#"{"id":3,"result":null,"error":[24,"who \u001b[2J is that?",null]}"#;
const NOTIFY: &str = concat!(
    r#"{"id":null,"method":"mining.notify","params":["1","0000000000000000000000000000000000000000"#,
    r#"000000000000000000000000","01","02",[],"20000000","1d00ffff","65000000",true]}"#
);

/// A test pool's answers to subscribe and authorize; afterwards it hangs up, or stays.
#[derive(Clone, Copy)]
struct Script {
    subscribe: &'static [&'static str],
    authorize: &'static [&'static str],
}

const GOOD: Script = Script { subscribe: &[SUBSCRIBED], authorize: &[YES, NOTIFY] };

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, script: Script) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|count| count > 0) {
        let answers = match () {
            () if line.contains("mining.subscribe") => script.subscribe,
            () if line.contains("mining.authorize") => script.authorize,
            () => &[],
        };
        for answer in answers {
            let _ = stream.write_all(format!("{answer}\n").as_bytes()).await;
        }
        let _ = stream.flush().await;
        line.clear();
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn tls_pool(identity: &Identity, script: Script) -> u16 {
    let (listener, port) = listen().await;
    let acceptor = TlsAcceptor::from(identity.server(&identity.key));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                converse(stream, script).await;
            });
        }
    });
    port
}

async fn plain_pool(script: Script) -> u16 {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, script));
        }
    });
    port
}

/// A port that answers any input with these bytes, then hangs up.
async fn noise(bytes: &'static [u8]) -> u16 {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = BufReader::new(&mut stream);
            let _ = heard.fill_buf().await;
            let _ = stream.write_all(bytes).await;
        }
    });
    port
}

/// The outcome of a test.
#[derive(Debug, Default)]
struct Told {
    texts: Vec<String>,
    chain: Vec<[String; 4]>,
    problem: Option<String>,
}

impl Told {
    fn take(&mut self, item: Item<'_>) {
        match item {
            Item::Text(text) => self.texts.push(text.to_owned()),
            Item::Problem { text, .. } => self.problem = Some(text.to_owned()),
            Item::Certificate { subject, issuer, until, pin } => {
                self.chain.push([subject, issuer, until, pin].map(str::to_owned));
            }
            other => panic!("not of a trial: {other:?}"),
        }
    }

    #[track_caller]
    fn check_problem(&self, parts: &[&str]) {
        let text = self.problem.as_deref().unwrap_or("(good)");
        assert!(parts.iter().all(|part| text.contains(part)), "expected {parts:?}, got {self:?}");
    }
}

fn settings(url: &str, sets: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    for (name, text) in [("url", url), ("user", "farm.gw")].iter().chain(sets) {
        settings.set(Key::named("pool", name, 0).unwrap(), text).unwrap();
    }
    settings
}

async fn trial_of(url: &str, sets: &[(&str, &str)]) -> Told {
    let (settings, farm) = (settings(url, sets), Farm { geometry: None, places: 1000 });
    let (pool, key) = target(&settings, "pool.1").unwrap();
    let dialer = Dialer::new(&pool).unwrap();
    let mut told = Told::default();
    Trial { pool: &pool, key: &key, dialer, farm }.run(&mut |item| told.take(item)).await;
    told
}

fn block_on<T>(done: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(done)
}

fn tls_trial(identity: &Identity, script: Script, sets: &[(&str, &str)]) -> Told {
    block_on(async {
        let port = tls_pool(identity, script).await;
        trial_of(&format!("stratum+ssl://localhost:{port}"), sets).await
    })
}

#[test]
fn a_good_pool_is_tried_to_its_first_job_with_every_step_told() {
    let authority = Authority::new("probe-good");
    let identity = Identity::new("localhost", false, Some(&authority));
    let told = tls_trial(&identity, GOOD, &[("ca_file", authority.path())]);
    assert_eq!(told.problem, None, "{told:?}");
    let begins =
        ["name: localhost is ", "TCP: ", "TLS: version 1.3", "subscribe: extranonce2 of 8"];
    for (text, begin) in told.texts.iter().zip(begins) {
        assert!(text.starts_with(begin), "{told:?}");
    }
    let last = ["login: the pool takes \"farm.gw\"", "job: the pool sent one", "the pool is good"];
    assert_eq!(told.texts[4..], last);
    let [_, issuer, until, pin] = &told.chain[0];
    assert!(issuer.contains("probe-good") && until.len() == 10, "{told:?}");
    assert_eq!(*pin, identity.pin());
}

#[test]
fn f81_a_pool_that_signs_itself_is_refused_and_its_pin_offered_and_the_pin_is_good() {
    let identity = Identity::new("localhost", false, None);
    let pin = identity.pin();
    let told = tls_trial(&identity, GOOD, &[]);
    let offer = format!("set pool.1.pins {pin} and pool.1.trust pin");
    told.check_problem(&["signed by itself", &offer]);
    assert_eq!(told.chain[0][3], pin);
    assert!(!told.texts.iter().any(|text| text.starts_with("login")), "{told:?}");
    let told = tls_trial(&identity, GOOD, &[("pins", &pin), ("trust", "pin")]);
    assert_eq!(told.problem, None, "{told:?}");
}

#[test]
fn f81_each_reason_to_refuse_a_certificate_is_said_in_words() {
    let authority = Authority::new("probe-words");
    let trusted = [("ca_file", authority.path())];
    let stranger = Identity::new("localhost", false, Some(&authority));
    tls_trial(&stranger, GOOD, &[]).check_problem(&["probe-words, which is not trusted here"]);
    let expired = Identity::new("localhost", true, Some(&authority));
    tls_trial(&expired, GOOD, &trusted).check_problem(&["expired on 2021-01-01", "clock here"]);
    let wrong = Identity::new("other.example", false, Some(&authority));
    tls_trial(&wrong, GOOD, &trusted)
        .check_problem(&["for other.example, not for localhost; use one of its names"]);
    let pins = [trusted[0], ("pins", &"ab".repeat(32))];
    tls_trial(&stranger, GOOD, &pins).check_problem(&["none of pool.1.pins", &stranger.pin()]);
}

#[test]
fn f62_what_answers_instead_of_tls_or_stratum_is_named() {
    block_on(async {
        let plain = plain_pool(GOOD).await;
        let told = trial_of(&format!("stratum+ssl://localhost:{plain}"), &[]).await;
        told.check_problem(&["plain Stratum", &format!("stratum+tcp://localhost:{plain}")]);
        let http = noise(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        for scheme in ["ssl", "tcp"] {
            let told = trial_of(&format!("stratum+{scheme}://127.0.0.1:{http}"), &[]).await;
            told.check_problem(&["a web server (HTTP) answers"]);
        }
        let identity = Identity::new("localhost", false, None);
        let tls = tls_pool(&identity, GOOD).await;
        let told = trial_of(&format!("stratum+tcp://localhost:{tls}"), &[]).await;
        told.check_problem(&[&format!("speaks TLS; use stratum+ssl://localhost:{tls}")]);
        let ssh = noise(b"SSH-2.0-OpenSSH_9.2p1\r\n").await;
        let told = trial_of(&format!("stratum+tcp://127.0.0.1:{ssh}"), &[]).await;
        told.check_problem(&["speaks ssh, not Stratum"]);
    });
}

#[test]
fn f61_a_port_where_nobody_listens_and_one_that_hangs_up_are_told_apart() {
    block_on(async {
        let (listener, port) = listen().await;
        drop(listener);
        let told = trial_of(&format!("stratum+tcp://127.0.0.1:{port}"), &[]).await;
        told.check_problem(&["refuses connections: nothing listens there"]);
        let mute = noise(b"").await;
        let told = trial_of(&format!("stratum+tcp://127.0.0.1:{mute}"), &[]).await;
        told.check_problem(&["hung up without a word"]);
        let told = trial_of(&format!("stratum+ssl://127.0.0.1:{mute}"), &[]).await;
        told.check_problem(&["nothing there speaks TLS or Stratum"]);
    });
}

#[test]
fn f18_a_refused_login_is_told_with_the_pools_words_escaped() {
    block_on(async {
        let port = plain_pool(Script { authorize: &[NO], ..GOOD }).await;
        let told = trial_of(&format!("stratum+tcp://127.0.0.1:{port}"), &[]).await;
        told.check_problem(&[
            "refused the login of \"farm.gw\": code 24, \"who \\u{1b}[2J is that?\"",
            "pool.1.user",
        ]);
    });
}

#[test]
fn f25_an_extranonce2_that_holds_no_miners_is_told_before_the_login() {
    block_on(async {
        let port = plain_pool(Script { subscribe: &[SHORT], ..GOOD }).await;
        let told = trial_of(&format!("stratum+tcp://127.0.0.1:{port}"), &[]).await;
        told.check_problem(&["extranonce2 of 2 bytes: miners need 3"]);
    });
}

#[test]
fn f61_names_that_there_are_not_and_resolvers_that_fail_are_told_apart() {
    let of = |text: &str| {
        let source =
            Some(io::Error::other(format!("failed to lookup address information: {text}")));
        unreached(&DialError::Resolve { host: "pool.exmaple".to_owned(), source })
    };
    assert_eq!(
        of("Name or service not known"),
        "there is no such name: pool.exmaple; check how it is spelled"
    );
    assert!(of("Name does not resolve").starts_with("there is no such name"));
    assert!(of("Temporary failure in name resolution").ends_with("has this network a DNS server?"));
}

#[test]
fn one_pool_is_tried_at_a_time_and_an_unknown_one_not_at_all() {
    let settings = settings("stratum+tcp://127.0.0.1:1", &[]);
    let farm = Farm { geometry: None, places: 1 };
    let ask = |name: &str| block_on(run(&settings, name, farm, &mut |_| {}));
    for name in ["pool.2", "pool.0", "pool.x", "http://a:1"] {
        assert!(matches!(ask(name), Err(Refused::Invalid(_))), "{name}");
    }
    let permit = TRIALS.try_acquire().unwrap();
    assert!(matches!(ask("pool.1"), Err(Refused::Conflict(_))));
    drop(permit);
    assert_eq!(ask("pool.1"), Ok(()));
    assert_eq!(ask("stratum+tcp://127.0.0.1:1"), Ok(()), "by its address, and the permit is back");
}
