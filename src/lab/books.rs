//! Three ledgers side by side, and whether they agree.

use std::fmt;

use serde_json::Value;

use crate::lab::pool::ledger::Ledger;
use crate::lab::rig::number;
use crate::lab::swarm::report::Report;

/// The counts of each party.
pub struct Books {
    pub report: Report,
    /// The gateway's `/api/v1/status`.
    pub status: Value,
    pub pool: Ledger,
}

/// One line of the table: one quantity as each party counted it.
struct Row {
    name: &'static str,
    swarm: Option<u64>,
    gateway: Option<u64>,
    pool: Option<u64>,
    /// Allowed difference between the parties: shares that a cut link left in doubt.
    doubt: u64,
}

/// The table.
pub struct Rows {
    rows: Vec<Row>,
    notes: Vec<String>,
    faults: Vec<String>,
}

impl Row {
    fn agrees(&self) -> bool {
        let known = [self.swarm, self.gateway, self.pool];
        let highest = known.iter().flatten().max();
        let lowest = known.iter().flatten().min();
        match (highest, lowest) {
            (Some(highest), Some(lowest)) => highest - lowest <= self.doubt,
            _ => true,
        }
    }
}

impl Rows {
    /// Compares the three books.
    pub fn of(books: &Books) -> Self {
        let Books { report, status, pool } = books;
        let of = |path: &str| number(status, path);
        // The pool may have judged a share whose answer was lost with the link, or may never have
        // read it. A share that was resent to a resumed session is a duplicate there.
        let orphaned = of("/ledger/orphaned");
        let doubt = orphaned + pool.rejected.duplicate;
        let row = |name, swarm, gateway, pool, doubt| Row { name, swarm, gateway, pool, doubt };
        let rows = vec![
            row("submitted", Some(report.submitted), Some(of("/ledger/submitted")), None, 0),
            row("accepted", Some(report.accepted), Some(of("/ledger/accepted")), None, 0),
            row("rejected", Some(report.rejected_total()), Some(of("/ledger/rejected")), None, 0),
            row("below upstream", None, Some(of("/ledger/below_upstream")), None, 0),
            row("forwarded", None, Some(of("/ledger/forwarded")), Some(pool.submitted), doubt),
            row(
                "pool accepted",
                None,
                Some(of("/ledger/pool_accepted")),
                Some(pool.accepted),
                doubt,
            ),
            row(
                "pool rejected",
                None,
                Some(of("/ledger/pool_rejected")),
                Some(pool.rejected.total()),
                doubt,
            ),
            row("orphaned", None, Some(orphaned), None, 0),
        ];
        let mut table = Self { rows, notes: Vec::new(), faults: Vec::new() };
        table.check_sums(books);
        table.check_conduct(books);
        if doubt > 0 {
            table.notes.push(format!(
                "{doubt} shares were in flight when a link was cut; the pool may have counted them"
            ));
        }
        table
    }

    /// Checks the sums within each party's own books.
    fn check_sums(&mut self, books: &Books) {
        let of = |path: &str| number(&books.status, path);
        let forwarded = of("/ledger/pool_accepted")
            + of("/ledger/pool_rejected")
            + of("/ledger/pending")
            + of("/ledger/held")
            + of("/ledger/orphaned");
        let accepted = of("/ledger/below_upstream") + of("/ledger/forwarded");
        let submitted = of("/ledger/accepted") + of("/ledger/rejected");
        let checks = [
            ("the swarm's own sums", books.report.is_balanced()),
            ("the pool's own sums", books.pool.is_balanced()),
            ("submitted = accepted + rejected", of("/ledger/submitted") == submitted),
            ("accepted = below upstream + forwarded", of("/ledger/accepted") == accepted),
            ("forwarded = answered + open + orphaned", of("/ledger/forwarded") == forwarded),
            ("nothing pending at the end", of("/ledger/pending") + of("/ledger/held") == 0),
            ("every submit was answered", books.report.pending + books.report.unanswered == 0),
            ("shares flowed", books.report.accepted > 0),
        ];
        let broken = checks.iter().filter(|(_, holds)| !holds);
        self.faults.extend(broken.map(|(name, _)| format!("does not hold: {name}")));
    }

    /// Checks that no miner was disconnected and no line came out of turn.
    fn check_conduct(&mut self, books: &Books) {
        let report = &books.report;
        let lost = report.disconnects_total();
        if lost > 0 {
            let causes = format!("{:?}", report.disconnects);
            self.faults.push(format!("{lost} miners were disconnected: {causes}"));
        }
        if !report.violations.is_empty() {
            self.faults.push(format!("the gateway sent unexpected lines: {:?}", report.violations));
        }
        let (up, direct) = (&books.pool.traffic, &report.traffic);
        let (up, direct) = (up.lines_in + up.lines_out, direct.lines_in + direct.lines_out);
        self.notes.push(format!(
            "lines to the pool and back: {} instead of {}",
            thousands(up),
            thousands(direct)
        ));
        if books.pool.starts > 1 {
            self.notes.push(format!(
                "the pool was started {} times; miners disconnected by that: {lost}",
                books.pool.starts
            ));
        }
    }

    /// Says whether all parties agree.
    pub fn agree(&self) -> bool {
        self.faults.is_empty() && self.rows.iter().all(Row::agrees)
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), thousands);
        writeln!(f, "{:<18}{:>14}{:>14}{:>14}", "", "swarm", "gateway", "pool")?;
        for row in &self.rows {
            let mark = if row.agrees() { "" } else { "   <- disagree" };
            let (swarm, gateway, pool) = (cell(row.swarm), cell(row.gateway), cell(row.pool));
            writeln!(f, "{:<18}{swarm:>14}{gateway:>14}{pool:>14}{mark}", row.name)?;
        }
        for line in self.notes.iter().chain(&self.faults) {
            writeln!(f, "{line}")?;
        }
        f.write_str(if self.agree() { "the three ledgers agree" } else { "THE LEDGERS DISAGREE" })
    }
}

/// Writes a count with its thousands apart.
pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn books() -> Books {
        let report = Report {
            submitted: 100,
            accepted: 99,
            rejected: [(21, 1)].into(),
            ..Report::default()
        };
        let pool = Ledger { submitted: 5, accepted: 5, ..Ledger::default() };
        let status = json!({"ledger": {
            "submitted": 100, "accepted": 99, "below_upstream": 94, "forwarded": 5,
            "pool_accepted": 5, "pool_rejected": {}, "rejected": {"stale": 1},
            "pending": 0, "held": 0, "orphaned": {},
        }});
        Books { report, status, pool }
    }

    #[test]
    fn equal_books_agree() {
        let rows = Rows::of(&books());
        assert!(rows.agree(), "{rows}");
    }

    #[test]
    fn one_share_too_many_is_seen() {
        let mut books = books();
        books.pool.submitted += 1;
        books.pool.accepted += 1;
        let rows = Rows::of(&books);
        assert!(!rows.agree());
        assert!(rows.to_string().contains("<- disagree"));
    }

    #[test]
    fn a_cut_link_leaves_its_orphans_in_doubt_and_no_more() {
        let mut books = books();
        books.status["ledger"]["orphaned"] = json!({"unanswered": 2});
        books.status["ledger"]["pool_accepted"] = json!(3);
        assert!(Rows::of(&books).agree());
        books.pool.submitted += 3;
        books.pool.accepted += 3;
        assert!(!Rows::of(&books).agree());
    }

    #[test]
    fn a_lost_miner_is_a_fault() {
        let mut books = books();
        books.report.disconnects = [("closed by the server".to_owned(), 1)].into();
        assert!(!Rows::of(&books).agree());
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
