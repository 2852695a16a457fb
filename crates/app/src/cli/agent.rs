//! `mainstay agent`: shows one agent, controls it, and exchanges messages with it.

use std::path::Path;

use anstyle::Style;
use mainstay_actors::json::Json;
use mainstay_runtime::journal::{count, escape_controls, millis};
use serde::Deserialize;
use serde_json::Value;

use super::agent_report;
use super::args::{AgentSubcommand, JsonFlag, WatchedArgs, read_answer, read_json};
use super::client::BridgeClient;
use super::config_check::read_named;
use super::error::CliError;
use super::output::{self, Output};
use super::report;
use super::stderr::error_line;
use super::watch;
use crate::bridge::{self, AgentAction, AgentDetails, BridgeCommand};
use crate::config;
use crate::suggestion::unknown_name;
use crate::{AgentUpdate, MessageId, QuestionOutcome, Reason, UpdateKind};

pub(super) async fn run(
    out: &mut Output,
    client: &mut BridgeClient,
    command: AgentSubcommand,
) -> Result<(), CliError> {
    let control = |id, action| (id, action, WatchedArgs::default());
    let (id, action, args) = match command {
        AgentSubcommand::Show { id, watched } => (id, AgentAction::Show {}, watched),
        AgentSubcommand::Restart { id } => control(id, AgentAction::Restart {}),
        AgentSubcommand::Login { id, method } => control(id, AgentAction::Login { method }),
        AgentSubcommand::Stop { id } => control(id, AgentAction::Stop {}),
        AgentSubcommand::Start { id } => control(id, AgentAction::Start {}),
        AgentSubcommand::Reset { id } => control(id, AgentAction::Reset {}),
        AgentSubcommand::Send { id, message, repeat, wait_timeout, timeout, deadline, output: shape } => {
            let body = read_json(&message, "the message")?;
            let action = AgentAction::Send {
                body,
                may_repeat: repeat,
                wait_timeout_ms: wait_timeout.map(millis),
                timeout_ms: timeout.map(millis),
                deadline_ms: deadline.map(millis),
                detached: false,
            };
            return send(out, client, id, action, &shape).await;
        }
        AgentSubcommand::Listen { id, json } => return listen(out, client, id, json).await,
        AgentSubcommand::Answer { id, ask, answer } => {
            return answer_question(client, id, ask, read_answer(&answer)?).await;
        }
        AgentSubcommand::Add { file } => {
            let agent = add(client, &file).await?;
            return agent_report::show(out, &client.parse(&agent)?);
        }
        AgentSubcommand::Remove { id } => {
            client.request(agent_command(id.clone(), AgentAction::Remove {})).await?;
            return out.line(&format!("{id} was stopped and removed"));
        }
    };
    let render = |out: &mut Output, client: &BridgeClient, agent: &Json| {
        agent_report::show(out, &client.parse(agent)?)
    };
    watch::show(out, client, args, agent_command(id, action), render).await
}

fn agent_command(agent: String, action: AgentAction) -> BridgeCommand {
    BridgeCommand::Agent(bridge::BridgeAgentCommand { agent, action })
}

async fn send(
    out: &mut Output,
    client: &mut BridgeClient,
    id: String,
    action: AgentAction,
    shape: &JsonFlag,
) -> Result<(), CliError> {
    let answer = client.request(agent_command(id, action)).await;
    let answer = report::print_error_json(out, answer, shape.json)?;
    if shape.json {
        return out.json(&answer);
    }
    #[derive(Deserialize)]
    struct AnsweredMessage {
        message_id: MessageId,
        answer: Json,
    }
    let AnsweredMessage { message_id, answer } = client.parse(&answer)?;
    error_line(&format!("message {message_id} was answered"));
    report::text_or_json(out, &answer)
}

/// Answers a question. If the agent does not ask it, the error names the nearest one that is open, or all of them.
async fn answer_question(
    client: &mut BridgeClient,
    id: String,
    ask: String,
    body: Json,
) -> Result<(), CliError> {
    let action = AgentAction::Answer { ask: ask.clone(), body };
    let Err(failure) = client.request(agent_command(id.clone(), action)).await else { return Ok(()) };
    if failure.error().is_none_or(|error| error.reason != Reason::NotFound) {
        return Err(failure);
    }
    let shown = client.request(agent_command(id, AgentAction::Show {})).await?;
    let AgentDetails { agent, .. } = client.parse(&shown)?;
    let open = agent.report.questions.iter().map(|question| &*question.ask);
    Err(CliError::failed(Reason::NotFound, unknown_name("open question", &ask, open)))
}

/// Takes in the agent that a file describes.
async fn add(client: &mut BridgeClient, file: &Path) -> Result<Json, CliError> {
    let (file, read) = read_named(file);
    let block =
        read.and_then(|text| config::parse_agent_block(&text)).map_err(|error| error.in_file(file))?;
    let config = block.as_object().cloned().unwrap_or_default();
    // Whether the id is one, the runtime says as it does of every other key.
    let id = config.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    client.request(agent_command(id, AgentAction::Add { config })).await.map_err(|failure| {
        match failure.error() {
            Some(error) if error.reason == Reason::InvalidConfig => {
                CliError::usage(format!("{}: {}", file.display(), error.log_text()))
            }
            _ => failure,
        }
    })
}

/// A text of a session that listens to an agent.
#[derive(Default, Deserialize)]
#[serde(default)]
struct UpdateFrame {
    update: Option<AgentUpdate>,
    lagged: Option<u64>,
    ended: bool,
}

async fn listen(out: &mut Output, client: &mut BridgeClient, id: String, json: bool) -> Result<(), CliError> {
    client.request(agent_command(id.clone(), AgentAction::Listen { after: None })).await?;
    if !json {
        out.line(&out.paint(&format!("listening to {id}; Ctrl-C ends that"), output::DIM))?;
    }
    loop {
        let text = client.receive().await?;
        if json {
            out.json_line(text.as_str())?;
        }
        let UpdateFrame { update, lagged, ended } = client.parse(&text)?;
        if ended {
            return if json { Ok(()) } else { out.line(&format!("{id} was removed")) };
        }
        if json {
            continue;
        }
        if let Some(lagged) = lagged {
            let text = format!("lagged: {} lost here", count(lagged, "update"));
            out.line(&out.paint(&text, output::WARNING))?;
        } else if let Some(update) = update {
            let (text, style) = format_update(&id, &update);
            out.line(&out.paint(&text, style))?;
        }
    }
}

/// Formats an update as a line. What the agent says stays JSON, in which nothing can drive a terminal.
fn format_update(id: &str, update: &AgentUpdate) -> (String, Style) {
    let AgentUpdate { kind, message_id, ask, outcome, is_replay, body, .. } = update;
    let body = escape_controls(body.as_str());
    let ask = ask.as_deref().unwrap_or("?").escape_debug();
    let again = if *is_replay { " (said before)" } else { "" };
    let about = message_id.map(|id| format!(" (message {id})")).unwrap_or_default();
    match kind {
        UpdateKind::Message => (format!("says{about}{again}: {body}"), output::PLAIN),
        UpdateKind::Progress => (format!("progress{about}{again}: {body}"), output::DIM),
        UpdateKind::Ask => (
            format!(
                "asks {ask}{about}{again}: {body}\n  answer with: mainstay agent answer {id} {ask} VALUE"
            ),
            output::WARNING,
        ),
        UpdateKind::Settled => {
            let end = match outcome {
                Some(QuestionOutcome::Answered) => format!("has the answer to {ask}"),
                Some(QuestionOutcome::Withdrawn) => format!("withdraws question {ask}"),
                Some(QuestionOutcome::Cancelled) | None => format!("gets no answer to {ask}"),
            };
            (format!("{end}{about}{again}: {body}"), output::DIM)
        }
        UpdateKind::Session => (format!("conversation{again}: {body}"), output::DIM),
        UpdateKind::Sent => (format!("gets{about}: {body}"), output::DIM),
        UpdateKind::Ended => (format!("is done{about}: {body}"), output::DIM),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn update_is_one_line_and_question_shows_answer_command() {
        let of = |kind| AgentUpdate {
            message_id: Some(MessageId(7)),
            ..AgentUpdate::new(kind, json!({"step": 3}))
        };
        let updates = [
            AgentUpdate::new(UpdateKind::Message, json!("two\nlines \u{1b}[2J")),
            of(UpdateKind::Progress),
            AgentUpdate { ask: Some("a1".to_owned()), ..of(UpdateKind::Ask) },
            AgentUpdate {
                ask: Some("a1".to_owned()),
                outcome: Some(QuestionOutcome::Answered),
                ..of(UpdateKind::Settled)
            },
            AgentUpdate { is_replay: true, ..of(UpdateKind::Message) },
            of(UpdateKind::Sent),
            of(UpdateKind::Ended),
            AgentUpdate::new(UpdateKind::Session, Json::parse("{\"id\":\r1e999}").unwrap()),
        ];
        let lines: Vec<String> = updates.iter().map(|update| format_update("planner", update).0).collect();
        expect![[r#"
            says: "two\nlines \u001b[2J"
            progress (message 7): {"step":3}
            asks a1 (message 7): {"step":3}
              answer with: mainstay agent answer planner a1 VALUE
            has the answer to a1 (message 7): {"step":3}
            says (message 7) (said before): {"step":3}
            gets (message 7): {"step":3}
            is done (message 7): {"step":3}
            conversation: {"id":\r1e999}"#]]
        .assert_eq(&lines.join("\n"));
    }
}
