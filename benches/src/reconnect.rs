//! Measures the time from the backend's return to `connected`: at most the delay in force and one round trip.
//!
//! A server's listener closes and opens repeatedly: half of the time at a random moment, half of the time at the worst
//! one, right after a dial has failed. One more handshake with the open server follows each return; it is the round trip
//! that the return is compared with.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use mainstay_actors::connection::policy::ConnectionPolicy;
use mainstay_actors::connection::socket::{SocketLimits, dial};
use mainstay_actors::connection::status::{ConnectionState, ConnectionStatus};
use mainstay_actors::connection::target::SocketTarget;
use mainstay_actors::connection::{ConnectionActor, ConnectionChanged, ConnectionView};
use mainstay_runtime::journal::{Delivery, Event, Journal, JournalSubscription};
use mainstay_runtime::policy::Delay;
use mainstay_runtime::{Child, Runtime, SupervisorSpec};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::contender::BenchError;
use crate::contender::mainstay::journal;
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;
use crate::statistics::SampleSet;

const PEERS: &[&str] = &["round trip"];
const PATH: &str = "/ws";
const DELAY_MIN: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_millis(400);
/// The longest outage of the server.
const OUTAGE_MAX: Duration = Duration::from_millis(900);
/// The limit of each wait; nothing here takes that long.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

// === the server ===

enum ServerCommand {
    Open(oneshot::Sender<Result<Instant, std::io::Error>>),
    Close(oneshot::Sender<()>),
}

/// A WebSocket server on a thread of its own, whose listener comes and goes.
struct SwitchedServer {
    address: SocketAddr,
    commands: mpsc::Sender<ServerCommand>,
}

impl SwitchedServer {
    /// Starts the thread. The listener is closed at first.
    fn start() -> Result<Self, BenchError> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let (commands, received) = mpsc::channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        // The thread ends when the channel of commands closes.
        std::thread::spawn(move || runtime.block_on(run_server(address, received)));
        Ok(Self { address, commands })
    }

    /// Begins to listen, and returns the time at which it began.
    async fn open(&self) -> Result<Instant, BenchError> {
        let (opened, at) = oneshot::channel();
        self.commands.send(ServerCommand::Open(opened)).await?;
        Ok(at.await??)
    }

    /// Closes the listener and every connection.
    async fn close(&self) -> Result<(), BenchError> {
        let (closed, done) = oneshot::channel();
        self.commands.send(ServerCommand::Close(closed)).await?;
        Ok(done.await?)
    }
}

async fn run_server(address: SocketAddr, mut commands: mpsc::Receiver<ServerCommand>) {
    let mut listener = None;
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => TcpListener::accept(listener).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = commands.recv() => match command {
                Some(ServerCommand::Open(opened)) => {
                    // The time is taken before the bind, so that any delay counts against Mainstay.
                    let at = Instant::now();
                    let bound = TcpListener::bind(address).await;
                    let _ = opened.send(bound.map(|bound| {
                        listener = Some(bound);
                        at
                    }));
                }
                Some(ServerCommand::Close(closed)) => {
                    listener = None;
                    connections.shutdown().await;
                    let _ = closed.send(());
                }
                None => return,
            },
            Ok((stream, _)) = accepted => {
                while connections.try_join_next().is_some() {}
                connections.spawn(hold_socket(stream));
            }
        }
    }
}

/// Accepts the handshake, and reads until the client leaves.
async fn hold_socket(stream: TcpStream) {
    use futures_util::StreamExt;
    let _ = stream.set_nodelay(true);
    if let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await {
        while let Some(Ok(_)) = socket.next().await {}
    }
}

// === the client ===

/// A connection under its supervisor, seen from outside.
struct ConnectionRuntime {
    runtime: Runtime,
    journal: Journal,
    status: watch::Receiver<ConnectionStatus>,
    events: JournalSubscription,
}

/// A `connection_state` event and its time since the runtime's start.
struct StateChange {
    at: Duration,
    event: ConnectionChanged,
}

impl ConnectionRuntime {
    async fn start(target: SocketTarget, dir: &Path) -> Result<Self, BenchError> {
        let policy = ConnectionPolicy {
            max_retries: u32::MAX,
            delay: Delay::Exponential { min: DELAY_MIN, max: DELAY_MAX, factor: 2.0, jitter: true },
            // Each time it goes away the delays begin with the shortest.
            stable_after: Duration::ZERO,
            ..ConnectionPolicy::default()
        };
        let view = ConnectionView::new(&policy);
        let status = view.status.subscribe();
        let mut root = SupervisorSpec::new("root");
        root.child(Child::new("connection", ConnectionActor { target, policy, view, invalidations: None }))?;
        let journal = journal(dir)?;
        let events = journal.subscribe();
        let runtime = Runtime::builder().journal(journal.clone()).start(root).await?;
        Ok(Self { runtime, journal, status, events })
    }

    /// Waits until the status is as wanted.
    async fn wait_for(&mut self, wanted: impl FnMut(&ConnectionStatus) -> bool) -> Result<(), BenchError> {
        timeout(WAIT_TIMEOUT, self.status.wait_for(wanted)).await??;
        Ok(())
    }

    /// Returns the time of `moment` on the runtime's clock.
    fn time_of(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.journal.epoch().into_std())
    }

    /// Returns the changes since the last call.
    fn changes(&mut self) -> Result<Vec<StateChange>, BenchError> {
        let mut changes = Vec::new();
        while let Some(delivery) = self.events.try_next_in_memory() {
            if let Delivery::Event(record) = delivery
                && record.kind == ConnectionChanged::KIND
            {
                changes
                    .push(StateChange { at: Duration::from_millis(record.mono_ms), event: record.decode()? });
            }
        }
        Ok(changes)
    }
}

/// One return of the backend.
struct Reconnection {
    /// The milliseconds from the return to `connected`.
    took: f64,
    /// The delay that was in force.
    delay: f64,
    /// The milliseconds between the announced time of the attempt and `connected`.
    late: f64,
    /// The milliseconds of a handshake right afterwards.
    round_trip: f64,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Closes the backend and opens it after `away`, or at the worst moment if that is `None`.
async fn measure_reconnect(
    connection: &mut ConnectionRuntime,
    backend: &SwitchedServer,
    target: &SocketTarget,
    away: Option<Duration>,
) -> Result<Reconnection, BenchError> {
    connection.changes()?;
    backend.close().await?;
    connection.wait_for(|status| status.next_attempt_at.is_some()).await?;
    match away {
        Some(away) => sleep(away).await,
        None => {
            // A dial fails, and the wait after it has just begun.
            connection.wait_for(|status| status.next_attempt_at.is_none()).await?;
            connection.wait_for(|status| status.next_attempt_at.is_some()).await?;
        }
    }
    let opened = backend.open().await?;
    let status = connection.status.borrow().clone();
    connection.wait_for(|status| status.state == ConnectionState::Connected).await?;
    let connected = Instant::now();
    let began = Instant::now();
    let open = dial(target, SocketLimits { message_max_bytes: 1 << 20 }).await;
    let round_trip = ms(began.elapsed());
    drop(open.map_err(|fault| format!("{fault:?}"))?);

    let changes = connection.changes()?;
    let (due, delay) =
        delay_in_force(&changes, connection.time_of(opened), &status).ok_or("no delay was in force")?;
    let (opened, connected) = (connection.time_of(opened), connection.time_of(connected));
    Ok(Reconnection {
        took: ms(connected.saturating_sub(opened)),
        delay: ms(delay),
        late: ms(connected.saturating_sub(due.max(opened))),
        round_trip,
    })
}

/// Returns the time of the next attempt and the delay before it, as they were at `opened`.
///
/// If a dial was in flight at that time and failed, the delay after it counts.
fn delay_in_force(
    changes: &[StateChange],
    opened: Duration,
    status: &ConnectionStatus,
) -> Option<(Duration, Duration)> {
    let newest = changes.iter().rposition(|change| change.at <= opened)?;
    let is_wait = |change: &&StateChange| change.event.next_attempt_in_ms.is_some();
    let follows = changes[newest..].iter().take(2).find(is_wait);
    let wait = follows.or_else(|| changes[..newest].iter().rev().find(is_wait))?;
    let delay = Duration::from_millis(wait.event.next_attempt_in_ms?);
    // The status is more precise, if it belongs to this wait.
    let due = status.next_attempt_at.filter(|_| status.attempt == wait.event.attempt);
    let due = due.unwrap_or(wait.at + delay);
    Some((due, due.saturating_sub(wait.at)))
}

/// Returns an outage from an even, unordered spread up to `OUTAGE_MAX`: the fractions of the golden ratio.
fn outage_duration(number: usize) -> Duration {
    OUTAGE_MAX.mul_f64((number as f64 * 0.618_033_988_749_895).fract())
}

pub(crate) async fn measure(settings: &BenchSettings, dir: &Path) -> Result<Vec<ScoreLine>, BenchError> {
    let backend = SwitchedServer::start()?;
    backend.open().await?;
    let target = SocketTarget::new(&format!("http://{}", backend.address), PATH)?;
    let mut connection = ConnectionRuntime::start(target.clone(), &dir.join("connection")).await?;
    connection.wait_for(|status| status.state == ConnectionState::Connected).await?;
    let mut reconnects = Vec::new();
    for number in 0..settings.reconnects {
        let away = (number % 2 == 0).then(|| outage_duration(number));
        reconnects.push(measure_reconnect(&mut connection, &backend, &target, away).await?);
    }
    connection.runtime.shutdown().await;
    Ok(lines(&reconnects))
}

fn lines(reconnects: &[Reconnection]) -> Vec<ScoreLine> {
    let sample = |of: fn(&Reconnection) -> f64| reconnects.iter().map(of).collect::<SampleSet>();
    let round_trip = sample(|one| one.round_trip);
    let mut lines = Vec::new();
    let count = reconnects.len();
    for (what, figures, target) in [
        ("backend back to connected, beyond the delay in force", sample(|one| one.took - one.delay), true),
        ("backend back to connected, beyond the announced time", sample(|one| one.late), false),
    ] {
        let mut largest = ScoreLine::against(PEERS, format!("{what}, largest of {count}"), "ms");
        largest.record([figures.largest(), round_trip.largest()]);
        let mut median = ScoreLine::against(PEERS, format!("{what}, median"), "ms");
        median.record([figures.median(), round_trip.median()]);
        lines.push(if target { largest.target(ScoreTarget::OfFirst(1.0)) } else { largest });
        lines.push(median);
    }
    lines
}

#[cfg(test)]
mod tests {
    use mainstay_actors::connection::status::StatusReason;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn change(at: u64, attempt: u32, wait: Option<u64>) -> StateChange {
        let event = ConnectionChanged {
            from: ConnectionState::Reconnecting,
            to: ConnectionState::Reconnecting,
            attempt,
            max: 9,
            next_attempt_at: None,
            next_attempt_in_ms: wait,
            reason: StatusReason::RetryDue,
            code: None,
            error: None,
        };
        StateChange { at: ms(at), event }
    }

    fn status(attempt: u32, next_attempt_at: Option<Duration>) -> ConnectionStatus {
        ConnectionStatus {
            state: ConnectionState::Reconnecting,
            since: ms(0),
            attempt,
            max: 9,
            next_attempt_at,
            last_error: None,
            last_error_at: None,
            reason: StatusReason::RetryDue,
        }
    }

    #[test]
    fn delay_in_force_is_that_of_the_current_wait() {
        let changes =
            [change(10, 2, Some(50)), change(61, 2, None), change(62, 3, Some(100)), change(163, 3, None)];
        let at = |opened, status: &ConnectionStatus| delay_in_force(&changes, ms(opened), status);
        assert_eq!(at(30, &status(2, Some(ms(60)))), Some((ms(60), ms(50))));
        assert_eq!(at(100, &status(3, Some(ms(162)))), Some((ms(162), ms(100))));
        // A dial in flight that fails leads to the wait after it; one that succeeds had its wait before.
        assert_eq!(at(61, &status(2, None)), Some((ms(162), ms(100))));
        assert_eq!(at(170, &status(3, None)), Some((ms(162), ms(100))));
    }
}
