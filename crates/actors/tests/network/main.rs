//! Reaches the backend over HTTP and WebSocket: with certificates of a private authority, and through HTTP and SOCKS5
//! proxies, all on the loopback.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected should say so at once"
)]

mod backend;
mod certificates;
mod clients;
mod proxies;
mod server;
mod through_proxies;
mod tls;
