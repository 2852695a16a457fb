//! An incident in words. Each line is a summary of one of its events, or is counted from them.

use mainstay_runtime::journal::{Event, count, millis_text};

use super::incident::{Incident, IncidentEvent, IncidentTotals};
use crate::events::{
    ActorExited, AgentSessionLost, AgentStateQuarantined, CheckpointDiscarded, ConnectionChanged,
    ConnectionUnsent, DeadLetter, Decided, Gap, GaveUp, MessageFailed, QueueOverflow, RequestFailed,
    RequestTimedOut, RunInterrupted, StateDegraded, StateRefused,
};
use crate::tree_place::short_path;

/// The most lines of a story.
const LINES_MAX: usize = 12;
/// The most lines of a program's output in a story.
const OUTPUT_LINES_MAX: usize = 3;
/// The most names of a kind in a story.
const NAMES_MAX: usize = 5;

/// The kinds of events that report a loss: of work, or of what an actor knew.
const LOSSES: [&str; 11] = [
    RequestFailed::KIND,
    RequestTimedOut::KIND,
    QueueOverflow::KIND,
    MessageFailed::KIND,
    DeadLetter::KIND,
    ConnectionUnsent::KIND,
    Gap::KIND,
    AgentSessionLost::KIND,
    AgentStateQuarantined::KIND,
    CheckpointDiscarded::KIND,
    StateRefused::KIND,
];

/// Returns the incident as one sentence: its first event, and how it ended or stands.
pub(super) fn title(incident: &Incident) -> String {
    let headline = incident.headline();
    let headline = headline.trim_end_matches('.');
    if incident.is_cut {
        format!("{headline} (the run ended first)")
    } else if incident.ended_at.is_some() && incident.events.len() == 1 {
        headline.to_owned()
    } else if incident.ended_at.is_some() {
        format!("{headline} (over after {})", millis_text(incident.lasted_ms))
    } else {
        format!("{headline} (not over)")
    }
}

impl Incident {
    /// Returns its first event as one sentence, with the actor's name.
    #[must_use]
    pub fn headline(&self) -> String {
        let Some(first) = self.events.first() else { return String::new() };
        let sentence = with_actor(first);
        let mut letters = sentence.chars();
        match letters.next() {
            Some(letter) if names_its_actor(first) => letter.to_uppercase().chain(letters).collect(),
            _ => sentence,
        }
    }

    /// Tells the incident in about ten lines of plain English, with times as the journal has them: RFC 3339 in UTC.
    #[must_use]
    pub fn story(&self) -> Vec<String> {
        self.story_with(str::to_owned)
    }

    /// Tells the incident as [`story`](Self::story) does, with times in the form that `moment` gives them.
    #[must_use]
    pub fn story_with(&self, moment: impl Fn(&str) -> String) -> Vec<String> {
        let began = format!("It began at {}, with event {}.", moment(&self.started_at), self.id);
        let mut lines = vec![self.title.clone(), began];
        if self.events.len() > 1 {
            lines.extend(self.exit_text());
            lines.extend(self.decision_text());
            lines.extend(self.policy.as_ref().map(|policy| format!("Policy: {policy}.")));
            lines.extend(totals_text(&self.totals));
            lines.extend(self.touched_text());
            lines.extend(self.loss_text());
        }
        let end = [self.last_event_text(), Some(self.end_text(moment))];
        let room = LINES_MAX.saturating_sub(lines.len() + end.iter().flatten().count());
        let output = self.output.iter().rev().take(OUTPUT_LINES_MAX.min(room)).rev();
        lines.extend(output.map(|line| format!("Output: {line}")));
        lines.extend(end.into_iter().flatten());
        lines
    }

    /// Returns the first exit that was no orderly end, and the last one if it is another one. What the headline has is left
    /// out.
    fn exit_text(&self) -> Option<String> {
        let mut exits =
            self.events.iter().filter(|event| event.kind == ActorExited::KIND && event.is_trouble);
        let first = exits.next()?;
        let last = exits.next_back().unwrap_or(first);
        let headline = &self.events.first()?.summary;
        let is_known = |exit: &IncidentEvent| headline.contains(cause(&exit.summary));
        let number = match self.totals.exits {
            1 => String::new(),
            exits => format!(" of {exits} exits"),
        };
        match (is_known(first), first.summary == last.summary || is_known(last)) {
            (true, true) => None,
            (true, false) => Some(format!("The last{number}: {}.", self.in_story(last))),
            (false, true) if number.is_empty() => Some(format!("Exit: {}.", self.in_story(first))),
            (false, true) => Some(format!("The first{number}: {}.", self.in_story(first))),
            (false, false) => Some(format!(
                "The first{number}: {}. The last: {}.",
                self.in_story(first),
                self.in_story(last)
            )),
        }
    }

    /// Returns the only decision, or the first and the last one.
    fn decision_text(&self) -> Option<String> {
        let (first, last) = (self.first_of(Decided::KIND)?, self.last_of(Decided::KIND)?);
        let decided = |event| self.in_story(event).replacen("decided: ", "", 1);
        Some(match self.totals.decisions {
            1 => format!("Decision: {}.", decided(last)),
            decisions => format!(
                "The first of {decisions} decisions: {}. The last: {}.",
                decided(first),
                decided(last)
            ),
        })
    }

    /// Returns the loss that was reported last.
    fn loss_text(&self) -> Option<String> {
        let loss = self.last_loss()?;
        let is_known = self.events.first() == Some(loss);
        let name = match self.events.iter().filter(|event| is_loss(event)).count() {
            1 => "Lost",
            _ => "The last loss",
        };
        (!is_known).then(|| format!("{name}: {}.", self.in_story(loss)))
    }

    /// Returns the last event, unless another line has it already.
    fn last_event_text(&self) -> Option<String> {
        let last = self.events.last().filter(|_| self.events.len() > 1)?;
        let is_known = [ActorExited::KIND, Decided::KIND]
            .iter()
            .filter_map(|kind| self.last_of(kind))
            .chain(self.last_loss())
            .any(|event| event == last)
            || last.kind == GaveUp::KIND;
        (!is_known).then(|| format!("Last event: {}.", self.in_story(last)))
    }

    fn end_text(&self, moment: impl Fn(&str) -> String) -> String {
        match (&self.ended_at, &self.next_step) {
            _ if self.is_cut => "The run ended before it was over.".to_owned(),
            (Some(_), _) if self.events.len() == 1 => "It was over at once.".to_owned(),
            (Some(at), _) => format!("It was over at {}, after {}.", moment(at), millis_text(self.lasted_ms)),
            (None, Some(next_step)) => {
                format!("It is not over. Next step: {}.", next_step.trim_end_matches('.'))
            }
            (None, None) => "It is not over.".to_owned(),
        }
    }

    /// Returns what its events concern, beside the actor of its name.
    fn touched_text(&self) -> Option<String> {
        let actors = Some(&self.actors).filter(|actors| actors.len() > 1);
        let actors = actors.into_iter().flatten().map(|path| short_path(path).to_owned()).collect();
        let messages = self.messages.iter();
        let messages =
            messages.map(|message| format!("{}:{}", short_path(&message.actor), message.message_id));
        let requests = self.requests.iter().map(ToString::to_string).collect();
        let kinds = [listed("", actors), listed("request", requests), listed("message", messages.collect())];
        let parts: Vec<String> = kinds.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| format!("Touched: {}.", parts.join("; ")))
    }

    fn first_of(&self, kind: &str) -> Option<&IncidentEvent> {
        self.events.iter().find(|event| event.kind == kind)
    }

    fn last_of(&self, kind: &str) -> Option<&IncidentEvent> {
        self.events.iter().rev().find(|event| event.kind == kind)
    }

    fn last_loss(&self) -> Option<&IncidentEvent> {
        self.events.iter().rev().find(|event| is_loss(event))
    }

    /// Returns an event as a sentence without its full stop, with its actor's name if the incident has another one.
    fn in_story(&self, event: &IncidentEvent) -> String {
        let text = if event.actor == self.actor { event.summary.clone() } else { with_actor(event) };
        text.trim_end_matches('.').to_owned()
    }
}

/// Returns the cause in the summary of an exit, without details and advice.
fn cause(summary: &str) -> &str {
    let exit = summary.split("; ").next().unwrap_or_default();
    let cause = exit.rsplit(": ").next().unwrap_or_default();
    cause.split(". ").next().unwrap_or_default()
}

fn is_loss(event: &IncidentEvent) -> bool {
    LOSSES.contains(&event.kind.as_str())
}

/// Returns the first names of this kind, and the number of the others.
fn listed(kind: &str, names: Vec<String>) -> Option<String> {
    let kind = match (kind, names.len()) {
        ("", _) => String::new(),
        (kind, 1) => format!("{kind} "),
        (kind, _) => format!("{kind}s "),
    };
    let more = names.len().saturating_sub(NAMES_MAX);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    let shown: Vec<String> = names.into_iter().take(NAMES_MAX).collect();
    (!shown.is_empty()).then(|| format!("{kind}{}{rest}", shown.join(", ")))
}

/// Returns an event as a sentence with its actor's name, which some summaries have already.
fn with_actor(event: &IncidentEvent) -> String {
    match names_its_actor(event) {
        true => event.summary.clone(),
        false => format!("{}: {}", short_path(&event.actor), event.summary),
    }
}

/// Returns whether an event's summary says by itself what it is about, as in "the queue holds 3 requests".
fn names_its_actor(event: &IncidentEvent) -> bool {
    let name = match short_path(&event.actor) {
        _ if event.kind == ConnectionChanged::KIND || event.summary.starts_with("request ") => return true,
        "state" if event.kind == StateDegraded::KIND => return true,
        _ if event.kind == RunInterrupted::KIND => "previous run",
        "root" => "runtime",
        name => name,
    };
    let rest = event.summary.strip_prefix("the ").and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// Returns what was lost, repeated or has an unknown outcome, if anything was.
fn totals_text(totals: &IncidentTotals) -> Option<String> {
    let parts = [
        (totals.restarts, "restart", ""),
        (totals.requests_held, "request", " waited"),
        (totals.requests_retried, "request", " repeated"),
        (totals.messages_redelivered, "message", " repeated"),
        (totals.dead_letters, "message", " not handled"),
        (totals.requests_failed, "request", " failed"),
        (totals.messages_failed, "message", " failed"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(total, ..)| *total > 0)
        .map(|(total, noun, what)| format!("{}{what}", count(total as usize, noun)))
        .collect();
    let unknown = match totals.outcomes_unknown {
        0 => String::new(),
        unknown if unknown == totals.requests_failed + totals.messages_failed => {
            " with an unknown outcome".to_owned()
        }
        unknown => format!(" ({unknown} with an unknown outcome)"),
    };
    (!parts.is_empty()).then(|| format!("In all: {}{unknown}.", parts.join(", ")))
}
