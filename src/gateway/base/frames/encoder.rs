//! The sink of defmt's macros: one frame at a time, into memory.

#![expect(unsafe_code, reason = "defmt asks for an unsafe trait; nothing here needs unsafe itself")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use loka_stratum::limits::EVENT_FRAME_BYTES_MAX;

use crate::gateway::base::clock;

/// Held from the start of a frame to its end, which are two calls.
static IS_WRITTEN: AtomicBool = AtomicBool::new(false);

static FRAME: Mutex<Frame> =
    Mutex::new(Frame { encoder: defmt::Encoder::new(), bytes: heapless::Vec::new(), fits: true });

struct Frame {
    encoder: defmt::Encoder,
    bytes: heapless::Vec<u8, EVENT_FRAME_BYTES_MAX>,
    fits: bool,
}

impl Frame {
    fn encode(&mut self, step: impl FnOnce(&mut defmt::Encoder, &mut dyn FnMut(&[u8]))) {
        let Self { encoder, bytes, fits } = self;
        step(encoder, &mut |part| *fits &= bytes.extend_from_slice(part).is_ok());
    }
}

fn with_frame(what: impl FnOnce(&mut Frame)) {
    what(&mut FRAME.lock().unwrap_or_else(PoisonError::into_inner));
}

#[defmt::global_logger]
struct Encoder;

// SAFETY: one frame is written at a time, by the thread that set `IS_WRITTEN`.
unsafe impl defmt::Logger for Encoder {
    fn acquire() {
        while IS_WRITTEN.swap(true, Ordering::Acquire) {
            std::thread::yield_now();
        }
        with_frame(|frame| {
            frame.bytes.clear();
            frame.fits = true;
            frame.encode(|encoder, write| encoder.start_frame(write));
        });
    }

    unsafe fn flush() {}

    unsafe fn release() {
        with_frame(|frame| {
            frame.encode(|encoder, write| encoder.end_frame(write));
            if frame.fits {
                super::keep(&frame.bytes);
            }
        });
        IS_WRITTEN.store(false, Ordering::Release);
    }

    unsafe fn write(bytes: &[u8]) {
        with_frame(|frame| frame.encode(|encoder, write| encoder.write(bytes, write)));
    }
}

// Every 32-bit count of seconds is a time that decoders can show.
defmt::timestamp!("{=u32:iso8601s}", u32::try_from(clock::wall().as_secs()).unwrap_or(u32::MAX));
