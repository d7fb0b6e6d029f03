//! A disk that stalls or takes nothing, for one process and switched while it runs, by a library
//! of a few lines of C that is loaded before the system's. What waits for it waits until the test
//! says so, so that no time is measured.
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
    /// The files that are meant lie below it.
    of: PathBuf,
}

impl Disk {
    /// Builds the library, in a folder beside the one whose files are meant; none where there is
    /// no C compiler, or the program loads no libraries.
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

    /// Sets what the disk is like: `open`, `closed`, `full` or `read-only`. From the first time on
    /// it is written down who touches a file.
    pub fn be(&self, mode: &str) {
        // Another file in its place, so that no reader sees half of it.
        let new = self.folder.join("mode.new");
        std::fs::write(&new, mode).unwrap();
        std::fs::rename(&new, self.folder.join("mode")).unwrap();
    }

    /// Returns the lines of what was seen: the thread, the call, the file.
    pub fn seen(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join("seen")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until somebody waits for the disk.
    #[track_caller]
    pub fn wait_for_waiting(&self) {
        let start = Instant::now();
        while !self.seen().iter().any(|line| line.contains(" waits ")) {
            assert!(start.elapsed() < PATIENCE, "nobody waits for it: {:#?}", self.seen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the environment of a program that has this disk.
    pub fn environment(&self) -> [(&'static str, &Path); 3] {
        [("LD_PRELOAD", &self.library), ("DISK_SHIM", &self.folder), ("DISK_SHIM_OF", &self.of)]
    }
}
