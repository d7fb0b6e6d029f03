//! Backups: the settings as keys and texts in our own format, and their restore.
//!
//! A backup holds no secrets: neither pool passwords nor accounts. It holds no key that names a
//! path (F79). A restore is an ordinary change: each key is checked, all problems are listed, and
//! the commit is provisional if it may cut somebody off. A pool with a changed address gets the
//! default password, so no password goes to another host.

use crc::{CRC_32_ISO_HDLC, Crc};
use loka_stratum::limits::{EDITS_MAX, HTTP_BODY_BYTES_MAX};
use loka_stratum::settings::{Applies, Key, Settings};
use serde::{Deserialize, Serialize};

use super::json::Edit;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Magic of every backup, with the version of its format.
const MAGIC: [u8; 4] = *b"LKB1";

#[derive(Serialize, Deserialize)]
struct Backup {
    magic: [u8; 4],
    pools: u8,
    values: Vec<(String, String)>,
}

/// Encodes the settings.
pub fn make(settings: &Settings) -> Option<Vec<u8>> {
    let pools = u8::try_from(settings.pools.len()).ok()?;
    let values = Key::all(settings.pools.len())
        .filter(|key| is_kept(*key))
        .map(|key| (key.to_string(), settings.show(key).to_string()))
        .collect();
    let mut buffer = vec![0; HTTP_BODY_BYTES_MAX];
    let backup = Backup { magic: MAGIC, pools, values };
    let length = postcard::to_slice_crc32(&backup, &mut buffer, CRC.digest()).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

/// Decodes a backup into the changes that lead from the present settings to it.
///
/// # Errors
///
/// It is not a backup, or is incomplete.
pub fn read(bytes: &[u8], settings: &Settings) -> Result<Vec<Edit>, String> {
    let wrong = |what: &str| {
        let way_out = "choose a file that Save a backup made, whole and as it was saved";
        format!("this is no backup of a gateway: it is {what}; {way_out}")
    };
    if bytes.get(..MAGIC.len()) != Some(&MAGIC) {
        return Err(wrong("something else"));
    }
    let backup: Backup =
        postcard::from_bytes_crc32(bytes, CRC.digest()).map_err(|_| wrong("incomplete"))?;
    if backup.values.len() > EDITS_MAX {
        return Err(wrong("more keys than there are"));
    }
    let (mut edits, pools) = (Vec::new(), usize::from(backup.pools));
    for pool in (pools..settings.pools.len()).rev() {
        edits.push(Edit { key: format!("pool.{}", pool + 1), value: None });
    }
    let moved = backup.values.iter().filter_map(|(key, url)| moved(key, url, settings));
    let moved: Vec<usize> = moved.collect();
    for (key, value) in backup.values {
        let known = Key::parse(&key).filter(|known| is_kept(*known));
        let is_set = |known: Key| {
            // Pins are given again together with a new address.
            if known.field().name == "pins" && moved.contains(&known.pool()) {
                return value.is_empty();
            }
            let is_there = !known.field().is_of_pool() || known.pool() < settings.pools.len();
            is_there && settings.show(known).to_string() == value
        };
        if known.is_some_and(is_set) {
            continue;
        }
        if let Some(url) = known.filter(|known| known.field().name == "url") {
            edits.push(Edit { key: key.clone(), value: Some(value) });
            if url.pool() < settings.pools.len() {
                edits.push(Edit { key: key.replace(".url", ".password"), value: None });
            }
            continue;
        }
        edits.push(Edit { key, value: Some(value) });
    }
    Ok(edits)
}

/// Returns the pool's index if `url` differs from its present address.
fn moved(key: &str, url: &str, settings: &Settings) -> Option<usize> {
    let key =
        Key::parse(key).filter(|key| key.field().is_of_pool() && key.field().name == "url")?;
    let now = settings.pools.get(key.pool()).map(|pool| pool.url.to_string());
    (now.as_deref() != Some(url)).then(|| key.pool())
}

/// Says whether backups contain a key.
fn is_kept(key: Key) -> bool {
    key.field().applies != Applies::File && !key.field().is_secret()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(values: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in values {
            settings.set(Key::parse(key).unwrap(), value).unwrap();
        }
        settings
    }

    fn restored(backup: &[u8], on: &Settings) -> Settings {
        let mut settings = on.clone();
        for Edit { key, value } in read(backup, on).unwrap() {
            match (value, Key::parse(&key)) {
                (Some(value), Some(key)) => settings.set(key, &value).unwrap(),
                (None, Some(key)) => settings.set(key, "x").unwrap(),
                (None, None) => drop(settings.pools.pop()),
                (Some(value), None) => panic!("{key} = {value}"),
            }
        }
        settings
    }

    #[test]
    fn what_was_saved_comes_back_and_no_password_follows_a_pool_that_moved() {
        let saved = settings(&[
            ("pool.1.url", "stratum+ssl://pool.example:3334"),
            ("pool.1.user", "farm"),
            ("pool.1.password", "of pool.example"),
            ("difficulty.start", "4096"),
            ("web.hosts", "gw.farm.example"),
        ]);
        let backup = make(&saved).unwrap();
        assert!(!backup.windows(7).any(|bytes| bytes == b"of pool"), "no password is in it");
        let other = settings(&[
            ("pool.1.url", "stratum+ssl://other.example:3334"),
            ("pool.1.user", "somebody"),
            ("pool.1.password", "of other.example"),
            ("pool.2.url", "stratum+tcp://third.example:3333"),
            ("pool.2.user", "third"),
            ("difficulty.max", "65536"),
        ]);
        let restored = restored(&backup, &other);
        assert_eq!(make(&restored).unwrap(), backup);
        assert_eq!(restored.pools[0].password.expose(), "x");
        assert!(read(&backup, &saved).unwrap().is_empty(), "nothing is to be changed");
    }

    #[test]
    fn f79_only_what_we_wrote_is_read() {
        let settings = settings(&[("pool.1.url", "stratum+tcp://pool.example:3333")]);
        let backup = make(&settings).unwrap();
        for length in 0..backup.len() {
            assert!(read(&backup[..length], &settings).is_err(), "cut after {length} bytes");
        }
        for index in 0..backup.len() {
            let mut damaged = backup.clone();
            damaged[index] ^= 0x10;
            assert!(read(&damaged, &settings).is_err(), "damaged at {index}");
        }
        for other in [&b"PK\x03\x04"[..], b"[[pool]]\nurl = \"x\"\n", b"LKS1", b""] {
            assert!(read(other, &settings).is_err());
        }
    }

    #[test]
    fn the_longest_settings_fit_a_body() {
        let mut settings = Settings::default();
        let long = |bytes: usize| "h".repeat(bytes);
        for pool in 1..=loka_stratum::limits::POOLS_MAX {
            let host = [long(63), long(63), long(63), long(61)].join(".");
            for (name, value) in [
                ("url", format!("stratum+ssl://{host}:65535")),
                ("user", long(loka_stratum::limits::WORKER_NAME_BYTES_MAX)),
                ("pins", vec!["0".repeat(64); loka_stratum::limits::PINS_MAX].join(",")),
            ] {
                let key = format!("pool.{pool}.{name}");
                settings.set(Key::parse(&key).unwrap(), &value).unwrap();
            }
        }
        assert!(make(&settings).is_some());
    }
}
