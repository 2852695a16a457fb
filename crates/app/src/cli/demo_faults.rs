//! `mainstay demo crash` and its like: break and heal the backend of the running demo.
//!
//! The fault goes to the backend as a request through the runtime, which knows the way and the token. A runtime that is not
//! that of the demo is left alone: its backend may be anything.

use std::time::Duration;

use mainstay_actors::agent::AgentStatus;
use mainstay_actors::json::Json;
use mainstay_runtime::journal::{millis, millis_text};
use tokio::time::{MissedTickBehavior, interval};

use super::args::{DemoFault, FaultRequests};
use super::client::BridgeClient;
use super::error::CliError;
use super::output::Output;
use crate::backend::Fault;
use crate::bridge::{AgentAction, BridgeAgentCommand, BridgeCommand, RequestCommand};
use crate::{AgentView, DataDir, Priority, Reason};

/// The endpoint of the embedded backend.
const FAULT_PATH: &str = "/_fault";
/// The longest wait for the backend, in milliseconds.
const WAIT_MS: u64 = 10_000;
/// The time between two looks at an agent that is to be given up.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Injects a fault into the backend of the runtime that keeps `data`.
pub(super) async fn inject(out: &mut Output, fault: DemoFault, data: DataDir) -> Result<(), CliError> {
    let is_demo = data.read_control()?.is_none_or(|control| control.demo);
    let mut client = BridgeClient::connect(data).await?;
    if !is_demo {
        let message = "this runtime is not that of `mainstay demo`, and its backend is left alone";
        return Err(CliError::failed(Reason::InvalidRequest, message));
    }
    let is_repeated = matches!(fault, DemoFault::Die { .. });
    let (fault, done) = read(fault);
    if let Fault::CrashAgent { agent } | Fault::HangAgent { agent } | Fault::HealAgent { agent } = &fault {
        // The runtime names the nearest one if there is none of that id.
        show(&mut client, agent).await?;
        if is_repeated {
            crash_until_given_up(out, &mut client, agent, &fault).await?;
            return out.line(&done);
        }
    }
    post(&mut client, &fault).await?;
    out.line(&done)
}

async fn show(client: &mut BridgeClient, agent: &str) -> Result<AgentView, CliError> {
    let show = BridgeAgentCommand { agent: agent.to_owned(), action: AgentAction::Show {} };
    let shown = client.request(BridgeCommand::Agent(show)).await?;
    client.parse(&shown)
}

/// Injects the crash each time that the agent is healthy: one that comes before that is healed by the restart.
async fn crash_until_given_up(
    out: &mut Output,
    client: &mut BridgeClient,
    agent: &str,
    crash: &Fault,
) -> Result<(), CliError> {
    let (mut looks, mut last_crashed) = (interval(LOOK_INTERVAL), None);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let AgentView { report, supervision, .. } = show(client, agent).await?;
        match report.status {
            _ if supervision.gave_up => return Ok(()),
            AgentStatus::Stopped => {
                let message = format!("{agent} was stopped by a command, so it is not given up");
                return Err(CliError::failed(Reason::Cancelled, &message));
            }
            AgentStatus::Healthy => {
                post(client, crash).await?;
                if last_crashed.replace(supervision.generation) != Some(supervision.generation) {
                    out.line(&format!("{agent} has crashed ({})", supervision.restarts_left()))?;
                }
            }
            _ => {}
        }
    }
}

/// Posts a fault to the backend.
async fn post(client: &mut BridgeClient, fault: &Fault) -> Result<(), CliError> {
    let request = RequestCommand {
        body: Some(Json::from_serialize(fault).map_err(CliError::internal)?),
        priority: Priority::High,
        timeout_ms: Some(WAIT_MS),
        wait_timeout_ms: Some(WAIT_MS),
        retries: Some(0),
        ..RequestCommand::new("POST", FAULT_PATH)
    };
    client.request(BridgeCommand::Request(Box::new(request))).await?;
    Ok(())
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
        DemoFault::Die { agent } => {
            let done = format!(
                "{agent} is given up: `mainstay agent reset {agent}` gives its restarts back and starts it"
            );
            (Fault::CrashAgent { agent }, done)
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
