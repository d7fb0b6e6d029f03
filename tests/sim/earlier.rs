//! What an earlier run left: block candidates without an answer, which this one must bring to their
//! pools (F39).

use loka_stratum::blocks::BlockRecord;
use loka_stratum::limits::BLOCK_AGE_MAX;
use loka_stratum::upstream::State;
use loka_stratum::work::header::{BlockHash, NTime, Nonce};

use crate::hashing::Hash;
use crate::plan::Plan;
use crate::trace::hold;
use crate::world::{USER, World};

/// A block of an earlier run, in the books of this one.
#[derive(Clone, Copy, Debug)]
pub struct Earlier {
    pub pool: usize,
    pub key: u64,
}

/// What the last run wrote down, for each of the pools that the plan names.
pub fn records(plan: &Plan) -> Vec<(Earlier, BlockRecord)> {
    let record = |(number, pool): (usize, &usize)| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(plan.seed ^ plan.engine_seed).to_le_bytes());
        hash[8] = number as u8;
        hash[0] = hash[0].wrapping_add(number as u8);
        let earlier = Earlier { pool: *pool, key: Hash(hash).key() };
        let record = BlockRecord {
            hash: BlockHash(hash),
            host: crate::pool::host(*pool).as_str().try_into().unwrap(),
            worker: USER.try_into().unwrap(),
            session: if number == 0 { "s" } else { "" }.try_into().unwrap(),
            extranonce1: heapless::Vec::from_slice(&[0xe0, 1, 0, 1]).unwrap(),
            job_id: "earlier".try_into().unwrap(),
            extranonce2: heapless::Vec::from_slice(&[0; 4]).unwrap(),
            ntime: NTime(0x6842_5000),
            nonce: Nonce(number as u32),
            version_bits: None,
        };
        (earlier, record)
    };
    plan.earlier.iter().enumerate().map(record).collect()
}

/// Every block of an earlier run was sent to its pool, if that is there, unless it is too old by
/// the gateway's clock.
pub fn f39_brought(world: &World<'_>) {
    let is_old = world.clock.ahead() + world.now >= BLOCK_AGE_MAX.as_micros();
    let links = world.proxy.links();
    for earlier in &world.earlier {
        let mut live = links.iter().filter(|(_, link)| {
            usize::from(link.pool()) == earlier.pool && link.state() == State::Live
        });
        let was_sent = world.checks.was_tried_late(earlier.key);
        hold!(
            "F39",
            was_sent || is_old || live.next().is_none(),
            "kept from its pool: {earlier:?}"
        );
    }
}
