//! Helpers that the tests of several folders share, and the tables of errors.

pub(crate) mod error_table;

use std::{io, net::SocketAddr, time::Duration};

use mainstay_runtime::journal::{Delivery, Event, JournalSubscription, Record};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpListener, TcpSocket},
};

pub(crate) const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Runs a test on one thread.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Runs a test on one thread whose clock is paused.
pub(crate) fn block_on_paused<T>(test: impl Future<Output = T>) -> T {
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    clock.unwrap().block_on(test)
}

/// Returns the next event of this kind.
pub(crate) async fn next_record(events: &mut JournalSubscription, kind: &str) -> Record {
    loop {
        let Delivery::Event(record) = events.next().await else { panic!("events are missing") };
        if record.kind == kind {
            return *record;
        }
    }
}

/// Returns the next event of this type.
pub(crate) async fn next_event<E: Event + DeserializeOwned>(events: &mut JournalSubscription) -> E {
    next_record(events, E::KIND).await.decode().unwrap()
}

// === servers on the loopback ===

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reserves an address at which nothing listens, and that no other socket gets.
pub(crate) fn reserve_address() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Returns a URL whose host has no address. Its label is too long for a name server to be asked.
pub(crate) fn unresolvable_url() -> String {
    format!("http://{}.invalid", "a".repeat(64))
}

/// Reads a request's head.
pub(crate) async fn try_read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap())
}

/// Reads a request's head, which must come.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    try_read_head(stream).await.unwrap()
}
