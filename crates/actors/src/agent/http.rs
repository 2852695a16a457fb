//! Reaches an agent through the backend's HTTP endpoints.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::driver::{AgentState, Driver, DriverError};
use super::health::{Observation, Reported};
use crate::error::{Error, start_of};
use crate::request::{Priority, Request};
use crate::transport::{Answer, FailureKind, Transport, TransportError};

/// Reaches an agent at `/api/agents/{id}/…`.
///
/// Its calls go to the transport directly: an agent's health must not wait behind people's requests.
pub struct HttpDriver {
    transport: Arc<dyn Transport>,
    id: String,
    timeout: Duration,
}

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
        Self { transport, id: id.into(), timeout }
    }

    async fn call(&self, method: Method, what: &str, body: Option<Value>) -> Result<Answer, DriverError> {
        let mut builder =
            Request::builder(method, format!("/api/agents/{}/{what}", self.id)).priority(Priority::High);
        if let Some(body) = body {
            builder = builder.json(&body);
        }
        let request = builder.build().map_err(|error| DriverError::Failed(error.to_string()))?;
        let attempt = self.transport.attempt(&request, self.timeout);
        // The transport minds a standstill; this minds an answer that drips for ever.
        match tokio::time::timeout(self.timeout, attempt).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(driver_error(&failure)),
            Err(_) => Err(DriverError::Failed("no answer in time".to_owned())),
        }
    }

    async fn observe(&self) -> Observation {
        match self.call(Method::GET, "health", None).await {
            Ok(answer) => read_health(&answer),
            Err(DriverError::Unreachable(why)) => Observation::Unreachable { why },
            Err(DriverError::Failed(why)) => Observation::Missed { why },
        }
    }

    async fn post_restart(&self) -> Result<(), DriverError> {
        let answer = self.call(Method::POST, "restart", None).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refused("restart", answer.status)) }
    }

    /// A backend that keeps no state for its agents says so with 404 or 405, and then there is nothing to write.
    async fn put_state(&self, state: Value) -> Result<(), DriverError> {
        let answer = self.call(Method::PUT, "state", Some(state)).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(()),
            status if status.is_success() => Ok(()),
            status => Err(refused("state", status)),
        }
    }

    async fn get_state(&self) -> Result<AgentState, DriverError> {
        let answer = self.call(Method::GET, "state", None).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(AgentState::Unsupported),
            status if status.is_success() => {
                serde_json::from_slice(&answer.body).map(AgentState::Known).map_err(|error| {
                    DriverError::Failed(format!("the agent's state is not JSON: {}", brief(&error)))
                })
            }
            status => Err(refused("state", status)),
        }
    }
}

fn read_health(answer: &Answer) -> Observation {
    if !answer.status.is_success() {
        return Observation::Missed { why: format!("the backend answered {}", answer.status) };
    }
    match serde_json::from_slice(&answer.body) {
        Ok(HealthAnswer { status: reported, uptime, error_count }) => {
            Observation::Answered { reported, uptime_s: uptime.as_f64(), error_count: error_count.as_u64() }
        }
        Err(error) => {
            Observation::Missed { why: format!("the answer is no health report: {}", brief(&error)) }
        }
    }
}

/// Bounded and on one line: the error quotes what the backend wrote.
fn brief(error: &serde_json::Error) -> String {
    start_of(error.to_string().as_bytes())
}

fn refused(what: &str, status: StatusCode) -> DriverError {
    DriverError::Failed(format!("the backend answered {status} to {what}"))
}

fn driver_error(failure: &TransportError) -> DriverError {
    let why = Error::from(failure).message;
    match failure.kind {
        FailureKind::Refused
        | FailureKind::HostNotFound
        | FailureKind::ConnectTimedOut
        | FailureKind::Tls
        | FailureKind::ProxyUnreachable
        | FailureKind::ProxyUnauthenticated
        | FailureKind::ProxyRefused
        | FailureKind::Connect => DriverError::Unreachable(why),
        _ => DriverError::Failed(why),
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
}

#[cfg(test)]
mod tests;
