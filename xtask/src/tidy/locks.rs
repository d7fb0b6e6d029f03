//! Compares the lock file of `fuzz/`, a separate workspace, with the engine's crates. Otherwise an
//! outdated lock file shows only at the next fuzzing, perhaps months later.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Finding, Source};

const MANIFEST: &str = "Cargo.toml";
const LOCK: &str = "fuzz/Cargo.lock";

#[derive(Deserialize)]
struct Manifest {
    package: Package,
    dependencies: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    /// Names, with the version if there are several. In a lock file only.
    #[serde(default)]
    dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

/// Compares the fuzz targets' dependencies through the library, which they use without features,
/// with the locked ones.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let text = |path: &str| sources.iter().find(|source| source.path == path).map(|s| &*s.text);
    let (Some(manifest), Some(lock)) = (text(MANIFEST), text(LOCK)) else {
        return vec![Finding::new(LOCK, 0, "must exist, and so must Cargo.toml")];
    };
    match compare(manifest, lock) {
        Ok(()) => Vec::new(),
        Err(message) => vec![Finding::new(LOCK, 0, message)],
    }
}

fn compare(manifest: &str, lock: &str) -> Result<(), String> {
    let Manifest { package, dependencies } =
        toml::from_str(manifest).map_err(|error| format!("{MANIFEST}: {error}"))?;
    let Lock { package: locked } = toml::from_str(lock).map_err(|error| error.to_string())?;
    let is_optional = |value: &toml::Value| value.get("optional") == Some(&true.into());
    let needed: BTreeSet<&str> = dependencies
        .iter()
        .filter(|(_, value)| !is_optional(value))
        .map(|(name, _)| name.as_str())
        .collect();
    let locked = locked.iter().find(|one| one.name == package.name);
    let locked: BTreeSet<&str> = locked
        .iter()
        .flat_map(|package| &package.dependencies)
        .filter_map(|dependency| dependency.split(' ').next())
        .collect();
    if needed == locked {
        return Ok(());
    }
    let differ: Vec<&str> = needed.symmetric_difference(&locked).copied().collect();
    Err(format!(
        "differs from {MANIFEST} in {}: cargo metadata --manifest-path fuzz/Cargo.toml",
        differ.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "[package]\nname = \"a\"\n[dependencies]\nb = \"1\"\nc = { version = \"2\" }\n\
                       d = { version = \"3\", optional = true }\n";

    #[test]
    fn what_is_locked_is_what_is_needed() {
        let lock = "[[package]]\nname = \"a\"\ndependencies = [\"b 1.0.0\", \"c\"]\n";
        assert_eq!(compare(TWO, lock), Ok(()));
    }

    #[test]
    fn a_crate_that_came_or_went_is_named() {
        let came = compare(TWO, "[[package]]\nname = \"a\"\ndependencies = [\"b\"]\n");
        assert!(came.unwrap_err().contains("in c:"));
        let went =
            compare(TWO, "[[package]]\nname = \"a\"\ndependencies = [\"b\", \"c\", \"e\"]\n");
        assert!(went.unwrap_err().contains("in e:"));
    }
}
