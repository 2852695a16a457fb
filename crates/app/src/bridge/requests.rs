//! The requests and frames of one session that are in flight. They end with it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::json::Json;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use super::bodies::{AckWindow, BodyCommand, BodyUpload, CHUNK_BYTES_MAX, decode_part, unknown_body};
use super::byte_limit::{ByteLimit, HeldBytes};
use super::command::RequestCommand;
use super::panics::catch_panic;
use super::protocol::{ServerMessage, invalid_command, to_json};
use super::replies::{ResponseReply, ResponseStart};
use super::request_pushes::{AcceptedRequest, BodyEnd};
use crate::mainstay::Mainstay;
use crate::{Download, Request, RequestId, Response, TransferProgress};

/// The most requests of one client that may be in flight; further ones are rejected. Each may wait for long, and the
/// client's other commands do not wait for them.
const REQUESTS_MAX: usize = 1024;
/// The most among them whose body, or whose response's body, passes in parts.
const STREAMS_MAX: usize = 64;
/// The shortest time between two pushes of one request's progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// The requests in flight.
pub(super) struct PendingRequests {
    running: FuturesUnordered<BoxFuture<'static, FinishedRequest>>,
    by_command: HashMap<u64, InFlightRequest>,
    started: u64,
    /// The parts of requests' bodies that the connection has not taken.
    writes: FuturesUnordered<BoxFuture<'static, ServerMessage>>,
    /// The pushes about requests. There is room for one: the requests run only while the client takes them.
    pushes: (mpsc::Sender<ServerMessage>, mpsc::Receiver<ServerMessage>),
    /// The last message of a request, while a push about it is still to go out.
    last: Option<ServerMessage>,
}

/// A request that its client can cancel, and whose bodies it may move on.
struct InFlightRequest {
    /// The number within the session: ids of commands may come again.
    number: u64,
    canceller: Canceller,
    upload: Option<BodyUpload>,
    window: Option<AckWindow>,
}

/// The way to cancel a request.
enum Canceller {
    /// Drops the work, which cancels the request at the queue.
    Abort(AbortHandle),
    /// Asks the work to cancel its request at the queue. The queue's error says how often the request was sent.
    Ask(Arc<Notify>),
}

impl Canceller {
    fn cancel(self) {
        match self {
            Self::Abort(handle) => handle.abort(),
            Self::Ask(cancelled) => cancelled.notify_one(),
        }
    }
}

struct FinishedRequest {
    command: Option<u64>,
    number: u64,
    last: ServerMessage,
}

/// Sends the pushes about one request.
#[derive(Clone)]
struct RequestPushes {
    request: u64,
    sender: mpsc::Sender<ServerMessage>,
    /// True once the reply has come, with chunks after it.
    has_begun: Arc<AtomicBool>,
}

impl Default for PendingRequests {
    fn default() -> Self {
        Self {
            running: FuturesUnordered::new(),
            by_command: HashMap::new(),
            started: 0,
            writes: FuturesUnordered::new(),
            pushes: mpsc::channel(1),
            last: None,
        }
    }
}

impl PendingRequests {
    /// Starts work that may wait for long. [`next`](Self::next) returns the reply to command `id`.
    ///
    /// # Errors
    /// `queue_full` when the client has too many in flight.
    pub(super) fn start(
        &mut self,
        id: Option<u64>,
        held: HeldBytes,
        work: impl Future<Output = Result<Json, Error>> + Send + 'static,
    ) -> Result<(), Error> {
        let pushes = self.pushes_of(id);
        let work = async move { ServerMessage::reply(id, work.await) };
        self.run(id, held, pushes, work, None, (None, None))
    }

    /// Sends a request. [`next`](Self::next) returns the pushes about it, and the reply to command `id`.
    ///
    /// # Errors
    /// `invalid_request` if the command is none; `queue_full` when the client has too many in flight.
    pub(super) fn send(
        &mut self,
        mainstay: &Mainstay,
        id: Option<u64>,
        held: HeldBytes,
        command: RequestCommand,
    ) -> Result<(), Error> {
        self.check_room()?;
        let streams =
            self.by_command.values().filter(|entry| entry.upload.is_some() || entry.window.is_some());
        if (command.stream || command.stream_body) && streams.count() >= STREAMS_MAX {
            return Err(queue_full_error(&format!(
                "{STREAMS_MAX} bodies of this session pass in parts already"
            )));
        }
        if command.stream && (command.cache_ms.is_some() || command.shared) {
            return Err(invalid_command("a response that comes in chunks is neither cached nor shared"));
        }
        let (watches, is_streamed) = (command.progress, command.stream);
        let cache = command.cache_ms.map(Duration::from_millis);
        let (upload, body) = command.stream_body.then(BodyUpload::new).unzip();
        let mut request = command.into_request()?;
        if let Some(body) = body {
            request = request.body_stream_once(None, body);
        }
        let mut request = request.build()?;
        let progress = watches.then(|| request.progress());
        let (pushes, mainstay) = (self.pushes_of(id), mainstay.clone());
        if is_streamed {
            let window = AckWindow::default();
            let (request_id, opening) = mainstay.submit_open(request);
            let work = {
                let (pushes, window) = (pushes.clone(), window.clone());
                async move { pushes.stream(id, request_id, opening, progress, window).await }
            };
            return self.run(id, held, pushes, work, None, (upload, Some(window)));
        }
        let cancelled = Arc::<Notify>::default();
        // A cached response may come from another's request, and the end of an upload would come first.
        let canceller = (cache.is_none() && upload.is_none()).then(|| Arc::clone(&cancelled));
        let work = {
            let pushes = pushes.clone();
            async move {
                let fetched = match cache {
                    Some(age_max) => pushes.fetch_cached(&mainstay, request, age_max, progress).await,
                    None => pushes.fetch(&mainstay, request, progress, &cancelled).await,
                };
                ServerMessage::reply(
                    id,
                    fetched.and_then(|response| to_json(&ResponseReply::from(&response))),
                )
            }
        };
        self.run(id, held, pushes, work, canceller, (upload, None))
    }

    fn check_room(&self) -> Result<(), Error> {
        if self.running.len() >= REQUESTS_MAX {
            return Err(queue_full_error(&format!(
                "{REQUESTS_MAX} requests of this session have no answer yet"
            )));
        }
        Ok(())
    }

    fn pushes_of(&self, id: Option<u64>) -> RequestPushes {
        RequestPushes {
            request: id.unwrap_or_default(),
            sender: self.pushes.0.clone(),
            has_begun: Arc::default(),
        }
    }

    fn run(
        &mut self,
        id: Option<u64>,
        held: HeldBytes,
        pushes: RequestPushes,
        work: impl Future<Output = ServerMessage> + Send + 'static,
        canceller: Option<Arc<Notify>>,
        (upload, window): (Option<BodyUpload>, Option<AckWindow>),
    ) -> Result<(), Error> {
        self.check_room()?;
        let (work, handle) = abortable(catch_panic(work));
        self.started += 1;
        let number = self.started;
        if let Some(id) = id {
            let canceller = canceller.map_or(Canceller::Abort(handle), Canceller::Ask);
            self.by_command.insert(id, InFlightRequest { number, canceller, upload, window });
        }
        let ended = async move {
            let _held = held;
            // Dropping the future cancels the request at the queue.
            let ended = work.await.unwrap_or_else(|_| Err(Error::new(Reason::Cancelled)));
            let last = ended.unwrap_or_else(|error| pushes.failure(id, error));
            FinishedRequest { command: id, number, last }
        };
        self.running.push(ended.boxed());
        Ok(())
    }

    /// Cancels the request of command `id`, the latest if there were more. Returns `false` if none is in flight.
    pub(super) fn cancel(&mut self, id: u64) -> bool {
        let found = self.by_command.remove(&id);
        found.map(|entry| entry.canceller.cancel()).is_some()
    }

    /// Executes a command about a body. Returns `false` if [`next`](Self::next) returns its reply.
    ///
    /// # Errors
    /// `not_found` if no request takes the part, and the other errors of [`BodyCommand`].
    pub(super) fn pass_body(
        &mut self,
        id: Option<u64>,
        command: BodyCommand,
        byte_limit: &ByteLimit,
    ) -> Result<bool, Error> {
        match command {
            BodyCommand::Ack { request, chunks } => {
                if let Some(window) = self.by_command.get(&request).and_then(|entry| entry.window.as_ref()) {
                    window.acknowledge(chunks)?;
                }
            }
            BodyCommand::Write { request, base64 } => {
                let upload = self.upload(request)?;
                let bytes = decode_part(&base64)?;
                let held = byte_limit.hold(bytes.len())?;
                let taken = upload.write(bytes, held)?;
                let reply = async move {
                    ServerMessage::reply(
                        id,
                        taken.await.map(|()| Json::default()).map_err(|_| unknown_body()),
                    )
                };
                self.writes.push(reply.boxed());
                return Ok(false);
            }
            BodyCommand::End { request } => self.upload(request)?.end()?,
            BodyCommand::Abort { request } => {
                self.upload(request)?;
                self.cancel(request);
            }
        }
        Ok(true)
    }

    fn upload(&mut self, request: u64) -> Result<&mut BodyUpload, Error> {
        self.by_command.get_mut(&request).and_then(|entry| entry.upload.as_mut()).ok_or_else(unknown_body)
    }

    /// Returns the next reply or push; `None` while there is no request. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<ServerMessage> {
        loop {
            // The pushes about a request come before its end.
            if let Ok(push) = self.pushes.1.try_recv() {
                return Some(push);
            }
            if let Some(last) = self.last.take() {
                return Some(last);
            }
            tokio::select! {
                biased;
                Some(push) = self.pushes.1.recv(), if !self.running.is_empty() => return Some(push),
                Some(reply) = self.writes.next() => return Some(reply),
                Some(finished) = self.running.next() => self.last = Some(self.remove(finished)),
                else => return None,
            }
        }
    }

    fn remove(&mut self, finished: FinishedRequest) -> ServerMessage {
        let FinishedRequest { command, number, last } = finished;
        if let Some(id) = command
            && self.by_command.get(&id).is_some_and(|latest| latest.number == number)
        {
            self.by_command.remove(&id);
        }
        last
    }
}

fn queue_full_error(details: &str) -> Error {
    Error::new(Reason::QueueFull).with_details(details)
}

impl RequestPushes {
    /// Returns the last message about a request that failed.
    fn failure(&self, id: Option<u64>, error: Error) -> ServerMessage {
        match self.has_begun.load(Ordering::Relaxed) {
            true => ServerMessage::RequestFailed { request: self.request, error },
            false => ServerMessage::reply(id, Err(error)),
        }
    }

    async fn push(&self, message: ServerMessage) {
        // A session that has ended drops its requests with its channel.
        let _ = self.sender.send(message).await;
    }

    async fn push_accepted(&self, request_id: RequestId) {
        let accepted = AcceptedRequest { request_id };
        self.push(ServerMessage::RequestAccepted { request: self.request, accepted }).await;
    }

    /// Waits for a response as a whole.
    async fn fetch(
        &self,
        mainstay: &Mainstay,
        request: Request,
        progress: Option<watch::Receiver<TransferProgress>>,
        cancelled: &Notify,
    ) -> Result<Response, Error> {
        let (request_id, response) = mainstay.submit(request);
        self.push_accepted(request_id).await;
        let mut response = pin!(self.run_with_progress(progress, response));
        tokio::select! {
            response = &mut response => return response,
            () = cancelled.notified() => (),
        }
        mainstay.cancel(request_id).await?;
        response.await
    }

    async fn fetch_cached(
        &self,
        mainstay: &Mainstay,
        request: Request,
        age_max: Duration,
        progress: Option<watch::Receiver<TransferProgress>>,
    ) -> Result<Response, Error> {
        self.run_with_progress(progress, mainstay.request_cached(request, age_max)).await
    }

    /// Waits for a response, and pushes its body in chunks. Returns the last message about it.
    async fn stream(
        &self,
        id: Option<u64>,
        request_id: RequestId,
        opening: impl Future<Output = Result<Download, Error>>,
        progress: Option<watch::Receiver<TransferProgress>>,
        window: AckWindow,
    ) -> ServerMessage {
        self.push_accepted(request_id).await;
        let streamed = async {
            let mut download = opening.await?;
            self.push(ServerMessage::reply(id, to_json(&ResponseStart::from(&download)))).await;
            self.has_begun.store(true, Ordering::Relaxed);
            self.push_chunks(&mut download, &window).await
        };
        match self.run_with_progress(progress, streamed).await {
            Ok(end) => ServerMessage::RequestEnd { request: self.request, end },
            Err(error) => self.failure(id, error),
        }
    }

    async fn push_chunks(&self, download: &mut Download, window: &AckWindow) -> Result<BodyEnd, Error> {
        let mut bytes = 0;
        while let Some(mut part) = download.chunk().await? {
            bytes += part.len() as u64;
            while !part.is_empty() {
                window.enter().await?;
                let chunk = STANDARD.encode(part.split_to(CHUNK_BYTES_MAX.min(part.len())));
                self.push(ServerMessage::RequestChunk { request: self.request, chunk }).await;
            }
        }
        Ok(BodyEnd { bytes })
    }

    /// Runs work, and pushes the progress of the request meanwhile.
    async fn run_with_progress<T>(
        &self,
        progress: Option<watch::Receiver<TransferProgress>>,
        work: impl Future<Output = T>,
    ) -> T {
        let Some(progress) = progress else { return work.await };
        tokio::select! {
            biased;
            done = work => done,
            never = self.push_progress(progress) => match never {},
        }
    }

    async fn push_progress(&self, mut progress: watch::Receiver<TransferProgress>) -> Infallible {
        while progress.changed().await.is_ok() {
            let progress = (*progress.borrow_and_update()).into();
            self.push(ServerMessage::RequestProgress { request: self.request, progress }).await;
            sleep(PROGRESS_INTERVAL).await;
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> HeldBytes {
        ByteLimit::default().hold(0).unwrap()
    }

    #[tokio::test]
    async fn panicking_work_is_one_internal_error() {
        let mut requests = PendingRequests::default();
        requests.start(Some(7), held(), async { std::panic::panic_any("injected") }).unwrap();
        requests.start(Some(8), held(), async { Ok(Json::default()) }).unwrap();
        let mut replies = [requests.next().await.unwrap(), requests.next().await.unwrap()];
        replies.sort_by_key(ServerMessage::to_text);
        assert!(
            matches!(&replies[0], ServerMessage::ErrorReply { id: Some(7), error } if error.reason == Reason::Internal),
            "{replies:?}"
        );
        assert!(matches!(&replies[1], ServerMessage::Reply { id: Some(8), .. }), "{replies:?}");
        assert_eq!(requests.next().await, None);
    }

    #[tokio::test]
    async fn pushes_of_a_request_come_before_its_end() {
        let mut requests = PendingRequests::default();
        let pushes = requests.pushes_of(Some(7));
        let work = async move {
            pushes.push_accepted(RequestId(3)).await;
            Ok(Json::default())
        };
        requests.start(Some(7), held(), work).unwrap();
        assert!(matches!(requests.next().await, Some(ServerMessage::RequestAccepted { request: 7, .. })));
        assert!(matches!(requests.next().await, Some(ServerMessage::Reply { id: Some(7), .. })));
        assert_eq!(requests.next().await, None);
    }

    #[tokio::test]
    async fn request_past_the_limit_is_refused() {
        let mut requests = PendingRequests::default();
        for id in 0..REQUESTS_MAX as u64 {
            requests.start(Some(id), held(), std::future::pending()).unwrap();
        }
        let refused = requests.start(None, held(), std::future::pending()).unwrap_err();
        assert_eq!(refused.reason, Reason::QueueFull);
        assert!(requests.cancel(3));
        assert!(matches!(requests.next().await, Some(ServerMessage::ErrorReply { id: Some(3), .. })));
        requests.start(None, held(), std::future::pending()).unwrap();
    }
}
