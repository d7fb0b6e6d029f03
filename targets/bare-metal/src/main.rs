//! The engine in an image without an allocator, with a recorded session to serve.
//!
//! There is no `#[global_allocator]` and no `extern crate alloc`: if anything that [`replay`]
//! reaches needed a heap, this would not link. The image serves `session.txt`, prints each verdict,
//! and wants every byte of the engine's to be the one that was recorded. On a board it begins in
//! [`board`] and prints by semihosting; on the host the C library calls `main`, so that the same
//! session can also be run there. It ends with 0 where every line was as recorded.
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

/// Serves the session and prints what came of it; returns the code to end with.
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
