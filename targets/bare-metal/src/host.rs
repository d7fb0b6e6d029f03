//! The host in place of a board: its C library calls `main` and prints.

use core::ffi::{c_int, c_void};
use core::fmt;

/// Standard output.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the text is valid for reads of its length.
        let written = unsafe { write(1, text.as_ptr().cast(), text.len()) };
        if written < 0 { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Ends the program.
pub fn end(code: i32) -> ! {
    // SAFETY: takes any code, and runs nothing of this program.
    unsafe { _exit(code) }
}

// SAFETY: no other function of this name is linked; the C library passes arguments, unused here.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    crate::run()
}

#[link(name = "c")]
// SAFETY: as the C library declares them. It also gives `memcpy` and its like, and calls `main`.
unsafe extern "C" {
    fn write(file: c_int, bytes: *const c_void, count: usize) -> isize;
    fn _exit(code: c_int) -> !;
}
