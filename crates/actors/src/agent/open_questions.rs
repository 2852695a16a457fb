//! The open questions of an agent, as its reports have them: pure, with the time passed in.

use mainstay_runtime::clock::WallTime;
use serde_json::Value;
use tokio::time::Instant;

use super::reports::OpenQuestion;
use super::updates::{AgentUpdate, KeptQuestion};
use crate::error::excerpt;
use crate::json::Json;

/// The largest question that is reported whole, in bytes of memory.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The most characters that are reported of a larger one. A listener gets the whole.
const LARGE_BODY_CHARS_MAX: usize = 4000;

/// The open questions as the last report has them.
#[derive(Default)]
pub(super) struct OpenQuestions(Vec<(KeptQuestion, OpenQuestion)>);

impl OpenQuestions {
    pub(super) fn to_report(&self) -> Vec<OpenQuestion> {
        self.0.iter().map(|(_, open)| open.clone()).collect()
    }

    /// Takes the questions that are open now. One that was open before keeps its wall time.
    pub(super) fn replace(&mut self, kept: Vec<KeptQuestion>, wall_time: impl Fn(Instant) -> WallTime) {
        let before = std::mem::take(&mut self.0);
        self.0 = kept
            .into_iter()
            .map(|question| {
                let known = before.iter().find(|(known, _)| *known == question);
                let open =
                    known.map_or_else(|| open_question(&question, &wall_time), |(_, open)| open.clone());
                (question, open)
            })
            .collect();
    }
}

fn open_question(question: &KeptQuestion, wall_time: impl Fn(Instant) -> WallTime) -> OpenQuestion {
    let update = &question.update;
    OpenQuestion {
        ask: update.ask.clone().unwrap_or_default(),
        message_id: update.message_id,
        since: wall_time(question.since),
        body: reported_body(update),
    }
}

/// Returns a question as it is reported: a large one only by its start, since reports are copied often.
fn reported_body(update: &AgentUpdate) -> Json {
    if update.memory_bytes() <= BODY_BYTES_MAX {
        return update.body.clone();
    }
    Value::String(excerpt(update.body.as_str(), LARGE_BODY_CHARS_MAX)).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::agent::updates::UpdateKind;
    use crate::tests::s;

    fn question(name: &str, body: Value, since: Instant) -> KeptQuestion {
        let update = AgentUpdate { ask: Some(name.to_owned()), ..AgentUpdate::new(UpdateKind::Ask, body) };
        KeptQuestion { update: Arc::new(update), since }
    }

    fn time(text: &str) -> WallTime {
        WallTime(text.parse().unwrap())
    }

    #[test]
    fn replace_keeps_the_time_of_known_questions() {
        let now = Instant::now();
        let (first, second) = (time("2026-03-01T12:00:00Z"), time("2026-03-01T13:00:00Z"));
        let (a, b) = (question("a", json!(1), now), question("b", json!(2), now));
        let mut questions = OpenQuestions::default();
        questions.replace(vec![a.clone()], |_| first);
        questions.replace(vec![a, b], |_| second);
        let times: Vec<_> = questions.to_report().into_iter().map(|open| (open.ask, open.since)).collect();
        assert_eq!(times, [("a".to_owned(), first), ("b".to_owned(), second)]);
        // The same name again is another question.
        questions.replace(vec![question("a", json!(1), now + s(1))], |_| second);
        assert_eq!(questions.to_report()[0].since, second);
    }

    #[test]
    fn large_question_is_reported_by_its_start() {
        let large = json!({ "text": "x".repeat(BODY_BYTES_MAX) });
        let mut questions = OpenQuestions::default();
        questions.replace(vec![question("a", large, Instant::now())], |_| time("2026-03-01T12:00:00Z"));
        let body = questions.to_report()[0].body.read::<String>().unwrap();
        assert!(body.starts_with("{\"text\":\"xxx") && body.chars().count() == LARGE_BODY_CHARS_MAX + 1);
    }
}
