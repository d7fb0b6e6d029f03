//! The lab's own hex code, separate from the library's, so that one checks the other.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends `bytes` in lower case.
pub fn push(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Returns `bytes` as text in lower case.
pub fn text(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    push(bytes, &mut out);
    out.into_iter().map(char::from).collect()
}

/// Reads exactly the digits that fill `out`; `None` for more, fewer or invalid digits.
pub fn read_exact(text: &[u8], out: &mut [u8]) -> Option<()> {
    if text.len() != out.len() * 2 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

/// Reads digits of any even count.
pub fn read(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; text.len() / 2];
    read_exact(text, &mut out)?;
    Some(out)
}

/// Reads a number of exactly eight digits, as Stratum writes version, ntime, nonce and nbits.
pub fn read_u32(text: &[u8]) -> Option<u32> {
    let mut bytes = [0; 4];
    read_exact(text, &mut bytes)?;
    Some(u32::from_be_bytes(bytes))
}

const fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        b'A'..=b'F' => Some(text - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(read(text(&bytes).as_bytes()), Some(bytes));
        assert_eq!(read_u32(b"1fffe000"), Some(0x1fff_e000));
        assert_eq!(read_u32(b"1FFFE000"), Some(0x1fff_e000));
    }

    #[test]
    fn other_lengths_and_characters_are_refused() {
        for text in ["1", "123", "0x12", "1g", "1 "] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(read_u32(b"1fffe00"), None);
    }
}
