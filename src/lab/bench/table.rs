//! Figures, and the table of them.

use std::fmt;

use serde_json::json;

use super::machine::Machine;

/// The better direction of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
}

/// One measured quantity, in one or more rounds.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    pub better: Better,
    /// The goal, if there is one.
    pub reach: Option<f64>,
    /// One value a round.
    pub values: Vec<f64>,
    /// Number of submits, messages or miners per value.
    pub count: u64,
    /// Rounds during which others used the machine.
    pub disturbed: u32,
}

impl Figure {
    /// Begins a figure without values.
    pub fn new(name: impl Into<String>, unit: &'static str, better: Better) -> Self {
        Self {
            name: name.into(),
            unit,
            better,
            reach: None,
            values: Vec::new(),
            count: 0,
            disturbed: 0,
        }
    }

    /// Sets the goal.
    pub const fn reach(mut self, reach: f64) -> Self {
        self.reach = Some(reach);
        self
    }

    /// Adds the value of one round of `count` submits, messages or miners.
    pub fn add(&mut self, value: f64, count: u64) {
        self.values.push(value);
        self.count += count;
    }

    /// Marks the last round as disturbed, if it was.
    pub fn mark(&mut self, is_disturbed: bool) {
        self.disturbed += u32::from(is_disturbed);
    }

    /// Returns the middle value.
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// Returns the best value.
    pub fn best(&self) -> f64 {
        let pick = match self.better {
            Better::Lower => f64::min,
            Better::Higher => f64::max,
        };
        self.values.iter().copied().fold(f64::NAN, pick)
    }

    fn is_reached(&self) -> Option<bool> {
        let median = self.median();
        self.reach.map(|reach| match self.better {
            Better::Lower => median <= reach,
            Better::Higher => median >= reach,
        })
    }

    /// Returns the number of rounds, the count in each, and the number of disturbed rounds.
    fn rounds(&self) -> String {
        let rounds = self.values.len();
        let each = self.count / (rounds.max(1) as u64);
        match self.disturbed {
            0 => format!("{rounds} × {each}"),
            disturbed => format!("{rounds} × {each}, {disturbed} disturbed"),
        }
    }

    fn cells(&self) -> [String; 6] {
        let sign = if self.better == Better::Lower { "≤" } else { "≥" };
        let reach = self.reach.map_or_else(String::new, |it| format!("{sign} {}", digits(it)));
        let verdict = match self.is_reached() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        [
            format!("{} ({})", self.name, self.unit),
            digits(self.best()),
            digits(self.median()),
            self.rounds(),
            reach,
            verdict.to_owned(),
        ]
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (best, median) = (digits(self.best()), digits(self.median()));
        write!(f, "{}: best {best}, median {median} {}", self.name, self.unit)
    }
}

/// Three significant digits, and no exponent.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Table {
    figures: Vec<Figure>,
    failures: Vec<String>,
}

impl Table {
    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Notes that a part could not be measured.
    pub fn fail(&mut self, text: String) {
        self.failures.push(text);
    }

    /// Returns `true` where every part was measured.
    pub const fn is_whole(&self) -> bool {
        self.failures.is_empty()
    }

    fn find(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// Adds the ratios between figures: to the bare pool, and to what the machine can do.
    pub fn derive(&mut self) {
        let crowd = [
            ("all mining, 64 at once, of the bare pool's rate", "all mining, 64 at once", 0.8),
            (
                "job to the last of the crowd, of the bare pool's time",
                "job to the last of the crowd",
                1.1,
            ),
        ];
        for (name, base, reach) in crowd {
            let of = |server: &str| self.find(&format!("{server}: {base}"));
            let (Some(gateway), Some(pool)) = (of("gateway"), of("bare pool")) else { continue };
            let mut ratio = Figure::new(name, "×", gateway.better).reach(reach);
            ratio.add(gateway.median() / pool.median(), gateway.count);
            self.add(ratio);
        }
        let check = self.find("limit: one share check").map(Figure::median);
        let loads: Vec<String> = self
            .figures
            .iter()
            .filter_map(|figure| figure.name.strip_prefix("limit: echo, ").map(str::to_owned))
            .collect();
        for load in loads {
            let echo = self.find(&format!("limit: echo, {load}")).map(Figure::median);
            for server in ["gateway", "bare pool"] {
                let submit = self.find(&format!("{server}: CPU per submit, {load}"));
                let (Some(submit), Some(echo), Some(check)) = (submit, echo, check) else {
                    continue;
                };
                let name = format!("{server}: CPU per submit, of echo + check, {load}");
                let mut ratio = Figure::new(name, "×", Better::Lower);
                let (median, count) = (submit.median(), submit.count);
                ratio.add(median / (echo + check), count);
                // The remainder on a CPU with SHA extensions, whose check takes 2 µs.
                let name = format!("{server}: CPU per submit, less the check, {load}");
                let mut rest = Figure::new(name, "µs", Better::Lower);
                rest.add(median - check, count);
                self.add(ratio);
                self.add(rest);
            }
        }
    }

    /// Returns everything as JSON.
    pub fn to_json(&self, machine: &Machine) -> serde_json::Value {
        let figures = self.figures.iter().map(|figure| {
            json!({
                "name": figure.name, "unit": figure.unit, "values": figure.values,
                "best": figure.best(), "median": figure.median(), "count": figure.count,
                "reach": figure.reach, "reached": figure.is_reached(),
                "disturbed": figure.disturbed,
            })
        });
        json!({
            "machine": machine.to_string(), "commit": machine.commit,
            "figures": figures.collect::<Vec<_>>(), "failures": self.failures,
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["what", "best", "median", "rounds × count", "reach", "reached"];
        writeln!(f, "\n| {} |\n| --- | ---: | ---: | ---: | ---: | --- |", heads.join(" | "))?;
        for figure in &self.figures {
            writeln!(f, "| {} |", figure.cells().join(" | "))?;
        }
        for failure in &self.failures {
            writeln!(f, "not measured: {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(values: &[f64], better: Better) -> Figure {
        Figure { values: values.to_vec(), ..Figure::new("f", "µs", better) }
    }

    #[test]
    fn median_and_best_are_those_of_the_rounds() {
        let lower = figure(&[3.0, 1.0, 2.0], Better::Lower).reach(2.0);
        assert_eq!((lower.best(), lower.median(), lower.is_reached()), (1.0, 2.0, Some(true)));
        let higher = figure(&[3.0, 1.0], Better::Higher).reach(2.5);
        assert_eq!((higher.best(), higher.median(), higher.is_reached()), (3.0, 2.0, Some(false)));
    }

    #[test]
    fn disturbed_rounds_are_shown() {
        let mut disturbed = figure(&[1.0, 2.0], Better::Lower);
        disturbed.count = 20;
        assert_eq!(disturbed.rounds(), "2 × 10");
        disturbed.mark(false);
        disturbed.mark(true);
        assert_eq!(disturbed.rounds(), "2 × 10, 1 disturbed");
    }

    #[test]
    fn ratios_are_made_where_both_sides_are_known() {
        let mut table = Table::default();
        for (name, value) in [
            ("gateway: job to the last of the crowd", 55.0),
            ("bare pool: job to the last of the crowd", 50.0),
        ] {
            let mut figure = Figure::new(name, "ms", Better::Lower);
            figure.add(value, 1);
            table.add(figure);
        }
        table.derive();
        let ratio = table.find("job to the last of the crowd, of the bare pool's time");
        assert_eq!(ratio.map(|it| digits(it.median())).as_deref(), Some("1.10"));
    }
}
