//! Handshakes and submits of firmwares: one entry per habit in `docs/stratum-quirks.md`.
//!
//! In the texts `{w}` is the worker, `{s}` a difficulty that it suggests, and `{i}` the next id.

/// A firmware's use of a share's version bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rolling {
    /// Requests none, submits five params.
    Never,
    /// Rolls the granted bits.
    Always,
    /// Requests bits, and submits `00000000` (QUIRKS 33).
    Idle,
    /// Rolls, but sometimes submits five params (QUIRKS 33).
    Forgets,
}

/// The counting of the extranonce2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    Up,
    /// From zero again with every job (QUIRKS 24).
    Anew,
    Random,
}

#[derive(Debug)]
pub struct Firmware {
    pub name: &'static str,
    /// The requests in order; a leading `!` marks a request without an answer.
    pub handshake: &'static [&'static str],
    /// All in one segment, before any answer (QUIRKS 1).
    pub together: bool,
    pub first_id: u64,
    /// The constant id of its submits, if it has one (QUIRKS 5).
    pub submit_id: Option<&'static str>,
    pub rolling: Rolling,
    pub counting: Counting,
    /// Every third extranonce2 is a byte too long (QUIRKS 21).
    pub too_long: bool,
    /// More params than six, some of them null (QUIRKS 15).
    pub more_params: bool,
    /// A request after every clean job.
    pub health_check: Option<&'static str>,
    /// Lines end in `\r\n`.
    pub carriage_return: bool,
}

impl Firmware {
    /// Whether it requests all bits.
    pub fn asks_for_all(&self) -> bool {
        let asks =
            |request: &&str| request.contains("version-rolling") && !request.contains("1fff");
        self.handshake.iter().any(asks)
    }
}

const CONFIGURE: &str = r#"{"id": {i}, "method": "mining.configure", "params": [["version-rolling"], {"version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": 2}]}"#;
const SUBSCRIBE: &str = r#"{"id": {i}, "method": "mining.subscribe", "params": ["miner/1.0"]}"#;
const AUTHORIZE: &str = r#"{"id": {i}, "method": "mining.authorize", "params": ["{w}", "x"]}"#;

const PLAIN: Firmware = Firmware {
    name: "plain",
    handshake: &[CONFIGURE, SUBSCRIBE, AUTHORIZE],
    together: false,
    first_id: 1,
    submit_id: None,
    rolling: Rolling::Always,
    counting: Counting::Up,
    too_long: false,
    more_params: false,
    health_check: None,
    carriage_return: false,
};

/// Every habit.
pub const ALL: &[Firmware] = &[
    PLAIN,
    Firmware {
        name: "whatsminer",
        handshake: &[
            CONFIGURE,
            r#"{"id": {i}, "method": "mining.subscribe", "params": ["whatsminer/v1.0", "ae6812eb"]}"#,
            AUTHORIZE,
        ],
        first_id: 196,
        rolling: Rolling::Idle,
        ..PLAIN
    },
    Firmware {
        name: "bitaxe",
        handshake: &[
            r#"{"id":{i},"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}"#,
            SUBSCRIBE,
            AUTHORIZE,
            r#"{"id":{i},"method":"mining.suggest_difficulty","params":[{s}]}"#,
        ],
        together: true,
        counting: Counting::Anew,
        ..PLAIN
    },
    Firmware {
        name: "nerdqaxe",
        handshake: &[
            SUBSCRIBE,
            CONFIGURE,
            AUTHORIZE,
            r#"{"id":null,"method":"mining.suggest_difficulty","params":[{s}]}"#,
            r#"{"id":{i},"method":"mining.extranonce.subscribe","params":[]}"#,
        ],
        together: true,
        counting: Counting::Anew,
        rolling: Rolling::Forgets,
        ..PLAIN
    },
    Firmware {
        name: "bfgminer",
        handshake: &[
            r#"{"id":"suggest","method":"mining.suggest_target","params":["00000000ffff0000000000000000000000000000000000000000000000000000"]}"#,
            SUBSCRIBE,
            r#"{"id":"auth","method":"mining.authorize","params":["{w}",""]}"#,
        ],
        rolling: Rolling::Never,
        health_check: Some(
            r#"{"id":"txlistfc8","method":"mining.get_transactions","params":["fc8"]}"#,
        ),
        ..PLAIN
    },
    Firmware {
        name: "cpuminer",
        handshake: &[
            SUBSCRIBE,
            AUTHORIZE,
            r#"{"id": 1, "method": "mining.suggest_difficulty", "params": ["{s}"]}"#,
        ],
        submit_id: Some("4"),
        rolling: Rolling::Never,
        ..PLAIN
    },
    Firmware {
        name: "vnish",
        handshake: &[
            r#"{"id":{i},"method":"mining.configure","params":[["version-rolling","minimum-difficulty","subscribe-extranonce"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":16,"minimum-difficulty.value":0}]}"#,
            r#"{"id":{i},"method":"mining.subscribe","params":[]}"#,
            AUTHORIZE,
        ],
        together: true,
        more_params: true,
        ..PLAIN
    },
    Firmware {
        name: "authorize-first",
        handshake: &[
            AUTHORIZE,
            r#"{"id": {i}, "method": "mining.configure", "params": [["version-rolling"]]}"#,
            r#"{"id": {i}, "method": "mining.suggest_difficulty({s})", "params": []}"#,
            SUBSCRIBE,
        ],
        carriage_return: true,
        ..PLAIN
    },
    Firmware {
        name: "nerdminer",
        handshake: &[
            SUBSCRIBE,
            r#"{"id":{i},"method":"mining.authorize","params":["{w}","d={s};md=0"]}"#,
            SUBSCRIBE,
        ],
        rolling: Rolling::Never,
        counting: Counting::Random,
        ..PLAIN
    },
    Firmware {
        name: "early-suggestion",
        handshake: &[
            r#"{"id":{i},"method":"mining.suggest_difficulty","params":[{s}]}"#,
            SUBSCRIBE,
            AUTHORIZE,
            CONFIGURE,
        ],
        too_long: true,
        ..PLAIN
    },
];
