//! Finds significant bytes eight at a time, in safe code. A `u64` holds eight lanes, and one
//! subtraction flags all lanes below a bound. A borrow flags a lane wrongly only above a rightly
//! flagged lane, so the lowest flag is always right.
//!
//! Names and job ids end within a few words. Longer strings are the hex of a coinbase. They are
//! skipped in blocks, in a loop that the compiler turns into vector instructions.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "lanes and what is left of a slice: no input makes a difference negative"
)]

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const LANES: usize = 8;

/// Words after which the rest is skipped in blocks.
const SHORT_WORDS: usize = 4;
const BLOCK: usize = 64;

/// Returns the number of bytes before the first stop: a quote, a backslash, a control character
/// below 0x20 or a byte outside ASCII. Returns the whole length if there is no stop.
#[inline(always)]
pub(super) fn plain_string_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut words = 0_usize;
    while let Some((chunk, after)) = rest.split_first_chunk::<LANES>() {
        let stops = string_stops(u64::from_le_bytes(*chunk));
        if stops != 0 {
            return (bytes.len() - rest.len()).wrapping_add(first_lane(stops));
        }
        rest = after;
        words = words.wrapping_add(1);
        if words == SHORT_WORDS {
            rest = skip_plain_blocks(rest);
        }
    }
    (bytes.len() - rest.len()).wrapping_add(string_tail(bytes, rest.len()))
}

/// Does the same for the last `len` bytes, which are fewer than eight.
#[inline(always)]
fn string_tail(bytes: &[u8], len: usize) -> usize {
    match bytes.last_chunk::<LANES>() {
        Some(_) if len == 0 => 0,
        Some(chunk) => {
            // The lanes before the tail are shifted out; the zeroes shifted in after it end it.
            let word = u64::from_le_bytes(*chunk) >> ((LANES - len) * 8);
            first_lane(string_stops(word))
        }
        None => bytes.iter().position(|&byte| !is_plain(byte)).unwrap_or(len),
    }
}

/// Returns the position of the first line feed.
#[inline]
pub(super) fn find_line_feed(bytes: &[u8]) -> Option<usize> {
    let mut rest = skip_blocks(bytes, |byte| byte != b'\n');
    while let Some((chunk, after)) = rest.split_first_chunk::<LANES>() {
        let difference = u64::from_le_bytes(*chunk) ^ (ONES * b'\n' as u64);
        let feeds = difference.wrapping_sub(ONES) & !difference & HIGH_BITS;
        if feeds != 0 {
            return Some((bytes.len() - rest.len()).wrapping_add(first_lane(feeds)));
        }
        rest = after;
    }
    let at = rest.iter().position(|&byte| byte == b'\n')?;
    Some((bytes.len() - rest.len()).wrapping_add(at))
}

#[inline(never)]
fn skip_plain_blocks(bytes: &[u8]) -> &[u8] {
    skip_blocks(bytes, is_plain)
}

/// Skips blocks whose bytes all pass.
#[inline(always)]
fn skip_blocks(bytes: &[u8], passes: impl Fn(u8) -> bool) -> &[u8] {
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        if !block.iter().fold(true, |all, &byte| all & passes(byte)) {
            break;
        }
        rest = after;
    }
    rest
}

/// Flags the lanes that end a plain string; exact up to the first flag. The comparisons for
/// equality omit the usual guard against lanes of 0x80 and above. Such lanes are stops themselves,
/// and at least one of the two comparisons flags each.
#[inline(always)]
const fn string_stops(word: u64) -> u64 {
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    let control = word.wrapping_sub(ONES * b' ' as u64);
    (quote | backslash | control) & HIGH_BITS
}

#[inline]
const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte < 0x80 && byte != b'"' && byte != b'\\'
}

/// Returns the index of the first flagged lane.
#[inline(always)]
const fn first_lane(flags: u64) -> usize {
    (flags.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    /// Puts each byte that matters at each position of inputs of each length up to some blocks.
    fn check(stops: impl Fn(u8) -> bool, filler: &[u8], find: impl Fn(&[u8]) -> usize) {
        for len in 0..(2 * BLOCK + SHORT_WORDS * LANES + LANES) {
            for filler in filler {
                let mut bytes = vec![*filler; len];
                assert_eq!(find(&bytes), len);
                for at in (0..len).rev() {
                    for stop in (0..=u8::MAX).filter(|byte| stops(*byte)).step_by(37) {
                        bytes[at] = stop;
                        assert_eq!(find(&bytes), at, "{stop:#x} at {at} of {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn strings_end_at_the_first_byte_that_is_not_plain() {
        check(|byte| !is_plain(byte), b" ~!#[]", plain_string_len);
    }

    #[test]
    fn every_byte_is_judged_alike_in_words_tails_and_alone() {
        for byte in 0..=u8::MAX {
            let plain = !(byte < 0x20 || byte == b'"' || byte == b'\\' || byte > 0x7f);
            for len in [1, 3, 8, 11, 40, 128] {
                let bytes = vec![byte; len];
                assert_eq!(plain_string_len(&bytes), if plain { len } else { 0 }, "{byte:#x}");
            }
        }
    }

    #[test]
    fn lines_end_at_the_first_line_feed() {
        let find = |bytes: &[u8]| find_line_feed(bytes).unwrap_or(bytes.len());
        check(|byte| byte == b'\n', b"\x0b\x09\x8a\xff\0", find);
    }
}
