//! The accepted shares: none is accepted twice in the life of its job (F27, F28, F90).
//!
//! Two shares are equal if their headers are, and so their hashes, whatever the sender, connection
//! or spelling. [`SeenShares`] keeps 48 bits of each hash and looks them up by 64 others, in one
//! table for the whole farm. A share is in one of two buckets of a cache line each. A seed unknown
//! to peers chooses them, and a lookup reads both and no more.
//!
//! **How long.** Each entry belongs to a [`Generation`]: the shares of one announcement. A header
//! can be replayed against any job with the same `Job::work`, that is the same coinbase, branches
//! and block. The job's lowest ntime must not exceed the header's. A generation therefore lives as
//! long as such a job does, under whatever serial: renewed, resumed, or sent again by its pool. The
//! owner knows the jobs and reports them ([`SeenShares::reclaim`]). To free a generation, one
//! number changes; its entries are overwritten one by one.
//!
//! **When it is full**, no share is accepted without being remembered. Light shares may take
//! [`SEEN_LIGHT_EIGHTHS`] of the places, and shares that reach their pool [`SEEN_HEAVY_EIGHTHS`].
//! Beyond that there are a few spare places, the last of them for block candidates. The owner makes
//! room earlier: see `proxy::room`.

use crate::limits::{
    SEEN_BUCKET_PLACES, SEEN_GENERATIONS, SEEN_GENERATIONS_OF_WORK, SEEN_HEAVY_EIGHTHS,
    SEEN_LIGHT_EIGHTHS, SEEN_SPARE, SEEN_SPARE_FOR_BLOCKS,
};
use crate::work::header::{BlockHash, NTime};
use crate::work::job::{Job, Serial};

/// The class of a share, which decides how much room it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It is too light for the pool.
    Light,
    /// It reaches the pool's target.
    Heavy,
    /// It is a block candidate.
    Block,
}

/// No place is free for a share of this weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The shares of one announcement, or of several announcements of one work that has many.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// Tells its entries from those of the place's previous generation; never zero.
    lap: u8,
    is_used: bool,
    /// The last announcement that it was used for.
    serial: Serial,
    /// The work of its shares: coinbase, branches and block.
    work: u64,
    /// The highest ntime in their headers.
    ntime_max: NTime,
    has_block: bool,
    shares: u32,
}

impl Generation {
    const FREE: Self = Self {
        lap: 1,
        is_used: false,
        serial: Serial::NONE,
        work: 0,
        ntime_max: NTime(0),
        has_block: false,
        shares: 0,
    };

    /// Says whether one of its shares could be sent again for `job`. A dead job still takes block
    /// candidates in the same session.
    pub fn is_replayable(&self, job: &Job, same_session: bool) -> bool {
        self.work == job.work
            && job.ntime <= self.ntime_max
            && (job.live || (self.has_block && same_session))
    }
}

/// Low bits of an entry: the generation's place and its lap. The other bits are from the hash.
const TAG_BITS: u32 = 16;

/// Serials found without a search.
const LATEST: usize = 64;

/// The buckets and fingerprint of a share.
#[derive(Clone, Copy, Debug)]
struct Mark {
    buckets: [usize; 2],
    fingerprint: u64,
}

/// All accepted shares that could be sent again.
#[derive(Debug)]
pub struct SeenShares<'a> {
    buckets: &'a mut [[u64; SEEN_BUCKET_PLACES]],
    spare: heapless::Vec<u64, SEEN_SPARE>,
    generations: [Generation; SEEN_GENERATIONS],
    /// The place of each serial's generation, by the serial's low bits.
    latest: [u8; LATEST],
    used: u32,
    seed: u64,
}

impl<'a> SeenShares<'a> {
    /// Takes the memory, and a seed unknown to peers.
    pub fn new(buckets: &'a mut [[u64; SEEN_BUCKET_PLACES]], seed: u64) -> Self {
        let generations = [Generation::FREE; SEEN_GENERATIONS];
        let spare = heapless::Vec::new();
        Self { buckets, spare, generations, latest: [0; LATEST], used: 0, seed }
    }

    /// Returns the number of remembered shares.
    pub fn len(&self) -> usize {
        self.used as usize
    }

    /// Says whether no share is remembered.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Returns the limit for light shares.
    pub fn light_max(&self) -> u32 {
        self.eighths(SEEN_LIGHT_EIGHTHS)
    }

    /// Returns the room left for light shares.
    pub fn light_left(&self) -> u32 {
        self.light_max().saturating_sub(self.used)
    }

    /// Says whether it is time to make room.
    pub fn is_crowded(&self) -> bool {
        self.light_left() < self.light_max() / 8
    }

    fn eighths(&self, eighths: u32) -> u32 {
        let places = self.buckets.len().saturating_mul(SEEN_BUCKET_PLACES);
        (u32::try_from(places).unwrap_or(u32::MAX) / 8).saturating_mul(eighths)
    }

    /// Says whether the share with this hash was accepted before.
    pub fn contains(&self, hash: &BlockHash) -> bool {
        let mark = self.mark(hash);
        let is_it = |entry: &u64| entry >> TAG_BITS == mark.fingerprint && self.is_alive(*entry);
        let has = |at: &usize| self.buckets.get(*at).is_some_and(|b| b.iter().any(is_it));
        mark.buckets.iter().any(has) || self.spare.iter().any(is_it)
    }

    /// Remembers a share not yet known to `contains`.
    ///
    /// # Errors
    ///
    /// [`Full`] if no place is free for it.
    pub fn insert(
        &mut self,
        hash: &BlockHash,
        job: &Job,
        ntime: NTime,
        weight: Weight,
    ) -> Result<(), Full> {
        if weight == Weight::Light && self.light_left() == 0 {
            return Err(Full);
        }
        let place = self.generation_of(job).ok_or(Full)?;
        let lap = self.generations.get(usize::from(place)).map_or(1, |it| it.lap);
        let mark = self.mark(hash);
        let tag = u64::from(u16::from_le_bytes([place, lap]));
        self.put(&mark, (mark.fingerprint << TAG_BITS) | tag, weight)?;
        if let Some(generation) = self.generations.get_mut(usize::from(place)) {
            generation.ntime_max = generation.ntime_max.max(ntime);
            generation.has_block |= weight == Weight::Block;
            generation.shares = generation.shares.saturating_add(1);
        }
        self.used = self.used.saturating_add(1);
        Ok(())
    }

    /// Puts an entry into the emptier of its buckets, or into a spare place.
    fn put(&mut self, mark: &Mark, entry: u64, weight: Weight) -> Result<(), Full> {
        if weight == Weight::Light || self.used < self.eighths(SEEN_HEAVY_EIGHTHS) {
            let [first, second] = mark.buckets.map(|at| (self.free_in(at), at));
            let (free, at) = if first.0 >= second.0 { first } else { second };
            if free > 0 {
                let Self { buckets, generations, .. } = self;
                let places = buckets.get_mut(at).ok_or(Full)?;
                let is_free = |place: &&mut u64| !is_alive(generations, **place);
                *places.iter_mut().find(is_free).ok_or(Full)? = entry;
                return Ok(());
            }
        }
        let Self { spare, generations, .. } = self;
        spare.retain(|entry| is_alive(generations, *entry));
        let allowed = match weight {
            Weight::Light => 0,
            Weight::Heavy => SEEN_SPARE - SEEN_SPARE_FOR_BLOCKS,
            Weight::Block => SEEN_SPARE,
        };
        if spare.len() >= allowed {
            return Err(Full);
        }
        spare.push(entry).map_err(|_| Full)
    }

    fn free_in(&self, bucket: usize) -> usize {
        let places = self.buckets.get(bucket);
        places.map_or(0, |places| places.iter().filter(|entry| !self.is_alive(**entry)).count())
    }

    fn is_alive(&self, entry: u64) -> bool {
        is_alive(&self.generations, entry)
    }

    /// The buckets and fingerprint of a hash. A share's low hash bytes are as good as random,
    /// whatever its difficulty.
    fn mark(&self, hash: &BlockHash) -> Mark {
        let mut halves = [0; 16];
        halves.copy_from_slice(hash.0.first_chunk::<16>().unwrap_or(&[0; 16]));
        let bits = u128::from_le_bytes(halves);
        let mixed = mix(bits as u64 ^ self.seed);
        let buckets = self.buckets.len() as u64;
        // The high half of 32 bits times a number is below that number.
        let below = |bits: u64| (bits.wrapping_mul(buckets) >> 32) as usize;
        Mark {
            buckets: [below(mixed >> 32), below(mixed & u64::from(u32::MAX))],
            fingerprint: (bits >> 64) as u64 >> TAG_BITS,
        }
    }

    /// The place of the generation for a job's shares; `None` if none is free.
    fn generation_of(&mut self, job: &Job) -> Option<u8> {
        let slot = job.serial.number() as usize % LATEST;
        let is_it = |it: &Generation| it.is_used && it.serial == job.serial;
        let latest = self.latest.get(slot).copied().unwrap_or(0);
        if self.generations.get(usize::from(latest)).is_some_and(is_it) {
            return Some(latest);
        }
        let found = self.generations.iter().position(is_it).or_else(|| self.open(job))?;
        let place = u8::try_from(found).ok()?;
        if let Some(latest) = self.latest.get_mut(slot) {
            *latest = place;
        }
        Some(place)
    }

    /// Opens a generation for a job. If the work has many already, the newest is extended: it may
    /// live longer for that, never shorter.
    fn open(&mut self, job: &Job) -> Option<usize> {
        let of_work = |it: &&Generation| it.is_used && it.work == job.work;
        if self.generations.iter().filter(of_work).count() >= SEEN_GENERATIONS_OF_WORK {
            let newest = (0..).zip(&self.generations).filter(|(_, it)| of_work(it));
            let place = newest.max_by_key(|(_, it)| it.serial).map(|(place, _)| place)?;
            let generation = self.generations.get_mut(place)?;
            generation.serial = generation.serial.max(job.serial);
            return Some(place);
        }
        let place = self.generations.iter().position(|it| !it.is_used)?;
        let generation = self.generations.get_mut(place)?;
        let lap = generation.lap;
        let (serial, work) = (job.serial, job.work);
        *generation = Generation { lap, is_used: true, serial, work, ..Generation::FREE };
        Some(place)
    }

    /// Frees the generations for which `is_replayable` is false.
    pub fn reclaim(&mut self, is_replayable: impl Fn(&Generation) -> bool) {
        for place in 0..SEEN_GENERATIONS {
            let generation = self.generations.get_mut(place);
            let Some(generation) = generation.filter(|it| it.is_used && !is_replayable(it)) else {
                continue;
            };
            self.used = self.used.saturating_sub(generation.shares);
            let lap = generation.lap.checked_add(1);
            *generation = Generation { lap: lap.unwrap_or(1), ..Generation::FREE };
            if lap.is_none() {
                self.forget(place);
            }
        }
    }

    /// Clears the leftover entries of a place before its laps are used again.
    fn forget(&mut self, place: usize) {
        let is_of =
            |entry: u64| entry.to_le_bytes().first().is_some_and(|p| usize::from(*p) == place);
        for entry in self.buckets.iter_mut().flatten().filter(|entry| is_of(**entry)) {
            *entry = 0;
        }
        self.spare.retain(|entry| !is_of(*entry));
    }

    /// Returns the number of remembered shares of an announcement; 0 if its generation has passed
    /// to a later one.
    pub fn shares_of(&self, serial: Serial) -> u32 {
        let of = |it: &&Generation| it.is_used && it.serial == serial;
        self.generations.iter().find(of).map_or(0, |it| it.shares)
    }

    /// Says whether a block candidate was found for an announcement.
    pub fn has_block_of(&self, serial: Serial) -> bool {
        self.generations.iter().any(|it| it.is_used && it.serial == serial && it.has_block)
    }

    #[cfg(feature = "canary")]
    pub(crate) fn forget_all(&mut self) {
        self.reclaim(|_| false);
    }
}

/// Says whether an entry still stands for a share, that is, whether its generation is current. Zero
/// never does, since no lap is zero.
fn is_alive(generations: &[Generation; SEEN_GENERATIONS], entry: u64) -> bool {
    let [place, lap, ..] = entry.to_le_bytes();
    generations.get(usize::from(place)).is_some_and(|it| it.lap == lap)
}

/// Mixes 64 bits (the finalizer of splitmix64).
const fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

const _: () = assert!(SEEN_GENERATIONS == 1 << u8::BITS, "a place is a byte of the tag");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SEEN_PLACES_PER_MINER;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::vec;

    fn hash(number: u64) -> BlockHash {
        let mut bytes = [0; 32];
        for (at, chunk) in (0..).zip(bytes.chunks_mut(8)) {
            chunk.copy_from_slice(&mix(number ^ (at << 56)).to_le_bytes());
        }
        BlockHash(bytes)
    }

    fn job(number: u32, work: u64) -> Job {
        let digits = crate::wire::hex::digits(number);
        let serial = Serial::from_digits(&digits).unwrap();
        Job { serial, work, ntime: NTime(number), live: true, ..Job::vacant() }
    }

    #[test]
    fn f90_all_places_of_the_plan_are_usable_and_nothing_is_forgotten() {
        for miners in [1, 4, 100] {
            let mut buckets = vec![[0; SEEN_BUCKET_PLACES]; miners * 4];
            let mut seen = SeenShares::new(&mut buckets, 7);
            let job = job(1, 1);
            let mut light = 0;
            while seen.insert(&hash(light), &job, job.ntime, Weight::Light).is_ok() {
                light += 1;
            }
            // A small table may have a full pair of buckets first.
            let places = (miners * SEEN_PLACES_PER_MINER) as u64;
            assert!(light * 8 <= places * 5 && light * 8 >= places * 4, "{light} of {places}");
            let mut all = light;
            while seen.insert(&hash(all), &job, job.ntime, Weight::Heavy).is_ok() {
                all += 1;
            }
            assert!(all - light >= places / 4, "{all} of {places}");
            for blocks in 0..SEEN_SPARE_FOR_BLOCKS as u64 {
                seen.insert(&hash(all + blocks), &job, job.ntime, Weight::Block).unwrap();
            }
            all += SEEN_SPARE_FOR_BLOCKS as u64;
            assert_eq!(seen.insert(&hash(all), &job, job.ntime, Weight::Block), Err(Full));
            assert!((0..all).all(|number| seen.contains(&hash(number))));
            assert!(!(all..2 * all).any(|number| seen.contains(&hash(number))));
            seen.reclaim(|_| false);
            assert!(seen.is_empty() && !(0..all).any(|number| seen.contains(&hash(number))));
            assert_eq!(seen.insert(&hash(all), &job, job.ntime, Weight::Light), Ok(()));
        }
    }

    #[test]
    fn f90_a_place_that_is_used_for_the_300th_time_knows_no_share_of_the_first() {
        let mut buckets = vec![[0; SEEN_BUCKET_PLACES]; 16];
        let mut seen = SeenShares::new(&mut buckets, 7);
        for number in 0..600 {
            let job = job(number + 1, 1);
            seen.insert(&hash(u64::from(number)), &job, job.ntime, Weight::Heavy).unwrap();
            assert!(seen.contains(&hash(u64::from(number))));
            let before = u64::from(number).saturating_sub(256);
            assert!(number < 256 || !seen.contains(&hash(before)), "{number}");
            seen.reclaim(|_| false);
        }
    }

    #[test]
    fn f90_many_announcements_of_one_work_leave_generations_to_others() {
        let mut buckets = vec![[0; SEEN_BUCKET_PLACES]; 512];
        let mut seen = SeenShares::new(&mut buckets, 7);
        for work in 0..16 {
            for number in 1..=40 {
                let job = job(work * 100 + number, u64::from(work));
                let share = hash(u64::from(work * 100 + number));
                seen.insert(&share, &job, job.ntime, Weight::Light).unwrap();
            }
        }
        // What is still replayable of a work that shares generations is kept.
        let last = job(1_540, 15);
        seen.reclaim(|generation| generation.is_replayable(&last, true));
        assert!(seen.contains(&hash(1_540)));
        assert!(!seen.contains(&hash(1_501)), "a job that is dead takes it no more");
        assert!(!seen.contains(&hash(1)));
    }

    proptest! {
        /// Against a map of all that was accepted: what is replayable is known, and what was never
        /// accepted is not.
        #[test]
        fn f90_the_table_knows_what_a_map_knows(
            seed in any::<u64>(),
            steps in prop::collection::vec((0u8..8, 0u64..200, 0u32..20), 1..600),
        ) {
            let mut buckets = vec![[0; SEEN_BUCKET_PLACES]; 8];
            let mut seen = SeenShares::new(&mut buckets, seed);
            let mut jobs = vec![job(1, 1)];
            let mut taken: HashMap<u64, (u64, NTime)> = HashMap::new();
            for (step, share, ahead) in steps {
                match step {
                    0 => {
                        // Other work, or the same announced anew.
                        let newest = jobs.last().unwrap();
                        let work = newest.work + share % 2;
                        jobs.push(job(newest.serial.number() + 1, work));
                    }
                    1 if jobs.len() > 1 => {
                        jobs.remove(share as usize % (jobs.len() - 1));
                        seen.reclaim(|it| jobs.iter().any(|job| it.is_replayable(job, true)));
                    }
                    _ => {
                        let of = &jobs[share as usize % jobs.len()];
                        // A header is of one work and one time.
                        let (ntime, work) = (NTime(of.ntime.0 + ahead), of.work);
                        let key = share << 40 | u64::from(ntime.0) << 20 | work;
                        let is_known = seen.contains(&hash(key));
                        prop_assert!(!is_known || taken.contains_key(&key));
                        let weight = if ahead < 10 { Weight::Light } else { Weight::Heavy };
                        if !is_known && seen.insert(&hash(key), of, ntime, weight).is_ok() {
                            taken.insert(key, (work, ntime));
                        }
                    }
                }
                for (key, (work, ntime)) in &taken {
                    let can_come = |job: &Job| job.work == *work && job.ntime <= *ntime;
                    let is_due = jobs.iter().any(can_come);
                    prop_assert!(!is_due || seen.contains(&hash(*key)), "{key} is forgotten");
                }
            }
        }
    }
}
