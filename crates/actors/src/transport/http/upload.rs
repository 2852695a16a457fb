//! The body of a request on its way out: it knows whether its first byte has left, and can still be withdrawn.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, task::AtomicWaker};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::{
    request::{BodyError, Meter, OpenBody},
    transport::{FailureKind, Reach, TransportError},
};

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const ENDED: u8 = 2;
const STOPPED: u8 = 3;

/// Watches an upload, and ends it: dropped before the body was sent whole, it breaks the connection off.
///
/// The connection takes the first part of the body only when it writes the request's head. A request whose body was
/// withdrawn before can therefore not have reached the server whole, and a server cannot act on it.
#[derive(Debug)]
pub(super) struct UploadWatch(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    /// Whether a connection has asked for the body, though there may have been nothing of it to give yet.
    is_asked_for: AtomicBool,
    /// When the last part left.
    moved_at: Mutex<Option<Instant>>,
    /// Whoever writes to the connection, while it waits for the next part.
    writer: AtomicWaker,
    failure: Mutex<Option<BodyError>>,
}

impl Shared {
    fn turn(&self, from: u8, to: u8) -> bool {
        self.phase.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn is(&self, phase: u8) -> bool {
        self.phase.load(Ordering::Acquire) == phase
    }

    fn moved_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.moved_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UploadWatch {
    /// Takes the body back; `false` if some of it may have left already.
    pub(super) fn withdraw(&self) -> bool {
        self.0.turn(WAITING, STOPPED) || self.0.is(STOPPED)
    }

    /// Whether there was a connection to send the request over.
    pub(super) fn was_asked_for(&self) -> bool {
        self.0.is_asked_for.load(Ordering::Acquire)
    }

    /// When the last part left, if one has.
    pub(super) fn moved_at(&self) -> Option<Instant> {
        *self.0.moved_at()
    }

    /// Whether the whole of it has left.
    pub(super) fn has_ended(&self) -> bool {
        self.0.is(ENDED)
    }

    /// Why the body could not be sent whole, if it was the body that failed.
    pub(super) fn failure(&self) -> Option<TransportError> {
        let error = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let reach = if self.0.is(WAITING) { Reach::NotSent } else { Reach::MaybeSent };
        Some(TransportError::new(FailureKind::from(&error), reach, error.to_string()))
    }
}

impl Drop for UploadWatch {
    /// Nobody waits for what the rest would lead to.
    fn drop(&mut self) {
        if self.0.turn(WAITING, STOPPED) || self.0.turn(STARTED, STOPPED) {
            self.0.writer.wake();
        }
    }
}

/// The body as a stream of parts, as the connection takes them.
#[derive(Debug)]
pub(super) struct Upload {
    body: OpenBody,
    meter: Meter,
    shared: Arc<Shared>,
}

impl Upload {
    pub(super) fn new(body: OpenBody, meter: Meter) -> (Self, UploadWatch) {
        let shared = Arc::<Shared>::default();
        (Self { body, meter, shared: Arc::clone(&shared) }, UploadWatch(shared))
    }

    /// Notes that something leaves; `false` if the body was withdrawn before.
    fn start(&self) -> bool {
        self.shared.turn(WAITING, STARTED) || !self.shared.is(STOPPED)
    }
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenOff {
    #[error("the request was withdrawn before it was sent whole")]
    Withdrawn,
    #[error("the request's body could not be sent whole: {0}")]
    Body(BodyError),
}

impl Stream for Upload {
    type Item = Result<Bytes, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.shared.is(ENDED) {
            return Poll::Ready(None);
        }
        self.shared.is_asked_for.store(true, Ordering::Release);
        self.shared.writer.register(cx.waker());
        if self.shared.is(STOPPED) {
            return Poll::Ready(Some(Err(BrokenOff::Withdrawn)));
        }
        let part = ready!(self.body.poll_next_unpin(cx));
        if let Some(Err(error)) = part {
            self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
            return Poll::Ready(Some(Err(BrokenOff::Body(error))));
        }
        if !self.start() {
            return Poll::Ready(Some(Err(BrokenOff::Withdrawn)));
        }
        let is_last = self.body.length().is_some() && self.body.has_ended();
        if part.is_none() || is_last {
            // Stopped just now, it is whole all the same.
            self.shared.turn(STARTED, ENDED);
        }
        let part = part.and_then(Result::ok);
        if let Some(part) = &part {
            self.meter.sent(part.len());
            *self.shared.moved_at() = Some(Instant::now());
        }
        Poll::Ready(part.map(Ok))
    }
}

/// The body of a request that has none: nothing of it can be asked for, but whether it is there, and a connection asks
/// that when it writes the request's head.
///
/// Withdrawn before, it passes for a body of unknown length that breaks off at once, so the server never gets the
/// request whole. A GET or HEAD has no such form and goes out, but that does no harm.
#[derive(Debug)]
pub(super) struct NoBody {
    /// Whether the head says that there is nothing to come.
    is_announced: bool,
    shared: Arc<Shared>,
}

impl NoBody {
    pub(super) fn new(is_announced: bool) -> (Self, UploadWatch) {
        let shared = Arc::<Shared>::default();
        (Self { is_announced, shared: Arc::clone(&shared) }, UploadWatch(shared))
    }

    /// Notes that the head leaves; `false` if the request was withdrawn before.
    fn start(&self) -> bool {
        self.shared.is_asked_for.store(true, Ordering::Release);
        self.shared.turn(WAITING, ENDED) || self.shared.is(ENDED)
    }
}

impl HttpBody for NoBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        Poll::Ready((!self.start()).then_some(Err(BrokenOff::Withdrawn)))
    }

    fn is_end_stream(&self) -> bool {
        self.start() && !self.is_announced
    }

    fn size_hint(&self) -> SizeHint {
        // This is asked in other places as well, before there is a connection.
        if self.shared.is(ENDED) { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::stream;

    use super::*;
    use crate::request::{BODY_PART_BYTES_MAX, Body, Request};

    async fn upload(body: impl Into<Bytes>) -> (Upload, UploadWatch) {
        let body = Body::from(body.into()).open().await.unwrap();
        Upload::new(body, Meter::default())
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_the_whole_body_in_parts_and_tells_when_each_left() {
        let body = Bytes::from(vec![7; BODY_PART_BYTES_MAX * 2 + 1]);
        let (mut upload, watch) = upload(body.clone()).await;
        let (mut given, mut left_at) = (Vec::new(), None);
        while let Some(part) = upload.next().await {
            given.extend_from_slice(&part.unwrap());
            left_at = Some(Instant::now());
            assert_eq!(watch.moved_at(), left_at);
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!(given, body);
        assert!(watch.moved_at() == left_at && watch.has_ended());
    }

    #[tokio::test]
    async fn once_withdrawn_it_gives_nothing_and_once_begun_it_cannot_be_withdrawn() {
        let (mut once, watch) = upload("body").await;
        assert!(watch.withdraw() && watch.withdraw());
        assert!(once.next().await.unwrap().is_err());

        let (mut once, watch) = upload("body").await;
        assert_eq!(once.next().await.unwrap().unwrap(), "body");
        assert!(!watch.withdraw());
        assert!(once.next().await.is_none());
    }

    #[test]
    fn a_body_that_is_none_is_gone_once_it_was_asked_for_and_breaks_off_if_it_was_withdrawn_before() {
        for is_announced in [false, true] {
            let (body, watch) = NoBody::new(is_announced);
            assert_eq!(body.size_hint().exact(), None);
            assert!(!watch.was_asked_for());
            assert_eq!((body.is_end_stream(), body.size_hint().exact()), (!is_announced, Some(0)));
            assert!(watch.was_asked_for() && watch.has_ended() && !watch.withdraw());

            let (mut body, watch) = NoBody::new(is_announced);
            assert!(watch.withdraw());
            assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, None));
            let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
            assert!(matches!(polled, Poll::Ready(Some(Err(BrokenOff::Withdrawn)))));
        }
    }

    #[tokio::test]
    async fn a_body_that_nobody_waits_for_any_more_breaks_off_even_while_its_source_stands_still() {
        let request = Request::put("/x").body_stream(None, || {
            stream::iter([Ok(Bytes::from_static(b"part"))]).chain(stream::pending::<io::Result<Bytes>>())
        });
        let body = request.build().unwrap().body().unwrap().open().await.unwrap();
        let (mut upload, watch) = Upload::new(body, Meter::default());
        assert_eq!(upload.next().await.unwrap().unwrap(), "part");
        let (rest, ()) = tokio::join!(upload.next(), async { drop(watch) });
        assert!(matches!(rest, Some(Err(BrokenOff::Withdrawn))));
    }

    #[tokio::test]
    async fn a_body_that_was_sent_whole_ends_well_whoever_waits() {
        let (mut upload, watch) = upload("body").await;
        assert!(upload.next().await.unwrap().is_ok());
        drop(watch);
        assert!(upload.next().await.is_none());
    }

    #[tokio::test]
    async fn a_body_that_fails_says_why_and_whether_some_of_it_has_left() {
        for (parts, reach) in [(0, Reach::NotSent), (1, Reach::MaybeSent)] {
            let request = Request::put("/x").body_stream(None, move || {
                let good = std::iter::repeat_n((), parts).map(|()| Ok(Bytes::from_static(b"part")));
                stream::iter(good.chain([Err(io::Error::other("worn out"))]))
            });
            let body = request.build().unwrap().body().unwrap().open().await.unwrap();
            let (mut upload, watch) = Upload::new(body, Meter::default());
            while upload.next().await.unwrap().is_ok() {
                assert_eq!(watch.failure(), None);
            }
            let failure = watch.failure().unwrap();
            assert_eq!((failure.kind, failure.reach), (FailureKind::UploadUnreadable, reach));
            assert!(failure.details.contains("worn out"));
        }
    }
}
