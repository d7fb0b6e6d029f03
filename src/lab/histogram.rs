//! Latencies in fixed memory: 64 equal buckets in each power of two, so a read value is at most
//! 1.6 % above the recorded one.

use std::time::Duration;

/// Buckets of one power of two, as a power of two.
const SUB_BITS: u32 = 6;
/// Buckets of one power of two.
const SUB: usize = 1 << SUB_BITS;
/// Powers of two above the first `SUB` values: up to 2^36 ns, 68 s.
const POWERS: usize = 30;

/// A histogram of durations, in nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; SUB * (POWERS + 1)].into_boxed_slice(), total: 0, max: 0 }
    }
}

impl Histogram {
    /// Records one duration; the last bucket counts durations above the range.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let index = bucket(nanos).min(self.counts.len() - 1);
        self.counts[index] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Returns the number of recorded durations.
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// Returns the `quantile` (0 to 1) of the durations, in microseconds, or 0 without a record.
    pub fn micros_at(&self, quantile: f64) -> f64 {
        let wanted = (self.total as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return upper_edge(index).min(self.max) as f64 / 1e3;
            }
        }
        0.0
    }

    /// Returns the longest duration, in microseconds.
    pub fn max_micros(&self) -> f64 {
        self.max as f64 / 1e3
    }
}

fn bucket(nanos: u64) -> usize {
    let bits = u64::BITS - nanos.leading_zeros();
    let shift = bits.saturating_sub(SUB_BITS + 1);
    (shift as usize) * SUB + (nanos >> shift) as usize
}

fn upper_edge(index: usize) -> u64 {
    if index < 2 * SUB {
        return index as u64;
    }
    let shift = index / SUB - 1;
    ((index - shift * SUB + 1) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_two_percent_of_the_value() {
        let mut histogram = Histogram::default();
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (quantile, want) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let got = histogram.micros_at(quantile);
            assert!((got / want - 1.0).abs() < 0.02, "{quantile}: got {got}, want {want}");
        }
        assert_eq!(histogram.count(), 10_000);
        assert_eq!(histogram.max_micros(), 10_000.0);
    }

    #[test]
    fn an_empty_histogram_reads_zero_and_a_huge_value_stays_in_range() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.micros_at(0.5), 0.0);
        histogram.record(Duration::from_secs(1 << 40));
        assert!(histogram.micros_at(0.5) > 0.0);
    }
}
