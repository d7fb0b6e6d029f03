//! The rules of CONTRIBUTING.md that a program can check, in well under a second.
//!
//! Every check is a function from a file's path and text to findings. Each has a test with a faulty
//! text, so a check that finds nothing any more is noticed.

mod cases;
mod layout;
mod links;
mod locks;
mod rooms;
mod rust;
mod text;

use std::fmt;

use crate::{process, targets};

/// A fault with its place and its remedy.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    path: String,
    /// Counted from 1; 0 for a finding about the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// A text file of the repository.
struct Source {
    path: String,
    text: String,
}

/// Checks all files that are tracked, or new and not ignored.
///
/// # Errors
///
/// The number of printed findings.
pub fn run() -> Result<(), String> {
    let paths = paths()?;
    let sources = read(&paths)?;
    let mut findings = Vec::new();
    let mut notes = Vec::new();
    for source in &sources {
        let Source { path, text } = source;
        findings.extend(text::check(path, text));
        findings.extend(rooms::check(source));
        if rust::is_ours(path) {
            findings.extend(rust::check(path, text));
            notes.extend(rust::long_functions(path, text));
        }
        if path.ends_with(".md") {
            findings.extend(links::check(path, text, &sources, &paths));
            findings.extend(links::check_tests(path, text, &sources));
        }
    }
    findings.extend(cases::check(&sources));
    findings.extend(layout::check(&paths));
    findings.extend(locks::check(&sources));
    findings.extend(targets::disagreements().into_iter().map(|(path, message)| Finding {
        path,
        line: 0,
        message,
    }));
    for note in &notes {
        println!("note: {note}");
    }
    for finding in &findings {
        println!("{finding}");
    }
    println!("{} files, {} findings, {} notes", paths.len(), findings.len(), notes.len());
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("tidy: {count} findings")),
    }
}

/// All files that are tracked, or new and not ignored, and that still exist.
fn paths() -> Result<Vec<String>, String> {
    let mut git = process::command("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let mut paths: Vec<String> =
        process::output(&mut git)?.split_terminator('\0').map(str::to_owned).collect();
    paths.retain(|path| process::root().join(path).is_file());
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Reads the text files among `paths`; a file with a NUL or invalid UTF-8 is data.
fn read(paths: &[String]) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for path in paths {
        let bytes = std::fs::read(process::root().join(path))
            .map_err(|error| format!("{path}: {error}"))?;
        if bytes.contains(&0) {
            continue;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source { path: path.clone(), text });
        }
    }
    Ok(sources)
}
