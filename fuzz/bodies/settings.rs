//! Settings: every key from any text. A refused text changes nothing. An accepted text is shown in
//! a form that sets the same value again. Valid settings survive the store.
//!
//! Each line is `key=value`. If the key is unknown, the first byte picks a key and the second a
//! pool, so that every key is reached soon.

use loka_stratum::limits::{POOLS_MAX, SETTING_BYTES_MAX};
use loka_stratum::settings::{FIELDS, Key, Settings};

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut settings = Settings::default();
    for line in String::from_utf8_lossy(data).lines() {
        let Some((key, text)) = entry(line) else { continue };
        let before = settings.clone();
        match settings.set(key, text) {
            Ok(()) => {
                let shown = settings.show(key).to_string();
                let mut again = settings.clone();
                again.set(key, &shown).unwrap_or_else(|problem| panic!("shown, then {problem}"));
                assert_eq!(again, settings, "{key} = {shown:?}");
            }
            Err(problem) => {
                assert_eq!(settings, before, "refused, and changed all the same: {problem}");
                assert!(!problem.to_string().is_empty());
            }
        }
    }
    let mut problems = 0;
    settings.check(&mut |problem| {
        assert!(!problem.to_string().is_empty());
        problems += 1;
    });
    assert_eq!(settings.is_valid(), problems == 0);
    assert_eq!(copy(&settings), settings, "told key by key");
    let mut buffer = vec![0; 1 << 16];
    let bytes = postcard::to_slice(&settings, &mut buffer).expect("there is room");
    assert_eq!(postcard::from_bytes::<Settings>(bytes).as_ref(), Ok(&settings), "stored");
}

fn entry(line: &str) -> Option<(Key, &str)> {
    if let Some((path, text)) = line.split_once('=')
        && let Some(key) = Key::parse(path)
    {
        let shown = key.to_string();
        assert_eq!(Key::parse(&shown), Some(key), "{shown}");
        return Some((key, text));
    }
    let mut letters = line.chars();
    let field = letters.next()? as usize % FIELDS.len();
    // One more than there are pools, which must be refused.
    let pool = letters.next()? as usize % (POOLS_MAX + 1);
    let field = &FIELDS[field];
    Some((Key::of(field, if field.is_of_pool() { pool } else { 0 })?, letters.as_str()))
}

/// Settings built by setting every shown value.
fn copy(settings: &Settings) -> Settings {
    let mut copy = Settings::default();
    while copy.pools.len() < settings.pools.len() {
        copy.pools.push(Default::default()).expect("as many fit as before");
    }
    for field in FIELDS {
        let count = if field.is_of_pool() { settings.pools.len() } else { 1 };
        for key in (0..count).filter_map(|pool| Key::of(field, pool)) {
            let shown = settings.show(key).to_string();
            assert!(shown.len() <= SETTING_BYTES_MAX, "{key} shows {} bytes", shown.len());
            // An unset value may be empty although an empty text cannot be set.
            if shown != copy.show(key).to_string() {
                copy.set(key, &shown).unwrap_or_else(|problem| panic!("{problem}"));
            }
        }
    }
    copy
}
