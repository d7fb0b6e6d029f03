//! Prints the lines of command-line verbs on standard output and standard error; their exit code.

use std::fmt;
use std::io::{self, Write};

/// Exit code for wrong flags or settings.
pub const USAGE: u8 = 2;

/// Prints a line on standard output; a closed pipe is ignored.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line on standard error; a closed pipe is ignored.
pub fn say_error(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
