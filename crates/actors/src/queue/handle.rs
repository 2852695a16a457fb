//! How requests are made, followed and called off.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mainstay_runtime::{Address, CallError, Promise, Reply, SendError, SendErrorKind};

use super::{download::Download, message::QueueMessage};
use crate::{
    error::{Error, of_call},
    request::{Request, RequestId, Response},
};

/// A handle on a queue. Cheap to clone.
///
/// It gives out the ids of the requests, so a queue has one handle and its clones.
#[derive(Debug, Clone)]
pub struct QueueHandle {
    address: Address<QueueMessage>,
    last_id: Arc<AtomicU64>,
}

impl QueueHandle {
    /// The handle on the queue at `address`. To be made once a queue, and cloned.
    #[must_use]
    pub fn new(address: Address<QueueMessage>) -> Self {
        Self { address, last_id: Arc::default() }
    }

    /// Makes a request, and waits for the response. Dropping the future calls the request off.
    ///
    /// # Errors
    /// Whatever became of it instead: see [`Error`]. A crash of the queue's actor is no error while the request
    /// waits, nor while an attempt is under way that may be repeated.
    pub async fn request(&self, request: Request) -> Result<Response, Error> {
        self.submit(request).1.await
    }

    /// Makes a request, and returns its id with what [`request`](Self::request) would have waited for. Dropping the
    /// future calls the request off.
    ///
    /// The request is on its way when this returns, unless the queue's mailbox is full: then it is sent when the future
    /// is polled and there is room.
    #[must_use = "dropping the future calls the request off"]
    pub fn submit(
        &self,
        request: Request,
    ) -> (RequestId, impl Future<Output = Result<Response, Error>> + Send + use<>) {
        let (id, (reply, answer)) = (self.next_id(), Reply::channel());
        (id, self.send(id, QueueMessage::Enqueue { id, request: Arc::new(request), reply }, answer))
    }

    /// Makes a request, and waits for a good answer to begin; its body is then read as it comes, of any size and
    /// without being held in memory. Dropping the future calls the request off, and so does dropping the [`Download`].
    ///
    /// Until the answer begins all is as for [`request`](Self::request): turns, retries, timeouts. From then on there
    /// is no other attempt, and the request holds its place among those that run until its answer has ended or is
    /// dropped.
    ///
    /// # Errors
    /// As [`request`](Self::request); what befalls the answer later is told by the [`Download`].
    pub async fn open(&self, request: Request) -> Result<Download, Error> {
        self.submit_open(request).1.await
    }

    /// Makes a request, and returns its id with what [`open`](Self::open) would have waited for; otherwise like
    /// [`submit`](Self::submit).
    #[must_use = "dropping the future calls the request off"]
    pub fn submit_open(
        &self,
        request: Request,
    ) -> (RequestId, impl Future<Output = Result<Download, Error>> + Send + use<>) {
        let (id, (reply, answer)) = (self.next_id(), Reply::channel());
        (id, self.send(id, QueueMessage::OpenStream { id, request: Arc::new(request), reply }, answer))
    }

    fn next_id(&self) -> RequestId {
        RequestId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn send<T: Send + 'static>(
        &self,
        id: RequestId,
        message: QueueMessage,
        answer: Promise<Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T> {
        // Mostly there is room, and then the future carries nothing of waiting for it.
        let unsent = self.address.try_cast(message).err().map(Box::new);
        let mut stake = CancelOnDrop { address: self.address.clone(), id, is_armed: true };
        async move {
            let sent = match unsent {
                None => Ok(()),
                Some(unsent) => Box::pin(stake.send_when_ready(*unsent)).await,
            };
            let answer = match sent {
                Ok(()) => answer.await,
                Err(error) => Err(error),
            };
            stake.is_armed = false;
            answer.unwrap_or_else(|error| Err(of_call(error).with_request_id(stake.id)))
        }
    }

    /// Calls a request off: it leaves the line, or its attempt is dropped, and its caller gets the reason
    /// `cancelled`. An answer that is being read as it comes breaks off with that. `false` if the request has ended
    /// already, or was never made.
    ///
    /// An attempt that was under way may have reached the backend.
    ///
    /// # Errors
    /// `stopped` or `crashed` if the queue's actor did not answer.
    pub async fn cancel(&self, id: RequestId) -> Result<bool, Error> {
        let called = self.address.call(|reply| QueueMessage::Cancel { id, reply });
        called.await.map_err(|error| of_call(error).with_request_id(id))
    }
}

/// A caller's stake in a request: as long as it is held, the request is wanted.
struct CancelOnDrop {
    address: Address<QueueMessage>,
    id: RequestId,
    is_armed: bool,
}

impl CancelOnDrop {
    /// Sends what could not be sent, once there is room.
    async fn send_when_ready(&self, unsent: SendError<QueueMessage>) -> Result<(), CallError> {
        match unsent.kind {
            SendErrorKind::Full => self.address.cast(unsent.message).await.map_err(|_| CallError::Stopped),
            SendErrorKind::Stopped => Err(CallError::Stopped),
        }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.is_armed {
            // A full mailbox refuses this; the queue then finds the caller gone when the request's turn comes.
            let _ = self.address.try_cast(QueueMessage::Abandon { id: self.id });
        }
    }
}
