//! What was measured, line by line, against what it should be.

use std::fmt::Write;

use crate::statistics::SampleSet;

/// What Mainstay is measured beside, where nothing else is said.
const FRAMEWORKS: &[&str] = &["ractor", "kameo"];

/// One thing that was measured, for each contender that it was measured for.
pub(crate) struct ScoreLine {
    pub(crate) what: String,
    unit: &'static str,
    peers: &'static [&'static str],
    /// Mainstay's first, then the peers' in their order.
    samples: Vec<SampleSet>,
    target: Option<ScoreTarget>,
}

/// What a line should show.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ScoreTarget {
    /// At most so many times the first peer's figure.
    OfFirst(f64),
    /// At most so many times the figure of each peer.
    OfEach(f64),
    /// At most this figure.
    AtMost(f64),
}

impl ScoreLine {
    /// A line for Mainstay beside ractor and kameo.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str) -> Self {
        Self::against(FRAMEWORKS, what, unit)
    }

    /// A line for Mainstay beside these peers.
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

    /// Takes in one round: Mainstay's figure, then the peers' in their order.
    pub(crate) fn record(&mut self, figures: impl IntoIterator<Item = f64>) {
        for (contender, figure) in figures.into_iter().enumerate() {
            self.record_of(contender, figure);
        }
    }

    /// Takes in one figure: Mainstay's if `contender` is 0, else that of a peer.
    pub(crate) fn record_of(&mut self, contender: usize, figure: f64) {
        self.samples[contender].push(figure);
    }

    /// What was measured, Mainstay's first.
    pub(crate) fn samples(&self) -> &[SampleSet] {
        &self.samples
    }

    /// Mainstay's figure as a multiple of a peer's; not a number if either is missing.
    fn ratio(&self, peer: usize) -> f64 {
        let median = |contender: usize| self.samples.get(contender).map_or(f64::NAN, SampleSet::median);
        median(0) / median(peer)
    }

    /// What is held against the target, and the target; not a number if it could not be measured.
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

    /// Whether the target is reached, give or take `tolerance` of it. A line without a target always passes.
    pub(crate) fn passes(&self, tolerance: f64) -> bool {
        self.reached().is_none_or(|(figure, target)| figure <= target * (1.0 + tolerance))
    }

    fn verdict(&self) -> String {
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
        cells.push(self.verdict());
        cells
    }
}

/// The larger of two ratios; not a number if one of them is missing, unlike `f64::max`.
fn worse(one: f64, other: f64) -> f64 {
    if one.is_nan() || one > other { one } else { other }
}

/// All lines as tables: one for each stretch of lines with the same peers.
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
            // Words to the left, figures to the right. Writing to a String cannot fail.
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

/// The median and, where there were several rounds, the quartiles.
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

    fn line(mainstay: f64, plain: f64, kameo: f64, target: ScoreTarget) -> ScoreLine {
        let mut line = ScoreLine::new("x", "ns").target(target);
        for (contender, figure) in [mainstay, plain, kameo].into_iter().enumerate() {
            if !figure.is_nan() {
                line.record_of(contender, figure);
            }
        }
        line
    }

    #[test]
    fn a_target_of_each_holds_against_the_faster_peer() {
        assert!(line(5.0, 5.0, 6.0, ScoreTarget::OfEach(1.0)).passes(0.0));
        assert!(!line(5.0, 9.0, 4.0, ScoreTarget::OfEach(1.0)).passes(0.0));
        assert!(!line(5.0, 4.0, 9.0, ScoreTarget::OfEach(1.0)).passes(0.0));
    }

    #[test]
    fn a_target_of_the_first_peer_leaves_the_others_out() {
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
    fn the_tolerance_is_a_share_of_the_target() {
        let line = line(1.25, 1.0, 1.0, ScoreTarget::OfFirst(1.2));
        assert!(!line.passes(0.0) && line.passes(0.1));
    }

    #[test]
    fn lines_with_other_peers_have_a_table_of_their_own() {
        let lines = [ScoreLine::new("a", "ns"), ScoreLine::new("b", "ns"), ScoreLine::against(&["reqwest"], "c", "us")];
        let heads = tables(&lines).lines().filter(|line| line.starts_with("what")).count();
        assert_eq!(heads, 2);
    }
}
