//! A stored response, and which requests it may answer. Pure, with the time passed in.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::lifetime::ResponseLifetime;
use super::validators;
use crate::error::{Error, is_credential};
use crate::request::{Request, Response};

/// The request headers that control caching themselves, or ask for a part.
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

/// The most headers of a stored response, since each 304 may add some.
const HEADERS_MAX: usize = 256;

/// The time of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestTime {
    /// The time by the cache's clock.
    pub(crate) at: Duration,
    /// The wall-clock time, for dates.
    pub(crate) wall: SystemTime,
}

/// A stored response.
#[derive(Debug)]
pub struct StoredResponse {
    response: Response,
    /// The request's headers, without those that every request has.
    request_headers: HeaderMap,
    requested_at: RequestTime,
    lifetime: Option<ResponseLifetime>,
}

/// Returns whether a stored response may answer a request: a GET without body, idempotency key, own credentials or
/// caching headers.
pub(crate) fn is_cacheable(request: &Request) -> bool {
    let has_key = request.needs_generated_key() || request.idempotency_key().is_some();
    request.method() == Method::GET
        && request.body().is_none()
        && !has_key
        && !request.headers().keys().any(|name| is_credential(name) || CACHE_BYPASS_HEADERS.contains(name))
}

/// Returns whether an error replaces the stored response: the backend has answered, and this is its answer (RFC 9111,
/// 4.3.3). An error about the moment or about the backend itself does not.
pub(crate) fn is_superseding_error(error: &Error) -> bool {
    let is_of_the_moment = |status| matches!(status, 407 | 408 | 425 | 429 | 500..);
    error.status.is_some_and(|status| !is_of_the_moment(status))
}

impl StoredResponse {
    /// Stores the response to `request`.
    pub(crate) fn new(request: &Request, mut response: Response, requested_at: RequestTime) -> Self {
        // The lifetime of the redirect itself is not known here.
        let lifetime = ResponseLifetime::from_response(response.status, &response.headers, requested_at.wall)
            .filter(|_| !response.is_redirected);
        // A missing `Date` is added (RFC 9110, 6.6.1).
        if lifetime.is_some() && !response.headers.contains_key(header::DATE) {
            response.headers.extend(http_date(requested_at.wall).map(|date| (header::DATE, date)));
        }
        Self { response, request_headers: request.headers().clone(), requested_at, lifetime }
    }

    /// Returns the lifetime; `None` if the response is not stored.
    pub(crate) const fn lifetime(&self) -> Option<ResponseLifetime> {
        self.lifetime
    }

    /// Returns whether callers that asked at the same time may share it: it is fresh for them as well (RFC 9111, 4).
    pub(crate) fn is_shareable(&self) -> bool {
        self.lifetime.is_some_and(|lifetime| lifetime.is_fresh())
    }

    /// Returns whether it answers `request` (4.1). This is stricter than `Vary`: headers that the server does not
    /// name must match too. Servers often name too few, and another caller's answer is the worst error of a cache.
    /// Headers that every request has do not differ.
    pub(crate) fn matches_request(&self, request: &Request) -> bool {
        self.request_headers == *request.headers()
    }

    /// Returns its age.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        let when_asked_for = self.lifetime.map_or(Duration::ZERO, |lifetime| lifetime.age);
        when_asked_for.saturating_add(now.saturating_sub(self.requested_at.at))
    }

    /// Returns `request` with the conditions for revalidation; `None` if it cannot be revalidated.
    pub(crate) fn to_conditional_request(&self, request: &Request) -> Option<Request> {
        let conditions = validators::conditional_headers(&self.response.headers, self.requested_at.wall);
        if conditions.is_empty() || !self.matches_request(request) {
            return None;
        }
        request.with_extra_headers(&conditions)
    }

    /// Returns the stored response after a 304 to a [`conditional request`](Self::to_conditional_request); `None` if
    /// the 304 concerns another response.
    pub(crate) fn freshened(
        &self,
        not_modified: Response,
        request: &Request,
        requested_at: RequestTime,
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
        (response.headers.len() <= HEADERS_MAX).then(|| Self::new(request, response, requested_at))
    }

    /// Returns the response as it was received, for the callers that waited for it.
    pub(crate) fn to_response(&self) -> Response {
        self.response.clone()
    }

    /// Returns the response as served from the cache, with its age (RFC 9111, 5.1).
    pub(crate) fn to_cached_response(&self, now: Duration) -> Response {
        let mut response = Response { cached: true, attempts: 0, ms: 0, ..self.response.clone() };
        response.headers.insert(header::AGE, HeaderValue::from(self.age(now).as_secs()));
        response
    }

    /// Returns its size in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        let of = |headers: &HeaderMap| {
            let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
            headers.iter().map(header).sum::<usize>()
        };
        self.response.body.len() + of(&self.response.headers) + of(&self.request_headers)
    }
}

/// Formats the time as a header value; `None` before 1970.
fn http_date(wall: SystemTime) -> Option<HeaderValue> {
    wall.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    HeaderValue::try_from(httpdate::fmt_http_date(wall)).ok()
}
