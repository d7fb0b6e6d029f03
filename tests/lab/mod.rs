//! A part of the lab as a process: a pool, a swarm, an injector.
#![allow(dead_code, reason = "each test binary uses a part of this")]
#![expect(clippy::disallowed_methods, reason = "a test may wait for a process")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::gateway::{PATIENCE, program};

/// A part of the lab that executes lines of its standard input.
pub struct Part {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Part {
    /// Starts `lab` with these words and `--control`.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        let mut command = program();
        command.arg("lab").args(args).arg("--control");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the lab starts");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, input, output }
    }

    /// Sends it a line.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the lab reads");
    }

    /// Returns the rest of the next line that begins with `word`.
    #[track_caller]
    pub fn line(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).expect("a line"), 0, "the lab ended");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Sends `command` and returns the JSON of its answer.
    #[track_caller]
    pub fn ask(&mut self, command: &str) -> Value {
        self.tell(command);
        let line = self.line("{");
        serde_json::from_str(&format!("{{{line}")).expect("it is JSON")
    }

    /// Repeats `command` until the answer meets a condition.
    #[track_caller]
    pub fn wait_for(&mut self, command: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        // Twice the patience: a thousand connections on a busy machine.
        for _ in 0..PATIENCE.as_millis() / 25 {
            last = self.ask(command);
            if is_so(&last) {
                return last;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{what} did not come: {last}");
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = writeln!(self.input, "stop");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
