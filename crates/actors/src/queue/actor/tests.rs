//! The queue's actor under its supervisor.
//!
//! - `script`: a transport that does as it is told; `scene`: a runtime with a queue over it, on a paused clock
//! - `turns`, `retries`, `held`, `shared`, `departures`, `crashes`: what is promised, case by case
//! - `deaths`: what the backend dies over; `sends`: each send is an attempt, whatever the server does
//! - `streams`: answers that are read as they come
//! - `fates`: whatever happens, each request has exactly one fate
//! - `wire`, `transfers`: the same over real sockets, `transfers` with bodies of any size
//! - `discretion`: what was sent does not come back in an error
//! - `errors`: each cause of an error, and its row in docs/conformance/errors.md

mod cancellation;
mod crashes;
mod deaths;
mod errors;
mod fixture;
mod outages;
mod over_http;
mod redaction;
mod retries;
mod scheduling;
mod scripted_transport;
mod sends;
mod shared;
mod single_outcome;
mod streams;
mod transfers;
