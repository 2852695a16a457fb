//! The queue's actor under its supervisor.
//!
//! - `script`: a transport that does as it is told; `scene`: a runtime with a queue over it, on a paused clock
//! - `turns`, `retries`, `held`, `shared`, `departures`, `crashes`: what is promised, case by case
//! - `fates`: whatever happens, each request has exactly one fate
//! - `wire`: the same over real sockets

mod crashes;
mod departures;
mod fates;
mod held;
mod retries;
mod scene;
mod script;
mod shared;
mod turns;
mod wire;
