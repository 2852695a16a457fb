//! The bodies of requests and responses that pass through a session in parts, both within bounds.
//!
//! A response goes to the client in chunks, of which only some may be unacknowledged: then the backend is not read. A
//! request's body comes in writes, each answered once the connection has taken it.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use mainstay_actors::error::{Error, Reason};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::byte_limit::HeldBytes;
use super::protocol::{decode_base64, invalid_command};

/// The most bytes of one chunk.
pub(super) const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// The most chunks of one response that are not acknowledged.
pub(super) const UNACKNOWLEDGED_CHUNKS_MAX: usize = 16;
/// The longest wait for an acknowledgement. The response holds a permit of the queue, which others wait for.
pub(super) const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes of one write.
pub(super) const WRITE_BYTES_MAX: usize = 1 << 20;
/// The most writes of one request that wait.
pub(super) const WRITES_WAITING_MAX: usize = 16;

/// A command about a body that passes in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum BodyCommand {
    /// Acknowledge chunks of a response. The reply is `null`, also when the response has ended.
    Ack {
        /// The id of the command that made the request.
        request: u64,
        /// The number of chunks.
        chunks: u32,
    },
    /// Send the next part of a request's body, at most 1 MiB. The reply, `null`, comes when the connection has taken it.
    Write {
        /// The id of the command that made the request.
        request: u64,
        /// The bytes.
        base64: String,
    },
    /// End the request's body. The reply is `null`.
    End {
        /// The id of the command that made the request.
        request: u64,
    },
    /// Break off the request, as `cancel` does: its body is never whole. The reply is `null`.
    Abort {
        /// The id of the command that made the request.
        request: u64,
    },
}

/// Limits the chunks of one response that are not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct AckWindow(Arc<Semaphore>);

impl Default for AckWindow {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UNACKNOWLEDGED_CHUNKS_MAX)))
    }
}

impl AckWindow {
    /// Waits until another chunk may be sent, and counts it.
    ///
    /// # Errors
    /// `timed_out` when the client acknowledges nothing for a minute.
    pub(super) async fn enter(&self) -> Result<(), Error> {
        match timeout(ACKNOWLEDGE_TIMEOUT, self.0.acquire()).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(Error::new(Reason::TimedOut).with_message(
                "The response was not read for a minute and was broken off. Send the request again.",
            )),
        }
    }

    /// Notes that the client has taken chunks.
    ///
    /// # Errors
    /// `invalid_request` if it acknowledges more than it got.
    pub(super) fn acknowledge(&self, chunks: u32) -> Result<(), Error> {
        let chunks = usize::try_from(chunks).unwrap_or(usize::MAX);
        let open = UNACKNOWLEDGED_CHUNKS_MAX.saturating_sub(self.0.available_permits());
        if chunks > open {
            return Err(invalid_command(&format!(
                "only {open} chunks of this request wait for their \"ack\""
            )));
        }
        self.0.add_permits(chunks);
        Ok(())
    }
}

/// Takes the parts of a request's body from the client. It is dropped when the request ends.
#[derive(Debug)]
pub(super) struct BodyUpload {
    /// `None` once the client has ended the body.
    parts: Option<mpsc::Sender<UploadPart>>,
    /// The parts that wait. The stream owns them.
    waiting: Weak<Mutex<mpsc::Receiver<UploadPart>>>,
}

impl Drop for BodyUpload {
    /// Drops the parts that wait. A connection that takes no bytes would keep their stream, and so them, after a cancel.
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.upgrade() {
            let mut waiting = waiting.lock();
            waiting.close();
            while waiting.try_recv().is_ok() {}
        }
    }
}

/// A part of a body, or its end.
#[derive(Debug)]
enum UploadPart {
    Bytes { bytes: Bytes, held: HeldBytes, taken: oneshot::Sender<()> },
    End,
}

/// Resolves when the connection has taken a part; to an error when it never will.
pub(super) type PartTaken = oneshot::Receiver<()>;

impl BodyUpload {
    /// Creates an upload, and the stream of its parts.
    pub(super) fn new() -> (Self, impl Stream<Item = io::Result<Bytes>> + Send + 'static) {
        // There is always room for the end.
        let (sender, parts) = mpsc::channel(WRITES_WAITING_MAX + 1);
        let parts = Arc::new(Mutex::new(parts));
        let waiting = Arc::downgrade(&parts);
        let stream = stream::unfold(Some(parts), |parts| async move {
            let parts = parts?;
            let part = poll_fn(|context| parts.lock().poll_recv(context)).await;
            match part {
                Some(UploadPart::Bytes { bytes, held, taken }) => {
                    drop(held);
                    // A session that has ended needs no reply.
                    let _ = taken.send(());
                    Some((Ok(bytes), Some(parts)))
                }
                Some(UploadPart::End) => None,
                None => Some((Err(io::Error::other("its client left before the end")), None)),
            }
        });
        (Self { parts: Some(sender), waiting }, stream)
    }

    /// Passes a part on. It waits until the connection takes it.
    ///
    /// # Errors
    /// `invalid_request` after the end; `queue_full` if too many parts wait; `not_found` if the request has ended.
    pub(super) fn write(&self, bytes: Bytes, held: HeldBytes) -> Result<PartTaken, Error> {
        let parts = self.parts.as_ref().ok_or_else(ended_body)?;
        if parts.is_closed() {
            return Err(unknown_body());
        }
        if parts.capacity() <= 1 {
            let details =
                format!("{WRITES_WAITING_MAX} parts of this body wait already; wait for their replies");
            return Err(Error::new(Reason::QueueFull).with_details(&details));
        }
        let (taken, part_taken) = oneshot::channel();
        let sent = parts.try_send(UploadPart::Bytes { bytes, held, taken });
        sent.map(|()| part_taken).map_err(|_| unknown_body())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// `invalid_request` if it has ended already; `not_found` if the request has ended.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        let parts = self.parts.take().ok_or_else(ended_body)?;
        parts.try_send(UploadPart::End).map_err(|_| unknown_body())
    }
}

/// Reads a part of a body.
pub(super) fn decode_part(base64: &str) -> Result<Bytes, Error> {
    if base64.len() / 4 * 3 > WRITE_BYTES_MAX + 3 {
        return Err(too_large_part());
    }
    let bytes = decode_base64(base64)?;
    if bytes.len() > WRITE_BYTES_MAX { Err(too_large_part()) } else { Ok(bytes) }
}

fn too_large_part() -> Error {
    Error::new(Reason::RequestTooLarge)
        .with_message("A part of a request's body is larger than 1 MiB. Send it in smaller parts.")
}

fn ended_body() -> Error {
    invalid_command("the body of this request has ended already")
}

/// Returns the error for a part without a request that would take it.
pub(super) fn unknown_body() -> Error {
    Error::new(Reason::NotFound)
        .with_message("No request of this session takes this data. It has ended, or there was none.")
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use futures_util::StreamExt;

    use super::super::byte_limit::{BYTES_MAX, ByteLimit};
    use super::*;

    #[tokio::test]
    async fn parts_pass_in_order_and_each_is_acknowledged() {
        let limit = ByteLimit::default();
        let (mut upload, stream) = BodyUpload::new();
        let write = |upload: &BodyUpload, text: &'static str| {
            upload.write(text.into(), limit.hold(text.len()).unwrap()).unwrap()
        };
        let (mut first, second) = (write(&upload, "one"), write(&upload, "two"));
        assert!(first.try_recv().is_err(), "nothing has taken it");
        upload.end().unwrap();
        assert_eq!(upload.end().unwrap_err().reason, Reason::InvalidRequest);
        let refused = upload.write(Bytes::new(), limit.hold(0).unwrap()).unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidRequest, "no write after the end");
        let parts: Vec<Bytes> = stream.map(Result::unwrap).collect().await;
        assert_eq!(parts, ["one", "two"]);
        assert_eq!((first.await, second.await), (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn body_of_a_client_that_left_fails() {
        let (upload, stream) = BodyUpload::new();
        drop(upload);
        let parts: Vec<_> = stream.collect().await;
        assert!(parts.len() == 1 && parts[0].is_err());
    }

    #[test]
    fn writes_that_wait_are_bounded_and_end_with_the_request() {
        let limit = ByteLimit::default();
        let (mut upload, stream) = BodyUpload::new();
        let write = |upload: &BodyUpload| upload.write("part".into(), limit.hold(4).unwrap());
        let mut waiting: Vec<PartTaken> = (0..WRITES_WAITING_MAX).map(|_| write(&upload).unwrap()).collect();
        assert_eq!(write(&upload).unwrap_err().reason, Reason::QueueFull);
        drop(stream);
        assert!(
            waiting.iter_mut().all(|taken| taken.try_recv() == Err(oneshot::error::TryRecvError::Closed))
        );
        assert_eq!(write(&upload).unwrap_err().reason, Reason::NotFound);
        assert_eq!(upload.end().unwrap_err().reason, Reason::NotFound);
    }

    #[tokio::test]
    async fn waiting_writes_and_their_bytes_end_with_the_upload() {
        let limit = ByteLimit::default();
        // The stream stays, as it does with a connection that takes no bytes.
        let (upload, stream) = BodyUpload::new();
        let mut taken = upload.write("part".into(), limit.hold(BYTES_MAX).unwrap()).unwrap();
        drop(upload);
        assert_eq!(taken.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(limit.hold(BYTES_MAX).is_ok(), "its bytes no longer count");
        let parts: Vec<_> = stream.collect().await;
        assert!(parts.len() == 1 && parts[0].is_err());
    }

    #[test]
    fn part_is_refused_when_too_large_or_no_base64() {
        assert_eq!(decode_part("AP8=").unwrap(), &[0, 0xff][..]);
        assert_eq!(decode_part(&STANDARD.encode(vec![7; WRITE_BYTES_MAX])).unwrap().len(), WRITE_BYTES_MAX);
        for (base64, reason) in [
            (STANDARD.encode(vec![7; WRITE_BYTES_MAX + 1]), Reason::RequestTooLarge),
            ("A".repeat(WRITE_BYTES_MAX * 2), Reason::RequestTooLarge),
            ("%".to_owned(), Reason::InvalidRequest),
        ] {
            assert_eq!(decode_part(&base64).unwrap_err().reason, reason);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn window_waits_for_acknowledgements_a_minute() {
        let window = AckWindow::default();
        for _ in 0..UNACKNOWLEDGED_CHUNKS_MAX {
            window.enter().await.unwrap();
        }
        assert_eq!(window.enter().await.unwrap_err().reason, Reason::TimedOut);
        window.acknowledge(2).unwrap();
        window.enter().await.unwrap();
        assert_eq!(window.acknowledge(16).unwrap_err().reason, Reason::InvalidRequest);
        window.acknowledge(15).unwrap();
    }
}
