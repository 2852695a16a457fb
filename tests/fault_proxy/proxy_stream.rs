//! Runs one connection: two pipes, one each way, that apply the faults.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::fault::{CloseKind, Direction, TrafficKind};
use super::frames::{TrafficReader, kind_of};
use super::rules::{DirectionRules, PieceAction};
use super::{ActiveFaults, ProxyShared};

/// The size of one read.
const PIECE_BYTES: usize = 8 * 1024;

/// Holds what both pipes of a connection know.
#[derive(Debug, Default)]
struct ConnectionInfo {
    /// The kind; 0 until it is known.
    kind: AtomicU8,
    /// The number of requests that the client has begun.
    requests: AtomicU64,
}

impl ConnectionInfo {
    fn kind(&self) -> Option<TrafficKind> {
        match self.kind.load(Ordering::SeqCst) {
            1 => Some(TrafficKind::Http),
            2 => Some(TrafficKind::WebSocket),
            _ => None,
        }
    }

    fn set_kind(&self, kind: TrafficKind) {
        let kind = match kind {
            TrafficKind::Http => 1,
            TrafficKind::WebSocket => 2,
        };
        self.kind.store(kind, Ordering::SeqCst);
    }
}

/// The connection has ended, both ways.
struct StreamEnd {
    is_reset: bool,
}

impl From<io::Error> for StreamEnd {
    /// One side is gone; the other gets only the end.
    fn from(_: io::Error) -> Self {
        Self { is_reset: false }
    }
}

impl From<CloseKind> for StreamEnd {
    fn from(hangup: CloseKind) -> Self {
        Self { is_reset: hangup == CloseKind::Rst }
    }
}

/// Counts the client's side as open for as long as this lives.
struct OpenClientGuard(Arc<ProxyShared>);

impl OpenClientGuard {
    fn new(shared: &Arc<ProxyShared>) -> Self {
        shared.open.send_modify(|open| *open += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for OpenClientGuard {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// Relays between `client` and the backend, until both have ended or a fault ends them.
pub(super) async fn proxy_connection(
    number: u64,
    since: u64,
    mut client: TcpStream,
    shared: Arc<ProxyShared>,
) {
    let side = OpenClientGuard::new(&shared);
    let address = *shared.backend.borrow();
    let Ok(mut backend) = TcpStream::connect(address).await else { return };
    // Without it pieces would arrive late and together, and the faults would differ from the requested ones.
    let _ = (client.set_nodelay(true), backend.set_nodelay(true));
    let passage = ConnectionInfo::default();
    let over = {
        let (from_client, to_client) = client.split();
        let (from_backend, to_backend) = backend.split();
        let up = DirectionPipe::new(Direction::Up, number, since, &shared, &passage, Some(side));
        let down = DirectionPipe::new(Direction::Down, number, since, &shared, &passage, None);
        tokio::try_join!(up.run(from_client, to_backend), down.run(from_backend, to_client)).err()
    };
    if over.is_some_and(|over| over.is_reset) {
        // If this fails, the connection is closed in the ordinary way.
        let _ = (client.set_zero_linger(), backend.set_zero_linger());
    }
}

struct DirectionPipe<'a> {
    direction: Direction,
    rules: DirectionRules,
    faults: watch::Receiver<ActiveFaults>,
    shared: &'a Arc<ProxyShared>,
    connection: &'a ConnectionInfo,
    reader: TrafficReader,
    /// The number of requests that had begun when the current response did.
    requests: u64,
    random: fastrand::Rng,
    /// The reader of the client's bytes; only the pipe from the client has one.
    open_client: Option<OpenClientGuard>,
}

/// The state of a pipe after a step.
enum DeliverOutcome {
    Yes,
    HangUp(CloseKind),
}

impl<'a> DirectionPipe<'a> {
    fn new(
        direction: Direction,
        number: u64,
        since: u64,
        shared: &'a Arc<ProxyShared>,
        passage: &'a ConnectionInfo,
        side: Option<OpenClientGuard>,
    ) -> Self {
        Self {
            direction,
            rules: DirectionRules::new(direction, since),
            faults: shared.faults.subscribe(),
            shared,
            connection: passage,
            reader: TrafficReader::new(number),
            requests: 0,
            random: fastrand::Rng::with_seed(shared.seed ^ (number << 1) ^ (direction as u64)),
            open_client: side,
        }
    }

    async fn run(mut self, mut source: ReadHalf<'_>, mut sink: WriteHalf<'_>) -> Result<(), StreamEnd> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = tokio::select! {
                biased;
                hangup = self.cut() => return self.hang_up(hangup, source, sink).await,
                read = source.read(&mut piece) => read?,
            };
            if read == 0 {
                return self.forward_end(sink).await;
            }
            self.observe(&piece[..read])?;
            if let DeliverOutcome::HangUp(hangup) = self.deliver(&piece[..read], &mut sink).await? {
                return self.hang_up(hangup, source, sink).await;
            }
        }
    }

    /// Records what the client sends.
    fn observe(&mut self, piece: &[u8]) -> Result<(), StreamEnd> {
        if self.direction == Direction::Down {
            return Ok(());
        }
        let is_new = self.connection.kind().is_none();
        if is_new {
            self.connection.set_kind(kind_of(piece, self.shared.websocket_path));
        }
        let requests = self.shared.record(self.reader.read(piece));
        self.connection.requests.fetch_add(requests, Ordering::SeqCst);
        self.sync_rules();
        match self.rules.refusal(&self.faults.borrow().active) {
            Some(hangup) if is_new => Err(hangup.into()),
            _ => Ok(()),
        }
    }

    /// Updates the lane with what the other pipe has learned.
    fn sync_rules(&mut self) {
        self.rules.kind = self.connection.kind();
        let requests = self.connection.requests.load(Ordering::SeqCst);
        if std::mem::replace(&mut self.requests, requests) != requests {
            self.rules.answer_bytes = 0;
        }
    }

    /// Forwards a piece, as far as the faults allow.
    async fn deliver(&mut self, piece: &[u8], sink: &mut WriteHalf<'_>) -> Result<DeliverOutcome, StreamEnd> {
        let mut rest = piece;
        let mut due = None;
        while !rest.is_empty() {
            self.sync_rules();
            let roll = self.random.f64();
            let (cut, step) = {
                let faults = self.faults.borrow_and_update();
                (self.rules.cut(&faults.active), self.rules.next(&faults.active, rest.len(), roll))
            };
            if let Some(hangup) = cut {
                return Ok(DeliverOutcome::HangUp(hangup));
            }
            match step {
                PieceAction::Close(hangup) => return Ok(DeliverOutcome::HangUp(hangup)),
                PieceAction::Drop => return Ok(DeliverOutcome::Yes),
                PieceAction::Hold => {
                    due = None;
                    self.wait_for_change().await;
                }
                PieceAction::Pass { bytes, wait } => {
                    let at = *due.get_or_insert_with(|| Instant::now() + wait);
                    if !wait.is_zero() && Instant::now() < at {
                        tokio::select! {
                            biased;
                            () = self.wait_for_change() => due = None,
                            () = sleep_until(at) => {}
                        }
                        continue;
                    }
                    tokio::select! {
                        biased;
                        hangup = self.cut() => return Ok(DeliverOutcome::HangUp(hangup)),
                        written = sink.write_all(&rest[..bytes]) => written?,
                    }
                    self.rules.record_passed(&self.faults.borrow().active, bytes);
                    rest = &rest[bytes..];
                    due = None;
                }
            }
        }
        Ok(DeliverOutcome::Yes)
    }

    /// Forwards the source's end to the sink, if the faults allow it.
    async fn forward_end(&mut self, mut sink: WriteHalf<'_>) -> Result<(), StreamEnd> {
        self.open_client = None;
        loop {
            self.sync_rules();
            let (cut, tells) = {
                let faults = self.faults.borrow_and_update();
                (self.rules.cut(&faults.active), self.rules.forwards_end(&faults.active))
            };
            match (cut, tells) {
                (Some(CloseKind::Rst), _) => return Err(CloseKind::Rst.into()),
                (Some(CloseKind::Fin), _) | (None, Some(true)) => return Ok(sink.shutdown().await?),
                (None, Some(false)) => return Ok(()),
                (None, None) => self.wait_for_change().await,
            }
        }
    }

    /// Ends this direction, and discards later bytes.
    async fn hang_up(
        &mut self,
        hangup: CloseKind,
        mut source: ReadHalf<'_>,
        mut sink: WriteHalf<'_>,
    ) -> Result<(), StreamEnd> {
        if hangup == CloseKind::Rst {
            return Err(hangup.into());
        }
        sink.shutdown().await?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = tokio::select! {
                biased;
                hangup = self.cut() => match hangup {
                    CloseKind::Rst => return Err(hangup.into()),
                    CloseKind::Fin => continue,
                },
                read = source.read(&mut piece) => read?,
            };
            if read == 0 {
                self.open_client = None;
                return Ok(());
            }
            self.observe(&piece[..read])?;
        }
    }

    /// Waits for a cut of this direction. Nothing is lost if this is dropped.
    async fn cut(&mut self) -> CloseKind {
        loop {
            self.sync_rules();
            let cut = self.rules.cut(&self.faults.borrow_and_update().active);
            match cut {
                Some(hangup) => return hangup,
                None => self.wait_for_change().await,
            }
        }
    }

    /// Waits for the faults to change. A dropped proxy changes nothing any more.
    async fn wait_for_change(&mut self) {
        if self.faults.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
