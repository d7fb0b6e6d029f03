//! The lab's clocks. No other file of the lab reads time, so `clippy.toml` can ban it elsewhere.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the monotonic time.
#[expect(clippy::disallowed_methods, reason = "the lab's one reading of the monotonic clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns the time since 1970, which two processes of one machine can compare to each other.
#[expect(clippy::disallowed_methods, reason = "the lab's one reading of the wall clock")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// Returns microseconds since 1970.
pub fn epoch_micros() -> u64 {
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}

/// Returns seconds since 1970, as a block header holds them.
pub fn epoch_secs() -> u32 {
    u32::try_from(since_epoch().as_secs()).unwrap_or(u32::MAX)
}
