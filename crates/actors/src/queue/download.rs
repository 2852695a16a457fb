//! A response whose body is streamed.

mod save;

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use mainstay_runtime::{CallError, Promise};
use tokio::sync::mpsc;

use crate::{
    error::Error,
    request::RequestId,
    transport::{ResponseBody, StreamingResponse},
};

/// The most parts buffered for the reader. With more, the connection is not read, which holds the backend back.
const PARTS_WAITING_MAX: usize = 4;

/// The recorded error of a streamed request: the task that forwards the body may be gone before it could report it.
pub(super) type StreamFailure = Arc<OnceLock<Error>>;

/// A response that has started. Read its body by [`chunk`](Self::chunk), as a [`Stream`], or into a file by
/// [`save_to`](Self::save_to).
///
/// At most four parts are buffered, each as large as it came from the connection (less than half a MiB). The backend
/// is held back while the body is not read. The request's timeout applies between two parts from the network; time in
/// which the reader does not read is not counted. The request keeps its permit until the body has ended. Dropping the
/// download earlier cancels the request and closes its connection; the journal records `cancelled`.
///
/// The body is complete only after `Ok(None)`. There is one exception: a body without length over plain HTTP/1.0 ends
/// with its connection, so a body cut off by a crash of the backend looks complete.
/// [`is_end_marked`](Self::is_end_marked) is `false` for such a body.
pub struct Download {
    /// The status: 2xx, or 304 to a conditional request.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's length in bytes, if the backend states it.
    pub length: Option<u64>,
    /// True if the body states its end, by a length or in chunks. Otherwise a body that was cut off may look
    /// complete.
    pub is_end_marked: bool,
    /// The number of attempts made.
    pub attempts: u32,
    /// The id of the request; it can be cancelled by this.
    pub request_id: RequestId,
    parts: mpsc::Receiver<Bytes>,
    end: Promise<Result<(), Error>>,
    /// The end of the body, once it is known.
    ended: Option<Result<(), Error>>,
    /// The recorded error, if the request ended before the body did.
    failure: StreamFailure,
    is_repeatable: bool,
}

impl Download {
    /// Creates a download with the response's body and the sender of its parts. `end` resolves to the end of the
    /// body; `failure` holds the error if `end` is dropped instead.
    pub(super) fn new(
        request_id: RequestId,
        attempts: u32,
        is_repeatable: bool,
        response: StreamingResponse,
        end: Promise<Result<(), Error>>,
        failure: StreamFailure,
    ) -> (Self, ResponseBody, mpsc::Sender<Bytes>) {
        let StreamingResponse { status, headers, length, is_end_marked, body, .. } = response;
        let (sender, parts) = mpsc::channel(PARTS_WAITING_MAX);
        let ended = None;
        let download = Self {
            status,
            headers,
            length,
            is_end_marked,
            attempts,
            request_id,
            parts,
            end,
            ended,
            failure,
            is_repeatable,
        };
        (download, body, sender)
    }

    /// Returns the next part, or `None` once all have come. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// The reason why the body broke off, again at each call: `timed_out` if the backend stalled, `connection_reset`
    /// if the connection broke, `cancelled` if the request was cancelled, `crashed` or `stopped` if the queue did;
    /// for a request that must not be repeated, `outcome_unknown`. Mainstay retries none of them.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        if let Some(ended) = &self.ended {
            return Poll::Ready(ended.clone().map(|()| None));
        }
        if let Some(part) = ready!(self.parts.poll_recv(cx)) {
            return Poll::Ready(Ok(Some(part)));
        }
        let ended = match ready!(Pin::new(&mut self.end).poll(cx)) {
            Ok(ended) => ended,
            Err(why) => Err(self.end_error(why)),
        };
        let ended = ended.map_err(|error| error.with_attempts(self.attempts));
        Poll::Ready(self.ended.insert(ended).clone().map(|()| None))
    }

    /// Returns the recorded error, or else the error that the queue's next incarnation will record.
    fn end_error(&self, why: CallError) -> Error {
        if let Some(error) = self.failure.get() {
            return error.clone();
        }
        let error = Error::from(why).with_request_id(self.request_id);
        if self.is_repeatable { error } else { Error::outcome_unknown(error) }
    }
}

impl Stream for Download {
    type Item = Result<Bytes, Error>;

    /// Yields the same as [`chunk`](Download::chunk), but an error once and nothing after it.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        self.poll_chunk(cx).map(Result::transpose)
    }
}

impl fmt::Debug for Download {
    /// Omits the headers' values and the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("request_id", &self.request_id)
            .field("status", &self.status)
            .field("length", &self.length)
            .field("attempts", &self.attempts)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
