//! Decides whether a response may be stored, and for how long (RFC 9111, 3 and 4.2). Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use super::cache_control::{self, CacheControl};
use super::validators;

/// The lifetime of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResponseLifetime {
    /// The age at the request: the time for which other caches had stored it.
    pub(crate) age: Duration,
    /// The age up to which it is fresh; `None` if the server does not say. There is no heuristic (4.2.2): the
    /// caller's own limit decides instead.
    pub(crate) freshness_lifetime: Option<Duration>,
    /// The time for which it may then be served while a refresh runs; `None` if the server does not say.
    pub(crate) stale_for: Option<Duration>,
    /// True if the server can revalidate it.
    pub(crate) is_revalidatable: bool,
}

impl ResponseLifetime {
    /// Returns the lifetime of a response to a GET that was sent at `asked_at`; `None` if it may not, or need not, be
    /// stored.
    pub(crate) fn from_response(
        status: StatusCode,
        headers: &HeaderMap,
        asked_at: SystemTime,
    ) -> Option<Self> {
        let cache_control = CacheControl::from_headers(headers);
        // 206 is a part, and other codes are unknown here (3: "the response status code is final and understood").
        let is_whole = matches!(status.as_u16(), 200 | 203 | 204);
        if !is_whole || cache_control.no_store || !cache_control::has_matchable_vary(headers) {
            return None;
        }
        let age = cache_control::age(headers);
        let lifetime = if age.is_none() || cache_control.no_cache {
            Some(Duration::ZERO)
        } else {
            cache_control.max_age.or_else(|| freshness_from_expires(headers, asked_at))
        };
        let must_be_validated = age.is_none() || cache_control.no_cache || cache_control.must_revalidate;
        let stale_for =
            if must_be_validated { Some(Duration::ZERO) } else { cache_control.stale_while_revalidate };
        let is_renewable = !validators::conditional_headers(headers, asked_at).is_empty();
        let lifetime = Self {
            age: age.unwrap_or_default(),
            freshness_lifetime: lifetime,
            stale_for,
            is_revalidatable: is_renewable,
        };
        (is_renewable || lifetime.is_fresh() || stale_for != Some(Duration::ZERO)).then_some(lifetime)
    }

    /// Returns whether the server considers it fresh at the time of the request (4.2).
    pub(crate) fn is_fresh(&self) -> bool {
        self.freshness_lifetime.is_none_or(|lifetime| lifetime > self.age)
    }
}

/// Returns the lifetime by the server's own clock, if it sends the time (4.2.1). The server's clock is never compared
/// with this computer's, since the two may differ. So the age comes from `Age`, never from `Date` (4.2.3).
fn freshness_from_expires(headers: &HeaderMap, asked_at: SystemTime) -> Option<Duration> {
    let expires = cache_control::expires(headers)?;
    let date = headers.get(header::DATE).and_then(cache_control::date).unwrap_or(asked_at);
    Some(expires.duration_since(date).unwrap_or_default())
}
