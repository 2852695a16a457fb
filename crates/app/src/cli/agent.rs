//! `mainstay agent`: one agent is shown, steered, written to and listened to.

use std::path::Path;

use mainstay_runtime::journal::millis;
use serde_json::Value;

use super::agent_report;
use super::args::{AgentCommand, Shape, read_json};
use super::client::Client;
use super::failure::Failure;
use super::output::{Output, Tone};
use super::report;
use crate::Reason;
use crate::actors::agent::{AgentUpdate, UpdateKind};
use crate::bridge::{self, AgentAction, Command};
use crate::config;

pub(super) async fn run(out: &mut Output, client: &mut Client, command: AgentCommand) -> Result<(), Failure> {
    let steered = |id, action| (id, action, false);
    let (id, action, json) = match command {
        AgentCommand::Show { id, shape } => (id, AgentAction::Show {}, shape.json),
        AgentCommand::Restart { id } => steered(id, AgentAction::Restart {}),
        AgentCommand::Stop { id } => steered(id, AgentAction::Stop {}),
        AgentCommand::Start { id } => steered(id, AgentAction::Start {}),
        AgentCommand::Reset { id } => steered(id, AgentAction::Reset {}),
        AgentCommand::Send { id, letter, repeat, wait, shape } => {
            let body = read_json(&letter, "the letter")?;
            let action = AgentAction::Send { body, may_repeat: repeat, wait_ms: wait.map(millis) };
            return send(out, client, id, action, &shape).await;
        }
        AgentCommand::Listen { id, json } => return listen(out, client, id, json).await,
        AgentCommand::Answer { id, ask, answer } => {
            let action = AgentAction::Answer { ask, body: read_json(&answer, "the answer")? };
            return client.ask(about(id, action)).await.map(|_| ());
        }
        AgentCommand::Add { file } => {
            let agent = add(client, &file).await?;
            return agent_report::one(out, &client.read(agent)?);
        }
        AgentCommand::Remove { id } => {
            client.ask(about(id.clone(), AgentAction::Remove {})).await?;
            return out.line(&format!("{id} was stopped and is forgotten"));
        }
    };
    let agent = client.ask(about(id, action)).await?;
    if json { out.json(&agent) } else { agent_report::one(out, &client.read(agent)?) }
}

fn about(agent: String, action: AgentAction) -> Command {
    Command::Agent(bridge::AgentCommand { agent, action })
}

async fn send(
    out: &mut Output,
    client: &mut Client,
    id: String,
    action: AgentAction,
    shape: &Shape,
) -> Result<(), Failure> {
    let answer = client.ask(about(id, action)).await;
    let answer = report::or_error(out, answer, shape.json)?;
    if shape.json {
        return out.json(&answer);
    }
    eprintln!("letter {} was answered", answer["letter"]);
    report::text_or_json(out, &answer["answer"])
}

/// Takes in the agent that a file describes.
async fn add(client: &mut Client, file: &Path) -> Result<Value, Failure> {
    let block = config::read_text(file)
        .and_then(|text| config::block_of(&text))
        .map_err(|error| error.in_file(file))?;
    let config = block.as_object().cloned().unwrap_or_default();
    // Whether the id is one, the runtime says as it does of every other key.
    let id = config.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    client.ask(about(id, AgentAction::Add { config })).await.map_err(|failure| match failure.error() {
        Some(error) if error.reason == Reason::InvalidConfig => {
            Failure::usage(format!("{}: {}", file.display(), error.for_log()))
        }
        _ => failure,
    })
}

async fn listen(out: &mut Output, client: &mut Client, id: String, json: bool) -> Result<(), Failure> {
    client.ask(about(id.clone(), AgentAction::Listen {})).await?;
    if !json {
        out.line(&out.paint(&format!("listening to {id}; Ctrl-C ends that"), Tone::Soft))?;
    }
    loop {
        let mut heard = client.hear().await?;
        if json {
            out.line(&heard.to_string())?;
        }
        if heard["ended"] == true {
            return if json { Ok(()) } else { out.line(&format!("{id} was removed")) };
        }
        if json {
            continue;
        }
        if let Some(missed) = heard["missed"].as_u64() {
            let told = format!("{missed} updates were missed here");
            out.line(&out.paint(&told, Tone::Warn))?;
        } else if let Some(update) = heard.get_mut("update") {
            let update = client.read(update.take())?;
            let (told, tone) = tell(&id, &update);
            out.line(&out.paint(&told, tone))?;
        }
    }
}

/// An update as a line. What the agent says stays JSON, in which nothing can drive a terminal.
fn tell(id: &str, update: &AgentUpdate) -> (String, Tone) {
    let AgentUpdate { kind, letter, ask, is_replay, body } = update;
    let ask = ask.as_deref().unwrap_or("?").escape_debug();
    let again = if *is_replay { " (said before)" } else { "" };
    let about = letter.map(|letter| format!(" (letter {letter})")).unwrap_or_default();
    match kind {
        UpdateKind::Message => (format!("says{about}{again}: {body}"), Tone::Plain),
        UpdateKind::Progress => (format!("progress{about}{again}: {body}"), Tone::Soft),
        UpdateKind::Ask => (
            format!("asks {ask}{about}{again}: {body}\n  answer with: mainstay agent answer {id} {ask} JSON"),
            Tone::Warn,
        ),
        UpdateKind::Settled => {
            (format!("needs no answer to {ask} any more{about}{again}: {body}"), Tone::Soft)
        }
        UpdateKind::Session => (format!("conversation{again}: {body}"), Tone::Soft),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::actors::agent::LetterId;

    #[test]
    fn an_update_is_a_line_whatever_the_agent_says_and_a_question_says_how_it_is_answered() {
        let of =
            |kind| AgentUpdate { letter: Some(LetterId(7)), ..AgentUpdate::new(kind, json!({"step": 3})) };
        let updates = [
            AgentUpdate::new(UpdateKind::Message, json!("two\nlines \u{1b}[2J")),
            of(UpdateKind::Progress),
            AgentUpdate { ask: Some("a1".to_owned()), ..of(UpdateKind::Ask) },
            AgentUpdate { ask: Some("a1".to_owned()), ..of(UpdateKind::Settled) },
            AgentUpdate { is_replay: true, ..of(UpdateKind::Message) },
            AgentUpdate::new(UpdateKind::Session, json!({"id": "s1"})),
        ];
        let told: Vec<String> = updates.iter().map(|update| tell("planner", update).0).collect();
        expect![[r#"
            says: "two\nlines \u001b[2J"
            progress (letter 7): {"step":3}
            asks a1 (letter 7): {"step":3}
              answer with: mainstay agent answer planner a1 JSON
            needs no answer to a1 any more (letter 7): {"step":3}
            says (letter 7) (said before): {"step":3}
            conversation: {"id":"s1"}"#]]
        .assert_eq(&told.join("\n"));
    }
}
