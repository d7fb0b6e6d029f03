//! The settings as stored on flash: one form per version, and the conversion of each to the present
//! one.
//!
//! postcard is not self-describing: bytes mean only what their version's number says. A version is
//! never changed; a test holds its bytes. When a key is added or a form changes, a version is
//! appended. The old [`Settings`] stay here as a struct of their own.
//!
//! The mark of the file below a commit is stored with it (its field `over`). While the file has
//! that mark, the commit is newer and counts. If the file was edited since, the file counts.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{
    Board, DifficultySettings, Identity, Listen, Miners, Pool, Settings, State, Status,
    UpstreamSettings, Verdict,
};
use crate::limits;

/// The record of the last commit.
///
/// Variants are appended, never reordered: their numbers are on flash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is no heap here, and there is one at a time")]
pub enum Stored {
    /// Without settings for the TLS page, the serial line, admission and mDNS.
    V1(Kept<SettingsV1>),
    /// With these settings.
    V2(Kept<Settings>),
}

/// Settings, and the mark of the file that they were committed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept<S> {
    /// CRC-32 of the file, if there was one.
    pub over: Option<u32>,
    /// The committed settings; `None` if the file counts instead.
    pub settings: Option<S>,
}

/// [`Settings`] of version 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SettingsV1 {
    pools: Vec<Pool, { limits::POOLS_MAX }>,
    listen: Listen,
    board: Board,
    miners: Miners,
    difficulty: DifficultySettings,
    upstream: UpstreamSettings,
    identity: Identity,
    verdict: Verdict,
    status: Status,
    state: State,
}

impl Stored {
    /// Converts it to the present form, in which it is written.
    pub fn into_present(self) -> Kept<Settings> {
        match self {
            Self::V1(Kept { over, settings }) => {
                Kept { over, settings: settings.map(Settings::from) }
            }
            Self::V2(kept) => kept,
        }
    }
}

impl From<SettingsV1> for Settings {
    /// Settings that version 1 lacked get their defaults.
    fn from(old: SettingsV1) -> Self {
        let SettingsV1 {
            pools,
            listen,
            board,
            miners,
            difficulty,
            upstream,
            identity,
            verdict,
            status,
            state,
        } = old;
        Self {
            pools,
            listen,
            board,
            miners,
            difficulty,
            upstream,
            identity,
            verdict,
            status,
            state,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Key;
    use std::string::{String, ToString};
    use std::vec::Vec as StdVec;

    /// A value of each kind that a key has.
    const OF_V1: &[(&str, &str)] = &[
        ("pool.1.url", "stratum+ssl://pool.example:3334"),
        ("pool.1.user", "farm.gateway"),
        ("pool.1.pins", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
        ("pool.1.trust", "pin"),
        ("pool.1.goal", "own"),
        ("pool.2.url", "stratum+tcp://[2001:db8::1]:3333"),
        ("pool.2.user", "farm"),
        ("pool.2.weight", "300"),
        ("listen.addresses", "0.0.0.0:3333,[::1]:3334"),
        ("board.profile", "raspberry-pi-4"),
        ("miners.max", "1000"),
        ("difficulty.start", "1024"),
        ("upstream.warm", "false"),
        ("identity.mode", "per-worker"),
        ("verdict.mode", "pool"),
        ("status.address", "off"),
        ("state.dir", "/var/lib/loka"),
    ];

    const SINCE_V2: &[(&str, &str)] = &[
        ("web.address", "0.0.0.0:443"),
        ("web.hosts", "gw.farm.example"),
        ("serial.device", "ttyS0"),
        ("serial.baud", "9600"),
        ("admit.mode", "address"),
        ("admit.names", "farm.*"),
        ("admit.addresses", "10.0.0.0/8,2001:db8::/32"),
        ("mdns.name", "loka"),
    ];

    const BYTES_V1: &str = "\
        0001f8acd1910101021f7374726174756d2b73736c3a2f2f706f6f6c2e6578616d706c653a333333340c6661\
        726d2e676174657761790178000100112233445566778899aabbccddeeff00112233445566778899aabbccdd\
        eeff01036f776e64207374726174756d2b7463703a2f2f5b323030313a6462383a3a315d3a33333333046661\
        726d017800000000ac02020000000000851a0100000000000000000000000000000001861a80020e72617370\
        62657272792d70692d3401e8071e0000000000009040fca9f1d24d62503f00000000000090420a013c3c2d05\
        01000101000d2f7661722f6c69622f6c6f6b61\
        ";

    const BYTES_V2: &str = "\
        010001021f7374726174756d2b73736c3a2f2f706f6f6c2e6578616d706c653a333333340c6661726d2e6761\
        74657761790178000100112233445566778899aabbccddeeff00112233445566778899aabbccddeeff01036f\
        776e64207374726174756d2b7463703a2f2f5b323030313a6462383a3a315d3a33333333046661726d017800\
        000000ac02020000000000851a0100000000000000000000000000000001861a80020e726173706265727279\
        2d70692d3401e8071e0000000000009040fca9f1d24d62503f00000000000090420a013c3c2d050100010100\
        0d2f7661722f6c69622f6c6f6b61010000000000bb03010f67772e6661726d2e6578616d706c650205747479\
        5330804b0301066661726d2e2a02000a000000080120010db80000000000000000000000002001046c6f6b61\
        ";

    fn settings(values: &[&[(&str, &str)]]) -> Settings {
        let mut settings = Settings::default();
        for (path, text) in values.iter().flat_map(|values| values.iter()) {
            settings.set(Key::parse(path).unwrap(), text).unwrap();
        }
        settings
    }

    fn v1() -> SettingsV1 {
        let Settings {
            pools,
            listen,
            board,
            miners,
            difficulty,
            upstream,
            identity,
            verdict,
            status,
            state,
            ..
        } = settings(&[OF_V1]);
        SettingsV1 {
            pools,
            listen,
            board,
            miners,
            difficulty,
            upstream,
            identity,
            verdict,
            status,
            state,
        }
    }

    #[track_caller]
    fn check(stored: &Stored, hex: &str) {
        let mut buffer = [0; 2048];
        let bytes = postcard::to_slice(stored, &mut buffer).unwrap();
        let written: String = bytes.iter().map(|byte| std::format!("{byte:02x}")).collect();
        assert_eq!(written, hex, "the bytes on flash are not what they were");
        let bytes: StdVec<u8> = (0..hex.len() / 2)
            .map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
            .collect();
        assert_eq!(postcard::from_bytes::<Stored>(&bytes).unwrap(), *stored);
    }

    #[test]
    fn the_bytes_of_version_1_do_not_change() {
        check(&Stored::V1(Kept { over: Some(0x1234_5678), settings: Some(v1()) }), BYTES_V1);
    }

    #[test]
    fn the_bytes_of_version_2_do_not_change() {
        let all = settings(&[OF_V1, SINCE_V2]);
        check(&Stored::V2(Kept { over: None, settings: Some(all) }), BYTES_V2);
    }

    #[test]
    fn version_1_becomes_the_present_with_defaults_for_what_is_new() {
        let stored = Stored::V1(Kept { over: Some(7), settings: Some(v1()) });
        let present = stored.into_present();
        assert_eq!(present.over, Some(7));
        let expected = settings(&[OF_V1]);
        assert!(expected.is_valid());
        assert_eq!(present.settings, Some(expected));
    }

    #[test]
    fn every_key_is_in_the_golden_bytes_of_some_version() {
        let (old, new) = (settings(&[OF_V1]), settings(&[OF_V1, SINCE_V2]));
        for (path, _) in SINCE_V2 {
            let key = Key::parse(path).unwrap();
            assert_ne!(old.show(key).to_string(), new.show(key).to_string(), "{path}");
        }
    }

    #[test]
    fn that_the_file_counts_is_kept_too() {
        let stored = Stored::V2(Kept { over: Some(1), settings: None });
        let mut buffer = [0; 8];
        assert_eq!(postcard::to_slice(&stored, &mut buffer).unwrap(), [1, 1, 1, 0]);
    }
}
