//! One connection: two pipes, one each way, that obey the faults.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::fault::{Direction, Hangup, Kind};
use super::rules::{Lane, Step};
use super::wire::{WireReader, kind_of};
use super::{Faults, Shared};

/// What is read at once.
const PIECE_BYTES: usize = 8 * 1024;

/// What both pipes of a connection know.
#[derive(Debug, Default)]
struct Passage {
    /// 0 until it is known.
    kind: AtomicU8,
    /// How many requests the client has begun.
    requests: AtomicU64,
}

impl Passage {
    fn kind(&self) -> Option<Kind> {
        match self.kind.load(Ordering::SeqCst) {
            1 => Some(Kind::Http),
            2 => Some(Kind::WebSocket),
            _ => None,
        }
    }

    fn settle(&self, kind: Kind) {
        let kind = match kind {
            Kind::Http => 1,
            Kind::WebSocket => 2,
        };
        self.kind.store(kind, Ordering::SeqCst);
    }
}

/// The connection is over, both ways.
struct Over {
    is_reset: bool,
}

impl From<io::Error> for Over {
    /// One side is gone; there is nothing left to say to the other but the end.
    fn from(_: io::Error) -> Self {
        Self { is_reset: false }
    }
}

impl From<Hangup> for Over {
    fn from(hangup: Hangup) -> Self {
        Self { is_reset: hangup == Hangup::Rst }
    }
}

/// The client's side is open for as long as this lives.
struct ClientSide(Arc<Shared>);

impl ClientSide {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.open.send_modify(|open| *open += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for ClientSide {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// Carries what `client` and the backend say to one another, until both have ended or a fault ends them.
pub(super) async fn carry(number: u64, since: u64, mut client: TcpStream, shared: Arc<Shared>) {
    let side = ClientSide::new(&shared);
    let address = *shared.backend.borrow();
    let Ok(mut backend) = TcpStream::connect(address).await else { return };
    // Without it pieces would come late and together, and the faults would be other ones than were asked for.
    let _ = (client.set_nodelay(true), backend.set_nodelay(true));
    let passage = Passage::default();
    let over = {
        let (from_client, to_client) = client.split();
        let (from_backend, to_backend) = backend.split();
        let up = Pipe::new(Direction::Up, number, since, &shared, &passage, Some(side));
        let down = Pipe::new(Direction::Down, number, since, &shared, &passage, None);
        tokio::try_join!(up.run(from_client, to_backend), down.run(from_backend, to_client)).err()
    };
    if over.is_some_and(|over| over.is_reset) {
        // Where this fails the connection is closed in the ordinary way.
        let _ = (client.set_zero_linger(), backend.set_zero_linger());
    }
}

struct Pipe<'a> {
    direction: Direction,
    lane: Lane,
    faults: watch::Receiver<Faults>,
    shared: &'a Arc<Shared>,
    passage: &'a Passage,
    reader: WireReader,
    /// How many requests had begun when the present answer did.
    requests: u64,
    random: fastrand::Rng,
    /// On the way from the client.
    side: Option<ClientSide>,
}

/// Whether the pipe goes on.
enum Delivered {
    Yes,
    HangUp(Hangup),
}

impl<'a> Pipe<'a> {
    fn new(
        direction: Direction,
        number: u64,
        since: u64,
        shared: &'a Arc<Shared>,
        passage: &'a Passage,
        side: Option<ClientSide>,
    ) -> Self {
        Self {
            direction,
            lane: Lane::new(direction, since),
            faults: shared.faults.subscribe(),
            shared,
            passage,
            reader: WireReader::new(number),
            requests: 0,
            random: fastrand::Rng::with_seed(shared.seed ^ (number << 1) ^ (direction as u64)),
            side,
        }
    }

    async fn run(mut self, mut source: ReadHalf<'_>, mut sink: WriteHalf<'_>) -> Result<(), Over> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = tokio::select! {
                biased;
                hangup = self.cut() => return self.hang_up(hangup, source, sink).await,
                read = source.read(&mut piece) => read?,
            };
            if read == 0 {
                return self.end(sink).await;
            }
            self.see(&piece[..read])?;
            if let Delivered::HangUp(hangup) = self.deliver(&piece[..read], &mut sink).await? {
                return self.hang_up(hangup, source, sink).await;
            }
        }
    }

    /// Takes note of what the client sends.
    fn see(&mut self, piece: &[u8]) -> Result<(), Over> {
        if self.direction == Direction::Down {
            return Ok(());
        }
        let is_new = self.passage.kind().is_none();
        if is_new {
            self.passage.settle(kind_of(piece, self.shared.websocket_path));
        }
        let requests = self.shared.note(self.reader.read(piece));
        self.passage.requests.fetch_add(requests, Ordering::SeqCst);
        self.look();
        match self.lane.refusal(&self.faults.borrow().in_force) {
            Some(hangup) if is_new => Err(hangup.into()),
            _ => Ok(()),
        }
    }

    /// Brings the lane up to date with what the other pipe has learned.
    fn look(&mut self) {
        self.lane.kind = self.passage.kind();
        let requests = self.passage.requests.load(Ordering::SeqCst);
        if std::mem::replace(&mut self.requests, requests) != requests {
            self.lane.answer_bytes = 0;
        }
    }

    /// Passes a piece on, as far as the faults let it.
    async fn deliver(&mut self, piece: &[u8], sink: &mut WriteHalf<'_>) -> Result<Delivered, Over> {
        let mut rest = piece;
        let mut due = None;
        while !rest.is_empty() {
            self.look();
            let roll = self.random.f64();
            let (cut, step) = {
                let faults = self.faults.borrow_and_update();
                (self.lane.cut(&faults.in_force), self.lane.next(&faults.in_force, rest.len(), roll))
            };
            if let Some(hangup) = cut {
                return Ok(Delivered::HangUp(hangup));
            }
            match step {
                Step::HangUp(hangup) => return Ok(Delivered::HangUp(hangup)),
                Step::Lose => return Ok(Delivered::Yes),
                Step::Hold => {
                    due = None;
                    self.change().await;
                }
                Step::Pass { bytes, wait } => {
                    let at = *due.get_or_insert_with(|| Instant::now() + wait);
                    if !wait.is_zero() && Instant::now() < at {
                        tokio::select! {
                            biased;
                            () = self.change() => due = None,
                            () = sleep_until(at) => {}
                        }
                        continue;
                    }
                    tokio::select! {
                        biased;
                        hangup = self.cut() => return Ok(Delivered::HangUp(hangup)),
                        written = sink.write_all(&rest[..bytes]) => written?,
                    }
                    self.lane.passed(&self.faults.borrow().in_force, bytes);
                    rest = &rest[bytes..];
                    due = None;
                }
            }
        }
        Ok(Delivered::Yes)
    }

    /// Tells the sink that the source has ended, if the faults let it be told.
    async fn end(&mut self, mut sink: WriteHalf<'_>) -> Result<(), Over> {
        self.side = None;
        loop {
            self.look();
            let (cut, tells) = {
                let faults = self.faults.borrow_and_update();
                (self.lane.cut(&faults.in_force), self.lane.tells_end(&faults.in_force))
            };
            match (cut, tells) {
                (Some(Hangup::Rst), _) => return Err(Hangup::Rst.into()),
                (Some(Hangup::Fin), _) | (None, Some(true)) => return Ok(sink.shutdown().await?),
                (None, Some(false)) => return Ok(()),
                (None, None) => self.change().await,
            }
        }
    }

    /// Ends this way, and throws away what still comes.
    async fn hang_up(
        &mut self,
        hangup: Hangup,
        mut source: ReadHalf<'_>,
        mut sink: WriteHalf<'_>,
    ) -> Result<(), Over> {
        if hangup == Hangup::Rst {
            return Err(hangup.into());
        }
        sink.shutdown().await?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = tokio::select! {
                biased;
                hangup = self.cut() => match hangup {
                    Hangup::Rst => return Err(hangup.into()),
                    Hangup::Fin => continue,
                },
                read = source.read(&mut piece) => read?,
            };
            if read == 0 {
                self.side = None;
                return Ok(());
            }
            self.see(&piece[..read])?;
        }
    }

    /// Waits for a cut that is meant for this way. Nothing is lost if this is dropped.
    async fn cut(&mut self) -> Hangup {
        loop {
            self.look();
            let cut = self.lane.cut(&self.faults.borrow_and_update().in_force);
            match cut {
                Some(hangup) => return hangup,
                None => self.change().await,
            }
        }
    }

    /// Waits for the faults to change. A proxy that is gone changes nothing any more.
    async fn change(&mut self) {
        if self.faults.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
