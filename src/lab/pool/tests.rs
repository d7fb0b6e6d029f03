//! The pool from one miner's view: every verdict, as a conversation.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::rc::Rc;

use loka_stratum::wire::server::{self, Outcome, ServerLine};
use loka_stratum::work::difficulty::Difficulty;

use super::*;
use crate::lab::hex;
use crate::lab::swarm::search::{Found, JobShelf, Search};

const DIFFICULTY: f64 = 1.0 / (1_u64 << 24) as f64;
const MASK: u32 = 0x1fff_e000;

/// One miner's connection.
struct Client {
    socket: TcpStream,
    lines: BufReader<TcpStream>,
    search: Option<Search>,
}

impl Client {
    fn connect(pool: &PoolHandle) -> Self {
        let socket = TcpStream::connect(pool.addr).expect("the pool listens");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
        let lines = BufReader::new(socket.try_clone().expect("a second handle"));
        Self { socket, lines, search: None }
    }

    /// Connects and shakes hands up to the first job.
    fn mining(pool: &PoolHandle) -> Self {
        let mut client = Self::connect(pool);
        client.send(concat!(
            r#"{"id":1,"method":"mining.configure","params":[["version-rolling"],"#,
            r#"{"version-rolling.mask":"ffffffff"}]}"#
        ));
        client.expect(concat!(
            r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"#,
            r#""error":null}"#
        ));
        client.send(r#"{"id":"two","method":"mining.subscribe","params":["test"]}"#);
        let line = client.line();
        let Ok(ServerLine::Response(response)) = server::parse(line.as_bytes()) else {
            panic!("an answer: {line}");
        };
        assert_eq!(response.id.as_raw(), b"\"two\"");
        let subscription = response.subscribe().expect("a subscription");
        let extranonce1 = hex::read(subscription.extranonce1.as_bytes()).expect("hex");
        assert_eq!((extranonce1.len(), subscription.extranonce2_size), (4, 8));
        client.send(r#"{"id":3,"method":"mining.authorize","params":["farm.1","x"]}"#);
        client.expect(r#"{"id":3,"result":true,"error":null}"#);
        let set = r#"{"id":null,"method":"mining.set_difficulty","params""#;
        client.expect(&format!("{set}:[{DIFFICULTY}]}}"));
        let line = client.line();
        let Ok(ServerLine::Notify(notify)) = server::parse(line.as_bytes()) else {
            panic!("a job: {line}");
        };
        let job = JobShelf::default().add(line.as_bytes(), &notify).expect("a usable job");
        let difficulty = Difficulty::new(DIFFICULTY).expect("a difficulty");
        client.search = Some(Search::new(job, difficulty, &extranonce1, 8, MASK, 0));
        client
    }

    fn send(&mut self, line: &str) {
        writeln!(self.socket, "{line}").expect("the pool reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the pool writes");
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn expect(&mut self, want: &str) {
        assert_eq!(self.line(), want);
    }

    fn find(&mut self) -> Found {
        let search = self.search.as_mut().expect("a job");
        search.run(&mut u32::MAX.clone()).expect("a share")
    }

    fn job_id(&self) -> String {
        Rc::clone(&self.search.as_ref().expect("a job").job).id.clone()
    }

    /// Submits and returns the code of the refusal, or `None`.
    fn submit(&mut self, worker: &str, job: &str, share: &Found) -> Option<i64> {
        let extranonce2 = hex::text(&share.extranonce2);
        let Found { ntime, nonce, bits, .. } = share;
        let work = format!(r#""{extranonce2}","{ntime:08x}","{nonce:08x}","{bits:08x}""#);
        let params = format!(r#"["{worker}","{job}",{work}]"#);
        self.send(&format!(r#"{{"id":9,"method":"mining.submit","params":{params}}}"#));
        let line = self.line();
        match server::parse(line.as_bytes()) {
            Ok(ServerLine::Response(response)) => match response.outcome() {
                Outcome::Accepted => None,
                Outcome::Refused(no) => no.code,
            },
            _ => panic!("an answer: {line}"),
        }
    }
}

fn start() -> PoolHandle {
    let options = Options { difficulty: DIFFICULTY, ..Options::default() };
    Pool::start(options).expect("a pool")
}

#[test]
fn good_share_is_accepted_once() {
    let pool = start();
    let mut client = Client::mining(&pool);
    let (job, share) = (client.job_id(), client.find());
    assert_eq!(client.submit("farm.1", &job, &share), None);
    assert_eq!(client.submit("farm.1", &job, &share), Some(22));
    let ledger = pool.ledger();
    assert!(ledger.is_balanced());
    assert_eq!((ledger.submitted, ledger.accepted, ledger.rejected.duplicate), (2, 1, 1));
    assert_eq!(ledger.accepted_difficulty, DIFFICULTY);
}

#[test]
fn every_reason_has_its_code_and_its_counter() {
    let pool = start();
    let mut client = Client::mining(&pool);
    let (job, good) = (client.job_id(), client.find());
    let with = |change: fn(&mut Found)| {
        let mut share = good.clone();
        change(&mut share);
        share
    };
    assert_eq!(client.submit("farm.2", &job, &good), Some(24));
    assert_eq!(client.submit("farm.1", "77", &good), Some(21));
    assert_eq!(client.submit("farm.1", &job, &with(|it| it.ntime -= 1)), Some(20));
    assert_eq!(client.submit("farm.1", &job, &with(|it| it.ntime += 7_001)), Some(20));
    assert_eq!(client.submit("farm.1", &job, &with(|it| it.bits = 1)), Some(20));
    assert_eq!(client.submit("farm.1", &job, &with(|it| it.extranonce2.truncate(7))), Some(20));
    // One nonce of 256 is a share: at least one of these is none.
    let mut neighbours = (1..=3).map(|step| {
        let mut share = good.clone();
        share.nonce ^= step << 28;
        share
    });
    assert!(neighbours.any(|share| client.submit("farm.1", &job, &share) == Some(23)));
    pool.push_block();
    client.line();
    assert_eq!(client.submit("farm.1", &job, &good), Some(21));
    let rejected = pool.ledger().rejected;
    assert_eq!((rejected.unauthorized, rejected.unknown_job, rejected.stale), (1, 1, 1));
    assert_eq!((rejected.ntime, rejected.version_bits, rejected.extranonce2), (2, 1, 1));
    assert!(rejected.low_difficulty >= 1);
    assert!(pool.ledger().is_balanced());
}

#[test]
fn submit_before_subscribe_and_without_params_is_refused() {
    let pool = start();
    let mut client = Client::connect(&pool);
    let share = Found { extranonce2: vec![0; 8], ntime: 0, nonce: 0, bits: 0 };
    assert_eq!(client.submit("farm.1", "1", &share), Some(25));
    client.send(r#"{"id":5,"method":"mining.submit","params":["farm.1"]}"#);
    client.expect(r#"{"id":5,"result":null,"error":[20,"malformed share",null]}"#);
    client.send(r#"{"id":6,"method":"mining.dance","params":[]}"#);
    client.expect(r#"{"id":6,"result":null,"error":[20,"method not found",null]}"#);
    let rejected = pool.ledger().rejected;
    assert_eq!((rejected.not_subscribed, rejected.malformed), (1, 1));
    assert_eq!(pool.ledger().submitted, 2);
}

#[test]
fn old_difficulty_counts_for_old_jobs() {
    let pool = start();
    let mut client = Client::mining(&pool);
    let (job, share) = (client.job_id(), client.find());
    // No hash of this test reaches difficulty 1.
    pool.ask(1.0);
    client.expect(r#"{"id":null,"method":"mining.set_difficulty","params":[1]}"#);
    let notify = client.line();
    assert!(notify.contains("mining.notify"), "{notify}");
    assert_eq!(client.submit("farm.1", &job, &share), None);
    assert_eq!(pool.ledger().accepted_difficulty, DIFFICULTY);
}

#[test]
fn block_makes_a_clean_job_on_top_of_itself() {
    // The easiest network there is: every second hash is a block.
    let options = Options { difficulty: DIFFICULTY, nbits: 0x207f_ffff, ..Options::default() };
    let pool = Pool::start(options).expect("a pool");
    let mut client = Client::mining(&pool);
    let (job, share) = (client.job_id(), client.find());
    client.submit("farm.1", &job, &share);
    assert_eq!(pool.ledger().blocks, 1);
    assert_eq!(pool.ledger().clean_jobs, 1);
}

#[test]
fn lines_may_come_in_any_pieces() {
    let pool = start();
    let mut client = Client::connect(&pool);
    for piece in [r#"{"id":1,"meth"#, r#"od":"mining.ping","params":[]}"#, "\r", "\n\r\n\n"] {
        client.socket.write_all(piece.as_bytes()).expect("the pool reads");
        std::thread::sleep(Duration::from_millis(5));
    }
    client.expect(r#"{"id":1,"result":true,"error":null}"#);
    assert_eq!(pool.ledger().traffic.lines_in, 1);
}

#[test]
fn ledger_survives_in_its_file() {
    let path = std::env::temp_dir().join(format!("loka-ledger-{}.json", std::process::id()));
    let options =
        || Options { difficulty: DIFFICULTY, ledger: Some(path.clone()), ..Options::default() };
    let pool = Pool::start(options()).expect("a pool");
    let mut client = Client::mining(&pool);
    let (job, share) = (client.job_id(), client.find());
    assert_eq!(client.submit("farm.1", &job, &share), None);
    drop((client, pool));
    let pool = Pool::start(options()).expect("a pool");
    let ledger = pool.ledger();
    let _ = std::fs::remove_file(&path);
    assert_eq!((ledger.starts, ledger.accepted, ledger.connections.open), (2, 1, 0));
}

#[test]
fn returning_session_may_have_its_extranonce1_again() {
    let options = Options { resume: true, ..Options::default() };
    let pool = Pool::start(options).expect("a pool");
    let subscribe = |client: &mut Client, session: &str| {
        client.send(&format!(
            r#"{{"id":1,"method":"mining.subscribe","params":["test","{session}"]}}"#
        ));
        let line = client.line();
        match server::parse(line.as_bytes()) {
            Ok(ServerLine::Response(response)) => {
                response.subscribe().expect("a subscription").extranonce1.as_raw().to_owned()
            }
            _ => panic!("an answer: {line}"),
        }
    };
    let mut first = Client::connect(&pool);
    let extranonce1 = subscribe(&mut first, "");
    let mut second = Client::connect(&pool);
    assert_ne!(subscribe(&mut second, &extranonce1), extranonce1, "it is in use");
    drop(first);
    while pool.ledger().connections.open > 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut third = Client::connect(&pool);
    assert_eq!(subscribe(&mut third, &extranonce1), extranonce1);
}
