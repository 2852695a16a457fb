//! Reports what is, and what was: the tree, the status, events, incidents and the history.

use std::sync::Arc;

use jiff::tz::TimeZone;
use mainstay_runtime::TreeNode;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::{self, Cursor, Journal, millis};
use tokio::task::spawn_blocking;

use super::Mainstay;
use crate::history::{HistoryLanes, HistoryLog, HistoryMoment};
use crate::incidents::Incident;
use crate::journal_folds::{EventFold, JournalFold};
use crate::owned_backend::{OwnedBackendReport, absence};
use crate::status::{OutageReport, QueueReport, RuntimeReport, StatusReport, StorageReport};
use crate::subscription::Subscription;
use crate::supervision_report::{Suspended, complete_tree};
use crate::tree_place::TreePlace;
use crate::verdict::{StoppingFacts, Verdict, VerdictFacts};

impl Mainstay {
    /// Returns the current supervision tree. The `next_step` of an agent or a backend that was given up names the command
    /// that helps; one whose process is stopped by a signal or a debugger is `suspended`. Asks no actor.
    #[must_use]
    pub fn tree(&self) -> TreeNode {
        let mut tree = self.0.runtime.tree();
        let (agents, backend) = (self.agents(), self.backend());
        complete_tree(&mut tree, &|place| match place {
            TreePlace::Backend => {
                let report =
                    backend.as_ref()?.bare_report().filter(|report| report.suspended_since.is_some())?;
                Some(Suspended { last_error: report.last_error, next_step: report.next_step })
            }
            TreePlace::Agent(id) => {
                let view = agents.suspended(id)?;
                Some(Suspended { last_error: view.last_error, next_step: view.next_step })
            }
        });
        tree
    }

    /// Subscribes to the events from the oldest one that is kept. The stream ends when the runtime has stopped.
    pub fn events(&self) -> Subscription {
        self.subscription(self.journal().subscribe())
    }

    /// Subscribes to the events after `cursor`, across runs: see [`Journal::subscribe_after`].
    pub fn events_after(&self, cursor: Cursor) -> Subscription {
        self.subscription(self.journal().subscribe_after(cursor))
    }

    fn subscription(&self, events: journal::JournalSubscription) -> Subscription {
        Subscription::new(events, self.0.has_stopped.subscribe())
    }

    /// Returns the incidents of the journal, oldest first, at most the last 200: what failed, what was decided about it,
    /// and how it ended. The first call reads all events that are kept, and each later one those that have come since.
    pub async fn incidents(&self) -> Vec<Incident> {
        let mut fold = self.0.incidents.lock().await;
        self.read_events(&mut fold).await;
        fold.log.incidents().cloned().collect()
    }

    /// Returns the tree and the verdict as they were at `at`, as far as the journal goes back. Reads the journal as
    /// [`incidents`](Self::incidents) does.
    pub async fn history_at(&self, at: WallTime) -> HistoryMoment {
        self.of_history(move |log| log.at(at.0, &TimeZone::system())).await
    }

    /// Returns the states of the actors from `from` to `to`; without one of these, from the first event that is kept, or
    /// until now. Reads the journal as [`incidents`](Self::incidents) does.
    pub async fn history_lanes(&self, from: Option<WallTime>, to: Option<WallTime>) -> HistoryLanes {
        self.of_history(move |log| log.lanes(from.map(|at| at.0), to.map(|at| at.0))).await
    }

    /// Computes something of the history, on a thread for work that blocks: lanes take tens of milliseconds. Other callers
    /// need not wait for that.
    pub(crate) async fn of_history<T: Send + 'static>(
        &self,
        compute: impl Fn(&HistoryLog) -> T + Copy + Send + 'static,
    ) -> T {
        let log = self.history().await;
        let shared = Arc::clone(&log);
        let computed = spawn_blocking(move || compute(&shared)).await;
        // Without an outcome the runtime of tokio ends, or the computation panics here too.
        computed.unwrap_or_else(|_| compute(&log))
    }

    /// Returns the history after the events that have come since the last call. The first call reads whole files.
    async fn history(&self) -> Arc<HistoryLog> {
        let mut fold = self.0.history.lock().await;
        if let Some(dir) = self.journal().dir() {
            fold.read_files(dir).await;
        }
        self.read_events(&mut fold).await;
        Arc::clone(&fold.log)
    }

    /// Reads the events that have come since the last call.
    async fn read_events<L: EventFold>(&self, fold: &mut JournalFold<L>) {
        let end = self.journal().cursor();
        let events = self.events_after(fold.cursor());
        fold.read(events, end).await;
    }

    /// Returns the journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        self.0.runtime.journal()
    }

    /// Returns the runtime's wall time.
    pub(crate) fn now(&self) -> WallTime {
        let time_point = self.0.time_point();
        time_point.wall_time(time_point.now)
    }

    /// Returns the state of everything in one view.
    pub async fn status(&self) -> StatusReport {
        let journal = self.journal();
        let Cursor { run, seq } = journal.cursor();
        let stopping_since = self.0.runtime.stopping_since();
        let mut status = StatusReport {
            verdict: Verdict::default(),
            runtime: RuntimeReport {
                run,
                boot: journal.boot().to_owned(),
                pid: std::process::id(),
                uptime_ms: millis(journal.now()),
                stopping_since: stopping_since.map(|since| self.0.time_point().wall_time(since)),
                seq,
            },
            backend: self
                .backend()
                .and_then(|backend| backend.report())
                .map(OwnedBackendReport::without_output),
            connection: self.connection().report(),
            queue: self.queue_report(),
            cache: self.cache().report(),
            agents: self.agents().list(),
            storage: StorageReport {
                journal: journal.degraded().into(),
                state: self.0.runtime.state_degraded().into(),
                logs: self.0.handles.logs.degraded().into(),
            },
        };
        let mut facts = VerdictFacts::of_status(&status);
        if let Some(since) = status.runtime.stopping_since {
            facts.stopping = Some(StoppingFacts::of_tree(since, &self.0.runtime.tree()));
        }
        status.verdict = Verdict::of(&facts, self.now().0, &TimeZone::system());
        status
    }

    fn queue_report(&self) -> QueueReport {
        let (stats, time_point) = (self.0.handles.queue_view.stats(), self.0.time_point());
        let now = time_point.now;
        let absence = self.0.handles.owned_backend.as_ref().and_then(|backend| absence(backend, now));
        let held = stats.outage.map(|outage| {
            let next_probe = outage.next_probe_after(now).filter(|_| absence.is_none());
            OutageReport {
                since: time_point.wall_time(outage.since),
                reason: outage.reason,
                waits_for_backend: absence.is_some(),
                message: absence.map_or_else(|| outage.reason.message().to_owned(), |absence| absence.text),
                failures: outage.failures,
                next_probe_at: next_probe.map(|at| time_point.wall_time(at)),
                next_probe_in_ms: next_probe.map(|at| millis(at - now)),
            }
        });
        let latency = self.0.handles.queue_view.latency(|at| time_point.wall_time(at));
        QueueReport { stats, latency, held }
    }
}
