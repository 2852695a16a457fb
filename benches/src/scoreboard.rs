//! What was measured, line by line, against what it should be.

use std::fmt::Write;

use crate::statistic::Sample;

/// One thing that was measured, for each contender that it was measured for.
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) mainstay: Sample,
    pub(crate) plain: Sample,
    pub(crate) kameo: Sample,
    pub(crate) target: Option<Target>,
}

/// What a line should show.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At most so many times plain ractor's figure.
    OfPlain(f64),
    /// At most so many times the figure of each of the others.
    OfBoth(f64),
    /// At most this figure.
    AtMost(f64),
}

impl Line {
    pub(crate) fn new(what: impl Into<String>, unit: &'static str) -> Self {
        let (mainstay, plain, kameo) = Default::default();
        Self { what: what.into(), unit, mainstay, plain, kameo, target: None }
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// What is held against the target, and the target; not a number if it could not be measured.
    fn reached(&self) -> Option<(f64, f64)> {
        let of = |peer: &Sample| self.mainstay.median() / peer.median();
        Some(match self.target? {
            Target::OfPlain(target) => (of(&self.plain), target),
            Target::OfBoth(target) => (worse(of(&self.plain), of(&self.kameo)), target),
            Target::AtMost(target) => (self.mainstay.median(), target),
        })
    }

    /// Whether the target is reached, give or take `tolerance` of it. A line without a target always passes.
    pub(crate) fn passes(&self, tolerance: f64) -> bool {
        self.reached().is_none_or(|(figure, target)| figure <= target * (1.0 + tolerance))
    }

    fn verdict(&self) -> String {
        let Some((_, target)) = self.reached() else { return String::new() };
        let word = if self.passes(0.0) { "PASS" } else { "MISS" };
        match self.target {
            Some(Target::OfPlain(_)) => format!("{word} (<= {target} of ractor)"),
            Some(Target::OfBoth(_)) => format!("{word} (<= {target} of each)"),
            Some(Target::AtMost(_)) | None => format!("{word} (<= {target})"),
        }
    }
}

/// The larger of two ratios; not a number if one of them is missing, unlike `f64::max`.
fn worse(one: f64, other: f64) -> f64 {
    if one.is_nan() || one > other { one } else { other }
}

/// All lines as a table.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut rows = vec![
        ["what", "unit", "mainstay", "ractor", "kameo", "/ractor", "/kameo", "target"].map(str::to_owned),
    ];
    rows.extend(lines.iter().map(|line| {
        [
            line.what.clone(),
            line.unit.to_owned(),
            figure(&line.mainstay),
            figure(&line.plain),
            figure(&line.kameo),
            ratio(&line.mainstay, &line.plain),
            ratio(&line.mainstay, &line.kameo),
            line.verdict(),
        ]
    }));
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            // Words to the left, figures to the right. Writing to a String cannot fail.
            let _ = match column {
                0 | 1 | 7 => write!(text, "{cell:<width$}  "),
                _ => write!(text, "{cell:>width$}  "),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// The median and, where there were several rounds, the quartiles.
fn figure(sample: &Sample) -> String {
    if sample.is_empty() {
        return "-".to_owned();
    }
    let (low, high) = sample.quartiles();
    let median = digits(sample.median());
    if low == high { median } else { format!("{median} [{}..{}]", digits(low), digits(high)) }
}

fn digits(figure: f64) -> String {
    if figure.abs() < 10.0 && figure.fract() != 0.0 { format!("{figure:.2}") } else { format!("{figure:.0}") }
}

fn ratio(ours: &Sample, theirs: &Sample) -> String {
    let ratio = ours.median() / theirs.median();
    if ratio.is_finite() { format!("{ratio:.2}") } else { "-".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(mainstay: f64, plain: f64, kameo: f64, target: Target) -> Line {
        let one =
            |figure: f64| if figure.is_nan() { Sample::default() } else { [figure].into_iter().collect() };
        Line { mainstay: one(mainstay), plain: one(plain), kameo: one(kameo), ..Line::new("x", "ns") }
            .target(target)
    }

    #[test]
    fn a_target_of_both_holds_against_the_faster_peer() {
        assert!(line(5.0, 5.0, 6.0, Target::OfBoth(1.0)).passes(0.0));
        assert!(!line(5.0, 9.0, 4.0, Target::OfBoth(1.0)).passes(0.0));
        assert!(!line(5.0, 4.0, 9.0, Target::OfBoth(1.0)).passes(0.0));
    }

    #[test]
    fn what_could_not_be_measured_is_missed() {
        assert!(!line(f64::NAN, 4.0, 4.0, Target::OfPlain(1.2)).passes(0.5));
        assert!(!line(4.0, f64::NAN, 4.0, Target::OfBoth(1.2)).passes(0.5));
        assert!(!line(f64::NAN, 4.0, 4.0, Target::AtMost(2.0)).passes(0.5));
    }

    #[test]
    fn the_tolerance_is_a_share_of_the_target() {
        let line = line(1.25, 1.0, 1.0, Target::OfPlain(1.2));
        assert!(!line.passes(0.0) && line.passes(0.1));
    }
}
