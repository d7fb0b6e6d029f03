//! The compact log: events of the engine as defmt frames.
//!
//! Each event that [`crate::gateway::base::log`] prints is also encoded here, without its texts.
//! The texts stay in the unstripped ELF, which `ctl log --decode` reads. Frames wait in memory.
//! They are written in batches to a [`ring`] in `state.dir`, and to the serial port of `run
//! --frames`. Frames that find the buffer full are counted, and the count becomes a frame.
//!
//! The disk's thread writes a batch and nobody waits for it. A power cut costs the batch's end;
//! slow flash stops nothing.

mod build;
mod encoder;
mod port;
pub mod ring;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use loka_stratum::limits::{
    DISK_FINISH_MAX, FRAMES_WAITING_BYTES_MAX, FRAMES_WRITE_INTERVAL, FRAMES_WRITES_BURST_MAX,
};
use loka_stratum::proxy::Event;
use loka_stratum::time::Instant;
use loka_stratum::wire::hex::Digits;

use crate::gateway::base::allowance::Allowance;
use crate::gateway::base::clock;
use crate::gateway::base::disk::{Flash, thread};
use crate::gateway::base::log::{self, Kind, Level};
use crate::gateway::base::shelf;
use crate::gateway::base::store;

pub use build::BuildId;
pub use port::run;
use ring::Ring;

static FRAMES: Mutex<Frames> = Mutex::new(Frames {
    waiting: Vec::new(),
    lost: 0,
    to_ring: None,
    is_writing: false,
    port: Vec::new(),
    to_port: false,
});

/// The files and their path; used only on the disk's thread once the loop turns.
static RING: Mutex<Option<(Ring<Flash>, PathBuf)>> = Mutex::new(None);

struct Frames {
    /// Frames for the ring, each with its terminating zero.
    waiting: Vec<u8>,
    /// Frames dropped because the buffer was full.
    lost: u64,
    /// Rate limit of writes to the ring, if there is one.
    to_ring: Option<Allowance>,
    /// A batch is in the disk's queue; there is never more than one.
    is_writing: bool,
    /// Frames for the serial port.
    port: Vec<u8>,
    to_port: bool,
}

fn frames() -> MutexGuard<'static, Frames> {
    FRAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ring() -> MutexGuard<'static, Option<(Ring<Flash>, PathBuf)>> {
    RING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts keeping frames; a folder, if named, gets the ring.
pub fn start(folder: &str) {
    let build = BuildId::own();
    log::info(Kind::Process, format_args!("version {}, build {build}", env!("CARGO_PKG_VERSION")));
    if !folder.is_empty() {
        let allowance = Allowance::new(FRAMES_WRITES_BURST_MAX, FRAMES_WRITE_INTERVAL);
        let place = Path::new(folder).join(store::FRAMES);
        *ring() = Some((Ring::open(Flash, folder.into(), build), place));
        frames().to_ring = Some(allowance);
    }
    defmt::info!("start of version {=str}", env!("CARGO_PKG_VERSION"));
}

/// Encodes a printed event, and the number of its kind held back before it.
pub fn event(level: Level, event: &Event, held_back: u32) {
    match (level, held_back) {
        (Level::Error, 0) => defmt::error!("{}", event),
        (Level::Warn, 0) => defmt::warn!("{}", event),
        (Level::Info | Level::Debug, 0) => defmt::info!("{}", event),
        (Level::Error, more) => defmt::error!("{} and {=u32} more of this kind", event, more),
        (Level::Warn, more) => defmt::warn!("{} and {=u32} more of this kind", event, more),
        (_, more) => defmt::info!("{} and {=u32} more of this kind", event, more),
    }
}

/// Queues the waiting frames, if a write is allowed.
pub fn flush(now: Instant) {
    let lost = std::mem::take(&mut frames().lost);
    if lost > 0 {
        defmt::warn!("{=u64} frames came too fast to be kept", lost);
    }
    let batch = {
        let mut frames = frames();
        let Frames { waiting, to_ring, is_writing, .. } = &mut *frames;
        let Some(allowance) = to_ring else {
            waiting.clear();
            return;
        };
        if *is_writing || waiting.is_empty() || !allowance.allow(now) {
            return;
        }
        *is_writing = true;
        std::mem::take(waiting)
    };
    if let Err(error) = thread::submit(move || write(&batch)) {
        frames().is_writing = false;
        log::warn(Kind::Store, format_args!("frames cannot be written: {error}"));
    }
}

/// Writes a batch, on the disk's thread.
fn write(batch: &[u8]) {
    if let Some((ring, place)) = &mut *ring() {
        match ring.write(batch) {
            Ok(()) => shelf::written(place),
            Err(error) => shelf::unwritten(place, &error),
        }
    }
    frames().is_writing = false;
}

/// Restarts the ring and drops the waiting frames; the caller erases the files.
pub fn forget() {
    frames().waiting.clear();
    let forgotten = thread::submit(|| {
        if let Some((ring, _)) = &mut *ring() {
            ring.forget();
        }
    });
    if let Err(error) = forgotten {
        log::warn(Kind::Store, format_args!("the ring of frames is not restarted: {error}"));
    }
}

/// Queues the last frames; the caller waits for the disk's thread.
pub fn end() {
    defmt::info!("end");
    // A batch already queued is written first.
    thread::finish(clock::std_time(DISK_FINISH_MAX));
    if let Some(allowance) = &mut frames().to_ring {
        *allowance = Allowance::new(1, FRAMES_WRITE_INTERVAL);
    }
    flush(clock::now());
}

/// Returns the newest frames as lines, the oldest first: the build, then each frame in hex. `None`
/// if no frames are kept.
pub async fn newest(count: usize) -> Option<Vec<String>> {
    thread::run(move || {
        let ring = ring();
        let (ring, _) = ring.as_ref()?;
        let mut all = ring.own_frames();
        all.extend(split(&frames().waiting).map(<[u8]>::to_vec));
        let skip = all.len().saturating_sub(count);
        let mut lines = vec![format!("build {}", ring.build())];
        lines.extend(all.iter().skip(skip).map(|frame| Digits(frame).to_string()));
        Some(lines)
    })
    .await
    .ok()?
}

/// Splits encoder output into frames without their terminating zeros.
pub fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == 0).filter(|frame| !frame.is_empty())
}

/// Stores a frame from the encoder.
fn keep(frame: &[u8]) {
    let mut frames = frames();
    if frames.waiting.len() + frame.len() > FRAMES_WAITING_BYTES_MAX {
        frames.lost += 1;
    } else {
        frames.waiting.extend_from_slice(frame);
    }
    if frames.to_port && frames.port.len() + frame.len() <= FRAMES_WAITING_BYTES_MAX {
        frames.port.extend_from_slice(frame);
    }
}
