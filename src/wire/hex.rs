//! Hex digits, strictly: an even count of `0-9a-fA-F` and nothing else (F13).
//!
//! No `0x`, no spaces, no sign, no odd digit, nothing cut or padded: two spellings of a field
//! are the same bytes or one of them is refused, so a share cannot be counted twice by writing
//! it differently. Both cases are read; lower case is written.
//!
//! ```
//! use loka_stratum::wire::hex::{self, HexError};
//!
//! assert_eq!(hex::u32_be(b"1FFFe000"), Ok(0x1fff_e000));
//! assert_eq!(hex::u32_be(b"0x1fffe0"), Err(HexError::Digit { at: 1 }));
//! assert_eq!(hex::decode_exact::<2>(b"00ff"), Ok([0x00, 0xff]));
//! ```

use core::fmt;

use super::writer::{Full, Writer};

/// What is wrong with a hex field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HexError {
    /// The count of digits is odd.
    Odd {
        /// The count of digits.
        len: usize,
    },
    /// A byte is not a hex digit.
    Digit {
        /// The position of the byte.
        at: usize,
    },
    /// The field decodes to more bytes than there is room for.
    TooLong {
        /// The room, in bytes.
        limit: usize,
    },
    /// The field has another length than it must have.
    Length {
        /// The count of digits.
        got: usize,
        /// The count of digits it must have.
        want: usize,
    },
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// What [`VALUES`] says of a byte that is no digit; it has bits that no value has.
const NO_DIGIT: u8 = 0xff;

/// The value of each byte as a hex digit.
static VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        values[DIGITS[value].to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    values
}

/// Decodes `hex` into the front of `out` and returns the part that was filled.
///
/// # Errors
///
/// [`HexError::Odd`], [`HexError::Digit`], or [`HexError::TooLong`] where `out` is too short.
pub fn decode<'b>(hex: &[u8], out: &'b mut [u8]) -> Result<&'b [u8], HexError> {
    let (pairs, odd) = hex.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(HexError::Odd { len: hex.len() });
    }
    let limit = out.len();
    let out = out.get_mut(..pairs.len()).ok_or(HexError::TooLong { limit })?;
    decode_pairs(pairs, out).ok_or_else(|| bad_digit(hex))?;
    Ok(out)
}

/// Decodes exactly `N` bytes.
///
/// # Errors
///
/// [`HexError::Length`] unless there are `2 * N` digits, and [`HexError::Digit`].
pub fn decode_exact<const N: usize>(hex: &[u8]) -> Result<[u8; N], HexError> {
    let mut out = [0; N];
    let (pairs, odd) = hex.as_chunks::<2>();
    if pairs.len() != N || !odd.is_empty() {
        return Err(HexError::Length { got: hex.len(), want: N.saturating_mul(2) });
    }
    decode_pairs(pairs, &mut out).ok_or_else(|| bad_digit(hex))?;
    Ok(out)
}

/// Reads a number of exactly eight digits, most significant first, as Stratum writes version,
/// ntime, nonce and nbits.
///
/// # Errors
///
/// [`HexError::Length`] unless there are eight digits, and [`HexError::Digit`].
#[inline]
pub fn u32_be(hex: &[u8]) -> Result<u32, HexError> {
    decode_exact(hex).map(u32::from_be_bytes)
}

/// Checks that `hex` is a hex field and returns how many bytes it decodes to.
///
/// # Errors
///
/// [`HexError::Odd`] and [`HexError::Digit`].
pub fn check(hex: &[u8]) -> Result<usize, HexError> {
    if !hex.len().is_multiple_of(2) {
        return Err(HexError::Odd { len: hex.len() });
    }
    // No early way out: this shape is what the compiler turns into vector instructions.
    let all = hex.iter().fold(true, |all, &byte| all & is_digit(byte));
    if all { Ok(hex.len() / 2) } else { Err(bad_digit(hex)) }
}

/// Writes `bytes` as lower-case digits.
///
/// # Errors
///
/// [`Full`] where they do not fit; then nothing is written.
pub fn encode_into(bytes: &[u8], out: &mut Writer<'_>) -> Result<(), Full> {
    let place = out.reserve(bytes.len().checked_mul(2).ok_or(Full)?)?;
    let (pairs, _) = place.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = digits_of(*byte);
    }
    Ok(())
}

/// Returns `number` as eight lower-case digits, most significant first.
#[inline]
pub fn digits(number: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(number.to_be_bytes()) {
        *pair = digits_of(byte);
    }
    digits
}

/// Decodes as many pairs as `out` has bytes; `None` where one of them is not made of digits.
#[inline]
fn decode_pairs(pairs: &[[u8; 2]], out: &mut [u8]) -> Option<()> {
    let mut seen = 0;
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        let (high, low) = (value(*high), value(*low));
        seen |= high | low;
        *byte = (high << 4) | low;
    }
    (seen <= 0x0f).then_some(())
}

/// Returns the value of a digit, or [`NO_DIGIT`].
#[inline]
fn value(byte: u8) -> u8 {
    VALUES.get(usize::from(byte)).copied().unwrap_or(NO_DIGIT)
}

#[inline]
const fn is_digit(byte: u8) -> bool {
    // With the case bit set, letters are one range; no digit changes into one by it.
    byte.wrapping_sub(b'0') < 10 || (byte | 0x20).wrapping_sub(b'a') < 6
}

#[inline]
fn digits_of(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0x0f].map(|value| match value {
        0..=9 => b'0' | value,
        _ => value.wrapping_add(b'a' - 10),
    })
}

/// Names the first byte that is not a digit.
#[cold]
fn bad_digit(hex: &[u8]) -> HexError {
    let at = hex.iter().position(|&byte| !is_digit(byte)).unwrap_or(hex.len());
    HexError::Digit { at }
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Odd { len } => write!(f, "odd count of hex digits: {len}"),
            Self::Digit { at } => write!(f, "no hex digit at position {at}; allowed 0-9a-fA-F"),
            Self::TooLong { limit } => write!(f, "hex for more than {limit} bytes"),
            Self::Length { got, want } => write!(f, "{got} hex digits where {want} are due"),
        }
    }
}

impl core::error::Error for HexError {}
