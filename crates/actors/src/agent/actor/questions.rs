//! Reports the questions of an agent, and the replies that reach no message: in its reports and in the journal.

use std::time::Duration;

use mainstay_runtime::clock::WallTime;
use tokio::time::{Instant, sleep};

use super::{AgentActor, AgentContext, AgentRunState};
use crate::agent::command::AgentCommand;
use crate::agent::events::{AgentQuestion, AgentQuestionSettled, AgentReplyLost};
use crate::agent::updates::QuestionChange;
use crate::error::excerpt;
use crate::json::Json;

/// The most characters of a question in the journal.
const TEXT_CHARS_MAX: usize = 300;

impl AgentActor {
    /// Records what the journal has not yet, and notes the open questions for the next report. Looks again after a
    /// change, but not before `pause` is over.
    pub(super) fn report_questions(&self, ctx: &mut AgentContext, run: &mut AgentRunState, pause: Duration) {
        let Some(updates) = self.driver.updates() else { return };
        let kept = updates.kept();
        let version = kept.version;
        let (wall, now) = (ctx.wall_time(), Instant::now());
        run.questions.replace(kept.questions, |since| {
            let age = jiff::SignedDuration::try_from(now.saturating_duration_since(since));
            WallTime(age.ok().and_then(|age| wall.checked_sub(age).ok()).unwrap_or(wall))
        });
        // Published first, so that a reader of an event finds the same questions in the reports.
        self.publish(run);
        let (changes, lost) = updates.take_unrecorded();
        for QuestionChange { question, outcome } in changes {
            let update = &question.update;
            let ask = self.driver.redact(update.ask.as_deref().unwrap_or_default());
            let message_id = update.message_id;
            if let Some(outcome) = outcome {
                ctx.record(&AgentQuestionSettled { ask, message_id, outcome });
            } else {
                ctx.record(&AgentQuestion { ask, message_id, text: self.question_text(&update.body) });
            }
        }
        if let Some((count, last)) = lost.map(|lost| (lost.count, lost.last)) {
            let (why, start) = last.map(|last| *last).unwrap_or_default();
            ctx.record(&AgentReplyLost { count, message: why, text: start });
        }
        let updates = updates.clone();
        ctx.spawn(async move {
            sleep(pause).await;
            updates.wait_for_change(version).await;
            AgentCommand::ReportQuestions
        });
    }

    fn question_text(&self, body: &Json) -> String {
        let text = body.read().unwrap_or_else(|_| body.to_string());
        excerpt(&self.driver.redact(&text), TEXT_CHARS_MAX)
    }
}
