//! The clocks of a process, changed at run time by a preloaded library of a few lines of C. The
//! program and the machine's clocks stay unchanged.
#![allow(dead_code, reason = "each test binary uses a part of this")]
#![expect(clippy::disallowed_methods, reason = "the clock that a process is to be ahead of")]

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clocks of a process.
pub struct Clock {
    library: PathBuf,
    shifts: PathBuf,
    /// Seconds that are added to the wall clock.
    wall: Cell<i64>,
    /// Seconds that are added to the monotonic clocks.
    passed: Cell<u64>,
}

impl Clock {
    /// Builds the library; `None` without a C compiler, or if the program is static.
    pub fn new(folder: &Path) -> Option<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clock/shim.c");
        let library = folder.join("clock.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        let is_built = compiler.arg("-ldl").status().is_ok_and(|status| status.success());
        let is_loaded = cfg!(all(target_os = "linux", not(target_feature = "crt-static")));
        let (wall, passed) = (Cell::new(0), Cell::new(0));
        let shifts = folder.join("shifts");
        (is_built && is_loaded).then_some(Self { library, shifts, wall, passed })
    }

    /// Sets the wall clock to a time since 1970.
    pub fn set(&self, secs: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        self.wall.set(secs - now);
        self.write();
    }

    /// Advances every clock.
    pub fn pass(&self, time: Duration) {
        self.wall.set(self.wall.get() + time.as_secs() as i64);
        self.passed.set(self.passed.get() + time.as_secs());
        self.write();
    }

    fn write(&self) {
        // A rename replaces the file, so that no reader sees a partial one.
        let new = self.shifts.with_extension("new");
        std::fs::write(&new, format!("{} {}", self.wall.get(), self.passed.get())).unwrap();
        std::fs::rename(&new, &self.shifts).unwrap();
    }

    /// Returns the environment of a program with these clocks.
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("CLOCK_SHIM", &self.shifts)]
    }
}
