//! Randomness, passed in and seeded.

use parking_lot::Mutex;

/// The runtime's one source of randomness. The same seed gives the same numbers. It is not fit for secrets.
#[derive(Debug)]
pub struct Rng(Mutex<fastrand::Rng>);

impl Rng {
    /// Returns a source whose numbers follow from `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    /// Returns a source that differs from run to run.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self(Mutex::new(fastrand::Rng::new()))
    }

    /// Returns a number in `[0, 1)`.
    pub fn unit(&self) -> f64 {
        self.with_rng(fastrand::Rng::f64)
    }

    /// Returns any 64 bits.
    pub fn bits(&self) -> u64 {
        self.with_rng(|rng| rng.u64(..))
    }

    fn with_rng<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_numbers() {
        let (a, b) = (Rng::seeded(7), Rng::seeded(7));
        assert!((0..100).all(|_| a.bits() == b.bits()));
    }
}
