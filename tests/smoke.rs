//! Placeholder until the scenarios land.
