//! The connection's actor under its supervisor, against real servers on the loopback. Where time matters the clock
//! is paused, at the latest once the socket is open.

mod discretion;
mod errors;
mod server;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Mutex;

use futures_util::poll;
use mainstay_runtime::clock::Clock;
use mainstay_runtime::journal::{Delivery, Event as _, Journal, JournalConfig, Record, Subscription};
use mainstay_runtime::policy::{ChildPolicy, Delay};
use mainstay_runtime::{Address, CallError, Child, Runtime, SupervisorSpec};
use tokio::io::AsyncReadExt;
use tokio::sync::broadcast::error::TryRecvError;
use tokio_tungstenite::tungstenite::Message as Wire;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use self::server::{Peer, Server, ended, event, read_head};
use super::*;
use crate::connection::fault::FaultKind;
use ConnectionState::{Connected, Connecting, Disconnected, Failed, Reconnecting};

/// Longer than any test takes: what is due then does not happen by itself.
const NEVER: Duration = Duration::from_secs(3600);
/// By which a few timers in a row may come later: each is rounded up to whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(5);
const LARGE_BYTES: usize = 32 << 20;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// No retry comes by itself.
fn patient() -> ConnectionPolicy {
    ConnectionPolicy { delay: Delay::Fixed { delay: NEVER }, ..ConnectionPolicy::default() }
}

/// Every retry comes at once.
fn eager(max_retries: u32) -> ConnectionPolicy {
    ConnectionPolicy { delay: Delay::NONE, max_retries, ..ConnectionPolicy::default() }
}

/// An address to which every dial fails without the network, so that the clock may be paused: no name server is
/// asked for a label that is longer than a name may have.
fn nowhere() -> SocketTarget {
    SocketTarget::new(&format!("http://{}.invalid", "a".repeat(64)), "/ws").unwrap()
}

/// Wall time that stands still until it is set forward.
struct WallClock(Mutex<Timestamp>);

impl WallClock {
    fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        *now += SignedDuration::try_from(time).unwrap();
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Fate, CallError>>>>;

/// A connection that is supervised, and everything that can be seen of it.
struct Scene {
    runtime: Runtime,
    connection: Address<ConnectionMessage>,
    view: ConnectionView,
    frames: broadcast::Receiver<Arc<str>>,
    clock: Arc<WallClock>,
    story: Subscription,
}

impl Scene {
    /// Restarted at once when it crashes.
    async fn start(target: SocketTarget, policy: ConnectionPolicy) -> Self {
        Self::start_with(target, policy, Duration::ZERO).await
    }

    async fn start_with(target: SocketTarget, policy: ConnectionPolicy, restart_delay: Duration) -> Self {
        let view = ConnectionView::new(&policy, 16);
        let frames = view.frames.subscribe();
        let actor = ConnectionActor { target, policy, view: view.clone() };
        let child = ChildPolicy { delay: Delay::Fixed { delay: restart_delay }, ..ChildPolicy::default() };
        let mut root = SupervisorSpec::new("root");
        let connection = root.child(Child::new("connection", actor).policy(child)).unwrap();
        let clock = Arc::new(WallClock(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())));
        let journal =
            Journal::in_memory("boot", Arc::clone(&clock) as Arc<dyn Clock>, JournalConfig::default());
        let story = journal.subscribe_after(0);
        let runtime = Runtime::builder().journal(journal).seed(1).start(root).await.unwrap();
        Self { runtime, connection, view, frames, clock, story }
    }

    /// Connected to the server, with the server's end.
    async fn connected(server: &Server, policy: ConnectionPolicy) -> (Self, Peer) {
        let mut scene = Self::start(server.target(), policy).await;
        let peer = server.accept().await;
        scene.change_to(Connected).await;
        scene.shown(Connected).await;
        (scene, peer)
    }

    async fn record(&mut self, kind: &str) -> Record {
        loop {
            let Delivery::Event(record) = self.story.next().await else { panic!("events are missing") };
            if record.kind == kind {
                return *record;
            }
        }
    }

    /// The next change of the connection.
    async fn change(&mut self) -> ConnectionChanged {
        self.record(ConnectionChanged::KIND).await.decode().unwrap()
    }

    /// The next change to this state, and when it came.
    async fn change_to(&mut self, state: ConnectionState) -> (ConnectionChanged, Duration) {
        loop {
            let record = self.record(ConnectionChanged::KIND).await;
            let change: ConnectionChanged = record.decode().unwrap();
            if change.to == state {
                return (change, Duration::from_millis(record.mono_ms));
            }
        }
    }

    /// Waits until the view shows this state.
    async fn shown(&self, state: ConnectionState) -> ConnectionStatus {
        let mut status = self.view.status.subscribe();
        let shown = status.wait_for(|status| status.state == state).await.unwrap();
        shown.clone()
    }

    async fn tell(&self, message: ConnectionMessage) {
        self.connection.cast(message).await.unwrap();
    }

    /// Puts a `Send` into the mailbox; its fate is to be awaited.
    async fn post(&self, text: impl Into<String>, patience: Duration) -> Answer {
        let (connection, text) = (self.connection.clone(), text.into());
        let mut answer: Answer = Box::pin(async move {
            connection.call(|reply| ConnectionMessage::Send { text, patience, reply }).await
        });
        assert!(poll!(&mut answer).is_pending(), "only the actor answers");
        answer
    }

    /// Whether it still stays away after an hour. The clock is paused from now on.
    async fn stays_away(mut self, server: Option<&Server>) {
        if server.is_some() {
            tokio::time::pause();
        }
        while self.story.try_next().await.is_some() {}
        tokio::time::sleep(NEVER).await;
        assert_eq!(self.story.try_next().await, None);
        assert_eq!(self.view.status.borrow().state, Disconnected);
        assert!(!*self.view.is_up.borrow());
        if let Some(server) = server {
            assert!(poll!(pin!(server.accept_raw())).is_pending(), "it came back");
        }
    }
}

fn normal_close() -> Wire {
    Wire::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

fn ping(number: u64) -> Wire {
    Wire::Ping(number.to_be_bytes().to_vec().into())
}

// === coming up, and coming back ===

#[tokio::test]
async fn it_comes_up_by_itself_and_says_so() {
    let server = Server::up().await;
    let mut scene = Scene::start(server.target(), patient()).await;
    let _peer = server.accept().await;
    let connecting = scene.change().await;
    assert_eq!((connecting.from, connecting.to), (Disconnected, Connecting));
    assert_eq!((connecting.attempt, connecting.max, connecting.reason), (1, 5, Reason::Requested));
    let connected = scene.change().await;
    assert_eq!((connected.from, connected.to), (Connecting, Connected));
    assert_eq!((connected.attempt, connected.max, connected.reason), (1, 5, Reason::Opened));
    assert_eq!(connected.next_attempt_at, None);
    let status = scene.shown(Connected).await;
    assert_eq!((status.attempt, status.max, status.last_error), (1, 5, None));
    assert!(*scene.view.is_up.borrow());
}

#[tokio::test]
async fn a_server_that_went_down_is_tried_until_it_is_back_on_its_port() {
    let server = Server::up().await;
    let policy =
        ConnectionPolicy { delay: Delay::Fixed { delay: Duration::from_millis(5) }, ..eager(100_000) };
    let (mut scene, peer) = Scene::connected(&server, policy).await;
    let server = server.go_down();
    drop(peer);
    let waiting = scene.change().await;
    assert_eq!((waiting.from, waiting.to), (Connected, Reconnecting));
    assert_eq!((waiting.attempt, waiting.max), (2, 100_000));
    assert_eq!(waiting.error.unwrap().kind, FaultKind::Lost);
    let dialling = scene.change().await;
    assert_eq!((dialling.from, dialling.to), (Reconnecting, Reconnecting));
    assert_eq!((dialling.attempt, dialling.next_attempt_at, dialling.reason), (2, None, Reason::RetryDue));
    let refused = scene.change().await;
    assert_eq!((refused.to, refused.attempt), (Reconnecting, 3));
    assert_eq!(refused.reason, Reason::Fault(FaultKind::Refused));
    assert!(!*scene.view.is_up.borrow());

    let server = server.come_back();
    let _peer = server.accept().await;
    let (connected, _) = scene.change_to(Connected).await;
    assert_eq!(connected.from, Reconnecting);
    assert!(connected.attempt >= 3, "{connected:?}");
    let status = scene.shown(Connected).await;
    assert_eq!(status.last_error.unwrap().kind, FaultKind::Refused, "what went wrong last is still told");
    assert!(*scene.view.is_up.borrow());
}

#[tokio::test(start_paused = true)]
async fn a_wait_says_when_it_ends_by_the_wall_clock_and_by_the_runtimes() {
    let policy = ConnectionPolicy { delay: Delay::Fixed { delay: s(90) }, ..eager(5) };
    let mut scene = Scene::start(nowhere(), policy).await;
    let (waiting, at) = scene.change_to(Reconnecting).await;
    assert_eq!((waiting.attempt, waiting.max), (2, 5));
    assert_eq!(waiting.next_attempt_in_ms, Some(90_000));
    assert_eq!(waiting.next_attempt_at.as_deref(), Some("2026-01-01T00:01:30.000Z"));
    assert_eq!(scene.shown(Reconnecting).await.next_attempt_at, Some(at + s(90)));
    let (_, dialled_at) = scene.change_to(Reconnecting).await;
    assert_eq!(dialled_at, at + s(90));
}

#[tokio::test]
async fn a_server_that_refuses_until_the_retries_are_spent_is_failed_until_somebody_asks() {
    let server = Server::down();
    let mut scene = Scene::start(server.target(), eager(3)).await;
    let mut attempts = Vec::new();
    let failed = loop {
        let change = scene.change().await;
        if change.to == Failed {
            break change;
        }
        attempts.push((change.to, change.attempt));
    };
    let waited_and_dialled = |attempt| [(Reconnecting, attempt); 2];
    let expected = [&[(Connecting, 1)][..], &waited_and_dialled(2), &waited_and_dialled(3)].concat();
    assert_eq!(attempts, expected);
    assert_eq!((failed.attempt, failed.max, failed.reason), (3, 3, Reason::RetriesExhausted));
    assert_eq!(failed.error.unwrap().kind, FaultKind::Refused);
    let status = scene.shown(Failed).await;
    assert_eq!(status.next_attempt_at, None);

    let server = server.come_back();
    scene.tell(ConnectionMessage::Connect).await;
    let _peer = server.accept().await;
    let over = scene.change().await;
    assert_eq!((over.from, over.to, over.attempt), (Failed, Connecting, 1));
    assert_eq!(scene.shown(Connected).await.attempt, 1);
}

#[tokio::test]
async fn a_peer_that_says_not_to_come_back_is_obeyed() {
    let server = Server::up().await;
    let mut scene = Scene::start(server.target(), eager(5)).await;
    server.answer("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    let (failed, _) = scene.change_to(Failed).await;
    assert_eq!((failed.attempt, failed.reason), (1, Reason::Fault(FaultKind::Unauthenticated)));
    assert_eq!(failed.error.unwrap().status, Some(401));

    scene.tell(ConnectionMessage::Connect).await;
    let mut peer = server.accept().await;
    let code = CloseCode::Library(4401);
    peer.close(CloseFrame { code, reason: "the token has expired".into() }).await;
    let (failed, _) = scene.change_to(Failed).await;
    assert_eq!((failed.from, failed.error.unwrap().close_code), (Connected, Some(4401)));
}

#[tokio::test]
async fn a_handshake_that_is_never_answered_is_an_attempt_that_failed_and_is_hung_up_on() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { connect_timeout: Duration::from_millis(50), ..eager(1) };
    let mut scene = Scene::start(server.target(), policy).await;
    let mut stream = server.accept_raw().await;
    let (failed, _) = scene.change_to(Failed).await;
    assert_eq!((failed.attempt, failed.reason), (1, Reason::RetriesExhausted));
    assert_eq!(failed.error.unwrap().kind, FaultKind::ConnectTimedOut);
    ended(&mut stream).await;
}

#[tokio::test]
async fn a_socket_that_comes_too_late_is_dropped_and_does_not_disturb_the_dial_after_it() {
    let server = Server::up().await;
    let mut scene = Scene::start(server.target(), patient()).await;
    let mut first = server.accept_raw().await;
    scene.tell(ConnectionMessage::Disconnect).await;
    ended(&mut first).await;
    scene.tell(ConnectionMessage::Connect).await;
    let second = server.accept_raw().await;

    let (target, limits) = (server.target(), SocketLimits { message_max_bytes: 1024 });
    let (late, late_peer) = tokio::join!(dial(&target, limits), server.accept());
    let outcome = Box::new(late);
    scene.tell(ConnectionMessage::TakeSocket { generation: 1, outcome }).await;
    assert_eq!(late_peer.rest().await, []);
    let _peer = Peer::greet(second).await;
    scene.change_to(Disconnected).await;
    assert_eq!(scene.change().await.to, Connecting);
    assert_eq!(scene.change().await.to, Connected);
}

// === what people ask ===

#[tokio::test]
async fn asked_to_connect_during_a_wait_it_tries_now() {
    let server = Server::down();
    let mut scene = Scene::start(server.target(), patient()).await;
    scene.change_to(Reconnecting).await;
    let server = server.come_back();
    scene.tell(ConnectionMessage::Connect).await;
    let dialling = scene.change().await;
    assert_eq!((dialling.to, dialling.attempt, dialling.reason), (Reconnecting, 2, Reason::Requested));
    let _peer = server.accept().await;
    assert_eq!(scene.change().await.to, Connected);
}

#[tokio::test]
async fn asked_to_disconnect_it_closes_in_order_and_stays_away() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, eager(5)).await;
    scene.tell(ConnectionMessage::Disconnect).await;
    assert_eq!(peer.rest().await, [normal_close()]);
    let change = scene.change().await;
    assert_eq!((change.from, change.to, change.reason), (Connected, Disconnected, Reason::Requested));
    scene.stays_away(Some(&server)).await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_the_close_is_left_after_its_time() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { close_timeout: Duration::from_millis(50), ..eager(5) };
    let (scene, mut peer) = Scene::connected(&server, policy).await;
    scene.tell(ConnectionMessage::Disconnect).await;
    ended(peer.raw()).await;
    scene.stays_away(Some(&server)).await;
}

#[tokio::test(start_paused = true)]
async fn asked_to_disconnect_during_a_wait_it_stays_away() {
    let mut scene = Scene::start(nowhere(), ConnectionPolicy::default()).await;
    scene.change_to(Reconnecting).await;
    scene.tell(ConnectionMessage::Disconnect).await;
    scene.change_to(Disconnected).await;
    scene.stays_away(None).await;
}

#[tokio::test]
async fn asked_to_disconnect_during_a_handshake_it_hangs_up_and_stays_away() {
    let server = Server::up().await;
    let scene = Scene::start(server.target(), eager(5)).await;
    let mut stream = server.accept_raw().await;
    read_head(&mut stream).await;
    scene.tell(ConnectionMessage::Disconnect).await;
    ended(&mut stream).await;
    scene.stays_away(Some(&server)).await;
}

// === frames ===

#[tokio::test]
async fn each_frame_is_handed_on_once() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, patient()).await;
    let texts = [event(1), event(1), r#"{"type":"note"}"#.into(), r#"{"type":"note"}"#.into(), event(2)];
    for text in &texts {
        peer.say(text).await;
    }
    for text in [&texts[0], &texts[2], &texts[3], &texts[4]] {
        assert_eq!(&*scene.frames.recv().await.unwrap(), text);
    }
    assert_eq!(scene.frames.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test]
async fn after_a_reconnect_it_first_asks_for_what_it_missed_and_tells_of_what_is_gone() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, patient()).await;
    peer.tell(1).await;
    peer.tell(2).await;
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(1));
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(2));
    drop(peer);
    scene.change_to(Reconnecting).await;
    let sent = scene.post("waited", NEVER).await;
    scene.tell(ConnectionMessage::Connect).await;

    let mut peer = server.accept().await;
    assert_eq!(peer.text().await, r#"{"type":"resume","after":2}"#);
    assert_eq!(peer.text().await, "waited");
    assert_eq!(sent.await, Ok(Fate::Sent));
    for seq in [2, 3, 7] {
        peer.tell(seq).await;
    }
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(3));
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(7));
    let gap: Gap = scene.record(Gap::KIND).await.decode().unwrap();
    assert_eq!(gap, Gap { after: 3, next: 7 });
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_socket_and_says_why() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { message_max_bytes: 64, ..patient() };
    let (mut scene, mut peer) = Scene::connected(&server, policy).await;
    peer.say(&"x".repeat(65)).await;
    let change = scene.change().await;
    assert_eq!((change.from, change.to), (Connected, Reconnecting));
    assert_eq!(change.reason, Reason::Fault(FaultKind::MessageTooLarge));
    ended(peer.raw()).await;
    assert_eq!(scene.frames.try_recv(), Err(TryRecvError::Empty));
}

// === what is sent ===

#[tokio::test]
async fn what_is_sent_offline_waits_and_leaves_in_order() {
    let server = Server::down();
    let mut scene = Scene::start(server.target(), patient()).await;
    scene.change_to(Reconnecting).await;
    let answers = [scene.post("a", NEVER).await, scene.post("b", NEVER).await, scene.post("c", NEVER).await];
    let server = server.come_back();
    scene.tell(ConnectionMessage::Connect).await;
    let mut peer = server.accept().await;
    for text in ["a", "b", "c"] {
        assert_eq!(peer.text().await, text);
    }
    for answer in answers {
        assert_eq!(answer.await, Ok(Fate::Sent));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_offline_expires_to_the_point() {
    let scene = Scene::start(nowhere(), patient()).await;
    let long = scene.post("long", s(60)).await;
    let short = scene.post("short", s(5)).await;
    let before = scene.runtime.now();
    assert_eq!(short.await, Ok(Fate::Expired));
    assert_eq!(scene.runtime.now(), before + s(5));
    assert_eq!(long.await, Ok(Fate::Expired));
    assert_eq!(scene.runtime.now(), before + s(60));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_rejected_at_once() {
    let policy = ConnectionPolicy { outbound_max: 1, ..patient() };
    let scene = Scene::start(nowhere(), policy).await;
    let before = scene.runtime.now();
    let kept = scene.post("kept", s(5)).await;
    assert_eq!(scene.post("too much", s(60)).await.await, Ok(Fate::Rejected));
    assert_eq!(scene.runtime.now(), before);
    assert_eq!(kept.await, Ok(Fate::Expired));
}

#[tokio::test]
async fn what_is_larger_than_a_message_may_be_is_rejected_and_the_socket_stays() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { message_max_bytes: 64, ..patient() };
    let (scene, mut peer) = Scene::connected(&server, policy).await;
    assert_eq!(scene.post("x".repeat(65), NEVER).await.await, Ok(Fate::TooLarge));
    assert_eq!(scene.post("x".repeat(64), NEVER).await.await, Ok(Fate::Sent));
    assert_eq!(peer.text().await, "x".repeat(64));
    assert_eq!(scene.view.status.borrow().state, Connected);
}

#[tokio::test]
async fn the_fate_of_what_was_being_written_when_the_socket_broke_is_unknown_and_it_is_not_sent_again() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..patient() };
    let (mut scene, mut peer) = Scene::connected(&server, policy).await;
    // No socket buffer takes this much, so it is still being written when its first byte is here.
    let broken = scene.post("x".repeat(LARGE_BYTES), NEVER).await;
    let behind = scene.post("behind", NEVER).await;
    peer.raw().read_u8().await.unwrap();
    drop(peer);
    assert_eq!(broken.await, Ok(Fate::Unknown));
    scene.change_to(Reconnecting).await;
    scene.tell(ConnectionMessage::Connect).await;
    let mut peer = server.accept().await;
    assert_eq!(peer.text().await, "behind");
    assert_eq!(behind.await, Ok(Fate::Sent));
}

// === a peer that is no longer there ===

#[tokio::test]
async fn a_peer_that_goes_silent_is_dropped_within_ping_interval_and_ping_timeout() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, patient()).await;
    tokio::time::pause();
    let silent_since = scene.runtime.now();
    let (change, at) = scene.change_to(Reconnecting).await;
    assert_eq!(change.reason, Reason::Fault(FaultKind::Unanswered));
    assert!(at - silent_since <= s(15 + 10) + ROUNDING, "{:?}", at - silent_since);
    tokio::time::resume();
    assert_eq!(peer.rest().await, [ping(1)], "and no close frame");
}

#[tokio::test]
async fn a_peer_that_answers_pings_is_kept() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { ping_interval: Duration::from_millis(1), ..patient() };
    let (scene, mut peer) = Scene::connected(&server, policy).await;
    let mut pings = 0;
    while pings < 20 {
        // Reading on sends the answer to the one before.
        pings += u32::from(peer.read().await.unwrap().is_ping());
    }
    assert_eq!(scene.view.status.borrow().state, Connected);
}

// === sleep ===

#[tokio::test]
async fn after_a_sleep_the_open_socket_is_asked_for_proof_soon_and_once() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, patient()).await;
    tokio::time::pause();
    scene.clock.pass(s(8 * 3600));
    let woke_at = scene.runtime.now();
    let (change, at) = scene.change_to(Reconnecting).await;
    assert_eq!(change.reason, Reason::Fault(FaultKind::Unanswered));
    let limit = SLEEP_CHECK_INTERVAL + s(10) + ROUNDING;
    assert!(at - woke_at <= limit, "{:?}", at - woke_at);
    tokio::time::resume();
    assert_eq!(peer.rest().await, [ping(1)]);
}

#[tokio::test]
async fn after_a_sleep_that_ends_where_a_ping_is_due_there_is_one_and_it_asks_for_proof() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, patient()).await;
    tokio::time::pause();
    let just_before_the_ping = scene.view.status.borrow().since + s(15) - Duration::from_millis(500);
    tokio::time::sleep(just_before_the_ping - scene.runtime.now()).await;
    scene.clock.pass(s(60));
    let (_, at) = scene.change_to(Reconnecting).await;
    assert!(at <= just_before_the_ping + s(1 + 10));
    tokio::time::resume();
    assert_eq!(peer.rest().await, [ping(1)]);
}

#[tokio::test]
async fn after_a_sleep_the_first_frame_leads_to_the_question_and_does_not_answer_it() {
    let server = Server::up().await;
    let (mut scene, mut peer) = Scene::connected(&server, patient()).await;
    scene.clock.pass(s(60));
    for text in ["sent before the sleep", "so was this"] {
        peer.say(text).await;
        assert_eq!(&*scene.frames.recv().await.unwrap(), text);
    }
    tokio::time::pause();
    let (change, _) = scene.change_to(Reconnecting).await;
    assert_eq!(change.reason, Reason::Fault(FaultKind::Unanswered));
    tokio::time::resume();
    assert_eq!(peer.rest().await, [ping(1)]);
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_a_wait_is_cut_short() {
    let mut scene = Scene::start(nowhere(), patient()).await;
    let (_, waiting_since) = scene.change_to(Reconnecting).await;
    scene.clock.pass(s(60));
    let (dialling, at) = scene.change_to(Reconnecting).await;
    assert_eq!((dialling.attempt, dialling.reason), (2, Reason::Woke));
    assert!(at - waiting_since <= SLEEP_CHECK_INTERVAL, "{:?}", at - waiting_since);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_corrected_by_a_little_or_set_back_changes_nothing() {
    let mut scene = Scene::start(nowhere(), patient()).await;
    let (_, waiting_since) = scene.change_to(Reconnecting).await;
    scene.clock.pass(s(4));
    tokio::time::sleep(s(60)).await;
    *scene.clock.0.lock().unwrap() = "2025-01-01T00:00:00Z".parse().unwrap();
    let (_, at) = scene.change_to(Reconnecting).await;
    assert_eq!(at, waiting_since + NEVER);
}

// === a crash of the actor ===

#[tokio::test]
async fn while_its_actor_is_down_nobody_is_told_that_the_link_is_up() {
    let server = Server::up().await;
    let mut scene = Scene::start_with(server.target(), patient(), NEVER).await;
    let mut peer = server.accept().await;
    scene.shown(Connected).await;
    let mut is_up = scene.view.is_up.subscribe();
    scene.tell(ConnectionMessage::Panic).await;
    is_up.wait_for(|is_up| !is_up).await.unwrap();
    let status = scene.shown(Disconnected).await;
    assert_eq!((status.reason, status.next_attempt_at), (Reason::ActorEnded, None));
    ended(peer.raw()).await;
    let exited = scene.record("actor_exited").await;
    assert!(status.since <= Duration::from_millis(exited.mono_ms), "{status:?} {exited:?}");
}

#[tokio::test]
async fn a_crash_takes_the_socket_along_and_the_next_incarnation_goes_on_where_it_was() {
    let server = Server::up().await;
    let policy = ConnectionPolicy { message_max_bytes: LARGE_BYTES, ..patient() };
    let (mut scene, mut peer) = Scene::connected(&server, policy).await;
    peer.tell(41).await;
    peer.tell(42).await;
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(41));
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(42));
    let broken = scene.post("x".repeat(LARGE_BYTES), NEVER).await;
    let waiting = scene.post("waiting", NEVER).await;
    peer.raw().read_u8().await.unwrap();
    scene.tell(ConnectionMessage::Panic).await;
    let behind = scene.post("behind the crash", NEVER).await;
    assert_eq!(broken.await, Err(CallError::Crashed));
    assert_eq!(waiting.await, Err(CallError::Crashed));
    ended(peer.raw()).await;

    let mut peer = server.accept().await;
    assert_eq!(peer.text().await, r#"{"type":"resume","after":42}"#);
    assert_eq!(peer.text().await, "behind the crash");
    assert_eq!(behind.await, Ok(Fate::Sent));
    peer.tell(43).await;
    assert_eq!(&*scene.frames.recv().await.unwrap(), event(43));
    assert!(*scene.view.is_up.borrow());
    let lost = scene.change().await;
    assert_eq!((lost.from, lost.to, lost.reason), (Connected, Disconnected, Reason::ActorEnded));
    let connecting = scene.change().await;
    assert_eq!((connecting.from, connecting.to), (Disconnected, Connecting));
    assert_eq!(scene.runtime.tree().find("root/connection").unwrap().vitals.generation, 2);
}

#[tokio::test]
async fn a_crash_during_a_handshake_hangs_up_before_the_next_one() {
    let server = Server::up().await;
    let mut scene = Scene::start(server.target(), patient()).await;
    let mut stream = server.accept_raw().await;
    read_head(&mut stream).await;
    scene.tell(ConnectionMessage::Panic).await;
    ended(&mut stream).await;
    let _peer = server.accept().await;
    assert_eq!(scene.change().await.to, Connecting);
    let lost = scene.change().await;
    assert_eq!((lost.from, lost.to, lost.reason), (Connecting, Disconnected, Reason::ActorEnded));
    scene.change_to(Connected).await;
}

#[tokio::test]
async fn a_crash_does_not_undo_a_disconnect() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, eager(5)).await;
    scene.tell(ConnectionMessage::Disconnect).await;
    peer.rest().await;
    scene.change_to(Disconnected).await;
    let before = scene.shown(Disconnected).await;
    scene.tell(ConnectionMessage::Panic).await;
    scene.record("actor_restarted").await;
    assert_eq!(*scene.view.status.borrow(), before, "nothing has changed, not even since when");
    scene.stays_away(Some(&server)).await;
}

#[tokio::test]
async fn a_connection_whose_actor_gave_up_is_told_to_be_disconnected() {
    let server = Server::up().await;
    let (mut scene, _peer) = Scene::connected(&server, patient()).await;
    // The budget of five restarts, and one crash more.
    for _ in 0..6 {
        scene.tell(ConnectionMessage::Panic).await;
    }
    scene.record("gave_up").await;
    let change = scene.change().await;
    assert_eq!((change.to, change.reason), (Disconnected, Reason::ActorEnded));
    assert_eq!(scene.view.status.borrow().reason, Reason::ActorEnded);
    assert!(!*scene.view.is_up.borrow());
}

#[tokio::test]
async fn a_restart_in_order_closes_in_order_and_connects_again() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, patient()).await;
    scene.runtime.root().restart("connection").await.unwrap();
    assert_eq!(peer.rest().await, [normal_close()]);
    let _peer = server.accept().await;
    let mut changes = Vec::new();
    while changes.last() != Some(&Connected) {
        changes.push(scene.change().await.to);
    }
    assert_eq!(changes, [Disconnected, Connecting, Connected]);
}

// === the end ===

#[tokio::test]
async fn stopped_it_closes_in_order() {
    let server = Server::up().await;
    let (mut scene, peer) = Scene::connected(&server, eager(5)).await;
    scene.runtime.shutdown().await;
    assert_eq!(peer.rest().await, [normal_close()]);
    let change = scene.change().await;
    assert_eq!((change.from, change.to, change.reason), (Connected, Disconnected, Reason::Requested));
    assert_eq!(scene.view.status.borrow().state, Disconnected);
    assert!(!*scene.view.is_up.borrow());
}

#[tokio::test(start_paused = true)]
async fn stopped_it_answers_whoever_waits() {
    let scene = Scene::start(nowhere(), patient()).await;
    let waiting = scene.post("waiting", NEVER).await;
    // A `Send` that is answered shows that the one before was accepted.
    assert_eq!(scene.post("none", Duration::ZERO).await.await, Ok(Fate::Expired));
    scene.runtime.shutdown().await;
    assert_eq!(waiting.await, Ok(Fate::Dropped));
}
