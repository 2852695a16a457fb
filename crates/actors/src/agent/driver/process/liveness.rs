//! Finds out whether an agent's process does anything: a process may run, and yet hang.

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::{millis, millis_text};
use tokio::time::timeout;

use crate::agent::driver::DriverError;
use crate::agent::driver::http::call_backend;
use crate::agent::health::{Observation, is_break};
use crate::error::{Error, Reason};
use crate::process::{Probe, ProbeResult};
use crate::request::Request;
use crate::transport::Transport;

/// The sign of life that a check of an agent's process asks for, beside the process itself.
#[derive(Clone, Default)]
pub enum HealthProbe {
    /// The process itself: if it runs and is not suspended, it is alive.
    #[default]
    None,
    /// An answer to a ping over the conversation.
    Ping,
    /// An answer of a server of the agent.
    Server(Probe),
    /// A good answer of the backend. A backend that is away says nothing about the agent.
    Backend {
        /// The transport that reaches it.
        transport: Arc<dyn Transport>,
        /// The path that is asked.
        path: String,
    },
}

/// Returns the observation of a process that runs and gives no sign of life within `limit`; `None` if it gives one.
/// `ping` resolves when the agent answers a ping.
pub(super) async fn find_silence(
    health: &HealthProbe,
    limit: Duration,
    ping: impl Future<Output = ()>,
) -> Option<Observation> {
    let words = match health {
        HealthProbe::None => return None,
        HealthProbe::Ping => {
            timeout(limit, ping).await.err()?;
            "it answered no ping"
        }
        HealthProbe::Server(probe) => match timeout(limit, probe(limit)).await {
            Ok(ProbeResult::Ready) => return None,
            Ok(ProbeResult::NoListener) => "its server does not accept connections",
            Ok(ProbeResult::NotReady) => "its server does not answer with success",
            Err(_) => "its server does not answer",
        },
        HealthProbe::Backend { transport, path } => match ask_backend(&**transport, path, limit).await {
            Ok(true) => return None,
            Ok(false) => "the backend does not answer with success",
            Err(DriverError::Unreachable(why)) => return Some(Observation::Unreachable { why }),
            Err(DriverError::Failed(why)) if is_break(&why) => {
                return Some(Observation::Unreachable { why });
            }
            Err(DriverError::Failed(why)) if why.is_token_renewed() => {
                return Some(Observation::Missed { why });
            }
            Err(_) => "the backend does not answer",
        },
    };
    Some(Observation::Missed { why: silent_error(&format!("{words} within {}", millis_text(millis(limit)))) })
}

/// Returns whether the backend answers with success at `path`.
async fn ask_backend(transport: &dyn Transport, path: &str, limit: Duration) -> Result<bool, DriverError> {
    let request = Request::get(path).retries(0).build().map_err(DriverError::Failed)?;
    call_backend(transport, &request, limit).await.map(|answer| answer.status.is_success())
}

pub(super) fn suspended_error() -> Error {
    Error::new(Reason::AgentUnhealthy).with_message(
        "The agent's process is stopped by a signal or a debugger. Restart the agent, or let its process continue.",
    )
}

fn silent_error(details: &str) -> Error {
    Error::new(Reason::TimedOut)
        .with_message("The agent runs, and gives no sign of life. Restart it if that goes on.")
        .with_details(details)
}
