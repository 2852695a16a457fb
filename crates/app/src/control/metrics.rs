//! The status in the text format of Prometheus, version 0.0.4. Pure.
//!
//! Names end with their unit, seconds and bytes, and counts that only grow with `_total`. A state among several is 1
//! for the current one and 0 for each other. Counts start at 0 with each run of the runtime.

use std::fmt::{Display, Write};
use std::time::Duration;

use mainstay_actors::agent::AgentStatus;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::queue::{GroupStats, LatencyByPriority, RequestLatency};
use mainstay_runtime::ActorStatus;
use serde::Serialize;

use crate::owned_backend::OwnedBackendReport;
use crate::status::{
    AgentView, CacheReport, ConnectionReport, QueueReport, RuntimeReport, StatusReport, StorageReport,
    StorageState, WatchedFolder,
};

/// The content type of the text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const CONNECTION_STATES: [ConnectionState; 6] = [
    ConnectionState::Disabled,
    ConnectionState::Disconnected,
    ConnectionState::Connecting,
    ConnectionState::Connected,
    ConnectionState::Reconnecting,
    ConnectionState::Failed,
];

const ACTOR_STATUSES: [ActorStatus; 6] = [
    ActorStatus::Starting,
    ActorStatus::Running,
    ActorStatus::Stopping,
    ActorStatus::Restarting,
    ActorStatus::Stopped,
    ActorStatus::Failed,
];

const AGENT_STATUSES: [AgentStatus; 7] = [
    AgentStatus::Starting,
    AgentStatus::Healthy,
    AgentStatus::Degraded,
    AgentStatus::Failed,
    AgentStatus::Restarting,
    AgentStatus::Stopped,
    AgentStatus::Unknown,
];

/// Encodes the whole status as one text.
pub(super) fn encode(status: &StatusReport) -> String {
    let mut page = TextEncoder::default();
    runtime(&mut page, &status.runtime);
    if let Some(owned) = &status.backend {
        backend(&mut page, owned);
    }
    connection(&mut page, &status.connection);
    queue(&mut page, &status.queue);
    cache(&mut page, &status.cache);
    agents(&mut page, &status.agents);
    storage(&mut page, &status.storage);
    page.0
}

fn runtime(page: &mut TextEncoder, status: &RuntimeReport) {
    page.gauge("mainstay_uptime_seconds", "Time since the start of the runtime.", seconds(status.uptime_ms));
    page.counter("mainstay_journal_events_total", "Events that this run has recorded.", status.seq);
}

fn backend(page: &mut TextEncoder, report: &OwnedBackendReport) {
    let statuses = ACTOR_STATUSES.map(|status| (label_value(status), u8::from(status == report.status)));
    page.gauges(
        "mainstay_backend_status",
        "State of the backend's own process: 1 for the present one.",
        &["status"],
        &statuses.map(labelled_sample),
    );
    let supervision = &report.supervision;
    page.counter(
        "mainstay_backend_restarts_total",
        "Restarts of the backend since its last reset.",
        supervision.restarts,
    );
    if let Some(left) = supervision.budget_left {
        page.gauge("mainstay_backend_restarts_left", "Restarts before it is given up; 0 once it is.", left);
    }
    page.gauge(
        "mainstay_backend_gave_up",
        "1 once it is given up: its restarts are used up, or none can help.",
        u8::from(supervision.gave_up),
    );
    page.gauge(
        "mainstay_backend_noisy",
        "1 while it prints more than its log takes.",
        u8::from(report.noisy),
    );
}

fn connection(page: &mut TextEncoder, report: &ConnectionReport) {
    let states = CONNECTION_STATES.map(|state| (label_value(state), u8::from(state == report.state)));
    page.gauges(
        "mainstay_connection_state",
        "State of the WebSocket: 1 for the present one.",
        &["state"],
        &states.map(labelled_sample),
    );
    page.gauge(
        "mainstay_connection_attempt",
        "The current or next attempt to connect, or the one that succeeded.",
        report.attempt,
    );
    page.gauge("mainstay_connection_max_attempts", "Failures in a row after which it gives up.", report.max);
    if let Some(next) = report.next_attempt_in_ms {
        page.gauge("mainstay_connection_next_attempt_seconds", "Time until the next attempt.", seconds(next));
    }
}

fn queue(page: &mut TextEncoder, report: &QueueReport) {
    let stats = &report.stats;
    let waiting = stats.by_priority;
    let waiting = [("high", waiting.high), ("normal", waiting.normal), ("low", waiting.low)];
    let waiting = waiting.map(|(priority, count)| labelled_sample((priority.to_owned(), count)));
    page.gauges(
        "mainstay_queue_waiting_requests",
        "Requests that wait, by their priority.",
        &["priority"],
        &waiting,
    );
    page.gauge(
        "mainstay_queue_backing_off_requests",
        "Waiting requests whose retry delay is not over.",
        stats.backing_off,
    );
    page.gauge("mainstay_queue_running_requests", "Attempts in flight.", stats.running);
    page.gauge(
        "mainstay_queue_slow_requests",
        "Attempts in flight beside the limit, because their path is slow.",
        stats.slow,
    );
    page.gauge(
        "mainstay_queue_max_running_requests",
        "The most attempts that may be in flight at once, without slow ones of one path.",
        stats.max_concurrent,
    );
    page.gauge(
        "mainstay_queue_held",
        "1 while all requests wait, because the backend cannot be reached.",
        u8::from(report.held.is_some()),
    );
    groups(page, &stats.groups);
    durations(page, &report.latency);
}

/// Adds the durations of requests by priority, as quantiles over the last spans, and as sums since the start.
fn durations(page: &mut TextEncoder, latency: &RequestLatency) {
    let LatencyByPriority { high, normal, low } = &latency.by_priority;
    let lanes = [("high", high), ("normal", normal), ("low", low)];
    let mut samples = Vec::new();
    for (priority, figures) in lanes {
        for (quantile, ms) in [("0.5", figures.p50_ms), ("0.95", figures.p95_ms)] {
            let sample = |ms| ("", vec![priority.to_owned(), quantile.to_owned()], seconds(ms).to_string());
            samples.extend(ms.map(sample));
        }
        let (total, count) = (seconds(figures.total_ms).to_string(), figures.count.to_string());
        samples.push(("_sum", vec![priority.to_owned()], total));
        samples.push(("_count", vec![priority.to_owned()], count));
    }
    page.summary(
        "mainstay_request_duration_seconds",
        "Time from a request's acceptance to its response or error.",
        &["priority", "quantile"],
        &samples,
    );
    let failed = lanes.map(|(priority, figures)| labelled_sample((priority.to_owned(), figures.failed)));
    page.family(
        "mainstay_requests_failed_total",
        MetricKind::Counter,
        "Requests that ended with an error.",
        &["priority"],
        &failed,
    );
}

/// Adds the groups of requests that have a limit, by their patterns.
fn groups(page: &mut TextEncoder, groups: &[GroupStats]) {
    for (name, help, figure) in [
        (
            "waiting_requests",
            "Requests of the group that wait.",
            (|group| group.waiting) as fn(&GroupStats) -> usize,
        ),
        ("running_requests", "Attempts of the group in flight.", |group| group.running),
        ("max_running_requests", "The most attempts of the group in flight at once.", |group| {
            group.max_concurrent
        }),
    ] {
        let samples: Vec<_> =
            groups.iter().map(|group| labelled_sample((group.path.to_string(), figure(group)))).collect();
        page.gauges(&format!("mainstay_queue_group_{name}"), help, &["group"], &samples);
    }
}

fn cache(page: &mut TextEncoder, report: &CacheReport) {
    let CacheReport { stats, folders } = report;
    page.gauge("mainstay_cache_entries", "Values that are kept.", stats.entries);
    page.gauge("mainstay_cache_bytes", "Size of all values, with their keys.", stats.bytes);
    page.gauge("mainstay_cache_max_bytes", "Largest size of all values.", stats.bytes_max);
    if let Some(oldest) = stats.oldest_ms {
        page.gauge("mainstay_cache_oldest_age_seconds", "The age of the oldest value.", seconds(oldest));
    }
    for (name, help, count) in [
        ("hits", "Lookups that found a fresh value, or a failure that is kept.", stats.hits),
        ("stale_hits", "Lookups answered with a stale value, while it was loaded again.", stats.stale_hits),
        ("misses", "Lookups that found nothing.", stats.misses),
        ("loads", "Loads that have begun.", stats.loads),
        ("load_failures", "Loads that ended with an error.", stats.load_failures),
        (
            "loads_superseded",
            "Loads whose value was not kept, since something newer came.",
            stats.loads_superseded,
        ),
        ("evictions", "Values dropped because the cache was full.", stats.evictions),
        ("invalidated_entries", "Values that were invalidated.", stats.invalidated),
    ] {
        page.counter(&format!("mainstay_cache_{name}_total"), help, count);
    }
    let watched =
        |folder: &WatchedFolder| (vec![folder.path.clone()], u8::from(folder.is_watched).to_string());
    let watched: Vec<MetricSample> = folders.iter().map(watched).collect();
    page.gauges(
        "mainstay_cache_folder_watched",
        "1 while the folder is watched, and its files are cached.",
        &["folder"],
        &watched,
    );
}

fn agents(page: &mut TextEncoder, agents: &[AgentView]) {
    let statuses: Vec<_> = agents
        .iter()
        .flat_map(|agent| {
            AGENT_STATUSES.map(|status| {
                (
                    vec![agent.report.id.clone(), label_value(status)],
                    u8::from(status == agent.report.status).to_string(),
                )
            })
        })
        .collect();
    page.gauges(
        "mainstay_agent_status",
        "State of each agent: 1 for the present one.",
        &["agent", "status"],
        &statuses,
    );
    let each = |figure: fn(&AgentView) -> Option<u64>| {
        let of_one = |agent: &AgentView| Some(labelled_sample((agent.report.id.clone(), figure(agent)?)));
        agents.iter().filter_map(of_one).collect::<Vec<_>>()
    };
    page.family(
        "mainstay_agent_restarts_total",
        MetricKind::Counter,
        "Restarts of the agent since its last reset.",
        &["agent"],
        &each(|agent| Some(agent.supervision.restarts)),
    );
    for (name, help, figure) in
        [
            (
                "restarts_left",
                "Restarts before it is given up; 0 once it is; absent without a limit.",
                (|agent| agent.supervision.budget_left.map(u64::from)) as fn(&AgentView) -> Option<u64>,
            ),
            ("gave_up", "1 once it is given up: its restarts are used up, or none can help.", |agent| {
                Some(u64::from(agent.supervision.gave_up))
            }),
            ("noisy", "1 while its process prints more than its log takes.", |agent| {
                Some(u64::from(agent.noisy))
            }),
            ("missed_checks", "Checks missed in a row.", |agent| Some(u64::from(agent.report.misses))),
            ("messages_waiting", "Messages that wait to be sent to it.", |agent| {
                Some(agent.report.messages_waiting as u64)
            }),
            ("messages_in_flight", "Messages that it works on.", |agent| {
                Some(agent.report.messages_in_flight as u64)
            }),
            ("questions", "Questions that wait for an answer.", |agent| {
                Some(agent.report.questions.len() as u64)
            }),
        ]
    {
        page.gauges(&format!("mainstay_agent_{name}"), help, &["agent"], &each(figure));
    }
}

fn storage(page: &mut TextEncoder, report: &StorageReport) {
    let parts = [("journal", &report.journal), ("state", &report.state), ("logs", &report.logs)];
    let is_degraded = |state: &StorageState| u8::from(*state != StorageState::Ok);
    page.gauges(
        "mainstay_storage_degraded",
        "1 while writes to the files may be lost.",
        &["part"],
        &parts.map(|(part, state)| labelled_sample((part.to_owned(), is_degraded(state)))),
    );
}

/// A sample: the values of its labels, and its figure.
type MetricSample = (Vec<String>, String);

fn labelled_sample((label, figure): (String, impl Display)) -> MetricSample {
    (vec![label], figure.to_string())
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

/// Writes a state as everywhere else.
fn label_value(state: impl Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

#[derive(Clone, Copy)]
enum MetricKind {
    Counter,
    Gauge,
}

/// The text, so far.
#[derive(Default)]
struct TextEncoder(String);

impl TextEncoder {
    fn counter(&mut self, name: &str, help: &str, figure: u64) {
        self.family(name, MetricKind::Counter, help, &[], &[(Vec::new(), figure.to_string())]);
    }

    fn gauge(&mut self, name: &str, help: &str, figure: impl Display) {
        self.gauges(name, help, &[], &[(Vec::new(), figure.to_string())]);
    }

    fn gauges(&mut self, name: &str, help: &str, labels: &[&str], samples: &[MetricSample]) {
        self.family(name, MetricKind::Gauge, help, labels, samples);
    }

    /// Adds all samples of one name; nothing if there is none.
    fn family(
        &mut self,
        name: &str,
        kind: MetricKind,
        help: &str,
        labels: &[&str],
        samples: &[MetricSample],
    ) {
        if samples.is_empty() {
            return;
        }
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        self.head(name, kind, help);
        for (values, figure) in samples {
            self.sample(name, labels, values, figure);
        }
    }

    /// Adds the samples of a summary, each with the end of its name. A sum or count has fewer labels than a quantile.
    fn summary(&mut self, name: &str, help: &str, labels: &[&str], samples: &[(&str, Vec<String>, String)]) {
        self.head(name, "summary", help);
        for (end, values, figure) in samples {
            self.sample(&format!("{name}{end}"), labels, values, figure);
        }
    }

    // A string takes what is written to it.

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[&str], values: &[String], figure: &str) {
        let pairs: Vec<_> = labels
            .iter()
            .zip(values)
            .map(|(label, value)| format!("{label}=\"{}\"", escape_label(value)))
            .collect();
        let pairs = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(self.0, "{name}{pairs} {figure}");
    }
}

/// Escapes a label's value for its place between quotes.
fn escape_label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use serde_json::json;

    use super::*;

    const TIME: &str = "2026-03-01T11:57:00Z";

    fn agent(id: &str, status: &str, budget_left: Option<u32>) -> serde_json::Value {
        json!({
            "id": id, "driver": "http", "status": status, "since": TIME, "generation": 3, "restarts": 2,
            "budget_left": budget_left, "restart_at": null, "last_error": null, "misses": 1, "last_check": null,
            "uptime_s": null, "error_count": null, "state_saved_at": null, "messages_waiting": 4, "next_step": "",
        })
    }

    fn figures(count: u64, ms: u64) -> serde_json::Value {
        let quantile = (count > 0).then_some(ms);
        json!({ "count": count, "failed": 1, "total_ms": 1500, "p50_ms": quantile, "p95_ms": quantile })
    }

    fn status() -> serde_json::Value {
        json!({
            "runtime": {"run": 3, "boot": "b", "pid": 1, "uptime_ms": 61_500, "seq": 1234},
            "backend": {
                "status": "starting", "since": TIME, "pid": 4711, "url": "http://127.0.0.1:8000", "awaits": "it runs",
                "last_line": null, "gave_up": false, "generation": 2, "restarts": 1, "budget_left": 4,
                "restart_at": null, "last_error": null, "next_step": "",
            },
            "connection": {
                "state": "reconnecting", "since": TIME, "attempt": 3, "max": 10, "next_attempt_at": TIME,
                "next_attempt_in_ms": 250, "last_error": null,
            },
            "queue": {
                "waiting": 6, "backing_off": 1, "running": 5, "max_concurrent": 5,
                "by_priority": {"high": 1, "normal": 2, "low": 3}, "held": null,
                "groups": [{"path": "/api/model/**", "waiting": 4, "running": 2, "max_concurrent": 2}],
                "latency": {
                    "all": figures(7, 30),
                    "by_priority": {"high": figures(0, 0), "normal": figures(7, 30), "low": figures(0, 0)},
                    "spans": [],
                },
            },
            "cache": {
                "entries": 7, "bytes": 4096, "bytes_max": 67_108_864, "hits": 100, "stale_hits": 2, "misses": 30,
                "loads": 28, "load_failures": 3, "loads_superseded": 1, "evictions": 4, "invalidated": 9,
                "oldest_ms": 12_000, "folders": [{"path": "/home/ada/notes", "is_watched": true}],
            },
            "agents": [agent("planner", "healthy", Some(5))],
            "storage": {"journal": "ok", "state": "the disk is full"},
        })
    }

    fn text_of(status: serde_json::Value) -> String {
        encode(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn metrics_cover_whole_status_in_text_format() {
        expect_file!["metrics.txt"].assert_eq(&text_of(status()));
    }

    #[test]
    fn unknown_figures_are_left_out_of_metrics() {
        let mut status = status();
        status["connection"]["next_attempt_in_ms"] = json!(null);
        status["cache"]["oldest_ms"] = json!(null);
        status["agents"] = json!([agent("planner", "healthy", None)]);
        let text = text_of(status.clone());
        for name in [
            "mainstay_connection_next_attempt_seconds",
            "mainstay_cache_oldest_age_seconds",
            "agent_restarts_left",
        ] {
            assert!(!text.contains(name), "{name}\n{text}");
        }
        status["agents"] = json!([]);
        assert!(!text_of(status).contains("mainstay_agent"));
    }

    #[test]
    fn label_cannot_end_its_line() {
        let mut status = status();
        status["agents"] = json!([agent("a\"b\\c\nd", "failed", None)]);
        let line = r#"mainstay_agent_status{agent="a\"b\\c\nd",status="failed"} 1"#;
        assert!(text_of(status).lines().any(|one| one == line));
    }

    #[test]
    fn exactly_one_state_sample_is_1() {
        let mut status = status();
        for state in CONNECTION_STATES.map(label_value) {
            status["connection"]["state"] = json!(state);
            let lines = text_of(status.clone());
            let lines: Vec<_> =
                lines.lines().filter(|line| line.starts_with("mainstay_connection_state{")).collect();
            let ones: Vec<_> = lines.iter().filter(|line| line.ends_with(" 1")).collect();
            assert_eq!(ones, [&&*format!("mainstay_connection_state{{state=\"{state}\"}} 1")]);
        }
        for state in AGENT_STATUSES.map(label_value) {
            status["agents"][0]["status"] = json!(state);
            let line = format!("mainstay_agent_status{{agent=\"planner\",status=\"{state}\"}} 1");
            assert!(text_of(status.clone()).lines().any(|one| one == line), "{line}");
        }
    }
}
