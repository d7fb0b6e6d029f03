//! `update FILE`: uploads an update to a gateway and reports the result.

use std::path::Path;

use loka_stratum::limits::{UPDATE_HEADER_BYTES_MAX, UPDATE_IMAGE_BYTES_MAX};

use super::{CtlError, Way};
use crate::gateway::base::disk::Foreign;
use crate::gateway::base::say::say;

/// The verb.
pub const VERB: &str = "update";

const DOWNGRADE: &str = "--allow-downgrade";

const FILE_BYTES_MAX: u64 = UPDATE_HEADER_BYTES_MAX as u64 + UPDATE_IMAGE_BYTES_MAX;

/// Uploads a file.
///
/// # Errors
///
/// The gateway refused it, or the transfer failed.
pub async fn run(way: &mut Way, words: &[String], as_json: bool) -> Result<(), CtlError> {
    let is_flag = |word: &&String| word.as_str() == DOWNGRADE;
    let may_downgrade = words.iter().any(|word| is_flag(&word));
    let files: Vec<&String> = words.iter().filter(|word| !is_flag(word)).collect();
    let [path] = files.as_slice() else {
        let text = format!("got {} files, allowed one: update FILE [{DOWNGRADE}]", files.len());
        return Err(CtlError::Usage(text));
    };
    let bytes = read(Path::new(path))?;
    let installed = match way {
        Way::Http(way) => way.update(bytes, may_downgrade).await?,
        Way::Serial(_) => {
            let text = "an update goes over the network: --http URL";
            return Err(CtlError::Usage(text.to_owned()));
        }
    };
    if as_json {
        say(format_args!("{installed}"));
        return Ok(());
    }
    let word = |name: &str| installed[name].as_str().unwrap_or_default().to_owned();
    let (from, to, slot) = (word("from"), word("to"), word("slot"));
    say(format_args!("{from} runs; {to} is in slot {slot}, and the machine reboots into it"));
    let text = "in some minutes the status says whether it is kept";
    say(format_args!("{text}"));
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, CtlError> {
    let of = |text: String| CtlError::Usage(format!("{}: {text}", path.display()));
    let most = usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX - 1);
    let bytes = Foreign.read(path, most).map_err(|error| of(error.to_string()))?;
    if bytes.len() > most {
        return Err(of(format!("got more than the {most} bytes that an update may have")));
    }
    Ok(bytes)
}
