//! The one encoded notify of a link, the same bytes for all its miners.
//!
//! The line ends before its last parameter: `clean_jobs` differs from miner to miner, by what each
//! was told before. Job id and ntime have fixed places and lengths, so that announcing the job once
//! more writes sixteen digits and nothing else.
//!
//! While there is none, its memory keeps a notify that came before its extranonce1 did.

use crate::limits::{NOTIFY_LINE_BYTES_MAX, UPSTREAM_LINE_BYTES_MAX};
use crate::wire::hex;
use crate::wire::server::Notify;
use crate::wire::writer::{Full, Writer};
use crate::work::header::NTime;
use crate::work::job::Serial;

/// The front of every notify, up to the job id.
const HEAD: &[u8] = b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"";
/// What stands between the ntime and the clean flag.
const END: &[u8] = b"\",";

const _: () = assert!(NOTIFY_LINE_BYTES_MAX > UPSTREAM_LINE_BYTES_MAX);

/// A notify that is ready to be sent, but for its clean flag.
#[derive(Debug)]
pub(super) struct NotifyLine<'a> {
    bytes: &'a mut [u8],
    len: usize,
    /// Bytes of a line of the pool that stands here, to be read later.
    early: usize,
}

impl<'a> NotifyLine<'a> {
    /// Takes the memory, at most [`NOTIFY_LINE_BYTES_MAX`]; there is no line yet.
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0, early: 0 }
    }

    /// Says whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops the line.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Keeps a line of the pool until [`Self::take_early`], where no notify is in the way.
    pub(super) fn keep_early(&mut self, line: &[u8]) {
        if let (true, Some(place)) = (self.is_empty(), self.bytes.get_mut(..line.len())) {
            place.copy_from_slice(line);
            self.early = line.len();
        }
    }

    /// Drops the line that was kept.
    pub(super) fn forget_early(&mut self) {
        self.early = 0;
    }

    /// Returns the line that was kept last; none where it is longer than `N` bytes.
    pub(super) fn take_early<const N: usize>(&mut self) -> Option<heapless::Vec<u8, N>> {
        let early = core::mem::take(&mut self.early);
        let line = self.bytes.get(..early).filter(|line| !line.is_empty())?;
        heapless::Vec::from_slice(line).ok()
    }

    /// Drops the line and lends its memory, until the next is encoded.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        self.clear();
        self.forget_early();
        self.bytes
    }

    /// Encodes the notify up to its last parameter, with `pad` zero bytes behind the extranonce1.
    pub(super) fn encode(
        &mut self,
        notify: &Notify<'_>,
        extranonce1: &[u8],
        pad: usize,
        serial: Serial,
    ) -> Result<(), Full> {
        self.clear();
        self.forget_early();
        let mut out = Writer::new(self.bytes);
        out.push(HEAD)?;
        out.push(&serial.digits())?;
        out.push(b"\",\"")?;
        out.push(notify.prev_hash)?;
        out.push(b"\",\"")?;
        out.push(notify.coinb1)?;
        hex::encode_into(extranonce1, &mut out)?;
        for _ in 0..pad {
            out.push(b"00")?;
        }
        out.push(b"\",\"")?;
        out.push(notify.coinb2)?;
        out.push(b"\",[")?;
        for (index, branch) in notify.branches.iter().enumerate() {
            out.push(if index == 0 { b"\"" } else { b",\"" })?;
            out.push(branch)?;
            out.push(b"\"")?;
        }
        out.push(b"],\"")?;
        for number in [notify.version, notify.nbits] {
            out.push(&hex::digits(number))?;
            out.push(b"\",\"")?;
        }
        out.push(&hex::digits(notify.ntime))?;
        out.push(END)?;
        self.len = out.len();
        Ok(())
    }

    /// Puts another job id and ntime into the line; `None` where there is no line.
    pub(super) fn renew(&mut self, serial: Serial, ntime: NTime) -> Option<()> {
        let line = self.bytes.get_mut(..self.len)?;
        let ntime_end = line.len().checked_sub(END.len())?;
        let ntime_at = ntime_end.checked_sub(8)?;
        line.get_mut(HEAD.len()..HEAD.len().saturating_add(8))?.copy_from_slice(&serial.digits());
        line.get_mut(ntime_at..ntime_end)?.copy_from_slice(&hex::digits(ntime.0));
        Some(())
    }

    /// Writes the line with its clean flag.
    pub(super) fn write(&self, clean: bool, out: &mut Writer<'_>) -> Result<(), Full> {
        out.push(self.bytes.get(..self.len).unwrap_or(&[]))?;
        out.push(if clean { b"true]}\n" } else { b"false]}\n" })
    }
}
