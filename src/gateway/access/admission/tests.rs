//! The worker list, with real hashes of the least cost.

use super::*;

use loka_stratum::table::MinerHandle;

fn admissions() -> Admissions {
    Admissions::new(Rc::new(Passwords::new(0).unwrap())).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn list() -> Admit {
    Admit { mode: AdmitMode::List, ..Admit::default() }
}

fn question(miner: MinerHandle, worker: &str, password: &str) -> Question {
    let (worker, password) = (worker.try_into().unwrap(), password.try_into().unwrap());
    Question { miner, worker, password }
}

#[derive(Debug, PartialEq)]
enum Said {
    Yes,
    No,
    Hash,
}

fn said(known: &Known) -> Said {
    match known {
        Known::Granted => Said::Yes,
        Known::Refused(_) => Said::No,
        Known::Unknown(_) => Said::Hash,
    }
}

fn at_once(admissions: &Admissions, worker: &str, password: &str) -> Said {
    said(&admissions.judge(&list(), &question(MinerHandle::NOBODY, worker, password)))
}

fn hashed(admissions: &Admissions, worker: &str, password: &str) -> Said {
    let question = question(MinerHandle::NOBODY, worker, password);
    said(&run(admissions.find_out(&list(), &question)))
}

#[test]
fn a_password_is_hashed_once_whether_it_is_right_or_wrong() {
    let admissions = admissions();
    run(admissions.set("farm.a", "right")).unwrap();
    assert_eq!(at_once(&admissions, "farm.a", "right"), Said::Hash);
    assert_eq!(hashed(&admissions, "farm.a", "right"), Said::Yes);
    assert_eq!(at_once(&admissions, "farm.a", "right"), Said::Yes);
    assert_eq!(at_once(&admissions, "farm.a", "wrong"), Said::Hash);
    assert_eq!(hashed(&admissions, "farm.a", "wrong"), Said::No);
    assert_eq!(at_once(&admissions, "farm.a", "wrong"), Said::No);
    assert_eq!(at_once(&admissions, "farm.b", "right"), Said::No, "no hash for a stranger");
}

#[test]
fn another_password_counts_at_once_and_the_old_one_not_any_more() {
    let admissions = admissions();
    run(admissions.set("farm.a", "old")).unwrap();
    assert_eq!(hashed(&admissions, "farm.a", "old"), Said::Yes);
    assert_eq!(hashed(&admissions, "farm.a", "new"), Said::No);
    run(admissions.set("farm.a", "new")).unwrap();
    assert_eq!(hashed(&admissions, "farm.a", "new"), Said::Yes);
    assert_eq!(hashed(&admissions, "farm.a", "old"), Said::No);
    run(admissions.set("farm.a", "")).unwrap();
    assert_eq!(at_once(&admissions, "farm.a", "new"), Said::No);
    assert!(matches!(run(admissions.set("farm.a", "")), Err(Refused::Conflict(_))));
}

#[test]
fn a_pattern_stands_for_many_and_a_name_of_its_own_counts_first() {
    let admissions = admissions();
    run(admissions.set("farm.*", "all")).unwrap();
    run(admissions.set("farm.boss", "own")).unwrap();
    assert_eq!(hashed(&admissions, "farm.1", "all"), Said::Yes);
    assert_eq!(at_once(&admissions, "farm.2", "all"), Said::Yes, "one hash for all of them");
    assert_eq!(hashed(&admissions, "farm.boss", "all"), Said::No);
    assert_eq!(hashed(&admissions, "farm.boss", "own"), Said::Yes);
}

#[test]
fn the_list_is_bounded_and_so_is_what_waits_and_what_is_known_to_be_wrong() {
    let admissions = admissions();
    run(admissions.set("farm.a", "right")).unwrap();
    {
        let state = &mut *admissions.state.borrow_mut();
        let hash = state.list[0].hash.clone();
        state.list.extend((1..ADMITTED_MAX).map(|number| Entry {
            worker: format!("farm.{number}").parse().unwrap(),
            hash: hash.clone(),
            proved: None,
        }));
    }
    assert!(matches!(run(admissions.set("farm.more", "x")), Err(Refused::Conflict(_))));
    assert_eq!(run(admissions.set("farm.a", "other")), Ok(()), "one that is there may change");
    for _ in 0..ADMISSIONS_WAITING_MAX {
        assert!(admissions.wait(question(MinerHandle::NOBODY, "farm.a", "x")));
    }
    assert!(!admissions.wait(question(MinerHandle::NOBODY, "farm.a", "x")));
    let known = [Proof([0; 32]); ADMISSIONS_REFUSED_KEPT];
    admissions.state.borrow_mut().refused.extend(known);
    assert_eq!(hashed(&admissions, "farm.a", "wrong"), Said::No);
    assert_eq!(admissions.state.borrow().refused.len(), ADMISSIONS_REFUSED_KEPT);
    assert_eq!(at_once(&admissions, "farm.a", "wrong"), Said::No, "the oldest made room");
}

#[test]
fn names_and_passwords_that_cannot_be_are_refused_with_what_may_be() {
    let admissions = admissions();
    let ask = |worker: &str, word: &str| match run(admissions.set(worker, word)) {
        Err(Refused::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        ask("two words", "x"),
        "got \"two words\", allowed 1..64 bytes without spaces and commas"
    );
    assert_eq!(ask("farm.a", &"x".repeat(129)), "password: got 129 bytes, allowed 1..128");
}

#[test]
fn the_list_is_there_again_after_a_restart_and_holds_no_password() {
    let folder = std::env::temp_dir().join(format!("loka-admitted-{}", std::process::id()));
    let path = folder.to_str().unwrap();
    let before = admissions();
    before.recall(path).unwrap();
    run(before.set("farm.a", "a secret word")).unwrap();
    let after = admissions();
    after.recall(path).unwrap();
    assert_eq!(hashed(&after, "farm.a", "a secret word"), Said::Yes);
    for file in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(13).any(|part| part == b"a secret word"));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_full_list_of_the_longest_names_fits_the_store() {
    let folder = std::env::temp_dir().join(format!("loka-admitted-full-{}", std::process::id()));
    let mut list = Vec::new();
    let hash = run(Passwords::new(u64::MAX).unwrap().hash("x")).unwrap();
    list.resize(ADMITTED_MAX, ("n".repeat(PATTERN_BYTES_MAX), hash));
    crate::gateway::base::store::Store::load(&folder, "admitted")
        .unwrap()
        .0
        .save(&Stored::V1(list))
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn only_the_address_mode_shuts_the_door() {
    let mut admit = Admit { mode: AdmitMode::Address, ..Admit::default() };
    admit.addresses.push("10.0.0.0/8".parse().unwrap()).unwrap();
    assert!(is_open_to(&admit, "10.1.2.3".parse().unwrap()));
    assert!(!is_open_to(&admit, "192.0.2.1".parse().unwrap()));
    admit.mode = AdmitMode::Name;
    assert!(is_open_to(&admit, "192.0.2.1".parse().unwrap()));
}

#[test]
fn f06_workers_that_look_the_same_do_not_come_in_twice() {
    let admissions = admissions();
    run(admissions.set("acct.test", "word")).unwrap();
    for twin in
        ["acct.te\u{200b}st", "acct.tеst", "acct.test\u{202e}", "acct.test\u{3164}", "acct\\.test"]
    {
        let Err(Refused::Invalid(text)) = run(admissions.set(twin, "word")) else {
            panic!("{twin:?} came in")
        };
        assert!(text.contains("told apart") && text.is_ascii(), "{text}");
    }
    // A name admitted by an earlier version is shown escaped, and removed as shown.
    let old =
        Entry { worker: "acct.te\u{200b}st".parse().unwrap(), hash: String::new(), proved: None };
    admissions.state.borrow_mut().list.push(old);
    assert_eq!(admissions.workers(), ["acct.test", r"acct.te\u{200b}st"]);
    run(admissions.set(r"acct.te\u{200b}st", "")).unwrap();
    assert_eq!(admissions.workers(), ["acct.test"]);
}
