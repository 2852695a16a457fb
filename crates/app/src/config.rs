//! The configuration.

mod duration;
mod size;

pub use duration::{DURATION_MAX, ParseDurationError, format_duration, parse_duration};
pub use size::{ParseSizeError, SIZE_MAX, format_size, parse_size};
