//! Installs the repository's git hooks.

use crate::process;

/// Sets git's hooks path to `.githooks`, in this clone only.
///
/// # Errors
///
/// git's error.
pub fn install() -> Result<(), String> {
    let mut git = process::command("git");
    process::run(git.args(["config", "--local", "core.hooksPath", ".githooks"]))
}
