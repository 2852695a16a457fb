//! What an agent says beside its answers, for all who listen.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast;

use super::letter::LetterId;

/// How many updates are kept for a listener that is slow. What it misses, it is told.
pub const UPDATES_KEPT: usize = 1024;

/// What kind of update it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateKind {
    /// The agent says something.
    Message,
    /// It tells how far it has come.
    Progress,
    /// It asks something, which is answered by the name in [`ask`](AgentUpdate::ask).
    Ask,
    /// A question of its own is settled: it was answered, or nobody needs an answer any more.
    Settled,
    /// Its conversation began, was taken up again, or is another one.
    Session,
}

/// One thing that an agent said of its own accord.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentUpdate {
    /// What kind of update it is.
    pub kind: UpdateKind,
    /// The letter that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letter: Option<LetterId>,
    /// The name of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// Whether it was said before already, and is repeated because a conversation is taken up again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_replay: bool,
    /// What it says.
    pub body: Value,
}

impl AgentUpdate {
    /// An update of this kind about nothing in particular.
    #[must_use]
    pub fn new(kind: UpdateKind, body: Value) -> Self {
        Self { kind, letter: None, ask: None, is_replay: false, body }
    }
}

/// The updates of one agent: those who publish and those who listen. Cheap to clone, and small until somebody listens.
#[derive(Debug, Clone, Default)]
pub struct AgentFeed(Arc<OnceLock<broadcast::Sender<Arc<AgentUpdate>>>>);

/// What a listener gets next.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// An update.
    Update(Arc<AgentUpdate>),
    /// So many updates were missed here, by a listener that was too slow.
    Missed(u64),
}

/// Listens to one agent.
#[derive(Debug)]
pub struct AgentListener(broadcast::Receiver<Arc<AgentUpdate>>);

impl AgentFeed {
    /// Publishes an update; one that nobody listens to is gone.
    pub fn publish(&self, update: AgentUpdate) {
        if let Some(channel) = self.0.get() {
            // Nobody listens any more: that is no failure.
            let _ = channel.send(Arc::new(update));
        }
    }

    /// Listens to what is said from now on.
    #[must_use]
    pub fn listen(&self) -> AgentListener {
        // The channel lays out room for all that it keeps, and most agents are never listened to.
        AgentListener(self.0.get_or_init(|| broadcast::Sender::new(UPDATES_KEPT)).subscribe())
    }
}

impl AgentListener {
    /// The next update; `None` once the agent is gone for good.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(update) => Some(Heard::Update(update)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_slow_listener_is_told_how_much_it_missed_and_goes_on_with_the_rest() {
        let feed = AgentFeed::default();
        let mut listener = feed.listen();
        for number in 0..UPDATES_KEPT + 5 {
            feed.publish(AgentUpdate::new(UpdateKind::Message, json!(number)));
        }
        assert_eq!(listener.next().await, Some(Heard::Missed(5)));
        let next = AgentUpdate::new(UpdateKind::Message, json!(5));
        assert_eq!(listener.next().await, Some(Heard::Update(Arc::new(next))));
        drop(feed);
        for _ in 6..UPDATES_KEPT + 5 {
            assert!(matches!(listener.next().await, Some(Heard::Update(_))));
        }
        assert_eq!(listener.next().await, None);
    }
}
