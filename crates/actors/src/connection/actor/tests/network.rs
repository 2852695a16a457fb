//! Simulates a network that the test controls completely. The system is not involved, so the clock may be paused from
//! the start.

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, copy_bidirectional, duplex, split},
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};

use super::server::WsPeer;
use crate::connection::{
    error::{ConnectionError, ConnectionErrorKind as Kind},
    socket::{BoxedStream, StreamConnector},
    target::SocketTarget,
};

/// The bytes in flight on one line at a time.
pub(super) const CHUNK_BYTES: usize = 16 << 10;

/// The fate of a new dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkState {
    Up,
    /// Every dial is refused at once.
    Refusing,
    /// Every dial is lost without an answer.
    Blackholing,
}

/// The latency of each [`CHUNK_BYTES`], in one direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkProfile {
    pub(super) latency: Duration,
}

/// The network between a connection and its server.
pub(super) struct Network {
    profile: LinkProfile,
    state: Mutex<NetworkState>,
    /// The open connections, with the tasks that carry them.
    open: Mutex<JoinSet<()>>,
    dials: Mutex<u32>,
    incoming: mpsc::Sender<DuplexStream>,
}

/// The server's end, where dials arrive.
pub(super) struct NetworkListener(mpsc::Receiver<DuplexStream>);

impl Network {
    pub(super) fn new(profile: LinkProfile, weather: NetworkState) -> (Arc<Self>, NetworkListener) {
        let (arrivals, arriving) = mpsc::channel(16);
        let (open, dials) = (Mutex::default(), Mutex::default());
        (
            Arc::new(Self { profile, state: Mutex::new(weather), open, dials, incoming: arrivals }),
            NetworkListener(arriving),
        )
    }

    pub(super) fn target(self: &Arc<Self>) -> SocketTarget {
        let network = Arc::clone(self) as Arc<dyn StreamConnector>;
        SocketTarget::new("http://backend.example", "/ws").unwrap().with_connector(network)
    }

    pub(super) fn set_state(&self, weather: NetworkState) {
        *self.state.lock() = weather;
    }

    /// Breaks every open connection.
    pub(super) fn break_all(&self) {
        self.open.lock().abort_all();
    }

    /// Returns the number of dials.
    pub(super) fn dials(&self) -> u32 {
        *self.dials.lock()
    }

    fn connect(&self) -> DuplexStream {
        let ((near, mut near_end), (mut far_end, far)) = (duplex(CHUNK_BYTES), duplex(CHUNK_BYTES));
        let latency = self.profile.latency;
        self.incoming.try_send(far).unwrap();
        self.open.lock().spawn(async move {
            if latency.is_zero() {
                let _ = copy_bidirectional(&mut near_end, &mut far_end).await;
                return;
            }
            let ((near_read, near_write), (far_read, far_write)) = (split(near_end), split(far_end));
            tokio::join!(
                forward_bytes(near_read, far_write, latency),
                forward_bytes(far_read, near_write, latency)
            );
        });
        near
    }
}

async fn forward_bytes(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, latency: Duration) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut chunk).await {
        sleep(latency).await;
        if to.write_all(&chunk[..bytes]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

impl StreamConnector for Network {
    fn connect(&self) -> BoxFuture<'_, Result<BoxedStream, ConnectionError>> {
        *self.dials.lock() += 1;
        let weather = *self.state.lock();
        async move {
            match weather {
                NetworkState::Up => Ok(Box::new(self.connect()) as BoxedStream),
                NetworkState::Refusing => Err(ConnectionError::new(Kind::Refused, "")),
                NetworkState::Blackholing => pending().await,
            }
        }
        .boxed()
    }
}

impl NetworkListener {
    /// Accepts the next connection and its handshake.
    pub(super) async fn accept(&mut self) -> WsPeer<DuplexStream> {
        WsPeer::accept(self.0.recv().await.unwrap()).await
    }
}
