//! Lets git run the hooks that the repository carries.

use crate::process;

/// Points git at `.githooks`; only this clone is changed.
///
/// # Errors
///
/// Says what git said.
pub fn install() -> Result<(), String> {
    let mut git = process::command("git");
    process::run(git.args(["config", "--local", "core.hooksPath", ".githooks"]))
}
