//! The body of a request on its way out: it knows whether its first byte has left, and can still be withdrawn.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::Notify;

/// How much is handed to the connection at once; each part counts as progress.
const PART_BYTES_MAX: usize = 64 * 1024;

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Watches, and can withdraw, an upload.
///
/// The connection takes the first part of the body only when it writes the request's head. A request whose body was
/// withdrawn before can therefore not have reached the server whole, and a server cannot act on it.
#[derive(Debug, Clone, Default)]
pub(super) struct UploadWatch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    moved: Notify,
}

impl UploadWatch {
    /// Takes the body back; `false` if some of it may have left already.
    pub(super) fn withdraw(&self) -> bool {
        let phase = &self.shared.phase;
        match phase.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(phase) => phase == WITHDRAWN,
        }
    }

    /// Waits for the next part to leave.
    pub(super) async fn moved(&self) {
        self.shared.moved.notified().await;
    }

    fn start(&self) -> bool {
        let phase = &self.shared.phase;
        match phase.compare_exchange(WAITING, STARTED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(phase) => phase == STARTED,
        }
    }
}

/// The body as a stream of parts.
#[derive(Debug)]
pub(super) struct Upload {
    left: Bytes,
    watch: UploadWatch,
}

impl Upload {
    pub(super) fn new(body: Bytes) -> (Self, UploadWatch) {
        let watch = UploadWatch::default();
        (Self { left: body, watch: watch.clone() }, watch)
    }
}

/// The body was taken back before it began.
#[derive(Debug, thiserror::Error)]
#[error("the request was withdrawn before it was sent")]
pub(super) struct Withdrawn;

impl Stream for Upload {
    type Item = Result<Bytes, Withdrawn>;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.watch.start() {
            return Poll::Ready(Some(Err(Withdrawn)));
        }
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let part = PART_BYTES_MAX.min(self.left.len());
        let part = self.left.split_to(part);
        self.watch.shared.moved.notify_one();
        Poll::Ready(Some(Ok(part)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn it_gives_the_whole_body_in_parts_and_tells_of_each() {
        let body = Bytes::from(vec![7; PART_BYTES_MAX * 2 + 1]);
        let (mut upload, watch) = Upload::new(body.clone());
        let mut given = Vec::new();
        while let Some(part) = upload.next().await {
            given.extend_from_slice(&part.unwrap());
            assert!(watch.moved().now_or_never().is_some());
        }
        assert_eq!(given, body);
        assert!(watch.moved().now_or_never().is_none());
    }

    #[tokio::test]
    async fn once_withdrawn_it_gives_nothing_and_once_begun_it_cannot_be_withdrawn() {
        let (mut upload, watch) = Upload::new(Bytes::from_static(b"body"));
        assert!(watch.withdraw() && watch.withdraw());
        assert!(upload.next().await.unwrap().is_err());

        let (mut upload, watch) = Upload::new(Bytes::from_static(b"body"));
        assert_eq!(upload.next().await.unwrap().unwrap(), "body");
        assert!(!watch.withdraw());
        assert!(upload.next().await.is_none());
    }
}
