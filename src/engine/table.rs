//! The table of miners: a fixed number of slots behind generational handles, and the ids that keep
//! the miners' search spaces apart.
//!
//! The owner hands in the slots once; nothing here allocates. A [`MinerHandle`] names a slot and
//! its connection at that time, so a stale handle finds nothing (B4).
//!
//! An [`IdPool`] gives out miner ids, the `P` bytes before a miner's own part of the extranonce2.
//! Ids are used in rotation: a returned id is given out again only after all others. It then
//! belongs to another *turn*, which is another part of the pool's space
//! ([`crate::work::extranonce::Space`]). So no id needs a rest, and a newcomer is accepted as long
//! as one id is free (F88; `docs/adr/0011`). An id without work is given out again in the same
//! turn.
//!
//! The 256 values of an id's first byte are *blocks*. A block belongs to one geometry while any of
//! its ids is in use. So miners of several geometries can share a link (F89).
//!
//! When the slots or the ids are used up, the error holds the number, and connected miners stay.

use crate::downstream::Downstream;
use crate::limits::{ID_BLOCKS_LEAST, ID_BLOCKS_MOST, IDS_SPARE_MAX, SMALL_TABLE_MINERS_MAX};
use crate::work::extranonce::{Geometry, MinerId, Space};

/// A handle of one connection of a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MinerHandle {
    index: u16,
    generation: u32,
}

impl MinerHandle {
    /// A handle that names no connection.
    pub const NOBODY: Self = Self { index: u16::MAX, generation: 0 };

    #[cfg(test)]
    pub(crate) fn for_tests(index: u16) -> Self {
        Self { index, generation: 1 }
    }

    /// Returns the index of the slot, below the capacity of the table.
    pub fn index(self) -> usize {
        usize::from(self.index)
    }
}

/// One slot of the table.
#[derive(Debug)]
pub struct Slot {
    generation: u32,
    /// The next free slot, while this one is free.
    next_free: Option<u16>,
    session: Option<Downstream>,
}

impl Slot {
    /// A slot that was never used.
    pub const VACANT: Self = Self { generation: 0, next_free: None, session: None };
}

/// Every slot is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TableFull {
    /// Number of slots.
    pub capacity: usize,
}

/// The connections of all miners.
#[derive(Debug)]
pub struct Table<'a> {
    slots: &'a mut [Slot],
    first_free: Option<u16>,
    len: usize,
}

impl<'a> Table<'a> {
    /// Takes the slots; at most [`crate::limits::MINERS_MAX`] of them are used.
    pub fn new(slots: &'a mut [Slot]) -> Self {
        let capacity = slots.len().min(crate::limits::MINERS_MAX);
        let mut first_free = None;
        for index in (0..capacity).rev() {
            if let Some(slot) = slots.get_mut(index) {
                *slot = Slot { next_free: first_free, ..Slot::VACANT };
                first_free = u16::try_from(index).ok();
            }
        }
        let (slots, _) = slots.split_at_mut(capacity);
        Self { slots, first_free, len: 0 }
    }

    /// Returns the number of slots.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Returns the number of connected miners.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether no miner is connected.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a new connection into a free slot.
    ///
    /// # Errors
    ///
    /// [`TableFull`] if no slot is free; no miner is evicted.
    pub fn insert(&mut self, session: Downstream) -> Result<MinerHandle, TableFull> {
        let full = TableFull { capacity: self.slots.len() };
        let index = self.first_free.ok_or(full)?;
        let slot = self.slots.get_mut(usize::from(index)).ok_or(full)?;
        self.first_free = slot.next_free.take();
        slot.generation = slot.generation.wrapping_add(1);
        slot.session = Some(session);
        self.len = self.len.saturating_add(1);
        Ok(MinerHandle { index, generation: slot.generation })
    }

    /// Frees the slot and returns its connection; a stale handle frees nothing.
    pub fn remove(&mut self, miner: MinerHandle) -> Option<Downstream> {
        let slot = self.slots.get_mut(miner.index())?;
        if slot.generation != miner.generation {
            return None;
        }
        let session = slot.session.take()?;
        slot.next_free = self.first_free;
        self.first_free = Some(miner.index);
        self.len = self.len.saturating_sub(1);
        Some(session)
    }

    /// Returns the connection, unless the handle is stale.
    pub fn get(&self, miner: MinerHandle) -> Option<&Downstream> {
        let slot = self.slots.get(miner.index())?;
        if slot.generation == miner.generation { slot.session.as_ref() } else { None }
    }

    /// Returns the connection to change it, unless the handle is stale.
    pub fn get_mut(&mut self, miner: MinerHandle) -> Option<&mut Downstream> {
        let slot = self.slots.get_mut(miner.index())?;
        if slot.generation == miner.generation { slot.session.as_mut() } else { None }
    }

    /// Returns the connection in slot `index` and its handle, if there is one.
    pub fn at(&mut self, index: usize) -> Option<(MinerHandle, &mut Downstream)> {
        let slot = self.slots.get_mut(index)?;
        let handle = MinerHandle { index: u16::try_from(index).ok()?, generation: slot.generation };
        Some((handle, slot.session.as_mut()?))
    }

    /// Iterates over the connections.
    pub fn iter(&self) -> impl Iterator<Item = (MinerHandle, &Downstream)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let index = u16::try_from(index).ok()?;
            let session = slot.session.as_ref()?;
            Some((MinerHandle { index, generation: slot.generation }, session))
        })
    }
}

/// The ids with one first byte, and their owning geometry; in a lane with one block, all ids.
#[derive(Clone, Copy, Debug)]
pub struct IdBlock {
    used: [u64; 4],
    count: u16,
    owner: Option<Geometry>,
}

impl IdBlock {
    /// A block without an owner.
    pub const FREE: Self = Self { used: [0; 4], count: 0, owner: None };

    fn word(&mut self, bit: u8) -> Option<(&mut u64, u64)> {
        let mask = 1_u64.wrapping_shl(u32::from(bit));
        self.used.get_mut(usize::from(bit / 64)).map(|word| (word, mask))
    }

    /// Marks an id as used; `false` if it was used already.
    fn set(&mut self, bit: u8) -> bool {
        let Some((word, mask)) = self.word(bit) else { return false };
        let is_free = *word & mask == 0;
        *word |= mask;
        self.count = self.count.saturating_add(u16::from(is_free));
        is_free
    }

    fn clear(&mut self, bit: u8) -> bool {
        let Some((word, mask)) = self.word(bit) else { return false };
        let is_used = *word & mask != 0;
        *word &= !mask;
        self.count = self.count.saturating_sub(u16::from(is_used));
        is_used
    }

    /// Returns the first free id at or after `from`.
    fn first_free(&self, from: u8) -> Option<u8> {
        (0u8..4).skip(usize::from(from / 64)).find_map(|at| {
            let used = self.used.get(usize::from(at)).copied()?;
            let first = at.saturating_mul(64);
            let passed = from.saturating_sub(first).min(63);
            let below = 1_u64.wrapping_shl(u32::from(passed)).saturating_sub(1);
            let bit = (used | below).trailing_ones();
            let bit = u8::try_from(bit).ok().filter(|bit| *bit < 64)?;
            Some(first.saturating_add(bit))
        })
    }
}

/// Every id is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct IdsExhausted {
    /// Ids in use.
    pub used: usize,
}

/// The ids of one lane.
///
/// They lie in blocks that the caller keeps and hands in at each call, always the same ones. There
/// is one block per first byte, or a single block of one-byte ids for one geometry.
#[derive(Clone, Debug, Default)]
pub struct IdPool {
    /// Where the next search begins, as an id of two bytes.
    cursor: u16,
    turn: u32,
    used: usize,
    /// Blocks that a geometry of two-byte ids takes before it reuses ids.
    blocks: u16,
    is_small: bool,
    /// Ids returned in this turn without work done in it.
    spare: heapless::Vec<(MinerId, Geometry), IDS_SPARE_MAX>,
}

/// A geometry's quota of a lane's blocks: usual before it reuses ids, most at any time.
#[derive(Clone, Copy, Debug)]
struct Quota {
    usual: usize,
    most: usize,
}

/// An id's block, and its bit in the block.
#[derive(Clone, Copy, Debug)]
struct Cell {
    block: u8,
    bit: u8,
    id: MinerId,
}

impl IdPool {
    /// Frees all `blocks` for a table of `capacity` miners, and starts at the id `first`.
    ///
    /// A gateway starts at a random id. After a restart its miners then do not repeat the last
    /// run's work in a session that the pool resumes.
    pub fn new(blocks: &mut [IdBlock], capacity: usize, first: u16) -> Self {
        blocks.fill(IdBlock::FREE);
        // Twice as many ids as miners: at any time half of them have been free for a while.
        let wanted = capacity.saturating_mul(2).div_ceil(1 << u8::BITS);
        let blocks = wanted.clamp(ID_BLOCKS_LEAST, ID_BLOCKS_MOST);
        Self {
            cursor: first,
            blocks: u16::try_from(blocks).unwrap_or(u16::MAX),
            is_small: capacity <= SMALL_TABLE_MINERS_MAX,
            ..Self::default()
        }
    }

    fn quota(&self, geometry: Geometry) -> Quota {
        let all = 1_usize << u8::BITS;
        if geometry.miner_id_bytes() > 1 {
            return Quota { usual: usize::from(self.blocks), most: all };
        }
        // The rest is for miners that joined under another geometry, or do not fit this one.
        let usual = all.saturating_sub(all / 4);
        Quota { usual, most: if self.is_small { all } else { usual } }
    }

    /// Takes the next id in rotation.
    ///
    /// # Errors
    ///
    /// [`IdsExhausted`] if all ids in the quota of `geometry` are in use.
    pub fn take(
        &mut self,
        blocks: &mut [IdBlock],
        geometry: Geometry,
    ) -> Result<Space, IdsExhausted> {
        let exhausted = IdsExhausted { used: self.used };
        if blocks.len() == 1 && geometry.miner_id_bytes() > 1 {
            return Err(exhausted);
        }
        let (cell, turn) = match self.take_spare(blocks, geometry) {
            Some(cell) => (cell, self.turn),
            None => self.next_cell(blocks, geometry).ok_or(exhausted)?,
        };
        let block = blocks.get_mut(usize::from(cell.block)).ok_or(exhausted)?;
        block.owner = Some(geometry);
        assert!(block.set(cell.bit), "an id is given to one miner at a time");
        self.used = self.used.saturating_add(1);
        Ok(Space { geometry, id: cell.id, turn })
    }

    /// Returns an id. If its miner `worked`, the id is not given out again in this turn.
    pub fn give_back(&mut self, blocks: &mut [IdBlock], space: Space, worked: bool) {
        let Some(cell) = cell_of(blocks, space.geometry, space.id) else { return };
        let freed = blocks.get_mut(usize::from(cell.block)).is_some_and(|b| b.clear(cell.bit));
        // A planted defect lets two miners return the same id.
        assert!(freed || cfg!(feature = "canary"), "an id is given back once");
        self.used = self.used.saturating_sub(1);
        if !worked && space.turn == self.turn {
            // Without room in the list it waits for the next turn.
            let _ = self.spare.push((space.id, space.geometry));
        }
    }

    /// Says whether a miner has the id.
    #[cfg(feature = "canary")]
    pub(crate) fn is_given(blocks: &mut [IdBlock], space: Space) -> bool {
        let Some(cell) = cell_of(blocks, space.geometry, space.id) else { return false };
        let block = blocks.get_mut(usize::from(cell.block));
        block.and_then(|block| block.word(cell.bit)).is_some_and(|(word, mask)| *word & mask != 0)
    }

    /// Says whether every id was given out once; none is given again before the next turn.
    #[cfg(feature = "canary")]
    pub(crate) fn is_used_up(&mut self, blocks: &[IdBlock], geometry: Geometry) -> bool {
        self.spare.clear();
        let owned = blocks.iter().filter(|block| block.owner == Some(geometry)).count();
        self.turn > 1 || owned >= self.quota(geometry).usual
    }

    /// Returns how many ids are in use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Returns how often the ids have wrapped.
    pub fn turn(&self) -> u32 {
        self.turn
    }

    fn take_spare(&mut self, blocks: &[IdBlock], geometry: Geometry) -> Option<Cell> {
        let is_it = |(_, of): &(MinerId, Geometry)| *of == geometry;
        let at = self.spare.iter().position(is_it)?;
        let (id, _) = self.spare.swap_remove(at);
        let cell = cell_of(blocks, geometry, id)?;
        let block = blocks.get(usize::from(cell.block))?;
        let is_free = block.first_free(cell.bit) == Some(cell.bit);
        (block.owner == Some(geometry) && is_free).then_some(cell)
    }

    /// Finds the next free id. It searches the geometry's blocks, then one more block up to the
    /// quota, then from the beginning, then any unused block.
    fn next_cell(&mut self, blocks: &mut [IdBlock], geometry: Geometry) -> Option<(Cell, u32)> {
        let quota = self.quota(geometry);
        let owned = blocks.iter().filter(|block| block.owner == Some(geometry)).count();
        let found = owned_cell(blocks, geometry, self.cursor)
            .or_else(|| {
                let more = owned < quota.usual;
                more.then(|| self.another_block(blocks, geometry, false)).flatten()
            })
            .or_else(|| {
                let cell = owned_cell(blocks, geometry, 0)?;
                self.next_turn();
                Some(cell)
            })
            .or_else(|| {
                let more = owned < quota.most;
                more.then(|| self.another_block(blocks, geometry, true)).flatten()
            })?;
        let next = match geometry.miner_id_bytes() {
            1 => found.id.0.saturating_add(1).wrapping_shl(u8::BITS),
            _ => found.id.0.wrapping_add(1),
        };
        let turn = self.turn;
        self.cursor = next;
        if next == 0 {
            self.next_turn();
        }
        Some((found, turn))
    }

    fn next_turn(&mut self) {
        self.turn = self.turn.saturating_add(1);
        self.cursor = 0;
        self.spare.clear();
    }

    /// Takes the next block without an owner, or with `also_empty` one without ids in use.
    fn another_block(
        &mut self,
        blocks: &mut [IdBlock],
        geometry: Geometry,
        also_empty: bool,
    ) -> Option<Cell> {
        let [at, low] = self.cursor.to_be_bytes();
        let is_free = |block: &IdBlock| block.owner.is_none() || also_empty && block.count == 0;
        if let [only] = blocks {
            if !is_free(only) {
                return None;
            }
            let bit = if only.owner.is_some() { 0 } else { at };
            if only.owner.is_some() {
                self.next_turn();
            }
            only.owner = Some(geometry);
            return Some(Cell { block: 0, bit, id: MinerId(u16::from(bit)) });
        }
        let all = || (0u8..=u8::MAX).zip(blocks.iter());
        let ahead = all().skip(usize::from(at)).find(|(_, block)| is_free(block));
        let (found, block) = ahead.or_else(|| all().find(|(_, block)| is_free(block)))?;
        if found < at || block.owner.is_some() {
            // Its ids were used in this turn or before.
            self.next_turn();
        }
        if let Some(block) = blocks.get_mut(usize::from(found)) {
            block.owner = Some(geometry);
        }
        Some(match geometry.miner_id_bytes() {
            1 => Cell { block: found, bit: 0, id: MinerId(u16::from(found)) },
            _ => {
                let bit = if found == at { low } else { 0 };
                Cell { block: found, bit, id: MinerId(u16::from_be_bytes([found, bit])) }
            }
        })
    }
}

/// Returns the block and bit of an id.
fn cell_of(blocks: &[IdBlock], geometry: Geometry, id: MinerId) -> Option<Cell> {
    let [high, low] = id.0.to_be_bytes();
    let (block, bit) = match (blocks.len() > 1, geometry.miner_id_bytes()) {
        (true, 1) => (low, 0),
        (true, _) => (high, low),
        (false, _) => (0, low),
    };
    (usize::from(block) < blocks.len()).then_some(Cell { block, bit, id })
}

/// Returns the first free id of a geometry's own blocks, at or after `from`.
fn owned_cell(blocks: &[IdBlock], geometry: Geometry, from: u16) -> Option<Cell> {
    let [at, low] = from.to_be_bytes();
    let is_own = |block: &&IdBlock| block.owner == Some(geometry);
    if let [only] = blocks {
        let bit = Some(only).filter(is_own)?.first_free(at)?;
        return Some(Cell { block: 0, bit, id: MinerId(u16::from(bit)) });
    }
    let own = (0u8..=u8::MAX).zip(blocks).skip(usize::from(at)).filter(|(_, b)| is_own(b));
    let mut own = own.map(|(number, block)| (number, block, if number == at { low } else { 0 }));
    if geometry.miner_id_bytes() == 1 {
        let (block, ..) = own.find(|(_, block, _)| block.count == 0)?;
        return Some(Cell { block, bit: 0, id: MinerId(u16::from(block)) });
    }
    own.find_map(|(number, block, from)| {
        let bit = block.first_free(from)?;
        Some(Cell { block: number, bit, id: MinerId(u16::from_be_bytes([number, bit])) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use std::vec;

    fn session() -> Downstream {
        Downstream::for_tests()
    }

    #[test]
    fn a_stale_handle_finds_nothing() {
        let mut slots = [const { Slot::VACANT }; 2];
        let mut table = Table::new(&mut slots);
        let first = table.insert(session()).unwrap();
        assert!(table.remove(first).is_some());
        assert!(table.remove(first).is_none());
        let second = table.insert(session()).unwrap();
        assert_eq!(first.index(), second.index());
        assert!(table.get(first).is_none());
        assert!(table.get_mut(second).is_some());
    }

    #[test]
    fn f44_a_full_table_says_its_size_and_a_freed_slot_serves_again() {
        let mut slots = [const { Slot::VACANT }; 2];
        let mut table = Table::new(&mut slots);
        let first = table.insert(session()).unwrap();
        table.insert(session()).unwrap();
        assert_eq!(table.insert(session()), Err(TableFull { capacity: 2 }));
        table.remove(first);
        assert!(table.insert(session()).is_ok());
        assert_eq!(table.len(), 2);
    }

    fn geometry(miner_id_bytes: u8, roll_bytes: u8) -> Geometry {
        Geometry::new(miner_id_bytes, roll_bytes).unwrap()
    }

    #[test]
    fn f49_when_all_ids_are_in_use_a_newcomer_hears_the_number() {
        let mut blocks = [IdBlock::FREE; 1];
        let mut ids = IdPool::new(&mut blocks, 1000, 0);
        let one = geometry(1, 2);
        let taken: std::vec::Vec<_> =
            (0..256).map(|_| ids.take(&mut blocks, one).unwrap()).collect();
        assert_eq!(ids.take(&mut blocks, one), Err(IdsExhausted { used: 256 }));
        ids.give_back(&mut blocks, taken[7], true);
        let again = ids.take(&mut blocks, one).unwrap();
        assert_eq!((again.id, again.turn), (taken[7].id, taken[7].turn + 1));
        assert!(ids.take(&mut blocks, geometry(2, 2)).is_err(), "it has one byte for an id");
    }

    #[test]
    fn f88_an_id_that_did_no_work_is_given_again_and_one_that_did_is_another_space() {
        for (len, geometry) in [(256, geometry(2, 4)), (256, geometry(1, 4)), (1, geometry(1, 2))] {
            let mut blocks = vec![IdBlock::FREE; len];
            let mut ids = IdPool::new(&mut blocks, 10, 0x10f0);
            let first = ids.take(&mut blocks, geometry).unwrap();
            ids.give_back(&mut blocks, first, false);
            for _ in 0..100_000 {
                let idle = ids.take(&mut blocks, geometry).unwrap();
                assert_eq!(idle, first);
                ids.give_back(&mut blocks, idle, false);
            }
            let mut seen = HashSet::new();
            for _ in 0..10_000 {
                let space = ids.take(&mut blocks, geometry).unwrap();
                assert!(seen.insert((space.id, space.turn)), "{space:?} again");
                ids.give_back(&mut blocks, space, true);
            }
            assert_eq!(ids.used(), 0);
        }
    }

    #[test]
    fn f88_the_last_id_belongs_to_the_turn_that_it_ends() {
        for (geometry, last) in [(geometry(2, 4), 0xffff), (geometry(1, 4), 0xff)] {
            let mut blocks = vec![IdBlock::FREE; 256];
            let mut ids = IdPool::new(&mut blocks, 10, 0xffff);
            let space = ids.take(&mut blocks, geometry).unwrap();
            assert_eq!((space.id, space.turn), (MinerId(last), 0));
            assert_eq!(ids.take(&mut blocks, geometry).unwrap().turn, 1);
        }
    }

    #[test]
    fn f88_a_large_table_of_one_byte_ids_leaves_room_for_others() {
        let mut blocks = vec![IdBlock::FREE; 256];
        let mut ids = IdPool::new(&mut blocks, 10_000, 0);
        let taken = (0..).take_while(|_| ids.take(&mut blocks, geometry(1, 2)).is_ok()).count();
        assert_eq!(taken, 192);
        let taken = (0..).take_while(|_| ids.take(&mut blocks, geometry(2, 4)).is_ok()).count();
        assert_eq!(taken, 64 * 256);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u8, u8),
        Leave(prop::sample::Index, bool),
    }

    fn steps() -> impl Strategy<Value = std::vec::Vec<Step>> {
        let step = prop_oneof![
            (1..=2_u8, 2..=4_u8).prop_map(|(id, roll)| Step::Take(id, roll)),
            (any::<prop::sample::Index>(), any::<bool>())
                .prop_map(|(miner, worked)| Step::Leave(miner, worked)),
        ];
        prop::collection::vec(step, 1..600)
    }

    /// Whether an extranonce2 that begins with `a` can begin with `b`.
    fn overlap(a: &[u8], b: &[u8]) -> bool {
        a.starts_with(b) || b.starts_with(a)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Under any churn of any mix of geometries, no two live miners share an extranonce2 of any
        /// pool, a small table never runs out, and used space is not given out again.
        #[test]
        fn f88_f89_live_miners_share_no_extranonce2_of_any_pool(
            first in any::<u16>(),
            rolls in prop::collection::vec(2..=8_u8, 3),
            steps in steps(),
        ) {
            let mut blocks = vec![IdBlock::FREE; 256];
            let mut ids = IdPool::new(&mut blocks, 40, first);
            let mut live: std::vec::Vec<Space> = vec![];
            let mut worked_on = HashSet::new();
            for step in steps {
                match step {
                    Step::Take(id, roll) if live.len() < 40 => {
                        let geometry = geometry(id, rolls[usize::from(roll) - 2]);
                        let space = ids.take(&mut blocks, geometry).unwrap();
                        prop_assert!(!worked_on.contains(&space));
                        for n2 in 3..=16 {
                            let Ok(mut own) = space.pad(n2) else { continue };
                            own.extend_from_slice(&space.extranonce1()).unwrap();
                            for other in &live {
                                let Ok(mut theirs) = other.pad(n2) else { continue };
                                theirs.extend_from_slice(&other.extranonce1()).unwrap();
                                prop_assert!(!overlap(&own, &theirs), "{space:?} {other:?} {n2}");
                            }
                        }
                        live.push(space);
                    }
                    Step::Take(..) => {}
                    Step::Leave(miner, worked) => if !live.is_empty() {
                        let space = live.swap_remove(miner.index(live.len()));
                        if worked {
                            worked_on.insert(space);
                        }
                        ids.give_back(&mut blocks, space, worked);
                    },
                }
                prop_assert_eq!(ids.used(), live.len());
            }
        }
    }
}
