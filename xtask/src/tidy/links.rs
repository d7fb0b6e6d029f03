//! References of documents: linked files and headings, and named tests, must exist.

use super::{Finding, Source};

/// Checks one document; `paths` are all files of the repository, `sources` its text files.
pub fn check(path: &str, text: &str, sources: &[Source], paths: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() { path.to_owned() } else { resolve(path, file) };
        let is_folder = paths.iter().any(|known| known.starts_with(&format!("{file}/")));
        if !is_folder && !paths.contains(&file) {
            findings.push(Finding::new(path, number, format!("link to {file}, which is not here")));
            continue;
        }
        if heading.is_empty() || !file.ends_with(".md") {
            continue;
        }
        let has_heading = sources
            .iter()
            .find(|source| source.path == file)
            .is_some_and(|source| headings(&source.text).any(|known| known == heading));
        if !has_heading {
            let message = format!("link to #{heading}, which {file} does not have");
            findings.push(Finding::new(path, number, message));
        }
    }
    findings
}

/// Checks that the tests in the last column of a numbered table exist.
pub fn check_tests(path: &str, text: &str, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in prose(text) {
        let is_row = line.strip_prefix("| ").is_some_and(|row| row.starts_with(char::is_numeric));
        let column = line.trim_end_matches(['|', ' ']).rsplit("| ").next();
        let Some(column) = column.filter(|_| is_row && !line.ends_with("| |")) else { continue };
        for name in column.split('`').skip(1).step_by(2) {
            let definition = format!("fn {name}(");
            let mut code = sources.iter().filter(|source| source.path.ends_with(".rs"));
            if !code.any(|source| source.text.contains(&definition)) {
                findings.push(Finding::new(path, number, format!("no test is called {name}")));
            }
        }
    }
    findings
}

/// The targets of `[text](target)`, with their lines, outside of code blocks.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        for (at, _) in line.match_indices("](") {
            let target = line.get(at + 2..).and_then(|rest| rest.split(')').next());
            if let Some(target) = target.and_then(|target| target.split(' ').next()) {
                found.push((number, target));
            }
        }
    }
    found
}

/// The headings of a document, as link fragments.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        line.trim_start_matches('#')
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|letter| match letter {
                ' ' => Some('-'),
                '-' | '_' => Some(letter),
                letter => letter.is_alphanumeric().then_some(letter),
            })
            .collect()
    })
}

/// The lines outside of code blocks, counted from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!in_code && !fence).then_some((index + 1, line))
    })
}

/// Resolves `target`, relative to the document at `path`.
fn resolve(path: &str, target: &str) -> String {
    let mut pieces: Vec<&str> = path.split('/').collect();
    pieces.pop();
    for piece in target.trim_end_matches('/').split('/') {
        match piece {
            "." => {}
            ".." => {
                pieces.pop();
            }
            piece => pieces.push(piece),
        }
    }
    pieces.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let paths = ["README.md", "docs/a.md", "src/wire/mod.rs"].map(str::to_owned);
        let source =
            Source { path: "README.md".to_owned(), text: "# What `it` is, 1\n".to_owned() };
        let found = check("docs/a.md", text, &[source], &paths);
        found.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn passes_what_exists() {
        let text = "[a](../README.md), [b](../src/wire/), [c](../README.md#what-it-is-1)\n\
                    [d](a.md) [e](https://example.com/none)\n```\n[f](none.md)\n```\n";
        assert_eq!(findings(text), [""; 0]);
    }

    #[test]
    fn finds_tests_that_are_not_there() {
        let source = Source { path: "src/a.rs".to_owned(), text: "fn there() {}\n".to_owned() };
        let text = "| | seen | held by |\n| 1 | `x` \\| y | `there`, `gone` |\n| 2 | `z` | |\n";
        let found = check_tests("docs/a.md", text, &[source]);
        assert_eq!(found, [Finding::new("docs/a.md", 2, "no test is called gone")]);
    }

    #[test]
    fn finds_what_does_not() {
        assert_eq!(findings("[a](none.md)\n"), ["link to docs/none.md, which is not here"]);
        let heading = "link to #none, which README.md does not have";
        assert_eq!(findings("[a](../README.md#none)\n"), [heading]);
    }
}
