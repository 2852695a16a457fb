//! An answer that is read as it comes.

mod save;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use mainstay_runtime::{CallError, Promise};
use tokio::sync::mpsc;

use super::responder::StreamFailure;
use crate::{
    error::{Error, of_call},
    request::RequestId,
    transport::{ResponseBody, StreamingResponse},
};

/// How many parts wait for their reader. Then the connection is not read, and the backend is held back.
const PARTS_WAITING_MAX: usize = 4;

/// An answer that has begun, with its body as it comes: by [`chunk`](Self::chunk), as a [`Stream`], or into a file by
/// [`save_to`](Self::save_to).
///
/// A few parts at most wait for their reader, each as large as it came from the connection (less than half a MiB). The
/// backend is held back while nobody reads. The request's timeout applies between two parts from the network; the time
/// in which nobody reads does not count. The request holds its place among those that run until the answer has ended;
/// dropping this before ends it, closes its connection, and stands in the journal as `cancelled`.
///
/// What comes is not whole by mistake: only after `Ok(None)` has all of it come. There is one exception, since nothing tells
/// the two apart: a body in the clear that ends with its connection, as HTTP/1.0 has it, looks whole also where its backend
/// was killed in the middle. [`is_end_marked`](Self::is_end_marked) says whether it is one.
pub struct Download {
    /// The status: 2xx, or 304 to a conditional request.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// How long the body will be, in bytes, if the backend says so.
    pub length: Option<u64>,
    /// Whether the body says where it ends, by its length or in chunks. Where it does not, one that was cut off may look
    /// whole.
    pub is_end_marked: bool,
    /// How many attempts it took.
    pub attempts: u32,
    /// The request that it answers; it can be called off by this.
    pub request_id: RequestId,
    parts: mpsc::Receiver<Bytes>,
    end: Promise<Result<(), Error>>,
    /// How it ended, once that is known.
    ended: Option<Result<(), Error>>,
    /// What was written down of the request, if that was before its answer had ended.
    failure: StreamFailure,
    is_repeatable: bool,
}

impl Download {
    /// An answer to request `request_id` after `attempts`, its body, and where the parts of that go. `end` tells how it
    /// ended once nothing more comes; where nobody is left to tell, it is in `verdict`.
    pub(super) fn new(
        request_id: RequestId,
        attempts: u32,
        is_repeatable: bool,
        answer: StreamingResponse,
        end: Promise<Result<(), Error>>,
        verdict: StreamFailure,
    ) -> (Self, ResponseBody, mpsc::Sender<Bytes>) {
        let StreamingResponse { status, headers, length, is_end_marked, body } = answer;
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
            failure: verdict,
            is_repeatable,
        };
        (download, body, sender)
    }

    /// The next part; `None` once all have come. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Whatever kept the rest from coming, again each time it is asked for: `timed_out` if the backend stood still,
    /// `connection_reset` if the connection broke, `cancelled` if the request was called off, `crashed` or `stopped` if
    /// the queue did; for a request that must not be repeated, `outcome_unknown`. None of them is tried again.
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

    /// What is to be said if nobody told the end: what has been written down, or else, as the queue's actor has ended
    /// under the answer, what its successor will.
    fn end_error(&self, why: CallError) -> Error {
        if let Some(error) = self.failure.get() {
            return error.clone();
        }
        let error = of_call(why).with_request_id(self.request_id);
        if self.is_repeatable { error } else { Error::outcome_unknown(error) }
    }
}

impl Stream for Download {
    type Item = Result<Bytes, Error>;

    /// As [`chunk`](Download::chunk), but an error comes once, and nothing after it.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        self.poll_chunk(cx).map(Result::transpose)
    }
}

impl fmt::Debug for Download {
    /// Leaves out the headers' values and the body.
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
