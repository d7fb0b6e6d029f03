//! The serial line: one operator at a time, a person at the console or a program with frames.
//!
//! The port comes from `serial.device` or `run --serial`. It is reopened after it vanishes (an
//! unplugged USB adapter) and when the settings name another. Access to the cable is access to the
//! board, so this operator is an administrator; the audit log names him `serial`.
//!
//! Nothing here blocks: the port is read and written without blocking, like a socket. Output waits
//! in a bounded buffer and is dropped if the peer reads nothing for a while. A loose cable holds
//! nothing up.

mod session;

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::limits::SERIAL_RETRY;
use loka_stratum::settings::{Device, Settings};
use serial2_tokio::SerialPort;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::gateway::base::log::{self, Kind};
use crate::gateway::boards::board;
use crate::gateway::operate::control::Control;
use crate::gateway::runtime::hub::Hub;

use session::{Answered, Session};

/// A port's path and speed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    path: PathBuf,
    baud: u32,
}

impl Line {
    /// Returns the line that settings, board and flag select.
    fn wanted(settings: &Settings, board: &str, flag: Option<&Path>) -> Option<Self> {
        let path = match (flag, &settings.serial.device) {
            (Some(path), _) => path.to_owned(),
            (None, Device::Off) => return None,
            (None, Device::Auto) => PathBuf::from(board::serial_port(board)?),
            (None, Device::Named(name)) => Path::new("/dev").join(name.as_str()),
        };
        Some(Self { path, baud: settings.serial.baud })
    }

    /// Opens the port on its own thread, since a port that withholds output blocks.
    async fn open(&self) -> io::Result<SerialPort> {
        let Self { path, baud } = self.clone();
        let opened = spawn_blocking(move || SerialPort::open(path, baud)).await;
        opened.map_err(io::Error::other)?
    }
}

/// Serves the serial line for the life of the process; `flag` is the port of `run --serial`.
pub async fn run(hub: Rc<Hub>, control: Rc<Control>, flag: Option<PathBuf>) {
    let wanted = || Line::wanted(&hub.settings.borrow(), hub.plan.board, flag.as_deref());
    let mut answered = Answered::default();
    let mut changes = control.changes();
    let pause = Duration::from_micros(SERIAL_RETRY.as_micros());
    loop {
        let Some(line) = wanted() else {
            // The wait cannot fail: the control owns the sender.
            let _ = changes.changed().await;
            continue;
        };
        let path = line.path.display();
        match line.open().await {
            Ok(port) => {
                log::info(Kind::Serial, format_args!("console at {path}, {} baud", line.baud));
                let is_wanted = || wanted().as_ref() == Some(&line);
                match Session::new(&port, &control, &mut answered).serve(&is_wanted).await {
                    Ok(()) => {}
                    Err(error) => log::warn(Kind::Serial, format_args!("{path} ended: {error}")),
                }
            }
            Err(error) => {
                log::warn(Kind::Serial, format_args!("{path} cannot be opened: {error}"));
            }
        }
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_name_below_dev_unless_a_flag_says_otherwise() {
        let mut settings = Settings::default();
        let path = |settings: &Settings, board, flag: Option<&str>| {
            let line = Line::wanted(settings, board, flag.map(Path::new))?;
            Some(line.path.display().to_string())
        };
        assert_eq!(path(&settings, "virt-aarch64", None), None);
        assert_eq!(path(&settings, "generic", Some("/a/pty")).as_deref(), Some("/a/pty"));
        settings.serial.device = "ttyUSB0".parse().unwrap();
        assert_eq!(path(&settings, "generic", None).as_deref(), Some("/dev/ttyUSB0"));
        settings.serial.device = Device::Auto;
        assert_eq!(path(&settings, "virt-aarch64", None).as_deref(), Some("/dev/ttyAMA0"));
        assert_eq!(path(&settings, "generic", None), None);
    }
}
