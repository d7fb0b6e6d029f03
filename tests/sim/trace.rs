//! The trace of a run: a hash for the comparison of two runs (I9), and a text for people.

use std::collections::VecDeque;
use std::fmt::Arguments;

/// Number of events kept for the report of a failed seed.
const SHOWN: usize = 200;

/// A run's events.
pub struct Trace {
    hash: u64,
    pub events: u64,
    shown: Option<Shown>,
}

struct Shown {
    last: VecDeque<String>,
    all: bool,
}

/// The broken invariant, with its details.
#[derive(Clone, Debug)]
pub struct Broken {
    pub invariant: &'static str,
    pub detail: String,
}

/// The detail of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The hash only.
    Hash,
    /// The last events too.
    Last,
    /// Everything, printed as it happens.
    All,
}

impl Trace {
    pub fn new(record: Record) -> Self {
        let shown = Shown { last: VecDeque::new(), all: record == Record::All };
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            shown: (record != Record::Hash).then_some(shown),
        }
    }

    /// Records an event: `kind` and numbers always, the text only if it is shown.
    pub fn event(&mut self, now: u64, kind: u64, what: u64, text: Arguments<'_>) {
        self.events += 1;
        self.mix(now);
        self.mix(kind << 56 ^ what);
        let Some(shown) = &mut self.shown else { return };
        let line = format!("{:>11.6} {text}", now as f64 / 1e6);
        if shown.all {
            println!("{line}");
        }
        if shown.last.len() >= SHOWN {
            shown.last.pop_front();
        }
        shown.last.push_back(line);
    }

    /// Adds bytes to the hash.
    pub fn bytes(&mut self, now: u64, kind: u64, what: u64, who: &str, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        let mut word = [0; 8];
        rest.iter().zip(&mut word).for_each(|(byte, place)| *place = *byte);
        self.mix(u64::from_le_bytes(word));
        if self.shown.is_none() {
            self.event(now, kind, what, format_args!(""));
            return;
        }
        let end = bytes.len().min(220);
        let text = String::from_utf8_lossy(&bytes[..end]);
        let text = text.trim_end();
        self.event(now, kind, what, format_args!("{who} {what}: {} B {text}", bytes.len()));
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last events, oldest first.
    pub fn last(&self) -> Vec<String> {
        self.shown.iter().flat_map(|shown| shown.last.iter().cloned()).collect()
    }
}

/// Ends the run: an invariant does not hold.
#[track_caller]
pub fn broken(invariant: &'static str, detail: String) -> ! {
    std::panic::panic_any(Broken { invariant, detail })
}

/// Asserts an invariant.
macro_rules! hold {
    ($invariant:expr, $condition:expr, $($text:tt)+) => {
        if !$condition {
            $crate::trace::broken($invariant, format!($($text)+));
        }
    };
}
pub(crate) use hold;
