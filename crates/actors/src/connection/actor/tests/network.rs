//! A network of which every move is a test's: no system is asked, so the clock may be paused from the start.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{
    AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, copy_bidirectional, duplex, split,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::server::Peer;
use crate::connection::fault::{Fault, FaultKind};
use crate::connection::socket::{BoxedStream, Carrier};
use crate::connection::target::SocketTarget;

/// Bytes that are under way on one line at a time.
pub(super) const CHUNK_BYTES: usize = 16 << 10;

/// What becomes of a dial that begins now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Up,
    /// Each is refused at once.
    Refusing,
    /// Each is lost, and nothing comes back.
    Swallowing,
}

/// How long each [`CHUNK_BYTES`] are under way, in one direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) latency: Duration,
}

/// The way from a connection to its server.
pub(super) struct Network {
    line: Line,
    weather: Mutex<Weather>,
    /// The connections that are open, with the tasks that carry them.
    open: Mutex<JoinSet<()>>,
    dials: Mutex<u32>,
    arrivals: mpsc::Sender<DuplexStream>,
}

/// Where dials arrive.
pub(super) struct Arrivals(mpsc::Receiver<DuplexStream>);

impl Network {
    pub(super) fn new(line: Line, weather: Weather) -> (Arc<Self>, Arrivals) {
        let (arrivals, arriving) = mpsc::channel(16);
        let (open, dials) = (Mutex::default(), Mutex::default());
        (Arc::new(Self { line, weather: Mutex::new(weather), open, dials, arrivals }), Arrivals(arriving))
    }

    pub(super) fn target(self: &Arc<Self>) -> SocketTarget {
        let network = Arc::clone(self) as Arc<dyn Carrier>;
        SocketTarget::new("http://backend.example", "/ws").unwrap().carried_by(network)
    }

    pub(super) fn turn(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    /// Breaks every connection that is open.
    pub(super) fn break_all(&self) {
        self.open.lock().unwrap().abort_all();
    }

    /// How many dials there were.
    pub(super) fn dials(&self) -> u32 {
        *self.dials.lock().unwrap()
    }

    fn connect(&self) -> DuplexStream {
        let ((near, mut near_end), (mut far_end, far)) = (duplex(CHUNK_BYTES), duplex(CHUNK_BYTES));
        let latency = self.line.latency;
        self.arrivals.try_send(far).unwrap();
        self.open.lock().unwrap().spawn(async move {
            if latency.is_zero() {
                let _ = copy_bidirectional(&mut near_end, &mut far_end).await;
                return;
            }
            let ((near_read, near_write), (far_read, far_write)) = (split(near_end), split(far_end));
            tokio::join!(carry(near_read, far_write, latency), carry(far_read, near_write, latency));
        });
        near
    }
}

async fn carry(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, latency: Duration) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut chunk).await {
        sleep(latency).await;
        if to.write_all(&chunk[..bytes]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

impl Carrier for Network {
    fn open(&self) -> BoxFuture<'_, Result<BoxedStream, Fault>> {
        *self.dials.lock().unwrap() += 1;
        let weather = *self.weather.lock().unwrap();
        async move {
            match weather {
                Weather::Up => Ok(Box::new(self.connect()) as BoxedStream),
                Weather::Refusing => Err(Fault::new(FaultKind::Refused, "")),
                Weather::Swallowing => pending().await,
            }
        }
        .boxed()
    }
}

impl Arrivals {
    /// The next connection, with its handshake done.
    pub(super) async fn accept(&mut self) -> Peer<DuplexStream> {
        Peer::greet(self.0.recv().await.unwrap()).await
    }
}
