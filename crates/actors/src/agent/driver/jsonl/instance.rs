//! An instance of an agent: its process, from its start to its end.

use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::codec::{IncomingLine, LINE_BYTES_MAX, OutgoingLine, ReplyTarget, UnreadableLine, line_start};
use super::conversation::{Conversation, MessageResult};
use crate::agent::activity::ActivityMeter;
use crate::agent::agent_message::{AgentMessage, MessageId};
use crate::agent::driver::process::errors::{exited_error, not_running_error, stopped_error};
use crate::agent::driver::process::{EXIT_TIMEOUT, Instance, ManagedProcess, ProcessSetup};
use crate::agent::driver::unknown_ask;
use crate::agent::health::Observation;
use crate::agent::updates::{AgentUpdate, UpdateBroadcast};
use crate::error::{Error, Reason, Secrets};
use crate::json::Json;
use crate::logs::{LogStream, ProcessLog};
use crate::process::{
    Launch, LaunchError, LineSplitter, LoggedStdout, OutputLine, ProcessStdin, ReadySignal, pause,
};

/// The most lines that wait for the agent to read them; senders of more wait too.
const LINES_WAITING_MAX: usize = 64;

/// The time for which the end of an agent waits for the end of its output, if another process keeps that open. What
/// the agent itself wrote is in the pipe by then.
const LAST_LINES_TIMEOUT: Duration = Duration::from_millis(500);

/// The size of one read of its output.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// A process and the conversation with it. When this is dropped, the process is killed with all that it started.
pub(super) struct JsonlInstance {
    managed: ManagedProcess,
    conversation: ConversationHandle,
    is_ready: AtomicBool,
    /// The number of reported states at the last read.
    states_read: Arc<AtomicU64>,
    /// True if the process has ended and its output has been read; or its input has ended.
    is_ended: watch::Receiver<bool>,
    /// Owns the tasks.
    _tasks: JoinSet<()>,
}

/// Sends lines to the agent and receives answers. Does not keep the process alive.
#[derive(Clone)]
pub(super) struct ConversationHandle {
    conversation: Arc<Mutex<Conversation>>,
    message_sent: Arc<Notify>,
    stdin_queue: mpsc::Sender<StdinItem>,
    /// The reason of a requested stop. Once set, it explains the end however the process exits.
    stop_reason: Arc<OnceLock<Error>>,
    /// The number of reported states.
    states_reported: watch::Sender<u64>,
    /// The number of signs of life.
    pongs: watch::Sender<u64>,
    updates: UpdateBroadcast,
    secrets: Secrets,
}

enum StdinItem {
    Line(String),
    /// Skipped if no caller waits for the answer by then.
    Message {
        id: MessageId,
        line: String,
    },
}

impl JsonlInstance {
    /// Starts the process, which is not ready before [`wait_ready`](Self::wait_ready) returns.
    pub(super) async fn start(setup: &ProcessSetup, meter: &ActivityMeter) -> Result<Self, LaunchError> {
        let ProcessSetup { launch, updates, .. } = setup;
        let managed = ManagedProcess::start(setup).await?;
        let process = managed.process();
        let (outgoing, to_write) = mpsc::channel(LINES_WAITING_MAX);
        let conversation = ConversationHandle {
            conversation: Arc::new(Mutex::new(Conversation::new())),
            message_sent: Arc::default(),
            stdin_queue: outgoing,
            stop_reason: Arc::clone(managed.stop_reason()),
            states_reported: watch::Sender::default(),
            pongs: watch::Sender::default(),
            updates: updates.clone(),
            secrets: launch.spec.known_secrets(),
        };
        let (ended, is_ended) = watch::channel(false);
        let (is_read, read) = oneshot::channel();
        let output_closed = read.map(drop).shared();
        let mut tasks = JoinSet::new();
        // No other code takes them.
        if let Some((stdin, stdout)) = process.take_logged_stdio() {
            let (writer, exited, ended) = (conversation.clone(), process.exited(), ended.clone());
            let output_closed = output_closed.clone();
            tasks.spawn(async move {
                // Its input stays open until the reason is known: an agent whose input ends may exit.
                let mut writing = std::pin::pin!(write_stdin(stdin, to_write, &writer));
                let why = tokio::select! {
                    () = &mut writing => "its process has closed its input, and runs on",
                    () = writer.wait_for_lost_answer(output_closed) => {
                        "its process has closed its output, and runs on"
                    }
                };
                if timeout(EXIT_TIMEOUT, exited).await.is_err()
                    // The stop closed it, and the agent may still answer.
                    && writer.stop_reason.get().is_none()
                {
                    writer.close(&not_running_error(why));
                    ended.send_replace(true);
                }
            });
            let reader = StdoutReader {
                name: launch.spec.name.clone(),
                conversation: conversation.clone(),
                ready_signal: Arc::clone(process.ready_signal()),
                meter: meter.clone(),
                log: launch.spec.log.clone(),
            };
            tasks.spawn(read_stdout(stdout, reader, is_read));
        }
        let (exited, last_conversation) = (process.exited(), conversation.clone());
        tasks.spawn(async move {
            let exit = exited.await;
            let _ = timeout(LAST_LINES_TIMEOUT, output_closed).await;
            last_conversation.close(&exited_error(&exit));
            ended.send_replace(true);
        });
        Ok(Self {
            managed,
            conversation,
            is_ready: AtomicBool::new(false),
            states_read: Arc::default(),
            is_ended,
            _tasks: tasks,
        })
    }

    /// Waits until it is ready, or returns why it failed.
    pub(super) async fn wait_ready(&self, launch: &Launch) -> Result<(), LaunchError> {
        launch.wait_until_ready(self.managed.process()).await?;
        self.is_ready.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Returns the conversation.
    pub(super) fn conversation(&self) -> &ConversationHandle {
        &self.conversation
    }

    /// Returns the state that it last reported.
    pub(super) fn state(&self) -> Option<Json> {
        // A state that is reported in between is read twice.
        self.states_read.store(*self.conversation.states_reported.borrow(), Ordering::SeqCst);
        self.conversation.lock().state().cloned()
    }

    /// Waits until it has reported a state that was not read yet. Keeps nothing of it alive.
    pub(super) fn wait_for_state(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut states, read) =
            (self.conversation.states_reported.subscribe(), Arc::clone(&self.states_read));
        async move {
            if states.wait_for(|count| *count > read.load(Ordering::SeqCst)).await.is_err() {
                // It reports no more states.
                std::future::pending().await
            }
        }
    }
}

impl Instance for JsonlInstance {
    fn managed(&self) -> &ManagedProcess {
        &self.managed
    }

    async fn observe(&self) -> Observation {
        if self.managed.process().exit().is_some() {
            // Its last output is read.
            self.ended().await;
        }
        let kill_reason = self.managed.kill_reason();
        if let Some(why) = kill_reason.or_else(|| self.conversation.lock().end_reason().cloned()) {
            return Observation::Exited { why };
        }
        if !self.is_ready.load(Ordering::SeqCst) {
            return Observation::Exited { why: not_running_error("its process has not been ready yet") };
        }
        let conversation = self.conversation.lock();
        Observation::Answered {
            reported: conversation.reported(),
            uptime_s: Some(self.managed.uptime_s()),
            error_count: Some(conversation.lines_dropped()),
        }
    }

    async fn ping(&self) {
        self.conversation.ping().await;
    }

    /// Resolves when the process has ended and its output has been read.
    fn ended(&self) -> BoxFuture<'static, ()> {
        let mut is_ended = self.is_ended.clone();
        async move {
            // An error says that the sending task is gone, together with the process.
            let _ = is_ended.wait_for(|is_ended| *is_ended).await;
        }
        .boxed()
    }

    async fn stop(&self) {
        // An end before the stop keeps its own reason.
        if self.managed.process().exit().is_none() {
            self.managed.note_stop();
        }
        self.managed.process().stop().await;
        // Its last output is read.
        self.ended().await;
        self.conversation.close(&stopped_error());
    }

    fn kill(&self) {
        self.managed.process().kill();
        self.conversation.close(&stopped_error());
    }
}

impl Drop for JsonlInstance {
    fn drop(&mut self) {
        self.kill();
    }
}

impl ConversationHandle {
    /// Sends the agent a message, and waits for its answer. Dropping the future cancels it.
    pub(super) async fn deliver(&self, message: AgentMessage) -> MessageResult {
        let end_error = || self.end_error();
        // Room for its cancellation is reserved too, so that it never waits.
        let mut room = self.stdin_queue.reserve_many(2).await.map_err(|_| end_error())?;
        let (Some(for_message), for_cancel) = (room.next(), room.next()) else { return Err(end_error()) };
        let answer = self.lock().register_reply(message.id)?;
        for_message
            .send(StdinItem::Message { id: message.id, line: OutgoingLine::Message(&message).to_line() });
        let _cancel_on_drop = CancelMessageOnDrop { conversation: self, id: message.id, permit: for_cancel };
        let answer = answer.await.unwrap_or_else(|_| Err(end_error()));
        answer.map_err(|error| error.redacted(&self.secrets))
    }

    /// Sends the agent its state to restore.
    pub(super) async fn restore(&self, state: &Json) -> Result<(), Error> {
        let line = OutgoingLine::Restore { state }.to_line();
        self.stdin_queue.send(StdinItem::Line(line)).await.map_err(|_| self.end_error())
    }

    /// Answers a question of the agent.
    pub(super) fn answer(&self, ask: &str, body: &Json) -> Result<(), Error> {
        let mut conversation = self.lock();
        if !conversation.is_open(ask) {
            return Err(unknown_ask(ask));
        }
        let line = OutgoingLine::Answer { ask, body }.to_line();
        self.stdin_queue.try_send(StdinItem::Line(line)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::new(Reason::QueueFull)
                .with_message("The agent does not read its input. Try again, or restart it if that persists.")
                .with_details(&format!("the agent does not read: {LINES_WAITING_MAX} lines wait for it")),
            mpsc::error::TrySendError::Closed(_) => not_running_error("its process reads no more"),
        })?;
        self.publish(conversation.close_ask(ask));
        Ok(())
    }

    /// Resolves when the agent has a message, and no output any more in which to answer.
    async fn wait_for_lost_answer(&self, output_closed: impl Future<Output = ()>) {
        output_closed.await;
        loop {
            let mut sent = std::pin::pin!(self.message_sent.notified());
            // Enabled before the check, so that no message is missed.
            sent.as_mut().enable();
            if self.lock().has_sent_messages() {
                return;
            }
            sent.await;
        }
    }

    /// Asks for a sign of life, and waits for it.
    async fn ping(&self) {
        let mut pongs = self.pongs.subscribe();
        let line = OutgoingLine::Ping {}.to_line();
        // An agent that does not read its input gives no sign of life.
        if self.stdin_queue.send(StdinItem::Line(line)).await.is_err() || pongs.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Returns the error for a process that has ended.
    fn end_error(&self) -> Error {
        let end_reason = self.lock().end_reason().or(self.stop_reason.get()).cloned();
        end_reason.unwrap_or_else(|| not_running_error("its process reads no more"))
    }

    /// Ends the conversation and fails all callers.
    fn close(&self, why: &Error) {
        let why = self.stop_reason.get().unwrap_or(why).clone().redacted(&self.secrets);
        let mut conversation = self.lock();
        self.publish(conversation.end(&why));
    }

    /// Publishes updates. The conversation is locked meanwhile, so that a question never comes after its end.
    fn publish(&self, updates: impl IntoIterator<Item = AgentUpdate>) {
        updates.into_iter().for_each(|update| self.updates.publish(update));
    }

    fn lock(&self) -> MutexGuard<'_, Conversation> {
        self.conversation.lock()
    }
}

/// Cancels a message when dropped, if no answer has come by then.
struct CancelMessageOnDrop<'a> {
    conversation: &'a ConversationHandle,
    id: MessageId,
    permit: Option<mpsc::Permit<'a, StdinItem>>,
}

impl Drop for CancelMessageOnDrop<'_> {
    fn drop(&mut self) {
        if self.conversation.lock().cancel(self.id)
            && let Some(room) = self.permit.take()
        {
            room.send(StdinItem::Line(OutgoingLine::Cancel { id: self.id }.to_line()));
        }
    }
}

/// Writes queued lines in order. Returns once a message cannot be written any more; an agent that does not read may
/// well need nothing else.
async fn write_stdin(
    mut stdin: ProcessStdin,
    mut to_write: mpsc::Receiver<StdinItem>,
    conversation: &ConversationHandle,
) {
    while let Some(outgoing) = to_write.recv().await {
        match outgoing {
            StdinItem::Message { id, line } => {
                let is_wanted = conversation.lock().mark_sent(id);
                if is_wanted {
                    conversation.message_sent.notify_waiters();
                    if stdin.write_all(line.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
            StdinItem::Line(line) => {
                let _ = stdin.write_all(line.as_bytes()).await;
            }
        }
    }
    // The instance is gone, and with it this task.
    std::future::pending().await
}

/// Reads the agent's output.
struct StdoutReader {
    name: String,
    conversation: ConversationHandle,
    ready_signal: Arc<ReadySignal>,
    meter: ActivityMeter,
    /// Gets the lines that are no part of the conversation.
    log: ProcessLog,
}

async fn read_stdout(mut stdout: LoggedStdout, reader: StdoutReader, _is_read: oneshot::Sender<()>) {
    let (mut lines, mut buffer) = (LineSplitter::new(LINE_BYTES_MAX), vec![0; READ_BUFFER_BYTES]);
    while let Ok(count @ 1..) = stdout.read(&mut buffer).await {
        let mut flood_pause = Duration::ZERO;
        lines.push(&buffer[..count], |line| flood_pause += reader.handle_line(&line));
        pause(flood_pause).await;
    }
    lines.finish(|line| {
        let _ = reader.handle_line(&line);
    });
}

impl StdoutReader {
    /// Handles a line, and returns the pause after it, which is not zero in a flood of lines for the log.
    fn handle_line(&self, line: &OutputLine<'_>) -> Duration {
        let mut parsed = IncomingLine::parse(line);
        if matches!(parsed, Err(_) | Ok(IncomingLine::Message(_)))
            && let Some(reply @ IncomingLine::Reply { id, .. }) = IncomingLine::reply_within(line)
            && self.conversation.lock().find_reply_fault(id).is_none()
        {
            parsed = Ok(reply);
        }
        if let Ok(IncomingLine::Pong) = parsed {
            // An agent that hangs in its work may still answer pings.
            self.conversation.pongs.send_modify(|count| *count += 1);
            return Duration::ZERO;
        }
        if self.ready_signal.observe_line(line) {
            return self.log_line(line);
        }
        match parsed {
            Ok(incoming) => {
                if incoming.is_progress() {
                    self.meter.note_progress();
                }
                let is_state = matches!(incoming, IncomingLine::State(_));
                let mut conversation = self.conversation.lock();
                if let IncomingLine::Reply { id, .. } = incoming
                    && let Some(why) = conversation.find_reply_fault(id)
                {
                    let (reply_to, start) = (ReplyTarget::Message(id), line_start(line));
                    self.drop_line(&mut conversation, &UnreadableLine { why, reply_to, start });
                    return Duration::ZERO;
                }
                self.conversation.publish(conversation.handle(incoming));
                drop(conversation);
                if is_state {
                    self.conversation.states_reported.send_modify(|count| *count += 1);
                }
                Duration::ZERO
            }
            Err(unreadable) => {
                self.drop_line(&mut self.conversation.lock(), &unreadable);
                match unreadable.reply_to {
                    ReplyTarget::None => self.log_line(line),
                    _ => Duration::ZERO,
                }
            }
        }
    }

    fn log_line(&self, line: &OutputLine<'_>) -> Duration {
        match line {
            OutputLine::Complete(line) => self.log.push_line(LogStream::Out, line),
            OutputLine::TooLong { head, .. } => self.log.push_cut_line(LogStream::Out, head),
        }
    }

    /// Counts a line, and fails the messages that it may have been to answer.
    fn drop_line(&self, conversation: &mut Conversation, line: &UnreadableLine) {
        self.conversation.publish(conversation.fail_reply(line));
        let (dropped, why) = (conversation.count_dropped_line(), &line.why);
        if line.reply_to != ReplyTarget::None {
            let start = self.conversation.secrets.redact(&line.start);
            self.conversation.updates.note_lost_reply(why.to_string(), &start);
        } else if dropped.is_power_of_two() {
            // Logs a flood of them only now and then.
            tracing::warn!(agent = self.name, %why, dropped, "a line of an agent was dropped");
        }
    }
}
