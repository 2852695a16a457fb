//! WebSockets: each sends its client the events that it has not had, straight from the shared history. A slow client
//! thus costs no memory and finds a gap instead. Here the faults `drop_ws` and `half_open_ws` are obeyed.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, error::ProtocolError, protocol::WebSocketConfig},
};

use crate::http_server::{self, HttpConnection};

use super::{
    events::{EventFrames, NextEvent},
    problem::ProblemResponse,
    state::{BackendState, SocketFaults},
};

/// A frame or message from a client has at most this many bytes; a larger one closes the socket with 1009.
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1024;
/// The interval of pings. A client that sends nothing over two of these is cut.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const UNANSWERED_PINGS_MAX: u32 = 2;
/// A client that takes a frame this slowly is cut.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The values that a handshake passes to its socket. They are taken during the handshake, so that the socket sees
/// every later fault and event.
#[derive(Debug)]
struct SocketSession {
    faults: watch::Receiver<SocketFaults>,
    /// The count of drops before this socket.
    drops_seen: u64,
    last: watch::Receiver<u64>,
    /// The last event before this socket.
    after: u64,
}

impl SocketSession {
    fn new(state: &BackendState) -> Self {
        let (faults, last) = (state.socket_faults(), state.events.subscribe_last());
        let (drops_seen, after) = (faults.borrow().drop_count, *last.borrow());
        Self { faults, drops_seen, last, after }
    }
}

/// The messages that clients may send.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClientFrame {
    Resume { after: u64 },
    Ping,
}

/// Answers the opening handshake of `GET /ws`.
pub(super) async fn handshake(
    State(state): State<Arc<BackendState>>,
    Extension(connection): Extension<HttpConnection>,
    request: Request,
) -> Result<Response, ProblemResponse> {
    if state.refuses_handshakes() {
        return Err(ProblemResponse::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "a fault refuses WebSockets for a while",
        ));
    }
    let session = SocketSession::new(&state);
    let serve = |stream| serve_socket(stream, session, state);
    connection.upgrade(request, socket_config(), serve).map_err(handshake_problem)
}

fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .read_buffer_size(4 * 1024)
}

fn handshake_problem(error: tungstenite::Error) -> ProblemResponse {
    use ProtocolError::{MissingConnectionUpgradeHeader, MissingUpgradeWebSocketHeader};
    let detail = format!("this is a WebSocket: {error}");
    match error {
        tungstenite::Error::Protocol(MissingConnectionUpgradeHeader | MissingUpgradeWebSocketHeader) => {
            let websocket = HeaderValue::from_static("websocket");
            ProblemResponse::new(StatusCode::UPGRADE_REQUIRED, detail).with_header(header::UPGRADE, websocket)
        }
        _ => ProblemResponse::new(StatusCode::BAD_REQUEST, detail),
    }
}

/// Serves a socket to its end.
async fn serve_socket<S>(stream: WebSocketStream<S>, session: SocketSession, state: Arc<BackendState>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut ping_timer = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    ping_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let SocketSession { faults, drops_seen, last, after } = session;
    let socket =
        BackendSocket { stream, state, last, after, has_received: false, unanswered_pings: 0, ping_timer };
    socket.run(faults, drops_seen).await;
}

struct BackendSocket<S> {
    stream: WebSocketStream<S>,
    state: Arc<BackendState>,
    last: watch::Receiver<u64>,
    /// The client has every event up to this one.
    after: u64,
    /// Set once the client has sent anything. Before, it gets no event, so that its resume comes first.
    has_received: bool,
    /// Pings since the client's last frame.
    unanswered_pings: u32,
    ping_timer: Interval,
}

/// The next step of a socket.
enum SocketAction {
    Receive(Option<Result<Message, tungstenite::Error>>),
    SendNext,
    Ping,
}

/// The decision to keep a socket or to drop it without a close frame.
type SocketFlow = ControlFlow<()>;

impl<S: AsyncRead + AsyncWrite + Unpin> BackendSocket<S> {
    async fn run(mut self, mut faults: watch::Receiver<SocketFaults>, drops_seen: u64) {
        loop {
            let current = *faults.borrow_and_update();
            if current.drop_count != drops_seen {
                return;
            }
            let is_silent = Instant::now() < current.silent_until;
            let action = tokio::select! {
                biased;
                _ = faults.changed() => continue,
                () = sleep_until(current.silent_until), if is_silent => continue,
                action = self.next_action(), if !is_silent => action,
            };
            // Only a drop stops an action halfway, since half a frame cannot be taken back.
            let flow = tokio::select! {
                biased;
                _ = faults.wait_for(|faults| faults.drop_count != drops_seen) => SocketFlow::Break(()),
                flow = self.perform(action) => flow,
            };
            if flow.is_break() {
                return;
            }
        }
    }

    /// Waits for what is next. Nothing is lost if this is dropped.
    async fn next_action(&mut self) -> SocketAction {
        if !self.has_received && self.unanswered_pings == 0 {
            // The opening ping, the first frame of all.
            return SocketAction::Ping;
        }
        let after = self.after;
        tokio::select! {
            // In this order a resume that has arrived is read before the next event goes out. A client that
            // floods its own socket delays its own events alone.
            biased;
            _ = self.ping_timer.tick() => SocketAction::Ping,
            message = self.stream.next() => SocketAction::Receive(message),
            // Compared for difference: a client may have come with a number from an earlier backend.
            _ = self.last.wait_for(|last| *last != after), if self.has_received => SocketAction::SendNext,
        }
    }

    async fn perform(&mut self, action: SocketAction) -> SocketFlow {
        match action {
            SocketAction::Receive(None) => SocketFlow::Break(()),
            SocketAction::Receive(Some(Err(error))) => self.close_with_error(&error).await,
            SocketAction::Receive(Some(Ok(message))) => self.receive(message).await,
            SocketAction::SendNext => self.send_next().await,
            SocketAction::Ping => self.ping().await,
        }
    }

    async fn receive(&mut self, message: Message) -> SocketFlow {
        self.has_received = true;
        self.unanswered_pings = 0;
        match message {
            Message::Text(text) => self.handle_frame(&text).await,
            Message::Binary(_) => self.send_error("binary frames mean nothing here").await,
            // Pings and closes are answered by the WebSocket layer with the next read.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
                SocketFlow::Continue(())
            }
        }
    }

    async fn handle_frame(&mut self, text: &str) -> SocketFlow {
        match serde_json::from_str(text) {
            Ok(ClientFrame::Resume { after }) => {
                self.after = after;
                SocketFlow::Continue(())
            }
            Ok(ClientFrame::Ping) => self.send(json!({ "type": "pong" }).to_string().into()).await,
            Err(error) => self.send_error(&error.to_string()).await,
        }
    }

    async fn send_error(&mut self, problem: &str) -> SocketFlow {
        let detail = format!(r#"{problem}; valid is {{"type":"resume","after":N}} or {{"type":"ping"}}"#);
        self.send(json!({ "type": "error", "detail": detail }).to_string().into()).await
    }

    async fn send_next(&mut self) -> SocketFlow {
        match self.state.events.next(self.after) {
            NextEvent::Nothing => SocketFlow::Continue(()),
            NextEvent::Event(seq, EventFrames { invalidate, event }) => {
                self.after = seq;
                self.send(Message::Text(invalidate)).await?;
                self.send(Message::Text(event)).await
            }
            NextEvent::Gap(next) => {
                let gap = json!({ "type": "gap", "after": self.after, "next": next });
                self.after = next - 1;
                self.send(gap.to_string().into()).await
            }
        }
    }

    async fn ping(&mut self) -> SocketFlow {
        if self.unanswered_pings >= UNANSWERED_PINGS_MAX {
            return SocketFlow::Break(());
        }
        self.unanswered_pings += 1;
        self.send(Message::Ping(bytes::Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> SocketFlow {
        match timeout(SEND_TIMEOUT, self.stream.send(message)).await {
            Ok(Ok(())) => SocketFlow::Continue(()),
            Ok(Err(_)) | Err(_) => SocketFlow::Break(()),
        }
    }

    /// Closes the socket of a client that broke the rules, and says why.
    async fn close_with_error(&mut self, error: &tungstenite::Error) -> SocketFlow {
        let Some(frame) = http_server::close_frame(error, FRAME_BYTES_MAX) else {
            return SocketFlow::Break(());
        };
        let close = Message::Close(Some(frame));
        if self.send(close).await.is_continue() {
            http_server::drain(self.stream.get_mut()).await;
        }
        SocketFlow::Break(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::{io::DuplexStream, task::JoinSet, time::sleep};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::{
        super::{faults::Fault, state::test_state},
        *,
    };

    type TestClient = WebSocketStream<DuplexStream>;

    async fn serve_test_socket(stream: DuplexStream, session: SocketSession, state: Arc<BackendState>) {
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(socket_config())).await;
        serve_socket(socket, session, state).await;
    }

    /// Returns a client and the task that serves it, over a pipe that holds `room` bytes.
    async fn connect(state: &Arc<BackendState>, room: usize) -> (TestClient, JoinSet<()>) {
        let (near, far) = tokio::io::duplex(room);
        let mut tasks = JoinSet::new();
        let (session, state) = (SocketSession::new(state), state.clone());
        tasks.spawn(serve_test_socket(far, session, state));
        (WebSocketStream::from_raw_socket(near, Role::Client, None).await, tasks)
    }

    fn publish_message(state: &BackendState, message: &Value) {
        let published = futures_util::FutureExt::now_or_never(state.message("planner", message));
        published.expect("the agent does not hang").expect("the agent accepts it");
    }

    /// Returns the next text frame that is not about caches.
    async fn next_frame(client: &mut TestClient) -> Value {
        loop {
            if let Message::Text(text) = client.next().await.unwrap().unwrap()
                && let frame = serde_json::from_str::<Value>(&text).unwrap()
                && frame["type"] != "invalidate"
            {
                return frame;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_client_is_cut_without_delaying_others() {
        let state = test_state(4);
        let (mut deaf, mut deaf_task) = connect(&state, 64).await;
        let (mut keen, _keen_task) = connect(&state, 64 * 1024).await;
        for client in [&mut deaf, &mut keen] {
            client.send(Message::text(r#"{"type":"resume","after":0}"#)).await.unwrap();
        }
        let start = Instant::now();
        for count in 1..=100 {
            publish_message(&state, &json!("x".repeat(1000)));
            assert_eq!(next_frame(&mut keen).await["count"], count);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        deaf_task.join_next().await.unwrap().unwrap();
        assert_eq!(start.elapsed(), SEND_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_reads_late_gets_a_gap_and_then_the_rest() {
        let state = test_state(4);
        let (mut client, _task) = connect(&state, 64 * 1024).await;
        client.send(Message::text(r#"{"type":"resume","after":0}"#)).await.unwrap();
        client.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
        // On this one-threaded runtime the socket's task runs only while this test waits.
        for n in 1..=10 {
            publish_message(&state, &json!(n));
        }
        let mut frames = Vec::new();
        while frames.last().is_none_or(|frame: &Value| frame["seq"] != 10) {
            let frame = next_frame(&mut client).await;
            if frame["type"] != "pong" {
                frames.push(frame);
            }
        }
        assert_eq!(frames[0], json!({ "type": "gap", "after": 0, "next": 7 }));
        let seqs: Vec<_> = frames[1..].iter().map(|frame| frame["seq"].clone()).collect();
        assert_eq!(seqs, [7, 8, 9, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_answers_pings_is_kept() {
        let state = test_state(4);
        let (mut client, mut task) = connect(&state, 1024).await;
        let reader = async { while client.next().await.is_some() {} };
        assert!(timeout(10 * PING_INTERVAL, reader).await.is_err());
        assert!(task.try_join_next().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_answers_no_ping_is_cut() {
        let state = test_state(4);
        let (_client, mut task) = connect(&state, 1024).await;
        let start = Instant::now();
        task.join_next().await.unwrap().unwrap();
        assert_eq!(start.elapsed(), 2 * PING_INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_socket_is_silent_for_its_time_and_then_answers() {
        let state = test_state(4);
        let (mut client, _task) = connect(&state, 1024).await;
        assert!(client.next().await.unwrap().unwrap().is_ping());
        let start = Instant::now();
        state.inject(Fault::HalfOpenWs { for_ms: 300_000 }, start).unwrap();
        client.send(Message::Ping("there?".into())).await.unwrap();
        publish_message(&state, &json!("hi"));
        let (mut answered, mut got_event) = (false, false);
        while !(answered && got_event) {
            let message = client.next().await.unwrap().unwrap();
            assert!(start.elapsed() >= Duration::from_secs(300), "{message:?} came too early");
            answered |= message == Message::Pong("there?".into());
            got_event |= message.is_text();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_socket_is_cut_by_a_drop() {
        let state = test_state(4);
        let (mut client, mut task) = connect(&state, 1024).await;
        let start = Instant::now();
        state.inject(Fault::HalfOpenWs { for_ms: 300_000 }, start).unwrap();
        sleep(Duration::from_secs(1)).await;
        state.inject(Fault::DropWs, Instant::now()).unwrap();
        task.join_next().await.unwrap().unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        assert!(matches!(client.next().await, Some(Err(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn drop_between_handshake_and_socket_cuts_it() {
        let state = test_state(4);
        let early = SocketSession::new(&state);
        state.inject(Fault::DropWs, Instant::now()).unwrap();
        let (_near, far) = tokio::io::duplex(1024);
        let start = Instant::now();
        serve_test_socket(far, early, state).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn event_between_handshake_and_socket_is_still_sent() {
        let state = test_state(4);
        let early = SocketSession::new(&state);
        publish_message(&state, &json!("hi"));
        let (near, far) = tokio::io::duplex(1024);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_test_socket(far, early, state));
        let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        assert_eq!(next_frame(&mut client).await["seq"], 1);
    }
}
