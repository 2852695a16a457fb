//! From the backend's return to `connected`: never more than the delay in force and one round trip.
//!
//! A server's listener is closed and opened again, over and over: half of the time at a random moment, half of the time
//! at the worst one, right when a dial has failed and the whole delay is still to come. Each return is followed by one
//! more handshake with the server that is open now: the round trip that it is held against.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use mainstay_actors::connection::policy::ConnectionPolicy;
use mainstay_actors::connection::socket::{SocketLimits, dial};
use mainstay_actors::connection::status::{ConnectionState, ConnectionStatus};
use mainstay_actors::connection::target::SocketTarget;
use mainstay_actors::connection::{ConnectionActor, ConnectionChanged, ConnectionView};
use mainstay_runtime::journal::{Delivery, Event, Journal, Subscription};
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
/// How long the server stays away at most.
const OUTAGE_MAX: Duration = Duration::from_millis(900);
/// Nothing here takes that long.
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
    /// It is away at first.
    fn start() -> Result<Self, BenchError> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let (orders, obeyed) = mpsc::channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        // It ends when the orders do.
        std::thread::spawn(move || runtime.block_on(run_server(address, obeyed)));
        Ok(Self { address, commands: orders })
    }

    /// Begins to listen, and says when it began.
    async fn open(&self) -> Result<Instant, BenchError> {
        let (opened, at) = oneshot::channel();
        self.commands.send(ServerCommand::Open(opened)).await?;
        Ok(at.await??)
    }

    /// Goes away, with every connection.
    async fn close(&self) -> Result<(), BenchError> {
        let (closed, done) = oneshot::channel();
        self.commands.send(ServerCommand::Close(closed)).await?;
        Ok(done.await?)
    }
}

async fn run_server(address: SocketAddr, mut orders: mpsc::Receiver<ServerCommand>) {
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
            order = orders.recv() => match order {
                Some(ServerCommand::Open(opened)) => {
                    // Before it listens: what came in between would only count against Mainstay.
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

/// Shakes hands, and reads until the client goes.
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
    events: Subscription,
}

/// What `connection_state` said, and when, since the runtime's start.
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
        root.child(Child::new("connection", ConnectionActor { target, policy, view, cache: None }))?;
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

    /// The time on the runtime's clock.
    fn time_of(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.journal.epoch().into_std())
    }

    /// What has been said since this was asked before.
    fn changes(&mut self) -> Result<Vec<StateChange>, BenchError> {
        let mut said = Vec::new();
        while let Some(delivery) = self.events.try_next_in_memory() {
            if let Delivery::Event(record) = delivery
                && record.kind == ConnectionChanged::KIND
            {
                said.push(StateChange { at: Duration::from_millis(record.mono_ms), event: record.decode()? });
            }
        }
        Ok(said)
    }
}

/// One return of the backend.
struct Reconnection {
    /// From the return to `connected`, in milliseconds.
    took: f64,
    /// The delay that was in force.
    delay: f64,
    /// How long after the moment that had been announced for the attempt it connected.
    late: f64,
    /// What a handshake took right afterwards.
    round_trip: f64,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Lets the backend go, and come back after `away`, or at the worst moment if that is `None`.
async fn measure_reconnect(
    link: &mut ConnectionRuntime,
    backend: &SwitchedServer,
    target: &SocketTarget,
    away: Option<Duration>,
) -> Result<Reconnection, BenchError> {
    link.changes()?;
    backend.close().await?;
    link.wait_for(|status| status.next_attempt_at.is_some()).await?;
    match away {
        Some(away) => sleep(away).await,
        None => {
            // A dial fails, and the wait after it has just begun.
            link.wait_for(|status| status.next_attempt_at.is_none()).await?;
            link.wait_for(|status| status.next_attempt_at.is_some()).await?;
        }
    }
    let opened = backend.open().await?;
    let status = link.status.borrow().clone();
    link.wait_for(|status| status.state == ConnectionState::Connected).await?;
    let connected = Instant::now();
    let began = Instant::now();
    let open = dial(target, SocketLimits { message_max_bytes: 1 << 20 }).await;
    let round_trip = ms(began.elapsed());
    drop(open.map_err(|fault| format!("{fault:?}"))?);

    let said = link.changes()?;
    let (due, delay) = delay_in_force(&said, link.time_of(opened), &status).ok_or("no delay was in force")?;
    let (opened, connected) = (link.time_of(opened), link.time_of(connected));
    Ok(Reconnection {
        took: ms(connected.saturating_sub(opened)),
        delay: ms(delay),
        late: ms(connected.saturating_sub(due.max(opened))),
        round_trip,
    })
}

/// When the next attempt is due, and the delay before it: what was in force at `opened`.
///
/// If a dial was under way then, it may have failed all the same; then the delay after it counts.
fn delay_in_force(said: &[StateChange], opened: Duration, status: &ConnectionStatus) -> Option<(Duration, Duration)> {
    let newest = said.iter().rposition(|said| said.at <= opened)?;
    let is_wait = |said: &&StateChange| said.event.next_attempt_in_ms.is_some();
    let follows = said[newest..].iter().take(2).find(is_wait);
    let wait = follows.or_else(|| said[..newest].iter().rev().find(is_wait))?;
    let told = Duration::from_millis(wait.event.next_attempt_in_ms?);
    // The status says it more precisely, if it is of this wait.
    let due = status.next_attempt_at.filter(|_| status.attempt == wait.event.attempt);
    let due = due.unwrap_or(wait.at + told);
    Some((due, due.saturating_sub(wait.at)))
}

/// An even spread over the time that the server may stay away, in no order: the fractions of the golden ratio.
fn outage_duration(number: usize) -> Duration {
    OUTAGE_MAX.mul_f64((number as f64 * 0.618_033_988_749_895).fract())
}

pub(crate) async fn measure(settings: &BenchSettings, dir: &Path) -> Result<Vec<ScoreLine>, BenchError> {
    let backend = SwitchedServer::start()?;
    backend.open().await?;
    let target = SocketTarget::new(&format!("http://{}", backend.address), PATH)?;
    let mut link = ConnectionRuntime::start(target.clone(), &dir.join("link")).await?;
    link.wait_for(|status| status.state == ConnectionState::Connected).await?;
    let mut returns = Vec::new();
    for number in 0..settings.reconnects {
        let away = (number % 2 == 0).then(|| outage_duration(number));
        returns.push(measure_reconnect(&mut link, &backend, &target, away).await?);
    }
    link.runtime.shutdown().await;
    Ok(lines(&returns))
}

fn lines(returns: &[Reconnection]) -> Vec<ScoreLine> {
    let sample = |of: fn(&Reconnection) -> f64| returns.iter().map(of).collect::<SampleSet>();
    let round_trip = sample(|one| one.round_trip);
    let mut lines = Vec::new();
    let count = returns.len();
    for (what, figures, target) in [
        ("backend back to connected, beyond the delay in force", sample(|one| one.took - one.delay), true),
        ("backend back to connected, beyond the moment announced", sample(|one| one.late), false),
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
    use mainstay_actors::connection::status::Reason;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn said(at: u64, attempt: u32, wait: Option<u64>) -> StateChange {
        let event = ConnectionChanged {
            from: ConnectionState::Reconnecting,
            to: ConnectionState::Reconnecting,
            attempt,
            max: 9,
            next_attempt_at: None,
            next_attempt_in_ms: wait,
            reason: Reason::RetryDue,
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
            reason: Reason::RetryDue,
        }
    }

    #[test]
    fn delay_in_force_is_that_of_the_current_wait() {
        let said = [said(10, 2, Some(50)), said(61, 2, None), said(62, 3, Some(100)), said(163, 3, None)];
        let at = |opened, status: &ConnectionStatus| delay_in_force(&said, ms(opened), status);
        assert_eq!(at(30, &status(2, Some(ms(60)))), Some((ms(60), ms(50))));
        assert_eq!(at(100, &status(3, Some(ms(162)))), Some((ms(162), ms(100))));
        // A dial under way that fails leads to the wait after it, one that does not had its wait before.
        assert_eq!(at(61, &status(2, None)), Some((ms(162), ms(100))));
        assert_eq!(at(170, &status(3, None)), Some((ms(162), ms(100))));
    }
}
