//! The agent's actor: its life and state. `checks` is the part that checks the agent, `messages` the part that delivers
//! messages, `questions` the part that reports the agent's questions.

mod checks;
mod messages;
mod questions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::{
    Context, Failure, FinalizeContext, Reply, TaskHandle, Timer, UnrecoverableFailure, Worker,
};
use tokio::sync::watch;
use tokio::time::sleep;

use super::agent_message::MessageId;
use super::call_quarantine::AgentCall;
use super::command::AgentCommand;
use super::driver::process::errors::UNRUNNABLE;
use super::driver::{AgentState, Driver, DriverError};
use super::events::AgentStateQuarantined;
use super::health::{Health, HealthPolicy, Observation, ReportedHealth};
use super::open_questions::OpenQuestions;
use super::pending_replies::PendingReplies;
use super::recovery::PendingRecovery;
use super::reports::{AgentReport, AgentReports};
use super::snapshot::{AgentSnapshot, SavedState};
use super::updates::UpdateBroadcast;
use crate::network::BackendEnds;
use crate::process::stop_within;
use crate::standstill::is_overdue;

/// The least time between two saves of states that the agent reports. An agent that reports its state all the time is
/// not written to disk all the time.
const STATE_SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// The least time between two reports of questions and lost replies.
const QUESTION_REPORT_INTERVAL: Duration = Duration::from_millis(100);

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
    /// The place where messages and their outcomes are published, beside what the agent says.
    pub updates: UpdateBroadcast,
    /// True if the backend seems unavailable. An agent that misses checks meanwhile is `unknown`.
    pub is_backend_unavailable: watch::Receiver<bool>,
    /// The ends of the backend's own process.
    pub backend_ends: watch::Receiver<BackendEnds>,
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
    /// True while a read of the agent's state is in flight.
    is_reading_state: bool,
    /// True if the backend was unavailable at the last look.
    was_backend_unavailable: bool,
    /// The number of checks scheduled so far: the first two are spread over the interval.
    checks_planned: u32,
    /// The end of the last standstill of this process. What the agent did meanwhile may not have been read by then.
    woke_at: Option<Duration>,
    deliveries: BTreeMap<MessageId, TaskHandle>,
    message_timer: Timer,
    questions: OpenQuestions,
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
    Scheduled {
        task: TaskHandle,
        at: Duration,
    },
    /// A check or a recovery is in flight. A check ends by `until`.
    InFlight {
        until: Duration,
    },
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
        if !snapshot.is_worth_restoring() {
            ctx.report_fresh_start();
        }
        if let Some(session) = snapshot.session.clone().filter(|_| is_first) {
            self.driver.restore_session(*session);
        }
        self.driver.note_generation(ctx.generation());
        self.resume_messages(ctx, &mut snapshot, is_first);
        self.quarantine_bad_state(ctx, &mut snapshot);
        let needs_recovery = owns || !is_first || self.pending_recovery.is_pending();
        let previous_error = self.reports.get(&self.id).and_then(|report| report.error);
        let mut run = AgentRunState {
            health: Health::new(Arc::clone(&self.health), ctx.now())
                .with_last_error(previous_error)
                .with_calls(self.pending_recovery.take_calls()),
            since: WallTime(ctx.wall_time()),
            last_check: None,
            is_dirty: true,
            snapshot,
            unconfirmed_state: None,
            phase: if needs_recovery { Phase::recovering() } else { Phase::Serving },
            check: CheckState::Unscheduled,
            is_reading_state: false,
            was_backend_unavailable: *self.is_backend_unavailable.borrow(),
            checks_planned: 0,
            woke_at: None,
            deliveries: BTreeMap::new(),
            message_timer: Timer::default(),
            questions: OpenQuestions::default(),
        };
        self.report_questions(ctx, &mut run, Duration::ZERO);
        self.publish(&run);
        self.watch_for_suspension(ctx);
        // The backend may have ended over a call of the incarnation before.
        if self.note_backend_ends(ctx, &mut run) {
            return Ok(run);
        }
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
        let has_exited = self.note_backend_ends(ctx, run);
        match message {
            AgentCommand::Check if has_exited => {}
            AgentCommand::Check => {
                run.note_standstill(ctx.now());
                self.start_check(ctx, run);
            }
            AgentCommand::CheckFinished(observation) => self.handle_observation(ctx, run, *observation),
            AgentCommand::SuspensionChanged { is_suspended } => {
                // Else a check has noticed it meanwhile.
                if is_suspended != run.health.is_suspended() {
                    self.start_early_check(ctx, run);
                }
                self.watch_for_suspension(ctx);
            }
            // A check may have found the failure before: that is one death, not two.
            AgentCommand::FailureObserved(_) if matches!(run.phase, Phase::Failing) => {}
            AgentCommand::FailureObserved(observation) => self.apply_observation(ctx, run, *observation),
            AgentCommand::StateReported => {
                self.save_reported_state(ctx, run);
                self.watch_for_state(ctx, STATE_SAVE_INTERVAL);
            }
            AgentCommand::ReportQuestions => self.report_questions(ctx, run, QUESTION_REPORT_INTERVAL),
            AgentCommand::RecoveryFinished(recovery) => self.handle_recovery(ctx, run, *recovery)?,
            AgentCommand::StateRead(read) => {
                self.handle_state(ctx, run, *read);
                // The first state causes a check at once; later ones wait for the next.
                if run.snapshot.saved_state.is_none() && run.unconfirmed_state.is_some() {
                    self.start_early_check(ctx, run);
                }
            }
            // The deliveries in flight are failed and saved first, then the incarnation fails.
            AgentCommand::Fail(reason) if self.fail_in_flight_messages(ctx, run) => {
                ctx.spawn(std::future::ready(AgentCommand::Fail(reason)));
            }
            AgentCommand::Fail(reason) => {
                self.pending_recovery.hand_over(run.health.take_calls());
                self.publish(run);
                return Err(match self.driver.is_unrunnable() {
                    true => UnrecoverableFailure::new(reason, UNRUNNABLE).into(),
                    false => reason.into(),
                });
            }
            AgentCommand::WorkStarted => self.schedule_stuck_check(ctx, run),
            AgentCommand::BackendAvailabilityChanged => self.schedule_spread_check(ctx, run),
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
        let (time_left, driver) = (|| ctx.stop_time_left(), &self.driver);
        let stopped =
            stop_within(time_left, driver.stop(), || driver.ask_to_end(), || driver.abandon()).await;
        if let Some(state) = stopped.state
            && !run.phase.is_recovering()
        {
            run.save_state(SavedState::new(&state, ctx.wall_time()));
            self.publish(run);
        }
        if let Some(message) = stopped.killed {
            ctx.report_kill(message);
        }
    }

    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        self.driver.abandon();
        self.fail_all_messages(ctx);
    }
}

impl AgentActor {
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

    fn handle_state(
        &self,
        ctx: &mut AgentContext,
        run: &mut AgentRunState,
        read: Result<AgentState, DriverError>,
    ) {
        run.is_reading_state = false;
        if read.is_ok() {
            run.health.note_answer(AgentCall::StateRead);
        }
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
            // The last state stays.
            Ok(AgentState::None) => {}
            Err(DriverError::Failed(why)) if self.driver.asks_backend() => {
                run.health.note_failure(AgentCall::StateRead, &why, self.backend_ends(), ctx.now());
                self.note_backend_ends(ctx, run);
            }
            // The next check will report the problem.
            Err(_) => {}
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
            suspended: health.is_suspended(),
            messages_waiting: run.snapshot.messages.waiting_count(),
            messages_in_flight: run.snapshot.messages.in_flight_count(),
            questions: run.questions.to_report(),
        });
    }
}

impl AgentRunState {
    /// Notes a standstill of this process, if a check is due or ends much later than it should.
    fn note_standstill(&mut self, now: Duration) {
        let due = match self.check {
            CheckState::Unscheduled => now,
            CheckState::Scheduled { at, .. } => at,
            CheckState::InFlight { until } => until,
        };
        if is_overdue(due, now) {
            self.woke_at = Some(now);
        }
    }

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
