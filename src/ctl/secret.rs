//! Sources of a secret: a file, the environment, or a prompt.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use loka_stratum::limits::PASSWORD_BYTES_MAX;

use super::CtlError;

/// The environment variable that may hold a secret.
const VARIABLE: &str = "LOKA_CTL_SECRET";

/// Flags about secrets.
#[derive(clap::Args)]
pub struct SecretArgs {
    /// File whose first line is the password, or the secret value, that a verb sets. Without it:
    /// LOKA_CTL_SECRET in the environment, or a prompt.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretArgs {
    /// Returns the secret to set.
    ///
    /// # Errors
    ///
    /// It cannot be read, or the two entries differ.
    pub fn read(&self, what: &str) -> Result<String, CtlError> {
        if let Some(path) = &self.secret_file {
            return first_line(path);
        }
        if let Ok(secret) = env::var(VARIABLE) {
            return Ok(secret);
        }
        let secret = prompt(what)?;
        if !io::stdin().is_terminal() || prompt("once more")? == secret {
            return Ok(secret);
        }
        Err(CtlError::Usage("that was not the same twice; nothing was asked".to_owned()))
    }
}

/// Returns the first line of a file.
///
/// # Errors
///
/// It cannot be read, or its first line exceeds the limit of a password.
pub fn first_line(path: &Path) -> Result<String, CtlError> {
    let usage = |error: io::Error| CtlError::Usage(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(usage)?;
    file.take(2 * PASSWORD_BYTES_MAX as u64).read_to_string(&mut text).map_err(usage)?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    if line.len() > PASSWORD_BYTES_MAX {
        let path = path.display();
        let text = format!("{path}: the first line is longer than {PASSWORD_BYTES_MAX} bytes");
        return Err(CtlError::Usage(text));
    }
    Ok(line)
}

/// Prompts for a secret without echo on a terminal.
///
/// # Errors
///
/// The input cannot be read.
pub fn prompt(what: &str) -> Result<String, CtlError> {
    let usage = |error: io::Error| CtlError::Usage(format!("{what}: {error}"));
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("{what}: ")).map_err(usage);
    }
    let mut line = String::new();
    let count = io::stdin().lock().read_line(&mut line).map_err(usage)?;
    if count == 0 {
        return Err(usage(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
