//! Defines the backend's response, as the caller gets it.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use serde::de::DeserializeOwned;

use super::RequestId;
use crate::error::{Error, Reason, Secrets, body_start};
use crate::json::{Json, parse_json};

/// The backend's response to a request.
#[derive(Clone)]
pub struct Response {
    /// The status: 2xx, or 304 to a conditional request.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The time from the request's acceptance to the response's last byte, in milliseconds.
    pub ms: u64,
    /// True if the response came from the cache.
    pub cached: bool,
    /// The number of attempts; 0 if the response came from the cache.
    pub attempts: u32,
    /// True if redirects led to it: it is then the response of another path than the requested one.
    pub is_redirected: bool,
    /// The request that it answers.
    pub request_id: RequestId,
    /// The request's secrets, for errors about its response.
    pub secrets: Secrets,
}

impl Response {
    /// Parses the body as JSON.
    ///
    /// # Errors
    ///
    /// [`Reason::BadResponse`] (`SERVER_ERROR`) with the start of the body in `details`, if the body is not JSON or
    /// does not fit `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.parse_body(|body| parse_json(body))
    }

    /// Returns the body as it was written.
    ///
    /// # Errors
    /// Those of [`json`](Self::json), also for more levels than [`Json::parse`] allows.
    pub(crate) fn as_json(&self) -> Result<Json, Error> {
        self.parse_body(Json::parse)
    }

    fn parse_body<T>(&self, parse: impl FnOnce(&[u8]) -> serde_json::Result<T>) -> Result<T, Error> {
        parse(&self.body).map_err(|cause| {
            Error::new(Reason::BadResponse)
                .with_status(self.status.as_u16())
                .with_details(&format!("{cause}; the body starts with: {}", body_start(&self.body)))
                .with_attempts(self.attempts)
                .with_request_id(self.request_id)
                .redacted(&self.secrets)
        })
    }
}

impl fmt::Debug for Response {
    /// Leaves out the headers' values and the body: a backend may put secrets there.
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
