//! Random traces: everything that a run is given from outside.

use std::time::Duration;

use fastrand::Rng;
use mainstay_runtime::policy::{
    AutoShutdown, Budget, ChildPolicy, Delay, OnBudgetExhausted, RestartType, Shutdown, Strategy,
    SupervisorPolicy,
};

/// The strategies that supervisors draw from.
const STRATEGIES: &[Strategy] = &[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
/// Each message has a label of its own, so that the journal speaks of it alone.
pub(crate) const LABELS: [&str; 24] = [
    "m00", "m01", "m02", "m03", "m04", "m05", "m06", "m07", "m08", "m09", "m10", "m11", "m12", "m13", "m14",
    "m15", "m16", "m17", "m18", "m19", "m20", "m21", "m22", "m23",
];

/// What a run is given.
#[derive(Debug)]
pub(crate) struct RandomTrace {
    pub(crate) seed: u64,
    pub(crate) root: SupervisorPolicy,
    pub(crate) root_shutdown: Shutdown,
    /// The workers below the root.
    pub(crate) workers: Vec<WorkerPlan>,
    pub(crate) pool: Option<PoolPlan>,
    pub(crate) steps: Vec<TraceStep>,
    /// How many steps are taken while the tree starts.
    pub(crate) early: usize,
    pub(crate) messages: Vec<TestMessage>,
    /// Whether the runtime is dropped in the end, and not shut down.
    pub(crate) drops_runtime: bool,
}

/// A supervisor, with its workers and what is below it.
#[derive(Debug)]
pub(crate) struct PoolPlan {
    pub(crate) policy: SupervisorPolicy,
    pub(crate) as_child: ChildPolicy,
    pub(crate) workers: Vec<WorkerPlan>,
    /// Starts after the workers.
    pub(crate) inner: Option<Box<PoolPlan>>,
}

/// A worker.
#[derive(Debug, Clone)]
pub(crate) struct WorkerPlan {
    pub(crate) policy: ChildPolicy,
    pub(crate) mailbox_capacity: usize,
    /// How its starts go, in order; those beyond go well.
    pub(crate) starts: Vec<StartOutcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartOutcome {
    Succeeds,
    Slow(Duration),
    Fails,
    Hangs,
}

/// A message, and what its handler does each time that it is delivered; the last deed is repeated.
#[derive(Debug, Clone)]
pub(crate) struct TestMessage {
    pub(crate) actions: Vec<HandlerAction>,
    pub(crate) is_redeliverable: bool,
    pub(crate) crashes_max: u32,
    pub(crate) send_mode: SendMode,
}

/// How a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendMode {
    Cast,
    TryCast,
    /// A cast whose reply is waited for.
    Ask,
    Call,
    CallWithin(Duration),
}

/// What a handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandlerAction {
    Answer,
    AnswerAfter(Duration),
    /// Leaves the caller without an answer.
    DropReply,
    /// Keeps the caller waiting, in the state.
    HoldReply,
    /// Answers everybody who was kept waiting.
    AnswerHeld,
    /// Lets an owned task answer.
    AnswerFromTask(Duration),
    /// Answers, and starts an owned task that panics.
    SpawnPanickingTask(Duration),
    /// Answers, and ends the incarnation.
    StopSelf,
    Panic,
    PanicAfter(Duration),
    Fail,
    AnswerThenPanic,
    /// Comes to its end, and then the snapshot panics.
    PanicInSnapshot,
    Hang,
}

/// One step of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TraceStep {
    /// Sends the letter of that number to a worker.
    Send {
        message: usize,
        to: usize,
    },
    Command {
        command: TraceCommand,
        to: CommandTarget,
    },
    /// Adds a worker to the root.
    Add,
    /// Adds a supervisor to the root, whose workers are sent letters before they start; under a name that may be taken.
    AddPool {
        takes_name: bool,
    },
    Yield,
    Sleep(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TraceCommand {
    Stop,
    Start,
    Restart,
    Remove,
    Reset,
}

/// Whom an order is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CommandTarget {
    Worker(usize),
    Pool,
}

impl RandomTrace {
    /// The trace of `seed`.
    pub(crate) fn random(seed: u64) -> Self {
        let mut draw = TraceGenerator(Rng::with_seed(seed));
        let count = draw.0.usize(4..=LABELS.len());
        let root = draw.supervisor();
        // Most trees come up, so that there is something to tell.
        let is_shaky = draw.one_in(4);
        let steps = draw.steps(count);
        Self {
            seed,
            root,
            root_shutdown: draw.shutdown(),
            workers: draw.workers(&root, is_shaky),
            pool: draw.one_in(2).then(|| draw.pool(&root, is_shaky, 1)),
            early: if draw.one_in(2) { draw.0.usize(0..=steps.len()) } else { 0 },
            steps,
            messages: (0..count).map(|_| draw.message()).collect(),
            drops_runtime: draw.one_in(4),
        }
    }

    /// The worker that [`Step::Add`] adds.
    pub(crate) fn added_worker(&self) -> WorkerPlan {
        TraceGenerator(Rng::with_seed(!self.seed)).worker(&self.root, false)
    }

    /// The supervisor that [`Step::AddPool`] adds.
    pub(crate) fn added_pool(&self) -> PoolPlan {
        TraceGenerator(Rng::with_seed(self.seed.rotate_left(32))).pool(&self.root, true, 1)
    }
}

struct TraceGenerator(Rng);

impl TraceGenerator {
    fn one_in(&mut self, times: u32) -> bool {
        self.0.u32(0..times) == 0
    }

    fn choose<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(0..choices.len())].clone()
    }

    fn duration(&mut self) -> Duration {
        Duration::from_millis(self.choose(&[1, 5, 20, 100]))
    }

    fn shutdown(&mut self) -> Shutdown {
        if self.one_in(4) { Shutdown::Kill } else { Shutdown::Graceful(self.duration()) }
    }

    fn supervisor(&mut self) -> SupervisorPolicy {
        let intensity =
            self.one_in(4).then_some(Budget { restarts_max: 3, window: Duration::from_millis(50) });
        let auto_shutdown = match self.0.u32(0..8) {
            0 => AutoShutdown::AnySignificant,
            1 => AutoShutdown::AllSignificant,
            _ => AutoShutdown::Never,
        };
        SupervisorPolicy { strategy: self.choose(STRATEGIES), intensity, auto_shutdown, dynamic: false }
    }

    /// A policy for a child of a supervisor with that policy.
    fn child(&mut self, above: &SupervisorPolicy) -> ChildPolicy {
        let window = self.duration();
        let restart = self.choose(&[
            RestartType::Permanent,
            RestartType::Permanent,
            RestartType::Transient,
            RestartType::Temporary,
        ]);
        let may_be_significant =
            restart != RestartType::Permanent && above.auto_shutdown != AutoShutdown::Never;
        ChildPolicy {
            restart,
            significant: may_be_significant && self.one_in(2),
            stuck_after: self.one_in(4).then(|| self.duration()),
            delay: if self.one_in(2) { Delay::NONE } else { Delay::Fixed { delay: self.duration() } },
            budget: self.one_in(2).then(|| Budget { restarts_max: self.0.u32(0..4), window }),
            stable_after: self.duration(),
            exhausted: if self.one_in(4) { OnBudgetExhausted::Escalate } else { OnBudgetExhausted::Abandon },
            shutdown: self.shutdown(),
            checkpoint_crashes_max: self.0.u32(1..4),
            ..ChildPolicy::default()
        }
    }

    fn pool(&mut self, above: &SupervisorPolicy, is_shaky: bool, depth: u32) -> PoolPlan {
        let policy = self.supervisor();
        let has_inner = depth > 0 && self.one_in(2);
        PoolPlan {
            policy,
            as_child: self.child(above),
            workers: self.workers(&policy, is_shaky),
            inner: has_inner.then(|| Box::new(self.pool(&policy, is_shaky, depth - 1))),
        }
    }

    fn workers(&mut self, above: &SupervisorPolicy, is_shaky: bool) -> Vec<WorkerPlan> {
        (0..self.0.usize(1..=2)).map(|_| self.worker(above, is_shaky)).collect()
    }

    fn worker(&mut self, above: &SupervisorPolicy, is_shaky: bool) -> WorkerPlan {
        let policy = self.child(above);
        let mailbox_capacity = self.choose(&[1, 2, 32]);
        let starts = (0..4).map(|_| match self.0.u32(0..8) {
            0 => StartOutcome::Fails,
            1 => StartOutcome::Slow(self.duration()),
            _ => StartOutcome::Succeeds,
        });
        let starts = starts.collect::<Vec<_>>();
        let first = match self.0.u32(0..4) {
            0 if is_shaky => StartOutcome::Fails,
            1 if is_shaky => StartOutcome::Hangs,
            2 if is_shaky => StartOutcome::Slow(self.duration()),
            _ => StartOutcome::Succeeds,
        };
        let starts = std::iter::once(first).chain(starts).collect();
        WorkerPlan { policy, mailbox_capacity, starts }
    }

    fn message(&mut self) -> TestMessage {
        TestMessage {
            actions: (0..self.0.usize(1..=3)).map(|_| self.action()).collect(),
            is_redeliverable: self.one_in(2),
            crashes_max: self.0.u32(1..=3),
            send_mode: match self.0.u32(0..6) {
                0 => SendMode::Cast,
                1 => SendMode::TryCast,
                2 => SendMode::Ask,
                3 => SendMode::Call,
                _ => SendMode::CallWithin(self.duration()),
            },
        }
    }

    fn action(&mut self) -> HandlerAction {
        let span = self.duration();
        match self.0.u32(0..22) {
            0 => HandlerAction::AnswerAfter(span),
            1 => HandlerAction::DropReply,
            2 => HandlerAction::HoldReply,
            3 => HandlerAction::AnswerHeld,
            4 => HandlerAction::AnswerFromTask(span),
            5 => HandlerAction::SpawnPanickingTask(span),
            6 => HandlerAction::StopSelf,
            7 | 8 => HandlerAction::Panic,
            9 => HandlerAction::PanicAfter(span),
            10 | 11 => HandlerAction::Fail,
            12 => HandlerAction::AnswerThenPanic,
            13 => HandlerAction::PanicInSnapshot,
            14 => HandlerAction::Hang,
            _ => HandlerAction::Answer,
        }
    }

    /// Sends all letters in their order, with whatever else may happen in between.
    fn steps(&mut self, letters: usize) -> Vec<TraceStep> {
        let mut steps = Vec::new();
        for letter in 0..letters {
            while self.one_in(2) {
                steps.push(self.interleaved_step());
            }
            steps.push(TraceStep::Send { message: letter, to: self.0.usize(0..8) });
        }
        steps
    }

    fn interleaved_step(&mut self) -> TraceStep {
        match self.0.u32(0..12) {
            0..=2 => {
                TraceStep::Command { command: self.command(), to: CommandTarget::Worker(self.0.usize(0..8)) }
            }
            3 => TraceStep::Command { command: self.command(), to: CommandTarget::Pool },
            4 if self.one_in(2) => TraceStep::AddPool { takes_name: self.one_in(4) },
            4 => TraceStep::Add,
            5..=7 => TraceStep::Yield,
            _ => TraceStep::Sleep(self.duration()),
        }
    }

    fn command(&mut self) -> TraceCommand {
        match self.0.u32(0..10) {
            0 => TraceCommand::Remove,
            1 | 2 => TraceCommand::Stop,
            3 | 4 => TraceCommand::Reset,
            5 | 6 => TraceCommand::Restart,
            _ => TraceCommand::Start,
        }
    }
}
