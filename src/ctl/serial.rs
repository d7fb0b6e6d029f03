//! A gateway at the other end of a serial line ([`loka_stratum::frame`]).
//!
//! A request without an answer is repeated with the same sequence number, so it is not carried out
//! twice. If no answer ever comes it is reported as lost; whether it was carried out is then
//! unknown.

use std::io;
use std::path::Path;
use std::time::Duration;

use loka_stratum::control::{Item, Request};
use loka_stratum::frame::{self, Body, Frame, Received, Receiver, WIRE_BYTES_MAX};
use serial2_tokio::SerialPort;
use tokio::time::timeout;

use super::CtlError;

/// Silence after which a request is repeated.
const SILENCE: Duration = Duration::from_secs(3);

/// Most tries of a request.
const TRIES: u32 = 6;

/// Most tries of a pool test, which waits for name resolution, connection and TLS.
const TRIES_TEST: u32 = 20;

/// A gateway at the other end of a serial line.
pub struct SerialWay {
    port: SerialPort,
    receiver: Receiver,
    seq: u32,
}

/// The parts of an answer received so far.
#[derive(Default)]
struct Heard {
    /// Items handed out.
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
        // A random start, since the gateway remembers the last number of another tool.
        getrandom::fill(&mut seq).map_err(|error| CtlError::Lost(error.to_string()))?;
        Ok(Self { port, receiver: Receiver::new(), seq: u32::from_le_bytes(seq) })
    }

    /// Sends a request and hands each part of the answer to `out`.
    ///
    /// # Errors
    ///
    /// The gateway refused it, or no whole answer came.
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

    /// Returns the end of the answer; `None` if the request must be repeated.
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
                        // A repeated part, or a part after a gap, comes again.
                        if index == heard.items {
                            heard.items += 1;
                            out(item);
                        }
                        continue;
                    }
                    // Our own request, echoed by the line.
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
