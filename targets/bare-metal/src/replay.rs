//! Replays the recorded session.
//!
//! The lines of pool and miner in `session.txt` are fed to the engine one after the other. Its
//! output must equal the file's next lines, byte for byte, with nothing added. Job ids, the miner's
//! id and the numbers of submits follow from the options, so a recording is reproducible.

use core::array::from_fn;
use core::fmt::{self, Write};
use core::hint::black_box;

use loka_stratum::identity::Identity;
use loka_stratum::ledger::Bucket;
use loka_stratum::limits::{
    DOWNSTREAM_LINE_BYTES_MAX, JOBS_PER_LINK, OUTPUT_BYTES_MIN, SEEN_BUCKET_PLACES,
};
use loka_stratum::links;
use loka_stratum::pending::Pending;
use loka_stratum::proxy::{LinkSizes, Options, PoolLogin, Proxy, Storage, VerdictMode};
use loka_stratum::table::{IdBlock, MinerHandle, Slot};
use loka_stratum::time::{Duration, Instant};
use loka_stratum::upstream::LinkIndex;
use loka_stratum::vardiff;
use loka_stratum::wire::writer::Writer;
use loka_stratum::work::difficulty::Difficulty;
use loka_stratum::work::job::Job;

const SESSION: &str = include_str!("../session.txt");

const MINERS: usize = 2;

/// Places for waiting shares.
const QUEUE: usize = 64;

/// The id that the gateway of the recording gave its miner.
const MINER_ID: u16 = 0x8b00;

/// The initial difficulty of that miner.
const DIFFICULTY: f64 = 0.001;

/// Time between two lines.
const STEP: Duration = Duration::from_millis(100);

const SUBMIT: &str = "\"mining.submit\"";

/// Why the session did not go as recorded.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// The engine cannot be set up as for the recording.
    Options,
    /// The engine refused a line of pool or miner.
    Refused { line: usize },
    /// The engine's output differs from the file's next line; both were printed.
    Differs { line: usize },
    /// The engine's output has more lines than the file.
    More { line: usize },
    /// The ledger's counts differ from the recording.
    Ledger,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options => f.write_str("the engine cannot be set up"),
            Self::Refused { line } => write!(f, "line {line} was refused"),
            Self::Differs { line } => write!(f, "line {line} is not what the engine said"),
            Self::More { line } => write!(f, "the engine said more before line {line}"),
            Self::Ledger => f.write_str("the ledger has other counts"),
        }
    }
}

/// The engine's unread output to one side.
struct Heard {
    bytes: [u8; OUTPUT_BYTES_MIN],
    length: usize,
    read: usize,
}

impl Heard {
    const NOTHING: Self = Self { bytes: [0; OUTPUT_BYTES_MIN], length: 0, read: 0 };

    /// Lets the engine write.
    fn collect(&mut self, write: impl FnOnce(&mut Writer<'_>) -> Option<()>) -> Option<()> {
        let mut out = Writer::new(&mut self.bytes);
        write(&mut out)?;
        (self.length, self.read) = (out.len(), 0);
        Some(())
    }

    /// Takes the next line.
    fn next(&mut self) -> Option<&str> {
        let rest = self.bytes.get(self.read..self.length)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        self.read += end + 1;
        core::str::from_utf8(rest.get(..end)?).ok()
    }

    fn is_empty(&self) -> bool {
        self.read == self.length
    }
}

/// The engine between one pool and one miner.
struct Conversation<'a> {
    proxy: Proxy<'a>,
    link: LinkIndex,
    miner: Option<MinerHandle>,
    to_pool: Heard,
    to_miner: Heard,
    now: Instant,
}

impl Conversation<'_> {
    fn pool_says(&mut self, text: &str) -> Option<()> {
        self.proxy.handle_link_input(self.link, text.as_bytes(), self.now).ok()?;
        self.proxy.handle_link_input(self.link, b"\n", self.now).ok()?;
        let Self { proxy, miner, to_miner, now, .. } = self;
        if let Some(miner) = *miner {
            to_miner.collect(|out| proxy.poll_output(miner, out, *now).ok().map(drop))?;
        }
        self.ask_link()
    }

    fn miner_says(&mut self, text: &str) -> Option<()> {
        let miner = match self.miner {
            Some(miner) => miner,
            None => self.proxy.handle_connect([0; 16], self.now).ok()?,
        };
        self.miner = Some(miner);
        let Self { proxy, to_miner, now, .. } = self;
        to_miner.collect(|out| {
            for mut bytes in [text.as_bytes(), b"\n"] {
                proxy.handle_input(miner, &mut bytes, out, *now).ok()?;
            }
            proxy.poll_output(miner, out, *now).ok().map(drop)
        })?;
        self.ask_link()
    }

    fn ask_link(&mut self) -> Option<()> {
        let Self { proxy, link, to_pool, now, .. } = self;
        to_pool.collect(|out| proxy.poll_link_output(*link, out, *now).ok().map(drop))
    }
}

/// Serves the session and prints its verdicts.
///
/// # Errors
///
/// The first line that differs from the recording.
pub fn session(console: &mut impl Write) -> Result<(), Failure> {
    let now = Instant::from_micros(black_box(1_000_000_000));
    let mut jobs: [Job; JOBS_PER_LINK] = from_fn(|_| Job::vacant());
    let storage = Storage {
        slots: &mut [const { Slot::VACANT }; MINERS],
        lines: &mut [0; MINERS * DOWNSTREAM_LINE_BYTES_MAX],
        ids: &mut [IdBlock::FREE; Storage::ID_BLOCKS],
        seen: &mut [[0; SEEN_BUCKET_PLACES]; Storage::seen_min(MINERS)],
        link_sizes: LinkSizes { pending: QUEUE, ..LinkSizes::MAX },
        jobs: &mut jobs,
        pending: &mut [Pending::FREE; QUEUE],
        link_bytes: &mut [0; Storage::LINK_BYTES],
    };
    let options = options().ok_or(Failure::Options)?;
    let mut proxy = Proxy::new(storage, options, now).map_err(|_| Failure::Options)?;
    proxy.handle_timeout(now);
    let (link, _) = proxy.poll_dial(now).ok_or(Failure::Options)?;
    proxy.handle_link_up(link, now);
    let (to_pool, to_miner) = (Heard::NOTHING, Heard::NOTHING);
    let mut talk = Conversation { proxy, link, miner: None, to_pool, to_miner, now };
    talk.ask_link().ok_or(Failure::Options)?;
    serve(&mut talk, console)?;

    let ledger = talk.proxy.ledger();
    let (submitted, accepted) = (ledger.submitted(), ledger.accepted());
    let by_pool = ledger.of(Bucket::PoolAccepted);
    let _ = writeln!(console, "{submitted} shares: {accepted} accepted, {by_pool} by the pool");
    let recorded = |who: &str| {
        let lines = SESSION.lines().filter(|line| line.starts_with(who) && line.contains(SUBMIT));
        lines.count() as u64
    };
    let is_right = ledger.check() && submitted == recorded("miner: ");
    let is_right = is_right && by_pool == recorded("to pool: ");
    is_right.then_some(()).ok_or(Failure::Ledger)
}

fn serve(talk: &mut Conversation<'_>, console: &mut impl Write) -> Result<(), Failure> {
    let mut is_submit = false;
    for (index, text) in SESSION.lines().enumerate() {
        let line = index + 1;
        let Some((who, text)) = text.split_once(": ").filter(|_| !text.starts_with('#')) else {
            continue;
        };
        let heard = match who {
            "to pool" => talk.to_pool.next(),
            "to miner" => talk.to_miner.next(),
            _ => {
                if !(talk.to_pool.is_empty() && talk.to_miner.is_empty()) {
                    return Err(Failure::More { line });
                }
                talk.now = talk.now + STEP;
                is_submit = who == "miner" && text.contains(SUBMIT);
                let said = if who == "pool" { talk.pool_says(text) } else { talk.miner_says(text) };
                said.ok_or(Failure::Refused { line })?;
                continue;
            }
        };
        if heard != Some(text) {
            let _ = writeln!(console, "recorded: {text}\nsaid:     {}", heard.unwrap_or("nothing"));
            return Err(Failure::Differs { line });
        }
        if is_submit && who == "to miner" {
            let _ = writeln!(console, "verdict: {text}");
        }
    }
    let is_over = talk.to_pool.is_empty() && talk.to_miner.is_empty();
    is_over.then_some(()).ok_or(Failure::More { line: SESSION.lines().count() })
}

fn options() -> Option<Options> {
    let login = PoolLogin {
        user: "farm.gateway".try_into().ok()?,
        password: "x".try_into().ok()?,
        host: "pool.example.com".try_into().ok()?,
        port: 3333,
    };
    Some(Options {
        pools: heapless::Vec::from_iter([login]),
        links: links::Policy { pools: 1, standby: false, ..links::Policy::default() },
        vardiff: vardiff::Policy {
            start: Difficulty::new(DIFFICULTY).ok()?,
            min: Difficulty::new(DIFFICULTY).ok()?,
            max: Difficulty::new(4_398_046_511_104.0).ok()?,
            share_interval: Duration::from_secs(10),
        },
        keepalive: Duration::from_secs(45),
        verdict: VerdictMode::Local,
        identity: Identity::Single,
        warm: true,
        submit_interval: Duration::from_millis(10),
        geometry: None,
        first_miner_id: MINER_ID,
        agent: "loka-stratum/0.1.0".try_into().ok()?,
        seed: 1,
    })
}
