//! What the backend answered, for the caller that asked.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use serde::de::DeserializeOwned;

use super::RequestId;
use crate::error::{Error, Reason, Secrets, body_excerpt};

/// What the backend answered, for the caller that asked.
#[derive(Clone)]
pub struct Response {
    /// The status: 2xx, or 304 to a conditional request.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// From the moment that the request was accepted to the last byte of the answer, in milliseconds.
    pub ms: u64,
    /// Whether it came from the cache.
    pub cached: bool,
    /// How many attempts it took; 0 if it came from the cache.
    pub attempts: u32,
    /// Whether a redirect led to it: then it is the response of another path than the one that was asked for.
    pub is_redirected: bool,
    /// The request that it answers.
    pub request_id: RequestId,
    /// What the request sent and must not be told in an error about its answer.
    pub secrets: Secrets,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// [`Reason::BadResponse`] (`SERVER_ERROR`) with the start of the body in `details`, if it is not JSON or not of
    /// the shape of `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|cause| {
            Error::new(Reason::BadResponse)
                .with_status(self.status.as_u16())
                .with_details(&format!("{cause}; the body starts with: {}", body_excerpt(&self.body)))
                .with_attempts(self.attempts)
                .with_request_id(self.request_id)
                .redacted(&self.secrets)
        })
    }
}

impl fmt::Debug for Response {
    /// Leaves out the headers' values and the body: a backend may repeat there what is secret, or say what is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .field("ms", &self.ms)
            .field("cached", &self.cached)
            .field("attempts", &self.attempts)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn bad_json_is_a_server_error_with_the_start_of_the_body() {
        let response = Response {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"<html>maintenance</html>"),
            ms: 3,
            cached: false,
            attempts: 2,
            is_redirected: false,
            request_id: RequestId(9),
            secrets: Secrets::from_texts(["maintenance".to_owned()]),
        };
        let error = response.json::<serde_json::Value>().unwrap_err();
        assert_eq!((error.code, error.reason), (Code::ServerError, Reason::BadResponse));
        assert!(error.details.unwrap().contains("<html>[redacted]</html>"));
        assert_eq!((error.status, error.attempts, error.request_id), (Some(200), 2, Some(RequestId(9))));
    }
}
