//! Writing into a caller's fixed buffer.
//!
//! Each push writes all of its bytes or none, and [`Writer::line`] does the same for a whole line.
//! The buffer never grows.

use core::fmt;

use serde::Serialize;

/// Writes bytes into a buffer of fixed size.
#[derive(Debug)]
pub struct Writer<'b> {
    buf: &'b mut [u8],
    len: usize,
}

/// The longest escape of one byte with its quotes, `"\u001f"`.
const ESCAPED_BYTES_MAX: usize = 8;

/// The buffer has no room for the bytes; none were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl<'b> Writer<'b> {
    /// Creates a writer over an empty buffer.
    #[inline]
    pub const fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Returns the number of bytes written.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether nothing is written.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of bytes that still fit.
    #[inline]
    pub const fn room(&self) -> usize {
        self.buf.len().saturating_sub(self.len)
    }

    /// Returns the bytes written.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    /// Drops all bytes written.
    #[inline]
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Drops the bytes after the first `len`.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Full`] if they do not fit; then none is written.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.reserve(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Runs `write`, and undoes it if it runs out of room.
    ///
    /// # Errors
    ///
    /// [`Full`] from `write`; the writer is then as before.
    #[inline]
    pub fn line(
        &mut self,
        write: impl FnOnce(&mut Writer<'b>) -> Result<(), Full>,
    ) -> Result<(), Full> {
        let len = self.len;
        let written = write(self);
        if written.is_err() {
            self.len = len;
        }
        written
    }

    /// Writes `value` as JSON, by serde-json-core: strings escaped, no spaces.
    ///
    /// # Errors
    ///
    /// [`Full`] if it does not fit; then nothing is written.
    pub fn push_json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Full> {
        let room = self.buf.get_mut(self.len..).unwrap_or_default();
        let written = serde_json_core::to_slice(value, room).map_err(|_| Full)?;
        self.len = self.len.saturating_add(written);
        Ok(())
    }

    /// Writes `text` as a JSON string. Runs without escapes are copied whole; other characters go
    /// through serde-json-core, so that the bytes equal those of [`push_json`](Self::push_json).
    ///
    /// # Errors
    ///
    /// [`Full`] if it does not fit; then nothing is written.
    pub fn push_text(&mut self, text: &str) -> Result<(), Full> {
        let needs_escape = |byte: &u8| *byte < b' ' || matches!(*byte, b'"' | b'\\');
        self.line(|out| {
            out.push(b"\"")?;
            let mut rest = text.as_bytes();
            while let Some(at) = rest.iter().position(needs_escape) {
                let (run, after) = rest.split_at(at);
                out.push(run)?;
                let (escaped, after) = after.split_at(1);
                let mut quoted = [0; ESCAPED_BYTES_MAX];
                let character = core::str::from_utf8(escaped).map_err(|_| Full)?;
                let len = serde_json_core::to_slice(character, &mut quoted).map_err(|_| Full)?;
                out.push(quoted.get(1..len.saturating_sub(1)).unwrap_or_default())?;
                rest = after;
            }
            out.push(rest)?;
            out.push(b"\"")
        })
    }

    /// Reserves the next `count` bytes of the buffer for the caller to fill.
    #[inline]
    pub(super) fn reserve(&mut self, count: usize) -> Result<&mut [u8], Full> {
        let end = self.len.checked_add(count).ok_or(Full)?;
        let place = self.buf.get_mut(self.len..end).ok_or(Full)?;
        self.len = end;
        Ok(place)
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room left in the output buffer; flush it first")
    }
}

impl core::error::Error for Full {}

#[cfg(test)]
mod tests {
    use core::fmt::Write as _;

    use super::*;

    #[test]
    fn a_push_is_whole_or_nothing() {
        let mut buf = [0; 4];
        let mut out = Writer::new(&mut buf);
        assert_eq!(out.push(b"abc"), Ok(()));
        assert_eq!(out.push(b"de"), Err(Full));
        assert_eq!((out.as_slice(), out.len(), out.room()), (&b"abc"[..], 3, 1));
        assert_eq!(out.push(b"d"), Ok(()));
        assert_eq!(out.push(b""), Ok(()));
        assert_eq!(out.room(), 0);
        out.truncate(9);
        assert_eq!(out.len(), 4);
        out.truncate(1);
        assert_eq!(out.as_slice(), b"a");
        out.clear();
        assert!(out.is_empty());
    }

    #[test]
    fn a_line_is_whole_or_nothing() {
        let mut buf = [0; 8];
        let mut out = Writer::new(&mut buf);
        out.push(b"1").unwrap();
        let written = out.line(|out| {
            out.push(b"234")?;
            out.push_json("quoted")?;
            out.push(b"\n")
        });
        assert_eq!(written, Err(Full));
        assert_eq!(out.as_slice(), b"1");
        assert_eq!(out.line(|out| write!(out, "{}", 23).map_err(|_| Full)), Ok(()));
        assert_eq!(out.as_slice(), b"123");
    }

    #[test]
    fn a_text_is_written_as_serde_json_core_writes_it() {
        let every: std::string::String = (0..=0x2ff).filter_map(char::from_u32).collect();
        for text in ["", "mining.notify", "\"", "a\\", "\u{0}b\nc", "é\u{1f}€", &every] {
            let (mut ours, mut theirs) = ([0; 4096], [0; 4096]);
            let (mut ours, mut theirs) = (Writer::new(&mut ours), Writer::new(&mut theirs));
            ours.push_text(text).unwrap();
            theirs.push_json(text).unwrap();
            assert_eq!(ours.as_slice(), theirs.as_slice(), "{text:?}");
        }
    }

    #[test]
    fn a_text_is_whole_or_nothing() {
        for room in 0..8 {
            let mut buf = std::vec![0; room];
            let mut out = Writer::new(&mut buf);
            assert_eq!(out.push_text("ab\ncd"), Err(Full));
            assert!(out.is_empty());
        }
    }

    #[test]
    fn nothing_fits_into_no_room() {
        let mut out = Writer::new(&mut []);
        assert_eq!(out.push(b"1"), Err(Full));
        assert_eq!(out.push_json(&1_u8), Err(Full));
        assert_eq!(out.push(b""), Ok(()));
    }
}
