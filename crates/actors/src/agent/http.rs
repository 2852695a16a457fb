//! Reaches an agent through the backend's HTTP endpoints.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::activity::ActivityMeter;
use super::driver::{Activity, AgentState, Driver, DriverError};
use super::health::{Observation, Reported};
use super::letter::Letter;
use crate::error::{Error, Reason, start_of};
use crate::queue::QueueHandle;
use crate::request::{Priority, Request, TIMEOUT_MAX};
use crate::transport::{Answer, FailureKind, Transport, TransportError};

/// Reaches an agent at `/api/agents/{id}/…`.
///
/// Its calls go to the transport directly: an agent's health must not wait behind people's requests.
pub struct HttpDriver {
    transport: Arc<dyn Transport>,
    id: String,
    timeout: Duration,
    queue: Option<QueueHandle>,
    meter: ActivityMeter,
}

/// How long an answer to a letter may stand still: agents think for a while.
const LETTER_TIMEOUT: Duration = Duration::from_secs(600);
/// How many letters an agent behind the backend has at once: they are answered in their order.
const LETTERS_MAX: usize = 1;

/// A health answer. Unknown members are ignored, and all but the status may be missing or unreadable: nobody is
/// restarted over a figure.
#[derive(Deserialize)]
struct HealthAnswer {
    status: Reported,
    #[serde(default)]
    uptime: Value,
    #[serde(default, rename = "errorCount")]
    error_count: Value,
}

impl HttpDriver {
    /// Reaches agent `id`; each call may stand still for `timeout`.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, id: impl Into<String>, timeout: Duration) -> Self {
        Self { transport, id: id.into(), timeout, queue: None, meter: ActivityMeter::default() }
    }

    /// With the queue that its letters go through, at `/api/agents/{id}/message`: they are people's requests, and wait
    /// for their turn and for the backend like any other.
    #[must_use]
    pub fn with_queue(mut self, queue: QueueHandle) -> Self {
        self.queue = Some(queue);
        self
    }

    /// With what counts the requests that the agent is working on.
    #[must_use]
    pub fn with_meter(mut self, meter: ActivityMeter) -> Self {
        self.meter = meter;
        self
    }

    async fn post_letter(&self, letter: Letter) -> Result<Value, Error> {
        let Some(queue) = &self.queue else {
            return Err(Error::new(Reason::NotImplemented).with_details("no queue is there for letters"));
        };
        let path = format!("/api/agents/{}/message", self.id);
        // Whether it may be repeated is decided where letters are; the backend alone knows whether it did act.
        let mut request = Request::post(path).json(&letter.body).retries(0).timeout(LETTER_TIMEOUT);
        if let Some(deadline) = letter.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            request = request.wait_timeout(left.min(TIMEOUT_MAX));
        }
        let response = queue.request(request.build()?).await.map_err(never_sent)?;
        if response.body.is_empty() {
            return Ok(Value::Null);
        }
        response.json()
    }

    async fn call(&self, method: Method, what: &str, body: Option<Value>) -> Result<Answer, DriverError> {
        let mut builder =
            Request::builder(method, format!("/api/agents/{}/{what}", self.id)).priority(Priority::High);
        if let Some(body) = body {
            builder = builder.json(&body);
        }
        let request = builder.build().map_err(DriverError::Failed)?;
        let attempt = self.transport.attempt(&request, self.timeout);
        // The transport minds a standstill; this minds an answer that drips for ever.
        match tokio::time::timeout(self.timeout, attempt).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) if failure.kind != FailureKind::TimedOut => Err(self.driver_error(&failure)),
            // Either may be first.
            Ok(Err(_)) | Err(_) => {
                Err(DriverError::Failed(Error::new(Reason::TimedOut).with_details("no answer in time")))
            }
        }
    }

    async fn observe(&self) -> Observation {
        match self.call(Method::GET, "health", None).await {
            Ok(answer) => self.read_health(&answer),
            Err(DriverError::Unreachable(why)) => Observation::Unreachable { why },
            Err(DriverError::Failed(why)) => Observation::Missed { why },
        }
    }

    async fn post_restart(&self) -> Result<(), DriverError> {
        let answer = self.call(Method::POST, "restart", None).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refused("restart", &answer)) }
    }

    /// A backend that keeps no state for its agents says so with 404 or 405, and then there is nothing to write.
    async fn put_state(&self, state: Value) -> Result<(), DriverError> {
        let answer = self.call(Method::PUT, "state", Some(state)).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.refused("state", &answer)),
        }
    }

    async fn get_state(&self) -> Result<AgentState, DriverError> {
        let answer = self.call(Method::GET, "state", None).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(AgentState::Unsupported),
            status if status.is_success() => {
                serde_json::from_slice(&answer.body).map(AgentState::Known).map_err(|error| {
                    DriverError::Failed(self.unreadable(
                        "the agent's state is not JSON",
                        answer.status,
                        &error,
                    ))
                })
            }
            _ => Err(self.refused("state", &answer)),
        }
    }

    fn read_health(&self, answer: &Answer) -> Observation {
        if !answer.status.is_success() {
            return Observation::Missed { why: self.refusal("health", answer) };
        }
        match serde_json::from_slice(&answer.body) {
            Ok(HealthAnswer { status: reported, uptime, error_count }) => Observation::Answered {
                reported,
                uptime_s: uptime.as_f64(),
                error_count: error_count.as_u64(),
            },
            Err(error) => Observation::Missed {
                why: self.unreadable("the answer is no health report", answer.status, &error),
            },
        }
    }

    fn refused(&self, what: &str, answer: &Answer) -> DriverError {
        DriverError::Failed(self.refusal(what, answer))
    }

    fn refusal(&self, what: &str, answer: &Answer) -> Error {
        let error = Error::of_answer(answer.status, &answer.headers, &answer.body)
            .unwrap_or_else(|| Error::new(Reason::BadResponse).with_status(answer.status.as_u16()));
        let details = format!("the backend answered {} to {what}: {}", answer.status, error.for_log());
        self.discreet(error.with_details(&details))
    }

    /// The cause is kept bounded and on one line: it quotes what the backend wrote.
    fn unreadable(&self, what: &str, status: StatusCode, cause: &serde_json::Error) -> Error {
        let details = format!("{what}: {}", start_of(cause.to_string().as_bytes()));
        self.discreet(Error::new(Reason::BadResponse).with_status(status.as_u16()).with_details(&details))
    }

    fn driver_error(&self, failure: &TransportError) -> DriverError {
        let error = self.discreet(Error::from(failure));
        match failure.kind {
            FailureKind::Refused
            | FailureKind::HostNotFound
            | FailureKind::ConnectTimedOut
            | FailureKind::Tls
            | FailureKind::ProxyUnreachable
            | FailureKind::ProxyUnauthenticated
            | FailureKind::ProxyRefused
            | FailureKind::ProxyDenied
            | FailureKind::Connect => DriverError::Unreachable(error),
            _ => DriverError::Failed(error),
        }
    }

    /// Without what the transport sent along: a backend may have repeated it.
    fn discreet(&self, error: Error) -> Error {
        error.without(&self.transport.secrets())
    }
}

/// A request that waited in the queue for too long was not sent, whatever it waited for: it is tried once.
fn never_sent(error: Error) -> Error {
    match error.reason {
        Reason::Disconnected => {
            let details = format!("{}: {}", error.reason, error.for_log());
            Error::new(Reason::Expired).with_details(&details)
        }
        _ => error,
    }
}

impl Driver for HttpDriver {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn check(&self) -> BoxFuture<'_, Observation> {
        self.observe().boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.post_restart().boxed()
    }

    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        self.get_state().boxed()
    }

    fn write_state(&self, state: Value) -> BoxFuture<'_, Result<(), DriverError>> {
        self.put_state(state).boxed()
    }

    fn activity(&self) -> Activity {
        self.meter.activity()
    }

    fn letters_max(&self) -> usize {
        LETTERS_MAX
    }

    fn work_begun(&self) -> BoxFuture<'_, ()> {
        self.meter.begun().boxed()
    }

    fn deliver(&self, letter: Letter) -> BoxFuture<'_, Result<Value, Error>> {
        self.post_letter(letter).boxed()
    }
}

#[cfg(test)]
mod tests;
