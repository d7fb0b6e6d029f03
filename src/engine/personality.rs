//! Known firmware and its limits (`docs/stratum-quirks.md`): the difficulties it takes unchanged,
//! the longest coinbase and worker name it handles, and how to ask it to come back.
//!
//! A [`Personality`] is chosen by the user agent of mining.subscribe, which may be missing, shared
//! by many devices or made up. So it never decides whether a miner is served. Unknown firmware is
//! treated as an ASIC of the strictest kind. Behaviour counts more than the name: a miner that
//! suggests a difficulty below 1 takes fractions, whatever its user agent.
//!
//! Rules for every firmware are elsewhere: configure answers only the requested extensions (QUIRKS
//! 12), and the answer is the next line (QUIRKS 11).

/// The difficulties that a firmware takes unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Steps {
    /// Powers of two. Others are rounded up or down, which loses shares or hash-rate (QUIRKS 26).
    PowersOfTwo,
    /// Any number (QUIRKS 27).
    Any,
}

/// How a firmware is asked to come back after a restart of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Farewell {
    /// By `client.reconnect` without a host, which it obeys at once. cgminer refuses a host without
    /// a dot, as an address of the LAN may be (QUIRKS 45).
    Reconnect,
    /// Not at all: it ignores the request, or its behaviour is unknown. Its connection ends, and it
    /// retries on its own.
    Silent,
}

/// A firmware's known limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Personality {
    /// The name in logs and on status pages.
    pub name: &'static str,
    /// Parts of its user agent, in lower case; one match is enough.
    agents: &'static [&'static str],
    /// The difficulties that it takes unchanged.
    pub steps: Steps,
    /// The longest coinbase that it survives, in bytes, if recorded.
    pub coinbase_bytes_max: Option<u32>,
    /// The longest worker name that it surely keeps whole, in bytes, if recorded.
    pub worker_bytes_max: Option<u8>,
    /// How it is asked to come back.
    pub farewell: Farewell,
}

impl Personality {
    /// Firmware about which nothing is known.
    pub const UNKNOWN: Self = Self {
        name: "unknown",
        agents: &[],
        steps: Steps::PowersOfTwo,
        coinbase_bytes_max: None,
        worker_bytes_max: None,
        farewell: Farewell::Silent,
    };

    /// Returns the first known firmware that matches the user agent.
    pub fn of(user_agent: &str) -> &'static Self {
        let fits = |known: &&Self| known.agents.iter().any(|part| contains(user_agent, part));
        KNOWN.iter().find(fits).unwrap_or(&UNKNOWN)
    }
}

static UNKNOWN: Personality = Personality::UNKNOWN;

/// All known firmware, narrower names first.
static KNOWN: [Personality; 8] = [
    Personality {
        name: "antminer-s21",
        farewell: Farewell::Reconnect,
        agents: &["antminer s21"],
        // QUIRKS 41: 2.25 KB.
        coinbase_bytes_max: Some(2250),
        ..Personality::UNKNOWN
    },
    Personality {
        name: "antminer",
        farewell: Farewell::Reconnect,
        agents: &["antminer s19", "bmminer"],
        // QUIRKS 41: about 730 B, of an S19 with the maker's firmware.
        coinbase_bytes_max: Some(730),
        ..Personality::UNKNOWN
    },
    Personality {
        name: "whatsminer",
        farewell: Farewell::Reconnect,
        agents: &["whatsminer"],
        // QUIRKS 41: 6.5 KB.
        coinbase_bytes_max: Some(6500),
        // QUIRKS 44: it overflows above.
        worker_bytes_max: Some(127),
        ..Personality::UNKNOWN
    },
    Personality {
        name: "nicehash",
        agents: &["nicehash/"],
        // QUIRKS 41: about 500 B.
        coinbase_bytes_max: Some(500),
        ..Personality::UNKNOWN
    },
    Personality {
        name: "epic-or-bitaxe",
        agents: &["powerplay-", "bitaxe"],
        // QUIRKS 41: 16 KB.
        coinbase_bytes_max: Some(16_000),
        ..Personality::UNKNOWN
    },
    Personality {
        name: "avalon",
        farewell: Farewell::Reconnect,
        agents: &["cgminer/4.11.1"],
        // QUIRKS 44: names are cut to 63 letters, so a name of 63 may be truncated.
        worker_bytes_max: Some(62),
        ..Personality::UNKNOWN
    },
    Personality {
        name: "nerdminer",
        agents: &["nerdminer"],
        // QUIRKS 27.
        steps: Steps::Any,
        ..Personality::UNKNOWN
    },
    Personality {
        name: "cpuminer",
        agents: &["cpuminer"],
        // QUIRKS 27.
        steps: Steps::Any,
        ..Personality::UNKNOWN
    },
];

/// A field too long for a firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Unfit {
    /// The coinbase of a job, in bytes.
    Coinbase {
        /// Bytes in the pool's job.
        got: u32,
        /// Bytes that the firmware is known to survive.
        limit: u32,
    },
    /// The name of its worker, in bytes.
    WorkerName {
        /// Bytes in its name.
        got: u8,
        /// Bytes that the firmware is known to keep.
        limit: u8,
    },
}

impl core::fmt::Display for Unfit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Coinbase { got, limit } => {
                write!(f, "a coinbase of {got} bytes; its known limit is {limit}")
            }
            Self::WorkerName { got, limit } => {
                write!(f, "a worker name of {got} bytes; its known limit is {limit}")
            }
        }
    }
}

/// Says whether `text` contains the lower-case `part`, ignoring ASCII case.
fn contains(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|piece| piece.eq_ignore_ascii_case(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user_agent: &str, name: &str) {
        assert_eq!(Personality::of(user_agent).name, name, "{user_agent}");
    }

    #[test]
    fn agents_from_the_wild_are_known() {
        check("bmminer/2.0.0/Antminer S9/14000", "antminer");
        check("Antminer S21/Thu Oct  9 17:56:18 CST 2025", "antminer-s21");
        check("Antminer T21", "unknown");
        check("whatsminer/v1.1", "whatsminer");
        check("NiceHash/1.0.0", "nicehash");
        check("cgminer/3.7.3-nicehash-3", "unknown");
        check("cgminer/4.11.1", "avalon");
        check("bitaxe/BM1370/v2.13.1", "epic-or-bitaxe");
        check("PowerPlay-BMS/1.24.0", "epic-or-bitaxe");
        check("NerdMinerV2/V1.8.3", "nerdminer");
        check("NerdQAxe++/BM1370/v1.0.36", "unknown");
        check("cpuminer-opt-26.1-x64L", "cpuminer");
        check("", "unknown");
    }

    #[test]
    fn who_ignores_a_request_to_come_back_is_not_sent_one() {
        let farewell = |agent| Personality::of(agent).farewell;
        assert_eq!(farewell("cgminer/4.11.1"), Farewell::Reconnect);
        assert_eq!(farewell("bmminer/2.0.0"), Farewell::Reconnect);
        assert_eq!(farewell("bitaxe/BM1370/v2.13.1"), Farewell::Silent);
        assert_eq!(farewell("cpuminer/2.5.1"), Farewell::Silent);
        assert_eq!(farewell("a new thing"), Farewell::Silent);
    }

    #[test]
    fn names_to_look_for_are_lower_case() {
        for known in &KNOWN {
            assert!(known.agents.iter().all(|part| part.to_ascii_lowercase() == *part));
            assert!(!known.agents.is_empty());
        }
    }
}
