//! Finds the bytes that matter eight at a time, in safe code: a `u64` holds eight lanes, and
//! one subtraction flags all lanes that are smaller than a bound. A borrow can flag a lane
//! wrongly only above a lane that is flagged rightly, so the lowest flag is always true.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Returns how many bytes lie before the first that ends or breaks a run of plain string
/// bytes: a quote, a backslash or a control character below 0x20. All of them where there is
/// none.
#[inline]
pub(super) fn plain_string_len(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, chunk) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        let stops = lanes_equal(word, b'"') | lanes_equal(word, b'\\') | lanes_below(word, b' ');
        if stops != 0 {
            return index * 8 + first_lane(stops);
        }
    }
    let stop = tail.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\');
    stop.map_or(bytes.len(), |at| words.len() * 8 + at)
}

/// Returns the position of the first line feed.
#[inline]
pub(super) fn find_line_feed(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, chunk) in words.iter().enumerate() {
        let feeds = lanes_equal(u64::from_le_bytes(*chunk), b'\n');
        if feeds != 0 {
            return Some(index * 8 + first_lane(feeds));
        }
    }
    tail.iter().position(|&byte| byte == b'\n').map(|at| words.len() * 8 + at)
}

/// Flags the lanes of `word` that are `byte`; exact up to the first flag.
#[inline]
const fn lanes_equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * byte as u64);
    difference.wrapping_sub(ONES) & !difference & HIGH_BITS
}

/// Flags the lanes of `word` that are smaller than `bound` (at most 0x80); exact up to the
/// first flag.
#[inline]
const fn lanes_below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * bound as u64) & !word & HIGH_BITS
}

/// Returns the index of the first flagged lane.
#[inline]
const fn first_lane(flags: u64) -> usize {
    (flags.trailing_zeros() / 8) as usize
}
