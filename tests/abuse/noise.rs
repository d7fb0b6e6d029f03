//! Nearly valid and invalid bytes from both sides at once: nothing panics, every answer is JSON,
//! and the sums hold. The other files test the behaviour line by line.

use loka_stratum::time::Duration;
use loka_stratum::upstream::LinkIndex;
use proptest::prelude::*;
use proptest::sample::Index;

use super::farm::{Farm, TRIVIAL, notify, set_difficulty};

/// A line before its damage.
const MINER: [&str; 9] = [
    r#"{"id":1,"method":"mining.configure","params":[["version-rolling","minimum-difficulty"],{"version-rolling.mask":"1fffe000","minimum-difficulty.value":2}]}"#,
    r#"{"id":2,"method":"mining.subscribe","params":["t/1","s"]}"#,
    r#"{"id":3,"method":"mining.authorize","params":["w","d=8,md=2"]}"#,
    r#"{"id":4,"method":"mining.submit","params":["w","a0000001","00000001","68426000","00000001","00002000"]}"#,
    r#"{"id":4,"method":"mining.submit","params":["w","a0000002","00000002","68426000","00000002"]}"#,
    r#"{"id":5,"method":"mining.suggest_difficulty","params":[0.5]}"#,
    r#"{"id":6,"method":"mining.extranonce.subscribe","params":[]}"#,
    r#"{"id":null,"method":"mining.ping","params":[]}"#,
    r#"{"id":7,"result":true,"error":null}"#,
];

fn pool() -> Vec<String> {
    let text = |line: &str| line.to_owned();
    vec![
        text(r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"}}"#),
        text(r#"{"id":2,"result":[[["mining.notify","s"]],"beef",8],"error":null}"#),
        text(r#"{"id":3,"result":true,"error":null}"#),
        text(r#"{"id":16,"result":true,"error":null}"#),
        text(r#"{"id":17,"result":null,"error":[23,"low",null]}"#),
        set_difficulty(TRIVIAL),
        set_difficulty(1e9),
        notify("job-7", 1, false),
        notify("job-8", 2, true),
        text(r#"{"id":null,"method":"mining.set_extranonce","params":["abad1dea",6]}"#),
        text(r#"{"id":null,"method":"mining.set_version_mask","params":["00c00000"]}"#),
        text(r#"{"id":9,"method":"client.get_version","params":[]}"#),
        text(r#"{"id":null,"method":"client.reconnect","params":["",3333,1]}"#),
    ]
}

/// The damage to a line.
#[derive(Clone, Debug)]
enum Change {
    None,
    Byte(Index, u8),
    Remove(Index),
    Cut(Index),
    Repeat(Index, u16),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => Just(Change::None),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), 1..3000_u16).prop_map(|(at, times)| Change::Repeat(at, times)),
    ]
}

fn changed(line: &str, change: &Change) -> Vec<u8> {
    let mut bytes = line.as_bytes().to_vec();
    match change {
        Change::None => {}
        Change::Byte(at, byte) => bytes[at.index(line.len())] = *byte,
        Change::Remove(at) => drop(bytes.remove(at.index(line.len()))),
        Change::Cut(at) => bytes.truncate(at.index(line.len())),
        Change::Repeat(at, times) => {
            let at = at.index(line.len());
            bytes.splice(at..at, std::iter::repeat_n(bytes[at], usize::from(*times)));
        }
    }
    bytes.push(b'\n');
    bytes
}

/// The link, reconnected after an end.
fn open(farm: &mut Farm, link: LinkIndex) -> LinkIndex {
    if farm.proxy.links().get(link).unwrap().state().is_open() {
        return link;
    }
    farm.now = farm.now + Duration::from_secs(70);
    farm.proxy.handle_timeout(farm.now);
    while farm.proxy.poll_hangup(farm.now).is_some() {}
    farm.dialled()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn noise_from_both_sides_breaks_nothing(
        steps in prop::collection::vec((any::<bool>(), any::<Index>(), change()), 1..80)
    ) {
        let (mut farm, mut link) = Farm::live("c0ffee01", 8, TRIVIAL);
        let (mut miner, _) = farm.miner("w");
        let pool = pool();
        for (from_pool, line, change) in steps {
            if from_pool {
                link = open(&mut farm, link);
                let bytes = changed(&pool[line.index(pool.len())], &change);
                // The connection may be closed for it, but nothing may break.
                let _ = farm.pool_bytes(link, &bytes);
                farm.due(miner);
            } else {
                let bytes = changed(MINER[line.index(MINER.len())], &change);
                let (_, close) = farm.bytes(miner, &bytes);
                if close.is_some() {
                    (miner, _) = farm.miner("w");
                }
            }
        }
        prop_assert!(farm.proxy.ledger().check());
    }
}
