//! The instructions of one submit, for callgrind to count: `cargo xtask instructions`.
//!
//! `light` shares reach their miner's difficulty and stay here. `forwarded` shares also reach the
//! pool's, leave in the link's lines, and get the pool's answer later. `crowd` is the same for many
//! miners, each at its own address. All calls of the engine are in [`counted`], where callgrind
//! collects; hashing has its own symbol.
//!
//! Figures leave hashing out: valgrind shows no SHA extensions to the program.

#[path = "../tests/farm/mod.rs"]
mod farm;

use std::collections::VecDeque;
use std::hint::black_box;

use farm::{Farm, HOPELESS, TRIVIAL, notified};
use loka_stratum::limits::OUTPUT_BYTES_MIN;
use loka_stratum::table::MinerHandle;
use loka_stratum::time::Duration;
use loka_stratum::upstream::LinkIndex;
use loka_stratum::wire::hex;
use loka_stratum::wire::writer::Writer;
use serde_json::json;

/// Shares that wait for the pool's answer at any time, as at 2,000 shares a second and 50 ms.
const UNANSWERED: usize = 100;

/// Miners of a crowd: more than a link's health listens to.
const CROWD: u8 = 60;

/// Submits where the command line names no number: fewer than a miner may have for one job.
const COUNT: u32 = 1_000;

/// A way of a share through the engine.
struct Way {
    farm: Farm,
    link: LinkIndex,
    /// Each miner, and its line of a submit.
    miners: Vec<(MinerHandle, Vec<u8>)>,
    nonce_at: usize,
    out: Vec<u8>,
    sent: Vec<u8>,
    /// Ids of the submits that the pool has not answered.
    unanswered: VecDeque<Vec<u8>>,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|it| it == word);
    let count = words.iter().find_map(|word| word.parse().ok()).unwrap_or(COUNT);
    let ways = [("light", HOPELESS, 1), ("forwarded", TRIVIAL, 1), ("crowd", TRIVIAL, CROWD)];
    let is_any = !ways.iter().any(|(name, ..)| has(name));
    for (name, pool_difficulty, miners) in ways {
        if is_any || has(name) {
            Way::new(pool_difficulty, miners).run(name, count);
        }
    }
}

impl Way {
    fn new(pool_difficulty: f64, miners: u8) -> Self {
        let (mut farm, link) = Farm::live("c0ffee01", 8, pool_difficulty);
        let mut nonce_at = 0;
        let mut miner = |number: u8| {
            let address = core::net::Ipv4Addr::new(192, 0, 2, number).to_ipv6_mapped().octets();
            let (miner, heard) = farm.miner_at(address, "farm.s19");
            let job = notified(&heard);
            let line = json!({"id": 4, "method": "mining.submit",
                "params": ["farm.s19", job[0], "00000001", job[7], "00000000"]});
            let line = line.to_string() + "\n";
            nonce_at = line.rfind("\"00000000\"").unwrap() + 1;
            (miner, line.into_bytes())
        };
        let miners = (1..=miners).map(&mut miner).collect();
        farm.pool_hears(link);
        let buffer = || vec![0; OUTPUT_BYTES_MIN];
        let (out, sent, unanswered) = (buffer(), buffer(), VecDeque::new());
        Self { farm, link, miners, nonce_at, out, sent, unanswered }
    }

    fn run(mut self, name: &str, count: u32) {
        for nonce in 0..count {
            self.step(nonce);
        }
        let ledger = self.farm.proxy.ledger();
        assert_eq!(ledger.rejected(), 0, "every share of the bench is good");
        assert!(ledger.check());
        println!("{name}: {count} submits");
    }

    fn step(&mut self, nonce: u32) {
        let of = nonce as usize % self.miners.len();
        let line = &mut self.miners[of].1;
        line[self.nonce_at..self.nonce_at + 8].copy_from_slice(&hex::digits(nonce));
        // Time passes as it would for a miner that keeps within its allowance.
        self.farm.now = self.farm.now + Duration::from_millis(10);
        let answer = (self.unanswered.len() >= UNANSWERED).then(|| {
            let id = self.unanswered.pop_front().unwrap_or_default();
            [b"{\"id\":", id.as_slice(), b",\"result\":true,\"error\":null}\n"].concat()
        });
        let sent = counted(self, of, answer.as_deref());
        let line = &self.sent[..sent];
        if let Some(id) = line.strip_prefix(b"{\"id\":") {
            let digits = id.iter().take_while(|byte| byte.is_ascii_digit()).count();
            self.unanswered.push_back(id[..digits].to_vec());
        }
    }

    /// Does for a share what the gateway asks of the engine; returns the bytes for the pool.
    fn share(&mut self, of: usize, answer: Option<&[u8]>) -> usize {
        let Self { farm, link, miners, out, sent, .. } = self;
        let (miner, line) = &miners[of];
        let mut out = Writer::new(out);
        let mut input = &line[..];
        farm.proxy.handle_input(*miner, &mut input, &mut out, farm.now).unwrap();
        farm.proxy.poll_output(*miner, &mut out, farm.now).unwrap();
        black_box(out.len());
        let mut sent = Writer::new(sent);
        farm.proxy.poll_link_output(*link, &mut sent, farm.now).unwrap();
        if let Some(answer) = answer {
            farm.proxy.handle_link_input(*link, answer, farm.now).unwrap();
        }
        sent.len()
    }
}

/// What callgrind collects in.
#[inline(never)]
fn counted(way: &mut Way, of: usize, answer: Option<&[u8]>) -> usize {
    black_box(way.share(of, answer))
}
