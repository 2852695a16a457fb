//! Shows a runtime's answers to a person.

use anstyle::Style;
use mainstay_actors::cache::CacheStats;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::json::Json;
use mainstay_actors::queue::GroupStats;
use mainstay_runtime::journal::{count, escape_controls, millis_text};
use mainstay_runtime::{ActorStatus, TreeNode};
use serde::Deserialize;

use super::agent_report;
use super::client::BridgeClient;
use super::error::CliError;
use super::event_format::{print_output, without_shown_line};
use super::output::{self, Output};
use super::stderr::error_line;
use super::units::bytes_text;
use crate::owned_backend::OwnedBackendReport;
use crate::status::{
    CacheReport, ConnectionReport, OutageReport, QueueReport, StatusReport, StorageReport, StorageState,
    WatchedFolder,
};
use crate::verdict::{Verdict, VerdictLevel};

/// The most actors of a tree whose next step is printed below it.
const NEXT_STEPS_MAX: usize = 10;

/// Prints everything in one view.
pub(super) fn status(out: &mut Output, status: StatusReport) -> Result<(), CliError> {
    let StatusReport {
        verdict,
        runtime,
        backend: owned,
        connection: link,
        queue,
        cache,
        agents: list,
        storage,
    } = status;
    print_verdict(out, &verdict)?;
    let whole_seconds = runtime.uptime_ms - runtime.uptime_ms % 1000;
    let uptime = millis_text(if whole_seconds == 0 { runtime.uptime_ms } else { whole_seconds });
    let text = format!(
        "process {}, up {uptime}, event {}, boot {}",
        runtime.pid,
        runtime.cursor(),
        escape_controls(&runtime.boot)
    );
    out.fact("runtime", &text)?;
    if let Some(owned) = &owned {
        backend(out, owned)?;
    }
    connection(out, &link)?;
    requests(out, &queue, owned.as_ref())?;
    print_cache(out, &cache)?;
    print_storage(out, &storage)?;
    out.line("")?;
    agent_report::list(out, &list)
}

/// Returns the style of a verdict.
pub(super) fn verdict_style(level: VerdictLevel) -> Style {
    match level {
        VerdictLevel::Ok => output::SUCCESS,
        VerdictLevel::Notice => output::PLAIN,
        VerdictLevel::Warning => output::WARNING,
        VerdictLevel::Error => output::ERROR,
    }
}

fn print_verdict(out: &mut Output, verdict: &Verdict) -> Result<(), CliError> {
    let style = verdict_style(verdict.level);
    out.paragraph("", &out.paint(&escape_controls(&verdict.text), style), 0)?;
    match &verdict.action {
        Some(action) => out.paragraph("", &out.paint(&format!("try: {}", action.command()), output::DIM), 0),
        None => Ok(()),
    }
}

fn print_cache(out: &mut Output, cache: &CacheReport) -> Result<(), CliError> {
    let CacheReport { stats, folders } = cache;
    let loads = if stats.loads == 0 { String::new() } else { format!(", {}", count(stats.loads, "load")) };
    let text = format!("{} entries, {}, {}{loads}", stats.entries, bytes_text(stats.bytes), lookups(stats));
    out.fact("cache", &text)?;
    watched_folders(out, folders, "")
}

/// Describes the lookups in a cache. As in the metrics, a hit is fresh.
pub(super) fn lookups(stats: &CacheStats) -> String {
    let misses = if stats.misses == 1 { "miss" } else { "misses" };
    let (hits, stale_hits) = (count(stats.hits, "hit"), count(stats.stale_hits, "stale hit"));
    format!("{hits}, {stale_hits}, {} {misses}", stats.misses)
}

/// Prints the folders of `cache.watch`, the first behind a label.
pub(super) fn watched_folders(
    out: &mut Output,
    folders: &[WatchedFolder],
    mut label: &'static str,
) -> Result<(), CliError> {
    for folder in folders {
        let state = match folder.is_watched {
            true => out.paint("watched", output::SUCCESS),
            false => out.paint("not watched", output::WARNING),
        };
        let why = if folder.is_watched { "" } else { ": see watch_lost in the events" };
        out.fact(label, &format!("{} {state}{why}", escape_controls(&folder.path)))?;
        label = "";
    }
    Ok(())
}

fn print_storage(out: &mut Output, storage: &StorageReport) -> Result<(), CliError> {
    let parts = [("journal", &storage.journal), ("states", &storage.state), ("logs", &storage.logs)];
    let mut label = "storage";
    for (part, state) in parts {
        let state = match state {
            StorageState::Ok => out.paint("ok", output::SUCCESS),
            StorageState::Degraded(reason) => {
                format!("{}: {}", out.paint("degraded", output::ERROR), escape_controls(reason))
            }
        };
        out.fact(label, &format!("{part} {state}"))?;
        label = "";
    }
    Ok(())
}

fn requests(
    out: &mut Output,
    queue: &QueueReport,
    owned: Option<&OwnedBackendReport>,
) -> Result<(), CliError> {
    let QueueReport { stats, latency, held: hold } = queue;
    let beside = match stats.slow {
        0 => String::new(),
        slow => format!(", beside {slow} slow ones of one path"),
    };
    let running = stats.running - stats.slow.min(stats.running);
    let text = format!("{running} running of {}{beside}, {} waiting", stats.max_concurrent, stats.waiting);
    out.fact("queue", &text)?;
    let shows_all = out.is_wide();
    for group in stats.groups.iter().filter(|group| shows_all || group.waiting > 0) {
        let GroupStats { path, waiting, running, max_concurrent } = group;
        let text = format!("limit {path}: {running} running of {max_concurrent}, {waiting} waiting");
        out.fact("", &escape_controls(&text))?;
    }
    if let (true, Some(p50), Some(p95)) = (shows_all, latency.all.p50_ms, latency.all.p95_ms) {
        let text =
            format!("half of the last requests took at most {}, 95 % {}", millis_text(p50), millis_text(p95));
        out.fact("", &text)?;
    }
    let Some(hold) = hold else { return Ok(()) };
    let held = out.paint("held", output::WARNING);
    let next = hold_step(hold, owned);
    out.fact("", &format!("{held} since {}, {next}", out.moment(hold.since.0)))?;
    out.fact("", &escape_controls(&hold.message))
}

/// Returns what happens to requests during an outage; `owned` is the backend that the runtime starts.
fn hold_step(hold: &OutageReport, owned: Option<&OwnedBackendReport>) -> String {
    match hold.next_probe_in_ms {
        Some(ms) => format!("next probe in {}", millis_text(ms)),
        None if owned.is_some_and(OwnedBackendReport::is_absent_for_good) => {
            "requests fail at once until a command starts the backend".to_owned()
        }
        None if hold.waits_for_backend => "nothing is sent before the backend is ready".to_owned(),
        None => "the next request tries at once".to_owned(),
    }
}

/// Prints the backend's own process.
pub(super) fn backend(out: &mut Output, backend: &OwnedBackendReport) -> Result<(), CliError> {
    let (name, style) = actor_status(backend.status);
    let process = backend.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
    let url = backend.url.as_ref().map(|url| format!(", {}", escape_controls(url))).unwrap_or_default();
    let noisy = if backend.noisy { ", noisy" } else { "" };
    let (suspended, since, style) = match backend.suspended_since {
        Some(since) => (", suspended", since, output::WARNING),
        None => ("", backend.since, style),
    };
    let name = out.paint(&format!("{name}{noisy}{suspended}"), style);
    out.fact("backend", &format!("{name} since {}{process}{url}", out.moment(since.0)))?;
    out.fact("", &escape_controls(&backend.next_step))?;
    if let Some(line) = &backend.last_line {
        out.fact("", &format!("last line: {}", escape_controls(line)))?;
    }
    if let Some(error) = &backend.last_error {
        out.fact("", &escape_controls(&without_shown_line(error, &backend.output)))?;
    }
    if backend.output_is_old {
        out.fact("", "before this start:")?;
    }
    print_output(out, &backend.output)
}

/// Prints the connection.
pub(super) fn connection(out: &mut Output, link: &ConnectionReport) -> Result<(), CliError> {
    let (name, style) = match link.state {
        ConnectionState::Disabled => ("disabled", output::DIM),
        ConnectionState::Disconnected => ("disconnected", output::WARNING),
        ConnectionState::Connecting => ("connecting", output::WARNING),
        ConnectionState::Connected => ("connected", output::SUCCESS),
        ConnectionState::Reconnecting => ("reconnecting", output::WARNING),
        ConnectionState::Failed => ("failed", output::ERROR),
    };
    let mut line = format!("{} since {}", out.paint(name, style), out.moment(link.since.0));
    if matches!(link.state, ConnectionState::Connecting | ConnectionState::Reconnecting) {
        line.push_str(&format!(", attempt {} of {}", link.attempt, link.max));
    }
    if let Some(ms) = link.next_attempt_in_ms {
        line.push_str(&format!(", next attempt in {}", millis_text(ms)));
    }
    out.fact("connection", &line)?;
    if !matches!(link.state, ConnectionState::Connected | ConnectionState::Connecting) {
        out.fact("", &format!("next: {}", escape_controls(&link.next_step)))?;
    }
    match &link.last_error {
        Some(error) if link.state != ConnectionState::Connected => {
            let at = link.last_error_at.map(|at| format!(" ({})", out.moment(at.0))).unwrap_or_default();
            out.fact("", &format!("{}{at}", escape_controls(error)))
        }
        _ => Ok(()),
    }
}

/// Prints the supervision tree.
pub(super) fn tree(out: &mut Output, root: &TreeNode) -> Result<(), CliError> {
    let mut rows = Vec::new();
    add_rows(&mut rows, root, "", "");
    out.table(&["actor", "status", "gen", "restarts", "left", "mailbox", "last error"], &rows)?;
    let mut concerned = Vec::new();
    add_concerned(&mut concerned, root);
    if !concerned.is_empty() {
        out.line("")?;
    }
    for (node, step) in concerned.iter().take(NEXT_STEPS_MAX) {
        let path = out.paint(&escape_controls(&node.path), tree_status(node).1);
        out.paragraph(&format!("{path}: "), &escape_controls(step), 2)?;
    }
    match concerned.len().saturating_sub(NEXT_STEPS_MAX) {
        0 => Ok(()),
        more => out.line(&format!("and {more} more that were given up or are suspended: -o json shows all")),
    }
}

/// Adds each actor that was given up or is suspended, with its next step.
fn add_concerned<'a>(found: &mut Vec<(&'a TreeNode, &'a str)>, node: &'a TreeNode) {
    let is_concerned = node.suspended || node.info.status == ActorStatus::Failed;
    if let Some(step) = node.info.next_step.as_deref().filter(|_| is_concerned) {
        found.push((node, step));
    }
    node.children.iter().for_each(|child| add_concerned(found, child));
}

/// Returns an actor's status as a word, with its style.
pub(super) fn tree_status(node: &TreeNode) -> (String, Style) {
    match actor_status(node.info.status) {
        (status, _) if node.suspended => (format!("{status}, suspended"), output::WARNING),
        (status, style) => (status.to_owned(), style),
    }
}

fn add_rows(rows: &mut Vec<Vec<(String, Style)>>, node: &TreeNode, here: &str, below: &str) {
    let vitals = &node.info;
    let name = node.path.rsplit('/').next().unwrap_or(&node.path);
    let plain = |text: String| (text, output::PLAIN);
    rows.push(vec![
        plain(format!("{here}{name}")),
        tree_status(node),
        plain(vitals.generation.to_string()),
        plain(vitals.restarts.to_string()),
        plain(vitals.budget_left.map_or_else(|| "no limit".to_owned(), |left| left.to_string())),
        plain(node.mailbox.to_string()),
        (vitals.last_error.clone().unwrap_or_default(), output::DIM),
    ]);
    for (at, child) in node.children.iter().enumerate() {
        let is_last = at + 1 == node.children.len();
        let (branch, stem) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        add_rows(rows, child, &format!("{below}{branch}"), &format!("{below}{stem}"));
    }
}

fn actor_status(status: ActorStatus) -> (&'static str, Style) {
    match status {
        ActorStatus::Starting => ("starting", output::WARNING),
        ActorStatus::Running => ("running", output::SUCCESS),
        ActorStatus::Stopping => ("stopping", output::WARNING),
        ActorStatus::Restarting => ("restarting", output::WARNING),
        ActorStatus::Stopped => ("stopped", output::DIM),
        ActorStatus::Failed => ("failed", output::ERROR),
    }
}

/// Prints a response, or the error in its place; with `json`, the error goes to stdout as well.
pub(super) fn response(
    out: &mut Output,
    client: &BridgeClient,
    answer: Result<Json, CliError>,
    json: bool,
) -> Result<(), CliError> {
    let response = print_error_json(out, answer, json)?;
    if json {
        return out.json(&response);
    }
    #[derive(Deserialize)]
    struct ResponseLine {
        status: u16,
        body: Json,
        ms: u64,
        cached: bool,
        attempts: u64,
    }
    let ResponseLine { status, body, ms, cached, attempts } = client.parse(&response)?;
    let cached = if cached { ", from the cache" } else { "" };
    error_line(&format!("HTTP {status} in {ms} ms, {}{cached}", count(attempts, "attempt")));
    text_or_json(out, &body)
}

/// Prints an answer; with `json`, an error in its place goes to stdout as well.
pub(super) fn print_error_json(
    out: &mut Output,
    answer: Result<Json, CliError>,
    json: bool,
) -> Result<Json, CliError> {
    if let Err(failure) = &answer
        && let Some(error) = failure.error().filter(|_| json)
    {
        out.json(&Json::from_serialize(&error).unwrap_or_default())?;
    }
    answer
}

/// Prints a text as such, and anything else as JSON.
pub(super) fn text_or_json(out: &mut Output, value: &Json) -> Result<(), CliError> {
    match value.read::<String>() {
        Ok(text) => out.foreign_text(&text),
        Err(_) => out.json(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hold_says_what_happens_to_requests() {
        let step = |status: Option<&str>, next_probe_in_ms: Option<u64>| {
            let hold = json!({
                "since": "2026-03-01T11:57:00Z", "reason": "disconnected", "message": "", "failures": 0,
                "waits_for_backend": status.is_some(), "next_probe_in_ms": next_probe_in_ms,
            });
            let owned = status.map(|status| {
                serde_json::from_value(json!({
                    "status": status, "since": "2026-03-01T11:57:00Z", "generation": 1, "restarts": 0, "next_step": "",
                }))
            });
            let owned = owned.transpose().unwrap();
            hold_step(&serde_json::from_value(hold).unwrap(), owned.as_ref())
        };
        assert_eq!(step(None, Some(1500)), "next probe in 1.5 s");
        assert_eq!(step(None, None), "the next request tries at once");
        for status in ["starting", "running", "stopping", "restarting"] {
            assert_eq!(step(Some(status), None), "nothing is sent before the backend is ready", "{status}");
        }
        for status in ["stopped", "failed"] {
            let step = step(Some(status), None);
            assert_eq!(step, "requests fail at once until a command starts the backend", "{status}");
        }
    }
}
