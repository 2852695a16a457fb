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
            412 | 428 => Self::PreconditionFailed,
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
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_status_has_its_reason() {
        let mut table = String::new();
        let mut last = None;
        for status in 0..=600 {
            let reason = Reason::from_status(status);
            if last != Some(reason) {
                let name = reason.map_or("ok", Reason::as_str);
                table.push_str(&format!("{status} {name}\n"));
            }
            last = Some(reason);
        }
        expect![[r#"
            0 bad_response
            200 ok
            300 redirected
            304 ok
            305 redirected
            400 bad_request
            401 unauthenticated
            402 payment_required
            403 forbidden
            404 not_found
            405 method_not_allowed
            406 bad_request
            407 proxy_unauthenticated
            408 request_timeout
            409 conflict
            410 gone
            411 bad_request
            412 precondition_failed
            413 request_too_large
            415 unsupported_media_type
            416 bad_request
            422 unprocessable
            423 conflict
            425 too_early
            426 bad_request
            428 precondition_failed
            429 rate_limited
            430 bad_request
            431 request_too_large
            432 bad_request
            451 forbidden
            452 bad_request
            500 server_error
            501 not_implemented
            502 bad_gateway
            503 unavailable
            504 gateway_timed_out
            505 not_implemented
            506 server_error
            508 not_implemented
            509 server_error
            510 not_implemented
            511 network_login_required
            512 server_error
            600 bad_response
        "#]]
        .assert_eq(&table);
    }
}
