//! What went wrong with the proxy, and not with the backend behind it.

/// What went wrong with the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// It cannot be reached, or what answers there is no proxy of that kind.
    Unreachable,
    /// It wants a user and a password, or others than it was given.
    Unauthenticated,
    /// It does not get through to the backend. A tunnel of HTTP ends here whatever the proxy's status is, since that is
    /// not told; one of SOCKS only where the backend seems to be away.
    Refused,
    /// It may not connect to the backend, or cannot connect to such an address.
    Denied,
}

impl ProxyError {
    /// Reads the words of hyper-util's tunnels, which HTTP (inside reqwest) and the WebSocket's SOCKS both go through:
    /// it exports no type that would say the same. `None` where the words are not those of a tunnel.
    pub(crate) fn from_error_text(words: &str) -> Option<Self> {
        let (_, words) = words.split_once("tunnel error: ").or_else(|| words.split_once("SOCKS error: "))?;
        let starts = |beginnings: &[&str]| beginnings.iter().any(|beginning| words.starts_with(beginning));
        Some(
            if starts(&[
                "failed to create underlying connection",
                "unexpected end of file",
                "io error",
                "failed parsing",
                "proxy response",
            ]) {
                Self::Unreachable
            } else if starts(&[
                "proxy authorization required",
                "credentials not accepted",
                "server does not support user/pass",
                "server implements authentication",
            ]) {
                Self::Unauthenticated
            } else if starts(&[
                "connection not allowed",
                "command not supported",
                "address type not supported",
                "host address is",
            ]) {
                Self::Denied
            } else {
                Self::Refused
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_error_text_maps_to_proxy_error() {
        use ProxyError::*;
        for (words, refusal) in [
            ("tunnel error: failed to create underlying connection", Some(Unreachable)),
            ("tunnel error: unexpected end of file", Some(Unreachable)),
            ("tunnel error: proxy authorization required", Some(Unauthenticated)),
            ("tunnel error: unsuccessful", Some(Refused)),
            ("SOCKS error: io error during SOCKS handshake", Some(Unreachable)),
            ("SOCKS error: failed parsing server response", Some(Unreachable)),
            ("SOCKS error: credentials not accepted", Some(Unauthenticated)),
            ("SOCKS error: connection refused", Some(Refused)),
            ("SOCKS error: general server failure", Some(Refused)),
            ("SOCKS error: connection not allowed", Some(Denied)),
            ("SOCKS error: address type not supported", Some(Denied)),
            ("SOCKS error: host address is more than 255 characters", Some(Denied)),
            ("Connection refused (os error 111)", None),
        ] {
            assert_eq!(ProxyError::from_error_text(words), refusal, "{words}");
        }
    }
}
