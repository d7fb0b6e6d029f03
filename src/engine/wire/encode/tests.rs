use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::wire::client::{self, Request};
use crate::wire::server::{self, ServerLine};

/// Writes into plenty of room.
fn written(write: impl Fn(&mut Writer<'_>) -> Result<(), Full>) -> String {
    let mut buf = [0; 8192];
    let mut out = Writer::new(&mut buf);
    write(&mut out).unwrap();
    let line = String::from_utf8(out.as_slice().to_vec()).unwrap();
    assert_eq!(line.find('\n'), Some(line.len() - 1), "one line: {line}");
    line
}

/// Checks what is written, and that less room gives nothing at all.
#[track_caller]
fn check(write: impl Fn(&mut Writer<'_>) -> Result<(), Full>, golden: &str) {
    let line = written(&write);
    assert_eq!(line, format!("{golden}\n"));
    serde_json::from_str::<serde_json::Value>(&line).unwrap();
    for room in 0..line.len() {
        let mut small = vec![0; room + 2];
        let mut out = Writer::new(&mut small);
        out.push(b"{}").unwrap();
        assert_eq!(write(&mut out), Err(Full), "{room} bytes for {line}");
        assert_eq!(out.as_slice(), b"{}");
    }
}

fn id(raw: &str) -> Id<'_> {
    Id::from_raw(raw.as_bytes()).unwrap()
}

#[test]
fn answers_to_a_miner() {
    check(|out| result_true(id("3642"), out), r#"{"id":3642,"result":true,"error":null}"#);
    check(|out| result_true(id(r#""3642""#), out), r#"{"id":"3642","result":true,"error":null}"#);
    check(|out| result_true(Id::NULL, out), r#"{"id":null,"result":true,"error":null}"#);
    check(
        |out| result_error(id("7.5"), ErrorCode::LowDifficulty, "low difficulty", out),
        r#"{"id":7.5,"result":null,"error":[23,"low difficulty",null]}"#,
    );
    check(
        |out| subscribe_result(id("1"), "ae68", &[0x08, 0, 0, 0x02], 4, out),
        r#"{"id":1,"result":[[["mining.set_difficulty","ae68"],["mining.notify","ae68"]],"08000002",4],"error":null}"#,
    );
    check(|out| pong(id("1"), out), r#"{"id":1,"result":"pong","error":null}"#);
}

#[test]
fn f08_ids_are_echoed_byte_for_byte() {
    for raw in ["null", "0", "-1.50E+1", "true", "18446744073709551616", r#""\u0041\"γ""#] {
        let line = written(|out| result_true(id(raw), out));
        assert_eq!(line, format!("{{\"id\":{raw},\"result\":true,\"error\":null}}\n"));
    }
}

#[test]
fn configure_results_hold_only_what_was_asked_for() {
    let mut granted = Granted { version_rolling: Some(Some(0x1fff_e000)), ..Granted::default() };
    check(
        |out| configure_result(id("196"), &granted, out),
        r#"{"id":196,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#,
    );
    granted.minimum_difficulty = Some(true);
    granted.subscribe_extranonce = Some(false);
    granted.info = Some(true);
    check(
        |out| configure_result(id("1"), &granted, out),
        r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000","minimum-difficulty":true,"subscribe-extranonce":false,"info":true},"error":null}"#,
    );
    granted = Granted { version_rolling: Some(None), ..Granted::default() };
    check(
        |out| configure_result(id("1"), &granted, out),
        r#"{"id":1,"result":{"version-rolling":false},"error":null}"#,
    );
    check(
        |out| configure_result(id("1"), &Granted::default(), out),
        r#"{"id":1,"result":{},"error":null}"#,
    );
}

#[test]
fn difficulties_are_written_without_needless_digits() {
    for (difficulty, digits) in [
        (1.0, "1"),
        (8192.0, "8192"),
        (0.0001, "0.0001"),
        (0.16, "0.16"),
        (3755.5054340299434, "3755.5054340299434"),
        (281_474_976_710_656.0, "281474976710656"),
        (1e15, "1000000000000000"),
        (f64::NAN, "0"),
        (f64::INFINITY, "0"),
    ] {
        let golden =
            format!(r#"{{"id":null,"method":"mining.set_difficulty","params":[{digits}]}}"#);
        check(|out| set_difficulty(difficulty, out), &golden);
        let golden =
            format!(r#"{{"id":4,"method":"mining.suggest_difficulty","params":[{digits}]}}"#);
        check(|out| suggest_difficulty(4, difficulty, out), &golden);
    }
}

#[test]
fn calls_of_a_pool() {
    check(
        |out| set_version_mask(0x1fff_e000, out),
        r#"{"id":null,"method":"mining.set_version_mask","params":["1fffe000"]}"#,
    );
    check(
        |out| set_extranonce(&[8, 0, 0, 2], 4, out),
        r#"{"id":null,"method":"mining.set_extranonce","params":["08000002",4]}"#,
    );
    check(
        |out| show_message("over \"there\"\n", out),
        r#"{"id":null,"method":"client.show_message","params":["over \"there\"\n"]}"#,
    );
    check(reconnect, r#"{"id":null,"method":"client.reconnect","params":[]}"#);
    check(
        |out| reconnect_to("pool.example.com", 3333, 10, out),
        r#"{"id":null,"method":"client.reconnect","params":["pool.example.com",3333,10]}"#,
    );
    check(|out| ping(7, out), r#"{"id":7,"method":"mining.ping","params":[]}"#);
    check(|out| get_version(8, out), r#"{"id":8,"method":"client.get_version","params":[]}"#);
}

#[test]
fn a_notify_is_joined_of_its_parts() {
    let digits = "4d16b6f85af6e2198f44ae2a6de67f78487ae5611b77c6c0440b921e00000000";
    let job = NotifyFields {
        job_id: "bf",
        prev_hash: HexField::Digits(digits.as_bytes()),
        coinb1: &[HexField::Digits(b"0100"), HexField::Bytes(&[0xe1, 2]), HexField::Bytes(&[0; 2])],
        coinb2: HexField::Bytes(&[0x88, 0xac]),
        version: 0x2000_0000,
        nbits: 0x1c2a_c4af,
        ntime: 0x504e_86b9,
        clean_jobs: true,
    };
    check(
        |out| notify(&job, [], out),
        &format!(
            r#"{{"id":null,"method":"mining.notify","params":["bf","{digits}","0100e1020000","88ac",[],"20000000","1c2ac4af","504e86b9",true]}}"#
        ),
    );
    let job = NotifyFields { coinb1: &[], clean_jobs: false, ..job };
    let branches = [HexField::Bytes(&[0xaa; 32]), HexField::Digits(digits.as_bytes())];
    check(
        |out| notify(&job, branches, out),
        &format!(
            r#"{{"id":null,"method":"mining.notify","params":["bf","{digits}","","88ac",["{}","{digits}"],"20000000","1c2ac4af","504e86b9",false]}}"#,
            "aa".repeat(32)
        ),
    );
}

#[test]
fn calls_of_a_miner() {
    check(
        |out| configure(1, 0x1fff_e000, 16, out),
        r#"{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":16}]}"#,
    );
    check(
        |out| subscribe(2, "loka-stratum/0.1.0", None, out),
        r#"{"id":2,"method":"mining.subscribe","params":["loka-stratum/0.1.0"]}"#,
    );
    check(
        |out| subscribe(2, "loka-stratum/0.1.0", Some("ae68"), out),
        r#"{"id":2,"method":"mining.subscribe","params":["loka-stratum/0.1.0","ae68"]}"#,
    );
    check(
        |out| authorize(3, "account.worker", "d=8192,md=1024", out),
        r#"{"id":3,"method":"mining.authorize","params":["account.worker","d=8192,md=1024"]}"#,
    );
    check(
        |out| extranonce_subscribe(4, out),
        r#"{"id":4,"method":"mining.extranonce.subscribe","params":[]}"#,
    );
    check(
        |out| version_result(id("10"), "loka-stratum/0.1.0", out),
        r#"{"id":10,"result":"loka-stratum/0.1.0","error":null}"#,
    );
    let share = SubmitFields {
        worker: "slush.miner1",
        job_id_raw: "bf",
        extranonce2: &[0, 0, 0, 1],
        ntime: 0x504e_86ed,
        nonce: 0xb295_7c02,
        version_bits: None,
    };
    check(
        |out| submit(4, &share, out),
        r#"{"id":4,"method":"mining.submit","params":["slush.miner1","bf","00000001","504e86ed","b2957c02"]}"#,
    );
    let share = SubmitFields { version_bits: Some(0x9_2000), job_id_raw: r"a\u0022b", ..share };
    check(
        |out| submit(u32::MAX, &share, out),
        r#"{"id":4294967295,"method":"mining.submit","params":["slush.miner1","a\u0022b","00000001","504e86ed","b2957c02","00092000"]}"#,
    );
}

#[test]
fn f85_a_name_cannot_end_its_string() {
    let name = "a\",\"x\"],\"id\":1}\n{\"id\":2,\\";
    let line = written(|out| authorize(3, name, "x", out));
    assert_eq!(
        line,
        "{\"id\":3,\"method\":\"mining.authorize\",\"params\":[\"a\\\",\\\"x\\\"],\\\"id\\\":1}\\n{\\\"id\\\":2,\\\\\",\"x\"]}\n"
    );
}

proptest! {
    #[test]
    fn f17_every_name_arrives_as_it_was_sent(
        worker in "\\PC{0,20}|[\\x00-\\x7f]{0,20}|.{0,20}", password in any::<String>(),
    ) {
        let line = written(|out| authorize(3, &worker, &password, out));
        let message = client::parse(line.trim_end_matches('\n').as_bytes()).unwrap();
        let Request::Authorize(authorize) = message.request else { panic!("{line}") };
        prop_assert!(authorize.worker.eq_decoded(&worker));
        prop_assert!(authorize.password.unwrap().eq_decoded(&password));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&value["params"][0], worker.as_str());
    }

    #[test]
    fn shares_arrive_as_they_were_sent(
        id: u32, worker in "[ -~γ]{1,20}", extranonce2 in proptest::collection::vec(any::<u8>(), 0..16),
        ntime: u32, nonce: u32, version_bits: Option<u32>,
    ) {
        let share = SubmitFields {
            worker: &worker, job_id_raw: "1 a", extranonce2: &extranonce2, ntime, nonce, version_bits,
        };
        let line = written(|out| submit(id, &share, out));
        let message = client::parse(line.trim_end().as_bytes()).unwrap();
        prop_assert_eq!(message.id.as_u64(), Some(u64::from(id)));
        let Request::Submit(submit) = message.request else { panic!("{line}") };
        prop_assert!(submit.worker.eq_decoded(&worker));
        prop_assert_eq!(submit.job_id.as_raw(), "1 a");
        let mut room = [0; 16];
        let decoded = hex::decode(submit.extranonce2.as_bytes(), &mut room).unwrap();
        prop_assert_eq!(decoded, &extranonce2[..]);
        prop_assert_eq!(hex::u32_be(submit.ntime.as_bytes()), Ok(ntime));
        prop_assert_eq!(hex::u32_be(submit.nonce.as_bytes()), Ok(nonce));
        let bits = submit.version_bits.map(|bits| hex::u32_be(bits.as_bytes()).unwrap());
        prop_assert_eq!(bits, version_bits);
    }

    #[test]
    fn jobs_arrive_as_they_were_sent(
        prev_hash: [u8; 32], coinb1 in proptest::collection::vec(any::<u8>(), 0..60),
        coinb2 in proptest::collection::vec(any::<u8>(), 0..60),
        branches in proptest::collection::vec(any::<[u8; 32]>(), 0..5),
        ntime: u32, clean_jobs: bool,
    ) {
        let job = NotifyFields {
            job_id: "6a72bdc00001dfdb", prev_hash: HexField::Bytes(&prev_hash),
            coinb1: &[HexField::Bytes(&coinb1)], coinb2: HexField::Bytes(&coinb2),
            version: 1, nbits: 2, ntime, clean_jobs,
        };
        let mut buf = [0; 2048];
        let mut out = Writer::new(&mut buf);
        notify(&job, branches.iter().map(|branch| HexField::Bytes(branch)), &mut out).unwrap();
        let ServerLine::Notify(read) = server::parse(out.as_slice().trim_ascii_end()).unwrap() else {
            panic!("a notify");
        };
        prop_assert_eq!(hex::decode_exact(read.prev_hash), Ok(prev_hash));
        let mut room = [0; 60];
        prop_assert_eq!(hex::decode(read.coinb1, &mut room), Ok(&coinb1[..]));
        prop_assert_eq!(hex::decode(read.coinb2, &mut room), Ok(&coinb2[..]));
        let read_branches: Vec<[u8; 32]> =
            read.branches.iter().map(|branch| hex::decode_exact(branch).unwrap()).collect();
        prop_assert_eq!(read_branches, branches);
        prop_assert_eq!((read.version, read.nbits, read.ntime), (1, 2, ntime));
        prop_assert_eq!(read.clean_jobs, clean_jobs);
    }

    #[test]
    fn difficulties_arrive_as_they_were_sent(difficulty in prop_oneof![
        1e-9_f64..1e15, (0_i32..50).prop_map(|power| 2_f64.powi(power)),
    ]) {
        let line = written(|out| set_difficulty(difficulty, out));
        let ServerLine::SetDifficulty(read) = server::parse(line.trim_end().as_bytes()).unwrap() else {
            panic!("{line}");
        };
        prop_assert_eq!(read.to_bits(), difficulty.to_bits());
        let digits = line.rsplit('[').next().unwrap();
        prop_assert!(!digits.contains('e'), "{}", line);
    }
}
