//! The disk's thread: runs all blocking disk work in order, never on the event loop.
//!
//! The queue cannot overflow. A store, the audit log and the frames have one slot each, since they
//! submit state and not messages ([`crate::gateway::base::shelf`]). Other callers first wait for
//! one of [`DISK_ASKERS_MAX`] turns. A slow disk delays only its own callers.

use std::io;
use std::sync::mpsc::{self, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use loka_stratum::limits::{DISK_ASKERS_MAX, DISK_KEEPERS_MAX};
use tokio::sync::{Semaphore, oneshot};

type Work = Box<dyn FnOnce() + Send>;

static QUEUE: Mutex<Option<SyncSender<Work>>> = Mutex::new(None);

/// Turns of callers that wait for a result.
static TURNS: Semaphore = Semaphore::const_new(DISK_ASKERS_MAX);

/// Queues work for the disk's thread.
///
/// # Errors
///
/// The thread cannot be started, or the queue is full; the work is not done then.
pub fn submit(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = match &*queue {
        Some(sender) => sender,
        None => queue.insert(start()?),
    };
    let full = |error: mpsc::TrySendError<Work>| io::Error::other(format!("disk: {error}"));
    sender.try_send(Box::new(work)).map_err(full)
}

/// Runs work on the disk's thread and returns its result. The work is done even if the caller is
/// gone.
///
/// # Errors
///
/// The same as for [`submit`].
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let turn = TURNS.acquire().await.map_err(io::Error::other)?;
    let (tell, told) = oneshot::channel();
    submit(move || {
        let _turn = turn;
        // The caller may be gone.
        let _ = tell.send(work());
    })?;
    told.await.map_err(io::Error::other)
}

/// Waits until all work queued before is done; must not run on the event loop.
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
