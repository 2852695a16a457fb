//! A TCP proxy on loopback that breaks what passes through it, on demand.
//!
//! It stands between Mainstay and a backend, carries HTTP and WebSockets alike, and tells the two apart by their first
//! bytes. Nothing in it is specific to a scenario: a test target takes it in with `mod fault_proxy`.
//!
//! - [`fault`]: what can be broken, as plain data
//! - [`rules`]: what the faults in force make of the bytes at hand, pure
//! - [`wire`]: what clients were seen to send
//! - `carriage`: one connection, which obeys
//! - `port`: a port that stays one's own while nothing listens on it

#![allow(dead_code, reason = "each test target uses its own part of this")]

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

mod carriage;
pub mod fault;
mod port;
pub mod rules;
#[cfg(test)]
mod tests;
pub mod wire;

use fault::{Evil, Fault, Hangup, InForce, Target};
use port::Port;
use wire::{Sight, Wire};

/// The faults as they stand.
#[derive(Debug, Clone, Default)]
struct Faults {
    /// Of the last fault that was begun.
    last_id: u64,
    /// Rises with every change.
    version: u64,
    /// Cuts stay here: who has not seen one yet must find it.
    in_force: Vec<InForce>,
}

/// What everything in a proxy shares.
#[derive(Debug)]
struct Shared {
    seed: u64,
    websocket_path: &'static str,
    faults: watch::Sender<Faults>,
    /// The version of the faults that the listener has obeyed.
    obeyed: watch::Sender<u64>,
    backend: watch::Sender<SocketAddr>,
    /// Connections whose client has not ended them.
    open: watch::Sender<usize>,
    /// A std mutex: it is never held over an await.
    wire: Mutex<Wire>,
}

impl Shared {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what one client was seen to send; says how many requests it began.
    fn note(&self, sights: Vec<Sight>) -> u64 {
        let mut wire = self.wire();
        let mut begun = 0;
        for sight in sights {
            match sight {
                Sight::Request(request) => {
                    begun += 1;
                    wire.requests.push(request);
                }
                Sight::Rest(connection) => {
                    let last = wire.requests.iter_mut().rfind(|request| request.connection == connection);
                    last.expect("a body comes after its head").is_whole = true;
                }
                Sight::Text(text) => wire.texts.push(text),
            }
        }
        begun
    }
}

/// A running proxy. Dropped, it ends with all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts to listen on a port of its own, for a backend at `backend` whose WebSockets are at `websocket_path`.
    /// `seed` decides how much jitter each piece meets.
    pub async fn start(backend: SocketAddr, websocket_path: &'static str, seed: u64) -> io::Result<Self> {
        let port = Port::reserve()?;
        let address = port.address;
        let listener = port.listen()?;
        let shared = Arc::new(Shared {
            seed,
            websocket_path,
            faults: watch::Sender::default(),
            obeyed: watch::Sender::new(0),
            backend: watch::Sender::new(backend),
            open: watch::Sender::new(0),
            wire: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(port, listener, Arc::clone(&shared)));
        Ok(Self { address, shared, tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of what is behind it, as far as a client is concerned.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on new connections lead to another backend.
    pub fn lead_to(&self, backend: SocketAddr) {
        self.shared.backend.send_replace(backend);
    }

    /// Lets a fault begin; it is in force when this returns.
    pub async fn begin(&self, fault: Fault) -> u64 {
        let mut id = 0;
        self.change(|faults| {
            faults.last_id += 1;
            id = faults.last_id;
            faults.in_force.push(InForce { id, fault });
        })
        .await;
        id
    }

    /// Lets a fault end. A cut has ended as soon as it began.
    pub async fn end(&self, id: u64) {
        self.change(|faults| faults.in_force.retain(|fault| fault.id != id || is_cut(fault))).await;
    }

    /// Lets all faults end.
    pub async fn heal(&self) {
        self.change(|faults| faults.in_force.retain(is_cut)).await;
    }

    async fn change(&self, change: impl FnOnce(&mut Faults)) {
        let mut version = 0;
        self.shared.faults.send_modify(|faults| {
            change(faults);
            faults.version += 1;
            version = faults.version;
        });
        let mut obeyed = self.shared.obeyed.subscribe();
        obeyed.wait_for(|obeyed| *obeyed >= version).await.expect("the proxy is running");
    }

    /// What clients were seen to send so far.
    pub fn wire(&self) -> Wire {
        self.shared.wire().clone()
    }

    /// How many connections their clients have not ended.
    pub fn open(&self) -> usize {
        *self.shared.open.borrow()
    }

    /// Returns when every client has ended its connections.
    pub async fn deserted(&self) {
        let mut open = self.shared.open.subscribe();
        open.wait_for(|open| *open == 0).await.expect("the proxy is running");
    }

    /// Cuts everything, and returns when every task has ended.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

fn is_cut(fault: &InForce) -> bool {
    matches!(fault.fault.evil, Evil::Cut(_))
}

/// Accepts connections, and ends them all when it is dropped.
async fn accept(port: Port, listener: TcpListener, shared: Arc<Shared>) {
    let mut faults = shared.faults.subscribe();
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    for number in 1.. {
        let client = loop {
            let (version, refuses) = {
                let faults = faults.borrow_and_update();
                (faults.version, rules::refuses(&faults.in_force))
            };
            if refuses {
                listener = None;
            } else if listener.is_none() {
                listener = Some(port.listen().expect("the port is ours"));
            }
            shared.obeyed.send_replace(version);
            tokio::select! {
                biased;
                Ok(()) = faults.changed() => {}
                Some(_) = connections.join_next() => {}
                client = next(listener.as_ref()) => break client,
            }
        };
        let (since, drop) = {
            let faults = faults.borrow();
            (faults.last_id, dropped_unheard(&faults.in_force))
        };
        match drop {
            Some(Hangup::Fin) => {}
            // Where this fails the connection is closed in the ordinary way.
            Some(Hangup::Rst) => _ = client.set_zero_linger(),
            None => _ = connections.spawn(carriage::carry(number, since, client, Arc::clone(&shared))),
        }
    }
}

/// The hangup that meets whoever comes, without a look at what he wants.
fn dropped_unheard(faults: &[InForce]) -> Option<Hangup> {
    faults.iter().find_map(|fault| match fault.fault.evil {
        Evil::DropNew(hangup) if fault.fault.target == Target::All => Some(hangup),
        _ => None,
    })
}

/// The next connection. One that is gone again before it was accepted is none.
async fn next(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        if let Ok((client, _)) = listener.accept().await {
            return client;
        }
    }
}
