//! The engine in an image without an allocator.
//!
//! There is no `#[global_allocator]` and no `extern crate alloc`: if anything that [`session`]
//! reaches needed a heap, this would not link. On a board the image begins at `_start` and never
//! returns. On the host the C library calls `main`, so that the same session can also be run;
//! its exit code is 0 where every step gave what it should.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use loka_stratum::time::{Duration, Instant};

/// What a gateway asks of the engine, as far as the engine goes today.
fn session() -> bool {
    let now: Instant = black_box(Instant::from_micros(1_000_000));
    let later = now + black_box(Duration::from_secs(30));
    later > now
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Where a board begins.
#[cfg(target_os = "none")]
// SAFETY: no other function of this name is linked.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    black_box(session());
    loop {
        core::hint::spin_loop();
    }
}

/// Where the C library of the host begins.
#[cfg(not(target_os = "none"))]
// SAFETY: no other function of this name is linked; the C library passes arguments, unused here.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    i32::from(!session())
}

#[cfg(not(target_os = "none"))]
#[link(name = "c")]
// SAFETY: declares nothing; the C library gives `memcpy` and its like, and calls `main`.
unsafe extern "C" {}
