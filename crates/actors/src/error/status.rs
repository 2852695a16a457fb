//! Maps HTTP statuses to reasons.

use super::Reason;

impl Reason {
    /// Returns the reason for an HTTP status.
    ///
    /// Returns `None` if the status is no failure: 2xx, or 304, which only a conditional request receives.
    #[must_use]
    pub const fn from_status(status: u16) -> Option<Self> {
        Some(match status {
            200..=299 | 304 => return None,
            300..=399 => Self::Redirected,
            401 => Self::Unauthenticated,
            402 => Self::PaymentRequired,
            403 | 451 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            407 => Self::ProxyUnauthenticated,
            408 => Self::RequestTimeout,
            409 | 423 | 424 => Self::Conflict,
            410 => Self::Gone,
            412 => Self::PreconditionFailed,
            413 | 414 | 431 => Self::RequestTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::Unprocessable,
            425 => Self::TooEarly,
            429 => Self::RateLimited,
            400..=499 => Self::BadRequest,
            501 | 505 | 508 | 510 => Self::NotImplemented,
            502 => Self::BadGateway,
            503 => Self::Unavailable,
            504 => Self::GatewayTimedOut,
            511 => Self::NetworkLoginRequired,
            500..=599 => Self::ServerError,
            // A final response has no interim status and none outside HTTP's range.
            _ => Self::BadResponse,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page docs/conformance/errors.md has the others.
    #[test]
    fn status_outside_of_http_is_a_bad_response() {
        for status in [0, 100, 199, 600, u16::MAX] {
            assert_eq!(Reason::from_status(status), Some(Reason::BadResponse), "{status}");
        }
        assert!((200..300).chain([304]).all(|status| Reason::from_status(status).is_none()));
    }
}
