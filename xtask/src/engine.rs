//! Checks of the engine alone: the library without any feature.

use std::collections::BTreeSet;

use crate::process;
use crate::report::Ended;

/// The allowed crates of the engine, for any target, each with its purpose. Macros that run at
/// compile time are not listed. A new name here is a decision: give the reason in the commit.
const ALLOWED: [(&str, &str); 23] = [
    ("block-buffer", "of digest"),
    ("byteorder", "of hash32"),
    ("cfg-if", "of sha2"),
    ("cobs", "frames on a serial line; also of postcard"),
    ("cpufeatures", "finds the SHA instructions at run time, of sha2"),
    ("crc", "guards what is stored and what crosses a serial line"),
    ("crc-catalog", "of crc"),
    ("crypto-common", "of digest"),
    ("digest", "of sha2"),
    ("hash32", "of heapless"),
    ("heapless", "containers of fixed capacity"),
    ("hybrid-array", "of digest"),
    ("libc", "of cpufeatures, on ARM with an operating system only"),
    ("loka-stratum", "the engine itself"),
    ("postcard", "the stored form of the settings"),
    ("ryu", "of serde-json-core: writes floating-point numbers"),
    ("serde", "reads and writes typed messages"),
    ("serde-json-core", "JSON without an allocator"),
    ("serde_core", "of serde"),
    ("sha2", "SHA-256, with hardware where there is any"),
    ("stable_deref_trait", "of heapless"),
    ("thiserror", "of cobs: its errors"),
    ("typenum", "of hybrid-array"),
];

/// Compares the engine's crates with the allowed list.
///
/// # Errors
///
/// Names the forbidden crates, and the unused names of the list.
pub fn allowed_crates() -> Result<Ended, String> {
    let mut command = process::cargo(&["tree", "--locked", "--package", "loka-stratum"]);
    command.args(["--no-default-features", "--edges", "normal,no-proc-macro", "--target", "all"]);
    let tree = process::output(command.args(["--prefix", "none", "--format", "{p}"]))?;
    compare(&tree)?;
    println!("{} crates, all allowed", ALLOWED.len());
    Ok(Ended::Passed)
}

fn compare(tree: &str) -> Result<(), String> {
    let used: BTreeSet<&str> = tree.lines().filter_map(|l| l.split_whitespace().next()).collect();
    let allowed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let more: Vec<&str> = used.difference(&allowed).copied().collect();
    let fewer: Vec<&str> = allowed.difference(&used).copied().collect();
    match (more.as_slice(), fewer.as_slice()) {
        ([], []) => Ok(()),
        ([], fewer) => Err(format!("allowed but not used: {}; drop the line", fewer.join(", "))),
        (more, _) => Err(format!("crates not allowed in the engine: {}", more.join(", "))),
    }
}

/// Checks the engine in a board's configuration: the library without any feature.
///
/// # Errors
///
/// clippy or the compiler reports a problem.
pub fn clippy() -> Result<Ended, String> {
    let mut command = process::cargo(&["clippy", "--locked", "--package", "loka-stratum"]);
    command.args(["--lib", "--no-default-features", "--", "-D", "warnings"]);
    process::run(&mut command).map(|()| Ended::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_of_all() -> String {
        ALLOWED.iter().map(|(name, _)| format!("{name} v1.0.0\n")).collect()
    }

    #[test]
    fn the_allowed_crates_pass() {
        assert_eq!(compare(&tree_of_all()), Ok(()));
    }

    #[test]
    fn a_crate_more_is_named() {
        let tree = tree_of_all() + "tokio v1.54.1 (*)\n";
        assert_eq!(compare(&tree), Err("crates not allowed in the engine: tokio".to_owned()));
    }

    #[test]
    fn an_allowed_crate_out_of_use_is_named() {
        let tree = tree_of_all().replace("ryu v1.0.0\n", "");
        assert!(compare(&tree).unwrap_err().contains("ryu"));
    }
}
