//! `mainstay requests`: lists the requests that have not ended, and cancels or moves one.

use mainstay_actors::json::Json;
use mainstay_runtime::journal::{count, millis_text};
use serde_json::Value;

use super::args::{OutputForm, RequestsArgs, RequestsSubcommand};
use super::client::BridgeClient;
use super::error::CliError;
use super::output::{self, Output};
use super::watch;
use crate::bridge::{BridgeCommand, RequestsCommand};
use crate::{PendingPhase, PendingRequest, Priority, Reason, RequestId};

pub(super) async fn run(
    out: &mut Output,
    client: &mut BridgeClient,
    args: RequestsArgs,
) -> Result<(), CliError> {
    let (command, done, refusal) = match args.command {
        None => {
            let command = BridgeCommand::Requests(RequestsCommand::Show {});
            let render = |out: &mut Output, client: &BridgeClient, requests: &Json| {
                list(out, &client.parse::<Vec<_>>(requests)?)
            };
            return watch::show(out, client, args.watched, command, render).await;
        }
        Some(RequestsSubcommand::Cancel { id }) => {
            let command = RequestsCommand::Cancel { request_id: RequestId(id) };
            (
                command,
                format!("request {id} is cancelled"),
                format!(
                    "no request {id} waits or runs: it has ended, or there was none; `mainstay requests` lists them"
                ),
            )
        }
        Some(RequestsSubcommand::Prioritize { id, priority }) => {
            let priority = Priority::from(priority);
            let command = RequestsCommand::Prioritize { request_id: RequestId(id), priority };
            let done = format!("request {id} has priority {}", priority_name(priority));
            (command, done, format!("request {id} does not wait: it runs, or has ended"))
        }
    };
    let reply = client.request(BridgeCommand::Requests(command)).await?;
    let outcome: Value = client.parse(&reply)?;
    if outcome["cancelled"] == true || outcome["prioritized"] == true {
        return if args.watched.output.form() == OutputForm::Json {
            out.json(&reply)
        } else {
            out.line(&done)
        };
    }
    Err(CliError::failed(Reason::NotFound, refusal))
}

fn list(out: &mut Output, requests: &[PendingRequest]) -> Result<(), CliError> {
    if requests.is_empty() {
        return out.line("no request waits or runs");
    }
    let rows: Vec<_> = requests.iter().map(row).collect();
    out.table(&["id", "request", "priority", "state", "age", "attempts"], &rows)
}

fn row(request: &PendingRequest) -> Vec<(String, anstyle::Style)> {
    let PendingRequest { request_id, method, path, priority, phase, attempts, age_ms } = request;
    let (state, style) = match phase {
        PendingPhase::Waiting => ("waiting", output::PLAIN),
        PendingPhase::BackingOff => ("waiting for a retry", output::WARNING),
        PendingPhase::Running => ("running", output::SUCCESS),
    };
    vec![
        (request_id.to_string(), output::PLAIN),
        (format!("{method} {}", path.escape_debug()), output::PLAIN),
        (priority_name(*priority).to_owned(), output::PLAIN),
        (state.to_owned(), style),
        (millis_text(*age_ms), output::PLAIN),
        (count(*attempts, "attempt"), output::DIM),
    ]
}

fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    }
}
