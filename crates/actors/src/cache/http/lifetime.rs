//! Whether a response may be kept, and how (RFC 9111, 3 and 4.2). Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use super::cache_control::{self, CacheControl};
use super::validators;

/// How a response is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) struct ResponseLifetime {
    /// How old it was when it was asked for: for so long caches on the way had held it.
    pub(in crate::cache) age: Duration,
    /// Up to what age it is fresh; `None` where the server says nothing of it. There is no guessing (4.2.2): whoever
    /// asked has said how old it may be.
    pub(in crate::cache) freshness_lifetime: Option<Duration>,
    /// How long it may be served after that while it is loaded anew; `None` where the server says nothing of it.
    pub(in crate::cache) stale_for: Option<Duration>,
    /// Whether the server can be asked whether it still holds.
    pub(in crate::cache) is_revalidatable: bool,
}

impl ResponseLifetime {
    /// The terms of a response to a GET that was asked for at `asked_at`; `None` if it may not be kept, or need not be.
    pub(in crate::cache) fn from_response(
        status: StatusCode,
        headers: &HeaderMap,
        asked_at: SystemTime,
    ) -> Option<Self> {
        let directives = CacheControl::from_headers(headers);
        // 206 is a part, and what others mean is not known here (3: "the response status code is final and understood").
        let is_whole = matches!(status.as_u16(), 200 | 203 | 204);
        if !is_whole || directives.no_store || !cache_control::has_matchable_vary(headers) {
            return None;
        }
        let age = cache_control::age(headers);
        let lifetime = if age.is_none() || directives.no_cache {
            Some(Duration::ZERO)
        } else {
            directives.max_age.or_else(|| freshness_from_expires(headers, asked_at))
        };
        let must_be_validated = age.is_none() || directives.no_cache || directives.must_revalidate;
        let stale_for =
            if must_be_validated { Some(Duration::ZERO) } else { directives.stale_while_revalidate };
        let is_renewable = !validators::conditional_headers(headers, asked_at).is_empty();
        let terms = Self {
            age: age.unwrap_or_default(),
            freshness_lifetime: lifetime,
            stale_for,
            is_revalidatable: is_renewable,
        };
        (is_renewable || terms.is_fresh() || stale_for != Some(Duration::ZERO)).then_some(terms)
    }

    /// Whether it was fresh when it was asked for, as far as the server is concerned (4.2).
    pub(in crate::cache) fn is_fresh(&self) -> bool {
        self.freshness_lifetime.is_none_or(|lifetime| lifetime > self.age)
    }
}

/// By the server's own clock, where it tells the time (4.2.1). Its clock is never compared with this machine's, which
/// nobody has set by it: `Age` counts, and no age is made of `Date` (4.2.3).
fn freshness_from_expires(headers: &HeaderMap, asked_at: SystemTime) -> Option<Duration> {
    let expires = cache_control::expires(headers)?;
    let date = headers.get(header::DATE).and_then(cache_control::date).unwrap_or(asked_at);
    Some(expires.duration_since(date).unwrap_or_default())
}
