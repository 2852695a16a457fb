//! Holds the figures, line by line, against their targets.

use std::fmt::Write;

use crate::statistics::SampleSet;

/// The peers where no others are given.
const FRAMEWORKS: &[&str] = &["ractor", "kameo"];

/// The figures of one measurement, for each contender.
pub(crate) struct ScoreLine {
    pub(crate) what: String,
    unit: &'static str,
    peers: &'static [&'static str],
    /// The figures of Mainstay first, then the peers' in their order.
    samples: Vec<SampleSet>,
    target: Option<ScoreTarget>,
}

/// The target of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ScoreTarget {
    /// The largest multiple of the first peer's figure.
    OfFirst(f64),
    /// The largest multiple of each peer's figure.
    OfEach(f64),
    /// The largest figure.
    AtMost(f64),
}

impl ScoreLine {
    /// Makes a line for Mainstay beside ractor and kameo.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str) -> Self {
        Self::against(FRAMEWORKS, what, unit)
    }

    /// Makes a line for Mainstay beside these peers.
    pub(crate) fn against(
        peers: &'static [&'static str],
        what: impl Into<String>,
        unit: &'static str,
    ) -> Self {
        let samples = vec![SampleSet::default(); peers.len() + 1];
        Self { what: what.into(), unit, peers, samples, target: None }
    }

    pub(crate) fn target(mut self, target: ScoreTarget) -> Self {
        self.target = Some(target);
        self
    }

    /// Records one round: Mainstay's figure, then the peers' in their order.
    pub(crate) fn record(&mut self, figures: impl IntoIterator<Item = f64>) {
        for (contender, figure) in figures.into_iter().enumerate() {
            self.record_of(contender, figure);
        }
    }

    /// Records one figure: Mainstay's if `contender` is 0, else that of a peer.
    pub(crate) fn record_of(&mut self, contender: usize, figure: f64) {
        self.samples[contender].push(figure);
    }

    /// Returns the figures, Mainstay's first.
    pub(crate) fn samples(&self) -> &[SampleSet] {
        &self.samples
    }

    /// Returns Mainstay's figure as a multiple of a peer's, or NaN if either is missing.
    fn ratio(&self, peer: usize) -> f64 {
        let median = |contender: usize| self.samples.get(contender).map_or(f64::NAN, SampleSet::median);
        median(0) / median(peer)
    }

    /// Returns the figure for the target and the target. The figure is NaN if it could not be measured.
    fn reached(&self) -> Option<(f64, f64)> {
        Some(match self.target? {
            ScoreTarget::OfFirst(target) => (self.ratio(1), target),
            ScoreTarget::OfEach(target) => {
                let ratios = (1..self.samples.len()).map(|peer| self.ratio(peer));
                (ratios.reduce(worse).unwrap_or(f64::NAN), target)
            }
            ScoreTarget::AtMost(target) => (self.samples[0].median(), target),
        })
    }

    /// Returns whether the target is reached, within `tolerance` as a share of it. A line without a target always passes.
    pub(crate) fn passes(&self, tolerance: f64) -> bool {
        self.reached().is_none_or(|(figure, target)| figure <= target * (1.0 + tolerance))
    }

    fn result(&self) -> String {
        let Some((_, target)) = self.reached() else { return String::new() };
        let word = if self.passes(0.0) { "PASS" } else { "MISS" };
        match (self.target, self.peers) {
            (Some(ScoreTarget::OfFirst(_)), [first, ..]) => format!("{word} (<= {target} of {first})"),
            (Some(ScoreTarget::OfEach(_)), _) => format!("{word} (<= {target} of each)"),
            _ => format!("{word} (<= {target})"),
        }
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.what.clone(), self.unit.to_owned()];
        cells.extend(self.samples.iter().map(figure));
        cells.extend((1..self.samples.len()).map(|peer| format_ratio(self.ratio(peer))));
        cells.push(self.result());
        cells
    }
}

/// Returns the larger of two ratios, or NaN if one is missing, unlike `f64::max`.
fn worse(one: f64, other: f64) -> f64 {
    if one.is_nan() || one > other { one } else { other }
}

/// Renders all lines as tables: one for each run of lines with the same peers.
pub(crate) fn tables(lines: &[ScoreLine]) -> String {
    let tables: Vec<_> = lines.chunk_by(|one, next| one.peers == next.peers).map(table).collect();
    tables.join("\n")
}

fn table(lines: &[ScoreLine]) -> String {
    let Some(peers) = lines.first().map(|line| line.peers) else { return String::new() };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut head = words(&["what", "unit", "mainstay"]);
    head.extend(words(peers));
    head.extend(peers.iter().map(|peer| format!("/{peer}")));
    head.push("target".to_owned());
    let mut rows = vec![head];
    rows.extend(lines.iter().map(ScoreLine::cells));
    let last = rows[0].len() - 1;
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            // Words are aligned left, figures right. Writing to a String cannot fail.
            let _ = match column {
                0 | 1 => write!(text, "{cell:<width$}  "),
                _ if column == last => write!(text, "{cell:<width$}  "),
                _ => write!(text, "{cell:>width$}  "),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Renders the median and, for several rounds, the quartiles.
fn figure(sample: &SampleSet) -> String {
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

fn format_ratio(ratio: f64) -> String {
    if ratio.is_finite() { format!("{ratio:.2}") } else { "-".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(mainstay: f64, ractor: f64, kameo: f64, target: ScoreTarget) -> ScoreLine {
        let mut line = ScoreLine::new("x", "ns").target(target);
        for (contender, figure) in [mainstay, ractor, kameo].into_iter().enumerate() {
            if !figure.is_nan() {
                line.record_of(contender, figure);
            }
        }
        line
    }

    #[test]
    fn target_of_each_applies_to_the_fastest_peer() {
        assert!(line(5.0, 5.0, 6.0, ScoreTarget::OfEach(1.0)).passes(0.0));
        assert!(!line(5.0, 9.0, 4.0, ScoreTarget::OfEach(1.0)).passes(0.0));
        assert!(!line(5.0, 4.0, 9.0, ScoreTarget::OfEach(1.0)).passes(0.0));
    }

    #[test]
    fn target_of_first_ignores_other_peers() {
        assert!(line(5.0, 5.0, 1.0, ScoreTarget::OfFirst(1.0)).passes(0.0));
        assert!(!line(5.0, 4.0, 9.0, ScoreTarget::OfFirst(1.0)).passes(0.0));
    }

    #[test]
    fn unmeasured_figure_misses_its_target() {
        assert!(!line(f64::NAN, 4.0, 4.0, ScoreTarget::OfFirst(1.2)).passes(0.5));
        assert!(!line(4.0, f64::NAN, 4.0, ScoreTarget::OfFirst(1.2)).passes(0.5));
        assert!(!line(4.0, f64::NAN, 4.0, ScoreTarget::OfEach(1.2)).passes(0.5));
        assert!(!line(f64::NAN, 4.0, 4.0, ScoreTarget::AtMost(2.0)).passes(0.5));
    }

    #[test]
    fn tolerance_is_a_share_of_the_target() {
        let line = line(1.25, 1.0, 1.0, ScoreTarget::OfFirst(1.2));
        assert!(!line.passes(0.0) && line.passes(0.1));
    }

    #[test]
    fn lines_with_other_peers_form_a_second_table() {
        let lines = [
            ScoreLine::new("a", "ns"),
            ScoreLine::new("b", "ns"),
            ScoreLine::against(&["reqwest"], "c", "us"),
        ];
        let heads = tables(&lines).lines().filter(|line| line.starts_with("what")).count();
        assert_eq!(heads, 2);
    }
}
