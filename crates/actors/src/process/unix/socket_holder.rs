//! Finds the process that holds a listening socket, by the descriptors that `/proc` shows.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, ErrorKind};

use super::super::child::ProcessIdentity;
use super::process_table::{self, group_members};

/// The most descriptors that one search reads. A search that needs more finds nothing out.
const DESCRIPTORS_MAX: usize = 100_000;

/// The holder of some sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::process) enum SocketHolder {
    /// The process, its group and its marked descendants hold all of them.
    Own,
    /// A process that is not among them holds at least one: its id and its name, if the system shows them.
    Other(Option<(u32, String)>),
    /// The system does not show it.
    Unknown,
}

/// Finds the holder of the sockets with these inodes, without blocking the runtime.
///
/// Own are all processes that a stop of the process ends.
pub(in crate::process) async fn find_socket_holder(
    identity: &ProcessIdentity,
    inodes: BTreeSet<u64>,
) -> SocketHolder {
    let identity = identity.clone();
    let found = tokio::task::spawn_blocking(move || find(&identity, inodes));
    found.await.unwrap_or(SocketHolder::Unknown)
}

fn find(identity: &ProcessIdentity, mut inodes: BTreeSet<u64>) -> SocketHolder {
    let Ok(all) = process_table::list(&identity.started) else { return SocketHolder::Unknown };
    if !all.iter().any(|process| process.pid == std::process::id()) {
        return SocketHolder::Unknown;
    }
    let members = group_members(&all, Some(identity.pid), &identity.marker);
    let members: HashSet<u32> = members.iter().map(|process| process.pid).collect();
    let (mut descriptors_left, mut is_hidden) = (DESCRIPTORS_MAX, false);
    for pid in &members {
        match read_sockets(*pid, &mut descriptors_left) {
            Ok(held) => inodes.retain(|inode| !held.contains(inode)),
            Err(Hidden) => is_hidden = true,
        }
        if inodes.is_empty() {
            return SocketHolder::Own;
        }
    }
    let others = all.iter().map(|process| process.pid).filter(|pid| !members.contains(pid));
    let holds = |pid: &u32| {
        read_sockets(*pid, &mut descriptors_left)
            .is_ok_and(|held| held.iter().any(|held| inodes.contains(held)))
    };
    match others.into_iter().find(holds) {
        Some(pid) => SocketHolder::Other(Some((pid, read_name(pid)))),
        None if is_hidden => SocketHolder::Unknown,
        None => SocketHolder::Other(None),
    }
}

/// The system does not show the descriptors of a process, or there are too many.
#[derive(Debug)]
struct Hidden;

/// Returns the inodes of a process's sockets. A process that has exited has none.
fn read_sockets(pid: u32, descriptors_left: &mut usize) -> Result<HashSet<u64>, Hidden> {
    let mut inodes = HashSet::new();
    let is_denied = |error: &io::Error| error.kind() == ErrorKind::PermissionDenied;
    let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Err(error) if is_denied(&error) => return Err(Hidden),
        Err(_) => return Ok(inodes),
        Ok(entries) => entries,
    };
    for entry in entries.map_while(Result::ok) {
        *descriptors_left = descriptors_left.checked_sub(1).ok_or(Hidden)?;
        match fs::read_link(entry.path()) {
            Ok(target) => inodes.extend(target.to_str().and_then(parse_socket)),
            Err(error) if is_denied(&error) => return Err(Hidden),
            // It was closed meanwhile.
            Err(_) => {}
        }
    }
    Ok(inodes)
}

/// Parses the target of a socket's descriptor, as proc_pid_fd(5) describes it.
fn parse_socket(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Returns the name of a process's program, which the system cuts to 15 bytes; empty if it is not shown.
fn read_name(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    /// Returns the inode of a listener of this process.
    fn inode_of(listener: &TcpListener) -> u64 {
        let target = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        parse_socket(target.to_str().unwrap()).unwrap()
    }

    fn identity(pid: u32) -> ProcessIdentity {
        ProcessIdentity { pid, started: "0".to_owned(), marker: "of no process".to_owned() }
    }

    #[test]
    fn socket_is_parsed_from_its_descriptor_alone() {
        assert_eq!(parse_socket("socket:[4711]"), Some(4711));
        for other in ["pipe:[4711]", "socket:[]", "socket:[1", "socket:[-1]", "/tmp/socket:[1]", ""] {
            assert_eq!(parse_socket(other), None, "{other}");
        }
    }

    #[test]
    fn sockets_of_a_process_are_read_within_the_limit() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut left = DESCRIPTORS_MAX;
        assert!(read_sockets(std::process::id(), &mut left).unwrap().contains(&inode_of(&listener)));
        assert!(left < DESCRIPTORS_MAX);
        assert!(read_sockets(std::process::id(), &mut 1).is_err(), "it has more than one descriptor");
        assert!(read_sockets(u32::MAX, &mut 1).unwrap().is_empty(), "there is no such process");
    }

    #[tokio::test]
    async fn holder_is_own_or_another_process() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let inodes = BTreeSet::from([inode_of(&listener)]);
        let own = process_table::find(std::process::id()).unwrap();
        let holder = find_socket_holder(&identity(own.group), inodes.clone()).await;
        assert_eq!(holder, SocketHolder::Own);
        let SocketHolder::Other(Some((pid, name))) = find_socket_holder(&identity(u32::MAX), inodes).await
        else {
            panic!("this process holds it")
        };
        assert_eq!((pid, name.is_empty()), (own.pid, false));
        let of_no_process = BTreeSet::from([u64::MAX]);
        let holder = find_socket_holder(&identity(own.group), of_no_process).await;
        assert!(matches!(holder, SocketHolder::Other(None) | SocketHolder::Unknown), "{holder:?}");
    }
}
