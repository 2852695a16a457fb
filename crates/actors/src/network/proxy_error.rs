//! Tells a proxy's failures from those of the backend behind it.

/// The failure of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// The proxy cannot be reached, or the server at its address is no such proxy.
    Unreachable,
    /// The proxy needs a user and a password, or rejects the given ones.
    Unauthenticated,
    /// The proxy does not reach the backend. An HTTP tunnel fails in this way whatever the proxy's status, since
    /// hyper-util does not expose it. SOCKS does only if the backend seems to be down.
    Refused,
    /// The proxy may not connect to the backend, or cannot connect to such an address.
    Denied,
}

impl ProxyError {
    /// Parses the error texts of hyper-util's tunnels, which HTTP (inside reqwest) and the WebSocket's SOCKS share.
    ///
    /// hyper-util exports no type with the same information. Returns `None` for any other text.
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
