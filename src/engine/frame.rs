//! Requests and answers for programs, over a serial line that loses, flips and adds bits.
//!
//! Read this first. A frame is `0 COBS(postcard(head, body) ++ CRC-32) 0`. COBS leaves no zero
//! inside, so after noise the next zero is a new start. The same line carries the console
//! ([`crate::console`]), and neither programs nor people have to switch. No terminal sends a zero,
//! so a zero always begins a frame. After a good frame's last zero, or a silence, bytes go to the
//! console again.
//!
//! Noise on the line costs at most this:
//!
//! - A damaged frame is dropped and counted. Its sender gets no answer, and repeats the request
//!   under the same number ([`Head::seq`]).
//! - The number answered last is answered again from memory, not carried out again; that memory is
//!   the owner's.
//! - Items of an answer are numbered, and its end holds their count, so a missing item is noticed.
//!
//! The version is read first and never changes its place: postcard is not self-describing, so a
//! peer of another version must not be guessed at.
//!
//!
//! ```
//! use loka_stratum::control::Request;
//! use loka_stratum::frame::{self, Body, Received, Receiver};
//!
//! let mut wire = [0; frame::WIRE_BYTES_MAX];
//! let bytes = frame::encode(7, &Body::Request(Request::Hello), &mut wire).unwrap();
//!
//! let mut receiver = Receiver::new();
//! let (last, before) = bytes.split_last().unwrap();
//! for byte in before {
//!     receiver.handle_byte(*byte);
//! }
//! let Received::Frame(frame) = receiver.handle_byte(*last) else { panic!() };
//! assert_eq!((frame.seq, frame.body), (7, Ok(Body::Request(Request::Hello))));
//! ```
//!
//! Source: TOOLCHAIN of the project's beginnings measured it against postcard-rpc, which has no
//! server for a Linux tty.

use core::fmt;

use cobs::{DecodeResult, DecoderState};
use crc::{CRC_32_ISO_HDLC, Crc, Table};
use postcard::ser_flavors::crc::CrcModifier;
use postcard::ser_flavors::{Cobs, Slice};
use serde::{Deserialize, Serialize};

use crate::control::{Item, Refused, Request};
use crate::limits::{FRAME_BYTES_MAX, FRAME_TEXT_BYTES_MAX};

pub use crate::limits::FRAME_WIRE_BYTES_MAX as WIRE_BYTES_MAX;

/// The version of this protocol. It changes with a body that older versions cannot read; an
/// appended variant does not change it.
pub const VERSION: u8 = 1;

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// The start of every frame, in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`VERSION`].
    pub version: u8,
    /// The number of the request; its answer has the same.
    pub seq: u32,
}

/// The content of a frame.
///
/// Variants are appended, never reordered: their numbers go over the line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body<'a> {
    /// A request.
    #[serde(borrow)]
    Request(Request<'a>),
    /// A part of an answer.
    Item {
        /// Its place in the answer, from 0.
        index: u16,
        /// The part.
        item: Item<'a>,
    },
    /// The end of an answer: the request was carried out.
    Done {
        /// Number of items before it.
        items: u16,
    },
    /// The end of an answer: the request was refused.
    Refused {
        /// Number of items before it.
        items: u16,
        /// The reason.
        why: Refused<&'a str>,
    },
}

/// A frame with the right checksum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame<'a> {
    /// The number of the request.
    pub seq: u32,
    /// The content.
    pub body: Result<Body<'a>, Unreadable>,
}

/// A frame with the right checksum that this version cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It has another version.
    Version(u8),
    /// Its version is ours, but its content is unknown.
    Body,
}

/// The texts do not fit a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLong;

/// Writes a frame between two zeroes.
///
/// # Errors
///
/// [`FrameTooLong`] for more than [`FRAME_BYTES_MAX`] bytes; see [`fit`].
pub fn encode<'b>(
    seq: u32,
    body: &Body<'_>,
    wire: &'b mut [u8; WIRE_BYTES_MAX],
) -> Result<&'b [u8], FrameTooLong> {
    let head = Head { version: VERSION, seq };
    let inner = {
        let (zero, room) = wire.split_first_mut().ok_or(FrameTooLong)?;
        *zero = 0;
        let cobs = Cobs::try_new(Slice::new(room)).map_err(|_| FrameTooLong)?;
        let flavor = CrcModifier::new(cobs, CRC.digest());
        let written = postcard::serialize_with_flavor(&(head, body), flavor);
        written.map_err(|_| FrameTooLong)?.len()
    };
    wire.get(..inner.saturating_add(1)).ok_or(FrameTooLong)
}

/// Returns the start of a text, cut to fit a frame.
pub fn fit(text: &str) -> &str {
    let mut end = FRAME_TEXT_BYTES_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

/// Returns an item whose texts are cut so that together they fit a frame.
pub fn fit_item(item: Item<'_>) -> Item<'_> {
    match item {
        Item::Text(text) => Item::Text(fit(text)),
        Item::Problem { key, text } => Item::Problem { key, text: fit(text) },
        item => item,
    }
}

/// Separates frames from console bytes, and assembles frames.
pub struct Receiver {
    state: State,
    decoder: DecoderState,
    payload: [u8; FRAME_BYTES_MAX],
    length: usize,
    bad: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes go to the console.
    Text,
    /// After a zero, before the first byte of a frame.
    Open,
    /// Within a frame.
    Inside,
    /// Inside a damaged frame, until the next zero.
    Spoiled,
}

/// The effect of a byte.
#[derive(Debug, PartialEq)]
pub enum Received<'a> {
    /// A byte for the console.
    Text(u8),
    /// A frame begins; a partial console line is void.
    Opened,
    /// A byte of a good or damaged frame.
    Nothing,
    /// A frame is complete.
    Frame(Frame<'a>),
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// Starts in console mode.
    pub const fn new() -> Self {
        Self {
            state: State::Text,
            decoder: DecoderState::Idle,
            payload: [0; FRAME_BYTES_MAX],
            length: 0,
            bad: 0,
        }
    }

    /// Takes a byte.
    pub fn handle_byte(&mut self, byte: u8) -> Received<'_> {
        match (self.state, byte) {
            (State::Text, 0) => {
                self.open();
                Received::Opened
            }
            (State::Text, byte) => Received::Text(byte),
            (State::Open, 0) => Received::Nothing,
            (State::Open | State::Inside, byte) => self.take(byte),
            (State::Spoiled, 0) => self.refuse(),
            (State::Spoiled, _) => Received::Nothing,
        }
    }

    /// Notes a silence: a partial frame will not be completed, and later bytes come from a person.
    pub fn handle_silence(&mut self) {
        if matches!(self.state, State::Inside | State::Spoiled) {
            self.bad = self.bad.saturating_add(1);
        }
        self.state = State::Text;
    }

    /// Says whether bytes go to the console.
    pub fn is_text(&self) -> bool {
        self.state == State::Text
    }

    /// Returns the number of damaged frames.
    pub fn bad(&self) -> u32 {
        self.bad
    }

    fn open(&mut self) {
        self.state = State::Open;
        self.decoder = DecoderState::Idle;
        self.length = 0;
    }

    /// Drops the frame; its last zero may begin the next one.
    fn refuse(&mut self) -> Received<'_> {
        self.bad = self.bad.saturating_add(1);
        self.open();
        Received::Nothing
    }

    fn take(&mut self, byte: u8) -> Received<'_> {
        self.state = State::Inside;
        match self.decoder.feed(byte) {
            Ok(DecodeResult::NoData) => Received::Nothing,
            Ok(DecodeResult::DataContinue(byte)) => {
                match self.payload.get_mut(self.length) {
                    Some(place) => {
                        *place = byte;
                        self.length = self.length.saturating_add(1);
                    }
                    None => self.state = State::Spoiled,
                }
                Received::Nothing
            }
            Ok(DecodeResult::DataComplete) => self.finish(),
            Err(_) => self.refuse(),
        }
    }

    fn finish(&mut self) -> Received<'_> {
        let Some(seq) = self.verified() else { return self.refuse() };
        self.state = State::Text;
        let payload = self.payload.get(..self.length).unwrap_or_default();
        Received::Frame(Frame { seq, body: body(payload) })
    }

    /// Returns the request number of a frame with the right checksum.
    fn verified(&self) -> Option<u32> {
        let payload = self.payload.get(..self.length)?;
        let (content, crc) = payload.split_last_chunk::<4>()?;
        if CRC.checksum(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (head, _) = postcard::take_from_bytes::<Head>(content).ok()?;
        Some(head.seq)
    }
}

/// Reads the content of a payload with the right checksum.
fn body(payload: &[u8]) -> Result<Body<'_>, Unreadable> {
    let (content, _) = payload.split_last_chunk::<4>().ok_or(Unreadable::Body)?;
    let (head, rest) = postcard::take_from_bytes::<Head>(content).map_err(|_| Unreadable::Body)?;
    if head.version != VERSION {
        return Err(Unreadable::Version(head.version));
    }
    match postcard::take_from_bytes(rest) {
        Ok((body, [])) => Ok(body),
        _ => Err(Unreadable::Body),
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "got version {version} of the framed protocol, allowed {VERSION}")
            }
            Self::Body => f.write_str("got a frame that this version does not know"),
        }
    }
}

impl core::error::Error for Unreadable {}

impl fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "longer than the {FRAME_BYTES_MAX} bytes that a frame may have")
    }
}

impl core::error::Error for FrameTooLong {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Applies;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    fn wire(seq: u32, body: &Body<'_>) -> Vec<u8> {
        encode(seq, body, &mut [0; WIRE_BYTES_MAX]).unwrap().to_vec()
    }

    /// What came, in short: frames by number and body, the console's bytes as text.
    fn feed(receiver: &mut Receiver, bytes: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        for byte in bytes {
            match receiver.handle_byte(*byte) {
                Received::Text(byte) => all.push(format!("{}", char::from(byte))),
                Received::Frame(Frame { seq, body }) => all.push(format!("{seq} {body:?}")),
                Received::Opened | Received::Nothing => {}
            }
        }
        all
    }

    const HELLO: Body<'_> = Body::Request(Request::Hello);
    const HEARD: &str = "Ok(Request(Hello))";

    #[test]
    fn everything_that_can_be_said_is_read_as_it_was_written() {
        let value = "v".repeat(crate::limits::SETTING_BYTES_MAX);
        let (key, origin) = ("difficulty.seconds_per_share", crate::control::Origin::Stored);
        for body in [
            HELLO,
            Body::Request(Request::Set { key, value: &value }),
            Body::Item {
                index: 65_535,
                item: Item::Value { key, value: &value, origin, applies: Applies::Live },
            },
            Body::Item {
                index: 0,
                item: Item::Change { key, from: &value, to: &value, applies: Applies::Live },
            },
            Body::Done { items: 3 },
            Body::Refused { items: 0, why: Refused::Invalid("no such key") },
        ] {
            let mut receiver = Receiver::new();
            let got = feed(&mut receiver, &wire(u32::MAX, &body));
            assert_eq!(got, [format!("{} Ok({body:?})", u32::MAX)]);
        }
    }

    #[test]
    fn there_is_no_zero_within_a_frame() {
        for seq in 0..1000 {
            let bytes = wire(seq << 7, &Body::Request(Request::Miners { skip: 0 }));
            assert_eq!(bytes.iter().filter(|byte| **byte == 0).count(), 2, "{bytes:?}");
        }
    }

    #[test]
    fn console_and_frames_take_turns() {
        let mut receiver = Receiver::new();
        assert_eq!(feed(&mut receiver, b"show"), ["s", "h", "o", "w"]);
        let frames = [wire(1, &HELLO), wire(2, &HELLO)].concat();
        assert_eq!(feed(&mut receiver, &frames), [format!("1 {HEARD}"), format!("2 {HEARD}")]);
        assert!(receiver.is_text());
        assert_eq!(feed(&mut receiver, b"x"), ["x"]);
    }

    #[test]
    fn f73_every_bit_of_a_frame_may_turn_and_the_next_frame_is_read() {
        let good = wire(9, &Body::Request(Request::Show { prefix: "pool.1.url" }));
        let next = wire(10, &HELLO);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes.extend(&next);
            let mut receiver = Receiver::new();
            let got = feed(&mut receiver, &bytes);
            let frames: Vec<_> = got.iter().filter(|part| part.contains("Ok(")).collect();
            assert_eq!(frames, [&format!("10 {HEARD}")], "bit {bit}");
        }
    }

    #[test]
    fn f73_every_byte_of_a_frame_may_be_missing_or_doubled_and_the_next_frame_is_read() {
        let good = wire(9, &Body::Request(Request::Show { prefix: "pool" }));
        let next = wire(10, &HELLO);
        for place in 1..good.len() - 1 {
            for count in [0, 2] {
                let middle = [good[place]].repeat(count);
                let bytes = [&good[..place], &middle, &good[place + 1..], &next].concat();
                let mut receiver = Receiver::new();
                let got = feed(&mut receiver, &bytes);
                assert_eq!(got, [format!("10 {HEARD}")], "byte {place}, {count} times");
                assert_eq!(receiver.bad(), 1);
            }
        }
    }

    #[test]
    fn f73_bytes_without_end_are_no_frame_and_take_no_room() {
        let mut receiver = Receiver::new();
        feed(&mut receiver, &[0]);
        for _ in 0..(1 << 20) {
            assert_eq!(receiver.handle_byte(b'\x55'), Received::Nothing);
        }
        assert_eq!(feed(&mut receiver, &wire(1, &HELLO)), [format!("1 {HEARD}")]);
        assert_eq!(receiver.bad(), 1);
    }

    #[test]
    fn after_a_silence_bytes_are_the_consoles() {
        let mut receiver = Receiver::new();
        let half = wire(1, &HELLO);
        feed(&mut receiver, &half[..4]);
        assert!(!receiver.is_text());
        receiver.handle_silence();
        assert_eq!(feed(&mut receiver, b"a"), ["a"]);
        assert_eq!(receiver.bad(), 1);
    }

    #[test]
    fn another_version_and_an_unknown_request_are_told_from_noise() {
        let mut payload = Vec::new();
        for (version, body, expected) in [(2, 0, Unreadable::Version(2)), (1, 99, Unreadable::Body)]
        {
            payload.clear();
            payload.extend([version, 7, body]);
            let crc = CRC.checksum(&payload);
            payload.extend(crc.to_le_bytes());
            let mut bytes = [0; 32];
            let length = cobs::encode(&payload, &mut bytes[1..]);
            let mut receiver = Receiver::new();
            let got = feed(&mut receiver, &bytes[..length + 2]);
            assert_eq!(got, [format!("7 Err({expected:?})")]);
        }
    }

    #[test]
    fn a_text_is_cut_where_it_does_not_fit_and_never_within_a_letter() {
        let long = "ü".repeat(FRAME_BYTES_MAX);
        let item = fit_item(Item::Text(&long));
        assert!(encode(0, &Body::Item { index: 0, item }, &mut [0; WIRE_BYTES_MAX]).is_ok());
        assert_eq!(fit("short"), "short");
        let too_long = Body::Request(Request::Show { prefix: &long });
        assert_eq!(encode(0, &too_long, &mut [0; WIRE_BYTES_MAX]), Err(FrameTooLong));
    }

    #[test]
    fn bodies_keep_their_numbers() {
        let mut buffer = [0; 64];
        for (body, bytes) in [
            (HELLO, &[0, 0][..]),
            (Body::Item { index: 1, item: Item::Provisional { seconds_left: 9 } }, &[1, 1, 4, 9]),
            (Body::Done { items: 2 }, &[2, 2]),
            (Body::Refused { items: 0, why: Refused::Conflict("") }, &[3, 0, 2, 0]),
        ] {
            assert_eq!(postcard::to_slice(&body, &mut buffer).unwrap(), bytes);
        }
    }
}
