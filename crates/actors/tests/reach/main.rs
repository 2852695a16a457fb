//! How the backend is reached, over HTTP and WebSocket alike: against servers with certificates of a private authority,
//! and through HTTP and SOCKS5 proxies, all on the loopback.

mod backend;
mod certificates;
mod clients;
mod listening;
mod proxies;
mod through_proxies;
mod tls;
