//! An incident in words. Each line is a summary of one of its events, or is counted from them.

use mainstay_runtime::journal::{Event, count, millis_text};

use super::incident::{Incident, IncidentEvent, IncidentTotals};
use crate::events::{ActorExited, Decided};

/// The most lines of a program's output in a story.
const OUTPUT_LINES_MAX: usize = 3;

/// Returns the incident as one sentence: its first event, and how it ended or stands.
pub(super) fn title(incident: &Incident) -> String {
    let Some(first) = incident.events.first() else { return String::new() };
    let outcome = if incident.is_cut {
        "the run ended first".to_owned()
    } else if incident.ended_at.is_some() && incident.events.len() == 1 {
        return format!("{}: {}", short_path(&first.actor), first.summary);
    } else if incident.ended_at.is_some() {
        format!("over after {}", millis_text(incident.lasted_ms))
    } else {
        "not over".to_owned()
    };
    format!("{}: {} ({outcome})", short_path(&first.actor), first.summary)
}

/// Returns the part of a path that people use: an agent's id, or an actor's own name.
fn short_path(path: &str) -> &str {
    path.strip_prefix("root/agents/").or_else(|| path.strip_prefix("root/")).unwrap_or(path)
}

impl Incident {
    /// Tells the incident in about ten lines of plain English.
    #[must_use]
    pub fn story(&self) -> Vec<String> {
        let mut lines = vec![self.title.clone()];
        if let Some(first) = self.events.first() {
            lines.push(format!("It began at {} with {} of {}.", first.at, first.kind, first.actor));
        }
        lines.extend(
            self.first_of(ActorExited::KIND).map(|exit| format!("First exit: {}.", with_actor(exit))),
        );
        lines.extend(self.last_of(Decided::KIND).map(|last| match self.totals.decisions {
            1 => format!("Decision: {}.", with_actor(last)),
            decisions => format!("The last of {decisions} decisions: {}.", with_actor(last)),
        }));
        lines.extend(totals_text(&self.totals));
        if self.actors.len() > 1 {
            lines.push(format!("Actors: {}.", self.actors.join(", ")));
        }
        let output = self.output.iter().rev().take(OUTPUT_LINES_MAX).rev();
        lines.extend(output.map(|line| format!("Output: {line}")));
        if let Some(last) = self.events.last().filter(|_| self.events.len() > 1) {
            lines.push(format!("Last event: {}.", with_actor(last)));
        }
        lines.push(match (&self.ended_at, &self.next_step) {
            _ if self.is_cut => "The run ended before it was over.".to_owned(),
            (Some(at), _) => format!("It was over at {at}, after {}.", millis_text(self.lasted_ms)),
            (None, Some(next_step)) => {
                format!("It is not over. Next step: {}.", next_step.trim_end_matches('.'))
            }
            (None, None) => "It is not over.".to_owned(),
        });
        lines
    }

    fn first_of(&self, kind: &str) -> Option<&IncidentEvent> {
        self.events.iter().find(|event| event.kind == kind)
    }

    fn last_of(&self, kind: &str) -> Option<&IncidentEvent> {
        self.events.iter().rev().find(|event| event.kind == kind)
    }
}

fn with_actor(event: &IncidentEvent) -> String {
    format!("{}: {}", short_path(&event.actor), event.summary)
}

/// Returns what was lost, repeated or has an unknown outcome, if anything was.
fn totals_text(totals: &IncidentTotals) -> Option<String> {
    let parts = [
        (totals.restarts, "restart", ""),
        (totals.requests_held, "request", " waited"),
        (totals.requests_retried, "request", " repeated"),
        (totals.requests_failed, "request", " failed"),
        (totals.messages_redelivered, "message", " repeated"),
        (totals.messages_failed, "message", " failed"),
        (totals.outcomes_unknown, "outcome", " unknown"),
        (totals.dead_letters, "message", " not handled"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(total, ..)| *total > 0)
        .map(|(total, noun, what)| format!("{}{what}", count(total as usize, noun)))
        .collect();
    (!parts.is_empty()).then(|| format!("In all: {}.", parts.join(", ")))
}
