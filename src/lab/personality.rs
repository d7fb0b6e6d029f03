//! The habits of firmwares: their recorded requests, and the answers that make them leave.
//!
//! Each entry follows a capture of a real session, a bug report or a source line, named at the
//! entry. Only worker names, passwords and the size of suggested difficulties are the lab's own,
//! since a simulated ASIC is many orders of magnitude slower.

/// The order of a request's members, and the spaces between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"id": 1, "method": "m", "params": []}`
    IdFirst,
    /// `{"id":1,"method":"m","params":[]}`
    Compact,
    /// `{"params": [], "id": 1, "method": "m"}`: the cgminer family's submits.
    ParamsFirst,
    /// `{"method": "m", "params": [], "id":4}`: cpuminer's submits.
    MethodFirst,
}

/// One request of the handshake.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The id as raw JSON, or `None` for the next number.
    pub id: Option<&'static str>,
    pub method: &'static str,
    /// Raw JSON, in which `{worker}`, `{password}`, `{session}`, `{host}`, `{suggest}` and
    /// `{target}` are filled in.
    pub params: &'static str,
}

/// When the next request of the handshake is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// After the previous answer.
    OneByOne,
    /// All in one segment, before any answer.
    Together,
}

/// The ids of submits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitId {
    /// The next number.
    Running,
    /// Always the same.
    Always(u64),
}

/// A firmware's use of version rolling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rolling {
    /// Never asks, submits five parameters.
    Never,
    /// Requests it, and goes on without it after a refusal.
    Likes,
    /// Requests it, and leaves after a refusal.
    Needs,
    /// Requests it, but always submits `00000000`.
    Idle,
}

/// A firmware's reaction to a new extranonce1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExtranonce {
    Ignores,
    /// As the NiceHash extension specifies.
    WithNextJob,
    /// The job at hand included.
    AtOnce,
}

/// The counting of extranonce2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extranonce2 {
    /// Counts on, from zero again with a clean job.
    Counts,
    /// From zero again with every job.
    RestartsWithEveryJob,
    Random,
}

/// A firmware.
#[derive(Debug)]
pub struct Personality {
    pub name: &'static str,
    /// The handshake in the order of sending.
    pub handshake: &'static [Request],
    pub pace: Pace,
    pub form: Form,
    pub submit_form: Form,
    pub first_id: u64,
    /// Ids continue across a reconnect.
    pub ids_survive: bool,
    pub submit_id: SubmitId,
    pub rolling: Rolling,
    /// Leaves if the answer to configure has a key that it did not request.
    pub minds_extra_keys: bool,
    /// Leaves if the line after its configure is not the answer.
    pub reads_one_line: bool,
    pub on_extranonce: OnExtranonce,
    pub extranonce2: Extranonce2,
    /// Sets ntime forward with the clock.
    pub rolls_ntime: bool,
    /// Sent after every clean job.
    pub health_check: Option<Request>,
    /// Hash rate relative to the slowest firmware, which has 1.
    pub speed: u32,
}

const fn request(method: &'static str, params: &'static str) -> Request {
    Request { id: None, method, params }
}

const CONFIGURE: &str = "mining.configure";
const SUBSCRIBE: &str = "mining.subscribe";
const AUTHORIZE: &str = "mining.authorize";
const SUGGEST: &str = "mining.suggest_difficulty";
const WORKER: &str = r#"["{worker}", "{password}"]"#;
const ASK_1FFFE000: &str = r#"[["version-rolling"], {"version-rolling.mask": "1fffe000"}]"#;
const ASK_FFFFFFFF: &str = r#"[["version-rolling"], {"version-rolling.mask": "ffffffff"}]"#;

/// The common behaviour; the entries list the differences.
const PLAIN: Personality = Personality {
    name: "",
    handshake: &[],
    pace: Pace::OneByOne,
    form: Form::IdFirst,
    submit_form: Form::ParamsFirst,
    first_id: 1,
    ids_survive: true,
    submit_id: SubmitId::Running,
    rolling: Rolling::Likes,
    minds_extra_keys: false,
    reads_one_line: false,
    on_extranonce: OnExtranonce::Ignores,
    extranonce2: Extranonce2::Counts,
    rolls_ntime: false,
    health_check: None,
    speed: 8,
};

/// Every personality; `mixed` assigns them in this order.
pub const ALL: &[Personality] = &[
    // miner-antminer-s19xp-s9x16.txt: "params" first, a session id in the subscribe.
    Personality {
        name: "antminer",
        handshake: &[
            Request {
                id: None,
                method: CONFIGURE,
                params: concat!(
                    r#"[["version-rolling"], {"version-rolling.mask": "1fffe000", "#,
                    r#""version-rolling.min-bit-count": 16}]"#
                ),
            },
            request(SUBSCRIBE, r#"["bmminer/2.0.0", "{session}"]"#),
            request(AUTHORIZE, r#"["{worker}", ""]"#),
        ],
        first_id: 2_955,
        rolls_ntime: true,
        ..PLAIN
    },
    // miner-whatsminer-m30s.txt: high ids; leaves when configure answers more than was asked.
    Personality {
        name: "whatsminer",
        handshake: &[
            request(CONFIGURE, ASK_1FFFE000),
            request(SUBSCRIBE, r#"["whatsminer/v1.0", "{session}"]"#),
            request(AUTHORIZE, WORKER),
        ],
        first_id: 196,
        rolling: Rolling::Idle,
        minds_extra_keys: true,
        ..PLAIN
    },
    // cgminer util.c, configure_stratum_mining: one line is read after configure.
    Personality {
        name: "cgminer",
        handshake: &[
            Request {
                id: None,
                method: CONFIGURE,
                params: concat!(
                    r#"[["version-rolling"], {"version-rolling.mask": "1fffe000", "#,
                    r#""version-rolling.min-bit-count": 2}]"#
                ),
            },
            request(SUBSCRIBE, r#"["cgminer/4.12.0", "{session}"]"#),
            request(AUTHORIZE, WORKER),
        ],
        first_id: 0,
        rolling: Rolling::Needs,
        reads_one_line: true,
        ..PLAIN
    },
    // pool-viabtc-bitaxe.txt, pool-ckpool-satoshiradio-bitaxe.txt: four requests at once,
    // mask ffffffff, running ids; ESP-Miner issue 1694: extranonce2 restarts with each notify.
    Personality {
        name: "bitaxe",
        handshake: &[
            request(CONFIGURE, ASK_FFFFFFFF),
            request(SUBSCRIBE, r#"["bitaxe/BM1370/v2.9.0"]"#),
            request(AUTHORIZE, WORKER),
            request(SUGGEST, "[{suggest}]"),
        ],
        pace: Pace::Together,
        submit_form: Form::IdFirst,
        on_extranonce: OnExtranonce::AtOnce,
        extranonce2: Extranonce2::RestartsWithEveryJob,
        speed: 4,
        ..PLAIN
    },
    // miner-nerdqaxe.txt: subscribe before configure, extranonce.subscribe in the handshake.
    Personality {
        name: "nerdqaxe",
        handshake: &[
            request(SUBSCRIBE, r#"["NerdQAxe++/BM1370/v1.0.36"]"#),
            request(CONFIGURE, ASK_1FFFE000),
            request(AUTHORIZE, WORKER),
            request(SUGGEST, "[{suggest}]"),
            request("mining.extranonce.subscribe", "[]"),
        ],
        pace: Pace::Together,
        submit_form: Form::IdFirst,
        on_extranonce: OnExtranonce::AtOnce,
        extranonce2: Extranonce2::RestartsWithEveryJob,
        speed: 4,
        ..PLAIN
    },
    // miner-bfgminer.txt: string ids, suggest_target first, get_transactions as a health check.
    Personality {
        name: "bfgminer",
        handshake: &[
            Request {
                id: Some("\"suggest\""),
                method: "mining.suggest_target",
                params: r#"["{target}"]"#,
            },
            request(SUBSCRIBE, r#"["bfgminer/5.4.2"]"#),
            Request { id: Some("\"auth\""), method: AUTHORIZE, params: WORKER },
        ],
        rolling: Rolling::Never,
        health_check: Some(Request {
            id: Some("\"txlistfc8\""),
            method: "mining.get_transactions",
            params: r#"["fc8"]"#,
        }),
        speed: 2,
        ..PLAIN
    },
    // pool-ckpool-signet-b.txt, synthetic-client-habits.txt: every submit has id 4, the
    // suggestion is a quoted string with id 1 (cpuminer-opt).
    Personality {
        name: "cpuminer",
        handshake: &[
            request(SUBSCRIBE, r#"["cpuminer-opt-26.1-x64L"]"#),
            request(AUTHORIZE, WORKER),
            Request { id: Some("1"), method: SUGGEST, params: r#"["{suggest}"]"# },
        ],
        submit_form: Form::MethodFirst,
        submit_id: SubmitId::Always(4),
        rolling: Rolling::Never,
        speed: 1,
        ..PLAIN
    },
    // pool-luxor-vnish-style.txt: configure, subscribe and authorize in one segment.
    Personality {
        name: "vnish",
        handshake: &[
            Request {
                id: None,
                method: CONFIGURE,
                params: concat!(
                    r#"[["version-rolling","minimum-difficulty","subscribe-extranonce"],"#,
                    r#"{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":16,"#,
                    r#""minimum-difficulty.value":{suggest}}]"#
                ),
            },
            request(SUBSCRIBE, "[]"),
            request(AUTHORIZE, r#"["{worker}","{password}"]"#),
        ],
        pace: Pace::Together,
        form: Form::Compact,
        ids_survive: false,
        on_extranonce: OnExtranonce::WithNextJob,
        ..PLAIN
    },
    // miner-braiins-os-2019.txt: id 0, nulls in the subscribe, leaves without version rolling.
    Personality {
        name: "braiins",
        handshake: &[
            Request {
                id: None,
                method: CONFIGURE,
                params: concat!(
                    r#"[["version-rolling"],{"version-rolling.mask":"1fffe000","#,
                    r#""version-rolling.min-bit-count":16}]"#
                ),
            },
            request(SUBSCRIBE, r#"["Braiins OS 2019-06-05",null,"{host}",null]"#),
            request(AUTHORIZE, r#"["{worker}",""]"#),
        ],
        form: Form::Compact,
        submit_form: Form::Compact,
        first_id: 0,
        ids_survive: false,
        rolling: Rolling::Needs,
        rolls_ntime: true,
        ..PLAIN
    },
    // pool-pogolo-regtest.txt: authorize before configure and subscribe.
    Personality {
        name: "authorize-first",
        handshake: &[
            request(AUTHORIZE, WORKER),
            request(CONFIGURE, ASK_FFFFFFFF),
            request(SUGGEST, "[{suggest}]"),
            request(SUBSCRIBE, r#"["bitaxe/FTXGOXX/v2021-08-24"]"#),
        ],
        submit_form: Form::MethodFirst,
        speed: 2,
        ..PLAIN
    },
    // miner-nerdminer.txt: a fractional suggestion; miner-leafminer-vkbit.txt: extranonce2 is
    // random, not counted.
    Personality {
        name: "nerdminer",
        handshake: &[
            request(SUBSCRIBE, r#"["NerdMinerV2/V1.8.3"]"#),
            request(AUTHORIZE, WORKER),
            request(SUGGEST, "[{suggest}]"),
        ],
        submit_form: Form::Compact,
        rolling: Rolling::Never,
        extranonce2: Extranonce2::Random,
        speed: 1,
        ..PLAIN
    },
    // miner-apollo-miningrigrentals.txt: leaves when version rolling is refused.
    Personality {
        name: "apollo",
        handshake: &[
            request(CONFIGURE, ASK_1FFFE000),
            request(
                SUBSCRIBE,
                r#"["sm-miner v8.16.67.1 2020-09-23, msp ver 0x8168", "{session}"]"#,
            ),
            request(AUTHORIZE, WORKER),
        ],
        rolling: Rolling::Needs,
        ..PLAIN
    },
];

/// Which personalities a swarm has.
#[derive(Clone, Copy, Debug)]
pub enum Cast {
    /// All in turn.
    Mixed,
    /// One for all.
    Only(&'static Personality),
}

impl Cast {
    /// Returns the personality of the miner with this number.
    pub const fn of(self, index: usize) -> &'static Personality {
        match self {
            Self::Mixed => &ALL[index % ALL.len()],
            Self::Only(personality) => personality,
        }
    }
}

impl std::str::FromStr for Cast {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "mixed" {
            return Ok(Self::Mixed);
        }
        let found = ALL.iter().find(|personality| personality.name == text);
        found.map(Self::Only).ok_or_else(|| {
            let names: Vec<&str> = ALL.iter().map(|personality| personality.name).collect();
            format!("got {text}, allowed mixed, {}", names.join(", "))
        })
    }
}

/// Appends a request without its line end.
pub fn write(form: Form, id: &str, method: &str, params: &str, out: &mut Vec<u8>) {
    let parts: [&str; 7] = match form {
        Form::IdFirst => {
            [r#"{"id": "#, id, r#", "method": ""#, method, r#"", "params": "#, params, "}"]
        }
        Form::Compact => [r#"{"id":"#, id, r#","method":""#, method, r#"","params":"#, params, "}"],
        Form::ParamsFirst => {
            [r#"{"params": "#, params, r#", "id": "#, id, r#", "method": ""#, method, r#""}"#]
        }
        Form::MethodFirst => {
            [r#"{"method": ""#, method, r#"", "params": "#, params, r#", "id":"#, id, "}"]
        }
    };
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_those_of_the_captures() {
        let check = |form, want: &str| {
            let mut out = Vec::new();
            write(form, "4", "mining.submit", "[1]", &mut out);
            assert_eq!(String::from_utf8(out).as_deref(), Ok(want));
        };
        check(Form::IdFirst, r#"{"id": 4, "method": "mining.submit", "params": [1]}"#);
        check(Form::Compact, r#"{"id":4,"method":"mining.submit","params":[1]}"#);
        check(Form::ParamsFirst, r#"{"params": [1], "id": 4, "method": "mining.submit"}"#);
        check(Form::MethodFirst, r#"{"method": "mining.submit", "params": [1], "id":4}"#);
    }

    #[test]
    fn names_are_unique_and_found() {
        for personality in ALL {
            let found = personality.name.parse::<Cast>().map(|cast| cast.of(0).name);
            assert_eq!(found.as_deref(), Ok(personality.name));
            assert!(personality.handshake.iter().any(|request| request.method == SUBSCRIBE));
            assert!(personality.handshake.iter().any(|request| request.method == AUTHORIZE));
        }
        assert!("s9".parse::<Cast>().is_err());
    }
}
