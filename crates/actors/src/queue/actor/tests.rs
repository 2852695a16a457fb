//! Tests the queue's actor under its supervisor.
//!
//! - `scripted_transport`: a transport with planned responses; `fixture`: a runtime with a queue over it, on a paused
//!   clock
//! - `scheduling`, `retries`, `outages`, `shared`, `cancellation`, `crashes`: the promises, case by case
//! - `deaths`: requests over which the backend dies; `sends`: each send is an attempt, whatever the server does
//! - `streams`: streamed responses
//! - `single_outcome`: each request ends exactly once
//! - `over_http`, `transfers`: real sockets; `transfers` with bodies of any size
//! - `redaction`: no secret of a request comes back in an error
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
