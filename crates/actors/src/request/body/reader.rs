//! Reads a body in parts of bounded size, and exactly as many bytes as were announced.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{BodyError, BodyParts, SingleUse};

/// The largest part of a body that is sent at once, in bytes.
pub(crate) const BODY_PART_BYTES_MAX: usize = 64 * 1024;

/// The number of empty parts that are skipped in a row before other tasks get their turn.
const EMPTY_PARTS_MAX: usize = 32;

/// A body that was opened for one attempt: a stream of parts of 1 byte to 64 KiB.
///
/// If its length was announced, it yields exactly that many bytes or fails before the last part. So a receiver never
/// takes a body that is too long or truncated for a whole one. It holds one part at a time.
pub struct BodyReader {
    length: Option<u64>,
    source: ReaderSource,
    /// The bytes that the source has yielded.
    read: u64,
    /// The bytes of the source's last part that were not passed on yet.
    buffered: Bytes,
}

enum ReaderSource {
    Parts(BodyParts),
    /// Taken on first use: a single-use body that was not begun can still be sent.
    SingleUse(SingleUse),
    Ended,
}

impl BodyReader {
    pub(super) fn from_bytes(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self { length: Some(length), source: ReaderSource::Ended, read: length, buffered: bytes }
    }

    pub(super) fn from_parts(length: Option<u64>, parts: BodyParts) -> Self {
        Self { length, source: ReaderSource::Parts(parts), read: 0, buffered: Bytes::new() }
    }

    pub(super) fn from_single_use(length: Option<u64>, parts: SingleUse) -> Self {
        Self { length, source: ReaderSource::SingleUse(parts), read: 0, buffered: Bytes::new() }
    }

    /// Checks that a body of length 0 is empty, since no connection would ask for its parts.
    pub(super) async fn check_empty(mut self) -> Result<Self, BodyError> {
        if self.length == Some(0)
            && let Some(Err(error)) = self.next().await
        {
            return Err(error);
        }
        Ok(self)
    }

    /// Returns the length in bytes, if it is known before the end.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Returns whether nothing is left, as far as this is known without polling.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.buffered.is_empty() && matches!(self.source, ReaderSource::Ended)
    }

    /// Returns whether the held part may go: the last part may not before the source has ended.
    fn can_emit(&self) -> bool {
        !self.buffered.is_empty()
            && (self.length != Some(self.read) || matches!(self.source, ReaderSource::Ended))
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.source = ReaderSource::Ended;
        self.buffered.clear();
        Poll::Ready(Some(Err(error)))
    }

    fn accept_part(&mut self, part: Bytes) -> Result<(), BodyError> {
        self.read = self.read.saturating_add(part.len() as u64);
        match self.length {
            Some(length) if self.read > length => {
                Err(BodyError::Changed(format!("it has more than the {length} bytes that were announced")))
            }
            _ => {
                self.buffered = part;
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<(), BodyError> {
        self.source = ReaderSource::Ended;
        match self.length {
            Some(length) if self.read < length => {
                let read = self.read;
                Err(BodyError::Changed(format!("it ended after {read} of {length} bytes")))
            }
            _ => Ok(()),
        }
    }
}

impl ReaderSource {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Self::SingleUse(parts) = self {
            let taken = parts.lock().take();
            let Some(parts) = taken else {
                let why = "it can be sent only once, and was sent already";
                return Poll::Ready(Some(Err(BodyError::Unreadable(why.to_owned()))));
            };
            *self = Self::Parts(parts);
        }
        let Self::Parts(parts) = self else { return Poll::Ready(None) };
        // The caller supplies the source; its panic must not end the task that writes to the connection.
        let polled = catch_unwind(AssertUnwindSafe(|| parts.poll_next_unpin(cx)));
        polled.unwrap_or_else(|_panic| {
            Poll::Ready(Some(Err(BodyError::Unreadable("the source of its parts panicked".to_owned()))))
        })
    }
}

impl Stream for BodyReader {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        for _ in 0..EMPTY_PARTS_MAX {
            if self.can_emit() {
                let bytes = BODY_PART_BYTES_MAX.min(self.buffered.len());
                return Poll::Ready(Some(Ok(self.buffered.split_to(bytes))));
            }
            if self.has_ended() {
                return Poll::Ready(None);
            }
            let taken = match ready!(self.source.poll_part(cx)) {
                Some(Ok(part)) if part.is_empty() => Ok(()),
                Some(Ok(part)) => self.accept_part(part),
                Some(Err(error)) => Err(error),
                None => self.finish(),
            };
            if let Err(error) = taken {
                return self.fail(error);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for BodyReader {
    /// Shows nothing of the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, read, .. } = self;
        f.debug_struct("BodyReader").field("length", length).field("read", read).finish_non_exhaustive()
    }
}
