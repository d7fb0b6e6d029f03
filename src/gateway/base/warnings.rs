//! Warnings used by both log and report.

/// The warning about an unusable settings file.
pub const BAD_FILE: &str = "the settings file cannot be used, as the log says: what was in use or \
     committed last counts until it is mended";

/// The warning of a gateway without a pool.
pub const NO_POOL: &str = "no pool is set: set-up mode, miners get no work until one is";

/// The warning about a pool that accepts one worker name only.
pub fn one_name_warning(index: usize) -> String {
    let number = index + 1;
    format!(
        "pool {number} takes one worker per connection: all shares go to it under pool.{number}.user, \
         until settings change; set identity.mode = \"single\", or ask the pool"
    )
}

/// The warning about a pool over plain TCP.
pub fn plain_warning(index: usize) -> String {
    format!(
        "pool {} is reached over plain TCP: anybody on the path can take the hash-rate; use \
         stratum+ssl:// where the pool has it",
        index + 1
    )
}
