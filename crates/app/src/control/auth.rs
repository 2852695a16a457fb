//! The access check, over the head of a request. Pure.

use http::HeaderMap;
use http::Uri;
use http::header::{AUTHORIZATION, HOST, ORIGIN};

/// Lets in requests that were meant for this server and that carry its token.
pub(super) struct AccessCheck {
    hosts: [String; 2],
    token: String,
}

impl AccessCheck {
    pub(super) fn new(port: u16, token: String) -> Self {
        Self { hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")], token }
    }

    /// Returns whether the request was meant for this server, and does not come from another site's page.
    pub(super) fn is_local(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let is_ours = host.is_some_and(|host| self.hosts.iter().any(|ours| ours == host));
        let mut origins = headers.get_all(ORIGIN).iter();
        is_ours && origins.all(|origin| self.is_own_origin(origin.as_bytes()))
    }

    fn is_own_origin(&self, origin: &[u8]) -> bool {
        self.hosts.iter().any(|host| origin == format!("http://{host}").as_bytes())
    }

    /// Returns whether the request carries the token: as a bearer, or in the query, since browsers cannot add headers
    /// to a WebSocket.
    pub(super) fn has_token(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let query = uri.query().unwrap_or_default();
        let in_query = query.split('&').find_map(|pair| pair.strip_prefix("token="));
        bearer.or(in_query).is_some_and(|given| constant_time_eq(given.as_bytes(), self.token.as_bytes()))
    }
}

/// Compares in a time that does not tell how much is right.
fn constant_time_eq(given: &[u8], token: &[u8]) -> bool {
    given.len() == token.len() && given.iter().zip(token).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn access_check() -> AccessCheck {
        AccessCheck::new(4000, "secret".to_owned())
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_requests_for_this_very_server_are_local() {
        let is_local = |pairs: &[(HeaderName, &str)]| access_check().is_local(&headers(pairs));
        assert!(is_local(&[(HOST, "127.0.0.1:4000")]));
        assert!(is_local(&[(HOST, "localhost:4000"), (ORIGIN, "http://localhost:4000")]));
        for host in ["evil.example:4000", "127.0.0.1:4001", "127.0.0.1", ""] {
            assert!(!is_local(&[(HOST, host)]), "{host}");
        }
        for origin in ["http://evil.example", "https://127.0.0.1:4000", "null"] {
            assert!(!is_local(&[(HOST, "127.0.0.1:4000"), (ORIGIN, origin)]), "{origin}");
        }
        assert!(!is_local(&[]));
    }

    #[test]
    fn token_counts_as_a_bearer_or_in_the_query_and_only_whole() {
        let knows = |bearer: &str, uri: &str| {
            access_check().has_token(&headers(&[(AUTHORIZATION, bearer)]), &uri.parse().unwrap())
        };
        assert!(knows("Bearer secret", "/bridge"));
        assert!(knows("", "/bridge?a=b&token=secret"));
        for (bearer, uri) in [
            ("Bearer secre", "/"),
            ("Bearer secrets", "/"),
            ("Bearer ", "/"),
            ("secret", "/"),
            ("", "/?token="),
            ("", "/?nottoken=secret"),
        ] {
            assert!(!knows(bearer, uri), "{bearer} {uri}");
        }
    }
}
