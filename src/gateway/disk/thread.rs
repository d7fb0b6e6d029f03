//! The disk's thread: whatever may wait for a disk is done here, in order, and never on the event
//! loop.
//!
//! The queue has a place for each who may fill it: a store, the audit log and the frames have one
//! each, as they hand over state and not messages ([`super::super::shelf`]); all others wait for
//! one of [`DISK_ASKERS_MAX`] turns before they stand in it. So it cannot overflow, however slow
//! the disk is, and who waits for it waits alone.

use std::io;
use std::sync::mpsc::{self, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use loka_stratum::limits::{DISK_ASKERS_MAX, DISK_KEEPERS_MAX};
use tokio::sync::{Semaphore, oneshot};

type Work = Box<dyn FnOnce() + Send>;

static QUEUE: Mutex<Option<SyncSender<Work>>> = Mutex::new(None);

/// Turns of those who wait for what comes of their work.
static TURNS: Semaphore = Semaphore::const_new(DISK_ASKERS_MAX);

/// Has work done on the disk's thread.
///
/// # Errors
///
/// There is no such thread, or no place in its queue; the work is not done then.
pub fn submit(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = match &*queue {
        Some(sender) => sender,
        None => queue.insert(start()?),
    };
    let full = |error: mpsc::TrySendError<Work>| io::Error::other(format!("disk: {error}"));
    sender.try_send(Box::new(work)).map_err(full)
}

/// Has work done on the disk's thread and returns what comes of it. Where nobody waits any more it
/// is done all the same.
///
/// # Errors
///
/// As [`submit`].
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let turn = TURNS.acquire().await.map_err(io::Error::other)?;
    let (tell, told) = oneshot::channel();
    submit(move || {
        let _turn = turn;
        // Nobody may wait any more.
        let _ = tell.send(work());
    })?;
    told.await.map_err(io::Error::other)
}

/// Waits until all work is done that was submitted before; not on the event loop.
pub fn finish(longest: Duration) -> bool {
    let (tell, told) = sync_channel(1);
    let submitted = submit(move || {
        let _ = tell.send(());
    });
    submitted.is_ok() && told.recv_timeout(longest).is_ok()
}

fn start() -> io::Result<SyncSender<Work>> {
    let (sender, works) = sync_channel::<Work>(DISK_ASKERS_MAX + DISK_KEEPERS_MAX);
    thread::Builder::new().name("disk".to_owned()).spawn(move || {
        for work in works {
            work();
        }
    })?;
    Ok(sender)
}
