//! Checks that the server at the backend's port is the backend.
//!
//! A port is free when a start is given it, and any program may take it before the backend does. Only Linux shows who
//! listens; elsewhere every listener passes. So does a listener whose process the system hides.

#[cfg(target_os = "linux")]
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

#[cfg(target_os = "linux")]
use self::table::{Listener, own_user, read_listeners};
use super::super::child::ProcessIdentity;
use super::super::readiness::{PROBE_INTERVAL, PROBE_TIMEOUT, Probe, ProbeResult, run_probe};
#[cfg(target_os = "linux")]
use super::super::system::{SocketHolder, find_socket_holder};
use crate::error::Error;
#[cfg(target_os = "linux")]
use crate::error::Reason;
use crate::logs::ProcessLog;

/// The pause between two looks at a port that another program has taken. Each reads the descriptors of many processes.
const FOREIGN_INTERVAL: Duration = Duration::from_millis(500);

/// The owner of an assigned port at one moment.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux shows who listens"))]
#[derive(Debug, Clone, PartialEq, Eq)]
enum PortOwner {
    /// No listener is in the system's table.
    None,
    /// The backend's processes listen, or the superuser does.
    Backend,
    /// The system does not show who listens.
    Unknown,
    /// A program of this user listens that is not the backend, as this text says.
    Foreign(String),
}

/// Keeps the probe of an assigned address away from every listener that is not the backend's.
#[derive(Debug)]
pub(super) struct ListenerGuard {
    port: u16,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux shows who listens"))]
    process: ProcessIdentity,
    log: ProcessLog,
    /// The listener that has the port, if it is not the backend's.
    foreign: Mutex<Option<String>>,
    /// True once the log has said so.
    is_logged: AtomicBool,
    /// The listening sockets that are the backend's. An inode is not used again soon.
    #[cfg(target_os = "linux")]
    verified: Mutex<BTreeSet<u64>>,
}

impl ListenerGuard {
    pub(super) fn new(port: u16, process: ProcessIdentity, log: ProcessLog) -> Self {
        Self {
            port,
            process,
            log,
            foreign: Mutex::default(),
            is_logged: AtomicBool::new(false),
            #[cfg(target_os = "linux")]
            verified: Mutex::default(),
        }
    }

    /// Returns once the probe finds a server ready which is the backend, before the probe and after it.
    ///
    /// While a program of this user listens that is not the backend's, nothing is sent to it. The log says so once.
    ///
    /// # Errors
    /// `unavailable`, if another user listens.
    pub(super) async fn wait_until_ready(&self, probe: &Probe) -> Result<(), Error> {
        loop {
            if self.is_of_backend().await?
                && run_probe(probe).await == ProbeResult::Ready
                && self.is_of_backend().await?
            {
                return Ok(());
            }
            let pause = if self.foreign.lock().is_some() { FOREIGN_INTERVAL } else { PROBE_INTERVAL };
            sleep(pause).await;
        }
    }

    /// Returns a text about the program that has the port, if it was not the backend's at the last look.
    pub(super) fn foreign_listener(&self) -> Option<String> {
        self.foreign.lock().clone()
    }

    /// Returns whether the probe may speak to the listener, and notes it if it may not.
    async fn is_of_backend(&self) -> Result<bool, Error> {
        let owner = self.find_owner().await?;
        self.note_foreign(&owner);
        Ok(match owner {
            PortOwner::Backend | PortOwner::Unknown => true,
            PortOwner::Foreign(_) => false,
            // Only the system's own rules, which are the superuser's, lead from a port without listener to a server.
            PortOwner::None => self.accepts().await && self.find_owner().await? == PortOwner::None,
        })
    }

    /// Returns whether the port accepts a connection. Nothing is sent.
    async fn accepts(&self) -> bool {
        let connect = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        timeout(PROBE_TIMEOUT, connect).await.is_ok_and(|connected| connected.is_ok())
    }

    fn note_foreign(&self, owner: &PortOwner) {
        let foreign = if let PortOwner::Foreign(text) = owner { Some(text.clone()) } else { None };
        if let Some(text) = &foreign
            && !self.is_logged.swap(true, Ordering::Relaxed)
        {
            // Once: a process that the program starts shares its socket for a moment, and has another name.
            self.log.note(text);
        }
        *self.foreign.lock() = foreign;
    }

    #[cfg(target_os = "linux")]
    async fn find_owner(&self) -> Result<PortOwner, Error> {
        let Some(listeners) = read_listeners(self.port).await else { return Ok(PortOwner::Unknown) };
        refuse_other_user(&listeners, self.port)?;
        let reached = table::reached(&listeners);
        if reached.is_empty() {
            return Ok(PortOwner::None);
        }
        // As superuser, the runtime takes the listeners of that user for those of its own.
        let own = reached.iter().filter(|listener| listener.user == own_user());
        let inodes: BTreeSet<u64> = own.map(|listener| listener.inode).collect();
        if inodes.is_subset(&self.verified.lock()) {
            return Ok(PortOwner::Backend);
        }
        if inodes.contains(&table::HIDDEN_INODE) {
            return Ok(PortOwner::Unknown);
        }
        Ok(match find_socket_holder(&self.process, inodes.clone()).await {
            SocketHolder::Own => {
                *self.verified.lock() = inodes;
                PortOwner::Backend
            }
            SocketHolder::Unknown => PortOwner::Unknown,
            SocketHolder::Other(process) => PortOwner::Foreign(describe_foreign(self.port, process)),
        })
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unused_async, clippy::unused_self, reason = "on Linux it reads files")]
    async fn find_owner(&self) -> Result<PortOwner, Error> {
        Ok(PortOwner::Unknown)
    }
}

/// Returns whether a server listens at an assigned port before the backend is started.
#[cfg(target_os = "linux")]
pub(super) async fn is_taken(port: u16) -> bool {
    read_listeners(port).await.is_some_and(|listeners| !table::reached(&listeners).is_empty())
}

#[cfg(not(target_os = "linux"))]
#[allow(clippy::unused_async, reason = "on Linux it reads files")]
pub(super) async fn is_taken(_: u16) -> bool {
    false
}

/// Refuses a port on which another user of this computer listens, who would be sent the backend's secret.
///
/// Listeners of this user and of the superuser pass: they could read the secret in any case.
///
/// # Errors
/// `unavailable`, with the user's id.
#[cfg(target_os = "linux")]
pub(super) async fn check_user(port: u16) -> Result<(), Error> {
    refuse_other_user(&read_listeners(port).await.unwrap_or_default(), port)
}

#[cfg(not(target_os = "linux"))]
#[allow(clippy::unused_async, reason = "on Linux it reads files")]
pub(super) async fn check_user(_: u16) -> Result<(), Error> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn refuse_other_user(listeners: &[Listener], port: u16) -> Result<(), Error> {
    let Some(other) = table::other_user(listeners, own_user()) else { return Ok(()) };
    Err(Error::new(Reason::Unavailable).with_details(&format!(
        "another user of this computer (id {other}) listens on port {port}, which was given to the backend"
    )))
}

/// Returns a text about a listener that is not the backend's, with what to do.
#[cfg(target_os = "linux")]
fn describe_foreign(port: u16, process: Option<(u32, String)>) -> String {
    let program = match process {
        Some((pid, name)) if name.is_empty() => format!("process {pid}"),
        Some((pid, name)) => format!("{name:?} (process {pid})"),
        None => "a process that the system does not name".to_owned(),
    };
    format!(
        "port {port}, which was given to the backend, is taken by {program}, which is not a process of the backend; \
         stop that program, or, if it serves for the backend, configure a fixed `url` or ready = \"stdout:TEXT\""
    )
}

/// Reads the listeners of a port from the tables that proc_net_tcp(5) describes.
#[cfg(target_os = "linux")]
mod table {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::fs::File;
    use tokio::io::AsyncReadExt;

    /// The part of a table that is read, in bytes. The kernel writes listeners before connections.
    const TABLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

    const SUPERUSER: u32 = 0;

    /// The state of a listening socket in the table.
    const LISTENS: &str = "0A";

    /// Stands in the table of a system that hides the inode.
    pub(super) const HIDDEN_INODE: u64 = 0;

    /// A listening socket.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct Listener {
        pub(super) user: u32,
        pub(super) inode: u64,
        /// The fit of its address for connections to 127.0.0.1, of which the best gets them all; `None` if it gets none.
        pub(super) fit: Option<AddressFit>,
    }

    /// The fit of a listener's address for a connection, as the kernel ranks it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(super) enum AddressFit {
        AnyIpv6,
        AnyIpv4,
        MappedIpv4,
        Exact,
    }

    pub(super) fn own_user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// Returns the listeners of the port, or `None` if the system shows no table.
    pub(super) async fn read_listeners(port: u16) -> Option<Vec<Listener>> {
        let mut listeners = parse(&read_table("/proc/net/tcp").await?, port);
        // A system without IPv6 has no second table.
        if let Some(table) = read_table("/proc/net/tcp6").await {
            listeners.extend(parse(&table, port));
        }
        Some(listeners)
    }

    async fn read_table(path: &str) -> Option<String> {
        let mut table = Vec::new();
        File::open(path).await.ok()?.take(TABLE_BYTES_MAX).read_to_end(&mut table).await.ok()?;
        Some(String::from_utf8_lossy(&table).into_owned())
    }

    /// Returns the user that listens on the port, if it is neither the runtime's own nor the superuser.
    pub(super) fn other_user(listeners: &[Listener], own: u32) -> Option<u32> {
        listeners.iter().map(|listener| listener.user).find(|user| *user != own && *user != SUPERUSER)
    }

    /// Returns the listeners that connections to 127.0.0.1 reach.
    pub(super) fn reached(listeners: &[Listener]) -> Vec<Listener> {
        let best = listeners.iter().filter_map(|listener| listener.fit).max();
        listeners.iter().filter(|listener| listener.fit.is_some() && listener.fit == best).copied().collect()
    }

    pub(super) fn parse(table: &str, port: u16) -> Vec<Listener> {
        table.lines().filter_map(|line| parse_line(line, port)).collect()
    }

    fn parse_line(line: &str, port: u16) -> Option<Listener> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, local_port) = fields.next()?.rsplit_once(':')?;
        let is_listener = fields.nth(1)? == LISTENS && u16::from_str_radix(local_port, 16).ok()? == port;
        let (user, inode) = (fields.nth(3)?.parse().ok()?, fields.nth(1)?.parse().ok()?);
        is_listener.then(|| Listener { user, inode, fit: address_fit(address) })
    }

    fn address_fit(address: &str) -> Option<AddressFit> {
        let local = Ipv4Addr::LOCALHOST;
        let addresses = [
            (to_hex(&local.octets()), AddressFit::Exact),
            (to_hex(&local.to_ipv6_mapped().octets()), AddressFit::MappedIpv4),
            (to_hex(&Ipv4Addr::UNSPECIFIED.octets()), AddressFit::AnyIpv4),
            (to_hex(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets()), AddressFit::AnyIpv4),
            (to_hex(&Ipv6Addr::UNSPECIFIED.octets()), AddressFit::AnyIpv6),
        ];
        addresses.into_iter().find(|(text, _)| text == address).map(|(_, fit)| fit)
    }

    /// Returns an address as the table has it: words of 32 bits in the computer's own order.
    fn to_hex(octets: &[u8]) -> String {
        let (words, _) = octets.as_chunks();
        words.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::table::{AddressFit, other_user, parse, reached};
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 580 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:B060 01 00000000:00000000 00:00000000 00000000  1001        0 581 1 0 20 4 1 88 148
   2: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 582 1 0 100 0 0 10 0
   3: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 \
00:00000000 00000000    33        0 583 1 0 100 0 0 10 0
   4: 0100007F:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 584 1 0 100 0 0 10 0
   5: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 \
00:00000000 00000000  1003        0 585 1 0 100 0 0 10 0
   6: 0000000000000000FFFF00000100007F:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 \
00:00000000 00000000  1004        0 586 1 0 100 0 0 10 0
   7: cut";

    fn listener(user: u32, inode: u64, fit: Option<AddressFit>) -> Listener {
        Listener { user, inode, fit }
    }

    #[test]
    fn listeners_are_read_from_the_table() {
        let exact = Some(AddressFit::Exact);
        assert_eq!(parse(TABLE, 8080), [listener(1000, 580, exact), listener(33, 583, None)]);
        let fits: Vec<_> = parse(TABLE, 8081).into_iter().map(|listener| listener.fit).collect();
        let any = [AddressFit::AnyIpv4, AddressFit::AnyIpv6, AddressFit::MappedIpv4].map(Some);
        assert_eq!(fits, any);
        assert_eq!(parse(TABLE, 80), []);
    }

    #[test]
    fn users_other_than_own_and_superuser_are_refused() {
        let other = |port, own| other_user(&parse(TABLE, port), own);
        assert_eq!(other(8080, 1000), Some(33), "whatever its address is");
        assert_eq!((other(8082, 1000), other(80, 1000)), (None, None));
        assert_eq!((other(8080, 33), other(8081, 1002)), (Some(1000), Some(1003)));
    }

    #[test]
    fn connection_reaches_the_listener_of_the_best_address() {
        use AddressFit::{AnyIpv4, AnyIpv6, Exact};

        let inodes = |fits: &[Option<AddressFit>]| {
            let all: Vec<_> = fits.iter().zip(1..).map(|(fit, inode)| listener(1000, inode, *fit)).collect();
            reached(&all).iter().map(|listener| listener.inode).collect::<Vec<_>>()
        };
        assert_eq!(inodes(&[Some(AnyIpv4), Some(Exact), None, Some(Exact)]), [2, 4]);
        assert_eq!(inodes(&[Some(AnyIpv6), Some(AnyIpv4)]), [2]);
        assert_eq!(inodes(&[Some(AnyIpv6), None]), [1]);
        assert_eq!(inodes(&[None]), [0_u64; 0]);
    }

    #[tokio::test]
    async fn listener_of_this_process_is_in_the_table() {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let socket = TcpListener::bind(address).unwrap();
            let port = socket.local_addr().unwrap().port();
            let listeners = read_listeners(port).await.unwrap();
            let users: Vec<_> = reached(&listeners).iter().map(|listener| listener.user).collect();
            assert_eq!(users, [own_user()], "{address}");
            assert!(is_taken(port).await);
            check_user(port).await.unwrap();
        }
    }

    fn guard(port: u16, pid: u32) -> ListenerGuard {
        let process = ProcessIdentity { pid, started: "0".to_owned(), marker: "of no process".to_owned() };
        ListenerGuard::new(port, process, ProcessLog::default())
    }

    /// Returns a probe that finds every server ready, and the number of its calls.
    fn counted_probe() -> (Probe, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let probe: Probe = Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(std::future::ready(ProbeResult::Ready))
        });
        (probe, calls)
    }

    #[tokio::test]
    async fn foreign_listener_is_named_and_not_probed() {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let guard = guard(port, u32::MAX);
        assert!(!guard.is_of_backend().await.unwrap());
        let text = guard.foreign_listener().unwrap();
        assert!(
            text.starts_with(&format!("port {port}, which was given to the backend, is taken by ")),
            "{text}"
        );
        assert!(text.contains(&format!("(process {}), which", std::process::id())), "{text}");
        let (probe, calls) = counted_probe();
        *guard.foreign.lock() = None;
        let noted = async {
            while guard.foreign_listener().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ready = guard.wait_until_ready(&probe) => panic!("it is not the backend: {ready:?}"),
            () = noted => {}
        }
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        drop(socket);
        assert!(!guard.is_of_backend().await.unwrap(), "it has left, and the backend does not listen yet");
        assert_eq!(guard.foreign_listener(), None);
    }

    #[tokio::test]
    async fn listener_of_the_backend_is_probed() {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        let guard = guard(port, u32::try_from(group).unwrap());
        let (probe, calls) = counted_probe();
        guard.wait_until_ready(&probe).await.unwrap();
        assert_eq!((calls.load(Ordering::Relaxed), guard.foreign_listener()), (1, None));
        assert_eq!(guard.verified.lock().len(), 1);
    }

    #[test]
    fn description_names_the_program_as_far_as_it_is_known() {
        let named = |process| describe_foreign(80, process);
        assert!(
            named(Some((7, "a\n\"b".to_owned()))).contains(r#" is taken by "a\n\"b" (process 7), which "#)
        );
        assert!(named(Some((7, String::new()))).contains(" is taken by process 7, which "));
        assert!(named(None).contains(" is taken by a process that the system does not name, which "));
    }
}
