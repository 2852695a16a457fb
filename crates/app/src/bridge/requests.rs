//! The requests and frames of one session that are in flight. They end with it.

use std::collections::HashMap;

use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::json::Json;

use super::protocol::ServerMessage;

/// The most requests of one client that may be in flight; further ones are rejected. Each may wait for long, and the
/// client's other commands do not wait for them.
const REQUESTS_MAX: usize = 1024;

/// The requests in flight.
#[derive(Default)]
pub(super) struct PendingRequests {
    running: FuturesUnordered<BoxFuture<'static, FinishedRequest>>,
    /// By command: the request's number within the session, and its abort handle.
    by_command: HashMap<u64, (u64, AbortHandle)>,
    started: u64,
}

struct FinishedRequest {
    command: Option<u64>,
    number: u64,
    reply: ServerMessage,
}

impl PendingRequests {
    /// Starts a request, or other work that may wait for long. [`next`](Self::next) returns the reply to command `id`.
    ///
    /// # Errors
    /// `queue_full` when the client has too many in flight.
    pub(super) fn start(
        &mut self,
        id: Option<u64>,
        work: impl Future<Output = Result<Json, Error>> + Send + 'static,
    ) -> Result<(), Error> {
        if self.running.len() >= REQUESTS_MAX {
            let details = format!("{REQUESTS_MAX} requests of this session have no answer yet");
            return Err(Error::new(Reason::QueueFull).with_details(&details));
        }
        let (answer, handle) = abortable(work);
        self.started += 1;
        let number = self.started;
        if let Some(id) = id {
            self.by_command.insert(id, (number, handle));
        }
        let ended = async move {
            // Dropping the future cancels the request at the queue.
            let answer = answer.await.unwrap_or_else(|_| Err(Error::new(Reason::Cancelled)));
            FinishedRequest { command: id, number, reply: ServerMessage::reply(id, answer) }
        };
        self.running.push(ended.boxed());
        Ok(())
    }

    /// Cancels the request of command `id`, the latest if there were more. Returns `false` if none is in flight.
    pub(super) fn cancel(&mut self, id: u64) -> bool {
        let found = self.by_command.remove(&id);
        found.map(|(_, handle)| handle.abort()).is_some()
    }

    /// Returns the next reply; `None` while there is no request.
    pub(super) async fn next(&mut self) -> Option<ServerMessage> {
        let FinishedRequest { command, number, reply } = self.running.next().await?;
        if let Some(id) = command
            && self.by_command.get(&id).is_some_and(|(latest, _)| *latest == number)
        {
            self.by_command.remove(&id);
        }
        Some(reply)
    }
}
