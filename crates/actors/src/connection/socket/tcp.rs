//! Connects to a host by TCP: resolves the name and races its addresses.

use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use url::Host;

use super::io_error;
use crate::connection::error::ConnectionError;
use crate::network::urls::Endpoint;

/// The most lookups at a time. A lookup that hangs cannot be cancelled and holds a thread until the system gives up,
/// so repeated dials must not start one each. More than one, since only a new lookup succeeds after a change of
/// networks.
const LOOKUPS_MAX: usize = 4;
/// The most addresses tried for one name.
const ADDRESSES_MAX: usize = 16;
/// The delay before the next address is tried in parallel: RFC 8305's recommendation. Without it, a name whose first
/// address lies in a broken network (such as unroutable IPv6) would never be reached by its others.
const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Resolves names, a few at a time. Clones share the limit.
#[derive(Clone)]
pub(in crate::connection) struct Resolver {
    permits: Arc<Semaphore>,
}

/// Opens a TCP connection.
pub(super) async fn connect(resolver: &Resolver, endpoint: &Endpoint) -> Result<TcpStream, ConnectionError> {
    let addresses = resolver.resolve(endpoint).await.map_err(|error| io_error::from_lookup(&error))?;
    let connected = race(interleave_families(addresses), TcpStream::connect).await;
    let stream = connected.map_err(|error| io_error::from_connect(&error))?;
    // Frames are small and written completely: waiting for more data would only add latency.
    stream.set_nodelay(true).map_err(|error| io_error::from_connect(&error))?;
    Ok(stream)
}

impl Resolver {
    pub(in crate::connection) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    pub(super) async fn resolve(&self, endpoint: &Endpoint) -> io::Result<Vec<SocketAddr>> {
        let port = endpoint.port;
        match endpoint.host.clone() {
            Host::Ipv4(address) => Ok(vec![(address, port).into()]),
            Host::Ipv6(address) => Ok(vec![(address, port).into()]),
            Host::Domain(name) => {
                self.run(move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect)).await
            }
        }
    }

    /// Waits for a permit, which `lookup` then holds until it returns, even if its caller is gone.
    async fn run<T: Send + 'static>(
        &self,
        lookup: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
        let found = spawn_blocking(move || {
            let _slot = permit;
            lookup()
        });
        found.await.map_err(io::Error::other)?
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("free", &self.permits.available_permits()).finish()
    }
}

/// Alternates both address families, each in the given order; the first address stays first.
fn interleave_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let leads_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (leading, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == leads_v6);
    let mut others = others.into_iter();
    let mut ordered = Vec::new();
    for address in leading {
        ordered.push(address);
        ordered.extend(others.next());
    }
    ordered.extend(others);
    ordered.truncate(ADDRESSES_MAX);
    ordered
}

/// Returns the first connection that succeeds. Tries an address when the one before it has failed or its delay is
/// over.
async fn race<T, F>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    loop {
        attempts.extend(waiting.next().map(&connect));
        let mut next_attempt = pin!(sleep(CONNECTION_ATTEMPT_DELAY));
        tokio::select! {
            biased;
            attempt = attempts.next() => match attempt {
                Some(Ok(connection)) => return Ok(connection),
                Some(Err(error)) => failure = error,
                None => return Err(failure),
            },
            () = &mut next_attempt, if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::mpsc::sync_channel;

    use futures_util::poll;
    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn refused() -> io::Error {
        io::ErrorKind::ConnectionRefused.into()
    }

    #[tokio::test]
    async fn hanging_lookups_hold_a_bounded_number_of_threads() {
        let resolver = Resolver::new();
        let (begun_sender, begun) = sync_channel(1000);
        let (release, released) = sync_channel::<()>(0);
        let released = Arc::new(parking_lot::Mutex::new(released));
        for _ in 0..100 {
            let (begun, released) = (begun_sender.clone(), Arc::clone(&released));
            let lookup = resolver.run(move || {
                begun.send(()).unwrap();
                // Blocks until the other end is dropped.
                let _ = released.lock().recv();
                Ok(())
            });
            // The dial times out at once.
            assert!(poll!(pin!(lookup)).is_pending());
        }
        for _ in 0..LOOKUPS_MAX {
            begun.recv().unwrap();
        }
        drop(release);
        resolver.run(|| Ok(())).await.unwrap();
        drop(resolver.permits.acquire_many(u32::try_from(LOOKUPS_MAX).unwrap()).await.unwrap());
        assert!(begun.try_recv().is_err(), "a dial that was over began a lookup");
    }

    #[tokio::test]
    async fn address_needs_no_lookup() {
        let resolver = Resolver { permits: Arc::new(Semaphore::new(0)) };
        for address in ["[::1]:80", "127.0.0.1:80"] {
            let endpoint = Endpoint::new(address.trim_end_matches(":80"), 80).unwrap();
            assert_eq!(resolver.resolve(&endpoint).await.unwrap(), addresses(&[address]));
        }
    }

    #[test]
    fn addresses_alternate_families_and_are_bounded() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"]);
        assert_eq!(interleave_families(given), addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"]));
        let given = addresses(&["10.0.0.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(interleave_families(given.clone()), given);
        assert_eq!(interleave_families(vec![given[0]; 100]).len(), ADDRESSES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn each_silent_address_costs_one_connection_attempt_delay() {
        for given in
            [&["[::1]:1", "10.0.0.1:1"][..], &["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"]]
        {
            let (start, given) = (Instant::now(), addresses(given));
            let last = given[given.len() - 1];
            let connected = race(given.clone(), |address| async move {
                if address == last { Ok(address) } else { pending().await }
            });
            assert_eq!(connected.await.unwrap(), last);
            assert_eq!(start.elapsed(), CONNECTION_ATTEMPT_DELAY * (u32::try_from(given.len()).unwrap() - 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusing_address_is_followed_at_once() {
        let start = Instant::now();
        let given = addresses(&["[::1]:1", "10.0.0.1:1"]);
        let connected = race(given.clone(), |address| {
            ready(if address.is_ipv6() { Err(refused()) } else { Ok(address) })
        });
        assert_eq!(connected.await.unwrap(), given[1]);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn all_addresses_failing_returns_the_last_error() {
        let given = addresses(&["[::1]:1", "10.0.0.1:1"]);
        let unreachable = || io::Error::from(io::ErrorKind::NetworkUnreachable);
        let connected: io::Result<()> =
            race(given, |address| ready(Err(if address.is_ipv6() { unreachable() } else { refused() })))
                .await;
        assert_eq!(connected.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let connected: io::Result<()> = race(Vec::new(), |_| pending()).await;
        assert_eq!(connected.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }
}
