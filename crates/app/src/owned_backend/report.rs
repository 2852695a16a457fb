//! Makes the report of the owned backend from the facts of its process and its supervisor. Pure.

use std::time::Duration;

use mainstay_actors::logs::ProcessLog;
use mainstay_actors::process::BackendProcess;
use mainstay_actors::queue::BackendAbsence;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::{millis, millis_text};
use mainstay_runtime::{ActorInfo, ActorStatus};
use serde::{Deserialize, Serialize};

use crate::supervision_report::{ResolvedError, SupervisionReport, restarts_left};
use crate::time_point::TimePoint;
use crate::tree_builder::owned_backend::OwnedBackendSettings;

/// The state of the backend that the runtime owns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct OwnedBackendReport {
    /// The status: `starting` until it is ready, then `running`.
    pub status: ActorStatus,
    /// Since when.
    pub since: WallTime,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// The address; `None` if each start is given one, and none runs.
    pub url: Option<String>,
    /// The sign that it waits for, while it is starting, as the rest of "it is ready when".
    pub awaits: Option<String>,
    /// The last line that the process has printed, while it is starting.
    pub last_line: Option<String>,
    /// The time since which a signal or a debugger keeps the process stopped, while one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_since: Option<WallTime>,
    /// True while the process prints so much that its log leaves lines out.
    #[serde(default)]
    pub noisy: bool,
    /// The last lines of the process, or of the one before it: at most 20. A longer traceback at the end has its first
    /// lines before them. Empty in the status of the whole runtime.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// True if these lines are from before the present start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_is_old: bool,
    /// The facts that its supervisor knows.
    #[serde(flatten)]
    pub supervision: SupervisionReport,
    /// The current problem, if there is one.
    pub last_error: Option<String>,
    /// The reason of the last restart, once it is resolved.
    #[serde(default)]
    pub resolved_error: Option<ResolvedError>,
    /// The next step in plain words.
    pub next_step: String,
}

impl OwnedBackendReport {
    pub(super) fn new(
        info: &ActorInfo,
        process: Option<BackendProcess>,
        settings: &OwnedBackendSettings,
        is_runtime_stopping: bool,
        time_point: &TimePoint,
    ) -> Self {
        let is_starting = info.status == ActorStatus::Starting;
        let is_running = info.status == ActorStatus::Running;
        let supervision = SupervisionReport::new(info, settings.budget, time_point);
        let suspended = process.as_ref().and_then(|process| Some((process.pid, process.suspended_since?)));
        let is_active = !matches!(info.status, ActorStatus::Stopping) && !is_final(info.status);
        let next_step = match suspended {
            _ if is_runtime_stopping && is_active => "ends with the runtime, which is stopping".to_owned(),
            Some((pid, _)) => suspended_step(pid, settings, info.budget_left),
            None => next_step(info, settings, time_point.now),
        };
        let (url, last_line) =
            process.as_ref().map_or((None, None), |process| (process.url.clone(), process.last_line.clone()));
        let error = info.last_error.clone();
        let resolved = info.last_error_at.zip(error.clone()).filter(|_| is_running);
        Self {
            status: info.status,
            since: time_point.wall_time(info.since),
            pid: process.map(|process| process.pid),
            url: url.or_else(|| settings.url.clone()),
            awaits: is_starting.then(|| settings.awaits.clone()),
            last_line: last_line.filter(|_| is_starting),
            suspended_since: suspended.map(|(_, since)| time_point.wall_time(since)),
            noisy: false,
            output: Vec::new(),
            output_is_old: false,
            supervision,
            last_error: match suspended {
                Some(_) => Some("its process is stopped by a signal or a debugger".to_owned()),
                None => error.filter(|_| !is_running),
            },
            resolved_error: resolved
                .map(|(at, message)| ResolvedError { at: time_point.wall_time(at), message }),
            next_step,
        }
    }

    /// Adds the last lines of the process's log.
    pub(super) fn with_log(self, log: &ProcessLog) -> Self {
        let (noisy, output) = (log.is_noisy(), log.excerpt());
        let is_started = self.pid.is_some() && !log.is_of_predecessor();
        let output_is_old = self.status == ActorStatus::Starting && !is_started && !output.is_empty();
        Self { noisy, output, output_is_old, ..self }
    }

    /// Returns whether only a command starts it again. Requests then fail at once.
    #[cfg(feature = "cli")]
    pub(crate) fn is_absent_for_good(&self) -> bool {
        is_final(self.status)
    }

    /// Returns the report without the last lines.
    pub(crate) fn without_output(self) -> Self {
        Self { output: Vec::new(), output_is_old: false, ..self }
    }
}

fn suspended_step(pid: u32, settings: &OwnedBackendSettings, budget_left: Option<u32>) -> String {
    let (after, left) = (millis_text(millis(settings.restart_suspended_after)), restarts_left(budget_left));
    format!(
        "restarted if its process stays stopped for {after} ({left}); `kill -CONT {pid}` lets it continue"
    )
}

fn next_step(info: &ActorInfo, settings: &OwnedBackendSettings, now: Duration) -> String {
    let command = |verb: &str| format!("mainstay backend {verb}");
    let left = restarts_left(info.budget_left);
    match info.status {
        ActorStatus::Starting => {
            let within = millis_text(millis(settings.ready_within));
            format!("is starting: it is ready when {}, within {within} ({left})", settings.awaits)
        }
        ActorStatus::Running => format!("restarted if it ends ({left})"),
        ActorStatus::Stopping => SupervisionReport::STOPPING_STEP.to_owned(),
        ActorStatus::Stopped => SupervisionReport::stopped_step(command),
        ActorStatus::Restarting => {
            let restart_in = info.restart_at.map(|due| due.saturating_sub(now));
            SupervisionReport::restarting_step(restart_in, &left)
        }
        ActorStatus::Failed => SupervisionReport::given_up_step(info.next_step.as_deref(), command),
    }
}

/// Returns whether only a command starts a backend with this status again.
fn is_final(status: ActorStatus) -> bool {
    matches!(status, ActorStatus::Stopped | ActorStatus::Failed)
}

/// Describes a backend that is not ready, for the requests that wait for it.
pub(super) fn absence(info: &ActorInfo, settings: &OwnedBackendSettings, now: Duration) -> BackendAbsence {
    let summary = match info.status {
        ActorStatus::Starting => "The backend is starting. Wait until it is ready.",
        ActorStatus::Running => "The backend has just ended. Wait until it is started again.",
        ActorStatus::Stopping => "The backend is being stopped. Wait for that, then try again.",
        ActorStatus::Restarting => "The backend is restarted soon. Wait until it is ready.",
        ActorStatus::Stopped => {
            "The backend is stopped. Start it with 'mainstay backend start', then try again."
        }
        ActorStatus::Failed => {
            "The backend is given up. Start it with 'mainstay backend reset', then try again."
        }
    };
    let step = next_step(info, settings, now);
    let text = match info.status {
        // It was ready, so its step is that of a backend that runs.
        ActorStatus::Running | ActorStatus::Stopping => summary.to_owned(),
        ActorStatus::Starting => format!("The backend {step}."),
        ActorStatus::Restarting if info.restart_at.is_some_and(|due| due <= now) => {
            format!("The backend's {step}.")
        }
        ActorStatus::Restarting => format!("The backend {step}."),
        ActorStatus::Stopped | ActorStatus::Failed => format!("The backend is {step}."),
    };
    BackendAbsence {
        summary: summary.to_owned(),
        // A message for a person has no backticks.
        text: text.replace('`', "'"),
        is_final: is_final(info.status),
        is_orderly_start: info.status == ActorStatus::Starting && info.last_error.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use jiff::Timestamp;
    use mainstay_actors::error::{Error, Reason};
    use mainstay_runtime::journal::Timeline;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn info(status: ActorStatus, next_step: Option<&str>) -> ActorInfo {
        ActorInfo {
            status,
            since: s(70),
            generation: 2,
            restarts: 1,
            attempts: 1,
            restart_at: (status == ActorStatus::Restarting).then_some(s(104)),
            budget_left: Some(1),
            last_error: Some("it exited with code 1".to_owned()),
            last_error_at: Some(s(60)),
            next_step: next_step.map(str::to_owned),
            abandoned: 0,
        }
    }

    fn settings(awaits: &str) -> OwnedBackendSettings {
        OwnedBackendSettings {
            url: None,
            awaits: awaits.to_owned(),
            ready_within: s(120),
            restart_suspended_after: s(90),
            budget: None,
        }
    }

    fn report(status: ActorStatus, next_step: Option<&str>) -> OwnedBackendReport {
        report_of(status, next_step, false)
    }

    fn report_of(status: ActorStatus, next_step: Option<&str>, is_stopping: bool) -> OwnedBackendReport {
        let process = BackendProcess {
            pid: 12,
            url: Some("http://127.0.0.1:81/".to_owned()),
            last_line: Some("loading the model".to_owned()),
            suspended_since: None,
        };
        let timeline = Timeline::new(Timestamp::UNIX_EPOCH).into();
        let time_point = TimePoint { now: s(100), timeline };
        let settings = settings("it prints \"up\"");
        OwnedBackendReport::new(&info(status, next_step), Some(process), &settings, is_stopping, &time_point)
    }

    #[test]
    fn absence_says_the_next_step_of_each_status() {
        use ActorStatus::*;
        let absence = |status, next_step| {
            let absence = absence(&info(status, next_step), &settings("it prints \"up\""), s(100));
            // What a person may not be shown, the error has in its details.
            let error = Error::new(Reason::Disconnected).with_message(&absence.text);
            assert_eq!(error.message, absence.text);
            let error = Error::new(Reason::Disconnected).with_message(&absence.summary);
            assert_eq!(error.message, absence.summary);
            assert_eq!(absence.is_final, matches!(status, Stopped | Failed));
            assert!(!absence.is_orderly_start, "it has failed before");
            absence.text
        };
        let mut texts = [Starting, Running, Stopping, Stopped, Restarting, Failed]
            .map(|status| absence(status, None))
            .to_vec();
        texts.push(absence(Failed, Some("Correct the backend's program.")));
        expect![[r#"
            The backend is starting: it is ready when it prints "up", within 2 min (1 restart left).
            The backend has just ended. Wait until it is started again.
            The backend is being stopped. Wait for that, then try again.
            The backend is stopped; 'mainstay backend start' starts it.
            The backend is restarted in 4 s (1 restart left).
            The backend is given up: its restarts are used up, so it stays as it is until 'mainstay backend reset' gives them back and starts it.
            The backend is given up, since no restart can help: Correct the backend's program. Then 'mainstay backend start' tries again."#]]
        .assert_eq(&texts.join("\n"));
    }

    #[test]
    fn only_a_start_without_an_earlier_failure_is_orderly() {
        let is_orderly = |status| {
            let info = ActorInfo { last_error: None, ..info(status, None) };
            absence(&info, &settings("it runs"), s(100)).is_orderly_start
        };
        assert!(is_orderly(ActorStatus::Starting) && !is_orderly(ActorStatus::Restarting));
    }

    #[test]
    fn next_step_of_each_status_names_the_command_that_helps() {
        use ActorStatus::*;
        let steps =
            [Starting, Running, Stopping, Stopped, Restarting, Failed].map(|status| report(status, None));
        let mut texts: Vec<String> = steps.into_iter().map(|report| report.next_step).collect();
        texts.push(report(Failed, Some("Correct its program.")).next_step);
        expect![[r#"
            is starting: it is ready when it prints "up", within 2 min (1 restart left)
            restarted if it ends (1 restart left)
            is being stopped
            stopped; `mainstay backend start` starts it
            is restarted in 4 s (1 restart left)
            given up: its restarts are used up, so it stays as it is until `mainstay backend reset` gives them back and starts it
            given up, since no restart can help: Correct its program. Then `mainstay backend start` tries again"#]]
        .assert_eq(&texts.join("\n"));
    }

    #[test]
    fn backend_of_a_runtime_that_stops_is_not_restarted() {
        use ActorStatus::*;
        for status in [Starting, Running, Restarting] {
            let report = report_of(status, None, true);
            assert_eq!(report.next_step, "ends with the runtime, which is stopping", "{status:?}");
        }
        for status in [Stopping, Stopped, Failed] {
            assert_eq!(report_of(status, None, true).next_step, report(status, None).next_step);
        }
    }

    #[test]
    fn warming_up_shows_what_is_awaited_and_the_last_line() {
        let starting = report(ActorStatus::Starting, None);
        assert_eq!(starting.awaits.as_deref(), Some("it prints \"up\""));
        assert_eq!(starting.last_line.as_deref(), Some("loading the model"));
        assert_eq!((starting.pid, starting.url.as_deref()), (Some(12), Some("http://127.0.0.1:81/")));
        assert_eq!(starting.last_error.as_deref(), Some("it exited with code 1"));
        let running = report(ActorStatus::Running, None);
        assert_eq!((running.awaits, running.last_line, running.last_error), (None, None, None));
        assert_eq!(running.resolved_error.unwrap().message, "it exited with code 1");
    }
}
