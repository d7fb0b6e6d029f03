//! Process limits: file descriptors, core dumps, and the end with the parent.

use std::fmt;
use std::io;

use loka_stratum::limits::FILES_BESIDE_MINERS;
use rlimit::Resource;
use tokio::sync::oneshot;

use crate::gateway::base::log::{self, Kind};

/// The limit of open files leaves room for no miner.
#[derive(Debug)]
pub struct TooFewFiles {
    got: u64,
}

/// Turns core dumps off: they would hold passwords (F87).
pub fn forbid_core_dumps() {
    if let Err(error) = rlimit::setrlimit(Resource::CORE, 0, 0) {
        log::warn(Kind::Process, format_args!("core dumps cannot be turned off: {error}"));
    }
}

/// Raises the limit of open files as far as allowed. Returns the number of miners it has room for:
/// `wanted`, or fewer with a warning (F72).
///
/// # Errors
///
/// It has room for none.
pub fn make_room(wanted: usize) -> Result<usize, TooFewFiles> {
    let files = raise_file_limit();
    let room = usize::try_from(files.saturating_sub(FILES_BESIDE_MINERS)).unwrap_or(usize::MAX);
    if room == 0 {
        return Err(TooFewFiles { got: files });
    }
    if room < wanted {
        let need = wanted as u64 + FILES_BESIDE_MINERS;
        log::warn(
            Kind::Process,
            format_args!(
                "open files are limited to {files}: room for {room} miners instead of {wanted}; \
                 raise the limit to {need} (ulimit -n, LimitNOFILE)"
            ),
        );
    }
    Ok(room.min(wanted))
}

fn raise_file_limit() -> u64 {
    match Resource::NOFILE.get() {
        Ok((soft, hard)) if soft < hard => match Resource::NOFILE.set(hard, hard) {
            Ok(()) => hard,
            Err(_) => soft,
        },
        Ok((soft, _)) => soft,
        // A system without the limit needs no raise.
        Err(_) => u64::MAX,
    }
}

/// Waits for the end of standard input, which a parent keeps open; waits for ever unless
/// `is_wanted`.
pub async fn input_end(is_wanted: bool) {
    if !is_wanted {
        return std::future::pending().await;
    }
    let (alive, ended) = oneshot::channel::<()>();
    // On its own thread: the read blocks for the life of the process.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(alive);
    });
    let _ = ended.await;
}

impl fmt::Display for TooFewFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "open files are limited to {}: the gateway needs {FILES_BESIDE_MINERS} and one for \
             each miner (ulimit -n, LimitNOFILE)",
            self.got
        )
    }
}

impl std::error::Error for TooFewFiles {}
