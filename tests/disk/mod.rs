//! A disk that stalls or refuses writes, for one process, switched at run time by a preloaded
//! library of a few lines of C. A stalled call waits until the test releases it, so no time is
//! measured.
#![expect(clippy::disallowed_methods, reason = "a test has threads of its own, which may block")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::gateway::PATIENCE;

/// The disk of a process.
pub struct Disk {
    library: PathBuf,
    folder: PathBuf,
    /// The affected files lie below it.
    of: PathBuf,
}

impl Disk {
    /// Builds the library, in a folder beside the affected one; `None` without a C compiler, or if
    /// the program is static.
    pub fn new(folder: &Path, of: &Path) -> Option<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/disk/shim.c");
        let library = folder.join("disk.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        let is_built = compiler.arg("-ldl").status().is_ok_and(|status| status.success());
        let is_loaded = cfg!(all(target_os = "linux", not(target_feature = "crt-static")));
        let (folder, of) = (folder.to_owned(), of.to_owned());
        (is_built && is_loaded).then_some(Self { library, folder, of })
    }

    /// Sets the disk's state: `open`, `closed`, `full` or `read-only`. From the first call on, file
    /// accesses are recorded with their thread.
    pub fn be(&self, mode: &str) {
        // A rename replaces the file, so that no reader sees a partial one.
        let new = self.folder.join("mode.new");
        std::fs::write(&new, mode).unwrap();
        std::fs::rename(&new, self.folder.join("mode")).unwrap();
    }

    /// Returns the recorded accesses: thread, call, file.
    pub fn seen(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join("seen")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until a call is stalled by the disk.
    #[track_caller]
    pub fn wait_for_waiting(&self) {
        let start = Instant::now();
        while !self.seen().iter().any(|line| line.contains(" waits ")) {
            assert!(start.elapsed() < PATIENCE, "nobody waits for it: {:#?}", self.seen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the environment of a program with this disk.
    pub fn environment(&self) -> [(&'static str, &Path); 3] {
        [("LD_PRELOAD", &self.library), ("DISK_SHIM", &self.folder), ("DISK_SHIM_OF", &self.of)]
    }
}
