//! A gateway at the other end of a serial line ([`loka_stratum::frame`]).
//!
//! A question that is not answered is asked again under the same number, so it is not carried out
//! twice; one that is never answered is reported as lost, and nobody knows then whether it was
//! carried out.

use std::io;
use std::path::Path;
use std::time::Duration;

use loka_stratum::control::{Item, Request};
use loka_stratum::frame::{self, Body, Frame, Received, Receiver, WIRE_BYTES_MAX};
use serial2_tokio::SerialPort;
use tokio::time::timeout;

use super::CtlError;

/// Time without anything of an answer, after which it is asked for again.
const SILENCE: Duration = Duration::from_secs(3);

/// How often a question is asked at most.
const TRIES: u32 = 6;

/// How often it is where the gateway has to wait for others: for a pool that is tried, whose name,
/// connection and TLS may take their time.
const TRIES_TEST: u32 = 20;

/// A gateway at the other end of a serial line.
pub struct SerialWay {
    port: SerialPort,
    receiver: Receiver,
    seq: u32,
}

/// What has come of an answer.
#[derive(Default)]
struct Heard {
    /// Items that were handed on.
    items: u16,
}

impl SerialWay {
    /// Opens a port.
    ///
    /// # Errors
    ///
    /// The system's, with the path.
    pub fn open(path: &Path, baud: u32) -> Result<Self, CtlError> {
        let lost = |error: io::Error| CtlError::Lost(format!("{}: {error}", path.display()));
        let port = SerialPort::open(path, baud).map_err(lost)?;
        let mut seq = [0; 4];
        // Another tool's last number is remembered at the other end.
        getrandom::fill(&mut seq).map_err(|error| CtlError::Lost(error.to_string()))?;
        Ok(Self { port, receiver: Receiver::new(), seq: u32::from_le_bytes(seq) })
    }

    /// Asks, and hands each part of the answer to `out`.
    ///
    /// # Errors
    ///
    /// It was refused, or no whole answer came.
    pub async fn ask(
        &mut self,
        request: &Request<'_>,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Result<(), CtlError> {
        self.seq = self.seq.wrapping_add(1);
        let mut wire = [0; WIRE_BYTES_MAX];
        let bytes = frame::encode(self.seq, &Body::Request(*request), &mut wire)
            .map_err(|error| CtlError::Usage(error.to_string()))?;
        let tries = if matches!(request, Request::Test { .. }) { TRIES_TEST } else { TRIES };
        let mut heard = Heard::default();
        for _ in 0..tries {
            let written = timeout(SILENCE, self.port.write_all(bytes)).await;
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(CtlError::Lost(error.to_string())),
                Err(_) => continue,
            }
            if let Some(end) = self.listen(&mut heard, out).await? {
                return end;
            }
        }
        let text = format!(
            "no answer in {tries} tries: is it the right port, at the right speed, and has the \
             gateway its console there (serial.device)? Whether it was done is not known"
        );
        Err(CtlError::Lost(text))
    }

    /// Returns the end of the answer; none where it has to be asked for again.
    async fn listen(
        &mut self,
        heard: &mut Heard,
        out: &mut dyn FnMut(Item<'_>),
    ) -> Result<Option<Result<(), CtlError>>, CtlError> {
        let mut bytes = [0; 512];
        loop {
            let Ok(count) = timeout(SILENCE, self.port.read(&mut bytes)).await else {
                return Ok(None);
            };
            let count = count.map_err(|error| CtlError::Lost(error.to_string()))?;
            if count == 0 {
                return Err(CtlError::Lost("the port is gone".to_owned()));
            }
            for byte in bytes.get(..count).unwrap_or_default() {
                let Received::Frame(Frame { seq, body }) = self.receiver.handle_byte(*byte) else {
                    continue;
                };
                if seq != self.seq {
                    continue;
                }
                let items = match body {
                    Ok(Body::Item { index, item }) => {
                        // A part that came before, or that one before it is missing for, will come
                        // again.
                        if index == heard.items {
                            heard.items += 1;
                            out(item);
                        }
                        continue;
                    }
                    // What we sent, from a line that gives it back.
                    Ok(Body::Request(_)) => continue,
                    Ok(Body::Done { items } | Body::Refused { items, .. }) => items,
                    Err(error) => return Err(CtlError::Lost(error.to_string())),
                };
                if items != heard.items {
                    return Ok(None);
                }
                return Ok(Some(match body {
                    Ok(Body::Refused { why, .. }) => {
                        Err(CtlError::Refused(why.with_text(str::to_owned)))
                    }
                    _ => Ok(()),
                }));
            }
        }
    }
}
