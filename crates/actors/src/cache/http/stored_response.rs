//! A response that is held, and whom it may be given to. Pure, with the time passed in.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::lifetime::ResponseLifetime;
use super::validators;
use crate::error::{Error, is_credential};
use crate::request::{Request, Response};

/// Headers of a request that say themselves what is wanted of a cache, or want a part alone.
const CACHE_BYPASS_HEADERS: [HeaderName; 8] = [
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// What is held has at most so many headers: each confirmation may bring more.
const HEADERS_MAX: usize = 256;

/// When something was asked for.
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct RequestTime {
    /// By the cache's clock.
    pub(in crate::cache) at: Duration,
    /// By the clock on the wall, for dates.
    pub(in crate::cache) wall: SystemTime,
}

/// A response that is held.
#[derive(Debug)]
pub struct StoredResponse {
    response: Response,
    /// The headers that the request had beside those that every request has.
    request_headers: HeaderMap,
    requested_at: RequestTime,
    lifetime: Option<ResponseLifetime>,
}

/// Whether the answer to a request may be one that is held: it is a GET without a body, an idempotency key or
/// credentials of its own, and says nothing of caching itself.
pub(in crate::cache) fn is_cacheable(request: &Request) -> bool {
    let has_key = request.needs_generated_key() || request.idempotency_key().is_some();
    request.method() == Method::GET
        && request.body().is_none()
        && !has_key
        && !request.headers().keys().any(|name| is_credential(name) || CACHE_BYPASS_HEADERS.contains(name))
}

/// Whether an error says that what is held is no longer what there is: the backend has answered, and that is its answer
/// (RFC 9111, 4.3.3). One that speaks of the moment alone, or of itself, says nothing of that.
pub(in crate::cache) fn is_superseding_error(error: &Error) -> bool {
    let is_of_the_moment = |status| matches!(status, 407 | 408 | 425 | 429 | 500..);
    error.status.is_some_and(|status| !is_of_the_moment(status))
}

impl StoredResponse {
    /// The response to `request`.
    pub(in crate::cache) fn new(request: &Request, mut response: Response, asked: RequestTime) -> Self {
        // How long the redirect itself holds is not told here.
        let terms = ResponseLifetime::from_response(response.status, &response.headers, asked.wall)
            .filter(|_| !response.is_redirected);
        // What the server does not say of when it was made is written down (RFC 9110, 6.6.1).
        if terms.is_some() && !response.headers.contains_key(header::DATE) {
            response.headers.extend(http_date(asked.wall).map(|date| (header::DATE, date)));
        }
        Self { response, request_headers: request.headers().clone(), requested_at: asked, lifetime: terms }
    }

    /// How it is kept; `None` if it is not.
    pub(in crate::cache) const fn lifetime(&self) -> Option<ResponseLifetime> {
        self.lifetime
    }

    /// Whether it may be given to others who asked at the same time: to them as well it is fresh (RFC 9111, 4).
    pub(in crate::cache) fn is_shareable(&self) -> bool {
        self.lifetime.is_some_and(|terms| terms.is_fresh())
    }

    /// Whether it answers `request` (4.1). Stricter than what `Vary` asks for: also a header that the server does not name
    /// has to be the same, since one that names too few is a common mistake, and what another sees for it is the worst
    /// that a cache can do. Headers that every request has do not differ.
    pub(in crate::cache) fn matches_request(&self, request: &Request) -> bool {
        self.request_headers == *request.headers()
    }

    /// How old it is.
    pub(in crate::cache) fn age(&self, now: Duration) -> Duration {
        let when_asked_for = self.lifetime.map_or(Duration::ZERO, |terms| terms.age);
        when_asked_for.saturating_add(now.saturating_sub(self.requested_at.at))
    }

    /// `request`, under the condition that it is not as it is held; `None` if it cannot be asked for so.
    pub(in crate::cache) fn to_conditional_request(&self, request: &Request) -> Option<Request> {
        let conditions = validators::conditional_headers(&self.response.headers, self.requested_at.wall);
        if conditions.is_empty() || !self.matches_request(request) {
            return None;
        }
        request.with_extra_headers(&conditions)
    }

    /// What is held from now on, after a 304 to a [`conditional`](Self::conditional) request; `None` if that speaks of
    /// something else.
    pub(in crate::cache) fn freshened(
        &self,
        not_modified: Response,
        request: &Request,
        asked: RequestTime,
    ) -> Option<Self> {
        if not_modified.status != StatusCode::NOT_MODIFIED
            || !validators::is_validated_by(&self.response.headers, &not_modified.headers)
        {
            return None;
        }
        let response = Response {
            status: self.response.status,
            headers: validators::freshened_headers(&self.response.headers, &not_modified.headers),
            body: self.response.body.clone(),
            secrets: self.response.secrets.clone(),
            ..not_modified
        };
        (response.headers.len() <= HEADERS_MAX).then(|| Self::new(request, response, asked))
    }

    /// What it came as, for those who waited for it.
    pub(in crate::cache) fn to_response(&self) -> Response {
        self.response.clone()
    }

    /// What it is for one who gets it from the cache, with its age (RFC 9111, 5.1).
    pub(in crate::cache) fn to_cached_response(&self, now: Duration) -> Response {
        let mut response = Response { cached: true, attempts: 0, ms: 0, ..self.response.clone() };
        response.headers.insert(header::AGE, HeaderValue::from(self.age(now).as_secs()));
        response
    }

    /// What it takes, in bytes.
    pub(in crate::cache) fn size_bytes(&self) -> usize {
        let of = |headers: &HeaderMap| {
            let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
            headers.iter().map(header).sum::<usize>()
        };
        self.response.body.len() + of(&self.response.headers) + of(&self.request_headers)
    }
}

/// The time as a header has it; `None` before 1970, when there was none.
fn http_date(wall: SystemTime) -> Option<HeaderValue> {
    wall.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    HeaderValue::try_from(httpdate::fmt_http_date(wall)).ok()
}
