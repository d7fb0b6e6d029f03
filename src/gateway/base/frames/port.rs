//! Frames to a serial port as they occur, for `defmt-print serial` at the other end.
//!
//! Nothing waits for the port. It is reopened after it vanishes. Frames that find its buffer full
//! are dropped, since the ring has them.

use std::path::PathBuf;
use std::time::Duration;

use loka_stratum::limits::{SERIAL_RETRY, SERIAL_UNREAD_MAX};
use serial2_tokio::SerialPort;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::frames;
use crate::gateway::base::log::{self, Kind};

/// Time between two checks for frames.
const LOOK: Duration = Duration::from_millis(200);

/// Writes to the port for the life of the process.
pub async fn run(path: PathBuf, baud: u32) {
    frames().to_port = true;
    let micros = |time: loka_stratum::time::Duration| Duration::from_micros(time.as_micros());
    loop {
        let opened = {
            let path = path.clone();
            // On its own thread: a port that withholds output blocks.
            spawn_blocking(move || SerialPort::open(path, baud)).await
        };
        match opened.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(port) => {
                let path = path.display();
                log::info(Kind::Serial, format_args!("frames at {path}, {baud} baud"));
                let error = feed(&port, micros(SERIAL_UNREAD_MAX)).await;
                log::warn(Kind::Serial, format_args!("{path} takes no frames: {error}"));
            }
            Err(error) => {
                let path = path.display();
                log::warn(Kind::Serial, format_args!("{path} cannot be opened: {error}"));
            }
        }
        sleep(micros(SERIAL_RETRY)).await;
    }
}

async fn feed(port: &SerialPort, write_max: Duration) -> std::io::Error {
    loop {
        let bytes = std::mem::take(&mut frames().port);
        if bytes.is_empty() {
            sleep(LOOK).await;
            continue;
        }
        match timeout(write_max, port.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(_) => return std::io::ErrorKind::TimedOut.into(),
        }
    }
}
