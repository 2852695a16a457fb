//! Tests the link to the backend as an embedder sees it: it comes back by itself, can be switched off, and keeps to the
//! WebSocket protocol.

mod autobahn;
mod recovery;
mod server;
#[path = "../support.rs"]
mod support;
#[path = "../tier.rs"]
mod tier;
