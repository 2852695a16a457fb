//! A body on its way: parts of bounded size, and exactly as many bytes as were announced.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{BodyError, BodyParts, SingleUse};

/// The largest part of a body that is handed on at once.
pub const BODY_PART_BYTES_MAX: usize = 64 * 1024;

/// How many empty parts in a row are passed over before others have their turn.
const EMPTY_PARTS_MAX: usize = 32;

/// A body that was opened for one attempt: a stream of parts of 1 to [`BODY_PART_BYTES_MAX`] bytes.
///
/// If its length was announced, it gives exactly that many bytes or fails before it has given the last part. So
/// whoever frames it by its length never takes a body that is too long, or was cut, for a whole one. One part is in
/// hand at a time.
pub struct BodyReader {
    length: Option<u64>,
    source: ReaderSource,
    /// How much has come out of the source.
    read: u64,
    /// What of that has not been handed on.
    buffered: Bytes,
}

enum ReaderSource {
    Parts(BodyParts),
    /// Not taken before it is needed: a body that was not begun can still be sent.
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

    /// Sees to it that a body of no length is empty: nobody would ask it for a part.
    pub(super) async fn check_empty(mut self) -> Result<Self, BodyError> {
        if self.length == Some(0)
            && let Some(Err(error)) = self.next().await
        {
            return Err(error);
        }
        Ok(self)
    }

    /// How many bytes it has, if that is known before its end.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether nothing is left, as far as can be told without asking for it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.buffered.is_empty() && matches!(self.source, ReaderSource::Ended)
    }

    /// Whether what is in hand may go: the last part may not before it is known to be the last.
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
        // The source is the caller's own; its panic must not end the task that writes to the connection.
        let polled = catch_unwind(AssertUnwindSafe(|| parts.poll_next_unpin(cx)));
        polled.unwrap_or_else(|_panic| {
            Poll::Ready(Some(Err(BodyError::Unreadable("what gives its parts panicked".to_owned()))))
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
        f.debug_struct("OpenBody").field("length", length).field("read", read).finish_non_exhaustive()
    }
}
