//! The agent's actor: checks, restarts and state. `messages` is the part that delivers messages.

mod messages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::millis;
use mainstay_runtime::{Context, Failure, FinalizeContext, Reply, TaskHandle, Timer, Worker};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::agent_message::MessageId;
use super::command::AgentCommand;
use super::driver::{AgentState, Driver, DriverError};
use super::events::{AgentChecksQuarantined, AgentHealth, AgentStateQuarantined, AgentStuck};
use super::health::{
    ActivitySigns, AgentStatus, Health, HealthPolicy, Observation, ReportedHealth, StatusChange,
};
use super::pending_replies::PendingReplies;
use super::recovery::{PendingRecovery, Recovery, recover};
use super::reports::{AgentReport, AgentReports};
use super::snapshot::{AgentSnapshot, SavedState};
use crate::error::{Error, Reason};

/// The least time between two saves of states that the agent reports. An agent that reports its state all the time is
/// not written to disk all the time.
const STATE_SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Holds what each incarnation of an agent's actor is made from.
pub struct AgentActor {
    /// The agent's id.
    pub id: String,
    /// The driver that reaches the agent.
    pub driver: Arc<dyn Driver>,
    /// The policy for its health.
    pub health: Arc<HealthPolicy>,
    /// The time within which the first check begins, from the start or from the backend's return. It spreads the
    /// checks of many agents.
    pub first_check_within: Duration,
    /// The recovery that the agent still needs; it outlives incarnations.
    pub pending_recovery: Arc<PendingRecovery>,
    /// The senders that wait for answers.
    pub pending_replies: Arc<PendingReplies>,
    /// True if the backend seems unavailable. An agent that misses checks meanwhile is `unknown`.
    pub is_backend_unavailable: watch::Receiver<bool>,
    /// The place where its reports are published.
    pub reports: AgentReports,
}

/// The state of one incarnation.
pub struct AgentRunState {
    health: Health,
    /// The time since which it has its status.
    since: WallTime,
    /// The time of the last check's end.
    last_check: Option<WallTime>,
    snapshot: AgentSnapshot,
    /// True if the snapshot differs from the stored one.
    is_dirty: bool,
    /// A state that was read after the last check. It is saved once the next check finds the same process of the
    /// agent healthy.
    unconfirmed_state: Option<(SavedState, Option<u64>)>,
    phase: Phase,
    check: CheckState,
    /// True if the backend was unavailable at the last look.
    was_backend_unavailable: bool,
    /// The number of checks scheduled so far: the first two are spread over the interval.
    checks_planned: u32,
    deliveries: BTreeMap<MessageId, TaskHandle>,
    message_timer: Timer,
}

/// Says what an incarnation does with its agent.
enum Phase {
    /// The actor brings the agent back, and holds its messages until then.
    Recovering { waiters: Vec<Reply<Result<(), DriverError>>> },
    /// The actor checks the agent and delivers messages to it.
    Serving,
    /// The actor checks the agent, and holds its messages until a check finds it healthy: the last delivery failed.
    Paused,
    /// The actor ends once the snapshot is saved, since the agent must restart.
    Failing,
}

impl Phase {
    const fn recovering() -> Self {
        Self::Recovering { waiters: Vec::new() }
    }

    const fn is_recovering(&self) -> bool {
        matches!(self, Self::Recovering { .. })
    }
}

/// Says when the next check or attempt of recovery happens.
enum CheckState {
    Unscheduled,
    Scheduled { task: TaskHandle, at: Duration },
    InFlight,
}

type AgentContext = Context<AgentCommand>;

impl Worker for AgentActor {
    type Message = AgentCommand;
    type State = AgentRunState;
    type Snapshot = AgentSnapshot;

    async fn start(
        &self,
        ctx: &mut AgentContext,
        saved: Option<AgentSnapshot>,
    ) -> Result<AgentRunState, Failure> {
        let is_first = ctx.generation() == 1;
        let owns = self.driver.owns_agent();
        let mut snapshot = saved.unwrap_or_default();
        if let Some(session) = snapshot.session.clone().filter(|_| is_first) {
            self.driver.restore_session(*session);
        }
        self.resume_messages(ctx, &mut snapshot, is_first);
        self.quarantine_bad_state(ctx, &mut snapshot);
        let needs_recovery = owns || !is_first || self.pending_recovery.is_pending();
        let mut run = AgentRunState {
            health: Health::new(Arc::clone(&self.health), ctx.now()),
            since: WallTime(ctx.wall_time()),
            last_check: None,
            is_dirty: true,
            snapshot,
            unconfirmed_state: None,
            phase: if needs_recovery { Phase::recovering() } else { Phase::Serving },
            check: CheckState::Unscheduled,
            was_backend_unavailable: *self.is_backend_unavailable.borrow(),
            checks_planned: 0,
            deliveries: BTreeMap::new(),
            message_timer: Timer::default(),
        };
        self.publish(&run);
        if needs_recovery {
            self.start_check(ctx, &mut run);
        } else {
            self.schedule_spread_check(ctx, &mut run);
        }
        Ok(run)
    }

    async fn handle(
        &self,
        ctx: &mut AgentContext,
        message: AgentCommand,
        run: &mut AgentRunState,
    ) -> Result<(), Failure> {
        run.is_dirty = false;
        match message {
            AgentCommand::Check => self.start_check(ctx, run),
            AgentCommand::CheckFinished(observation) => self.handle_observation(ctx, run, *observation),
            AgentCommand::FailureObserved(observation) => self.apply_observation(ctx, run, *observation),
            AgentCommand::StateReported => {
                self.save_reported_state(ctx, run);
                self.watch_for_state(ctx, STATE_SAVE_INTERVAL);
            }
            AgentCommand::RecoveryFinished(recovery) => self.handle_recovery(ctx, run, *recovery)?,
            AgentCommand::StateRead(read) => {
                self.handle_state(ctx, run, *read);
                // The first state causes a check at once; later ones wait for the next.
                if run.snapshot.saved_state.is_none() && run.unconfirmed_state.is_some() {
                    self.start_check(ctx, run);
                }
            }
            // The deliveries in flight are failed and saved first, then the incarnation fails.
            AgentCommand::Fail(reason) if self.fail_in_flight_messages(ctx, run) => {
                ctx.spawn(std::future::ready(AgentCommand::Fail(reason)));
            }
            AgentCommand::Fail(reason) => {
                self.publish(run);
                return Err(reason.into());
            }
            AgentCommand::WorkStarted => self.schedule_stuck_check(ctx, run),
            AgentCommand::BackendAvailabilityChanged => {
                if *self.is_backend_unavailable.borrow() && run.health.is_check_open() {
                    // It died over the last check. No other is sent to find that out.
                    let why = Error::new(Reason::Disconnected);
                    self.apply_observation(ctx, run, Observation::Unreachable { why });
                }
                self.schedule_spread_check(ctx, run);
            }
            AgentCommand::AwaitRecovery(reply) => match &mut run.phase {
                Phase::Recovering { waiters } => waiters.push(reply),
                _ => reply.send(Ok(())),
            },
            AgentCommand::Send(request) => self.accept_message(ctx, run, *request),
            AgentCommand::Deliver(id) => self.deliver_message(ctx, run, id),
            AgentCommand::DeliveryFinished { id, answer } => self.handle_answer(ctx, run, id, *answer),
            AgentCommand::Cancel { id, reply } => reply.send(self.cancel_message(ctx, run, id)),
            AgentCommand::SenderGone(id) => drop(self.cancel_message(ctx, run, id)),
            AgentCommand::DeadlineReached => run.message_timer.clear_due(ctx.now()),
        }
        self.dispatch_messages(ctx, run);
        self.publish(run);
        Ok(())
    }

    fn snapshot(&self, run: &AgentRunState) -> Option<AgentSnapshot> {
        run.is_dirty.then(|| run.snapshot.clone())
    }

    async fn stop(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        run.is_dirty = false;
        run.deliveries.values().for_each(TaskHandle::abort);
        if let Some(state) = self.driver.stop().await
            && !run.phase.is_recovering()
        {
            run.save_state(SavedState::new(&state, ctx.wall_time()));
            self.publish(run);
        }
    }

    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        self.driver.abandon();
        self.fail_all_messages(ctx);
    }
}

impl AgentActor {
    /// Starts a check, or a recovery if the agent needs one, unless one is in flight.
    fn start_check(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        if matches!((&run.phase, &run.check), (Phase::Failing, _) | (_, CheckState::InFlight))
            || run.health.are_checks_quarantined()
        {
            return;
        }
        if let CheckState::Scheduled { task, .. } = std::mem::replace(&mut run.check, CheckState::InFlight) {
            task.abort();
        }
        let driver = Arc::clone(&self.driver);
        if run.phase.is_recovering() {
            let pending_recovery = Arc::clone(&self.pending_recovery);
            let saved = run.snapshot.saved_state.as_ref().map(|saved| Arc::clone(saved.json()));
            ctx.spawn(async move {
                AgentCommand::RecoveryFinished(Box::new(recover(&*driver, &pending_recovery, saved).await))
            });
        } else {
            ctx.spawn(async move { AgentCommand::CheckFinished(Box::new(driver.check().await)) });
        }
    }

    /// Schedules a check at a random time within `first_check_within`; after a whole interval if the backend died over
    /// the last check.
    fn schedule_spread_check(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        if run.health.is_check_suspect() {
            return self.schedule_check_in(ctx, run, self.health.interval);
        }
        if self.first_check_within.is_zero() {
            return self.start_check(ctx, run);
        }
        self.schedule_check_in(ctx, run, self.first_check_within.mul_f64(ctx.random_unit()));
    }

    /// Schedules a check after `delay`, or sooner when the backend's availability changes.
    fn schedule_check_in(&self, ctx: &mut AgentContext, run: &mut AgentRunState, delay: Duration) {
        if matches!((&run.phase, &run.check), (Phase::Failing, _) | (_, CheckState::InFlight))
            || run.health.are_checks_quarantined()
        {
            // The check in flight schedules the next, and a quarantine lasts until the next incarnation.
            return;
        }
        let mut availability = self.is_backend_unavailable.clone();
        let was_away = *availability.borrow_and_update();
        let depends_on_backend = !self.driver.owns_agent();
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
        let task = if limit.is_zero() || delay <= limit {
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
    fn schedule_stuck_check(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        let CheckState::Scheduled { at, .. } = run.check else { return };
        let now = ctx.now();
        let planned = at.saturating_sub(now);
        let limit = run.health.next_check_in(self.activity_signs(now), now);
        self.schedule_check_in(ctx, run, planned.min(limit));
    }

    fn handle_recovery(
        &self,
        ctx: &mut AgentContext,
        run: &mut AgentRunState,
        recovery: Recovery,
    ) -> Result<(), Failure> {
        run.check = CheckState::Unscheduled;
        let error = match recovery {
            Recovery::Done => {
                run.finish_recovery(&Ok(()));
                self.save_session(ctx, run);
                self.watch_for_failure(ctx);
                self.watch_for_state(ctx, Duration::ZERO);
                self.start_check(ctx, run);
                return Ok(());
            }
            Recovery::Failed(DriverError::Failed(why)) if *self.is_backend_unavailable.borrow() => {
                DriverError::Unreachable(why)
            }
            Recovery::Failed(error) => error,
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
                let reason = why.log_text().to_owned();
                self.apply_observation(ctx, run, Observation::Exited { why });
                self.publish(run);
                Err(reason.into())
            }
        }
    }

    fn handle_observation(&self, ctx: &mut AgentContext, run: &mut AgentRunState, observation: Observation) {
        run.check = CheckState::Unscheduled;
        if observation.is_break() {
            run.health.note_break();
        }
        let observation = self.adjust_for_outage(observation);
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
            let driver = Arc::clone(&self.driver);
            ctx.spawn(async move { AgentCommand::StateRead(Box::new(driver.read_state().await)) });
        }
        if run.phase.is_recovering() {
            self.start_check(ctx, run);
        } else {
            self.schedule_next_check(ctx, run);
        }
    }

    /// Applies the result of a check or a failure and records a change. Fails the incarnation if the agent must
    /// restart, once the snapshot is saved.
    fn apply_observation(&self, ctx: &mut AgentContext, run: &mut AgentRunState, observation: Observation) {
        self.note_deaths(ctx, run, &observation);
        let activity = self.activity_signs(ctx.now());
        let outcome = run.health.observe(observation, activity, ctx.now());
        let wall_time = WallTime(ctx.wall_time());
        run.last_check = Some(wall_time);
        if let Some(quiet) = outcome.stuck_for {
            // The agent may well answer the next incarnation's check.
            self.pending_recovery.request_restart();
            ctx.record(&AgentStuck {
                quiet_ms: millis(quiet),
                progress_timeout_ms: millis(self.health.progress_timeout),
                in_flight: self.driver.activity().in_flight,
            });
        }
        if let Some(deaths) = outcome.check_deaths {
            // No check will say that the agent is well again.
            run.resume_deliveries();
            self.publish(run);
            ctx.record(&AgentChecksQuarantined { deaths });
        }
        if let Some(StatusChange { from, to }) = outcome.change {
            run.since = wall_time;
            // Published first, so that a reader of the event finds the same status in the reports.
            self.publish(run);
            let error = run.health.last_error().cloned();
            let reason = error.as_ref().map(|error| error.message.clone());
            ctx.record(&AgentHealth { from, to, misses: run.health.misses(), reason, error });
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

    fn restore_state(&self, run: &mut AgentRunState) {
        if run.snapshot.saved_state.is_none() {
            return;
        }
        self.pending_recovery.request_state_restore();
        run.unconfirmed_state = None;
        if !run.phase.is_recovering() {
            run.phase = Phase::recovering();
        }
    }

    fn quarantine_bad_state(&self, ctx: &AgentContext, snapshot: &mut AgentSnapshot) {
        if !self.pending_recovery.is_state_bad() {
            return;
        }
        if let Some(saved) = snapshot.saved_state.take() {
            let (read_at, bytes) = (saved.read_at.to_string(), saved.json().len());
            ctx.record(&AgentStateQuarantined { read_at, bytes });
            snapshot.quarantined = Some(Box::new(saved));
        }
        self.pending_recovery.confirm_state();
    }

    fn activity_signs(&self, now: Duration) -> ActivitySigns {
        let activity = self.driver.activity();
        let since = |at: Instant| now.saturating_sub(Instant::now().saturating_duration_since(at));
        ActivitySigns { is_working: activity.in_flight > 0, progressed_at: activity.progressed_at.map(since) }
    }

    fn handle_state(
        &self,
        ctx: &AgentContext,
        run: &mut AgentRunState,
        read: Result<AgentState, DriverError>,
    ) {
        match read {
            Ok(AgentState::Known(value)) => {
                let saved = run.share_memory(SavedState::new(&value, ctx.wall_time()));
                if self.driver.owns_agent() {
                    // The agent reported it on purpose.
                    run.save_state(saved);
                } else {
                    run.unconfirmed_state = Some((saved, run.health.error_count()));
                }
            }
            Ok(AgentState::Unsupported) => run.snapshot.is_state_unsupported = true,
            // The next check will report the problem; the last state stays.
            Ok(AgentState::None) | Err(_) => {}
        }
    }

    /// Schedules the next check. The first comes soon, the second at a random time in the second half of the
    /// interval, and later ones keep the interval. This spreads the agents' checks.
    fn schedule_next_check(&self, ctx: &mut AgentContext, run: &mut AgentRunState) {
        run.checks_planned = run.checks_planned.saturating_add(1);
        let activity = self.activity_signs(ctx.now());
        let usual = run.health.next_check_in(activity, ctx.now());
        let is_spread = run.checks_planned == 1 && !self.first_check_within.is_zero();
        let delay = if is_spread { usual.mul_f64(0.5 + ctx.random_unit() / 2.0) } else { usual };
        // Whether no stuck check comes before the interval ends.
        let is_usual = usual == self.health.interval;
        let delay = if is_usual { self.health.align_to_step(delay, ctx.now()) } else { delay };
        self.schedule_check_in(ctx, run, delay);
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

    fn watch_for_failure(&self, ctx: &mut AgentContext) {
        if self.driver.owns_agent() {
            let driver = Arc::clone(&self.driver);
            ctx.spawn(
                async move { AgentCommand::FailureObserved(Box::new(driver.wait_for_failure().await)) },
            );
        }
    }

    /// Waits for a state that the agent reports, for at least `pause`.
    fn watch_for_state(&self, ctx: &mut AgentContext, pause: Duration) {
        if self.driver.owns_agent() {
            let driver = Arc::clone(&self.driver);
            ctx.spawn(async move {
                sleep(pause).await;
                driver.wait_for_state().await;
                AgentCommand::StateReported
            });
        }
    }

    /// Saves the state that an agent of the driver's own last reported. During recovery the saved state is worth more
    /// than a new report.
    pub(super) fn save_reported_state(&self, ctx: &AgentContext, run: &mut AgentRunState) {
        if self.driver.owns_agent()
            && !run.phase.is_recovering()
            && let Some(Ok(AgentState::Known(value))) = self.driver.read_state().now_or_never()
        {
            run.save_state(SavedState::new(&value, ctx.wall_time()));
        }
    }

    fn publish(&self, run: &AgentRunState) {
        let health = &run.health;
        self.reports.publish(AgentReport {
            id: self.id.clone(),
            driver: self.driver.kind().to_owned(),
            status: health.status(),
            since: run.since,
            misses: health.misses(),
            last_check: run.last_check,
            error: health.last_error().cloned().map(Box::new),
            uptime_s: health.uptime_s(),
            error_count: health.error_count(),
            state_saved_at: run.snapshot.saved_state.as_ref().map(|saved| WallTime(saved.read_at)),
            process: self.driver.process(),
            messages_waiting: run.snapshot.messages.waiting_count(),
            messages_in_flight: run.snapshot.messages.in_flight_count(),
        });
    }
}

impl AgentRunState {
    fn finish_recovery(&mut self, outcome: &Result<(), DriverError>) {
        if let Phase::Recovering { waiters } = std::mem::replace(&mut self.phase, Phase::Serving) {
            waiters.into_iter().for_each(|reply| reply.send(outcome.clone()));
        }
    }

    /// Holds messages until the agent is seen healthy again.
    fn pause_deliveries(&mut self) {
        if matches!(self.phase, Phase::Serving) {
            self.phase = Phase::Paused;
        }
    }

    fn resume_deliveries(&mut self) {
        if matches!(self.phase, Phase::Paused) {
            self.phase = Phase::Serving;
        }
    }

    /// Saves a state that was read between two checks, if both found the same process healthy. A process that has
    /// just crashed would return an empty state.
    fn confirm_state(&mut self, observation: &Observation) {
        let Some((unconfirmed, errors_then)) = self.unconfirmed_state.take() else { return };
        let Observation::Answered { reported: ReportedHealth::Healthy, error_count, .. } = observation else {
            return;
        };
        if *error_count == errors_then {
            self.save_state(unconfirmed);
        }
    }

    /// Returns the state in the memory of the saved one if the two are equal.
    fn share_memory(&self, state: SavedState) -> SavedState {
        match &self.snapshot.saved_state {
            Some(saved) if saved.is_same_as(&state) => saved.with_read_at(state.read_at),
            _ => state,
        }
    }

    fn save_state(&mut self, state: SavedState) {
        if let Some(saved) = &mut self.snapshot.saved_state
            && saved.is_same_as(&state)
        {
            // An equal state is not written again, but has a later time.
            saved.read_at = state.read_at;
            return;
        }
        self.snapshot.saved_state = Some(state);
        self.is_dirty = true;
    }
}
