//! Rules for every text file: white space, forbidden words and names.

use super::Finding;

/// Words for remaining work, which belongs into an issue or an ADR (D4).
const LEFT_WORK: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// Hosts of package registries: only the lock file may name one. The source of packages is a
/// setting of the building machine.
const REGISTRY_HOSTS: [&str; 6] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("deb.debian", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("proxy.golang", ".org"),
];

/// Personal or machine-specific folders.
const PERSONAL_FOLDERS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

/// Checks one file.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_foreign(path) {
        return findings;
    }
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let mut found = |message: String| findings.push(Finding::new(path, number, message));
        if line.ends_with([' ', '\t']) {
            found("white space at the end of the line".to_owned());
        }
        if line.starts_with(['<', '=', '>']) && is_conflict_marker(line) {
            found("conflict marker".to_owned());
        }
        if let Some(word) = LEFT_WORK.iter().find(|word| has_word(line, word)) {
            found(format!("{word}: open an issue or write an ADR instead (D4)"));
        }
        if let Some(host) = REGISTRY_HOSTS.iter().find(|host| line.contains(**host)) {
            found(format!("{host}: no file names the host of a package registry"));
        }
        if let Some(folder) = PERSONAL_FOLDERS.iter().find(|folder| starts_path(line, folder)) {
            found(format!("{folder}: a path that exists on one machine only"));
        }
    }
    if text.contains('\r') {
        findings.push(Finding::new(path, 0, "carriage return: lines end with a line feed"));
    }
    if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
        findings.push(Finding::new(path, 0, "ends with exactly one line feed"));
    }
    findings
}

/// Returns whether a path in the line begins with `folder`; a folder inside `src` may have that
/// name.
fn starts_path(line: &str, folder: &str) -> bool {
    let mut before = line.match_indices(folder).filter_map(|(at, _)| line.get(..at));
    before.any(|before| {
        !before.ends_with(|last: char| last.is_alphanumeric() || "_-.".contains(last))
    })
}

/// Foreign texts, and data whose exact bytes matter.
fn is_foreign(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "Cargo.lock"
        || name.starts_with("LICENSE")
        || (path.starts_with("tests/") && !name.ends_with(".rs") && !name.ends_with(".md"))
        || path.starts_with("fuzz/corpus/")
}

fn is_conflict_marker(line: &str) -> bool {
    ["<<<<<<< ", ">>>>>>> "].iter().any(|marker| line.starts_with(marker)) || line == "======="
}

/// Finds `word` where neither neighbour is a letter, so that a name that contains it may pass.
fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        !is_letter(before) && !is_letter(after)
    })
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
    fn finds_white_space() {
        assert_found("a \n", "white space");
        assert_found("a\r\n", "carriage return");
        assert_found("a", "line feed");
        assert_found("a\n\n", "line feed");
        assert_found("<<<<<<< mine\n", "conflict");
    }

    #[test]
    fn finds_left_work() {
        assert_found(concat!("// TO", "DO: later\n"), "issue");
        assert_found(concat!("fix it (FIX", "ME)\n"), "issue");
        assert_eq!(check("src/a.rs", concat!("let x = 0xFX", "XX;\n")), []);
    }

    #[test]
    fn finds_hosts_and_folders() {
        assert_found(concat!("see crates", ".io\n"), "registry");
        assert_found(concat!("cd /ro", "ot/loka\n"), "one machine");
        assert_eq!(check("a.md", concat!("see src/wo", "rk/job.rs\n")), []);
    }

    #[test]
    fn leaves_foreign_texts_alone() {
        assert_eq!(check("LICENSE-APACHE", "a \n\n"), []);
        assert_eq!(check("tests/transcripts/antminer.txt", "{\"id\":1}\r\n"), []);
    }
}
