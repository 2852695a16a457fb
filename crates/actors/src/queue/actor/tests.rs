//! The queue's actor under its supervisor.
//!
//! - `script`: a transport that does as it is told; `scene`: a runtime with a queue over it, on a paused clock
//! - `turns`, `retries`, `departures`, `crashes`: what is promised, case by case
//! - `streams`: answers that are read as they come
//! - `fates`: whatever happens, each request has exactly one fate
//! - `wire`: the same over real sockets

mod crashes;
mod departures;
mod fates;
mod retries;
mod scene;
mod script;
mod streams;
mod turns;
mod wire;
