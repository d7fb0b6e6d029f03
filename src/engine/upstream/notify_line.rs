//! The one encoded notify of a link, for all its miners.
//!
//! Three parts differ between miners and are filled in on writing: the pad after the extranonce1,
//! the ntime, and `clean_jobs` at the end. The job id has a fixed place and length, so that a new
//! announcement rewrites eight digits only.
//!
//! While no notify is encoded, the memory keeps a notify that came before its extranonce1.

use crate::limits::{NOTIFY_LINE_BYTES_MAX, UPSTREAM_LINE_BYTES_MAX};
use crate::wire::hex;
use crate::wire::server::Notify;
use crate::wire::writer::{Full, Writer};
use crate::work::header::NTime;
use crate::work::job::Serial;

/// The front of every notify, up to the job id.
const HEAD: &[u8] = b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"";

const _: () = assert!(NOTIFY_LINE_BYTES_MAX > UPSTREAM_LINE_BYTES_MAX);

/// An encoded notify without the miner's own parts.
#[derive(Debug)]
pub(super) struct NotifyLine<'a> {
    bytes: &'a mut [u8],
    len: usize,
    /// Offset of the pad.
    pad_at: usize,
    /// Length of an early line of the pool kept in the memory, to be read later.
    early: usize,
}

impl<'a> NotifyLine<'a> {
    /// Takes the memory, at most [`NOTIFY_LINE_BYTES_MAX`] bytes; no line is encoded yet.
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0, pad_at: 0, early: 0 }
    }

    /// Says whether no line is encoded.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops the encoded line.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Keeps a pool's line until [`Self::take_early`], unless a notify is encoded.
    pub(super) fn keep_early(&mut self, line: &[u8]) {
        if let (true, Some(place)) = (self.is_empty(), self.bytes.get_mut(..line.len())) {
            place.copy_from_slice(line);
            self.early = line.len();
        }
    }

    /// Drops the kept early line.
    pub(super) fn forget_early(&mut self) {
        self.early = 0;
    }

    /// Returns the kept early line; `None` if it is longer than `N` bytes.
    pub(super) fn take_early<const N: usize>(&mut self) -> Option<heapless::Vec<u8, N>> {
        let early = core::mem::take(&mut self.early);
        let line = self.bytes.get(..early).filter(|line| !line.is_empty())?;
        heapless::Vec::from_slice(line).ok()
    }

    /// Drops the line and lends its memory until the next line is encoded.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        self.clear();
        self.forget_early();
        self.bytes
    }

    /// Encodes the notify up to its ntime.
    pub(super) fn encode(
        &mut self,
        notify: &Notify<'_>,
        extranonce1: &[u8],
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
        let pad_at = out.len();
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
        self.len = out.len();
        self.pad_at = pad_at;
        Ok(())
    }

    /// Writes another job id into the line; `None` if no line is encoded.
    pub(super) fn renew(&mut self, serial: Serial) -> Option<()> {
        let line = self.bytes.get_mut(..self.len)?;
        line.get_mut(HEAD.len()..HEAD.len().saturating_add(8))?.copy_from_slice(&serial.digits());
        Some(())
    }

    /// Writes the line with a miner's own parts.
    pub(super) fn write(
        &self,
        pad: &[u8],
        ntime: NTime,
        clean: bool,
        out: &mut Writer<'_>,
    ) -> Result<(), Full> {
        let (front, rest) = self.parts();
        out.push(front)?;
        hex::encode_into(pad, out)?;
        out.push(rest)?;
        out.push(&hex::digits(ntime.0))?;
        out.push(if clean { b"\",true]}\n" } else { b"\",false]}\n" })
    }

    /// Writes the line under another job id, never clean.
    pub(super) fn write_as(
        &self,
        serial: Serial,
        pad: &[u8],
        ntime: NTime,
        out: &mut Writer<'_>,
    ) -> Result<(), Full> {
        let (front, rest) = self.parts();
        out.push(HEAD)?;
        out.push(&serial.digits())?;
        out.push(front.get(HEAD.len().saturating_add(8)..).unwrap_or(&[]))?;
        hex::encode_into(pad, out)?;
        out.push(rest)?;
        out.push(&hex::digits(ntime.0))?;
        out.push(b"\",false]}\n")
    }

    /// The parts before and after a miner's pad, up to the ntime.
    fn parts(&self) -> (&[u8], &[u8]) {
        let line = self.bytes.get(..self.len).unwrap_or(&[]);
        line.split_at_checked(self.pad_at).unwrap_or((line, &[]))
    }
}
