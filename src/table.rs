//! The table of miners: a fixed number of slots behind generational handles, and the ids that
//! keep the search spaces of miners apart.
//!
//! The owner hands in the slots once; nothing here allocates. A [`MinerHandle`] names a slot and
//! the connection that held it when the handle was made, so a stale handle finds nothing rather
//! than somebody else (B4).
//!
//! An [`IdPool`] gives out miner ids, the `P` bytes in front of a miner's own part of the
//! extranonce2. It is a queue: an id comes back at its end and rests there until every job that
//! was issued while it was in use is dead. So no two live miners ever search the same space, and
//! a newcomer never repeats what its predecessor found (QUIRKS 23; `docs/adr/0003`).
//!
//! When the table or the ids are used up the answer is an error with the number, and whoever is
//! connected stays.

use crate::downstream::Downstream;
use crate::work::extranonce::MinerId;
use crate::work::job::Serial;

/// Names one connection of a miner.
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

/// One place of the table.
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

/// All slots are taken.
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
    /// [`TableFull`] where there is none; nobody is moved out.
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

    /// Frees the slot and returns what it held; a stale handle frees nothing.
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

    /// Returns the connection in the slot `index` and its handle, where there is one.
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

/// A free miner id and the last job that was issued while it was in use.
#[derive(Clone, Copy, Debug)]
pub struct RestingId {
    id: MinerId,
    rests_until: Serial,
}

impl RestingId {
    /// An id that was never used.
    pub const FRESH: Self = Self { id: MinerId(0), rests_until: Serial::NONE };
}

/// Every id is in use or rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct IdsExhausted {
    /// Ids in use.
    pub used: usize,
    /// Ids that still rest.
    pub resting: usize,
}

/// The ids of one lane: a queue of the free ones, longest free first.
///
/// The queue lies in places that its owner keeps and hands in at each call, always the same.
#[derive(Clone, Debug, Default)]
pub struct IdPool {
    size: usize,
    head: usize,
    free: usize,
}

impl IdPool {
    /// Fills `places` with as many ids as there are places, beginning at `first`.
    ///
    /// A gateway begins at a random id, so that after a restart its miners do not repeat the work
    /// of the run before on a session that the pool resumes.
    pub fn new(places: &mut [RestingId], first: u16) -> Self {
        let size = places.len();
        for (offset, place) in places.iter_mut().enumerate() {
            let id = usize::from(first).saturating_add(offset).checked_rem(size).unwrap_or(0);
            let id = MinerId(u16::try_from(id).unwrap_or(u16::MAX));
            *place = RestingId { id, rests_until: Serial::NONE };
        }
        Self { size, head: 0, free: size }
    }

    /// Takes the id that has been free longest, if every job it was used for is older than
    /// `oldest_live`.
    ///
    /// # Errors
    ///
    /// [`IdsExhausted`] where all are in use or resting.
    pub fn take(
        &mut self,
        places: &[RestingId],
        oldest_live: Serial,
    ) -> Result<MinerId, IdsExhausted> {
        let exhausted = IdsExhausted { used: self.used(), resting: self.free };
        if self.free == 0 {
            return Err(exhausted);
        }
        let first = *places.get(self.head).ok_or(exhausted)?;
        if first.rests_until >= oldest_live {
            return Err(exhausted);
        }
        self.head = self.wrap(self.head.saturating_add(1));
        self.free = self.free.saturating_sub(1);
        Ok(first.id)
    }

    /// Gives an id back; it rests until the job `last_issued` is dead.
    pub fn give_back(&mut self, places: &mut [RestingId], id: MinerId, last_issued: Serial) {
        assert!(self.free < self.size, "an id is given back once");
        let end = self.wrap(self.head.saturating_add(self.free));
        if let Some(place) = places.get_mut(end) {
            *place = RestingId { id, rests_until: last_issued };
            self.free = self.free.saturating_add(1);
        }
    }

    /// Returns how many ids are in use.
    pub fn used(&self) -> usize {
        self.size.saturating_sub(self.free)
    }

    /// Returns how many ids there are.
    pub fn size(&self) -> usize {
        self.size
    }

    fn wrap(&self, index: usize) -> usize {
        if index >= self.size { index.saturating_sub(self.size) } else { index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
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

    #[test]
    fn f49_an_id_rests_until_its_last_job_is_dead() {
        let mut free = [RestingId::FRESH; 2];
        let mut ids = IdPool::new(&mut free, 0);
        let job = Serial::FIRST;
        let first = ids.take(&free, job).unwrap();
        ids.take(&free, job).unwrap();
        assert_eq!(ids.take(&free, job), Err(IdsExhausted { used: 2, resting: 0 }));
        ids.give_back(&mut free, first, job);
        assert_eq!(ids.take(&free, job), Err(IdsExhausted { used: 1, resting: 1 }));
        assert_eq!(ids.take(&free, job.next()), Ok(first));
    }

    proptest! {
        /// Under any churn, no two live miners have the same id, and no id is given to a newcomer
        /// while a job of its last user lives.
        #[test]
        fn f49_ids_stay_apart_under_churn(
            size in 1usize..40,
            first in any::<u16>(),
            steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>()), 1..400),
        ) {
            let mut free = vec![RestingId::FRESH; size];
            let mut ids = IdPool::new(&mut free, first);
            let mut newest = Serial::FIRST;
            let mut oldest = Serial::FIRST;
            let mut live = vec![];
            let mut last_job = HashMap::new();
            for (step, pick) in steps {
                match step {
                    0 | 1 => if let Ok(id) = ids.take(&free, oldest) {
                        prop_assert!(!live.contains(&id));
                        if let Some(last) = last_job.get(&id) {
                            prop_assert!(*last < oldest);
                        }
                        live.push(id);
                    },
                    2 => if !live.is_empty() {
                        let id = live.swap_remove(pick.index(live.len()));
                        last_job.insert(id, newest);
                        ids.give_back(&mut free, id, newest);
                    },
                    _ => {
                        newest = newest.next();
                        if pick.index(2) == 0 { oldest = newest; }
                    }
                }
                prop_assert_eq!(ids.used(), live.len());
            }
        }
    }
}
