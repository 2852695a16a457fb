//! Makes the report of the owned backend from the facts of its process and its supervisor. Pure.

use std::time::Duration;

use mainstay_actors::logs::ProcessLog;
use mainstay_actors::process::BackendProcess;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::{ActorInfo, ActorStatus};
use serde::{Deserialize, Serialize};

use crate::config::format_duration;
use crate::supervision_report::{ResolvedError, SupervisionReport};
use crate::time_point::TimePoint;
use crate::tree_builder::owned_backend::OwnedBackendSettings;

/// The state of the backend that the runtime owns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
        time_point: &TimePoint,
    ) -> Self {
        let is_starting = info.status == ActorStatus::Starting;
        let is_running = info.status == ActorStatus::Running;
        let supervision = SupervisionReport::new(info, settings.budget, time_point);
        let restart_in = info.restart_due.map(|due| due.saturating_sub(time_point.now));
        let next_step = next_step(info, &supervision, settings, restart_in);
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
            noisy: false,
            output: Vec::new(),
            output_is_old: false,
            supervision,
            last_error: error.filter(|_| !is_running),
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

    /// Returns the report without the last lines.
    pub(crate) fn without_output(self) -> Self {
        Self { output: Vec::new(), output_is_old: false, ..self }
    }
}

fn next_step(
    info: &ActorInfo,
    supervision: &SupervisionReport,
    settings: &OwnedBackendSettings,
    restart_in: Option<Duration>,
) -> String {
    let command = |verb: &str| format!("mainstay backend {verb}");
    let left = supervision.restarts_left();
    match info.status {
        ActorStatus::Starting => {
            let within = format_duration(settings.ready_within);
            format!("is starting: it is ready when {}, within {within} ({left})", settings.awaits)
        }
        ActorStatus::Running => format!("restarted if it ends ({left})"),
        ActorStatus::Stopping => "is being stopped".to_owned(),
        ActorStatus::Stopped => SupervisionReport::stopped_step(command),
        ActorStatus::Restarting => supervision.restarting_step(restart_in),
        ActorStatus::Failed => SupervisionReport::given_up_step(info.next_step.as_deref(), command),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use jiff::Timestamp;
    use mainstay_runtime::journal::Timeline;

    use super::*;

    fn report(status: ActorStatus, next_step: Option<&str>) -> OwnedBackendReport {
        let s = Duration::from_secs;
        let info = ActorInfo {
            status,
            since: s(70),
            generation: 2,
            restarts: 1,
            attempts: 1,
            restart_due: (status == ActorStatus::Restarting).then_some(s(104)),
            budget_left: Some(1),
            last_error: Some("it exited with code 1".to_owned()),
            last_error_at: Some(s(60)),
            next_step: next_step.map(str::to_owned),
            abandoned: 0,
        };
        let settings = OwnedBackendSettings {
            url: None,
            awaits: "it prints \"up\"".to_owned(),
            ready_within: s(120),
            budget: None,
        };
        let process = BackendProcess {
            pid: 12,
            url: Some("http://127.0.0.1:81/".to_owned()),
            last_line: Some("loading the model".to_owned()),
        };
        let timeline = Timeline::new(Timestamp::UNIX_EPOCH).into();
        let time_point = TimePoint { now: s(100), timeline };
        OwnedBackendReport::new(&info, Some(process), &settings, &time_point)
    }

    #[test]
    fn next_step_of_each_status_names_the_command_that_helps() {
        use ActorStatus::*;
        let steps =
            [Starting, Running, Stopping, Stopped, Restarting, Failed].map(|status| report(status, None));
        let mut texts: Vec<String> = steps.into_iter().map(|report| report.next_step).collect();
        texts.push(report(Failed, Some("Correct its program.")).next_step);
        expect![[r#"
            is starting: it is ready when it prints "up", within 2m (1 restart left)
            restarted if it ends (1 restart left)
            is being stopped
            stopped; `mainstay backend start` starts it
            is restarted in 4 s (1 restart left)
            given up: its restarts are used up, so it stays as it is until `mainstay backend reset` gives them back and starts it
            given up, since no restart can help: Correct its program. Then `mainstay backend start` tries again"#]]
        .assert_eq(&texts.join("\n"));
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
