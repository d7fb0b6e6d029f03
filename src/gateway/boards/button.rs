//! The reset button of a board: held for five seconds, it requests a factory reset.
//!
//! The button is a key of a kernel input device (`gpio-keys`); the board's profile names its key
//! code. The device is found by its key bitmap, since device numbers change between boots. The hold
//! time comes from the timestamps of the kernel's events, so no clock is read here.
//!
//! The action is small on purpose: it creates a file that the gateway reads at its start, and the
//! gateway ends. Its supervisor starts it again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::gateway::base::log::{self, Kind};
use crate::gateway::boards::board::Devices;

/// The kernel's descriptions of input devices, and the devices themselves.
const DESCRIPTIONS: &str = "/sys/class/input";
const DEVICES: &str = "/dev/input";

/// Hold time for a reset, in microseconds: too long for an accident.
const HELD_MICROS_MIN: u64 = 5_000_000;

/// Kinds of input events (`linux/input-event-codes.h`).
const EV_KEY: u16 = 1;
const RELEASED: i32 = 0;
const PRESSED: i32 = 1;

/// Bytes of an event: seconds and microseconds as machine words, then type, code, value.
const EVENT_BYTES: usize = 2 * WORD_BYTES + 8;
const WORD_BYTES: usize = size_of::<usize>();

/// A button being watched.
pub struct Button {
    asked: Arc<Notify>,
}

/// One event of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyEvent {
    micros: u64,
    code: u16,
    value: i32,
}

/// Watches the button of a board; a failure is logged and otherwise ignored.
pub fn of(board: &Devices) -> Option<Button> {
    let Some(code) = board.button else {
        log::warn(Kind::Process, format_args!("the board's profile names no reset button"));
        return None;
    };
    let said = |error| log::warn(Kind::Process, format_args!("no reset button: {error}"));
    Button::open(code).map_err(said).ok()
}

impl Button {
    /// Watches the key `code` on its own thread.
    ///
    /// # Errors
    ///
    /// No device has this key, or it cannot be opened.
    pub fn open(code: u16) -> io::Result<Self> {
        let name = find(Path::new(DESCRIPTIONS), code)?;
        let device = File::open(Path::new(DEVICES).join(name))?;
        let asked = Arc::new(Notify::new());
        let tell = asked.clone();
        std::thread::Builder::new().name("button".to_owned()).spawn(move || {
            if let Err(error) = listen(device, code, || tell.notify_one()) {
                log::warn(Kind::Process, format_args!("the button is not heard: {error}"));
            }
        })?;
        Ok(Self { asked })
    }

    /// Waits until the button requests a reset.
    pub async fn reset(&self) {
        self.asked.notified().await;
    }
}

/// Returns the name of the first device with this key.
fn find(descriptions: &Path, code: u16) -> io::Result<PathBuf> {
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(descriptions)? {
        let name = PathBuf::from(entry?.file_name());
        if name.to_string_lossy().starts_with("event") {
            names.push(name);
        }
    }
    names.sort();
    let has_key = |name: &PathBuf| {
        let keys = descriptions.join(name).join("device/capabilities/key");
        fs::read_to_string(keys).is_ok_and(|bitmap| has_bit(&bitmap, code))
    };
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no key {code} here"));
    names.into_iter().find(has_key).ok_or_else(missing)
}

/// Tests a bit of a kernel bitmap: words in hex, the highest first.
fn has_bit(bitmap: &str, bit: u16) -> bool {
    let word_bits = 8 * WORD_BYTES;
    let bit = usize::from(bit);
    let word = bitmap.split_whitespace().rev().nth(bit / word_bits);
    let word = word.and_then(|word| u64::from_str_radix(word, 16).ok());
    word.is_some_and(|word| word >> (bit % word_bits) & 1 == 1)
}

/// Calls `held` after each hold that was long enough, until the device ends.
fn listen(mut device: impl Read, code: u16, held: impl Fn()) -> io::Result<()> {
    let mut event = [0; EVENT_BYTES];
    let mut since = None;
    loop {
        device.read_exact(&mut event)?;
        let Some(event) = KeyEvent::parse(&event).filter(|event| event.code == code) else {
            continue;
        };
        match event.value {
            PRESSED => since = Some(event.micros),
            RELEASED => {
                let held_for = since.take().map(|since| event.micros.saturating_sub(since));
                if held_for.is_some_and(|micros| micros >= HELD_MICROS_MIN) {
                    held();
                }
            }
            // The key repeats while it is held.
            _ => {}
        }
    }
}

impl KeyEvent {
    fn parse(bytes: &[u8; EVENT_BYTES]) -> Option<Self> {
        let (seconds, rest) = bytes.split_first_chunk()?;
        let (micros, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (code, rest) = rest.split_first_chunk()?;
        let (value, _) = rest.split_first_chunk()?;
        let word = |bytes: &[u8; WORD_BYTES]| usize::from_ne_bytes(*bytes) as u64;
        (u16::from_ne_bytes(*kind) == EV_KEY).then(|| Self {
            micros: word(seconds).saturating_mul(1_000_000).saturating_add(word(micros)),
            code: u16::from_ne_bytes(*code),
            value: i32::from_ne_bytes(*value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// KEY_RESTART, the usual code on routers.
    const RESTART: u16 = 408;

    fn event(seconds: usize, kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut bytes = seconds.to_ne_bytes().to_vec();
        bytes.extend(0_usize.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    fn times_held(events: &[(usize, u16, u16, i32)]) -> usize {
        let bytes: Vec<u8> = events
            .iter()
            .flat_map(|&(at, kind, code, value)| event(at, kind, code, value))
            .collect();
        let count = Cell::new(0);
        let end = listen(bytes.as_slice(), RESTART, || count.set(count.get() + 1));
        assert_eq!(end.map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
        count.get()
    }

    #[test]
    fn a_key_that_is_held_for_five_seconds_asks_for_a_reset() {
        let sync = |at| (at, 0, 0, 0);
        let held = [
            (100, EV_KEY, RESTART, PRESSED),
            sync(100),
            (102, EV_KEY, RESTART, 2),
            (105, EV_KEY, RESTART, RELEASED),
            sync(105),
        ];
        assert_eq!(times_held(&held), 1);
        let touched = [(100, EV_KEY, RESTART, PRESSED), (104, EV_KEY, RESTART, RELEASED)];
        assert_eq!(times_held(&touched), 0);
        let released_only = [(105, EV_KEY, RESTART, RELEASED)];
        assert_eq!(times_held(&released_only), 0);
        let another = [(100, EV_KEY, 116, PRESSED), (110, EV_KEY, 116, RELEASED)];
        assert_eq!(times_held(&another), 0);
    }

    #[test]
    fn the_device_that_has_the_key_is_found() {
        let folder = std::env::temp_dir().join(format!("loka-button-{}", std::process::id()));
        // The kernel's form on a machine with 64-bit words: 408 is bit 24 of the seventh word.
        let restart =
            if WORD_BYTES == 8 { "1000000 0 0 0 0 0 0" } else { "1000000 0 0 0 0 0 0 0 0 0 0 0 0" };
        for (name, keys) in [("event0", "10000000000000 0"), ("event1", restart)] {
            let capabilities = folder.join(name).join("device/capabilities");
            fs::create_dir_all(&capabilities).unwrap();
            fs::write(capabilities.join("key"), format!("{keys}\n")).unwrap();
        }
        fs::create_dir_all(folder.join("mice")).unwrap();
        assert_eq!(find(&folder, RESTART).unwrap(), Path::new("event1"));
        assert_eq!(find(&folder, 116).unwrap(), Path::new("event0"));
        assert_eq!(find(&folder, 30).unwrap_err().to_string(), "no key 30 here");
        let _ = fs::remove_dir_all(&folder);
    }
}
