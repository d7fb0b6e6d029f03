//! The legacy of an earlier run: block candidates without an answer, which this run must send to
//! their pools (F39).

use loka_stratum::blocks::BlockRecord;
use loka_stratum::identity::Account;
use loka_stratum::upstream::State;
use loka_stratum::work::header::{BlockHash, NTime, Nonce};

use crate::hashing::Hash;
use crate::plan::{Plan, SECOND};
use crate::pool::EARLIER_EXTRANONCE1;
use crate::trace::hold;
use crate::world::World;

/// The lifetime of a block's record: a day.
const BLOCK_LIFE: u64 = 86_400 * SECOND;

/// A block of an earlier run, in this run's books.
#[derive(Clone, Copy, Debug)]
pub struct Earlier {
    pub pool: usize,
    pub key: u64,
}

/// The last run's records, for each of the plan's pools.
pub fn records(plan: &Plan) -> Vec<(Earlier, BlockRecord)> {
    let record = |(number, pool): (usize, &usize)| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(plan.seed ^ plan.engine_seed).to_le_bytes());
        hash[8] = number as u8;
        hash[0] = hash[0].wrapping_add(number as u8);
        let earlier = Earlier { pool: *pool, key: Hash(hash).key() };
        let record = BlockRecord {
            hash: BlockHash(hash),
            account: account_of(plan, *pool),
            session: if number == 0 { "s" } else { "" }.try_into().unwrap(),
            extranonce1: heapless::Vec::from_slice(&EARLIER_EXTRANONCE1).unwrap(),
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

fn account_of(plan: &Plan, pool: usize) -> Account {
    let address = &plan.pools[pool].address;
    Account {
        host: address.host.as_str().try_into().unwrap(),
        port: address.port,
        user: address.user.try_into().unwrap(),
    }
}

/// Checks that every block of an earlier run was sent to its pool, if that is live, unless the
/// block is too old by the gateway's clock.
pub fn f39_brought(world: &World<'_>) {
    let is_old = is_old(world);
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

/// Checks that a block is kept until its own pool accepts it or, for a block of this run, answers
/// it: answers of other sessions decide nothing.
pub fn f92_kept(world: &World<'_>) {
    if is_old(world) || world.proxy.blocks().not_kept() > 0 {
        return;
    }
    let kept: Vec<u64> =
        world.proxy.blocks().records().map(|record| Hash(record.hash.0).key()).collect();
    for (key, pool) in world.checks.blocks() {
        let own = &world.pools[pool];
        let is_earlier = world.earlier.iter().any(|earlier| earlier.key == key);
        let is_decided = if is_earlier { &own.taken } else { &own.answered }.contains(&key);
        hold!(
            "F92",
            is_decided || kept.contains(&key),
            "block {key:x} of pool {pool} is forgotten"
        );
    }
}

fn is_old(world: &World<'_>) -> bool {
    world.clock.ahead() + world.now >= BLOCK_LIFE
}
