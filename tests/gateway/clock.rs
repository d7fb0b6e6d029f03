//! The clocks of a process under test, moved by a library of a few lines of C that is loaded before
//! the system's; the program and the machine's clocks are as they always are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The clocks of a process.
pub struct Clocks {
    library: PathBuf,
    wall: PathBuf,
    steady: PathBuf,
}

impl Clocks {
    /// Builds the library; none where there is no C compiler, or the program loads no libraries.
    pub fn new(folder: &Path) -> Option<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/clock_shim.c");
        let library = folder.join("clock.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        let is_built = compiler.arg("-ldl").status().is_ok_and(|status| status.success());
        let is_loaded = cfg!(all(target_os = "linux", not(target_feature = "crt-static")));
        let (wall, steady) = (folder.join("shift"), folder.join("steady"));
        (is_built && is_loaded).then_some(Self { library, wall, steady })
    }

    /// Sets the wall clock to a time since 1970.
    pub fn set(&self, secs: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        shift(&self.wall, secs - now);
    }

    /// Lets the monotonic clock be so many seconds ahead of the machine's.
    pub fn be_ahead(&self, secs: i64) {
        shift(&self.steady, secs);
    }

    /// Returns the environment of the process.
    pub fn environment(&self) -> [(&'static str, &Path); 3] {
        [
            ("LD_PRELOAD", &self.library),
            ("CLOCK_SHIM", &self.wall),
            ("CLOCK_SHIM_STEADY", &self.steady),
        ]
    }
}

/// Puts another file in the place of one, so that no reader sees half of it.
fn shift(file: &Path, secs: i64) {
    let new = file.with_extension("new");
    std::fs::write(&new, secs.to_string()).unwrap();
    std::fs::rename(&new, file).unwrap();
}
