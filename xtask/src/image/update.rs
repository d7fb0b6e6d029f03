//! Updates: a signed manifest followed by a slot's image, and the signing keys.
//!
//! `src/gateway/update` reads this format. The boot test proves that both agree, and `minisign -V`
//! that other programs do.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::signing::SecretKey;
use super::{make_folder, read, write};
use crate::archive::digest;
use crate::targets::Board;
use crate::{package, process};

/// The oldest version that can install this update.
const REPLACES: &str = "0.1.0";

/// The default folder of keys.
const FOLDER: &str = "target/keys";

/// Makes a pair of keys in a folder.
///
/// # Errors
///
/// Keys exist already, or the folder cannot be written.
pub fn make_keys(folder: Option<&Path>) -> Result<(), String> {
    let folder = folder.map_or_else(|| process::root().join(FOLDER), Path::to_owned);
    make_folder(&folder)?;
    let mut random = [0; 40];
    let source = std::fs::File::open("/dev/urandom");
    let filled = source.and_then(|mut file| file.read_exact(&mut random));
    filled.map_err(|error| format!("/dev/urandom: {error}"))?;
    let (id, seed) = random.split_first_chunk::<8>().ok_or("random bytes")?;
    let seed: &[u8; 32] = seed.try_into().map_err(|_| "random bytes")?;
    let key = SecretKey::new(*id, seed);
    let (secret, public) = (folder.join("update.key"), folder.join("update.pub"));
    // A new key would cut off systems that trust the old one from updates.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&secret);
    let written = file.as_mut().map_err(|error| error.to_string()).and_then(|file| {
        file.write_all(key.secret_file().as_bytes()).map_err(|error| error.to_string())
    });
    written.map_err(|error| format!("{}: {error}", process::shown(&secret)))?;
    write(&public, key.public_file().as_bytes())?;
    println!("{}: signs updates; keep it secret", process::shown(&secret));
    println!("{}: goes into images, which then trust it", process::shown(&public));
    Ok(())
}

/// The public keys that an image trusts: the named ones, else the default folder's.
///
/// # Errors
///
/// A key cannot be read.
pub fn trusted(named: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let own = process::root().join(FOLDER).join("update.pub");
    if named.is_empty() && !own.is_file() {
        println!("note: no key is trusted, so this system takes no updates: cargo xtask keys");
        return Ok(Vec::new());
    }
    let paths = if named.is_empty() { vec![own] } else { named.to_vec() };
    paths.iter().map(|path| read(path)).collect()
}

/// Puts a signed manifest before a slot's image.
///
/// # Errors
///
/// The key cannot be read.
pub fn signed(
    slot: &[u8],
    board: &Board,
    version: &str,
    key: Option<&Path>,
) -> Result<Vec<u8>, String> {
    let own = process::root().join(FOLDER).join("update.key");
    let path = key.unwrap_or(&own);
    let text = read(path).map_err(|error| format!("{error}; cargo xtask keys makes one"))?;
    let key = SecretKey::parse(&String::from_utf8_lossy(&text));
    let key = key.map_err(|error| format!("{}: {error}", process::shown(path)))?;
    let manifest = format!(
        "loka-update 1\nboard {}\ntarget {}\nversion {version}\nbuilt {}\nreplaces {REPLACES}\n\
         length {}\nsha256 {}\n\n",
        board.name,
        board.target,
        package::source_time()?,
        slot.len(),
        digest("sha256sum", slot)?,
    );
    let comment = format!("loka-stratum {version} for {}", board.name);
    let signature = key.sign(manifest.as_bytes(), &comment);
    Ok([signature.as_bytes(), manifest.as_bytes(), slot].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt;
    use crate::targets;

    /// The manifest's range in a file: after four lines, up to the empty line.
    fn parts(file: &[u8]) -> (String, String) {
        let end = file.windows(2).position(|pair| pair == b"\n\n").unwrap() + 2;
        let text = String::from_utf8(file[..end].to_vec()).unwrap();
        let at = text.match_indices('\n').nth(3).unwrap().0 + 1;
        (text[..at].to_owned(), text[at..].to_owned())
    }

    #[test]
    fn minisign_verifies_what_is_signed_here_and_keys_go_both_ways() {
        let folder = std::env::temp_dir().join(format!("loka-keys-{}", std::process::id()));
        make_keys(Some(&folder)).unwrap();
        assert!(make_keys(Some(&folder)).is_err(), "keys are not written over");
        let board = targets::board("virt-aarch64").unwrap();
        let key = folder.join("update.key");
        let file = signed(b"an image", &board, "0.2.0", Some(&key)).unwrap();
        assert!(file.ends_with(b"an image"));
        let (signature, manifest) = parts(&file);
        assert!(signature.contains("trusted comment: loka-stratum 0.2.0 for virt-aarch64\n"));
        assert!(manifest.contains("\nlength 8\n"), "{manifest}");
        write(&folder.join("manifest"), manifest.as_bytes()).unwrap();
        write(&folder.join("manifest.minisig"), signature.as_bytes()).unwrap();
        if apt::provide("minisign", "minisign").is_err() {
            println!("minisign is not installed: its check is skipped");
            return;
        }
        let minisign = |words: &[&str]| {
            let mut command = process::command("minisign");
            process::output(command.args(words).current_dir(&folder))
        };
        let said = minisign(&["-V", "-m", "manifest", "-p", "update.pub"]).unwrap();
        assert!(said.contains("loka-stratum 0.2.0 for virt-aarch64"), "{said}");
        write(&folder.join("manifest"), manifest.replace("0.2.0", "0.3.0").as_bytes()).unwrap();
        assert!(minisign(&["-V", "-m", "manifest", "-p", "update.pub"]).is_err());
        // A key that minisign made signs here.
        minisign(&["-G", "-W", "-p", "other.pub", "-s", "other.key"]).unwrap();
        let file = signed(b"an image", &board, "0.2.0", Some(&folder.join("other.key"))).unwrap();
        let (signature, manifest) = parts(&file);
        write(&folder.join("manifest"), manifest.as_bytes()).unwrap();
        write(&folder.join("manifest.minisig"), signature.as_bytes()).unwrap();
        minisign(&["-V", "-m", "manifest", "-p", "other.pub"]).unwrap();
        let _ = std::fs::remove_dir_all(&folder);
    }
}
