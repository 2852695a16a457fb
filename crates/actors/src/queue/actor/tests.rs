//! The queue's actor under its supervisor.
//!
//! - `script`: a transport that does as it is told; `scene`: a runtime with a queue over it, on a paused clock
//! - `turns`, `retries`, `departures`, `crashes`: what is promised, case by case
//! - `fates`: whatever happens, each request has exactly one fate
//! - `discretion`: what was sent does not come back in an error
//! - `errors`: each cause of an error, and its row in docs/errors.md
//! - `wire`: the same over real sockets

mod crashes;
mod departures;
mod discretion;
mod errors;
mod fates;
mod retries;
mod scene;
mod script;
mod turns;
mod wire;
