//! One life of an agent's process, from its start to its end.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdout;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::lines::{LINE_BYTES_MAX, Said, Told, Unreadable};
use super::memory::MemoryGauge;
use super::talk::{Answer, Talk};
use super::words::{absent, ended, stopped};
use crate::agent::activity::ActivityMeter;
use crate::agent::driver::{ProcessFacts, not_asked};
use crate::agent::feed::{AgentFeed, AgentUpdate};
use crate::agent::health::Observation;
use crate::agent::letter::{Letter, LetterId};
use crate::error::{Error, Reason, Secrets};
use crate::process::{Cue, Input, Launch, LaunchFault, Line, Lines, Process, Warden};

/// So many lines wait for the agent to read them; who has more waits with them.
const LINES_WAITING_MAX: usize = 64;

/// How long the end of an agent waits for the end of its output, where something else keeps that open. What the agent
/// itself wrote is in the pipe by then, and takes no longer than this to be read.
const LAST_LINES_WITHIN: Duration = Duration::from_millis(500);

/// How long the end of its input waits for the end of the process, which says more.
const EXIT_WITHIN: Duration = Duration::from_millis(500);

/// So much of its output is read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// The process, and the conversation with it. When this is dropped, the process is killed with all that it started.
pub(super) struct Life {
    process: Process,
    desk: Desk,
    cue: Arc<Cue>,
    started_at: Instant,
    is_ready: AtomicBool,
    /// Why it is to be ended though it runs.
    condemned: Mutex<Option<Error>>,
    memory: MemoryGauge,
    /// How many states it had said when its state was last read.
    states_read: Arc<AtomicU64>,
    /// Whether it has ended, and all that it said has been taken in; or it can be told no letter any more.
    is_over: watch::Receiver<bool>,
    /// Owns them; never looked at.
    _tasks: JoinSet<()>,
}

/// Where lines for the agent are handed in, and answers come out. Does not keep the process alive.
#[derive(Clone)]
pub(super) struct Desk {
    talk: Arc<Mutex<Talk>>,
    outgoing: mpsc::Sender<Outgoing>,
    /// Why it is being stopped, once it is: then however it ends, it ends for that.
    ending: Arc<OnceLock<Error>>,
    /// How many states it has said.
    states: watch::Sender<u64>,
    feed: AgentFeed,
    secrets: Secrets,
}

enum Outgoing {
    Line(String),
    /// Not written if nobody waits for the answer by then.
    Letter {
        id: LetterId,
        line: String,
    },
}

impl Life {
    /// Starts the process. It is not ready yet: see [`ready`](Self::ready).
    pub(super) async fn begin(
        launch: &Launch,
        warden: &Warden,
        feed: &AgentFeed,
        meter: &ActivityMeter,
        secrets: &Secrets,
    ) -> Result<Self, LaunchFault> {
        let process = launch.start(warden).await?;
        let (outgoing, to_write) = mpsc::channel(LINES_WAITING_MAX);
        let desk = Desk {
            talk: Arc::new(Mutex::new(Talk::new())),
            outgoing,
            ending: Arc::default(),
            states: watch::Sender::default(),
            feed: feed.clone(),
            secrets: secrets.clone(),
        };
        let (over, is_over) = watch::channel(false);
        let (is_read, read) = oneshot::channel();
        let (cue, mut tasks) = (Arc::new(launch.ready.cue()), JoinSet::new());
        // Nobody else has taken them.
        if let Some((stdin, stdout)) = process.take_stdio() {
            let (writer, exited, over) = (desk.clone(), process.exited(), over.clone());
            tasks.spawn(async move {
                if write(stdin, to_write, &writer.talk).await.is_err()
                    && timeout(EXIT_WITHIN, exited).await.is_err()
                    // It was not the agent that closed it, and may still answer.
                    && writer.ending.get().is_none()
                {
                    writer.close(&absent("its process has closed its input, and runs on"));
                    over.send_replace(true);
                }
            });
            let (name, cue) = (launch.spec.name.clone(), Arc::clone(&cue));
            let ear = Ear { name, desk: desk.clone(), cue, meter: meter.clone() };
            tasks.spawn(listen(stdout, ear, is_read));
        }
        let (exited, last_desk) = (process.exited(), desk.clone());
        tasks.spawn(async move {
            let exit = exited.await;
            let _ = timeout(LAST_LINES_WITHIN, read).await;
            last_desk.close(&ended(&exit));
            over.send_replace(true);
        });
        Ok(Self {
            process,
            desk,
            cue,
            started_at: Instant::now(),
            is_ready: AtomicBool::new(false),
            condemned: Mutex::default(),
            memory: MemoryGauge::default(),
            states_read: Arc::default(),
            is_over,
            _tasks: tasks,
        })
    }

    /// Waits until it is ready, or for why it does not become so.
    pub(super) async fn ready(&self, launch: &Launch) -> Result<(), LaunchFault> {
        launch.ready(&self.process, &self.cue).await?;
        self.is_ready.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Stops it, and returns when nothing is left of it.
    pub(super) async fn stop(&self) {
        // What happened before is told as what it was.
        if self.process.exit().is_none() {
            let _ = self.desk.ending.set(self.condemned().clone().unwrap_or_else(stopped));
        }
        self.process.stop().await;
        // What it said on its way out is being taken in.
        self.over().await;
        self.desk.close(&stopped());
    }

    /// Kills it, and waits for nothing.
    pub(super) fn kill(&self) {
        self.process.kill();
        self.desk.close(&stopped());
    }

    /// Where it is spoken to.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// How it is.
    pub(super) async fn observe(&self) -> Observation {
        if self.process.exit().is_some() {
            // What it said last is being taken in.
            self.over().await;
        }
        if let Some(why) = self.condemned().clone().or_else(|| self.desk.talk().over().cloned()) {
            return Observation::Gone { why };
        }
        if !self.is_ready.load(Ordering::SeqCst) {
            return Observation::Gone { why: absent("its process has not been ready yet") };
        }
        let talk = self.desk.talk();
        Observation::Answered {
            reported: talk.reported(),
            uptime_s: Some(self.started_at.elapsed().as_secs_f64()),
            error_count: Some(talk.lines_dropped()),
        }
    }

    /// What it wants to be given back after its end.
    pub(super) fn state(&self) -> Option<Value> {
        // One that is said in between is read twice.
        self.states_read.store(*self.desk.states.borrow(), Ordering::SeqCst);
        self.desk.talk().state().cloned()
    }

    /// Waits until it has said a state that was not read yet. Keeps nothing of it alive.
    pub(super) fn state_said(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut states, read) = (self.desk.states.subscribe(), Arc::clone(&self.states_read));
        async move {
            if states.wait_for(|said| *said > read.load(Ordering::SeqCst)).await.is_err() {
                // It says nothing any more.
                std::future::pending().await
            }
        }
    }

    /// Waits until it has ended, and all that it said has been taken in.
    pub(super) fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut is_over = self.is_over.clone();
        async move {
            // An error says that the task is gone that would tell, together with the process.
            let _ = is_over.wait_for(|is_over| *is_over).await;
        }
    }

    /// It is to be ended, though it runs.
    pub(super) fn condemn(&self, why: &Error) {
        *self.condemned() = Some(why.clone());
    }

    /// Looks how much memory it takes, in bytes.
    pub(super) async fn look_at_memory(&self) -> Option<u64> {
        self.memory.look_at(&self.process).await
    }

    /// What is known of the process, while it runs.
    pub(super) fn facts(&self) -> Option<ProcessFacts> {
        self.memory.facts_of(&self.process)
    }

    fn condemned(&self) -> MutexGuard<'_, Option<Error>> {
        self.condemned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Desk {
    /// Hands the agent a letter, and waits for its answer. Dropping the future calls it off.
    pub(super) async fn deliver(&self, letter: Letter) -> Answer {
        let gone = || self.over();
        // There has to be room to call it off as well, whatever waits by then.
        let mut room = self.outgoing.reserve_many(2).await.map_err(|_| gone())?;
        let (Some(for_letter), for_cancel) = (room.next(), room.next()) else { return Err(gone()) };
        let answer = self.talk().expect(letter.id)?;
        for_letter.send(Outgoing::Letter { id: letter.id, line: Told::Message(&letter).line() });
        let _called_off = CallOff { desk: self, id: letter.id, room: for_cancel };
        let answer = answer.await.unwrap_or_else(|_| Err(gone()));
        answer.map_err(|error| error.without(&self.secrets))
    }

    /// Gives the agent back what it was about.
    pub(super) async fn restore(&self, state: &Value) -> Result<(), Error> {
        let line = Told::Restore { state }.line();
        self.outgoing.send(Outgoing::Line(line)).await.map_err(|_| self.over())
    }

    /// Whether the agent waits for an answer to a question.
    pub(super) fn has_asks(&self) -> bool {
        self.talk().has_asks()
    }

    /// Hands the agent an answer to its question.
    pub(super) fn answer(&self, ask: &str, body: &Value) -> Result<(), Error> {
        let mut talk = self.talk();
        if !talk.asks(ask) {
            return Err(not_asked(ask));
        }
        let line = Told::Answer { ask, body }.line();
        self.outgoing.try_send(Outgoing::Line(line)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::new(Reason::QueueFull)
                .with_message(
                    "The agent does not read what it is told. Try again, or restart it if that goes on.",
                )
                .with_details(&format!("the agent does not read: {LINES_WAITING_MAX} lines wait for it")),
            mpsc::error::TrySendError::Closed(_) => absent("its process reads no more"),
        })?;
        let update = talk.answer(ask);
        drop(talk);
        self.publish(update);
        Ok(())
    }

    /// Why nobody is there any more.
    fn over(&self) -> Error {
        let over = self.talk().over().or(self.ending.get()).cloned();
        over.unwrap_or_else(|| absent("its process reads no more"))
    }

    /// Nobody is there any more: tells all who wait.
    fn close(&self, why: &Error) {
        let why = self.ending.get().unwrap_or(why).clone().without(&self.secrets);
        let updates = self.talk().end(&why);
        self.publish(updates);
    }

    fn publish(&self, updates: impl IntoIterator<Item = AgentUpdate>) {
        updates.into_iter().for_each(|update| self.feed.publish(update));
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls a letter off when it is dropped, if no answer has come by then.
struct CallOff<'a> {
    desk: &'a Desk,
    id: LetterId,
    room: Option<mpsc::Permit<'a, Outgoing>>,
}

impl Drop for CallOff<'_> {
    fn drop(&mut self) {
        if self.desk.talk().call_off(self.id)
            && let Some(room) = self.room.take()
        {
            room.send(Outgoing::Line(Told::Cancel { id: self.id }.line()));
        }
    }
}

/// Writes what is handed in, in its order. An error says that the agent cannot be told a letter any more; one that reads
/// nothing may well do without all else.
async fn write(
    mut stdin: Input,
    mut to_write: mpsc::Receiver<Outgoing>,
    talk: &Mutex<Talk>,
) -> io::Result<()> {
    while let Some(outgoing) = to_write.recv().await {
        match outgoing {
            Outgoing::Letter { id, line } => {
                let is_wanted = talk.lock().unwrap_or_else(PoisonError::into_inner).note_sent(id);
                if is_wanted {
                    stdin.write_all(line.as_bytes()).await?;
                }
            }
            Outgoing::Line(line) => {
                let _ = stdin.write_all(line.as_bytes()).await;
            }
        }
    }
    Ok(())
}

/// Takes in what the agent says.
struct Ear {
    name: String,
    desk: Desk,
    cue: Arc<Cue>,
    meter: ActivityMeter,
}

async fn listen(mut stdout: ChildStdout, ear: Ear, _is_read: oneshot::Sender<()>) {
    let (mut lines, mut piece) = (Lines::new(LINE_BYTES_MAX), vec![0; PIECE_BYTES]);
    while let Ok(count @ 1..) = stdout.read(&mut piece).await {
        lines.take(&piece[..count], |line| ear.hear(&line));
    }
    lines.end(|line| ear.hear(&line));
}

impl Ear {
    fn hear(&self, line: &Line<'_>) {
        self.meter.progress();
        if self.cue.hears(line) {
            return;
        }
        let said = match line {
            Line::Whole(line) => Said::read(line),
            Line::TooLong => Err(Unreadable::TooLong),
        };
        match said {
            Ok(said) => {
                let is_state = matches!(said, Said::State(_));
                let updates = self.desk.talk().hear(said);
                if is_state {
                    self.desk.states.send_modify(|said| *said += 1);
                }
                self.desk.publish(updates);
            }
            Err(why) => self.drop_line(why),
        }
    }

    /// The line itself is not repeated: nobody knows what is in it.
    fn drop_line(&self, why: Unreadable) {
        let dropped = self.desk.talk().drop_line();
        // A flood of them is told of now and then.
        if dropped.is_power_of_two() {
            tracing::warn!(agent = self.name, %why, dropped, "an agent said a line that was dropped");
        }
    }
}
