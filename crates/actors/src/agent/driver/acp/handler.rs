//! Handles the messages and questions that an agent sends.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_client_protocol::v1::schema::CLIENT_METHOD_NAMES;
use agent_client_protocol::{
    Agent, ConnectionTo, Dispatch, Error as RpcError, HandleDispatchFrom, Handled, Responder,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::as_written::unwrap;
use super::error::AcpError;
use super::options::{AcpLimits, AcpOptions};
use super::session_state::{AskOutcome, AskRejection, PendingQuestion, SessionState};
use super::stdio::TransportObserver;
use crate::agent::{ActivityMeter, AgentUpdate, MessageId, QuestionOutcome, UpdateBroadcast, UpdateKind};
use crate::error::{Secrets, excerpt};
use crate::json::{Json, Members};
use crate::logs::{LogStream, ProcessLog};

/// The state that a connection and its users share.
pub(super) struct SharedConnection {
    state: Mutex<SessionState>,
    pub(super) updates: UpdateBroadcast,
    pub(super) meter: ActivityMeter,
    pub(super) limits: AcpLimits,
    /// Counts questions over all connections of one agent, so that a late answer never meets a newer question.
    pub(super) ask_counter: Arc<AtomicU64>,
    secrets: Secrets,
    log: ProcessLog,
    /// The number of lines that were skipped.
    lines_skipped: AtomicU64,
}

impl SharedConnection {
    pub(super) fn new(updates: UpdateBroadcast, options: &AcpOptions) -> Self {
        Self {
            state: Mutex::default(),
            updates,
            meter: options.meter.clone(),
            limits: options.limits,
            ask_counter: Arc::clone(&options.ask_counter),
            secrets: options.secrets.clone(),
            log: options.log.clone(),
            lines_skipped: AtomicU64::new(0),
        }
    }

    /// Returns the number of lines that were skipped, since they were no messages or could not be read.
    pub(super) fn lines_skipped(&self) -> u64 {
        self.lines_skipped.load(Ordering::Relaxed)
    }

    /// Counts a skipped line, and warns of a flood only now and then.
    fn skip_line(&self, what: &str) {
        let skipped = self.lines_skipped.fetch_add(1, Ordering::Relaxed) + 1;
        if skipped.is_power_of_two() {
            tracing::warn!(skipped, "an agent wrote {what}, which is ignored");
        }
    }

    pub(super) fn lock_state(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock()
    }

    /// Cancels questions that are obsolete, and publishes that.
    pub(super) fn cancel_asks(&self, asks: Vec<(String, PendingQuestion)>) {
        for (name, ask) in asks {
            self.settle_ask(name, ask, AskOutcome::Cancelled);
        }
    }

    pub(super) fn settle_ask(&self, name: String, ask: PendingQuestion, choice: AskOutcome) {
        let (body, outcome) = match &choice {
            AskOutcome::Selected(option) => {
                (json!({ "outcome": "selected", "optionId": option }), QuestionOutcome::Answered)
            }
            AskOutcome::Cancelled => (json!({ "outcome": "cancelled" }), QuestionOutcome::Cancelled),
        };
        let message = ask.message_id;
        ask.settle(choice);
        self.updates.publish(AgentUpdate::settled(name, message, outcome, body));
    }

    fn publish_update(&self, params: &Value) {
        let params = unwrap(params).and_then(|params| Members::parse(params).ok());
        let read = |params: &Members<'_>| Some((params.read::<String>("sessionId")?, params.read("update")?));
        let Some((session, body)): Option<(String, Json)> = params.as_ref().and_then(read) else {
            return skip_empty_update();
        };
        let Ok(update) = Members::parse(body.as_str()) else { return skip_empty_update() };
        let is_message = update.read::<String>("sessionUpdate").as_deref() == Some("agent_message_chunk");
        let text = update.read::<Members<'_>>("content").and_then(|content| content.read::<String>("text"));
        let text = text.as_deref().filter(|_| is_message);
        let belonging = self.lock_state().record_update(&session, text, self.limits.text_bytes_max);
        let kind = if is_message { UpdateKind::Message } else { UpdateKind::Progress };
        self.updates.publish(AgentUpdate {
            message_id: belonging.message_id,
            is_replay: belonging.is_replay,
            ..AgentUpdate::new(kind, body)
        });
    }

    /// Opens a question and publishes it. `responder` sends its outcome, at once or later.
    fn open_ask(
        self: &Arc<Self>,
        params: &Value,
        responder: Responder,
        connection: &ConnectionTo<Agent>,
    ) -> Result<(), RpcError> {
        let Some((session, options, body)) = unwrap(params).and_then(read_question) else {
            return responder
                .respond_with_error(RpcError::invalid_params().data("sessionId and options are needed"));
        };
        let name = format!("a{}", self.ask_counter.fetch_add(1, Ordering::Relaxed) + 1);
        // Published under the lock, so that a question never comes after its end.
        let mut state = self.lock_state();
        let put = state.open_ask(&name, &session, options, self.limits.asks_max);
        if let Ok((message_id, _)) = put {
            let update = AgentUpdate::new(UpdateKind::Ask, body);
            self.updates.publish(AgentUpdate { message_id, ask: Some(name.clone()), ..update });
        }
        drop(state);
        let (message, answered) = match put {
            Ok(put) => put,
            Err(AskRejection::Cancelled) => return responder.respond(outcome_json(AskOutcome::Cancelled)),
            Err(AskRejection::OtherSession) => {
                return responder.respond_with_error(RpcError::invalid_params().data("no such session"));
            }
            Err(AskRejection::TooMany) => {
                let words = format!("{} questions are open already", self.limits.asks_max);
                return responder.respond_with_error(RpcError::internal_error().data(words));
            }
        };
        connection.spawn(Arc::clone(self).await_answer(name, message, responder, answered))
    }

    /// Waits for the answer to a question, or until the agent withdraws it.
    async fn await_answer(
        self: Arc<Self>,
        name: String,
        message: Option<MessageId>,
        responder: Responder,
        answered: oneshot::Receiver<AskOutcome>,
    ) -> Result<(), RpcError> {
        let cancellation = responder.cancellation();
        tokio::select! {
            choice = answered => responder.respond(outcome_json(choice.unwrap_or(AskOutcome::Cancelled))),
            () = cancellation.cancelled() => {
                if self.lock_state().remove_ask(&name).is_some() {
                    let body = json!({ "outcome": "withdrawn" });
                    let outcome = QuestionOutcome::Withdrawn;
                    self.updates.publish(AgentUpdate::settled(name, message, outcome, body));
                }
                responder.respond_with_error(RpcError::request_cancelled())
            }
        }
    }
}

fn skip_empty_update() {
    tracing::warn!("an agent sent a session/update that says nothing, which is ignored");
}

/// Returns a question's session, the ids of its options, and what is published of it.
fn read_question(params: &str) -> Option<(String, Vec<String>, Json)> {
    let params = Members::parse(params).ok()?;
    let options: Vec<Members<'_>> = params.read("options")?;
    let ids: Vec<String> = options.iter().map(|option| option.read("optionId")).collect::<Option<_>>()?;
    let (call, options) = (params.get("toolCall").unwrap_or("null"), params.get("options")?);
    let body = Json::parse(&format!("{{\"toolCall\":{call},\"options\":{options}}}")).ok()?;
    (!ids.is_empty()).then_some((params.read("sessionId")?, ids, body))
}

fn outcome_json(choice: AskOutcome) -> Value {
    match choice {
        AskOutcome::Selected(option) => json!({ "outcome": { "outcome": "selected", "optionId": option } }),
        AskOutcome::Cancelled => json!({ "outcome": { "outcome": "cancelled" } }),
    }
}

impl TransportObserver for SharedConnection {
    fn on_message(&self) {
        self.meter.note_progress();
    }

    fn on_stray_line(&self, line: &str) -> Duration {
        self.skip_line("a line that is no message");
        self.log.push_line(LogStream::Out, line.as_bytes())
    }

    fn on_unreadable_line(&self) {
        self.skip_line("a message that cannot be read");
    }

    fn on_lost_response(&self, why: &str, start: &str) {
        self.skip_line("a response that no request got");
        self.updates.note_lost_reply(why.to_owned(), &self.secrets.redact(start));
    }
}

/// Handles incoming messages, and never waits.
pub(super) struct ClientHandler(pub(super) Arc<SharedConnection>);

impl HandleDispatchFrom<Agent> for ClientHandler {
    async fn handle_dispatch_from(
        &mut self,
        message: Dispatch,
        connection: ConnectionTo<Agent>,
    ) -> Result<Handled<Dispatch>, RpcError> {
        match message {
            Dispatch::Notification(notification) => {
                if notification.method() == CLIENT_METHOD_NAMES.session_update {
                    self.0.publish_update(notification.params());
                }
                Ok(Handled::Yes)
            }
            Dispatch::Request(request, responder) => {
                if request.method() == CLIENT_METHOD_NAMES.session_request_permission {
                    self.0.open_ask(request.params(), responder, &connection)?;
                } else {
                    tracing::info!(
                        method = excerpt(request.method(), 100),
                        "an agent was refused what is not offered"
                    );
                    let method = request.method().to_owned();
                    responder.respond_with_error(RpcError::method_not_found().data(method))?;
                }
                Ok(Handled::Yes)
            }
            response @ Dispatch::Response(..) => Ok(Handled::No { message: response, retry: false }),
        }
    }

    fn describe_chain(&self) -> impl std::fmt::Debug {
        "ClientHandler"
    }
}

/// Settles everything open when the connection ends, however it ends.
pub(super) struct CloseGuard {
    pub(super) shared: Arc<SharedConnection>,
    pub(super) end: tokio::sync::watch::Sender<Option<AcpError>>,
}

impl CloseGuard {
    pub(super) fn set_end(&self, error: AcpError) {
        self.end.send_replace(Some(error));
    }
}

impl Drop for CloseGuard {
    fn drop(&mut self) {
        let open = self.shared.lock_state().take_asks();
        self.shared.cancel_asks(open);
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert(AcpError::Closed);
            is_first
        });
    }
}
