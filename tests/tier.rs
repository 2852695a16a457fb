//! Chooses how many cases a random test runs.
//!
//! Each `cargo test` runs few. With `MAINSTAY_TEST_THOROUGH=1` each test runs the number that its author found enough;
//! a larger number n runs n times as many. `MAINSTAY_TEST_SEED` runs the one seed that a failure printed.

#![allow(dead_code, reason = "each test crate uses a part")]

const THOROUGH: &str = "MAINSTAY_TEST_THOROUGH";
const SEED: &str = "MAINSTAY_TEST_SEED";

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, and is {text:?}")))
}

/// Returns how many cases to run: `quick`, or a multiple of `thorough`.
pub(crate) fn cases(quick: u32, thorough: u32) -> u32 {
    match number(THOROUGH) {
        None | Some(0) => quick,
        Some(factor) => thorough.saturating_mul(u32::try_from(factor).unwrap_or(u32::MAX)),
    }
}

/// Returns the only seed to run, if there is one.
pub(crate) fn seed() -> Option<u64> {
    number(SEED)
}

/// Returns the seeds to run: the only one, or one for each case.
pub(crate) fn seeds(quick: u32, thorough: u32) -> std::ops::Range<u64> {
    match seed() {
        Some(seed) => seed..seed.saturating_add(1),
        None => 0..cases(quick, thorough).into(),
    }
}
