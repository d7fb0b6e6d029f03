//! Compares the table of cases in `docs/reliability.md` with the tests. Each case has one row, each
//! test named in a row is in the row's file, and each test with a case in its name is in that
//! case's row.
//!
//! It does not judge whether a test suffices for its case.

use super::{Finding, Source};

const DOCUMENT: &str = "docs/reliability.md";

/// The last case of abuse; the first is F01.
const CASES: usize = 87;

/// A row of a table: its case (`F07`) or invariant (`I4`), and the tests in its last column.
struct Row<'a> {
    line: usize,
    name: &'a str,
    /// Pairs of file and test.
    tests: Vec<(&'a str, &'a str)>,
}

/// Compares the document with the tests in `sources`.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(document) = sources.iter().find(|source| source.path == DOCUMENT) else {
        return vec![Finding::new(DOCUMENT, 0, "is missing: it lists the tests of each case")];
    };
    let rows = rows(&document.text);
    let mut findings: Vec<Finding> = rows.iter().flat_map(|row| gone(row, sources)).collect();
    for case in (1..=CASES).map(|number| format!("F{number:02}")) {
        let count = rows.iter().filter(|row| row.name == case).count();
        if count != 1 {
            findings.push(Finding::new(DOCUMENT, 0, format!("{case} has {count} rows")));
        }
    }
    for Source { path, text } in sources {
        // The texts in this folder are test data.
        if path.ends_with(".rs") && !path.starts_with("xtask/") {
            findings.extend(left_out(path, text, &rows));
        }
    }
    findings
}

/// The tests of a row that are missing in the named file.
fn gone(row: &Row<'_>, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, test) in &row.tests {
        let code = sources.iter().find(|source| source.path == *path);
        let definition = format!("fn {test}(");
        if !code.is_some_and(|source| source.text.contains(&definition)) {
            let message = format!("{}: no test {test} in {path}", row.name);
            findings.push(Finding::new(DOCUMENT, row.line, message));
        }
    }
    findings
}

/// The tests of a file with a case in their names that are missing in that case's row.
fn left_out(path: &str, text: &str, rows: &[Row<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let name = line.trim_start().strip_prefix("fn ").and_then(|rest| rest.split('(').next());
        let Some(test) = name else { continue };
        for case in cases(test) {
            let is_there =
                rows.iter().any(|row| row.name == case && row.tests.contains(&(path, test)));
            if !is_there {
                let message = format!("{test} is not in the row {case} of {DOCUMENT}");
                findings.push(Finding::new(path, index + 1, message));
            }
        }
    }
    findings
}

/// The cases that a test's name begins with: `f24_f58_a_pool` has F24 and F58.
fn cases(test: &str) -> Vec<String> {
    let number = |piece: &str| {
        let digits = piece.strip_prefix('f').filter(|digits| digits.len() == 2)?;
        digits.chars().all(|digit| digit.is_ascii_digit()).then(|| format!("F{digits}"))
    };
    test.split('_').map_while(number).collect()
}

/// The rows that begin with a case or an invariant. In the last column a word in backticks is a
/// file if it ends in `.rs`, else a test in the preceding file.
fn rows(text: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else {
            continue;
        };
        let name = row.split(' ').next().unwrap_or_default();
        let is_name = name.strip_prefix(['F', 'I']).is_some_and(|rest| rest.parse::<u8>().is_ok());
        let Some(column) = row.rsplit('|').next().filter(|_| is_name) else { continue };
        let mut file = "";
        let mut tests = Vec::new();
        for word in column.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                file = word;
            } else {
                tests.push((file, word));
            }
        }
        rows.push(Row { line: index + 1, name, tests });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings for `first` as the row of F01, empty other rows and one test.
    fn findings(first: &str) -> Vec<String> {
        let others = (2..=CASES).map(|number| format!("| F{number:02} | what | |\n"));
        let document = first.to_owned() + &others.collect::<String>();
        let source = |path: &str, text: String| Source { path: path.to_owned(), text };
        let code = "    fn f01_f02_cut() {}\nfn f64_away() {}\nfn as_f64() {}\n".to_owned();
        let sources = [source(DOCUMENT, document), source("src/a.rs", code)];
        check(&sources).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn finds_tests_that_are_gone_or_left_out() {
        let left_out = ["f01_f02_cut is not in the row F02 of docs/reliability.md"];
        let other = "f64_away is not in the row F64 of docs/reliability.md";
        let row = "| F01 | cut | `src/a.rs`: `f01_f02_cut` |\n";
        assert_eq!(findings(row), [left_out[0], other]);
        let row = "| F01 | cut | `src/a.rs`: `f01_f02_cut`, `gone`; `src/b.rs`: `f01_f02_cut` |\n";
        let gone = ["F01: no test gone in src/a.rs", "F01: no test f01_f02_cut in src/b.rs"];
        assert_eq!(findings(row), [gone[0], gone[1], left_out[0], other]);
    }

    #[test]
    fn finds_rows_that_are_missing_or_twice() {
        let row = "| F01 | cut | `src/a.rs`: `f01_f02_cut` |\n";
        assert_eq!(findings("")[0], "F01 has 0 rows");
        assert_eq!(findings(&row.repeat(2))[0], "F01 has 2 rows");
        assert_eq!(
            findings("| I1 | sums | `src/a.rs`: `none` |\n")[0],
            "I1: no test none in src/a.rs"
        );
    }

    #[test]
    fn a_document_is_demanded() {
        assert_eq!(check(&[])[0].path, DOCUMENT);
    }
}
