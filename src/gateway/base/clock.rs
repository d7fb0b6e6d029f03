//! The only place where the gateway reads a clock.
//!
//! The engine's time is monotonic and counts from the start of the process; a jump of the wall
//! clock does not reach it (F65). The wall clock is read only for certificate dates and stored or
//! shown times. A router without a battery boots in 1970, so [`wall_checked`] rejects a time before
//! this program was written.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use loka_stratum::time::Instant;

/// Least plausible time: 2026-11-01T00:00:00Z, moved forward with releases.
pub const FLOOR: Duration = Duration::from_secs(1_793_491_200);

static START: OnceLock<StdInstant> = OnceLock::new();

/// The wall clock reads a time before this program was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockUnset {
    reads: Duration,
}

/// Returns the time since the first call.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Instant {
    let start = START.get_or_init(StdInstant::now);
    let micros = StdInstant::now().duration_since(*start).as_micros();
    Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Converts a length of the engine's time to one of the standard library.
pub fn std_time(length: loka_stratum::time::Duration) -> Duration {
    Duration::from_micros(length.as_micros())
}

/// Returns the wall clock's time since 1970.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the wall clock's time since 1970, if it is plausible.
///
/// # Errors
///
/// [`ClockUnset`] with the clock's reading.
pub fn wall_checked() -> Result<Duration, ClockUnset> {
    let reads = wall();
    if reads < FLOOR { Err(ClockUnset { reads }) } else { Ok(reads) }
}

/// Says whether a time in seconds since 1970 is plausible.
pub fn may_be_right(secs: u64) -> bool {
    Duration::from_secs(secs) >= FLOOR
}

/// Shows a time since 1970 as `2026-11-21T01:53:00Z`.
#[derive(Clone, Copy, Debug)]
pub struct Utc(pub Duration);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let (year, month, day) = civil(secs / 86_400);
        let (hour, minute, second) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl fmt::Display for ClockUnset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "clock reads {}, which is before this program was written ({}): the dates of a \
             certificate cannot be verified until the clock is set (NTP)",
            Utc(self.reads),
            Utc(FLOOR)
        )
    }
}

impl std::error::Error for ClockUnset {}

/// Returns year, month and day of the day `days` after 1970-01-01 (Howard Hinnant's algorithm,
/// which counts in eras of 400 years that begin in March).
pub fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_print_as_rfc_3339() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_793_491_200, "2026-11-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(Duration::from_secs(secs)).to_string(), text);
        }
    }

    #[test]
    fn f65_an_unset_clock_says_what_it_reads() {
        let text = ClockUnset { reads: Duration::from_secs(12) }.to_string();
        assert!(text.starts_with("clock reads 1970-01-01T00:00:12Z"), "{text}");
    }

    #[test]
    fn engine_time_does_not_go_back() {
        let first = now();
        assert!(now() >= first);
    }
}
