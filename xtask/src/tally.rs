//! Adds up the results of `cargo test`, one line per test program.

/// Tests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Tally {
    /// Counts a part of a trial as a test.
    pub fn count<T, E>(&mut self, outcome: &Result<T, E>) {
        match outcome {
            Ok(_) => self.passed += 1,
            Err(_) => self.failed += 1,
        }
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Subtracts skipped tests from the passed ones: they returned because they could not run.
    pub fn skip(&mut self, count: u64) {
        self.passed = self.passed.saturating_sub(count);
        self.skipped += count;
    }

    /// Adds the counts of a line that begins with `test result:`; ignores every other line.
    pub fn read(&mut self, line: &str) {
        let Some(counts) = line.trim_start().strip_prefix("test result:") else { return };
        let counts = counts.split_once(". ").map_or(counts, |(_verdict, counts)| counts);
        for count in counts.split(';') {
            let Some((number, word)) = count.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_the_lines_of_several_programs() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test wire::tests::reads ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 0.00s",
            "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; \
             finished in 1.25s",
        ] {
            tally.read(line);
        }
        assert_eq!(tally.to_string(), "10 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn f102_what_could_not_run_has_not_passed() {
        let mut tally = Tally { passed: 5, failed: 1, skipped: 0 };
        tally.skip(2);
        assert_eq!(tally.to_string(), "3 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn ignores_other_lines() {
        let mut tally = Tally::default();
        tally.read("the test result: 3 passed");
        assert_eq!(tally, Tally::default());
    }
}
