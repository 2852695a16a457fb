//! What the backend answered, for the caller that asked.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::RequestId;
use crate::error::{Error, Reason, start_of};

/// What the backend answered, for the caller that asked.
#[derive(Debug, Clone)]
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
    /// The request that it answers.
    pub request_id: RequestId,
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
                .with_details(&format!("{cause}; the body starts with: {}", start_of(&self.body)))
                .with_attempts(self.attempts)
                .with_request_id(self.request_id)
        })
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
            request_id: RequestId(9),
        };
        let error = response.json::<serde_json::Value>().unwrap_err();
        assert_eq!((error.code, error.reason), (Code::ServerError, Reason::BadResponse));
        assert!(error.details.unwrap().contains("<html>maintenance"));
        assert_eq!((error.status, error.attempts, error.request_id), (Some(200), 2, Some(RequestId(9))));
    }
}
