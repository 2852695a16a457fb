//! A connection under its supervisor, with its observers.

use std::pin::Pin;

use mainstay_runtime::{
    Address, CallError, Child, Runtime, SupervisorSpec,
    clock::Clock,
    journal::{Journal, JournalOptions, JournalSubscription, Record},
    policy::ChildPolicy,
};

use super::*;
use crate::{connection::inbound::FrameSubscription, standstill::WallClock};

pub(super) type PendingOutcome = Pin<Box<dyn Future<Output = Result<SendOutcome, CallError>>>>;

/// A supervised connection, with its observers.
pub(super) struct ConnectionFixture {
    pub(super) runtime: Runtime,
    pub(super) connection: Address<ConnectionMessage>,
    pub(super) view: ConnectionView,
    pub(super) frames: FrameSubscription,
    pub(super) clock: Arc<WallClock>,
    pub(super) journal: JournalSubscription,
    /// A second subscription to the journal: unsent messages may be recorded before or after a change of state.
    pub(super) unsent_journal: JournalSubscription,
}

impl ConnectionFixture {
    /// Starts a connection that is restarted at once after a crash.
    pub(super) async fn start(target: SocketTarget, policy: ConnectionPolicy) -> Self {
        Self::start_with(target, policy, Duration::ZERO).await
    }

    pub(super) async fn start_with(
        target: SocketTarget,
        policy: ConnectionPolicy,
        restart_delay: Duration,
    ) -> Self {
        Self::start_seeded(target, policy, restart_delay, 1).await
    }

    pub(super) async fn start_seeded(
        target: SocketTarget,
        policy: ConnectionPolicy,
        restart_delay: Duration,
        seed: u64,
    ) -> Self {
        let view = ConnectionView::new(&policy);
        let frames = view.frames.subscribe();
        let actor = ConnectionActor { target, policy, view: view.clone(), invalidations: None };
        let child = ChildPolicy { delay: Delay::Fixed { delay: restart_delay }, ..ChildPolicy::default() };
        let mut root = SupervisorSpec::new("root");
        let connection = root.child(Child::new("connection", actor).policy(child)).unwrap();
        let clock = Arc::new(WallClock(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())));
        let journal =
            Journal::in_memory("boot", Arc::clone(&clock) as Arc<dyn Clock>, JournalOptions::default());
        let (records, sums) = (journal.subscribe(), journal.subscribe());
        let runtime = Runtime::builder().journal(journal).seed(seed).start(root).await.unwrap();
        Self { runtime, connection, view, frames, clock, journal: records, unsent_journal: sums }
    }

    /// Starts a server that listens, and a connection that dials it.
    pub(super) async fn dialling(policy: ConnectionPolicy) -> (WsServer, Self) {
        let server = WsServer::listening().await;
        let fixture = Self::start(server.target(), policy).await;
        (server, fixture)
    }

    /// Starts a server that refuses, and a connection that has met the refusal.
    pub(super) async fn refused(policy: ConnectionPolicy) -> (WsServer, Self) {
        let server = WsServer::refusing();
        let mut fixture = Self::start(server.target(), policy).await;
        fixture.wait_for_change(Reconnecting).await;
        (server, fixture)
    }

    /// Starts a server and a connection to it; returns them with the server's end.
    pub(super) async fn connected(policy: ConnectionPolicy) -> (WsServer, Self, WsPeer) {
        let server = WsServer::listening().await;
        let (fixture, peer) = Self::connected_to(&server, policy).await;
        (server, fixture, peer)
    }

    /// Starts a connection and returns it with the server's end.
    pub(super) async fn connected_to(server: &WsServer, policy: ConnectionPolicy) -> (Self, WsPeer) {
        let mut fixture = Self::start(server.target(), policy).await;
        let peer = server.accept().await;
        fixture.wait_for_change(Connected).await;
        fixture.wait_for_state(Connected).await;
        (fixture, peer)
    }

    pub(super) async fn next_record(&mut self, kind: &str) -> Record {
        next_record(&mut self.journal, kind).await
    }

    /// Returns the next item for subscribers.
    pub(super) async fn next_inbound(&mut self) -> Inbound {
        self.frames.next().await.unwrap()
    }

    /// Returns the next text frame for subscribers.
    pub(super) async fn next_text(&mut self) -> String {
        match self.next_inbound().await {
            Inbound::Text(text) => text.to_string(),
            other => panic!("no text, but {other:?}"),
        }
    }

    /// Returns the next change of the connection.
    pub(super) async fn next_change(&mut self) -> ConnectionChanged {
        self.next_record(ConnectionChanged::KIND).await.decode().unwrap()
    }

    /// Returns the next change to this state, and its time.
    pub(super) async fn wait_for_change(&mut self, state: ConnectionState) -> (ConnectionChanged, Duration) {
        loop {
            let (change, at) = self.next_timed_change().await;
            if change.to == state {
                return (change, at);
            }
        }
    }

    /// Returns the next change of the connection, and its time.
    pub(super) async fn next_timed_change(&mut self) -> (ConnectionChanged, Duration) {
        let record = self.next_record(ConnectionChanged::KIND).await;
        (record.decode().unwrap(), Duration::from_millis(record.mono_ms))
    }

    /// Waits until the view shows this state.
    pub(super) async fn wait_for_state(&self, state: ConnectionState) -> ConnectionStatus {
        let mut status = self.view.status.subscribe();
        let shown = status.wait_for(|status| status.state == state).await.unwrap();
        shown.clone()
    }

    /// Asks for a new socket.
    pub(super) async fn connect(&self) {
        drop(self.reconnect().await);
    }

    /// Asks for a new socket; the returned future resolves to the outcome.
    pub(super) async fn reconnect(&self) -> Pin<Box<dyn Future<Output = Result<ConnectOutcome, CallError>>>> {
        let connection = self.connection.clone();
        let mut answer: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(async move { connection.call(ConnectionMessage::Connect).await });
        assert!(poll!(&mut answer).is_pending(), "only the actor answers");
        answer
    }

    pub(super) async fn send(&self, message: ConnectionMessage) {
        self.connection.cast(message).await.unwrap();
    }

    pub(super) fn crash(&self) {
        drop(self.connection.inject_panic().unwrap());
    }

    /// Puts a `Send` into the mailbox; the returned future resolves to its outcome.
    pub(super) async fn send_text(&self, text: impl Into<String>, wait_timeout: Duration) -> PendingOutcome {
        let text: String = text.into();
        self.send_frame(text, wait_timeout).await
    }

    /// Puts a `Send` into the mailbox; the returned future resolves to its outcome.
    pub(super) async fn send_frame(&self, frame: impl Into<Frame>, wait_timeout: Duration) -> PendingOutcome {
        let (connection, frame) = (self.connection.clone(), frame.into());
        let mut answer: PendingOutcome = Box::pin(async move {
            connection.call(|reply| ConnectionMessage::Send { frame, wait_timeout, reply }).await
        });
        assert!(poll!(&mut answer).is_pending(), "only the actor answers");
        answer
    }

    /// Returns whether it stays disconnected for an hour. The clock is paused from now on.
    pub(super) async fn assert_stays_disconnected(mut self, server: Option<&WsServer>) {
        if server.is_some() {
            tokio::time::pause();
        }
        while self.journal.try_next().await.is_some() {}
        tokio::time::sleep(NEVER).await;
        assert_eq!(self.journal.try_next().await, None);
        assert_eq!(self.view.status.borrow().state, Disconnected);
        if let Some(server) = server {
            assert!(poll!(pin!(server.accept_raw())).is_pending(), "it came back");
        }
    }
}
