//! Checks that the server at the backend's port is not another user's.

use crate::error::Error;
#[cfg(target_os = "linux")]
use crate::error::Reason;

/// Refuses a port on which another user of this computer listens, who would be sent the backend's secret.
///
/// A port is free when a start is given it, and anyone may take it before the backend does. Listeners of this user and
/// of the superuser pass: they could read the secret in any case. Only Linux tells who listens; elsewhere every port
/// passes.
///
/// # Errors
/// `unavailable`, with the user's id.
#[cfg(target_os = "linux")]
pub(super) async fn check_listener(port: u16) -> Result<(), Error> {
    let own = rustix::process::geteuid().as_raw();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // A system without IPv6, or a sandbox that hides the table, has nothing to check.
        let Ok(table) = tokio::fs::read_to_string(table).await else { continue };
        if let Some(other) = other_listener(&table, port, own) {
            return Err(Error::new(Reason::Unavailable).with_details(&format!(
                "another user of this computer (id {other}) listens on port {port}, which was given to the backend"
            )));
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
#[allow(clippy::unused_async, reason = "on Linux it reads files")]
pub(super) async fn check_listener(_: u16) -> Result<(), Error> {
    Ok(())
}

#[cfg(target_os = "linux")]
const SUPERUSER: u32 = 0;

/// The state of a listening socket in the table.
#[cfg(target_os = "linux")]
const LISTENS: &str = "0A";

/// Returns the user that listens on the port, if it is neither the runtime's own nor the superuser.
#[cfg(target_os = "linux")]
fn other_listener(table: &str, port: u16, own: u32) -> Option<u32> {
    listening_users(table, port).find(|user| *user != own && *user != SUPERUSER)
}

/// Returns the users that listen on the port, from a table of sockets as proc_net_tcp(5) describes it.
#[cfg(target_os = "linux")]
fn listening_users(table: &str, port: u16) -> impl Iterator<Item = u32> {
    table.lines().filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (_, local_port) = fields.next()?.rsplit_once(':')?;
        let is_listener = fields.nth(1)? == LISTENS && u16::from_str_radix(local_port, 16).ok()? == port;
        let user = fields.nth(3)?.parse().ok()?;
        is_listener.then_some(user)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn users_of_listeners_are_read_from_the_table() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 580 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:B060 01 00000000:00000000 00:00000000 00000000  1001        0 581 1 0 20 4 1 88 148
   2: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 582 1 0 100 0 0 10 0
   3: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 \
00:00000000 00000000    33        0 583 1 0 100 0 0 10 0
   4: 0100007F:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 584 1 0 100 0 0 10 0
   5: cut";
        assert_eq!(listening_users(table, 8080).collect::<Vec<_>>(), [1000, 33]);
        assert_eq!(listening_users(table, 8081).collect::<Vec<_>>(), [1002]);
        assert_eq!(listening_users(table, 80).count(), 0);
        let other = |port, own| other_listener(table, port, own);
        assert_eq!(other(8080, 1000), Some(33));
        assert_eq!((other(8081, 1002), other(8082, 1000), other(80, 1000)), (None, None, None));
    }

    #[tokio::test]
    async fn listener_of_this_user_passes() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(listening_users(&table, port).collect::<Vec<_>>(), [own]);
        check_listener(port).await.unwrap();
    }
}
