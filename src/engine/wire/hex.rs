//! Hex digits, strictly: an even count of `0-9a-fA-F` and nothing else (F13).
//!
//! No `0x`, no spaces, no sign, no odd digit, nothing cut or padded. Two spellings of a field give
//! the same bytes, or one is refused, so no spelling can count a share twice. Both cases are read;
//! lower case is written.
//!
//! ```
//! use loka_stratum::wire::hex::{self, HexError};
//!
//! assert_eq!(hex::u32_be(b"1FFFe000"), Ok(0x1fff_e000));
//! assert_eq!(hex::u32_be(b"0x1fffe0"), Err(HexError::Digit { at: 1 }));
//! assert_eq!(hex::decode_exact::<2>(b"00ff"), Ok([0x00, 0xff]));
//! assert_eq!(hex::Digits(&[0x00, 0xff]).to_string(), "00ff");
//! ```

use core::fmt;

use super::writer::{Full, Writer};

/// The error in a hex field.
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
    /// The field decodes to more bytes than fit.
    TooLong {
        /// The room, in bytes.
        limit: usize,
    },
    /// The field has a wrong length.
    Length {
        /// The count of digits.
        got: usize,
        /// The right count of digits.
        want: usize,
    },
}

/// Bytes that are displayed as lower-case digits.
#[derive(Clone, Copy)]
pub struct Digits<'b>(pub &'b [u8]);

impl fmt::Display for Digits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Decodes `hex` into the front of `out` and returns the part that was filled.
///
/// # Errors
///
/// [`HexError::Odd`], [`HexError::Digit`], or [`HexError::TooLong`] if `out` is too short.
pub fn decode<'b>(hex: &[u8], out: &'b mut [u8]) -> Result<&'b [u8], HexError> {
    let len = check(hex)?;
    let limit = out.len();
    let out = out.get_mut(..len).ok_or(HexError::TooLong { limit })?;
    decode_checked(hex, out);
    Ok(out)
}

/// Decodes exactly `N` bytes.
///
/// # Errors
///
/// [`HexError::Length`] unless there are `2 * N` digits, and [`HexError::Digit`].
pub fn decode_exact<const N: usize>(hex: &[u8]) -> Result<[u8; N], HexError> {
    if N.checked_mul(2) != Some(hex.len()) {
        return Err(HexError::Length { got: hex.len(), want: N.saturating_mul(2) });
    }
    check(hex)?;
    let mut out = [0; N];
    decode_checked(hex, &mut out);
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
    let digits: &[u8; 8] =
        hex.try_into().map_err(|_| HexError::Length { got: hex.len(), want: 8 })?;
    check(digits)?;
    Ok(u32::from_be_bytes(four_bytes(*digits)))
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
    // No early exit, so that the compiler emits vector instructions.
    let all = hex.iter().fold(true, |all, &byte| all & is_digit(byte));
    if all { Ok(hex.len() / 2) } else { Err(bad_digit(hex)) }
}

/// Writes `bytes` as lower-case digits.
///
/// # Errors
///
/// [`Full`] if they do not fit; then nothing is written.
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

/// Decodes checked digits into all of `out`.
#[inline]
fn decode_checked(hex: &[u8], out: &mut [u8]) {
    let (eights, tail) = hex.as_chunks::<8>();
    let (fours, out_tail) = out.as_chunks_mut::<4>();
    for (four, eight) in fours.iter_mut().zip(eights) {
        *four = four_bytes(*eight);
    }
    let (pairs, _) = tail.as_chunks::<2>();
    for (byte, [high, low]) in out_tail.iter_mut().zip(pairs) {
        [*byte, ..] = four_bytes([*high, *low, b'0', b'0', b'0', b'0', b'0', b'0']);
    }
}

/// Decodes eight digits at once, each in a lane of a `u64`.
#[inline]
#[expect(clippy::arithmetic_side_effects, reason = "no lane exceeds 15, so none overflows")]
const fn four_bytes(digits: [u8; 8]) -> [u8; 4] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let digits = u64::from_le_bytes(digits);
    // The value of a digit is its low four bits, plus 9 for a letter, which has the bit 0x40 set.
    // No lane exceeds 15, so none overflows into the next.
    let values = (digits & (0x0f * ONES)) + ((digits >> 6) & ONES) * 9;
    // Each even lane takes the lane above it as its low half, then the even lanes move together.
    let pairs = ((values << 4) | (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let pairs = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
    ((pairs | (pairs >> 16)) as u32).to_le_bytes()
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
            Self::Digit { at } => write!(f, "not a hex digit at position {at}; allowed 0-9a-fA-F"),
            Self::TooLong { limit } => write!(f, "hex for more than {limit} bytes"),
            Self::Length { got, want } => write!(f, "got {got} hex digits, need {want}"),
        }
    }
}

impl core::error::Error for HexError {}

#[cfg(test)]
mod tests {
    use std::format;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_as_pools_write_them() {
        assert_eq!(u32_be(b"1fffe000"), Ok(0x1fff_e000));
        assert_eq!(u32_be(b"504e86ed"), Ok(0x504e_86ed));
        assert_eq!(digits(0x0009_2000), *b"00092000");
        assert_eq!(decode_exact::<4>(b"08000002"), Ok([8, 0, 0, 2]));
        let mut room = [0; 8];
        assert_eq!(decode(b"0a000000000000", &mut room), Ok(&[0x0a, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!(decode(b"", &mut room), Ok(&[][..]));
    }

    #[test]
    fn f13_only_pairs_of_digits_are_hex() {
        let mut room = [0; 4];
        assert_eq!(decode(b"abc", &mut room), Err(HexError::Odd { len: 3 }));
        assert_eq!(decode(b"0x12", &mut room), Err(HexError::Digit { at: 1 }));
        assert_eq!(decode(b" 123", &mut room), Err(HexError::Digit { at: 0 }));
        assert_eq!(decode(b"12 4", &mut room), Err(HexError::Digit { at: 2 }));
        assert_eq!(decode(b"1234\0\0", &mut room), Err(HexError::Digit { at: 4 }));
        assert_eq!(decode(b"12g4", &mut room), Err(HexError::Digit { at: 2 }));
        assert_eq!(decode(b"-123", &mut room), Err(HexError::Digit { at: 0 }));
        assert_eq!(decode("١٢".as_bytes(), &mut room), Err(HexError::Digit { at: 0 }));
        assert_eq!(decode(b"0011223344", &mut room), Err(HexError::TooLong { limit: 4 }));
        assert_eq!(u32_be(b"1fffe00"), Err(HexError::Length { got: 7, want: 8 }));
        assert_eq!(u32_be(b"01fffe000"), Err(HexError::Length { got: 9, want: 8 }));
        assert_eq!(u32_be(b""), Err(HexError::Length { got: 0, want: 8 }));
        assert_eq!(u32_be(b"+1fffe00"), Err(HexError::Digit { at: 0 }));
        assert_eq!(decode_exact::<2>(b"0000aa"), Err(HexError::Length { got: 6, want: 4 }));
    }

    #[test]
    fn f13_case_does_not_make_another_share() {
        assert_eq!(u32_be(b"B2957C02"), u32_be(b"b2957c02"));
        assert_eq!(decode_exact::<3>(b"aBcDeF"), Ok([0xab, 0xcd, 0xef]));
    }

    #[test]
    fn each_byte_is_a_digit_or_is_not() {
        for byte in 0..=u8::MAX {
            let expected = char::from(byte).to_digit(16);
            let field = [b'0', b'0', b'0', b'0', b'0', byte, b'0', b'0'];
            assert_eq!(u32_be(&field).ok(), expected.map(|value| value << 8), "{byte:#x}");
            assert_eq!(check(&field).is_ok(), expected.is_some());
        }
    }

    #[test]
    fn errors_name_what_was_got_and_what_is_allowed() {
        let error = HexError::Digit { at: 3 };
        assert_eq!(format!("{error}"), "not a hex digit at position 3; allowed 0-9a-fA-F");
        let error = HexError::Length { got: 7, want: 8 };
        assert_eq!(format!("{error}"), "got 7 hex digits, need 8");
    }

    #[test]
    fn digits_that_do_not_fit_are_not_written() {
        let mut buf = [0; 5];
        let mut out = Writer::new(&mut buf);
        assert_eq!(encode_into(&[1, 2, 3], &mut out), Err(Full));
        assert_eq!(out.as_slice(), b"");
        assert_eq!(encode_into(&[0xab, 0x0c], &mut out), Ok(()));
        assert_eq!(out.as_slice(), b"ab0c");
    }

    /// The slow and obvious way.
    fn decode_by_chars(hex: &[u8]) -> Option<Vec<u8>> {
        let nibbles = hex.iter().map(|byte| char::from(*byte).to_digit(16));
        let nibbles = nibbles.collect::<Option<Vec<u32>>>()?;
        let (pairs, odd) = nibbles.as_chunks::<2>();
        let bytes = pairs.iter().map(|[high, low]| (high * 16 + low) as u8).collect();
        odd.is_empty().then_some(bytes)
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let (mut buf, mut room) = ([0; 160], [0; 80]);
            let mut out = Writer::new(&mut buf);
            encode_into(&bytes, &mut out).unwrap();
            prop_assert_eq!(decode(out.as_slice(), &mut room).unwrap(), &bytes[..]);
            prop_assert_eq!(check(out.as_slice()), Ok(bytes.len()));
            let upper = out.as_slice().to_ascii_uppercase();
            prop_assert_eq!(decode(&upper, &mut room).unwrap(), &bytes[..]);
        }

        #[test]
        fn any_text_reads_as_the_obvious_way_reads_it(text in "[0-9a-fA-F]{0,40}[ -~]?[0-9a-f]{0,40}") {
            let mut room = [0; 41];
            let expected = decode_by_chars(text.as_bytes());
            let read = decode(text.as_bytes(), &mut room).ok().map(<[u8]>::to_vec);
            prop_assert_eq!(&read, &expected);
            prop_assert_eq!(check(text.as_bytes()).is_ok(), expected.is_some());
            let exact = decode_exact::<8>(text.as_bytes()).ok().map(|bytes| bytes.to_vec());
            prop_assert_eq!(exact, expected.filter(|bytes| bytes.len() == 8));
        }

        #[test]
        fn numbers_read_as_they_are_written(number: u32) {
            prop_assert_eq!(u32_be(&digits(number)), Ok(number));
            let expected = format!("{number:08x}");
            prop_assert_eq!(&digits(number)[..], expected.as_bytes());
        }
    }
}
