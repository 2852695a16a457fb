//! Computes medians and quartiles of many rounds.

/// The figures of all rounds, unordered.
#[derive(Debug, Clone, Default)]
pub(crate) struct SampleSet(Vec<f64>);

impl SampleSet {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Returns the largest figure, or NaN if there is none.
    pub(crate) fn largest(&self) -> f64 {
        self.quantile(1.0)
    }

    /// Returns the figure that this share of all do not exceed.
    pub(crate) fn share(&self, share: f64) -> f64 {
        self.quantile(share)
    }

    /// Returns the lower and the upper quartile: half of all rounds lie between them.
    pub(crate) fn quartiles(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }

    /// Interpolates linearly between neighbours. Returns NaN if there are no rounds.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
        let place = share * last as f64;
        let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        below + (above - below) * place.fract()
    }
}

impl FromIterator<f64> for SampleSet {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_quartiles_ignore_the_order() {
        let sample: SampleSet = [5.0, 1.0, 4.0, 2.0, 3.0].into_iter().collect();
        assert_eq!((sample.median(), sample.quartiles()), (3.0, (2.0, 4.0)));
    }

    #[test]
    fn median_of_an_even_number_is_the_middle() {
        let sample: SampleSet = [4.0, 1.0, 2.0, 3.0].into_iter().collect();
        assert_eq!(sample.median(), 2.5);
    }
}
