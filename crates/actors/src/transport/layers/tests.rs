//! A transport with one planned outcome, for the tests of the layers.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture, stream};
use http::{HeaderMap, StatusCode};

use crate::{
    request::Request,
    transport::{FailureKind, ResponseBody, SendProgress, StreamingResponse, Transport, TransportError},
};

/// The same outcome for every request.
pub(super) struct TestTransport {
    outcome: Result<(u16, &'static [&'static str]), SendProgress>,
    is_redirected: bool,
    breaks_off: bool,
}

impl TestTransport {
    /// Responds with these parts.
    pub(super) fn responding(status: u16, parts: &'static [&'static str]) -> Self {
        Self { outcome: Ok((status, parts)), is_redirected: false, breaks_off: false }
    }

    /// Breaks the connection at this point.
    pub(super) fn failing(progress: SendProgress) -> Self {
        Self { outcome: Err(progress), is_redirected: false, breaks_off: false }
    }

    pub(super) fn redirected(self) -> Self {
        Self { is_redirected: true, ..self }
    }

    /// Breaks the connection after the last part.
    pub(super) fn breaking_off(self) -> Self {
        Self { breaks_off: true, ..self }
    }
}

impl Transport for TestTransport {
    fn send<'a>(
        &'a self,
        _: &'a Request,
        _: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        let broken = |progress| TransportError::new(FailureKind::Reset, progress, "on purpose");
        let response = self.outcome.map_err(broken).map(|(status, parts)| {
            let end = self.breaks_off.then(|| Err(broken(SendProgress::Answered)));
            let parts = parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).chain(end);
            StreamingResponse {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                length: None,
                is_end_marked: true,
                is_redirected: self.is_redirected,
                body: ResponseBody::new(stream::iter(parts)),
            }
        });
        std::future::ready(response).boxed()
    }
}
