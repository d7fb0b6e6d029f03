//! The engine in an image without an allocator, serving a recorded session.
//!
//! There is no `#[global_allocator]` and no `extern crate alloc`: if code reached by [`replay`]
//! needed a heap, the image would not link. It serves `session.txt`, prints each verdict, and
//! compares every byte of the engine's output with the recording. On a board it starts in [`board`]
//! and prints by semihosting. On the host the C library calls `main`, so that the same session runs
//! there too. Its exit code is 0 if every line was as recorded.
#![no_std]
#![no_main]

#[cfg(target_os = "none")]
mod board;
#[cfg(not(target_os = "none"))]
#[path = "host.rs"]
mod board;
mod replay;

use core::fmt::Write;
use core::panic::PanicInfo;

use board::Console;

/// Serves the session and prints the result; returns the exit code.
fn run() -> i32 {
    let mut console = Console;
    let result = replay::session(&mut console);
    let _ = match result {
        Ok(()) => writeln!(console, "the session went as recorded"),
        Err(what) => writeln!(console, "FAILED: {what}"),
    };
    i32::from(result.is_err())
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    let _ = Console.write_str("FAILED: panic\n");
    board::end(1)
}
