//! The actor: checks, restarts, state. Letters are in `letters`.

mod letters;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mainstay_runtime::journal::millis;
use mainstay_runtime::{Context, Failure, Reply, RestContext, TaskHandle, Worker};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::board::{AgentBoard, AgentReport};
use super::callers::Callers;
use super::driver::{AgentState, Driver, DriverError};
use super::events::{AgentHealth, AgentStateSetAside, AgentStuck};
use super::health::{AgentStatus, Change, Health, HealthPolicy, Observation, Reported, Signs};
use super::letter::LetterId;
use super::memory::{AgentMemory, KeptState};
use super::message::AgentMessage;
use super::revival::{AgentDebts, Revival, revive};

/// How long after a state that an agent handed over of its own accord the next is kept, where nothing else is a reason
/// to: one that says its state all the time does not have it written all the time.
const STATE_PAUSE: Duration = Duration::from_secs(1);

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
    pub debts: Arc<AgentDebts>,
    /// Who waits for answers to letters.
    pub callers: Arc<Callers>,
    /// Whether the backend seems to be away. An agent that does not answer meanwhile is `unknown`.
    pub backend_seems_away: watch::Receiver<bool>,
    /// Where it publishes what it knows.
    pub board: AgentBoard,
}

/// The state of one incarnation.
pub struct AgentWatch {
    health: Health,
    memory: AgentMemory,
    /// Whether the memory differs from the last snapshot.
    is_dirty: bool,
    /// Read after the last check, and kept once the next check finds the same life of the agent well.
    candidate: Option<(KeptState, Option<u64>)>,
    /// Whether the agent has still to be looked after before it is merely checked.
    is_reviving: bool,
    waiting: Vec<Reply<Result<(), DriverError>>>,
    /// A check or an attempt to bring the agent back is in flight.
    is_busy: bool,
    /// Something changed while a check was in flight, so another one follows at once.
    is_check_outdated: bool,
    /// Whether the backend seemed away when that was last looked at.
    was_away: bool,
    next_check: Option<TaskHandle>,
    /// When that begins, if nothing comes in between.
    next_check_at: Duration,
    /// How many checks have been planned: the first two are spread over the period.
    checks: u32,
    /// The agent took no letter: none is handed out before it has been seen well again.
    is_shut: bool,
    deliveries: BTreeMap<LetterId, TaskHandle>,
    mail_alarm: Option<(Duration, TaskHandle)>,
}

type Ctx = Context<AgentMessage>;

impl Worker for AgentActor {
    type Message = AgentMessage;
    type State = AgentWatch;
    type Snapshot = AgentMemory;

    async fn start(&self, ctx: &mut Ctx, kept: Option<AgentMemory>) -> Result<AgentWatch, Failure> {
        let is_first = ctx.generation() == 1;
        let owns = self.driver.owns_agent();
        let mut memory = kept.unwrap_or_default();
        if let Some(session) = memory.session.clone().filter(|_| is_first) {
            self.driver.recall(*session);
        }
        self.take_up_mail(ctx, &mut memory, is_first);
        self.set_bad_state_aside(ctx, &mut memory);
        let mut watch = AgentWatch {
            health: Health::new(Arc::clone(&self.health), ctx.now()),
            is_dirty: true,
            memory,
            candidate: None,
            is_reviving: owns || !is_first || self.debts.any(),
            waiting: Vec::new(),
            is_busy: false,
            is_check_outdated: false,
            was_away: *self.backend_seems_away.borrow(),
            next_check: None,
            next_check_at: Duration::ZERO,
            checks: 0,
            is_shut: false,
            deliveries: BTreeMap::new(),
            mail_alarm: None,
        };
        self.publish(&watch);
        if watch.is_reviving {
            self.begin_check(ctx, &mut watch);
        } else {
            self.check_soon(ctx, &mut watch);
        }
        Ok(watch)
    }

    async fn handle(
        &self,
        ctx: &mut Ctx,
        message: AgentMessage,
        watch: &mut AgentWatch,
    ) -> Result<(), Failure> {
        watch.is_dirty = false;
        match message {
            AgentMessage::Check => self.begin_check(ctx, watch),
            AgentMessage::TakeObservation(observation) => self.take_observation(ctx, watch, *observation),
            AgentMessage::TakeIncident(observation) => self.observe(ctx, watch, *observation),
            AgentMessage::MindState => {
                self.note_state(ctx, watch);
                self.await_state(ctx, STATE_PAUSE);
            }
            AgentMessage::TakeRevival(revival) => self.take_revival(ctx, watch, *revival)?,
            AgentMessage::TakeState(read) => {
                self.take_state(ctx, watch, *read);
                // The first state is worth a check of its own; later ones wait for the next.
                if watch.memory.kept.is_none() && watch.candidate.is_some() {
                    self.begin_check(ctx, watch);
                }
            }
            // First what was under way is told, and noted; then it fails.
            AgentMessage::Fail(reason) if self.break_mail_off(ctx, watch) => {
                ctx.spawn(std::future::ready(AgentMessage::Fail(reason)));
            }
            AgentMessage::Fail(reason) => {
                self.publish(watch);
                return Err(reason.into());
            }
            AgentMessage::MindWork => self.look_in_time(ctx, watch),
            AgentMessage::MindLink => self.check_soon(ctx, watch),
            AgentMessage::AwaitRevival(reply) if watch.is_reviving => watch.waiting.push(reply),
            AgentMessage::AwaitRevival(reply) => reply.send(Ok(())),
            AgentMessage::Post(post) => self.accept(ctx, watch, *post),
            AgentMessage::HandOut(id) => self.deliver(ctx, watch, id),
            AgentMessage::TakeAnswer { id, answer } => self.take_answer(ctx, watch, id, *answer),
            AgentMessage::CallOff { id, reply } => reply.send(self.call_off(ctx, watch, id)),
            AgentMessage::Abandon(id) => drop(self.call_off(ctx, watch, id)),
            AgentMessage::MindMail => watch.mail_alarm = None,
            #[cfg(debug_assertions)]
            #[allow(clippy::panic, reason = "this is the fault switch of debug builds")]
            AgentMessage::Panic => panic!("asked to panic"),
        }
        self.mind_mail(ctx, watch);
        self.publish(watch);
        Ok(())
    }

    fn snapshot(&self, watch: &AgentWatch) -> Option<AgentMemory> {
        watch.is_dirty.then(|| watch.memory.clone())
    }

    async fn stop(&self, ctx: &mut Ctx, watch: &mut AgentWatch) {
        watch.is_dirty = false;
        watch.deliveries.values().for_each(TaskHandle::abort);
        if let Some(state) = self.driver.stop().await
            && !watch.is_reviving
        {
            watch.keep(KeptState::new(&state, ctx.wall_time()));
            self.publish(watch);
        }
    }

    fn rest(&self, ctx: &RestContext<'_>) {
        self.driver.abandon();
        self.send_back_mail(ctx);
    }
}

impl AgentActor {
    /// Starts a check, or an attempt to bring the agent back if that is still to be done, unless one is in flight.
    fn begin_check(&self, ctx: &mut Ctx, watch: &mut AgentWatch) {
        if std::mem::replace(&mut watch.is_busy, true) {
            return;
        }
        if let Some(planned) = watch.next_check.take() {
            planned.abort();
        }
        let driver = Arc::clone(&self.driver);
        if watch.is_reviving {
            let debts = Arc::clone(&self.debts);
            let kept = watch.memory.kept.as_ref().map(|kept| Arc::clone(kept.json()));
            ctx.spawn(
                async move { AgentMessage::TakeRevival(Box::new(revive(&*driver, &debts, kept).await)) },
            );
        } else {
            ctx.spawn(async move { AgentMessage::TakeObservation(Box::new(driver.check().await)) });
        }
    }

    /// Has a check begin at a moment of this agent's own within `first_check_within`.
    fn check_soon(&self, ctx: &mut Ctx, watch: &mut AgentWatch) {
        if self.first_check_within.is_zero() {
            return self.begin_check(ctx, watch);
        }
        self.plan_check_in(ctx, watch, self.first_check_within.mul_f64(ctx.random_unit()));
    }

    /// Plans a check after `delay`, or for when the backend seems to have gone or to be back, if that is sooner.
    fn plan_check_in(&self, ctx: &mut Ctx, watch: &mut AgentWatch, delay: Duration) {
        let mut link = self.backend_seems_away.clone();
        let was_away = *link.borrow_and_update();
        let minds_link = !self.driver.owns_agent();
        if std::mem::replace(&mut watch.was_away, was_away) != was_away && minds_link && !delay.is_zero() {
            // It changed while nobody was waiting for that.
            return self.check_soon(ctx, watch);
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
                Ok(()) => AgentMessage::MindLink,
                Err(_) => AgentMessage::Check,
            }))
        } else {
            // What it is given to do meanwhile may make it hang before that.
            let driver = Arc::clone(&self.driver);
            let sooner = async move {
                tokio::select! {
                    () = change => AgentMessage::MindLink,
                    () = driver.work_begun() => AgentMessage::MindWork,
                }
            };
            ctx.spawn(timeout(delay, sooner).map(|sooner| sooner.unwrap_or(AgentMessage::Check)))
        };
        if let Some(planned) = watch.next_check.replace(planned) {
            planned.abort();
        }
    }

    /// Sees to it that an agent that has just been given something to do is looked at when it would hang.
    fn look_in_time(&self, ctx: &mut Ctx, watch: &mut AgentWatch) {
        if watch.is_busy {
            // The check that is in flight plans the next.
            return;
        }
        let now = ctx.now();
        let planned = watch.next_check_at.saturating_sub(now);
        let limit = watch.health.next_check_in(self.signs(now), now);
        self.plan_check_in(ctx, watch, planned.min(limit));
    }

    fn take_revival(&self, ctx: &mut Ctx, watch: &mut AgentWatch, revival: Revival) -> Result<(), Failure> {
        watch.is_busy = false;
        let error = match revival {
            Revival::Done => {
                watch.end_revival(&Ok(()));
                self.note_session(ctx, watch);
                self.await_incident(ctx);
                self.await_state(ctx, Duration::ZERO);
                self.begin_check(ctx, watch);
                return Ok(());
            }
            Revival::Failed(DriverError::Failed(why)) if *self.backend_seems_away.borrow() => {
                DriverError::Unreachable(why)
            }
            Revival::Failed(error) => error,
        };
        for reply in watch.waiting.drain(..) {
            reply.send(Err(error.clone()));
        }
        match error {
            // Nobody is given up because the backend is away: it is tried again with the next check.
            DriverError::Unreachable(why) if !self.driver.owns_agent() => {
                self.observe(ctx, watch, Observation::Unreachable { why });
                self.plan_check(ctx, watch);
                Ok(())
            }
            DriverError::Unreachable(why) | DriverError::Failed(why) => {
                let reason = why.for_log().to_owned();
                self.observe(ctx, watch, Observation::Gone { why });
                self.publish(watch);
                Err(reason.into())
            }
        }
    }

    fn take_observation(&self, ctx: &mut Ctx, watch: &mut AgentWatch, observation: Observation) {
        watch.is_busy = false;
        let observation = self.in_the_light_of_the_link(observation);
        watch.settle_candidate(&observation);
        if let Observation::Answered { reported: Reported::Healthy, uptime_s, .. } = &observation {
            watch.is_shut = false;
            let is_first = watch.health.last_check().is_none() && ctx.generation() == 1;
            let is_another = watch.memory.note_uptime(*uptime_s, ctx.wall_time());
            watch.is_dirty |= is_another || is_first;
            if is_another && is_first && !self.driver.owns_agent() {
                self.give_state_back(watch);
            }
        }
        self.observe(ctx, watch, observation);
        // The first check after a start says little: it has hardly looked at its state by then.
        if watch.health.status() == AgentStatus::Healthy && watch.checks > 0 {
            self.debts.note_state_is_good();
        }
        if watch.health.status() == AgentStatus::Healthy && !watch.is_reviving && !watch.memory.has_no_state {
            let driver = Arc::clone(&self.driver);
            ctx.spawn(async move { AgentMessage::TakeState(Box::new(driver.read_state().await)) });
        }
        self.plan_check(ctx, watch);
    }

    /// Takes in what a check or an incident brought, records a change, and has the incarnation fail where the agent is to
    /// be restarted, once what is to be remembered has been noted.
    fn observe(&self, ctx: &mut Ctx, watch: &mut AgentWatch, observation: Observation) {
        let signs = self.signs(ctx.now());
        let outcome = watch.health.observe(observation, signs, ctx.now());
        if let Some(quiet) = outcome.stuck_for {
            // It may well answer the next incarnation's check.
            self.debts.owe_restart();
            ctx.record(&AgentStuck {
                quiet_ms: millis(quiet),
                progress_timeout_ms: millis(self.health.progress_timeout),
                in_flight: self.driver.activity().in_flight,
            });
        }
        if let Some(Change { from, to }) = outcome.change {
            // Whoever reads the event and looks at the board then sees what it says.
            self.publish(watch);
            let error = watch.health.last_error().cloned();
            let reason = error.as_ref().map(|error| error.message.clone());
            ctx.record(&AgentHealth { from, to, misses: watch.health.misses(), reason, error });
        }
        if outcome.was_restarted_elsewhere {
            self.give_state_back(watch);
        }
        if let Some(reason) = outcome.restart {
            // What it said last may be more than was read after the last check.
            self.note_state(ctx, watch);
            watch.is_busy = true;
            // Letters wait for the next incarnation.
            watch.is_shut = true;
            ctx.spawn(std::future::ready(AgentMessage::Fail(reason)));
        }
    }

    fn give_state_back(&self, watch: &mut AgentWatch) {
        if watch.memory.kept.is_none() {
            return;
        }
        self.debts.owe_state();
        watch.candidate = None;
        watch.is_reviving = true;
        watch.is_check_outdated = true;
    }

    fn set_bad_state_aside(&self, ctx: &Ctx, memory: &mut AgentMemory) {
        if !self.debts.state_is_bad() {
            return;
        }
        if let Some(kept) = memory.kept.take() {
            let (read_at, bytes) = (kept.read_at.to_string(), kept.json().len());
            ctx.record(&AgentStateSetAside { read_at, bytes });
            memory.set_aside = Some(Box::new(kept));
        }
        self.debts.note_state_is_good();
    }

    fn signs(&self, now: Duration) -> Signs {
        let activity = self.driver.activity();
        let since = |at: Instant| now.saturating_sub(Instant::now().saturating_duration_since(at));
        Signs { is_at_work: activity.in_flight > 0, progressed_at: activity.progressed_at.map(since) }
    }

    fn take_state(&self, ctx: &Ctx, watch: &mut AgentWatch, read: Result<AgentState, DriverError>) {
        match read {
            Ok(AgentState::Known(value)) => {
                let kept = watch.shared(KeptState::new(&value, ctx.wall_time()));
                if self.driver.owns_agent() {
                    // It was handed over on purpose.
                    watch.keep(kept);
                } else {
                    watch.candidate = Some((kept, watch.health.error_count()));
                }
            }
            Ok(AgentState::Unsupported) => watch.memory.has_no_state = true,
            // The next check will tell what is wrong; the last state stays.
            Ok(AgentState::None) | Err(_) => {}
        }
    }

    /// The first check comes soon, the second at a moment of this agent's own in the second half of the period, and from
    /// then on they keep the period: so the agents' checks are spread over it.
    fn plan_check(&self, ctx: &mut Ctx, watch: &mut AgentWatch) {
        if std::mem::take(&mut watch.is_check_outdated) {
            return self.begin_check(ctx, watch);
        }
        watch.checks = watch.checks.saturating_add(1);
        let signs = self.signs(ctx.now());
        let usual = watch.health.next_check_in(signs, ctx.now());
        let is_spread = watch.checks == 1 && !self.first_check_within.is_zero();
        let delay = if is_spread { usual.mul_f64(0.5 + ctx.random_unit() / 2.0) } else { usual };
        // Sooner than the period is to the point.
        let is_usual = usual == self.health.interval;
        let delay = if is_usual { self.health.in_step(delay, ctx.now()) } else { delay };
        self.plan_check_in(ctx, watch, delay);
    }

    /// A check that was missed while the backend seems away says nothing about an agent behind it.
    fn in_the_light_of_the_link(&self, observation: Observation) -> Observation {
        match observation {
            Observation::Missed { why } if *self.backend_seems_away.borrow() && !self.driver.owns_agent() => {
                Observation::Unreachable { why }
            }
            other => other,
        }
    }

    fn await_incident(&self, ctx: &mut Ctx) {
        if self.driver.owns_agent() {
            let driver = Arc::clone(&self.driver);
            ctx.spawn(async move { AgentMessage::TakeIncident(Box::new(driver.incident().await)) });
        }
    }

    /// Has a state that the agent hands over of its own accord kept, not before `pause` is over.
    fn await_state(&self, ctx: &mut Ctx, pause: Duration) {
        if self.driver.owns_agent() {
            let driver = Arc::clone(&self.driver);
            ctx.spawn(async move {
                sleep(pause).await;
                driver.state_said().await;
                AgentMessage::MindState
            });
        }
    }

    /// Keeps what an agent of the driver's own said of its state so far. What it says before it has its state back is not
    /// worth as much as that.
    pub(super) fn note_state(&self, ctx: &Ctx, watch: &mut AgentWatch) {
        if self.driver.owns_agent()
            && !watch.is_reviving
            && let Some(Ok(AgentState::Known(value))) = self.driver.read_state().now_or_never()
        {
            watch.keep(KeptState::new(&value, ctx.wall_time()));
        }
    }

    fn publish(&self, watch: &AgentWatch) {
        let health = &watch.health;
        self.board.publish(AgentReport {
            id: self.id.clone(),
            driver: self.driver.kind().to_owned(),
            status: health.status(),
            since: health.since(),
            misses: health.misses(),
            last_check: health.last_check(),
            last_error: health.last_error().cloned().map(Box::new),
            uptime_s: health.uptime_s(),
            error_count: health.error_count(),
            state_kept_at: watch.memory.kept.as_ref().map(|kept| kept.read_at),
            process: self.driver.process(),
            letters_waiting: watch.memory.mail.waiting(),
            letters_under_way: watch.memory.mail.under_way_count(),
        });
    }
}

impl AgentWatch {
    fn end_revival(&mut self, outcome: &Result<(), DriverError>) {
        self.is_reviving = false;
        self.is_shut = false;
        for reply in self.waiting.drain(..) {
            reply.send(outcome.clone());
        }
    }

    /// A state that was read between two checks is kept only if both found the same life of the agent well: one
    /// that had just crashed would give an empty state.
    fn settle_candidate(&mut self, observation: &Observation) {
        let Some((candidate, errors_then)) = self.candidate.take() else { return };
        let Observation::Answered { reported: Reported::Healthy, error_count, .. } = observation else {
            return;
        };
        if *error_count == errors_then {
            self.keep(candidate);
        }
    }

    /// The same state, in the memory of the one that is kept where the two are alike.
    fn shared(&self, state: KeptState) -> KeptState {
        match &self.memory.kept {
            Some(kept) if kept.is_same_as(&state) => kept.read_again(state.read_at),
            _ => state,
        }
    }

    fn keep(&mut self, state: KeptState) {
        if let Some(kept) = &mut self.memory.kept
            && kept.is_same_as(&state)
        {
            // The same as before need not be written again; it is shown as read later.
            kept.read_at = state.read_at;
            return;
        }
        self.memory.kept = Some(state);
        self.is_dirty = true;
    }
}
