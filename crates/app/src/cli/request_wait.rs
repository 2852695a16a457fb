//! Says on stderr what a request waits for, from its first second on.

use std::time::Duration;

use mainstay_actors::json::Json;
use mainstay_runtime::ActorStatus;
use mainstay_runtime::journal::escape_controls;
use tokio::time::{MissedTickBehavior, interval};

use super::client::BridgeClient;
use super::error::CliError;
use super::stderr::error_line;
use crate::Reason;
use crate::bridge::BridgeCommand;
use crate::status::{OutageReport, QueueReport, StatusReport};

/// The time until a request that waits says for what, and from one look at that to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The kinds of waiting. Within one, only times and numbers change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitKind {
    Backend(Option<ActorStatus>),
    Outage(Reason),
    Turn,
    Retry,
    Answer,
}

/// Chooses what to say: each kind of waiting once.
#[derive(Debug, Default)]
struct WaitNotices {
    last: Option<WaitKind>,
}

impl WaitNotices {
    /// Returns what requests wait for, if that is not what they waited for before.
    fn next(&mut self, queue: &QueueReport, backend: Option<ActorStatus>) -> Option<String> {
        let (kind, text) = describe_wait(queue, backend);
        (self.last.replace(kind) != Some(kind)).then_some(text)
    }
}

/// Sends a request, and waits for its reply. Each second it looks what the request waits for, and says that if it is
/// something new.
pub(super) async fn send_request(
    client: &mut BridgeClient,
    command: BridgeCommand,
) -> Result<Json, CliError> {
    let request = client.send(command).await?;
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    looks.tick().await;
    let (mut look, mut notices) = (None, WaitNotices::default());
    loop {
        tokio::select! {
            biased;
            reply = client.receive_reply() => {
                let (id, reply) = reply?;
                if id == request {
                    return reply;
                }
                // A runtime of another version may have another status.
                if look.take_if(|look| *look == id).is_some()
                    && let Ok(status) = reply.and_then(|status| client.parse::<StatusReport>(&status))
                {
                    let backend = status.backend.map(|backend| backend.status);
                    if let Some(text) = notices.next(&status.queue, backend) {
                        error_line(&format!("waits {}", escape_controls(&text)));
                    }
                }
            }
            _ = looks.tick(), if look.is_none() => look = Some(client.send(BridgeCommand::Status {}).await?),
        }
    }
}

/// Returns what requests wait for; `backend` is the status of a backend that the runtime starts.
fn describe_wait(queue: &QueueReport, backend: Option<ActorStatus>) -> (WaitKind, String) {
    let QueueReport { stats, held } = queue;
    let outage = |held: &OutageReport| format!("for the backend: {}", held.message);
    match held {
        Some(held) if held.waits_for_backend => (WaitKind::Backend(backend), outage(held)),
        Some(held) => (WaitKind::Outage(held.reason), outage(held)),
        None if stats.waiting > stats.backing_off && stats.running >= stats.max_concurrent => {
            let text = format!("for its turn: {} of at most {} run", stats.running, stats.max_concurrent);
            (WaitKind::Turn, text)
        }
        None if stats.backing_off > 0 && stats.running == 0 => {
            (WaitKind::Retry, "for the next attempt, since one has failed".to_owned())
        }
        None => (WaitKind::Answer, "for the answer of the backend".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use mainstay_actors::queue::QueueStats;
    use mainstay_runtime::clock::WallTime;

    use super::*;

    fn wait(stats: QueueStats, held: Option<OutageReport>) -> (WaitKind, String) {
        describe_wait(&QueueReport { stats, held }, Some(ActorStatus::Starting))
    }

    #[test]
    fn wait_has_the_cause_that_the_queue_shows() {
        let held = OutageReport {
            since: WallTime("2026-03-01T11:57:00Z".parse().unwrap()),
            reason: Reason::Disconnected,
            message: "The backend is starting.".to_owned(),
            waits_for_backend: true,
            failures: 0,
            next_probe_at: None,
            next_probe_in_ms: None,
        };
        let stats = QueueStats { max_concurrent: 2, ..QueueStats::default() };
        let starting = (
            WaitKind::Backend(Some(ActorStatus::Starting)),
            "for the backend: The backend is starting.".to_owned(),
        );
        assert_eq!(wait(stats, Some(held.clone())), starting);
        let (mut notices, queue) = (WaitNotices::default(), QueueReport { stats, held: Some(held.clone()) });
        let mut is_new = |backend| notices.next(&queue, Some(backend)).is_some();
        assert_eq!(
            [ActorStatus::Starting, ActorStatus::Starting, ActorStatus::Restarting, ActorStatus::Restarting]
                .map(&mut is_new),
            [true, false, true, false]
        );
        let held = OutageReport { waits_for_backend: false, ..held };
        assert_eq!(wait(stats, Some(held)).0, WaitKind::Outage(Reason::Disconnected));
        for (waiting, backing_off, running, text) in [
            (0, 0, 1, "for the answer of the backend"),
            (1, 0, 2, "for its turn: 2 of at most 2 run"),
            (1, 1, 0, "for the next attempt, since one has failed"),
        ] {
            let stats = QueueStats { waiting, backing_off, running, ..stats };
            assert_eq!(wait(stats, None).1, text);
        }
    }
}
