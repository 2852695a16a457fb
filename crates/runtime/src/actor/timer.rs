//! One timer of an actor.

use std::time::Duration;

use crate::actor::context::{Context, TaskHandle};
use crate::messaging::message::Message;

/// A timer that wakes one incarnation at the next deadline. Part of the incarnation's state.
///
/// An actor with many deadlines keeps one timer for all of them: after each message it calls
/// [`wake_by`](Self::wake_by) with the earliest deadline. When the timer's message comes, it calls
/// [`clear_due`](Self::clear_due) and checks the deadlines. The message may come too early: for a deadline that is
/// gone, or from a replaced timer.
#[derive(Debug, Default)]
pub struct Timer(Option<(Duration, TaskHandle)>);

impl Timer {
    /// Returns the time at which the timer fires, since the start of the runtime; `None` when it is not set.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.0.as_ref().map(|(due, _)| *due)
    }

    /// Lets `ctx` handle `message` at `due` at the latest. A timer that fires earlier is kept, and a later one is
    /// replaced. An early wake-up costs less than a new timer for every message. See [`Context::send_at`].
    pub fn wake_by<M: Message>(&mut self, ctx: &mut Context<M>, due: Duration, message: M) {
        if self.due().is_some_and(|earlier| earlier <= due) {
            return;
        }
        self.cancel();
        self.0 = Some((due, ctx.send_at(due, message)));
    }

    /// Clears the timer if it is due at `now`. A later timer stays: the message came from a timer that it replaced.
    pub fn clear_due(&mut self, now: Duration) {
        if self.due().is_some_and(|due| due <= now) {
            self.cancel();
        }
    }

    /// Clears the timer; its message is not sent any more.
    pub fn cancel(&mut self) {
        if let Some((_, task)) = self.0.take() {
            task.abort();
        }
    }
}
