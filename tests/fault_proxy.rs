//! Provides a TCP proxy on loopback that breaks the traffic through it on demand.
//!
//! The proxy stands between Mainstay and a backend, carries HTTP and WebSockets, and tells them apart by their first
//! bytes. Nothing in it is specific to a scenario: a test target includes it with `mod fault_proxy`.
//!
//! - [`fault`]: the faults, as plain data
//! - [`rules`]: the effect of the current faults on bytes, pure
//! - [`frames`]: a record of what clients sent
//! - `proxy_stream`: one connection, which applies the rules
//! - `port`: a port that stays reserved while nothing listens on it

#![allow(dead_code, reason = "each test target uses its own part of this")]

use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub mod fault;
pub mod frames;
mod port;
mod proxy_stream;
pub mod rules;

use fault::{ActiveFault, CloseKind, FaultTarget, NetworkFault, NetworkFaultKind};
use frames::{ObservedTraffic, TrafficEvent};
use port::ReservedPort;

/// The current faults.
#[derive(Debug, Clone, Default)]
struct ActiveFaults {
    /// The number of the last fault.
    last_id: u64,
    /// The version, which rises with every change.
    version: u64,
    /// The cuts. They stay here, since every connection must find each of them.
    active: Vec<ActiveFault>,
}

/// Holds what everything in a proxy shares.
#[derive(Debug)]
struct ProxyShared {
    seed: u64,
    websocket_path: &'static str,
    faults: watch::Sender<ActiveFaults>,
    /// The version of the faults that the listener has applied.
    applied_version: watch::Sender<u64>,
    backend: watch::Sender<SocketAddr>,
    /// The number of connections that their clients have not closed.
    open: watch::Sender<usize>,
    /// A std mutex, since it is never held over an await.
    traffic: Mutex<ObservedTraffic>,
}

impl ProxyShared {
    fn traffic(&self) -> MutexGuard<'_, ObservedTraffic> {
        self.traffic.lock()
    }

    /// Records what one client sent, and returns the number of requests that it began.
    fn record(&self, sights: Vec<TrafficEvent>) -> u64 {
        let mut wire = self.traffic();
        let mut begun = 0;
        for sight in sights {
            match sight {
                TrafficEvent::Request(request) => {
                    begun += 1;
                    wire.requests.push(request);
                }
                TrafficEvent::BodyEnd(connection) => {
                    let last = wire.requests.iter_mut().rfind(|request| request.connection == connection);
                    last.expect("a body comes after its head").is_whole = true;
                }
                TrafficEvent::Text(text) => wire.texts.push(text),
            }
        }
        begun
    }
}

/// A running proxy. When it is dropped, it closes all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<ProxyShared>,
    tasks: JoinSet<()>,
}

impl FaultProxy {
    /// Starts to listen on a port of its own, for a backend at `backend` whose WebSockets are at `websocket_path`.
    /// `seed` determines the jitter of each piece.
    pub async fn start(backend: SocketAddr, websocket_path: &'static str, seed: u64) -> io::Result<Self> {
        let port = ReservedPort::reserve()?;
        let address = port.address;
        let listener = port.listen()?;
        let shared = Arc::new(ProxyShared {
            seed,
            websocket_path,
            faults: watch::Sender::default(),
            applied_version: watch::Sender::new(0),
            backend: watch::Sender::new(backend),
            open: watch::Sender::new(0),
            traffic: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(port, listener, Arc::clone(&shared)));
        Ok(Self { address, shared, tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the backend's address for a client.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leads new connections to another backend.
    pub fn set_backend(&self, backend: SocketAddr) {
        self.shared.backend.send_replace(backend);
    }

    /// Begins a fault; it is in force when this returns.
    pub async fn begin(&self, fault: NetworkFault) -> u64 {
        let mut id = 0;
        self.change(|faults| {
            faults.last_id += 1;
            id = faults.last_id;
            faults.active.push(ActiveFault { id, fault });
        })
        .await;
        id
    }

    /// Ends a fault. A cut ends as soon as it begins.
    pub async fn end(&self, id: u64) {
        self.change(|faults| faults.active.retain(|fault| fault.id != id || is_cut(fault))).await;
    }

    /// Ends all faults.
    pub async fn clear(&self) {
        self.change(|faults| faults.active.retain(is_cut)).await;
    }

    async fn change(&self, change: impl FnOnce(&mut ActiveFaults)) {
        let mut version = 0;
        self.shared.faults.send_modify(|faults| {
            change(faults);
            faults.version += 1;
            version = faults.version;
        });
        let mut obeyed = self.shared.applied_version.subscribe();
        obeyed.wait_for(|obeyed| *obeyed >= version).await.expect("the proxy is running");
    }

    /// Returns everything that clients sent so far.
    pub fn traffic(&self) -> ObservedTraffic {
        self.shared.traffic().clone()
    }

    /// Returns whether a client sent this text frame.
    pub fn has_seen(&self, text: &str) -> bool {
        self.shared.traffic().texts.iter().any(|seen| seen == text)
    }

    /// Returns the number of connections that their clients have not closed.
    pub fn open_connections(&self) -> usize {
        *self.shared.open.borrow()
    }

    /// Waits until every client has closed its connections.
    pub async fn wait_until_idle(&self) {
        let mut open = self.shared.open.subscribe();
        open.wait_for(|open| *open == 0).await.expect("the proxy is running");
    }

    /// Cuts everything, and returns when every task has ended.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

fn is_cut(fault: &ActiveFault) -> bool {
    matches!(fault.fault.kind, NetworkFaultKind::Cut(_))
}

/// Accepts connections, and closes them all when it is dropped.
async fn accept(port: ReservedPort, listener: TcpListener, shared: Arc<ProxyShared>) {
    let mut faults = shared.faults.subscribe();
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    for number in 1.. {
        let client = loop {
            let (version, refuses) = {
                let faults = faults.borrow_and_update();
                (faults.version, rules::refuses(&faults.active))
            };
            if refuses {
                listener = None;
            } else if listener.is_none() {
                listener = Some(port.listen().expect("the port is ours"));
            }
            shared.applied_version.send_replace(version);
            tokio::select! {
                biased;
                Ok(()) = faults.changed() => {}
                Some(_) = connections.join_next() => {}
                client = next(listener.as_ref()) => break client,
            }
        };
        let (since, drop) = {
            let faults = faults.borrow();
            (faults.last_id, drop_on_accept(&faults.active))
        };
        match drop {
            Some(CloseKind::Fin) => {}
            // If this fails, the connection is closed in the ordinary way.
            Some(CloseKind::Rst) => _ = client.set_zero_linger(),
            None => {
                _ = connections.spawn(proxy_stream::proxy_connection(
                    number,
                    since,
                    client,
                    Arc::clone(&shared),
                ))
            }
        }
    }
}

/// Returns the hangup that every new connection meets.
fn drop_on_accept(faults: &[ActiveFault]) -> Option<CloseKind> {
    faults.iter().find_map(|fault| match fault.fault.kind {
        NetworkFaultKind::DropNew(hangup) if fault.fault.target == FaultTarget::All => Some(hangup),
        _ => None,
    })
}

/// Accepts the next connection, except one that is gone before it is accepted.
async fn next(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        if let Ok((client, _)) = listener.accept().await {
            return client;
        }
    }
}
