//! Says on stderr what a request waits for, from its first second on.

use std::time::Duration;

use mainstay_actors::json::Json;
use mainstay_runtime::ActorStatus;
use mainstay_runtime::journal::{escape_controls, millis};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::client::BridgeClient;
use super::error::CliError;
use super::stderr::error_line;
use crate::bridge::{BridgeCommand, RequestCommand, RequestsCommand};
use crate::owned_backend::{OwnedBackendReport, awaited};
use crate::status::{OutageReport, QueueReport, StatusReport};
use crate::{PendingPhase, PendingRequest, Reason};

/// The time until a request that waits says for what, and from one look at that to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The kinds of waiting. Within one, only times and numbers change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitKind {
    Suspended,
    Backend(Option<ActorStatus>),
    Outage(Reason),
    Turn,
    Group,
    Retry,
    Answer,
}

/// Chooses what to say: each kind of waiting once.
#[derive(Debug, Default)]
struct WaitNotices {
    last: Option<WaitKind>,
}

impl WaitNotices {
    /// Returns what the request waits for, if that is not what it waited for before.
    fn next(
        &mut self,
        phase: PendingPhase,
        queue: &QueueReport,
        backend: Option<&OwnedBackendReport>,
    ) -> Option<String> {
        let (kind, text) = describe_wait(phase, queue, backend);
        (self.last.replace(kind) != Some(kind)).then_some(text)
    }
}

/// A look at what the request waits for: the ids of two commands, and their replies in any order.
struct WaitLook {
    status_id: u64,
    status: Option<StatusReport>,
    requests_id: u64,
    requests: Option<Vec<PendingRequest>>,
}

impl WaitLook {
    async fn begin(client: &mut BridgeClient) -> Result<Self, CliError> {
        let status_id = client.send(BridgeCommand::Status {}).await?;
        let requests_id = client.send(BridgeCommand::Requests(RequestsCommand::Show {})).await?;
        Ok(Self { status_id, status: None, requests_id, requests: None })
    }

    /// Takes a reply that belongs to this look. A runtime of another version may have other replies, which say nothing.
    fn take_reply(&mut self, client: &BridgeClient, id: u64, reply: Result<Json, CliError>) {
        let Ok(reply) = reply else { return };
        if id == self.status_id {
            self.status = client.parse(&reply).ok();
        } else if id == self.requests_id {
            self.requests = client.parse(&reply).ok();
        }
    }

    fn has_ended(&self) -> bool {
        self.status.is_some() && self.requests.is_some()
    }
}

/// The request, as it can be found among those of all clients.
struct OwnRequest {
    method: String,
    path: String,
    sent_at: Instant,
}

impl OwnRequest {
    /// Returns the phase of the request with this method and path whose age is the nearest.
    fn phase(&self, requests: &[PendingRequest]) -> Option<PendingPhase> {
        let age = millis(self.sent_at.elapsed());
        let own = requests.iter().filter(|one| one.method == self.method && one.path == self.path);
        own.min_by_key(|one| one.age_ms.abs_diff(age)).map(|one| one.phase)
    }
}

/// Sends a request, and waits for its reply. Each second it looks what the request waits for, and says that if it is
/// something new.
pub(super) async fn send_request(
    client: &mut BridgeClient,
    command: RequestCommand,
) -> Result<Json, CliError> {
    let path = command.path.split('?').next().unwrap_or_default().to_owned();
    let own = OwnRequest { method: command.method.clone(), path, sent_at: Instant::now() };
    let request = client.send(BridgeCommand::Request(Box::new(command))).await?;
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    looks.tick().await;
    let (mut look, mut notices): (Option<WaitLook>, _) = (None, WaitNotices::default());
    loop {
        tokio::select! {
            biased;
            reply = client.receive_reply() => {
                let (id, reply) = reply?;
                if id == request {
                    return reply;
                }
                if let Some(look) = &mut look {
                    look.take_reply(client, id, reply);
                }
                if let Some(WaitLook { status: Some(status), requests: Some(requests), .. }) =
                    look.take_if(|look| look.has_ended())
                    && let Some(phase) = own.phase(&requests)
                    && let Some(text) = notices.next(phase, &status.queue, status.backend.as_ref())
                {
                    error_line(&format!("waits {}", escape_controls(&text)));
                }
            }
            _ = looks.tick(), if look.is_none() => look = Some(WaitLook::begin(client).await?),
        }
    }
}

/// Returns what a request in this phase waits for; `backend` is the backend that the runtime starts.
fn describe_wait(
    phase: PendingPhase,
    queue: &QueueReport,
    backend: Option<&OwnedBackendReport>,
) -> (WaitKind, String) {
    let QueueReport { stats, held, .. } = queue;
    if let Some(backend) = backend.filter(|backend| backend.suspended_since.is_some()) {
        let text =
            format!("for the backend, which a signal or a debugger has stopped: {}", backend.next_step);
        return (WaitKind::Suspended, text);
    }
    let backend = backend.map(|backend| backend.status);
    let outage = |held: &OutageReport| awaited(&held.message);
    match (phase, held) {
        (PendingPhase::Running, _) => (WaitKind::Answer, "for the answer of the backend".to_owned()),
        (_, Some(held)) if held.waits_for_backend => (WaitKind::Backend(backend), outage(held)),
        (_, Some(held)) => (WaitKind::Outage(held.reason), outage(held)),
        (PendingPhase::BackingOff, None) => {
            (WaitKind::Retry, "for the next attempt, since one has failed".to_owned())
        }
        (PendingPhase::Waiting, None) if stats.running >= stats.max_concurrent + stats.slow => {
            let running = stats.running - stats.slow;
            (WaitKind::Turn, format!("for its turn: {running} of at most {} run", stats.max_concurrent))
        }
        (PendingPhase::Waiting, None) => {
            let full = if stats.slow > 0 { "group or its path" } else { "group" };
            (WaitKind::Group, format!("for its turn: as many of its {full} run as may"))
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_actors::queue::QueueStats;
    use mainstay_runtime::clock::WallTime;

    use super::*;
    use crate::{Priority, RequestId};

    fn stats(running: usize) -> QueueStats {
        QueueStats { max_concurrent: 2, running, ..QueueStats::default() }
    }

    fn backend(status: ActorStatus) -> OwnedBackendReport {
        let report = serde_json::json!({
            "status": status, "since": "2026-03-01T11:57:00Z", "gave_up": false, "generation": 1, "restarts": 0,
            "next_step": "restarted if it ends",
        });
        serde_json::from_value(report).unwrap()
    }

    fn wait(phase: PendingPhase, running: usize, held: Option<OutageReport>) -> (WaitKind, String) {
        let stats = stats(running);
        describe_wait(
            phase,
            &QueueReport { stats, held, ..QueueReport::default() },
            Some(&backend(ActorStatus::Starting)),
        )
    }

    #[test]
    fn wait_has_the_cause_that_the_queue_shows() {
        use PendingPhase::{BackingOff, Running, Waiting};

        let held = OutageReport {
            since: WallTime("2026-03-01T11:57:00Z".parse().unwrap()),
            reason: Reason::Disconnected,
            message: "The backend is starting.".to_owned(),
            waits_for_backend: true,
            failures: 0,
            next_probe_at: None,
            next_probe_in_ms: None,
        };
        let starting = (
            WaitKind::Backend(Some(ActorStatus::Starting)),
            "for the backend, which is starting.".to_owned(),
        );
        assert_eq!(wait(Waiting, 0, Some(held.clone())), starting);
        let queue = QueueReport { stats: stats(0), held: Some(held.clone()), ..QueueReport::default() };
        let mut notices = WaitNotices::default();
        let mut is_new = |status| notices.next(Waiting, &queue, Some(&backend(status))).is_some();
        assert_eq!(
            [ActorStatus::Starting, ActorStatus::Starting, ActorStatus::Restarting, ActorStatus::Restarting]
                .map(&mut is_new),
            [true, false, true, false]
        );
        assert_eq!(wait(Running, 0, Some(held.clone())).0, WaitKind::Answer);
        let held = OutageReport { waits_for_backend: false, ..held };
        assert_eq!(wait(BackingOff, 0, Some(held)).0, WaitKind::Outage(Reason::Disconnected));
        for (phase, running, text) in [
            (Running, 2, "for the answer of the backend"),
            (Waiting, 2, "for its turn: 2 of at most 2 run"),
            (Waiting, 1, "for its turn: as many of its group run as may"),
            (BackingOff, 2, "for the next attempt, since one has failed"),
        ] {
            assert_eq!(wait(phase, running, None).1, text);
        }
    }

    #[test]
    fn suspended_backend_is_what_every_request_waits_for() {
        let suspended = OwnedBackendReport {
            suspended_since: Some(backend(ActorStatus::Running).since),
            next_step: "`kill -CONT 12` lets it continue".to_owned(),
            ..backend(ActorStatus::Running)
        };
        let queue = QueueReport { stats: stats(2), ..QueueReport::default() };
        for phase in [PendingPhase::Running, PendingPhase::BackingOff, PendingPhase::Waiting] {
            let expected =
                "for the backend, which a signal or a debugger has stopped: `kill -CONT 12` lets it continue";
            assert_eq!(
                describe_wait(phase, &queue, Some(&suspended)),
                (WaitKind::Suspended, expected.to_owned())
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn own_request_is_the_one_of_its_age() {
        let own = OwnRequest { method: "GET".to_owned(), path: "/a".to_owned(), sent_at: Instant::now() };
        tokio::time::advance(Duration::from_secs(5)).await;
        let request = |path: &str, age_ms, phase| PendingRequest {
            request_id: RequestId(1),
            method: "GET".to_owned(),
            path: path.to_owned(),
            priority: Priority::Normal,
            phase,
            attempts: 1,
            age_ms,
        };
        let requests = [
            request("/a", 60_000, PendingPhase::Waiting),
            request("/a", 4990, PendingPhase::Running),
            request("/b", 5000, PendingPhase::BackingOff),
        ];
        assert_eq!(own.phase(&requests), Some(PendingPhase::Running));
        assert_eq!(own.phase(&requests[2..]), None, "it is answered from the cache, or has ended");
    }
}
