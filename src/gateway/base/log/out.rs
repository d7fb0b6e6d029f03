//! Writes standard error, or the system's log, on its own thread while the event loop turns: a full
//! pipe blocks its writer. Lines that find the queue full are counted, and the count becomes a
//! line. All lines stay among those kept in memory.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use loka_stratum::limits::LOG_LINES_KEPT_MAX;

use super::{Level, form};

/// Longest wait at the end for a reader that does not read.
const END_MAX: Duration = Duration::from_secs(1);

/// The sender to the thread, and the signal of its end.
struct Out {
    lines: SyncSender<String>,
    ended: Receiver<()>,
}

static OUT: Mutex<Option<Out>> = Mutex::new(None);
static LOST: AtomicU64 = AtomicU64::new(0);
/// The socket of the system's log and its path, if lines go there.
static SYSLOG: OnceLock<(UnixDatagram, PathBuf)> = OnceLock::new();

/// Sends lines to the system's log from now on.
///
/// # Errors
///
/// No socket can be opened.
pub fn to_syslog(path: &Path) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    let _ = SYSLOG.set((socket, path.to_owned()));
    Ok(())
}

/// Says whether lines go to the system's log.
pub fn is_syslog() -> bool {
    SYSLOG.get().is_some()
}

/// Starts the thread that writes lines from now on.
///
/// # Errors
///
/// The thread cannot be started; lines are written as before.
pub fn begin() -> io::Result<()> {
    let (lines, waiting) = sync_channel::<String>(LOG_LINES_KEPT_MAX);
    let (alive, ended) = sync_channel(0);
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        let _alive = alive;
        for line in waiting {
            let lost = LOST.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let text = format_args!("{lost} lines were lost: they were not read");
                direct(&form(Level::Warn, text));
            }
            direct(&line);
        }
    })?;
    *OUT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Out { lines, ended });
    Ok(())
}

/// Writes a line directly, or queues it for the thread.
pub fn write(line: String) {
    let out = OUT.lock().unwrap_or_else(PoisonError::into_inner);
    match &*out {
        None => direct(&line),
        Some(Out { lines, .. }) => {
            if lines.try_send(line).is_err() {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Waits at the end of the process until queued lines are written.
pub fn end() {
    let out = OUT.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Out { lines, ended }) = out {
        drop(lines);
        let _ = ended.recv_timeout(END_MAX);
    }
}

fn direct(line: &str) {
    if let Some((socket, path)) = SYSLOG.get()
        && socket.send_to(line.as_bytes(), path).is_ok()
    {
        return;
    }
    // A failed log write must not stop mining.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
