//! Reaches an agent through the backend's HTTP endpoints.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;

use crate::agent::activity::ActivityMeter;
use crate::agent::agent_message::AgentMessage;
use crate::agent::driver::{Activity, AgentState, Driver, DriverError};
use crate::agent::health::{Observation, ReportedHealth};
use crate::error::{Error, Reason};
use crate::json::{Json, parse_json};
use crate::queue::QueueHandle;
use crate::request::{Priority, Request, TIMEOUT_MAX};
use crate::standstill::until;
use crate::transport::{FailureKind, FullResponse, Transport, TransportError};

/// Reaches an agent at `/api/agents/{id}/…`.
///
/// Its calls go to the transport directly: health checks must not wait behind people's requests.
pub struct HttpDriver {
    transport: Arc<dyn Transport>,
    id: String,
    timeout: Duration,
    queue: Option<QueueHandle>,
    meter: ActivityMeter,
}

/// The most messages in flight to an agent behind the backend, which answers them in order.
const MESSAGES_IN_FLIGHT_MAX: usize = 1;

/// The answer to a health check. Unknown members are ignored, and only the status is required: a missing figure is no
/// reason for a restart.
#[derive(Deserialize)]
struct HealthResponse {
    status: ReportedHealth,
    #[serde(default)]
    uptime: Json,
    #[serde(default, rename = "errorCount")]
    error_count: Json,
}

impl HttpDriver {
    /// Creates a driver for agent `id`; each call may stand still for `timeout`.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, id: impl Into<String>, timeout: Duration) -> Self {
        Self { transport, id: id.into(), timeout, queue: None, meter: ActivityMeter::default() }
    }

    /// Sets the queue for its messages, which go to `/api/agents/{id}/message`. They are people's requests, and wait
    /// for their turn and for the backend like any other.
    #[must_use]
    pub fn with_queue(mut self, queue: QueueHandle) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Sets the meter that counts the agent's work.
    #[must_use]
    pub fn with_meter(mut self, meter: ActivityMeter) -> Self {
        self.meter = meter;
        self
    }

    async fn post_message(&self, message: AgentMessage) -> Result<Json, Error> {
        let Some(queue) = &self.queue else {
            return Err(Error::new(Reason::NotImplemented).with_details("there is no queue for messages"));
        };
        let path = format!("/api/agents/{}/message", self.id);
        // The message queue decides about repeats; only the backend knows whether it acted.
        let mut request = Request::post(path).json(&message.body).retries(0);
        // Zero means no limit here.
        let timeout = if message.limits.timeout.is_zero() { TIMEOUT_MAX } else { message.limits.timeout };
        request = request.timeout(timeout.min(TIMEOUT_MAX));
        if let Some(deadline) = message.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            request = request.wait_timeout(left.min(TIMEOUT_MAX));
        }
        let response = queue.request(request.build()?).await.map_err(as_expired)?;
        if response.body.is_empty() {
            return Ok(Json::default());
        }
        response.as_json()
    }

    async fn send(
        &self,
        method: Method,
        what: &str,
        body: Option<Json>,
    ) -> Result<FullResponse, DriverError> {
        let path = format!("/api/agents/{}/{what}", self.id);
        // It is sent once: a check without an answer is a miss, and the next one comes in its time.
        let mut builder = Request::builder(method, path).priority(Priority::High).retries(0);
        if let Some(body) = body {
            builder = builder.json(&body);
        }
        let request = builder.build().map_err(DriverError::Failed)?;
        call_backend(&*self.transport, &request, self.timeout).await
    }

    async fn observe(&self) -> Observation {
        match self.send(Method::GET, "health", None).await {
            Ok(answer) => self.read_health(&answer),
            Err(DriverError::Unreachable(why)) => Observation::Unreachable { why },
            Err(DriverError::Failed(why) | DriverError::Unrecoverable(why)) => Observation::Missed { why },
        }
    }

    async fn post_restart(&self) -> Result<(), DriverError> {
        let answer = self.send(Method::POST, "restart", None).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.status_failure("restart", &answer)) }
    }

    /// Writes the state. A backend that keeps no states answers 404 or 405; then there is nothing to write.
    async fn put_state(&self, state: Json) -> Result<(), DriverError> {
        let answer = self.send(Method::PUT, "state", Some(state)).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.status_failure("state", &answer)),
        }
    }

    async fn get_state(&self) -> Result<AgentState, DriverError> {
        let answer = self.send(Method::GET, "state", None).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(AgentState::Unsupported),
            status if status.is_success() => {
                Json::parse(&answer.body).map(AgentState::Known).map_err(|error| {
                    DriverError::Failed(self.parse_error(
                        "the agent's state cannot be passed on",
                        answer.status,
                        &error,
                    ))
                })
            }
            _ => Err(self.status_failure("state", &answer)),
        }
    }

    fn read_health(&self, answer: &FullResponse) -> Observation {
        if !answer.status.is_success() {
            return Observation::Missed { why: self.status_error("health", answer) };
        }
        match parse_json(&answer.body) {
            Ok(HealthResponse { status: reported, uptime, error_count }) => Observation::Answered {
                reported,
                uptime_s: uptime.read().ok(),
                error_count: error_count.read().ok(),
            },
            Err(error) => Observation::Missed {
                why: self.parse_error("the answer is no health report", answer.status, &error),
            },
        }
    }

    fn status_failure(&self, what: &str, answer: &FullResponse) -> DriverError {
        DriverError::Failed(self.status_error(what, answer))
    }

    fn status_error(&self, what: &str, answer: &FullResponse) -> Error {
        let error = Error::from_response(answer.status, &answer.headers, &answer.body)
            .unwrap_or_else(|| Error::new(Reason::BadResponse).with_status(answer.status.as_u16()));
        let details = format!("the backend answered {} to {what}: {}", answer.status, error.log_text());
        self.redacted(error.with_details(&details))
    }

    /// Returns the error for an unreadable answer.
    fn parse_error(&self, what: &str, status: StatusCode, cause: &serde_json::Error) -> Error {
        let details = format!("{what}: {cause}");
        self.redacted(Error::new(Reason::BadResponse).with_status(status.as_u16()).with_details(&details))
    }

    /// Removes the transport's secrets from an error, since a backend may have repeated them.
    fn redacted(&self, error: Error) -> Error {
        error.redacted(&self.transport.secrets())
    }
}

/// Sends a request to the backend directly, once, and waits at most `limit`.
pub(in crate::agent) async fn call_backend(
    transport: &dyn Transport,
    request: &Request,
    limit: Duration,
) -> Result<FullResponse, DriverError> {
    let attempt = transport.collect(request, limit);
    // The transport detects a standstill; this detects an answer that drips for ever.
    match until(Instant::now() + limit, attempt).await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(failure)) if failure.kind != FailureKind::TimedOut => {
            // A backend may have repeated the transport's secrets.
            Err(driver_error(&failure).redacted(&transport.secrets()))
        }
        // Either timeout may be first.
        Some(Err(_)) | None => {
            Err(DriverError::Failed(Error::new(Reason::TimedOut).with_details("no answer in time")))
        }
    }
}

fn driver_error(failure: &TransportError) -> DriverError {
    let error = Error::from(failure);
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

/// Treats a request that waited in the queue for too long, or found no place there, as expired: it was not sent.
fn as_expired(error: Error) -> Error {
    match error.reason {
        Reason::Disconnected | Reason::QueueFull | Reason::Evicted => {
            let details = format!("{}: {}", error.reason, error.log_text());
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

    fn write_state(&self, state: Json) -> BoxFuture<'_, Result<(), DriverError>> {
        self.put_state(state).boxed()
    }

    fn activity(&self) -> Activity {
        self.meter.activity()
    }

    fn messages_in_flight_max(&self) -> usize {
        MESSAGES_IN_FLIGHT_MAX
    }

    fn wait_for_work(&self) -> BoxFuture<'_, ()> {
        self.meter.wait_for_work().boxed()
    }

    fn deliver(&self, message: AgentMessage) -> BoxFuture<'_, Result<Json, Error>> {
        self.post_message(message).boxed()
    }
}

#[cfg(test)]
mod tests;
