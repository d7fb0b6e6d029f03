//! The two system slots of a machine, behind embedded-svc's traits for updates.
//!
//! The running slot is never written. The idle slot is written so that no power cut is dangerous:
//! its first block is erased first and written last, so an incomplete slot holds no file system.
//! Only a slot that was read back and compared can be made the active one
//! ([`OtaUpdateFinished::activate`]).
//!
//! This module knows nothing of signatures, networks or boards.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use embedded_svc::io::{Error, ErrorKind, ErrorType, Write};
use embedded_svc::ota::{FirmwareInfo, Ota, OtaUpdate, OtaUpdateFinished, Slot, SlotState};
use loka_stratum::limits::{UPDATE_CHUNK_BYTES, UPDATE_TRIES};
use sha2::{Digest, Sha256};

use super::env::{Env, Name};

/// Bytes at offsets: a partition, or a file in its place.
pub trait Medium {
    /// Reads from an offset to the end of the buffer or of the medium; returns the bytes read.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes at an offset.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Waits until all writes are durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Returns the size in bytes.
    fn length(&self) -> io::Result<u64>;
}

/// The slots of this machine.
pub struct Slots<M> {
    /// The boot environment, which names the slot that starts.
    pub env: M,
    /// The first slot.
    pub a: M,
    /// The second slot.
    pub b: M,
    /// The running slot.
    pub running: Name,
    /// The running version.
    pub version: String,
    /// The kernel file that drops the page cache, so that reading back reads the disk.
    pub caches: Option<PathBuf>,
    /// The program that reboots the machine, and its arguments.
    pub reboot: Vec<String>,
}

/// A slot that is being written.
pub struct Writing<'a, M> {
    slots: &'a mut Slots<M>,
    /// The first block, which is written last.
    first: Vec<u8>,
    /// Bytes received.
    count: u64,
    sum: Sha256,
}

/// A slot that was written and read back.
pub struct Written<'a, M> {
    slots: &'a mut Slots<M>,
}

/// Why a slot operation failed.
#[derive(Debug)]
pub enum SlotError {
    /// The system's error.
    Io(io::Error),
    /// The running system is on trial, so the other slot is the fallback.
    OnTrial,
    /// The image is larger than the slot.
    Full {
        /// The slot's size in bytes.
        allowed: u64,
    },
    /// The bytes read back differ from the bytes written.
    ReadBack,
    /// The operation does not exist here.
    Unsupported,
}

/// Bytes whose absence hides a file system: the first sector, which a disk writes as a whole.
const FIRST_BYTES: usize = 512;

type Result<T> = std::result::Result<T, SlotError>;

impl<M: Medium> Slots<M> {
    /// Reads the boot environment.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn env(&self) -> Result<Env> {
        Ok(Env::read(&self.env)?)
    }

    /// Makes the last confirmed slot the one that starts next.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn go_back(&mut self) -> Result<()> {
        let env = self.env()?;
        Ok(Env { active: env.good, tries: 0, ..env }.write(&mut self.env)?)
    }

    /// Reboots the machine.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn reboot(&self) -> Result<()> {
        let (program, arguments) = self.reboot.split_first().ok_or(SlotError::Unsupported)?;
        let status = Command::new(program).args(arguments).status()?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{program} ended with {status}")).into())
    }

    /// Returns the slot that takes an update.
    pub fn idle(&self) -> Name {
        self.running.other()
    }

    /// Returns the most bytes that an update may have.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn room(&mut self) -> Result<u64> {
        let idle = self.idle();
        Ok(self.medium(idle).length()?)
    }

    fn medium(&mut self, name: Name) -> &mut M {
        match name {
            Name::A => &mut self.a,
            Name::B => &mut self.b,
        }
    }

    fn settle(&mut self) -> Result<()> {
        let env = self.env()?;
        if env.is_on_trial(self.running) {
            return Err(SlotError::OnTrial);
        }
        let settled = env.confirmed(self.running);
        if settled != env {
            settled.write(&mut self.env)?;
        }
        Ok(())
    }

    fn slot(&self, name: Name) -> Result<Slot> {
        let is_running = name == self.running;
        let firmware = is_running.then(|| FirmwareInfo {
            version: self.version.chars().take(24).collect(),
            released: heapless::String::new(),
            description: None,
            signature: None,
            download_id: None,
        });
        let state = match (self.env()?.good == name, is_running) {
            (true, _) => SlotState::Valid,
            (false, true) => SlotState::Unverified,
            (false, false) => SlotState::Unknown,
        };
        let label = name.letter().chars().collect();
        Ok(Slot { label, state, firmware })
    }
}

impl<M> ErrorType for Slots<M> {
    type Error = SlotError;
}

impl<M: Medium> Ota for Slots<M> {
    type Update<'a>
        = Writing<'a, M>
    where
        Self: 'a;

    fn get_boot_slot(&self) -> Result<Slot> {
        self.slot(self.env()?.active)
    }

    fn get_running_slot(&self) -> Result<Slot> {
        self.slot(self.running)
    }

    fn get_update_slot(&self) -> Result<Slot> {
        self.slot(self.idle())
    }

    fn is_factory_reset_supported(&self) -> Result<bool> {
        Ok(false)
    }

    /// There is no third system; settings are reset elsewhere.
    fn factory_reset(&mut self) -> Result<()> {
        Err(SlotError::Unsupported)
    }

    fn initiate_update(&mut self) -> Result<Writing<'_, M>> {
        self.settle()?;
        let idle = self.idle();
        let medium = self.medium(idle);
        medium.write_at(0, &[0; FIRST_BYTES])?;
        medium.sync()?;
        Ok(Writing { slots: self, first: Vec::new(), count: 0, sum: Sha256::new() })
    }

    fn mark_running_slot_valid(&mut self) -> Result<()> {
        Ok(self.env()?.confirmed(self.running).write(&mut self.env)?)
    }

    fn mark_running_slot_invalid_and_reboot(&mut self) -> SlotError {
        match self.go_back().and_then(|()| self.reboot()) {
            // The machine is about to reboot, and ends this process.
            Ok(()) => SlotError::Io(io::ErrorKind::Interrupted.into()),
            Err(error) => error,
        }
    }
}

impl<M> Writing<'_, M> {
    /// Returns the SHA-256 of the bytes received so far.
    pub fn sha256(&self) -> [u8; 32] {
        self.sum.clone().finalize().into()
    }
}

impl<M> ErrorType for Writing<'_, M> {
    type Error = SlotError;
}

impl<M: Medium> Write for Writing<'_, M> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let (idle, allowed) = (self.slots.idle(), self.slots.room()?);
        if self.count + bytes.len() as u64 > allowed {
            return Err(SlotError::Full { allowed });
        }
        let room = FIRST_BYTES - self.first.len();
        let (kept, rest) = bytes.split_at(bytes.len().min(room));
        self.first.extend_from_slice(kept);
        let at = self.count + kept.len() as u64;
        self.slots.medium(idle).write_at(at, rest)?;
        self.sum.update(bytes);
        self.count += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        let idle = self.slots.idle();
        Ok(self.slots.medium(idle).sync()?)
    }
}

impl<'a, M: Medium> OtaUpdate for Writing<'a, M> {
    type OtaUpdateFinished = Written<'a, M>;

    fn finish(mut self) -> Result<Written<'a, M>> {
        self.flush()?;
        let idle = self.slots.idle();
        self.slots.medium(idle).write_at(0, &self.first)?;
        self.flush()?;
        if let Some(caches) = &self.slots.caches {
            fs::write(caches, "1")?;
        }
        let sha256 = self.sha256();
        if sum_of(self.slots.medium(idle), self.count)? != sha256 {
            // A slot that differs from its image must not be taken for a system.
            self.slots.medium(idle).write_at(0, &[0; FIRST_BYTES])?;
            self.slots.medium(idle).sync()?;
            return Err(SlotError::ReadBack);
        }
        Ok(Written { slots: self.slots })
    }

    fn complete(self) -> Result<()> {
        self.finish()?.activate()
    }

    /// The slot has no first block yet, so nothing must be undone.
    fn abort(self) -> Result<()> {
        Ok(())
    }
}

impl<M> ErrorType for Written<'_, M> {
    type Error = SlotError;
}

impl<M: Medium> OtaUpdateFinished for Written<'_, M> {
    fn activate(self) -> Result<()> {
        let (env, running) = (self.slots.env()?, self.slots.running);
        let next = Env { active: running.other(), tries: UPDATE_TRIES, good: running, ..env };
        Ok(next.write(&mut self.slots.env)?)
    }
}

/// Reads back the first `length` bytes and returns their SHA-256.
fn sum_of(medium: &impl Medium, length: u64) -> io::Result<[u8; 32]> {
    let mut buffer = vec![0; UPDATE_CHUNK_BYTES];
    let (mut sum, mut at) = (Sha256::new(), 0);
    while at < length {
        let room = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
        let count = medium.read_at(at, buffer.get_mut(..room).unwrap_or_default())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sum.update(buffer.get(..count).unwrap_or_default());
        at += count as u64;
    }
    Ok(sum.finalize().into())
}

impl Medium for File {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }

    fn length(&self) -> io::Result<u64> {
        // Metadata gives length 0 for a block device, so seek to its end.
        io::Seek::seek(&mut &*self, io::SeekFrom::End(0))
    }
}

impl From<io::Error> for SlotError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "slot: {error}"),
            Self::OnTrial => f.write_str(
                "the running system is on trial, and the other slot is its fallback; wait until \
                 it is confirmed",
            ),
            Self::Full { allowed } => {
                write!(f, "image: got more bytes than a slot of this board has: {allowed}")
            }
            Self::ReadBack => f.write_str(
                "slot: the bytes read back differ from those written, so the disk is failing; \
                 nothing has changed",
            ),
            Self::Unsupported => f.write_str("there is no such thing on this machine"),
        }
    }
}

impl std::error::Error for SlotError {}

impl Error for SlotError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(_) | Self::ReadBack => ErrorKind::Other,
            Self::OnTrial => ErrorKind::PermissionDenied,
            Self::Full { .. } => ErrorKind::OutOfMemory,
            Self::Unsupported => ErrorKind::Unsupported,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::gateway::base::disk::cut::Random;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    /// A disk of several partitions whose power is cut after some steps. Each unsynced sector is
    /// then written or lost; the sector being written may be torn.
    #[derive(Clone)]
    pub struct Cut {
        bytes: Rc<RefCell<Vec<u8>>>,
        unsynced: Rc<RefCell<Vec<Unsynced>>>,
        power: Rc<Power>,
        /// Flips a bit in every read behind this offset.
        pub rots_behind: Rc<Cell<Option<u64>>>,
    }

    /// A write that is not synced yet.
    struct Unsynced {
        at: u64,
        bytes: Vec<u8>,
    }

    #[derive(Default)]
    struct Power {
        left: Cell<Option<u64>>,
        steps: Cell<u64>,
    }

    const SECTOR: usize = 512;

    impl Cut {
        pub fn new(length: usize) -> Self {
            Self {
                bytes: Rc::new(RefCell::new(vec![0; length])),
                unsynced: Rc::default(),
                power: Rc::default(),
                rots_behind: Rc::default(),
            }
        }

        /// Another partition on the same power supply.
        pub fn beside(&self, length: usize) -> Self {
            Self { power: self.power.clone(), ..Self::new(length) }
        }

        pub fn cut_after(&self, steps: u64) {
            self.power.left.set(Some(steps));
        }

        pub fn steps(&self) -> u64 {
            self.power.steps.get()
        }

        /// Restores the power.
        pub fn restart(&self, seed: u64) {
            self.power.left.set(None);
            let mut random = Random(seed);
            for Unsynced { at, bytes } in self.unsynced.borrow_mut().drain(..) {
                for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                    let at = at as usize + index * SECTOR;
                    let part = match random.below(3) {
                        0 => 0,
                        1 => sector.len(),
                        _ => random.below(sector.len() as u64 + 1) as usize,
                    };
                    self.bytes.borrow_mut()[at..at + part].copy_from_slice(&sector[..part]);
                }
            }
        }

        fn step(&self) -> io::Result<()> {
            self.power.steps.set(self.power.steps.get() + 1);
            match self.power.left.get() {
                Some(0) => Err(io::Error::other("the power was cut")),
                left => {
                    self.power.left.set(left.map(|left| left - 1));
                    Ok(())
                }
            }
        }

        /// Returns the bytes that a program reads.
        pub fn seen(&self) -> Vec<u8> {
            let mut seen = self.bytes.borrow().clone();
            for Unsynced { at, bytes } in self.unsynced.borrow().iter() {
                seen[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
            }
            seen
        }
    }

    impl Medium for Cut {
        fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let seen = self.seen();
            let from = &seen[(at as usize).min(seen.len())..];
            let count = from.len().min(buffer.len());
            buffer[..count].copy_from_slice(&from[..count]);
            if let Some(place) = self.rots_behind.get()
                && (at..at + count as u64).contains(&place)
            {
                buffer[(place - at) as usize] ^= 1;
            }
            Ok(count)
        }

        fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
            // A write counts as started even if the power goes in the middle of it.
            self.unsynced.borrow_mut().push(Unsynced { at, bytes: bytes.to_vec() });
            self.step()
        }

        fn sync(&mut self) -> io::Result<()> {
            self.step()?;
            let seen = self.seen();
            *self.bytes.borrow_mut() = seen;
            self.unsynced.borrow_mut().clear();
            Ok(())
        }

        fn length(&self) -> io::Result<u64> {
            Ok(self.bytes.borrow().len() as u64)
        }
    }

    const SLOT_BYTES: usize = 40_960;

    /// Slots whose first one runs and is confirmed.
    pub fn slots() -> Slots<Cut> {
        let env = Cut::new(3 * 4096);
        let (mut a, mut b) = (env.beside(SLOT_BYTES), env.beside(SLOT_BYTES));
        for (slot, byte) in [(&mut a, b'1'), (&mut b, b'0')] {
            slot.write_at(0, &image(byte, 30_000)).unwrap();
            slot.sync().unwrap();
        }
        Slots {
            env,
            a,
            b,
            running: Name::A,
            version: "0.1.0".to_owned(),
            caches: None,
            reboot: vec!["true".to_owned()],
        }
    }

    /// An image filled with one byte.
    pub fn image(byte: u8, length: usize) -> Vec<u8> {
        [&b"hsqs"[..], &vec![byte; length - 4]].concat()
    }

    fn write(slots: &mut Slots<Cut>, image: &[u8]) -> Result<()> {
        let mut writing = slots.initiate_update()?;
        for piece in image.chunks(1000) {
            writing.write_all(piece)?;
        }
        writing.complete()
    }

    /// Chooses the slot as the boot program does; it counts the tries.
    fn started(slots: &mut Slots<Cut>) -> Name {
        let env = slots.env().unwrap();
        if env.active == env.good {
            return env.active;
        }
        let next = if env.tries > 0 {
            Env { tries: env.tries - 1, ..env }
        } else {
            Env { active: env.good, ..env }
        };
        next.write(&mut slots.env).unwrap();
        next.active
    }

    #[test]
    fn a_slot_is_written_tried_and_confirmed() {
        let mut slots = slots();
        let new = image(b'2', 33_333);
        write(&mut slots, &new).unwrap();
        assert_eq!(&slots.b.seen()[..new.len()], new);
        assert_eq!(slots.get_boot_slot().unwrap().label, "b");
        assert_eq!(slots.get_running_slot().unwrap().state, SlotState::Valid);
        assert_eq!(started(&mut slots), Name::B);
        slots.running = Name::B;
        assert!(slots.env().unwrap().is_on_trial(slots.running));
        assert_eq!(slots.get_running_slot().unwrap().state, SlotState::Unverified);
        let refused = slots.initiate_update().err().unwrap();
        assert!(matches!(refused, SlotError::OnTrial), "{refused}");
        slots.mark_running_slot_valid().unwrap();
        assert!(!slots.env().unwrap().is_on_trial(slots.running));
        assert_eq!(started(&mut slots), Name::B);
        assert_eq!(slots.get_update_slot().unwrap().label, "a");
    }

    #[test]
    fn a_system_that_is_never_confirmed_is_started_twice_and_left() {
        let mut slots = slots();
        write(&mut slots, &image(b'2', 9000)).unwrap();
        let starts: Vec<Name> = (0..4).map(|_| started(&mut slots)).collect();
        assert_eq!(starts, [Name::B, Name::B, Name::A, Name::A]);
        write(&mut slots, &image(b'3', 9000)).unwrap();
        slots.running = Name::B;
        let _ = slots.mark_running_slot_invalid_and_reboot();
        assert_eq!(started(&mut slots), Name::A, "it says itself that it is not well");
    }

    #[test]
    fn f68_a_power_cut_at_each_step_leaves_the_old_system_or_the_new() {
        let new = image(b'2', 20_001);
        let mut whole = slots();
        let before = whole.env.steps();
        write(&mut whole, &new).unwrap();
        let steps = whole.env.steps() - before;
        assert!(steps > 20, "{steps}");
        for cut in 0..=steps {
            for seed in 0..32 {
                let mut slots = slots();
                slots.env.cut_after(cut);
                let result = write(&mut slots, &new);
                for (index, medium) in [&slots.env, &slots.a, &slots.b].into_iter().enumerate() {
                    medium.restart(seed * 3 + index as u64);
                }
                assert_eq!(&slots.a.seen()[..30_000], image(b'1', 30_000), "what runs stays");
                let (first, b) = (started(&mut slots), slots.b.seen());
                let is_new = b[..new.len()] == new[..];
                assert!(first == Name::A || is_new, "cut after {cut} of {steps}, seed {seed}");
                assert!(first == Name::B || result.is_err(), "what was done is done");
                // If the running slot is damaged too, the machine falls back to the other: it must
                // be whole, or hold no system.
                let old = image(b'0', 30_000);
                let begins = |system: &[u8]| b[..FIRST_BYTES] == system[..FIRST_BYTES];
                assert!(!begins(&new) || is_new, "half a new one, cut {cut}, seed {seed}");
                assert!(!begins(&old) || b[..30_000] == old, "half an old one, cut {cut}");
            }
        }
    }

    #[test]
    fn what_is_read_back_must_be_what_was_written() {
        let mut slots = slots();
        slots.b.rots_behind.set(Some(7777));
        let refused = write(&mut slots, &image(b'2', 20_000)).unwrap_err();
        assert!(matches!(refused, SlotError::ReadBack), "{refused}");
        assert_eq!(started(&mut slots), Name::A);
        assert_eq!(slots.b.seen()[..4], [0; 4], "it is no system");
    }

    #[test]
    fn more_than_a_slot_holds_is_refused() {
        let mut slots = slots();
        let refused = write(&mut slots, &image(b'2', SLOT_BYTES + 1)).unwrap_err();
        assert!(matches!(refused, SlotError::Full { allowed: 40_960 }), "{refused}");
        assert_eq!(started(&mut slots), Name::A);
        write(&mut slots, &image(b'2', SLOT_BYTES)).unwrap();
    }

    #[test]
    fn where_the_slot_that_should_run_is_damaged_the_one_that_runs_counts_before_it_is_written() {
        let mut slots = slots();
        slots.running = Name::B;
        assert!(!slots.env().unwrap().is_on_trial(slots.running), "nobody chose it");
        let writing = slots.initiate_update().unwrap();
        writing.abort().unwrap();
        assert_eq!(started(&mut slots), Name::B);
    }
}
