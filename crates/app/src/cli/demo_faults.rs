//! `mainstay demo crash` and its like: break and heal the backend of the running demo.
//!
//! The fault goes to the backend as a request through the runtime, which knows the way and the token. A runtime that is not
//! that of the demo is left alone: its backend may be anything.

use mainstay_actors::json::Json;
use mainstay_runtime::journal::{millis, millis_text};

use super::args::{DemoFault, FaultRequests};
use super::client::BridgeClient;
use super::error::CliError;
use super::output::Output;
use crate::backend::Fault;
use crate::bridge::{AgentAction, BridgeAgentCommand, BridgeCommand, RequestCommand};
use crate::{DataDir, Priority, Reason};

/// The endpoint of the embedded backend.
const FAULT_PATH: &str = "/_fault";
/// The longest wait for the backend, in milliseconds.
const WAIT_MS: u64 = 10_000;

/// Injects a fault into the backend of the runtime that keeps `data`.
pub(super) async fn inject(out: &mut Output, fault: DemoFault, data: DataDir) -> Result<(), CliError> {
    let is_demo = data.read_control()?.is_none_or(|control| control.demo);
    let mut client = BridgeClient::connect(data).await?;
    if !is_demo {
        let message = "this runtime is not that of `mainstay demo`, and its backend is left alone";
        return Err(CliError::failed(Reason::InvalidRequest, message));
    }
    let (fault, done) = read(fault);
    if let Fault::CrashAgent { agent } | Fault::HangAgent { agent } | Fault::HealAgent { agent } = &fault {
        // The runtime names the nearest one if there is none of that id.
        let show = BridgeAgentCommand { agent: agent.clone(), action: AgentAction::Show {} };
        client.request(BridgeCommand::Agent(show)).await?;
    }
    let request = RequestCommand {
        body: Some(Json::from_serialize(&fault).map_err(CliError::internal)?),
        priority: Priority::High,
        timeout_ms: Some(WAIT_MS),
        wait_timeout_ms: Some(WAIT_MS),
        retries: Some(0),
        ..RequestCommand::new("POST", FAULT_PATH)
    };
    client.request(BridgeCommand::Request(Box::new(request))).await?;
    out.line(&done)
}

/// Returns the fault, and what it does in words.
fn read(fault: DemoFault) -> (Fault, String) {
    let for_a_while = |ms, what: &str, end: &str| match ms {
        0 => end.to_owned(),
        ms => format!("{what} for {}", millis_text(ms)),
    };
    let hits = |requests: &FaultRequests| match requests.times {
        1 => format!("the next request whose path begins with {}", requests.path),
        times => format!("the next {times} requests whose paths begin with {}", requests.path),
    };
    match fault {
        DemoFault::Crash { agent } => {
            let done = format!("{agent} has crashed: `mainstay agents` shows how it comes back");
            (Fault::CrashAgent { agent }, done)
        }
        DemoFault::Hang { agent } => {
            let done = format!("{agent} hangs until it is restarted or healed");
            (Fault::HangAgent { agent }, done)
        }
        DemoFault::Heal { agent } => {
            let done = format!("{agent} is healthy again");
            (Fault::HealAgent { agent }, done)
        }
        DemoFault::Drop => (Fault::DropWs, "every WebSocket is cut".to_owned()),
        DemoFault::Refuse { during } => {
            let for_ms = millis(during);
            let done = for_a_while(for_ms, "WebSockets are refused", "WebSockets are accepted again");
            (Fault::RefuseWs { for_ms }, done)
        }
        DemoFault::HalfOpen { during } => {
            let for_ms = millis(during);
            let done = for_a_while(for_ms, "WebSockets are open and silent", "WebSockets are served again");
            (Fault::HalfOpenWs { for_ms }, done)
        }
        DemoFault::Fail { requests, status, retry_after } => {
            let done = format!("{} will be answered with {status}", hits(&requests));
            let FaultRequests { path, times } = requests;
            let retry_after = retry_after.map(|after| after.as_secs());
            (Fault::Status { path, status, times, retry_after }, done)
        }
        DemoFault::Slow { requests, delay } => {
            let ms = millis(delay);
            let done = format!("{} will wait for {}", hits(&requests), millis_text(ms));
            let FaultRequests { path, times } = requests;
            (Fault::Slow { path, ms, times }, done)
        }
        DemoFault::Reset { requests } => {
            let done = format!("{} will be reset", hits(&requests));
            let FaultRequests { path, times } = requests;
            (Fault::Reset { path, times }, done)
        }
    }
}
