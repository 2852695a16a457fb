//! The actor: checks, restarts, state. Letters are in `letters`.

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

/// How long after a state that an agent handed over of its own accord the next is kept, where nothing else is a reason
/// to: one that says its state all the time does not have it written all the time.
const STATE_SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// What every incarnation of an agent's actor is made from.
pub struct AgentActor {
    /// The agent's id.
    pub id: String,
    /// How it is reached.
    pub driver: Arc<dyn Driver>,
    /// When it counts as ill or well.
    pub health: Arc<HealthPolicy>,
    /// Within what time from the start, or from the backend's return, its first check begins: agents share it out among
    /// them, so that many of them are not all checked at once.
    pub first_check_within: Duration,
    /// What the agent still has to get, whoever is there to see to it.
    pub pending_recovery: Arc<PendingRecovery>,
    /// Who waits for answers to letters.
    pub pending_replies: Arc<PendingReplies>,
    /// Whether the backend seems to be away. An agent that does not answer meanwhile is `unknown`.
    pub is_backend_unavailable: watch::Receiver<bool>,
    /// Where it publishes what it knows.
    pub reports: AgentReports,
}

/// The state of one incarnation.
pub struct AgentRunState {
    health: Health,
    snapshot: AgentSnapshot,
    /// Whether the memory differs from the last snapshot.
    is_dirty: bool,
    /// Read after the last check, and kept once the next check finds the same life of the agent well.
    unconfirmed_state: Option<(SavedState, Option<u64>)>,
    /// Whether the agent has still to be looked after before it is merely checked.
    is_recovering: bool,
    recovery_waiters: Vec<Reply<Result<(), DriverError>>>,
    /// A check or an attempt to bring the agent back is in flight.
    is_check_in_flight: bool,
    /// Something changed while a check was in flight, so another one follows at once.
    is_recheck_due: bool,
    /// Whether the backend seemed away when that was last looked at.
    was_backend_unavailable: bool,
    next_check: Option<TaskHandle>,
    /// When that begins, if nothing comes in between.
    next_check_at: Duration,
    /// How many checks have been planned: the first two are spread over the period.
    checks_planned: u32,
    /// The agent took no letter: none is handed out before it has been seen well again.
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
                // The first state is worth a check of its own; later ones wait for the next.
                if watch.snapshot.saved_state.is_none() && watch.unconfirmed_state.is_some() {
                    self.start_check(ctx, watch);
                }
            }
            // First what was under way is told, and noted; then it fails.
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
    /// Starts a check, or an attempt to bring the agent back if that is still to be done, unless one is in flight.
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

    /// Has a check begin at a moment of this agent's own within `first_check_within`.
    fn schedule_spread_check(&self, ctx: &mut AgentContext, watch: &mut AgentRunState) {
        if self.first_check_within.is_zero() {
            return self.start_check(ctx, watch);
        }
        self.schedule_check_in(ctx, watch, self.first_check_within.mul_f64(ctx.random_unit()));
    }

    /// Plans a check after `delay`, or for when the backend seems to have gone or to be back, if that is sooner.
    fn schedule_check_in(&self, ctx: &mut AgentContext, watch: &mut AgentRunState, delay: Duration) {
        let mut link = self.is_backend_unavailable.clone();
        let was_away = *link.borrow_and_update();
        let minds_link = !self.driver.owns_agent();
        if std::mem::replace(&mut watch.was_backend_unavailable, was_away) != was_away
            && minds_link
            && !delay.is_zero()
        {
            // It changed while nobody was waiting for that.
            return self.schedule_spread_check(ctx, watch);
        }
        let change = async move {
            // The link's view outlives its actor; an error says that the whole tree is going.
            if !minds_link || link.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        watch.next_check_at = ctx.now().saturating_add(delay);
        let limit = self.health.progress_timeout;
        let planned = if limit.is_zero() || delay <= limit {
            // Not an async block around both, which would hold them twice: this is what each agent mostly does.
            ctx.spawn(timeout(delay, change).map(|changed| match changed {
                Ok(()) => AgentCommand::BackendAvailabilityChanged,
                Err(_) => AgentCommand::Check,
            }))
        } else {
            // What it is given to do meanwhile may make it hang before that.
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

    /// Sees to it that an agent that has just been given something to do is looked at when it would hang.
    fn schedule_stuck_check(&self, ctx: &mut AgentContext, watch: &mut AgentRunState) {
        if watch.is_check_in_flight {
            // The check that is in flight plans the next.
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
            // Nobody is given up because the backend is away: it is tried again with the next check.
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
        // The first check after a start says little: it has hardly looked at its state by then.
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

    /// Takes in what a check or an incident brought, records a change, and has the incarnation fail where the agent is to
    /// be restarted, once what is to be remembered has been noted.
    fn apply_observation(&self, ctx: &mut AgentContext, watch: &mut AgentRunState, observation: Observation) {
        self.note_deaths(ctx, watch, &observation);
        let signs = self.activity_signs(ctx.now());
        let outcome = watch.health.observe(observation, signs, ctx.now());
        if let Some(quiet) = outcome.stuck_for {
            // It may well answer the next incarnation's check.
            self.pending_recovery.request_restart();
            ctx.record(&AgentStuck {
                quiet_ms: millis(quiet),
                progress_timeout_ms: millis(self.health.progress_timeout),
                in_flight: self.driver.activity().in_flight,
            });
        }
        if let Some(StatusChange { from, to }) = outcome.change {
            // Whoever reads the event and looks at the board then sees what it says.
            self.publish(watch);
            let error = watch.health.last_error().cloned();
            let reason = error.as_ref().map(|error| error.message.clone());
            ctx.record(&AgentHealth { from, to, misses: watch.health.misses(), reason, error });
        }
        if outcome.was_restarted_externally {
            self.restore_state(watch);
        }
        if let Some(reason) = outcome.restart {
            // What it said last may be more than was read after the last check.
            self.save_reported_state(ctx, watch);
            watch.is_check_in_flight = true;
            // Letters wait for the next incarnation.
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
                    // It was handed over on purpose.
                    watch.save_state(kept);
                } else {
                    watch.unconfirmed_state = Some((kept, watch.health.error_count()));
                }
            }
            Ok(AgentState::Unsupported) => watch.snapshot.is_state_unsupported = true,
            // The next check will tell what is wrong; the last state stays.
            Ok(AgentState::None) | Err(_) => {}
        }
    }

    /// The first check comes soon, the second at a moment of this agent's own in the second half of the period, and from
    /// then on they keep the period: so the agents' checks are spread over it.
    fn schedule_next_check(&self, ctx: &mut AgentContext, watch: &mut AgentRunState) {
        if std::mem::take(&mut watch.is_recheck_due) {
            return self.start_check(ctx, watch);
        }
        watch.checks_planned = watch.checks_planned.saturating_add(1);
        let signs = self.activity_signs(ctx.now());
        let usual = watch.health.next_check_in(signs, ctx.now());
        let is_spread = watch.checks_planned == 1 && !self.first_check_within.is_zero();
        let delay = if is_spread { usual.mul_f64(0.5 + ctx.random_unit() / 2.0) } else { usual };
        // Sooner than the period is to the point.
        let is_usual = usual == self.health.interval;
        let delay = if is_usual { self.health.align_to_step(delay, ctx.now()) } else { delay };
        self.schedule_check_in(ctx, watch, delay);
    }

    /// A check that was missed while the backend seems away says nothing about an agent behind it.
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

    /// Has a state that the agent hands over of its own accord kept, not before `pause` is over.
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

    /// Keeps what an agent of the driver's own said of its state so far. What it says before it has its state back is not
    /// worth as much as that.
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

    /// A state that was read between two checks is kept only if both found the same life of the agent well: one
    /// that had just crashed would give an empty state.
    fn confirm_state(&mut self, observation: &Observation) {
        let Some((candidate, errors_then)) = self.unconfirmed_state.take() else { return };
        let Observation::Answered { reported: ReportedHealth::Healthy, error_count, .. } = observation else {
            return;
        };
        if *error_count == errors_then {
            self.save_state(candidate);
        }
    }

    /// The same state, in the memory of the one that is kept where the two are alike.
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
            // The same as before need not be written again; it is shown as read later.
            kept.read_at = state.read_at;
            return;
        }
        self.snapshot.saved_state = Some(state);
        self.is_dirty = true;
    }
}
