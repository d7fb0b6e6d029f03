//! Required files and folders, and required executable bits.

use std::os::unix::fs::PermissionsExt;

use super::Finding;
use crate::process;

/// Required names at the top of the repository.
const TOP_LEVEL: [&str; 8] =
    ["Cargo.toml", "src", "targets", "board", "config", "benches", "cross.toml", "README.md"];

/// Executable files.
const EXECUTABLE: [&str; 2] = [".ci/run", ".githooks/pre-commit"];

/// Forbidden names of documents at the top: git, the ADRs and the tests hold such content.
const PLANS: [&str; 4] = ["PLAN", "PROGRESS", "ANALYSIS", "SUMMARY"];

/// Checks the repository's files, given by their paths.
pub fn check(paths: &[String]) -> Vec<Finding> {
    let mut findings = names(paths);
    for path in EXECUTABLE {
        let mode = std::fs::metadata(process::root().join(path))
            .map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o111 == 0 {
            findings.push(Finding::new(path, 0, "must exist and be executable"));
        }
    }
    findings
}

fn names(paths: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in TOP_LEVEL {
        let folder = format!("{name}/");
        if !paths.iter().any(|path| path == name || path.starts_with(&folder)) {
            findings.push(Finding::new(name, 0, "must exist: others rely on the name"));
        }
    }
    for path in paths.iter().filter(|path| !path.contains('/')) {
        if PLANS.iter().any(|plan| path.to_uppercase().starts_with(plan)) {
            findings.push(Finding::new(path, 0, "belongs into git, docs/adr and the tests"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(paths: &[&str]) -> Vec<String> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        names(&paths).into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn finds_a_missing_name() {
        let all = [
            "Cargo.toml",
            "src/lib.rs",
            "targets/a",
            "board/a.toml",
            "config/default.toml",
            "benches/engine.rs",
            "cross.toml",
            "README.md",
        ];
        assert_eq!(of(&all), [""; 0]);
        assert_eq!(of(&all[1..]), ["Cargo.toml"]);
    }

    #[test]
    fn finds_plans() {
        assert!(of(&["plan.md"]).contains(&"plan.md".to_owned()));
    }
}
