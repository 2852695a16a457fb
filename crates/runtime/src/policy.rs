//! Policy: plain data and pure functions. No runtime, no clock, no randomness in here.

mod delay;

pub use delay::Delay;
