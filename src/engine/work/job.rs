//! Jobs: a pool's work, kept as long as a late share may come for it.
//!
//! A [`Job`] holds a notify in the form of the share check: the hash state after the constant front
//! of the coinbase, the branches as bytes, the targets, and the pool's own job id verbatim. A
//! [`JobRing`] keeps the last jobs of one link. The second coinbase halves, of up to 32 KiB, share
//! one store. When the ring or the store is full, the oldest job is dropped.
//!
//! Every announcement to miners has its own [`Serial`], unique over all links and reconnects and
//! never reused: miners see it as job id (F36). A keep-alive is a new job too, with the same pool
//! job and a later ntime. Otherwise firmware that restarts its extranonce2 at each notify would
//! repeat its shares (QUIRKS 24).

use crate::limits::{
    JOBS_PER_LINK, MERKLE_BRANCHES_MAX, NTIME_MOVED_SECS_MAX, POOL_JOB_ID_BYTES_MAX,
};
use crate::time::Instant;
use crate::wire::hex;
use crate::work::coinbase::CoinbasePrefix;
use crate::work::difficulty::Difficulty;
use crate::work::extranonce::Space;
use crate::work::header::{NTime, PrevHash};
use crate::work::merkle;
use crate::work::sha256d::Sha256d;
use crate::work::target::{NBits, Target};
use crate::work::version::{Version, VersionMask};

/// The number of an announcement; miners see it as eight hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Serial(u32);

impl Serial {
    /// No announcement; sorts before the first.
    pub const NONE: Self = Self(0);

    /// The first serial. It begins with a letter, so that an id in the wrong case is a different
    /// id. At a job a second the first digit lasts for eight years.
    pub const FIRST: Self = Self(0xa000_0000);

    /// Returns the next serial.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(next) => Self(next),
            None => Self(1),
        }
    }

    /// Returns the number.
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    /// Returns the eight lower-case hex digits of the miners' job id.
    pub fn digits(self) -> [u8; 8] {
        hex::digits(self.0)
    }

    /// Reads a miner's job id; only the exact form given out is accepted.
    pub fn from_digits(text: &[u8]) -> Option<Self> {
        let serial = Self(hex::u32_be(text).ok()?);
        (serial.digits() == text && serial != Self::NONE).then_some(serial)
    }
}

/// The work of a job without its ntime: two jobs with the same task are the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task([u8; 32]);

impl Task {
    /// No task at all.
    pub const NONE: Self = Self([0; 32]);

    /// Computes the task from the coinbase without miners' bytes, the branches and the header
    /// fields. `numbers` are version, nbits and the place of the miners' bytes.
    pub fn of(
        coinbase: [u8; 32],
        branches: &[[u8; 32]],
        prev_hash: &[u8; 32],
        numbers: [u32; 3],
    ) -> Self {
        let mut hash = Sha256d::new();
        hash.update(&coinbase);
        hash.update(prev_hash);
        numbers.iter().for_each(|number| hash.update(&number.to_be_bytes()));
        branches.iter().for_each(|branch| hash.update(branch));
        Self(hash.finish())
    }
}

/// A pool's job, with fields from outside the notify.
#[derive(Clone, Debug)]
pub struct Job {
    /// The id that miners know; [`Serial::NONE`] in an unused place.
    pub serial: Serial,
    /// The epoch of its link; shares from another epoch's job are void.
    pub epoch: u16,
    /// The work for miners.
    pub task: Task,
    /// Cleared when a later job with `clean_jobs`, another session, or age ends it.
    pub live: bool,
    /// When the job came.
    pub received: Instant,
    /// The pool's id, as the inside of a JSON string, byte for byte.
    pub pool_job_id: heapless::String<POOL_JOB_ID_BYTES_MAX>,
    /// The hash state after coinb1 and extranonce1.
    pub prefix: CoinbasePrefix,
    /// Bytes of the pool's extranonce2.
    pub extranonce2_size: u8,
    /// The serial of its task's first announcement.
    pub first: Serial,
    /// The turn of its lane's ids at that time.
    pub turn: u32,
    /// Merkle branches in header order.
    pub branches: heapless::Vec<[u8; 32], MERKLE_BRANCHES_MAX>,
    /// The hash of the block to build on.
    pub prev_hash: PrevHash,
    /// Version before rolling.
    pub version: Version,
    /// The bits that the pool allows to be rolled.
    pub mask: VersionMask,
    /// The target of the network, in its compact form.
    pub nbits: NBits,
    /// The lowest time that a share may carry.
    pub ntime: NTime,
    /// The pool's difficulty in force for this job.
    pub difficulty: Difficulty,
    /// The target of `difficulty`.
    pub target: Target,
    /// The target of `nbits`.
    pub network_target: Target,
    /// A digest of the work without ids, ntimes and version bits. Two jobs with the same value
    /// share their headers. Set by the ring.
    pub(crate) work: u64,
    /// The place of the second coinbase half in the ring's store; set by the ring.
    pub(crate) coinb2_start: u32,
    pub(crate) coinb2_len: u32,
}

impl Job {
    /// An unused place.
    pub fn vacant() -> Self {
        Self {
            serial: Serial::NONE,
            epoch: 0,
            task: Task::NONE,
            live: false,
            received: Instant::ZERO,
            pool_job_id: heapless::String::new(),
            prefix: CoinbasePrefix::new(&[]),
            extranonce2_size: 0,
            first: Serial::NONE,
            turn: 0,
            branches: heapless::Vec::new(),
            prev_hash: PrevHash::from_stratum(&[0; 32]),
            version: Version(0),
            mask: VersionMask::NONE,
            nbits: NBits(0),
            ntime: NTime(0),
            difficulty: Difficulty::ONE,
            target: Target::MAX,
            network_target: Target::MAX,
            work: 0,
            coinb2_start: 0,
            coinb2_len: 0,
        }
    }

    /// Returns the length of the whole coinbase.
    pub fn coinbase_bytes(&self) -> u32 {
        let prefix = u32::try_from(self.prefix.len()).unwrap_or(u32::MAX);
        prefix.saturating_add(u32::from(self.extranonce2_size)).saturating_add(self.coinb2_len)
    }

    /// Returns the ntime for a miner with `space`, seated when `newest` was the newest job. Another
    /// miner may have had its id for this task before. If the pad does not separate the two, the
    /// ntime does, for as long as the task is announced.
    pub fn ntime_for(&self, space: Space, newest: Serial) -> NTime {
        let is_later = self.first > newest;
        if is_later || space.shows_turn(self.extranonce2_size) {
            return self.ntime;
        }
        let turns = space.turn.saturating_sub(self.turn).saturating_add(u32::from(self.turn > 0));
        let ahead = turns.checked_rem(NTIME_MOVED_SECS_MAX).unwrap_or(0);
        NTime(self.ntime.0.saturating_add(ahead))
    }

    fn overlaps(&self, start: usize, end: usize) -> bool {
        let from = self.coinb2_start as usize;
        let to = from.saturating_add(self.coinb2_len as usize);
        self.serial != Serial::NONE && from < end && start < to
    }
}

/// A second coinbase half longer than the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CoinbaseTooLong {
    /// Bytes that the store holds.
    pub limit: usize,
}

/// The jobs of one link, newest last; when it is full, the oldest is dropped.
#[derive(Debug)]
pub struct JobRing<'a> {
    jobs: &'a mut [Job],
    /// The serials of `jobs`, place by place, for fast lookup.
    serials: [Serial; JOBS_PER_LINK],
    store: &'a mut [u8],
    /// Place of the newest job.
    newest: usize,
    /// Start of the next second half.
    free: usize,
}

impl<'a> JobRing<'a> {
    /// Takes the places for jobs, 1 to [`JOBS_PER_LINK`], and the store for second coinbase halves.
    pub fn new(jobs: &'a mut [Job], store: &'a mut [u8]) -> Self {
        assert!((1..=JOBS_PER_LINK).contains(&jobs.len()), "no more jobs than the constant");
        Self { jobs, serials: [Serial::NONE; JOBS_PER_LINK], store, newest: 0, free: 0 }
    }

    /// Makes `job` the newest. Its second coinbase half is hex, already checked.
    ///
    /// # Errors
    ///
    /// [`CoinbaseTooLong`] if the half does not fit into the whole store.
    pub fn push(&mut self, mut job: Job, coinb2_hex: &[u8]) -> Result<Serial, CoinbaseTooLong> {
        let len = coinb2_hex.len() / 2;
        let start = self.reserve(len)?;
        let too_long = CoinbaseTooLong { limit: self.store.len() };
        let place = self.store.get_mut(start..start.saturating_add(len)).ok_or(too_long)?;
        let coinb2 = hex::decode(coinb2_hex, place).map_err(|_| too_long)?;
        job.work = work_of(&job, coinb2);
        job.coinb2_start = u32::try_from(start).map_err(|_| too_long)?;
        job.coinb2_len = u32::try_from(len).map_err(|_| too_long)?;
        Ok(self.put(job))
    }

    /// Announces the newest job again under `serial`, with its ntime moved on to `ntime` and with
    /// the present version mask.
    pub fn renew(
        &mut self,
        serial: Serial,
        ntime: NTime,
        mask: VersionMask,
        now: Instant,
    ) -> Option<Serial> {
        let mut job = self.newest()?.clone();
        let len = job.coinb2_len as usize;
        let from = job.coinb2_start as usize;
        let start = self.reserve(len).ok()?;
        // If the store wrapped onto the newest job itself, both share one copy.
        if !job.overlaps(start, start.saturating_add(len)) {
            self.store.copy_within(from..from.saturating_add(len), start);
            job.coinb2_start = u32::try_from(start).ok()?;
        }
        job.serial = serial;
        job.ntime = ntime;
        job.mask = mask;
        job.received = now;
        Some(self.put(job))
    }

    fn put(&mut self, job: Job) -> Serial {
        let serial = job.serial;
        self.newest = self.newest.saturating_add(1);
        if self.newest >= self.jobs.len() {
            self.newest = 0;
        }
        let places = self.jobs.get_mut(self.newest).zip(self.serials.get_mut(self.newest));
        if let Some((place, place_serial)) = places {
            *place = job;
            *place_serial = serial;
        }
        serial
    }

    /// Finds `len` bytes of the store, and ends the jobs stored there.
    fn reserve(&mut self, len: usize) -> Result<usize, CoinbaseTooLong> {
        if len > self.store.len() {
            return Err(CoinbaseTooLong { limit: self.store.len() });
        }
        if self.free.saturating_add(len) > self.store.len() {
            self.free = 0;
        }
        let start = self.free;
        let end = start.saturating_add(len);
        for (job, serial) in self.jobs.iter_mut().zip(&mut self.serials) {
            if job.overlaps(start, end) {
                job.live = false;
                job.serial = Serial::NONE;
                *serial = Serial::NONE;
            }
        }
        self.free = end;
        Ok(start)
    }

    /// Returns the newest job, live or ended.
    pub fn newest(&self) -> Option<&Job> {
        self.jobs.get(self.newest).filter(|job| job.serial != Serial::NONE)
    }

    /// Returns the job and its second coinbase half.
    pub fn get(&self, serial: Serial) -> Option<(&Job, &[u8])> {
        let place = self.serials.iter().position(|known| *known == serial)?;
        let job = self.jobs.get(place)?;
        let start = job.coinb2_start as usize;
        let coinb2 = self.store.get(start..start.saturating_add(job.coinb2_len as usize))?;
        Some((job, coinb2))
    }

    /// Iterates over the kept jobs, live or ended.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| job.serial != Serial::NONE)
    }

    /// Ends a job. If it is also forgotten, not even a late block is accepted for it.
    pub(crate) fn end(&mut self, serial: Serial, is_forgotten: bool) {
        let places = self.jobs.iter_mut().zip(&mut self.serials);
        for (job, known) in places.filter(|(_, known)| **known == serial) {
            job.live = false;
            if is_forgotten {
                job.serial = Serial::NONE;
                *known = Serial::NONE;
            }
        }
    }

    /// Ends all jobs: later shares for them are stale.
    pub fn end_all(&mut self) {
        for job in self.jobs.iter_mut() {
            job.live = false;
        }
    }

    /// Moves a job's ntime past all jobs with the same work, so that it is new to every miner.
    /// Firmware that compares jobs would keep the old id; firmware that restarts would repeat its
    /// shares.
    pub fn move_time_on(&self, job: &mut Job) {
        // The task includes the extranonce1, so a resumed session is recognised too.
        let same = |old: &&Job| old.serial != Serial::NONE && old.task == job.task;
        let Some(last) = self.jobs.iter().filter(same).max_by_key(|old| old.ntime) else { return };
        (job.first, job.turn) = (last.first, last.turn);
        let next = last.ntime.0.saturating_add(1);
        let most = job.ntime.0.saturating_add(NTIME_MOVED_SECS_MAX);
        job.ntime = NTime(next.clamp(job.ntime.0, most));
    }

    /// Ends all jobs except those whose work `job` repeats, as the pool gave it. Shares for them
    /// stay valid, under the id and at the difficulty of the pool's new job.
    pub fn end_all_but_repeated(&mut self, job: &Job) {
        for old in self.jobs.iter_mut() {
            let repeats = (old.epoch, old.task) == (job.epoch, job.task) && old.ntime >= job.ntime;
            old.live &= repeats;
            if old.live {
                old.pool_job_id.clone_from(&job.pool_job_id);
                old.difficulty = job.difficulty;
                old.target = job.target;
            }
        }
    }

    /// Ends all jobs but the newest.
    pub fn end_all_but_newest(&mut self) {
        let newest = self.newest;
        for (place, job) in self.jobs.iter_mut().enumerate() {
            job.live &= place == newest;
        }
    }

    /// Ends the jobs received before `before`; the newest stays if miners still work on it.
    pub fn end_older(&mut self, before: Instant, in_use: bool) {
        let newest = self.newest;
        for (place, job) in self.jobs.iter_mut().enumerate() {
            if !(in_use && place == newest) && job.received < before {
                job.live = false;
            }
        }
    }

    /// Forgets all jobs when the link moves to another pool.
    pub fn clear(&mut self) {
        for job in self.jobs.iter_mut() {
            job.serial = Serial::NONE;
            job.live = false;
        }
        self.serials = [Serial::NONE; JOBS_PER_LINK];
        self.free = 0;
    }
}

/// Digests the header data of a job without the miner's part.
fn work_of(job: &Job, coinb2: &[u8]) -> u64 {
    let low = |bytes: &[u8; 32]| u64::from_le_bytes(*bytes.first_chunk().unwrap_or(&[0; 8]));
    let root = merkle::root(job.prefix.hash_with(&[], coinb2), &job.branches);
    low(&root.0) ^ low(&job.prev_hash.0) ^ u64::from(job.nbits.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn job(serial: Serial) -> Job {
        Job { serial, live: true, ..Job::vacant() }
    }

    fn places() -> std::vec::Vec<Job> {
        (0..JOBS_PER_LINK).map(|_| Job::vacant()).collect()
    }

    #[test]
    fn a_serial_is_read_only_as_it_was_written() {
        let serial = Serial::FIRST.next();
        assert_eq!(&serial.digits(), b"a0000001");
        assert_eq!(Serial::from_digits(b"a0000001"), Some(serial));
        for other in [&b"A0000001"[..], b"a000001", b"0a0000001", b"00000000", b"", b"xyzxyzxy"] {
            assert_eq!(Serial::from_digits(other), None);
        }
    }

    #[test]
    fn the_oldest_job_makes_room_in_the_ring() {
        let (mut jobs, mut store) = (places(), vec![0; 4096]);
        let mut ring = JobRing::new(&mut jobs, &mut store);
        let mut serial = Serial::FIRST;
        for _ in 0..=JOBS_PER_LINK {
            serial = serial.next();
            ring.push(job(serial), b"c0ffee").unwrap();
        }
        assert!(ring.get(Serial::FIRST.next()).is_none());
        assert!(ring.get(Serial::FIRST.next().next()).is_some());
        let (newest, coinb2) = ring.get(serial).unwrap();
        assert_eq!(newest.serial, serial);
        assert_eq!(coinb2, [0xc0, 0xff, 0xee]);
    }

    #[test]
    fn f05_long_coinbases_make_room_in_the_store() {
        let (mut jobs, mut store) = (places(), vec![0; 10]);
        let mut ring = JobRing::new(&mut jobs, &mut store);
        let [first, second, third] = [1, 2, 3].map(Serial);
        ring.push(job(first), b"0102030405").unwrap();
        ring.push(job(second), b"1112131415").unwrap();
        ring.push(job(third), b"212223").unwrap();
        assert!(ring.get(first).is_none());
        assert_eq!(ring.get(second).unwrap().1, [0x11, 0x12, 0x13, 0x14, 0x15]);
        assert_eq!(ring.get(third).unwrap().1, [0x21, 0x22, 0x23]);
        assert_eq!(ring.push(job(Serial(4)), &[b'0'; 22]), Err(CoinbaseTooLong { limit: 10 }));
    }

    #[test]
    fn f88_an_id_that_has_gone_round_is_told_another_time_where_no_pad_tells_it_apart() {
        let geometry = crate::work::extranonce::Geometry::new(2, 2).unwrap();
        let space = |turn| Space { geometry, id: crate::work::extranonce::MinerId(7), turn };
        let job = |n2, turn| Job {
            serial: Serial(9),
            first: Serial(9),
            ntime: NTime(100),
            extranonce2_size: n2,
            turn,
            ..Job::vacant()
        };
        let at = Serial(9);
        // Nobody had it before; then each holder has a second of its own.
        assert_eq!([0, 1, 2].map(|turn| job(4, 0).ntime_for(space(turn), at).0), [100, 101, 102]);
        // A holder from before the job has the job's own time, so the next of that turn has not.
        assert_eq!(job(4, 5).ntime_for(space(5), Serial(8)), NTime(100));
        assert_eq!([5, 6].map(|turn| job(4, 5).ntime_for(space(turn), at).0), [101, 102]);
        // One byte of pad is the id's; two tell the turn.
        assert_eq!([5, 6].map(|n2| job(n2, 5).ntime_for(space(6), at).0), [102, 100]);
    }

    #[test]
    fn a_renewed_job_keeps_its_coinbase() {
        let (mut jobs, mut store) = (places(), vec![0; 8]);
        let mut ring = JobRing::new(&mut jobs, &mut store);
        ring.push(job(Serial(7)), b"0102030405").unwrap();
        for serial in 8..40 {
            let time = NTime(serial);
            let mask = VersionMask::BIP_0320;
            let renewed = ring.renew(Serial(serial), time, mask, Instant::ZERO).unwrap();
            assert_eq!(ring.get(renewed).unwrap().0.mask, mask);
            assert_eq!(ring.get(renewed).unwrap().1, [1, 2, 3, 4, 5]);
        }
    }
}
