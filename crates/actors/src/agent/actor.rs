//! The agent's actor: checks, restarts and state. `messages` is the part that delivers messages.

mod messages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mainstay_runtime::journal::millis;
use mainstay_runtime::{Context, Failure, FinalizeContext, Reply, TaskHandle, Timer, Worker};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::agent_message::MessageId;
use super::command::AgentCommand;
use super::driver::{AgentState, Driver, DriverError};
use super::events::{AgentHealth, AgentStateQuarantined, AgentStuck};
use super::health::{
    ActivitySigns, AgentStatus, Health, HealthPolicy, Observation, ReportedHealth, StatusChange,
};
use super::pending_replies::PendingReplies;
use super::recovery::{PendingRecovery, Recovery, recover};
use super::reports::{AgentReport, AgentReports};
use super::snapshot::{AgentSnapshot, SavedState};

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
    /// Whether the backend seems unavailable. An agent that misses checks meanwhile is `unknown`.
    pub is_backend_unavailable: watch::Receiver<bool>,
    /// The place where its reports are published.
    pub reports: AgentReports,
}

/// The state of one incarnation.
pub struct AgentRunState {
    health: Health,
    snapshot: AgentSnapshot,
    /// Whether the snapshot differs from the stored one.
    is_dirty: bool,
    /// A state that was read after the last check. It is saved once the next check finds the same process of the
    /// agent healthy.
    unconfirmed_state: Option<(SavedState, Option<u64>)>,
    /// Whether the agent must be brought back before it is checked.
    is_recovering: bool,
    recovery_waiters: Vec<Reply<Result<(), DriverError>>>,
    /// Whether a check or a recovery is in flight.
    is_check_in_flight: bool,
    /// Whether something changed while a check was in flight, so that another follows at once.
    is_recheck_due: bool,
    /// Whether the backend was unavailable at the last look.
    was_backend_unavailable: bool,
    next_check: Option<TaskHandle>,
    /// The time of the next check.
    next_check_at: Duration,
    /// The number of checks scheduled so far: the first two are spread over the interval.
    checks_planned: u32,
    /// Whether deliveries wait until the agent is seen healthy again, since it refused a message.
    is_delivery_paused: bool,
    deliveries: BTreeMap<MessageId, TaskHandle>,
    mail_timer: Timer,
}

type AgentContext = Context<AgentCommand>;

impl Worker for AgentActor {
    type Message = AgentCommand;
    type State = AgentRunState;
    type Snapshot = AgentSnapshot;

    async fn start(
        &self,
        ctx: &mut AgentContext,
        kept: Option<AgentSnapshot>,
    ) -> Result<AgentRunState, Failure> {
        let is_first = ctx.generation() == 1;
        let owns = self.driver.owns_agent();
        let mut memory = kept.unwrap_or_default();
        if let Some(session) = memory.session.clone().filter(|_| is_first) {
            self.driver.restore_session(*session);
        }
        self.resume_messages(ctx, &mut memory, is_first);
        self.quarantine_bad_state(ctx, &mut memory);
        let mut watch = AgentRunState {
            health: Health::new(Arc::clone(&self.health), ctx.now()),
            is_dirty: true,
            snapshot: memory,
            unconfirmed_state: None,
            is_recovering: owns || !is_first || self.pending_recovery.is_pending(),
            recovery_waiters: Vec::new(),
            is_check_in_flight: false,
            is_recheck_due: false,
            was_backend_unavailable: *self.is_backend_unavailable.borrow(),
            next_check: None,
            next_check_at: Duration::ZERO,
            checks_planned: 0,
            is_delivery_paused: false,
            deliveries: BTreeMap::new(),
            mail_timer: Timer::default(),
        };
        self.publish(&watch);
        if watch.is_recovering {
            self.start_check(ctx, &mut watch);
        } else {
            self.schedule_spread_check(ctx, &mut watch);
        }
        Ok(watch)
    }

    async fn handle(
        &self,
        ctx: &mut AgentContext,
        message: AgentCommand,
        watch: &mut AgentRunState,
    ) -> Result<(), Failure> {
        watch.is_dirty = false;
        match message {
            AgentCommand::Check => self.start_check(ctx, watch),
            AgentCommand::CheckFinished(observation) => self.handle_observation(ctx, watch, *observation),
            AgentCommand::FailureObserved(observation) => self.apply_observation(ctx, watch, *observation),
            AgentCommand::StateReported => {
                self.save_reported_state(ctx, watch);
                self.watch_for_state(ctx, STATE_SAVE_INTERVAL);
            }
            AgentCommand::RecoveryFinished(revival) => self.handle_recovery(ctx, watch, *revival)?,
            AgentCommand::StateRead(read) => {
                self.handle_state(ctx, watch, *read);
                // The first state causes a check at once; later ones wait for the next.
                if watch.snapshot.saved_state.is_none() && watch.unconfirmed_state.is_some() {
                    self.start_check(ctx, watch);
                }
            }
            // The deliveries in flight are failed and saved first, then the incarnation fails.
            AgentCommand::Fail(reason) if self.fail_in_flight_messages(ctx, watch) => {
                ctx.spawn(std::future::ready(AgentCommand::Fail(reason)));
            }
            AgentCommand::Fail(reason) => {
                self.publish(watch);
                return Err(reason.into());
            }
            AgentCommand::WorkStarted => self.schedule_stuck_check(ctx, watch),
            AgentCommand::BackendAvailabilityChanged => self.schedule_spread_check(ctx, watch),
            AgentCommand::AwaitRecovery(reply) if watch.is_recovering => watch.recovery_waiters.push(reply),
            AgentCommand::AwaitRecovery(reply) => reply.send(Ok(())),
            AgentCommand::Send(post) => self.accept_message(ctx, watch, *post),
            AgentCommand::Deliver(id) => self.deliver_message(ctx, watch, id),
            AgentCommand::DeliveryFinished { id, answer } => self.handle_answer(ctx, watch, id, *answer),
            AgentCommand::Cancel { id, reply } => reply.send(self.cancel_message(ctx, watch, id)),
            AgentCommand::SenderGone(id) => drop(self.cancel_message(ctx, watch, id)),
            AgentCommand::DeadlineReached => watch.mail_timer.clear_due(ctx.now()),
        }
        self.dispatch_messages(ctx, watch);
        self.publish(watch);
        Ok(())
    }

    fn snapshot(&self, watch: &AgentRunState) -> Option<AgentSnapshot> {
        watch.is_dirty.then(|| watch.snapshot.clone())
    }

    async fn stop(&self, ctx: &mut AgentContext, watch: &mut AgentRunState) {
        watch.is_dirty = false;
        watch.deliveries.values().for_each(TaskHandle::abort);
        if let Some(state) = self.driver.stop().await
            && !watch.is_recovering
        {
            watch.save_state(SavedState::new(&state, ctx.wall_time()));
            self.publish(watch);
        }
    }

    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        self.driver.abandon();
        self.fail_all_messages(ctx);
    }
}

impl AgentActor {
    /// Starts a check, or a recovery if the agent needs one, unless one is in flight.
    fn start_check(&self, ctx: &mut AgentContext, watch: &mut AgentRunState) {
        if std::mem::replace(&mut watch.is_check_in_flight, true) {
            return;
        }
        if let Some(planned) = watch.next_check.take() {
            planned.abort();
        }
        let driver = Arc::clone(&self.driver);
        if watch.is_recovering {
            let debts = Arc::clone(&self.pending_recovery);
            let kept = watch.snapshot.saved_state.as_ref().map(|kept| Arc::clone(kept.json()));
            ctx.spawn(async move {
                AgentCommand::RecoveryFinished(Box::new(recover(&*driver, &debts, kept).await))
            });
        } else {
            ctx.spawn(async move { AgentCommand::CheckFinished(Box::new(driver.check().await)) });
        }
    }

    /// Schedules a check at a random time within `first_check_within`.
    fn schedule_spread_check(&self, ctx: &mut AgentContext, watch: &mut AgentRunState) {
        if self.first_check_within.is_zero() {
            return self.start_check(ctx, watch);
        }
        self.schedule_check_in(ctx, watch, self.first_check_within.mul_f64(ctx.random_unit()));
    }

    /// Schedules a check after `delay`, or sooner when the backend's availability changes.
    fn schedule_check_in(&self, ctx: &mut AgentContext, watch: &mut AgentRunState, delay: Duration) {
        let mut link = self.is_backend_unavailable.clone();
        let was_away = *link.borrow_and_update();
        let minds_link = !self.driver.owns_agent();
        if std::mem::replace(&mut watch.was_backend_unavailable, was_away) != was_away
            && minds_link
            && !delay.is_zero()
        {
            // It changed while no task was waiting for that.
            return self.schedule_spread_check(ctx, watch);
        }
        let change = async move {
            // An error says that the runtime is stopping: the connection's status outlives its actor.
            if !minds_link || link.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        watch.next_check_at = ctx.now().saturating_add(delay);
        let limit = self.health.progress_timeout;
        let planned = if limit.is_zero() || delay <= limit {
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
        if let Some(planned) = watch.next_check.replace(planned) {
            planned.abort();
        }
    }

    /// Moves the next check to the time at which new work would count as stuck.
    fn schedule_stuck_check(&self, ctx: &mut AgentContext, watch: &mut AgentRunState) {
        if watch.is_check_in_flight {
            // The check in flight schedules the next.
            return;
        }
        let now = ctx.now();
        let planned = watch.next_check_at.saturating_sub(now);
        let limit = watch.health.next_check_in(self.activity_signs(now), now);
        self.schedule_check_in(ctx, watch, planned.min(limit));
    }

    fn handle_recovery(
        &self,
        ctx: &mut AgentContext,
        watch: &mut AgentRunState,
        revival: Recovery,
    ) -> Result<(), Failure> {
        watch.is_check_in_flight = false;
        let error = match revival {
            Recovery::Done => {
                watch.finish_recovery(&Ok(()));
                self.save_session(ctx, watch);
                self.watch_for_failure(ctx);
                self.watch_for_state(ctx, Duration::ZERO);
                self.start_check(ctx, watch);
                return Ok(());
            }
            Recovery::Failed(DriverError::Failed(why)) if *self.is_backend_unavailable.borrow() => {
                DriverError::Unreachable(why)
            }
            Recovery::Failed(error) => error,
        };
        for reply in watch.recovery_waiters.drain(..) {
            reply.send(Err(error.clone()));
        }
        match error {
            // An unavailable backend uses up no restarts: the next check tries again.
            DriverError::Unreachable(why) if !self.driver.owns_agent() => {
                self.apply_observation(ctx, watch, Observation::Unreachable { why });
                self.schedule_next_check(ctx, watch);
                Ok(())
            }
            DriverError::Unreachable(why) | DriverError::Failed(why) => {
                let reason = why.log_text().to_owned();
                self.apply_observation(ctx, watch, Observation::Exited { why });
                self.publish(watch);
                Err(reason.into())
            }
        }
    }

    fn handle_observation(
        &self,
        ctx: &mut AgentContext,
        watch: &mut AgentRunState,
        observation: Observation,
    ) {
        watch.is_check_in_flight = false;
        let observation = self.adjust_for_outage(observation);
        watch.confirm_state(&observation);
        if let Observation::Answered { reported: ReportedHealth::Healthy, uptime_s, .. } = &observation {
            watch.is_delivery_paused = false;
            let is_first = watch.health.last_check().is_none() && ctx.generation() == 1;
            let is_another = watch.snapshot.record_uptime(*uptime_s, ctx.wall_time());
            watch.is_dirty |= is_another || is_first;
            if is_another && is_first && !self.driver.owns_agent() {
                self.restore_state(watch);
            }
        }
        self.apply_observation(ctx, watch, observation);
        // The first check after a start comes before the agent has looked at its state.
        if watch.health.status() == AgentStatus::Healthy && watch.checks_planned > 0 {
            self.pending_recovery.confirm_state();
        }
        if watch.health.status() == AgentStatus::Healthy
            && !watch.is_recovering
            && !watch.snapshot.is_state_unsupported
        {
            let driver = Arc::clone(&self.driver);
            ctx.spawn(async move { AgentCommand::StateRead(Box::new(driver.read_state().await)) });
        }
        self.schedule_next_check(ctx, watch);
    }

    /// Applies the result of a check or a failure and records a change. Fails the incarnation if the agent must
    /// restart, once the snapshot is saved.
    fn apply_observation(&self, ctx: &mut AgentContext, watch: &mut AgentRunState, observation: Observation) {
        self.note_deaths(ctx, watch, &observation);
        let signs = self.activity_signs(ctx.now());
        let outcome = watch.health.observe(observation, signs, ctx.now());
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
            // Published first, so that a reader of the event finds the same status in the reports.
            self.publish(watch);
            let error = watch.health.last_error().cloned();
            let reason = error.as_ref().map(|error| error.message.clone());
            ctx.record(&AgentHealth { from, to, misses: watch.health.misses(), reason, error });
        }
        if outcome.was_restarted_externally {
            self.restore_state(watch);
        }
        if let Some(reason) = outcome.restart {
            // The last reported state may be newer than the one that was read after the last check.
            self.save_reported_state(ctx, watch);
            watch.is_check_in_flight = true;
            // Messages wait for the next incarnation.
            watch.is_delivery_paused = true;
            ctx.spawn(std::future::ready(AgentCommand::Fail(reason)));
        }
    }

    fn restore_state(&self, watch: &mut AgentRunState) {
        if watch.snapshot.saved_state.is_none() {
            return;
        }
        self.pending_recovery.request_state_restore();
        watch.unconfirmed_state = None;
        watch.is_recovering = true;
        watch.is_recheck_due = true;
    }

    fn quarantine_bad_state(&self, ctx: &AgentContext, memory: &mut AgentSnapshot) {
        if !self.pending_recovery.is_state_bad() {
            return;
        }
        if let Some(kept) = memory.saved_state.take() {
            let (read_at, bytes) = (kept.read_at.to_string(), kept.json().len());
            ctx.record(&AgentStateQuarantined { read_at, bytes });
            memory.quarantined = Some(Box::new(kept));
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
        watch: &mut AgentRunState,
        read: Result<AgentState, DriverError>,
    ) {
        match read {
            Ok(AgentState::Known(value)) => {
                let kept = watch.share_memory(SavedState::new(&value, ctx.wall_time()));
                if self.driver.owns_agent() {
                    // The agent reported it on purpose.
                    watch.save_state(kept);
                } else {
                    watch.unconfirmed_state = Some((kept, watch.health.error_count()));
                }
            }
            Ok(AgentState::Unsupported) => watch.snapshot.is_state_unsupported = true,
            // The next check will report the problem; the last state stays.
            Ok(AgentState::None) | Err(_) => {}
        }
    }

    /// Schedules the next check. The first comes soon, the second at a random time in the second half of the
    /// interval, and later ones keep the interval. This spreads the agents' checks.
    fn schedule_next_check(&self, ctx: &mut AgentContext, watch: &mut AgentRunState) {
        if std::mem::take(&mut watch.is_recheck_due) {
            return self.start_check(ctx, watch);
        }
        watch.checks_planned = watch.checks_planned.saturating_add(1);
        let signs = self.activity_signs(ctx.now());
        let usual = watch.health.next_check_in(signs, ctx.now());
        let is_spread = watch.checks_planned == 1 && !self.first_check_within.is_zero();
        let delay = if is_spread { usual.mul_f64(0.5 + ctx.random_unit() / 2.0) } else { usual };
        // Whether no stuck check comes before the interval ends.
        let is_usual = usual == self.health.interval;
        let delay = if is_usual { self.health.align_to_step(delay, ctx.now()) } else { delay };
        self.schedule_check_in(ctx, watch, delay);
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
    pub(super) fn save_reported_state(&self, ctx: &AgentContext, watch: &mut AgentRunState) {
        if self.driver.owns_agent()
            && !watch.is_recovering
            && let Some(Ok(AgentState::Known(value))) = self.driver.read_state().now_or_never()
        {
            watch.save_state(SavedState::new(&value, ctx.wall_time()));
        }
    }

    fn publish(&self, watch: &AgentRunState) {
        let health = &watch.health;
        self.reports.publish(AgentReport {
            id: self.id.clone(),
            driver: self.driver.kind().to_owned(),
            status: health.status(),
            since: health.since(),
            misses: health.misses(),
            last_check: health.last_check(),
            last_error: health.last_error().cloned().map(Box::new),
            uptime_s: health.uptime_s(),
            error_count: health.error_count(),
            state_saved_at: watch.snapshot.saved_state.as_ref().map(|kept| kept.read_at),
            process: self.driver.process(),
            messages_waiting: watch.snapshot.messages.waiting_count(),
            messages_in_flight: watch.snapshot.messages.in_flight_count(),
        });
    }
}

impl AgentRunState {
    fn finish_recovery(&mut self, outcome: &Result<(), DriverError>) {
        self.is_recovering = false;
        self.is_delivery_paused = false;
        for reply in self.recovery_waiters.drain(..) {
            reply.send(outcome.clone());
        }
    }

    /// Saves a state that was read between two checks, if both found the same process healthy. A process that has
    /// just crashed would return an empty state.
    fn confirm_state(&mut self, observation: &Observation) {
        let Some((candidate, errors_then)) = self.unconfirmed_state.take() else { return };
        let Observation::Answered { reported: ReportedHealth::Healthy, error_count, .. } = observation else {
            return;
        };
        if *error_count == errors_then {
            self.save_state(candidate);
        }
    }

    /// Returns the state in the memory of the saved one if the two are equal.
    fn share_memory(&self, state: SavedState) -> SavedState {
        match &self.snapshot.saved_state {
            Some(kept) if kept.is_same_as(&state) => kept.with_read_at(state.read_at),
            _ => state,
        }
    }

    fn save_state(&mut self, state: SavedState) {
        if let Some(kept) = &mut self.snapshot.saved_state
            && kept.is_same_as(&state)
        {
            // An equal state is not written again, but has a later time.
            kept.read_at = state.read_at;
            return;
        }
        self.snapshot.saved_state = Some(state);
        self.is_dirty = true;
    }
}
