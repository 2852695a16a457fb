//! Tracks whether the first byte of a request's body has left, and withdraws the body before that.

use parking_lot::{Mutex, MutexGuard};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, task::AtomicWaker};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::{
    request::{BodyError, BodyReader, ProgressSender},
    standstill::until,
    transport::{FailureKind, SendProgress, TransportError},
};

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const ENDED: u8 = 2;
const CANCELLED: u8 = 3;

/// Watches an upload. Dropped before the body was sent whole, it aborts the connection.
///
/// The connection takes the first part of the body only when it writes the request's head. So a request whose body
/// was withdrawn before cannot have reached the server whole, and the server cannot act on it.
#[derive(Debug)]
pub(super) struct UploadGuard(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    phase: AtomicU8,
    /// True if a connection has asked for the body, even if no part was ready yet.
    was_polled: AtomicBool,
    /// The time at which the last part left.
    last_sent_at: Mutex<Option<Instant>>,
    /// The waker of the connection's task while it waits for the next part.
    waker: AtomicWaker,
    failure: Mutex<Option<BodyError>>,
}

impl Inner {
    fn transition(&self, from: u8, to: u8) -> bool {
        self.phase.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn is_in_phase(&self, phase: u8) -> bool {
        self.phase.load(Ordering::Acquire) == phase
    }

    fn last_sent_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last_sent_at.lock()
    }
}

impl UploadGuard {
    /// Withdraws the body; `false` if some of it may have left already.
    pub(super) fn try_cancel(&self) -> bool {
        self.0.transition(WAITING, CANCELLED) || self.0.is_in_phase(CANCELLED)
    }

    /// Returns whether the request had a connection.
    pub(super) fn was_polled(&self) -> bool {
        self.0.was_polled.load(Ordering::Acquire)
    }

    /// Returns when the last part left, if one has.
    fn last_sent_at(&self) -> Option<Instant> {
        *self.0.last_sent_at()
    }

    /// Waits for `response`, at most `idle` from the start or from the last part of the body that left. Leaving parts
    /// wake nothing: the timer checks for them when it fires.
    pub(super) async fn with_idle_timeout<T>(
        &self,
        response: impl Future<Output = T>,
        idle: Duration,
    ) -> Option<T> {
        let mut response = std::pin::pin!(response);
        let mut deadline = Instant::now() + idle;
        loop {
            if let Some(response) = until(deadline, &mut response).await {
                return Some(response);
            }
            deadline = self.last_sent_at().map(|at| at + idle).filter(|later| *later > deadline)?;
        }
    }

    /// Returns whether the whole body has left.
    pub(super) fn has_ended(&self) -> bool {
        self.0.is_in_phase(ENDED)
    }

    /// Returns the body's failure, if the body was what failed.
    pub(super) fn failure(&self) -> Option<TransportError> {
        let error = self.0.failure.lock().clone()?;
        let reach = if self.0.is_in_phase(WAITING) { SendProgress::NotSent } else { SendProgress::MaybeSent };
        Some(TransportError::new(FailureKind::from(&error), reach, error.to_string()))
    }
}

impl Drop for UploadGuard {
    /// The result would be read by no one.
    fn drop(&mut self) {
        if self.0.transition(WAITING, CANCELLED) || self.0.transition(STARTED, CANCELLED) {
            self.0.waker.wake();
        }
    }
}

/// Streams the body to the connection, in parts.
#[derive(Debug)]
pub(super) struct Upload {
    body: BodyReader,
    progress_sender: ProgressSender,
    inner: Arc<Inner>,
}

impl Upload {
    pub(super) fn new(body: BodyReader, meter: ProgressSender) -> (Self, UploadGuard) {
        let shared = Arc::<Inner>::default();
        (Self { body, progress_sender: meter, inner: Arc::clone(&shared) }, UploadGuard(shared))
    }

    /// Marks that a part leaves; `false` if the body was withdrawn before.
    fn mark_started(&self) -> bool {
        self.inner.transition(WAITING, STARTED) || !self.inner.is_in_phase(CANCELLED)
    }
}

/// Says why a body was aborted.
#[derive(Debug, thiserror::Error)]
pub(super) enum AbortReason {
    #[error("the request was withdrawn before it was sent whole")]
    Withdrawn,
    #[error("the request's body could not be sent whole: {0}")]
    Body(BodyError),
}

impl Stream for Upload {
    type Item = Result<Bytes, AbortReason>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.inner.is_in_phase(ENDED) {
            return Poll::Ready(None);
        }
        self.inner.was_polled.store(true, Ordering::Release);
        self.inner.waker.register(cx.waker());
        if self.inner.is_in_phase(CANCELLED) {
            return Poll::Ready(Some(Err(AbortReason::Withdrawn)));
        }
        let part = ready!(self.body.poll_next_unpin(cx));
        if let Some(Err(error)) = part {
            self.inner.failure.lock().get_or_insert(error.clone());
            return Poll::Ready(Some(Err(AbortReason::Body(error))));
        }
        if !self.mark_started() {
            return Poll::Ready(Some(Err(AbortReason::Withdrawn)));
        }
        let is_last = self.body.length().is_some() && self.body.has_ended();
        if part.is_none() || is_last {
            // A body that was stopped after its last part is whole.
            self.inner.transition(STARTED, ENDED);
        }
        let part = part.and_then(Result::ok);
        if let Some(part) = &part {
            self.progress_sender.add_sent(part.len());
            *self.inner.last_sent_at() = Some(Instant::now());
        }
        Poll::Ready(part.map(Ok))
    }
}

/// The body of a request without one. A connection asks whether there is a body when it writes the request's head.
///
/// Withdrawn before that, it claims an unknown length and aborts at once, so the server never gets the request whole.
/// A GET or HEAD has no such form and is sent, which does no harm.
#[derive(Debug)]
pub(super) struct EmptyBody {
    /// True if the head announces the empty body.
    is_announced: bool,
    inner: Arc<Inner>,
}

impl EmptyBody {
    pub(super) fn new(is_announced: bool) -> (Self, UploadGuard) {
        let shared = Arc::<Inner>::default();
        (Self { is_announced, inner: Arc::clone(&shared) }, UploadGuard(shared))
    }

    /// Marks that the head leaves; `false` if the request was withdrawn before.
    fn mark_started(&self) -> bool {
        self.inner.was_polled.store(true, Ordering::Release);
        self.inner.transition(WAITING, ENDED) || self.inner.is_in_phase(ENDED)
    }
}

impl HttpBody for EmptyBody {
    type Data = Bytes;
    type Error = AbortReason;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AbortReason>>> {
        Poll::Ready((!self.mark_started()).then_some(Err(AbortReason::Withdrawn)))
    }

    fn is_end_stream(&self) -> bool {
        self.mark_started() && !self.is_announced
    }

    fn size_hint(&self) -> SizeHint {
        // hyper also asks this in other places, before there is a connection.
        if self.inner.is_in_phase(ENDED) { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::stream;

    use super::*;
    use crate::request::body::BODY_PART_BYTES_MAX;
    use crate::request::{Body, Request};

    async fn upload(body: impl Into<Bytes>) -> (Upload, UploadGuard) {
        let body = Body::from(body.into()).open().await.unwrap();
        Upload::new(body, ProgressSender::default())
    }

    #[tokio::test(start_paused = true)]
    async fn upload_yields_all_parts_and_notes_each_send_time() {
        let body = Bytes::from(vec![7; BODY_PART_BYTES_MAX * 2 + 1]);
        let (mut upload, watch) = upload(body.clone()).await;
        let (mut given, mut left_at) = (Vec::new(), None);
        while let Some(part) = upload.next().await {
            given.extend_from_slice(&part.unwrap());
            left_at = Some(Instant::now());
            assert_eq!(watch.last_sent_at(), left_at);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(given, body);
        assert!(watch.last_sent_at() == left_at && watch.has_ended());
    }

    #[tokio::test]
    async fn upload_is_cancelled_only_before_it_starts() {
        let (mut once, watch) = upload("body").await;
        assert!(watch.try_cancel() && watch.try_cancel());
        assert!(once.next().await.unwrap().is_err());

        let (mut once, watch) = upload("body").await;
        assert_eq!(once.next().await.unwrap().unwrap(), "body");
        assert!(!watch.try_cancel());
        assert!(once.next().await.is_none());
    }

    #[test]
    fn empty_body_ends_once_polled_and_aborts_if_cancelled() {
        for is_announced in [false, true] {
            let (body, watch) = EmptyBody::new(is_announced);
            assert_eq!(body.size_hint().exact(), None);
            assert!(!watch.was_polled());
            assert_eq!((body.is_end_stream(), body.size_hint().exact()), (!is_announced, Some(0)));
            assert!(watch.was_polled() && watch.has_ended() && !watch.try_cancel());

            let (mut body, watch) = EmptyBody::new(is_announced);
            assert!(watch.try_cancel());
            assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, None));
            let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Some(Err(AbortReason::Withdrawn)))));
        }
    }

    #[tokio::test]
    async fn dropped_guard_aborts_a_stalled_upload() {
        let request = Request::put("/x").body_stream(None, || {
            stream::iter([Ok(Bytes::from_static(b"part"))]).chain(stream::pending::<io::Result<Bytes>>())
        });
        let body = request.build().unwrap().body().unwrap().open().await.unwrap();
        let (mut upload, watch) = Upload::new(body, ProgressSender::default());
        assert_eq!(upload.next().await.unwrap().unwrap(), "part");
        let (rest, ()) = tokio::join!(upload.next(), async { drop(watch) });
        assert!(matches!(rest, Some(Err(AbortReason::Withdrawn))));
    }

    #[tokio::test]
    async fn complete_upload_ends_without_error() {
        let (mut upload, watch) = upload("body").await;
        assert!(upload.next().await.unwrap().is_ok());
        drop(watch);
        assert!(upload.next().await.is_none());
    }

    #[tokio::test]
    async fn failed_upload_reports_cause_and_progress() {
        for (parts, reach) in [(0, SendProgress::NotSent), (1, SendProgress::MaybeSent)] {
            let request = Request::put("/x").body_stream(None, move || {
                let good = std::iter::repeat_n((), parts).map(|()| Ok(Bytes::from_static(b"part")));
                stream::iter(good.chain([Err(io::Error::other("worn out"))]))
            });
            let body = request.build().unwrap().body().unwrap().open().await.unwrap();
            let (mut upload, watch) = Upload::new(body, ProgressSender::default());
            while upload.next().await.unwrap().is_ok() {
                assert_eq!(watch.failure(), None);
            }
            let failure = watch.failure().unwrap();
            assert_eq!((failure.kind, failure.progress), (FailureKind::UploadUnreadable, reach));
            assert!(failure.details.contains("worn out"));
        }
    }
}
