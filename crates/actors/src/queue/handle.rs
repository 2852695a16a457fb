//! Makes and cancels requests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mainstay_runtime::{Address, CallError, Promise, Reply, SendError, SendErrorKind};

use super::{download::Download, message::QueueMessage, request_entry::PendingRequest};
use crate::{
    error::Error,
    request::{Priority, Request, RequestId, Response},
};

/// A handle to a queue. Cheap to clone.
///
/// The handle assigns the requests' ids, so a queue has one handle and its clones.
#[derive(Debug, Clone)]
pub struct QueueHandle {
    address: Address<QueueMessage>,
    last_id: Arc<AtomicU64>,
}

impl QueueHandle {
    /// Creates the handle for the queue at `address`. Create one for each queue, and clone it.
    #[must_use]
    pub fn new(address: Address<QueueMessage>) -> Self {
        Self { address, last_id: Arc::default() }
    }

    /// Makes a request and waits for the response. Dropping the future cancels the request.
    ///
    /// # Errors
    /// The request failed: see [`Error`]. A crash of the queue's actor is no error while the request waits, or while
    /// an attempt that may be repeated is in flight.
    pub async fn request(&self, request: Request) -> Result<Response, Error> {
        self.submit(request).1.await
    }

    /// Makes a request, and returns its id with the future of [`request`](Self::request). Dropping the future cancels
    /// the request.
    ///
    /// The request is queued when this returns. If the queue's mailbox is full, it is queued when the future is
    /// polled and there is room.
    #[must_use = "dropping the future cancels the request"]
    pub fn submit(
        &self,
        request: Request,
    ) -> (RequestId, impl Future<Output = Result<Response, Error>> + Send + use<>) {
        let (id, (reply, response)) = (self.next_id(), Reply::channel());
        (id, self.send(id, QueueMessage::Enqueue { id, request: Arc::new(request), reply }, response))
    }

    /// Makes a request and waits until a successful response starts. The body is then streamed, so it may be of any
    /// size. Dropping the future cancels the request, and so does dropping the [`Download`].
    ///
    /// Until the response starts, order, retries and timeouts are those of [`request`](Self::request). Afterwards
    /// there is no other attempt, and the request keeps its permit until the body has ended or is dropped.
    ///
    /// # Errors
    /// The errors of [`request`](Self::request); the [`Download`] reports later ones.
    pub async fn open(&self, request: Request) -> Result<Download, Error> {
        self.submit_open(request).1.await
    }

    /// Makes a request, and returns its id with the future of [`open`](Self::open); otherwise like
    /// [`submit`](Self::submit).
    #[must_use = "dropping the future cancels the request"]
    pub fn submit_open(
        &self,
        request: Request,
    ) -> (RequestId, impl Future<Output = Result<Download, Error>> + Send + use<>) {
        let (id, (reply, response)) = (self.next_id(), Reply::channel());
        (id, self.send(id, QueueMessage::OpenStream { id, request: Arc::new(request), reply }, response))
    }

    fn next_id(&self) -> RequestId {
        RequestId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn send<T: Send + 'static>(
        &self,
        id: RequestId,
        message: QueueMessage,
        response: Promise<Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T> {
        // There is room in most cases, and then the future needs no state for the wait.
        let unsent = self.address.try_cast(message).err().map(Box::new);
        let mut guard = CancelOnDrop { address: self.address.clone(), id, is_armed: true };
        async move {
            let sent = match unsent {
                None => Ok(()),
                Some(unsent) => Box::pin(guard.send_when_ready(*unsent)).await,
            };
            let response = match sent {
                Ok(()) => response.await,
                Err(error) => Err(error),
            };
            guard.is_armed = false;
            response.unwrap_or_else(|error| Err(Error::from(error).with_request_id(guard.id)))
        }
    }

    /// Cancels a request: it leaves the queue, or its attempt is dropped, and its caller gets the reason `cancelled`.
    /// A body that is being streamed ends with that error. Returns `false` if the request has ended already or was
    /// never made.
    ///
    /// An attempt in flight may have reached the backend.
    ///
    /// # Errors
    /// Returns `stopped` or `crashed` if the queue's actor did not answer.
    pub async fn cancel(&self, id: RequestId) -> Result<bool, Error> {
        let called = self.address.call(|reply| QueueMessage::Cancel { id, reply });
        called.await.map_err(|error| Error::from(error).with_request_id(id))
    }
}

impl QueueHandle {
    /// Changes the priority of a waiting request; it keeps its arrival time. Of a shared request, this changes the
    /// priority for all callers. Returns `false` if the request does not wait.
    ///
    /// # Errors
    /// Returns `stopped` or `crashed` if the queue's actor did not answer.
    pub async fn set_priority(&self, id: RequestId, priority: Priority) -> Result<bool, Error> {
        let called = self.address.call(|reply| QueueMessage::SetPriority { id, priority, reply });
        called.await.map_err(|error| Error::from(error).with_request_id(id))
    }

    /// Lists the requests that have not ended, oldest first, at most `count`.
    ///
    /// # Errors
    /// Returns `stopped` or `crashed` if the queue's actor did not answer.
    pub async fn list(&self, count: usize) -> Result<Vec<PendingRequest>, Error> {
        self.address.call(|reply| QueueMessage::List { count, reply }).await.map_err(Error::from)
    }
}

/// Cancels the request when dropped, unless it has been disarmed.
struct CancelOnDrop {
    address: Address<QueueMessage>,
    id: RequestId,
    is_armed: bool,
}

impl CancelOnDrop {
    /// Sends the message once there is room.
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
            // A full mailbox refuses this; the queue then finds the reply channel closed when the request's turn
            // comes.
            let _ = self.address.try_cast(QueueMessage::Abandon { id: self.id });
        }
    }
}
