//! The checks of an agent: when they are due, and what follows from them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::millis;
use mainstay_runtime::{Failure, UnrecoverableFailure};
use tokio::time::{Instant, sleep, timeout};

use super::{AgentActor, AgentContext, AgentRunState, CheckState, Phase};
use crate::agent::call_quarantine::{AgentCall, CallDeath};
use crate::agent::command::AgentCommand;
use crate::agent::driver::DriverError;
use crate::agent::events::{AgentCallPaused, AgentHealth, AgentStuck};
use crate::agent::health::{ActivitySigns, AgentStatus, Observation, ReportedHealth, StatusChange, is_break};
use crate::agent::recovery::{Recovery, recover};
use crate::error::{Error, Reason};
use crate::network::BackendEnds;
use crate::process::SUSPENSION_LOOK_INTERVAL_MAX;

/// The time for which a call that broke waits for the end of the backend's process.
const BACKEND_EXIT_TIMEOUT: Duration = Duration::from_millis(500);

impl AgentActor {
    /// Starts a check that is not due yet, unless the checks are quarantined.
    pub(super) fn start_early_check(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        if !run.health.are_checks_quarantined() {
            self.start_check(ctx, run);
        }
    }

    /// Starts a check, or a recovery if the agent needs one, unless one is in flight. A recovery waits for the end of the
    /// pauses of its calls.
    pub(super) fn start_check(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        if matches!((&run.phase, &run.check), (Phase::Failing, _) | (_, CheckState::InFlight { .. })) {
            return;
        }
        if run.phase.is_recovering()
            && let Some(pause) = self.remaining_pause(ctx, run)
        {
            return self.schedule_check_in(ctx, run, pause);
        }
        let until = ctx.now().saturating_add(self.health.timeout);
        let in_flight = CheckState::InFlight { until };
        if let CheckState::Scheduled { task, .. } = std::mem::replace(&mut run.check, in_flight) {
            task.abort();
        }
        let driver = Arc::clone(&self.driver);
        if run.phase.is_recovering() {
            for call in AgentCall::OF_RECOVERY {
                run.health.note_start(call, self.backend_ends());
            }
            let (pending_recovery, mut ends) =
                (Arc::clone(&self.pending_recovery), self.backend_ends.clone());
            ends.mark_unchanged();
            let saved = run.snapshot.saved_state.as_ref().map(|saved| Arc::clone(saved.json()));
            ctx.spawn(async move {
                let recovery = recover(&*driver, &pending_recovery, saved).await;
                if recovery.is_break() {
                    // The end of the process says more. If there is none, the error stands.
                    let _ = timeout(BACKEND_EXIT_TIMEOUT, ends.changed()).await;
                }
                AgentCommand::RecoveryFinished(Box::new(recovery))
            });
        } else {
            run.health.note_start(AgentCall::HealthCheck, self.backend_ends());
            ctx.spawn(async move { AgentCommand::CheckFinished(Box::new(driver.check().await)) });
        }
    }

    /// Returns the rest of the pause of the calls that are due next.
    fn remaining_pause(&self, ctx: &AgentContext, run: &AgentRunState) -> Option<Duration> {
        let calls =
            if run.phase.is_recovering() { &AgentCall::OF_RECOVERY[..] } else { &[AgentCall::HealthCheck] };
        run.health.remaining_pause(calls, ctx.now())
    }

    /// Schedules a check at a random time within `first_check_within`; after a pause if the backend died over the last
    /// check.
    ///
    /// If the WebSocket goes with a call, the backend has probably died. The next check is due at once: mostly no
    /// connection can be made, which proves it. Later the backend might be back, and die over that call too.
    pub(super) fn schedule_spread_check(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        let is_unavailable = *self.is_backend_unavailable.borrow();
        if is_unavailable && run.health.is_call_open() {
            return self.start_check(ctx, run);
        }
        if !is_unavailable {
            run.health.note_return(ctx.now());
        }
        if let Some(pause) = self.remaining_pause(ctx, run) {
            return self.schedule_check_in(ctx, run, pause);
        }
        if self.first_check_within.is_zero() {
            return self.start_check(ctx, run);
        }
        self.schedule_check_in(ctx, run, self.first_check_within.mul_f64(ctx.random_unit()));
    }

    /// Schedules a check after `delay`, or sooner when the backend's availability changes.
    fn schedule_check_in(&self, ctx: &mut AgentContext, run: &mut AgentRunState, delay: Duration) {
        if matches!((&run.phase, &run.check), (Phase::Failing, _) | (_, CheckState::InFlight { .. })) {
            // The check in flight schedules the next.
            return;
        }
        let mut availability = self.is_backend_unavailable.clone();
        let was_away = *availability.borrow_and_update();
        let depends_on_backend = self.driver.asks_backend();
        if std::mem::replace(&mut run.was_backend_unavailable, was_away) != was_away
            && depends_on_backend
            && !delay.is_zero()
        {
            // It changed while no task was waiting for that.
            return self.schedule_spread_check(ctx, run);
        }
        let change = async move {
            // An error says that the runtime is stopping: the connection's status outlives its actor.
            if !depends_on_backend || availability.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let at = ctx.now().saturating_add(delay);
        let limit = self.health.progress_timeout;
        // Quarantined checks pause also while the agent works.
        let task = if limit.is_zero() || delay <= limit || run.health.are_checks_quarantined() {
            // An async block around both would hold them twice, and each agent mostly waits here.
            ctx.spawn(timeout(delay, change).map(|changed| match changed {
                Ok(()) => AgentCommand::BackendAvailabilityChanged,
                Err(_) => AgentCommand::Check,
            }))
        } else {
            // Work that starts meanwhile may become stuck before that.
            let driver = Arc::clone(&self.driver);
            let sooner = async move {
                tokio::select! {
                    () = change => AgentCommand::BackendAvailabilityChanged,
                    () = driver.wait_for_work() => AgentCommand::WorkStarted,
                }
            };
            ctx.spawn(timeout(delay, sooner).map(|sooner| sooner.unwrap_or(AgentCommand::Check)))
        };
        if let CheckState::Scheduled { task, .. } =
            std::mem::replace(&mut run.check, CheckState::Scheduled { task, at })
        {
            task.abort();
        }
    }

    /// Moves the next check to the time at which new work would count as stuck.
    pub(super) fn schedule_stuck_check(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        let CheckState::Scheduled { at, .. } = run.check else { return };
        if run.health.are_checks_quarantined() {
            return;
        }
        let now = ctx.now();
        let planned = at.saturating_sub(now);
        let limit = run.health.next_check_in(self.activity_signs(run, now), now);
        self.schedule_check_in(ctx, run, planned.min(limit));
    }

    /// Schedules the next check. The first comes soon, the second at a random time in the second half of the
    /// interval, and later ones keep the interval. This spreads the agents' checks.
    fn schedule_next_check(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        let uptime_check = run.health.time_to_min_uptime();
        if !uptime_check.is_zero() {
            // The agent is healthy at that time, and not before.
            let delay = run.health.next_check_in(self.activity_signs(run, ctx.now()), ctx.now());
            return self.schedule_check_in(ctx, run, delay);
        }
        run.checks_planned = run.checks_planned.saturating_add(1);
        let pause = self.remaining_pause(ctx, run);
        if let Some(pause) =
            pause.filter(|_| run.phase.is_recovering() || run.health.are_checks_quarantined())
        {
            return self.schedule_check_in(ctx, run, pause);
        }
        let activity = self.activity_signs(run, ctx.now());
        let usual = run.health.next_check_in(activity, ctx.now());
        let is_spread = run.checks_planned == 1 && !self.first_check_within.is_zero();
        let delay = if is_spread { usual.mul_f64(0.5 + ctx.random_unit() / 2.0) } else { usual };
        // Whether no stuck check comes before the interval ends.
        let is_usual = usual == self.health.interval;
        let delay = if is_usual { self.health.align_to_step(delay, ctx.now()) } else { delay };
        self.schedule_check_in(ctx, run, delay);
    }

    fn watch_for_failure(&self, ctx: &mut AgentContext) {
        if self.driver.owns_agent() {
            let driver = Arc::clone(&self.driver);
            ctx.spawn(
                async move { AgentCommand::FailureObserved(Box::new(driver.wait_for_failure().await)) },
            );
        }
    }

    /// Looks at the agent's process between two checks, until it is suspended and the report says that it is not, or the
    /// other way round.
    pub(super) fn watch_for_suspension(&self, ctx: &mut AgentContext) {
        if !self.driver.owns_agent() {
            return;
        }
        let (driver, reports, id) = (Arc::clone(&self.driver), self.reports.clone(), self.id.clone());
        let interval = self.health.interval.min(SUSPENSION_LOOK_INTERVAL_MAX);
        ctx.spawn(async move {
            loop {
                sleep(interval).await;
                let is_suspended = driver.is_suspended().await;
                if is_suspended != reports.is_suspended(&id) {
                    return AgentCommand::SuspensionChanged { is_suspended };
                }
            }
        });
    }

    pub(super) fn handle_observation(
        &self,
        ctx: &mut AgentContext,
        run: &mut AgentRunState,
        observation: Observation,
    ) {
        run.note_standstill(ctx.now());
        run.check = CheckState::Unscheduled;
        if matches!(run.phase, Phase::Failing) {
            // A check that was in flight knows nothing of the failure.
            return;
        }
        if let Observation::Missed { why } = &observation
            && run.health.should_repeat(why)
        {
            self.note_deaths(ctx, run, &observation);
            return self.start_check(ctx, run);
        }
        if observation.is_break() {
            run.health.note_break(AgentCall::HealthCheck, self.backend_ends());
        }
        let observation =
            if self.take_backend_exit(run) { backend_exit() } else { self.adjust_for_outage(observation) };
        run.confirm_state(&observation);
        if let Observation::Answered { reported: ReportedHealth::Healthy, uptime_s, .. } = &observation {
            run.resume_deliveries();
            let is_first = run.health.last_check().is_none() && ctx.generation() == 1;
            let is_another = run.snapshot.record_uptime(*uptime_s, ctx.wall_time());
            run.is_dirty |= is_another || is_first;
            if is_another && is_first && !self.driver.owns_agent() {
                self.restore_state(run);
            }
        }
        self.apply_observation(ctx, run, observation);
        // The first check after a start comes before the agent has looked at its state.
        if run.health.status() == AgentStatus::Healthy && run.checks_planned > 0 {
            self.pending_recovery.confirm_state();
        }
        if run.health.status() == AgentStatus::Healthy
            && !run.phase.is_recovering()
            && !run.snapshot.is_state_unsupported
        {
            self.read_state(ctx, run);
        }
        if run.phase.is_recovering() {
            self.start_check(ctx, run);
        } else {
            self.schedule_next_check(ctx, run);
        }
    }

    /// Reads the agent's state, unless a read is in flight or such reads pause.
    fn read_state(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        let is_paused = run.health.remaining_pause(&[AgentCall::StateRead], ctx.now()).is_some();
        if is_paused || std::mem::replace(&mut run.is_reading_state, true) {
            return;
        }
        run.health.note_start(AgentCall::StateRead, self.backend_ends());
        let driver = Arc::clone(&self.driver);
        ctx.spawn(async move { AgentCommand::StateRead(Box::new(driver.read_state().await)) });
    }

    /// Returns the ends of the backend's process.
    pub(super) fn backend_ends(&self) -> BackendEnds {
        *self.backend_ends.borrow()
    }

    /// Returns the ends of the backend's process, if the agent is behind it and messages reach it there.
    pub(super) fn message_ends(&self) -> BackendEnds {
        if self.driver.owns_agent() { BackendEnds::default() } else { self.backend_ends() }
    }

    /// Applies the ends of the backend's process to what broke before. Returns whether that planned the next check.
    pub(super) fn note_backend_ends(&self, ctx: &mut AgentContext, run: &mut AgentRunState) -> bool {
        let has_exited = !matches!(run.phase, Phase::Failing) && self.take_backend_exit(run);
        if has_exited {
            self.apply_observation(ctx, run, backend_exit());
            self.schedule_next_check(ctx, run);
        }
        has_exited
    }

    /// Returns whether the backend's process has ended by itself over a call or a message.
    fn take_backend_exit(&self, run: &mut AgentRunState) -> bool {
        run.is_dirty |= run.snapshot.messages.note_stops(self.message_ends());
        let over_message = run.snapshot.messages.take_exit(self.message_ends());
        run.health.take_exit(self.backend_ends()) || over_message
    }

    /// Treats a check that was missed while the backend seems unavailable as unreachable.
    fn adjust_for_outage(&self, observation: Observation) -> Observation {
        match observation {
            Observation::Missed { why }
                if *self.is_backend_unavailable.borrow() && !self.driver.owns_agent() =>
            {
                Observation::Unreachable { why }
            }
            other => other,
        }
    }

    /// Applies the result of a check or a failure and records a change. Fails the incarnation if the agent must
    /// restart, once the snapshot is saved.
    pub(super) fn apply_observation(
        &self,
        ctx: &mut AgentContext,
        run: &mut AgentRunState,
        observation: Observation,
    ) {
        self.note_deaths(ctx, run, &observation);
        let activity = self.activity_signs(run, ctx.now());
        let outcome = run.health.observe(observation, activity, ctx.now());
        let wall_time = WallTime(ctx.wall_time());
        run.last_check = Some(wall_time);
        self.apply_call_deaths(ctx, run, &outcome.call_deaths);
        if let Some(quiet) = outcome.stuck_for {
            // The agent may well answer the next incarnation's check.
            self.pending_recovery.request_restart();
            ctx.record(&AgentStuck {
                quiet_ms: millis(quiet),
                progress_timeout_ms: millis(self.health.progress_timeout),
                in_flight: self.driver.activity().in_flight,
            });
        }
        if let Some(StatusChange { from, to }) = outcome.change {
            run.since = wall_time;
            // Published first, so that a reader of the event finds the same status in the reports.
            self.publish(run);
            let error = run.health.last_error().cloned();
            ctx.record(&AgentHealth { from, to, misses: run.health.misses(), error });
        }
        if outcome.was_restarted_externally {
            self.restore_state(run);
        }
        if let Some(reason) = outcome.restart {
            // The last reported state may be newer than the one that was read after the last check.
            self.save_reported_state(ctx, run);
            run.phase = Phase::Failing;
            ctx.spawn(std::future::ready(AgentCommand::Fail(reason)));
        }
    }

    fn apply_call_deaths(&self, ctx: &AgentContext, run: &mut AgentRunState, call_deaths: &[CallDeath]) {
        for &CallDeath { call, deaths, is_quarantined, pause } in call_deaths {
            if is_quarantined && call == AgentCall::HealthCheck {
                // The next check is far away.
                run.resume_deliveries();
            }
            if !self.driver.owns_agent() {
                self.pending_recovery.note_death(call, is_quarantined);
            }
            let is_last_write = call == AgentCall::StateWrite && self.pending_recovery.is_state_bad();
            let pause_ms = if is_last_write { 0 } else { millis(pause) };
            let quarantined = is_quarantined || is_last_write;
            self.publish(run);
            ctx.record(&AgentCallPaused { call, deaths, quarantined, pause_ms });
            if is_last_write {
                self.quarantine_bad_state(ctx, &mut run.snapshot);
                run.health.forget_call(call);
                run.is_dirty = true;
            }
        }
    }

    pub(super) fn handle_recovery(
        &self,
        ctx: &mut AgentContext,
        run: &mut AgentRunState,
        recovery: Recovery,
    ) -> Result<(), Failure> {
        run.check = CheckState::Unscheduled;
        let (call, error) = match recovery {
            Recovery::Done => {
                self.finish_recovery(ctx, run);
                return Ok(());
            }
            Recovery::Failed { call, error } => (call, error),
        };
        let error = match error {
            DriverError::Failed(why) if run.health.should_repeat(&why) => {
                self.start_check(ctx, run);
                return Ok(());
            }
            DriverError::Failed(why) if !self.driver.owns_agent() => {
                run.health.note_failure(call, &why, self.backend_ends(), ctx.now());
                if self.take_backend_exit(run) {
                    DriverError::Unreachable(exit_error())
                } else if *self.is_backend_unavailable.borrow() {
                    DriverError::Unreachable(why)
                } else if call == AgentCall::HealthCheck && is_break(&why) {
                    // The backend seems to live, so this is the agent's fault.
                    self.pending_recovery.request_restart();
                    self.start_check(ctx, run);
                    return Ok(());
                } else {
                    DriverError::Failed(why)
                }
            }
            error => error,
        };
        if let Phase::Recovering { waiters } = &mut run.phase {
            waiters.drain(..).for_each(|reply| reply.send(Err(error.clone())));
        }
        match error {
            // An unavailable backend uses up no restarts: the next check tries again.
            DriverError::Unreachable(why) if !self.driver.owns_agent() => {
                self.apply_observation(ctx, run, Observation::Unreachable { why });
                self.schedule_next_check(ctx, run);
                Ok(())
            }
            DriverError::Unreachable(why) | DriverError::Failed(why) => {
                let failure = Failure::from(why.log_text());
                self.apply_observation(ctx, run, Observation::Exited { why });
                self.pending_recovery.hand_over(run.health.take_calls());
                self.publish(run);
                Err(failure)
            }
            DriverError::Unrecoverable(why) => {
                let failure = UnrecoverableFailure::new(why.log_text(), why.message.clone());
                self.apply_observation(ctx, run, Observation::Exited { why });
                self.publish(run);
                Err(failure.into())
            }
        }
    }

    fn finish_recovery(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        for call in [AgentCall::Restart, AgentCall::StateWrite] {
            run.health.note_answer(call);
        }
        if self.driver.owns_agent() {
            // Its program may have waited long for what it needs.
            run.health.restart_grace(ctx.now());
        }
        run.finish_recovery(&Ok(()));
        self.save_session(ctx, run);
        self.watch_for_failure(ctx);
        self.watch_for_state(ctx, Duration::ZERO);
        self.start_check(ctx, run);
    }

    /// Returns the signs of the agent's activity. Silence counts from the end of a standstill of this process.
    fn activity_signs(&self, run: &AgentRunState, now: Duration) -> ActivitySigns {
        let activity = self.driver.activity();
        let since = |at: Instant| now.saturating_sub(Instant::now().saturating_duration_since(at));
        let progressed_at =
            activity.progressed_at.map(since).map(|at| run.woke_at.map_or(at, |woke| at.max(woke)));
        ActivitySigns { is_working: activity.in_flight > 0, progressed_at }
    }
}

/// Returns what the exit of the backend's process shows: as much as a check that could not connect.
fn backend_exit() -> Observation {
    Observation::Unreachable { why: exit_error() }
}

fn exit_error() -> Error {
    Error::new(Reason::ConnectionRefused).with_details("the backend's process has ended")
}
