//! Bounded framing: bytes in, lines out.
//!
//! A [`Framer`] returns complete lines as they are in the input, without a copy. Only a partial
//! line at the end of an input is stored, in the caller's memory. Its size is the line limit. `\n`
//! and `\r\n` end a line; empty lines are skipped.
//!
//! It does not look inside a line and does not recover: after [`LineTooLong`] the stream is
//! meaningless and the connection must be closed.
//!
//! Invariants: cutting the input anywhere changes nothing (F01); a line of exactly the limit is
//! handed out and one byte more is refused, in one piece or many (F03); nothing is stored
//! beyond the limit (F04).
//!
//! ```
//! use loka_stratum::wire::line::Framer;
//!
//! let mut framer = Framer::default();
//! let mut rest = [0; 16];
//! let mut lines = Vec::new();
//! for mut input in [&b"one\r\n\r\ntw"[..], &b"o\nthree"[..]] {
//!     while let Some(line) = framer.next_line(&mut rest, &mut input)? {
//!         lines.push(line.to_vec());
//!     }
//! }
//! assert_eq!(lines, [b"one", b"two"]);
//! assert!(framer.is_partial());
//! # Ok::<(), loka_stratum::wire::line::LineTooLong>(())
//! ```

use core::fmt;

use super::swar;

/// The state of a stream between two inputs, four bytes. The caller passes the storage of the
/// partial line with each call, the same each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framer {
    /// Bytes of the partial line in the storage. With [`HELD_RETURN`], an unstored `\r` follows
    /// them; it does not count if a `\n` comes next.
    state: u32,
}

const HELD_RETURN: u32 = 1 << 31;

/// A line is longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LineTooLong {
    /// The limit, in bytes without the line end.
    pub limit: usize,
}

impl Framer {
    /// Returns whether a partial line is kept.
    #[inline]
    pub const fn is_partial(self) -> bool {
        self.state != 0
    }

    /// Takes the next line from `input` and advances `input` past it.
    ///
    /// `rest` is the storage of the partial line; its length is the line limit in bytes, below
    /// 2^31. Returns `None` when the input is used up and its tail is stored.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`] if a line exceeds the limit; the stream is then useless.
    pub fn next_line<'x, 'i: 'x>(
        &mut self,
        rest: &'x mut [u8],
        input: &mut &'i [u8],
    ) -> Result<Option<&'x [u8]>, LineTooLong> {
        if self.is_partial() {
            let Some((line, after)) = split_line(input) else {
                self.keep(rest, input)?;
                *input = &[];
                return Ok(None);
            };
            self.keep(rest, line)?;
            *input = after;
            // The `\r` before this `\n`, if any, is held and goes with it.
            let len = self.len();
            self.state = 0;
            if len > 0 {
                return Ok(rest.get(..len));
            }
        }
        while let Some((line, after)) = split_line(input) {
            *input = after;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > rest.len() {
                return Err(LineTooLong { limit: rest.len() });
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
        self.keep(rest, input)?;
        *input = &[];
        Ok(None)
    }

    const fn len(self) -> usize {
        (self.state & !HELD_RETURN) as usize
    }

    /// Appends `piece` to the partial line; a `\r` at its end is held back.
    fn keep(&mut self, rest: &mut [u8], piece: &[u8]) -> Result<(), LineTooLong> {
        if piece.is_empty() {
            return Ok(());
        }
        if self.state & HELD_RETURN != 0 {
            // A byte other than `\n` followed it, so it belongs to the line.
            self.append(rest, b"\r")?;
        }
        match piece.strip_suffix(b"\r") {
            Some(piece) => {
                self.append(rest, piece)?;
                self.state |= HELD_RETURN;
                Ok(())
            }
            None => self.append(rest, piece),
        }
    }

    fn append(&mut self, rest: &mut [u8], piece: &[u8]) -> Result<(), LineTooLong> {
        let too_long = LineTooLong { limit: rest.len() };
        let len = self.len();
        let end = len.saturating_add(piece.len());
        rest.get_mut(len..end).ok_or(too_long)?.copy_from_slice(piece);
        self.state = u32::try_from(end).map_err(|_| too_long)?;
        Ok(())
    }
}

/// Splits off the bytes before the first line feed; the line feed is dropped.
#[inline]
fn split_line<'i>(input: &&'i [u8]) -> Option<(&'i [u8], &'i [u8])> {
    let (line, end) = input.split_at_checked(swar::find_line_feed(input)?)?;
    Some((line, end.split_first()?.1))
}

impl fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line longer than {} bytes; end each message with a line feed", self.limit)
    }
}

impl core::error::Error for LineTooLong {}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 8;

    /// Feeds each piece and collects the lines, up to an error.
    fn lines(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Result<(), LineTooLong>) {
        let mut framer = Framer::default();
        let mut rest = [0; LIMIT];
        let mut lines = vec![];
        for piece in pieces {
            let mut input = *piece;
            loop {
                match framer.next_line(&mut rest, &mut input) {
                    Ok(Some(line)) => lines.push(line.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (lines, Err(error)),
                }
            }
            assert!(input.is_empty());
        }
        (lines, Ok(()))
    }

    #[track_caller]
    fn check(stream: &[u8], expected: &[&[u8]], result: Result<(), LineTooLong>) {
        let whole = lines(&[stream]);
        assert_eq!(whole.0, expected);
        assert_eq!(whole.1, result);
        for at in 0..=stream.len() {
            let (first, second) = stream.split_at(at);
            assert_eq!(lines(&[first, second]), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(lines(&bytes), whole, "byte by byte");
    }

    #[test]
    fn f02_lines_crlf_and_blank_lines_in_order() {
        check(b"a\nb\nc\n", &[b"a", b"b", b"c"], Ok(()));
        check(b"a\r\nb\r\n", &[b"a", b"b"], Ok(()));
        check(b"\n\r\n\na\n\n\r\nb\n", &[b"a", b"b"], Ok(()));
        check(b"a\nb", &[b"a"], Ok(()));
        check(b"", &[], Ok(()));
        check(b" \n", &[b" "], Ok(()));
    }

    #[test]
    fn only_one_return_belongs_to_the_line_end() {
        check(b"a\r\r\n", &[b"a\r"], Ok(()));
        check(b"\r\r\n", &[b"\r"], Ok(()));
        check(b"a\rb\n", &[b"a\rb"], Ok(()));
        check(b"\ra\n", &[b"\ra"], Ok(()));
        check(b"a\r", &[], Ok(()));
    }

    #[test]
    fn f02_a_line_of_the_limit_followed_by_another() {
        check(b"12345678\nab\n", &[b"12345678", b"ab"], Ok(()));
        check(b"ab\r\n12345678\r\n12345678\n", &[b"ab", b"12345678", b"12345678"], Ok(()));
    }

    #[test]
    fn f03_one_byte_above_the_limit_is_too_long() {
        let too_long = Err(LineTooLong { limit: LIMIT });
        check(b"12345678\n", &[b"12345678"], Ok(()));
        check(b"12345678\r\n", &[b"12345678"], Ok(()));
        check(b"123456789\n", &[], too_long);
        check(b"a\n123456789\r\nb\n", &[b"a"], too_long);
        check(b"12345678\r\r\n", &[], too_long);
        check(b"1234567\r\r\n", &[b"1234567\r"], Ok(()));
    }

    #[test]
    fn f04_bytes_without_end_stop_at_the_limit() {
        let (seen, result) = lines(&[&[b'x'; 5], &[b'x'; 3], &[b'x'; 1]]);
        assert_eq!((seen.len(), result), (0, Err(LineTooLong { limit: LIMIT })));
        let (_, result) = lines(&[&[b'x'; 100_000]]);
        assert_eq!(result, Err(LineTooLong { limit: LIMIT }));
    }

    #[test]
    fn whole_lines_are_not_copied() {
        let stream = b"one\ntwo\n";
        let (mut framer, mut rest, mut input) = (Framer::default(), [0; LIMIT], &stream[..]);
        let line = framer.next_line(&mut rest, &mut input).unwrap().unwrap();
        assert_eq!(line.as_ptr(), stream.as_ptr());
        assert_eq!(input, b"two\n");
        assert!(!framer.is_partial());
        assert_eq!(size_of::<Framer>(), 4);
    }

    #[test]
    fn a_partial_line_is_known() {
        let (mut framer, mut rest) = (Framer::default(), [0; LIMIT]);
        for (piece, partial) in [("a", true), ("\n", false), ("\r", true), ("\n", false)] {
            let mut input = piece.as_bytes();
            while framer.next_line(&mut rest, &mut input).unwrap().is_some() {}
            assert_eq!(framer.is_partial(), partial, "{piece:?}");
        }
    }

    proptest! {
        #[test]
        fn f01_cutting_anywhere_changes_nothing(
            stream in "([a-c]{0,9}\r{0,2}\n){0,6}[a-c\r]{0,10}",
            cuts in proptest::collection::vec(0_usize..60, 0..8),
        ) {
            let stream = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = vec![];
            let mut from = 0;
            for cut in cuts {
                pieces.push(&stream[from..cut]);
                from = cut;
            }
            pieces.push(&stream[from..]);
            prop_assert_eq!(lines(&pieces), lines(&[stream]));
        }
    }
}
