//! The framer: any cut of a stream gives the same lines, equal to those of a stateless reader (F01
//! to F04).
//!
//! The first byte is the limit, the next four are the cuts, and the rest is the stream.

use loka_stratum::wire::line::{Framer, LineTooLong};

/// The lines of a stream, and whether it ended with an overlong one.
#[derive(Debug, PartialEq)]
struct Read {
    lines: Vec<Vec<u8>>,
    end: Result<(), LineTooLong>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let [limit, cuts @ .., _] = *data.first_chunk::<6>().unwrap_or(&[0; 6]);
    let stream = data.get(5..).unwrap_or_default();
    let limit = usize::from(limit % 64) + 1;
    let whole = frame(&[stream], limit);
    assert_eq!(whole, expected(stream, limit));
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(frame(&bytes, limit), whole, "byte by byte");
    let mut cuts = cuts.map(|cut| usize::from(cut) % (stream.len() + 1));
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts {
        pieces.push(&stream[from..cut]);
        from = cut;
    }
    pieces.push(&stream[from..]);
    assert_eq!(frame(&pieces, limit), whole, "cut at {cuts:?}");
}

fn frame(pieces: &[&[u8]], limit: usize) -> Read {
    let (mut framer, mut rest) = (Framer::default(), vec![0; limit]);
    let mut lines = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            match framer.next_line(&mut rest, &mut input) {
                Ok(Some(line)) => lines.push(line.to_vec()),
                Ok(None) => break,
                Err(error) => return Read { lines, end: Err(error) },
            }
        }
        assert!(input.is_empty(), "what is left of a read is kept");
    }
    Read { lines, end: Ok(()) }
}

/// The same by definition: split at each line feed, drop one `\r` before it, skip empty lines, stop
/// at the first overlong one.
fn expected(stream: &[u8], limit: usize) -> Read {
    let mut lines = Vec::new();
    let count = stream.split(|byte| *byte == b'\n').count();
    for (index, line) in stream.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > limit {
            return Read { lines, end: Err(LineTooLong { limit }) };
        }
        // Bytes after the last line feed are not a line yet.
        if !line.is_empty() && index + 1 < count {
            lines.push(line.to_vec());
        }
    }
    Read { lines, end: Ok(()) }
}
