//! The engine in an image without an allocator.
//!
//! There is no `#[global_allocator]` and no `extern crate alloc`: if anything that [`session`]
//! reaches needed a heap, this would not link. On a board the image begins at `_start` and never
//! returns. On the host the C library calls `main`, so that the same session can also be run:
//! a pool comes up, a miner joins, its share is judged, forwarded and accepted. The exit code is
//! 0 where every step gave what it should.
#![no_std]
#![no_main]

use core::array::from_fn;
use core::hint::black_box;
use core::panic::PanicInfo;

use loka_stratum::identity::Identity;
use loka_stratum::limits::{
    DOWNSTREAM_LINE_BYTES_MAX, JOBS_PER_LINK, OUTPUT_BYTES_MIN, PENDING_SHARES_MAX,
};
use loka_stratum::links;
use loka_stratum::pending::Pending;
use loka_stratum::proxy::{LinkSizes, Options, PoolLogin, Proxy, Storage, VerdictMode};
use loka_stratum::table::{MinerHandle, RestingId, Slot};
use loka_stratum::time::{Duration, Instant};
use loka_stratum::upstream::LinkIndex;
use loka_stratum::vardiff;
use loka_stratum::wire::writer::Writer;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::job::Job;

const MINERS: usize = 2;

/// What a pool says: three answers, a difficulty that every hash reaches, a job.
const POOL: [&[u8]; 6] = [
    b"{\"id\":1,\"result\":{\"version-rolling\":true,\"version-rolling.mask\":\"1fffe000\"}}\n",
    b"{\"id\":2,\"result\":[[[\"mining.notify\",\"s\"]],\"c0ffee01\",8],\"error\":null}\n",
    b"{\"id\":3,\"result\":true,\"error\":null}\n",
    b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1e-10]}\n",
    b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"1\",\"0101010101010101010101010101",
    b"010101010101010101010101010100000000\",\"02\",\"00\",[],\"20000000\",\"17023774\",\
      \"68426000\",true]}\n",
];

/// What a miner says before it has a job.
const MINER: &[u8] = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"probe/1\"]}\n\
    {\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"farm.1\",\"x\"]}\n";

/// How a notify begins; the job's id follows.
const NOTIFY: &[u8] = b"\"mining.notify\",\"params\":[\"";

/// A submit before and after the job's id.
const SUBMIT: [&[u8]; 2] = [
    b"{\"id\":3,\"method\":\"mining.submit\",\"params\":[\"farm.1\",\"",
    b"\",\"00000001\",\"68426000\",\"00000000\"]}\n",
];

/// What the miner is told of it.
const ACCEPTED: &[u8] = b"{\"id\":3,\"result\":true,\"error\":null}\n";

/// What the pool says of it; the engine numbers its submits from 16.
const POOL_ACCEPTS: &[u8] = b"{\"id\":16,\"result\":true,\"error\":null}\n";

/// The engine between one pool and one miner, with a buffer for what either hears.
struct Conversation<'a> {
    proxy: Proxy<'a>,
    buffer: [u8; OUTPUT_BYTES_MIN],
    now: Instant,
}

impl Conversation<'_> {
    /// The pool speaks; what it hears is dropped.
    fn pool_says(&mut self, link: LinkIndex, bytes: &[u8]) -> Option<()> {
        self.proxy.handle_link_input(link, bytes, self.now).ok()?;
        let mut out = Writer::new(&mut self.buffer);
        self.proxy.poll_link_output(link, &mut out, self.now).ok()?;
        Some(())
    }

    /// The miner speaks; returns what it hears.
    fn miner_says(&mut self, miner: MinerHandle, mut bytes: &[u8]) -> Option<&[u8]> {
        let mut out = Writer::new(&mut self.buffer);
        self.proxy.handle_input(miner, &mut bytes, &mut out, self.now).ok()?;
        self.proxy.poll_output(miner, &mut out, self.now).ok()?;
        let heard = out.len();
        self.buffer.get(..heard)
    }
}

/// Takes a pool and a miner through everything up to a share that the pool has accepted.
fn session() -> Option<()> {
    let now = Instant::from_micros(black_box(1_000_000_000));
    let mut jobs: [Job; JOBS_PER_LINK] = from_fn(|_| Job::vacant());
    let storage = Storage {
        slots: &mut [const { Slot::VACANT }; MINERS],
        lines: &mut [0; MINERS * DOWNSTREAM_LINE_BYTES_MAX],
        ids: &mut [RestingId::FRESH; Storage::ids_for(MINERS)],
        link_sizes: LinkSizes::MAX,
        jobs: &mut jobs,
        pending: &mut [Pending::FREE; PENDING_SHARES_MAX],
        link_bytes: &mut [0; Storage::LINK_BYTES],
    };
    let proxy = Proxy::new(storage, options()?, now).ok()?;
    let mut talk = Conversation { proxy, buffer: [0; OUTPUT_BYTES_MIN], now };

    talk.proxy.handle_timeout(now);
    let (link, _) = talk.proxy.poll_dial(now)?;
    talk.proxy.handle_link_up(link, now);
    talk.pool_says(link, b"")?;
    for bytes in POOL {
        talk.pool_says(link, bytes)?;
    }

    let miner = talk.proxy.handle_connect([0; 16], now).ok()?;
    let heard = talk.miner_says(miner, MINER)?;
    let at = heard.windows(NOTIFY.len()).position(|window| window == NOTIFY)?;
    let job_id = heard.get(at + NOTIFY.len()..)?.split(|byte| *byte == b'"').next()?;
    let mut buffer = [0; 256];
    let mut submit = Writer::new(&mut buffer);
    for part in [SUBMIT[0], job_id, SUBMIT[1]] {
        submit.push(part).ok()?;
    }
    talk.miner_says(miner, submit.as_slice())?.starts_with(ACCEPTED).then_some(())?;

    talk.pool_says(link, b"")?;
    talk.pool_says(link, POOL_ACCEPTS)?;
    let ledger = talk.proxy.ledger();
    let answered = ledger.of(loka_stratum::ledger::Bucket::PoolAccepted);
    (ledger.check() && answered == 1).then_some(())
}

fn options() -> Option<Options> {
    let login = PoolLogin {
        user: "farm.gateway".try_into().ok()?,
        password: "x".try_into().ok()?,
        host: "pool.example.com".try_into().ok()?,
    };
    Some(Options {
        pools: heapless::Vec::from_iter([login]),
        links: links::Policy { pools: 1, standby: false, ..links::Policy::default() },
        vardiff: vardiff::Policy {
            start: Difficulty::new(1e-10).ok()?,
            min: Difficulty::new(1e-12).ok()?,
            max: Difficulty::new(1e15).ok()?,
            share_interval: Duration::from_secs(10),
        },
        keepalive: Duration::from_secs(45),
        verdict: VerdictMode::Local,
        identity: Identity::Single,
        warm: true,
        submit_interval: Duration::from_millis(10),
        geometry: None,
        first_miner_id: 0,
        agent: "probe".try_into().ok()?,
        seed: 1,
    })
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Where a board begins.
#[cfg(target_os = "none")]
// SAFETY: no other function of this name is linked.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    black_box(session());
    loop {
        core::hint::spin_loop();
    }
}

/// Where the C library of the host begins.
#[cfg(not(target_os = "none"))]
// SAFETY: no other function of this name is linked; the C library passes arguments, unused here.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    i32::from(session().is_none())
}

#[cfg(not(target_os = "none"))]
#[link(name = "c")]
// SAFETY: declares nothing; the C library gives `memcpy` and its like, and calls `main`.
unsafe extern "C" {}
