//! What an agent says and asks of its own accord.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_client_protocol::v1::schema::CLIENT_METHOD_NAMES;
use agent_client_protocol::{
    Agent, ConnectionTo, Dispatch, Error as RpcError, HandleDispatchFrom, Handled, Responder,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::desk::{Choice, Desk, NotPut, OpenAsk};
use super::fault::AcpFault;
use super::options::AcpLimits;
use super::pipe::Notices;
use crate::agent::{ActivityMeter, AgentFeed, AgentUpdate, LetterId, UpdateKind};
use crate::error::excerpt;

/// What a connection and those who use it share.
pub(super) struct Shared {
    desk: Mutex<Desk>,
    pub(super) feed: AgentFeed,
    pub(super) meter: ActivityMeter,
    pub(super) limits: AcpLimits,
    /// Counts questions up, over all connections of one agent: an answer to an old one must not meet a new one.
    pub(super) asks: Arc<AtomicU64>,
}

impl Shared {
    pub(super) fn new(
        feed: AgentFeed,
        meter: ActivityMeter,
        limits: AcpLimits,
        asks: Arc<AtomicU64>,
    ) -> Self {
        Self { desk: Mutex::default(), feed, meter, limits, asks }
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles questions that nobody answers any more, for all to see.
    pub(super) fn call_off(&self, asks: Vec<(String, OpenAsk)>) {
        for (name, ask) in asks {
            self.settle(name, ask, Choice::CalledOff);
        }
    }

    pub(super) fn settle(&self, name: String, ask: OpenAsk, choice: Choice) {
        let body = match &choice {
            Choice::Option(option) => json!({ "outcome": "selected", "optionId": option }),
            Choice::CalledOff => json!({ "outcome": "cancelled" }),
        };
        let letter = ask.letter;
        ask.settle(choice);
        self.feed.publish(AgentUpdate {
            letter,
            ask: Some(name),
            ..AgentUpdate::new(UpdateKind::Settled, body)
        });
    }

    fn take_update(&self, params: &Value) {
        let (Some(session), update @ Value::Object(_)) = (params["sessionId"].as_str(), &params["update"])
        else {
            tracing::warn!("an agent sent a session/update that says nothing, which is passed over");
            return;
        };
        let belonging = self.desk().note(session, update, self.limits.text_bytes_max);
        let kind = match update["sessionUpdate"].as_str() {
            Some("agent_message_chunk") => UpdateKind::Message,
            _ => UpdateKind::Progress,
        };
        self.feed.publish(AgentUpdate {
            letter: belonging.letter,
            is_replay: belonging.is_replay,
            ..AgentUpdate::new(kind, update.clone())
        });
    }

    /// Puts a question to whoever listens. What it comes to is told by `responder`, at once or later.
    fn put(
        self: &Arc<Self>,
        params: &Value,
        responder: Responder,
        connection: &ConnectionTo<Agent>,
    ) -> Result<(), RpcError> {
        let option = |option: &Value| option["optionId"].as_str().map(str::to_owned);
        let options: Option<Vec<String>> =
            params["options"].as_array().and_then(|options| options.iter().map(option).collect());
        let (Some(session), Some(options)) =
            (params["sessionId"].as_str(), options.filter(|options| !options.is_empty()))
        else {
            return responder
                .respond_with_error(RpcError::invalid_params().data("sessionId and options are needed"));
        };
        let name = format!("a{}", self.asks.fetch_add(1, Ordering::Relaxed) + 1);
        let put = self.desk().put(&name, session, options, self.limits.asks_max);
        let (letter, answered) = match put {
            Ok(put) => put,
            Err(NotPut::CalledOff) => return responder.respond(outcome(Choice::CalledOff)),
            Err(NotPut::OtherSession) => {
                return responder.respond_with_error(RpcError::invalid_params().data("no such session"));
            }
            Err(NotPut::TooMany) => {
                let words = format!("{} questions are open already", self.limits.asks_max);
                return responder.respond_with_error(RpcError::internal_error().data(words));
            }
        };
        let body = json!({ "toolCall": params["toolCall"], "options": params["options"] });
        connection.spawn(Arc::clone(self).follow(name.clone(), letter, responder, answered))?;
        self.feed.publish(AgentUpdate { letter, ask: Some(name), ..AgentUpdate::new(UpdateKind::Ask, body) });
        Ok(())
    }

    /// Waits for the answer to a question, or until the agent does not ask it any more.
    async fn follow(
        self: Arc<Self>,
        name: String,
        letter: Option<LetterId>,
        responder: Responder,
        answered: oneshot::Receiver<Choice>,
    ) -> Result<(), RpcError> {
        let cancellation = responder.cancellation();
        tokio::select! {
            choice = answered => responder.respond(outcome(choice.unwrap_or(Choice::CalledOff))),
            () = cancellation.cancelled() => {
                if self.desk().withdraw(&name).is_some() {
                    let body = json!({ "outcome": "withdrawn" });
                    self.feed.publish(AgentUpdate {
                        letter,
                        ask: Some(name),
                        ..AgentUpdate::new(UpdateKind::Settled, body)
                    });
                }
                responder.respond_with_error(RpcError::request_cancelled())
            }
        }
    }
}

fn outcome(choice: Choice) -> Value {
    match choice {
        Choice::Option(option) => json!({ "outcome": { "outcome": "selected", "optionId": option } }),
        Choice::CalledOff => json!({ "outcome": { "outcome": "cancelled" } }),
    }
}

impl Notices for Shared {
    fn message(&self) {
        self.meter.progress();
    }

    fn stray(&self, line: &str) {
        // What stands in it may be anything, and so a secret.
        tracing::warn!(bytes = line.len(), "an agent wrote a line that is no message, which is passed over");
    }
}

/// Hears what comes in, and never waits.
pub(super) struct Ears(pub(super) Arc<Shared>);

impl HandleDispatchFrom<Agent> for Ears {
    async fn handle_dispatch_from(
        &mut self,
        message: Dispatch,
        connection: ConnectionTo<Agent>,
    ) -> Result<Handled<Dispatch>, RpcError> {
        match message {
            Dispatch::Notification(notification) => {
                if notification.method() == CLIENT_METHOD_NAMES.session_update {
                    self.0.take_update(notification.params());
                }
                Ok(Handled::Yes)
            }
            Dispatch::Request(request, responder) => {
                if request.method() == CLIENT_METHOD_NAMES.session_request_permission {
                    self.0.put(request.params(), responder, &connection)?;
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
        "Ears"
    }
}

/// Settles all that is open when the connection ends, however it ends.
pub(super) struct Ending {
    pub(super) shared: Arc<Shared>,
    pub(super) end: tokio::sync::watch::Sender<Option<AcpFault>>,
}

impl Ending {
    pub(super) fn tell(&self, fault: AcpFault) {
        self.end.send_replace(Some(fault));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let open = self.shared.desk().take_asks();
        self.shared.call_off(open);
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert(AcpFault::Closed);
            is_first
        });
    }
}
