//! Rules for the project's Rust: names, documents, lengths.
//!
//! The text is read line by line, in rustfmt's layout and without a parser; `cargo fmt --check`
//! guarantees that layout.

use super::Finding;

/// Forbidden endings of type names (N5).
const VAGUE_ENDINGS: [&str; 10] = [
    "Manager",
    "Handler",
    "Service",
    "Factory",
    "Processor",
    "Helper",
    "Util",
    "Impl",
    "Wrapper",
    "Base",
];

/// Words that introduce the name of a type.
const TYPE_WORDS: [&str; 5] = ["struct", "enum", "union", "trait", "type"];

/// Longest line, in characters (D6).
const LINE_CHARS_MAX: usize = 100;

/// A line may be longer if it has an unbreakable piece of this length: a link, a recorded message.
const UNBREAKABLE_CHARS_MIN: usize = 50;

/// Longest function, in lines from its `fn` to its closing brace (D6).
const FUNCTION_LINES_MAX: usize = 70;

/// Returns whether a file is the project's own Rust.
pub fn is_ours(path: &str) -> bool {
    let folders = ["src/", "xtask/", "targets/", "tests/", "benches/", "fuzz/"];
    path.ends_with(".rs") && folders.iter().any(|folder| path.starts_with(folder))
}

/// Checks one file.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Tests in a separate file share their module's documents.
    if !text.trim_start().starts_with("//!") && !path.ends_with("/tests.rs") {
        let message = "a module opens with //!: what it does, what it does not, its source (D1)";
        findings.push(Finding::new(path, 1, message));
    }
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let Some(name) = type_name(line)
            && let Some(ending) = VAGUE_ENDINGS.iter().find(|ending| name.ends_with(**ending))
        {
            let message = format!("{name}: a type's name does not end in {ending} (N5)");
            findings.push(Finding::new(path, number, message));
        }
        if line.chars().count() > LINE_CHARS_MAX && !is_unbreakable(line) {
            let message = format!("longer than {LINE_CHARS_MAX} characters (D6)");
            findings.push(Finding::new(path, number, message));
        }
        if is_ignored_test(line) {
            findings.push(Finding::new(path, number, "a test that never runs (T7)"));
        }
    }
    findings
}

/// The functions of a file above the length limit: a note, not an error, since a long `match` may
/// be the clearest form.
pub fn long_functions(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut open: Vec<(&str, &str, usize)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let rest = line.trim_start_matches(' ');
        let indent = line.get(..line.len() - rest.len()).unwrap_or_default();
        if let Some(name) = function_name(rest)
            && !rest.ends_with(['}', ';'])
        {
            open.push((indent, name, index));
        }
        let closes = rest == "}" || rest == ";" || rest.starts_with("where") && rest.ends_with(';');
        if closes && open.last().is_some_and(|(at, ..)| *at == indent) {
            let (_, name, start) = open.pop().unwrap_or_default();
            let lines = index + 1 - start;
            if lines > FUNCTION_LINES_MAX {
                let message = format!("fn {name} has {lines} lines of {FUNCTION_LINES_MAX} (D6)");
                findings.push(Finding::new(path, start + 1, message));
            }
        }
    }
    findings
}

/// The name of the function that begins on this line.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split(' ');
    loop {
        match words.next()? {
            "fn" => break,
            "pub" | "const" | "async" | "unsafe" | "extern" | "\"C\"" | "default" => {}
            word if word.starts_with("pub(") => {}
            _ => return None,
        }
    }
    words.next()?.split(['(', '<']).next()
}

/// The name of the type that begins on this line.
fn type_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start().split(' ').skip_while(|word| word.starts_with("pub"));
    let word = words.next()?;
    if !TYPE_WORDS.contains(&word) {
        return None;
    }
    words.next()?.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

/// Returns whether a long line cannot be broken at a space, has an unbreakable text, or is a row of
/// a table.
fn is_unbreakable(line: &str) -> bool {
    let start = line.trim_start();
    line.contains('"')
        || start.starts_with("//! |")
        || start.starts_with("/// |")
        || line.split_whitespace().any(|piece| piece.chars().count() >= UNBREAKABLE_CHARS_MIN)
}

fn is_ignored_test(line: &str) -> bool {
    line.trim_start().starts_with("#[ignore")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_found(text: &str, word: &str) {
        let findings = check("src/a.rs", text);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings.iter().all(|finding| finding.message.contains(word)), "{findings:?}");
    }

    #[test]
    fn finds_a_module_without_documents() {
        assert_found("use core::fmt;\n", "(D1)");
    }

    #[test]
    fn finds_vague_names() {
        assert_found("//! A.\npub struct LineHandler<'a> {\n", "LineHandler");
        assert_found("//! A.\n    trait LinkBase {}\n", "LinkBase");
        assert_found("//! A.\npub(crate) enum JobManager {\n", "JobManager");
        assert_eq!(check("src/a.rs", "//! A.\nfn handle() { let x = HandlerOf; }\n"), []);
        assert_eq!(check("src/a.rs", "//! A.\nstruct Database;\n"), []);
    }

    #[test]
    fn finds_long_lines_that_could_be_broken() {
        assert_found(&format!("//! A.\n// {}\n", "word ".repeat(20)), "(D6)");
        assert_eq!(check("src/a.rs", &format!("//! A.\n// {}\n", "f".repeat(200))), []);
        let text = format!("//! A.\nconst A: &str = \"{}\";\n", "word ".repeat(20));
        assert_eq!(check("src/a.rs", &text), []);
    }

    #[test]
    fn finds_tests_that_never_run() {
        assert_found("//! A.\n    #[ignore = \"slow\"]\n", "(T7)");
    }

    #[test]
    fn measures_functions() {
        let body = "        step();\n".repeat(FUNCTION_LINES_MAX - 2);
        let fits =
            format!("//! A.\nimpl A {{\n    pub const fn fits(&self) {{\n{body}    }}\n}}\n");
        assert_eq!(long_functions("src/a.rs", &fits), []);
        let long =
            fits.replace("        step();\n    }", "        step();\n        step();\n    }");
        let findings = long_functions("src/a.rs", &long);
        let message = "fn fits has 71 lines of 70 (D6)";
        assert_eq!(findings, [Finding::new("src/a.rs", 3, message)]);
    }
}
