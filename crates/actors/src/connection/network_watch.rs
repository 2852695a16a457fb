//! Notices when the computer gets another way to the network, such as a Wi-Fi that is back.
//!
//! The sign is the local address from which the system would reach an address that no one has (RFC 5737, RFC 3849). To
//! ask for it sends nothing, works on every system, and costs microseconds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The local addresses towards the network: by IPv4 and by IPv6.
pub(super) type LocalAddresses = [Option<IpAddr>; 2];

/// Compares the local addresses with those before.
#[derive(Debug)]
pub(super) struct NetworkWatch {
    last: LocalAddresses,
}

impl NetworkWatch {
    pub(super) fn new(now: LocalAddresses) -> Self {
        Self { last: now }
    }

    /// Returns whether there is an address that was not there at the last call. A lost address does not count.
    pub(super) fn has_new_address(&mut self, now: LocalAddresses) -> bool {
        let before = std::mem::replace(&mut self.last, now);
        now.iter().zip(before).any(|(now, before)| now.is_some() && *now != before)
    }
}

/// Returns the local addresses as the system chooses them now.
pub(super) fn local_addresses() -> LocalAddresses {
    [
        local_address(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        local_address(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ]
}

fn local_address(any: IpAddr, remote: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    // Connecting a datagram socket only chooses the route. The port does not matter; 9 discards.
    socket.connect(SocketAddr::new(remote, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_address_is_a_new_way_and_a_lost_one_is_not() {
        let [home, office] = [[192, 168, 1, 2], [10, 0, 0, 2]].map(|octets| Some(IpAddr::from(octets)));
        let six = Some(IpAddr::from(Ipv6Addr::LOCALHOST));
        let mut watch = NetworkWatch::new([home, None]);
        for (now, expected) in [
            ([home, None], false),
            ([None, None], false),
            ([home, None], true),
            ([office, None], true),
            ([office, six], true),
            ([office, None], false),
        ] {
            assert_eq!(watch.has_new_address(now), expected, "{now:?}");
        }
    }

    #[test]
    fn system_tells_the_same_addresses_twice() {
        assert_eq!(local_addresses(), local_addresses());
    }
}
