//! Draws random traces: everything that a run gets from outside.

use std::time::Duration;

use fastrand::Rng;
use mainstay_runtime::policy::{
    AutoShutdown, Budget, ChildPolicy, Delay, OnBudgetExhausted, RestartType, Shutdown, Strategy,
    SupervisorPolicy,
};

use crate::worker::LABELS;

/// The strategies of supervisors.
const STRATEGIES: &[Strategy] = &[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
/// The input of a run.
#[derive(Debug)]
pub(crate) struct RandomTrace {
    pub(crate) seed: u64,
    pub(crate) root: SupervisorPolicy,
    pub(crate) root_shutdown: Shutdown,
    /// The workers below the root.
    pub(crate) workers: Vec<WorkerPlan>,
    pub(crate) pool: Option<PoolPlan>,
    pub(crate) steps: Vec<TraceStep>,
    /// The number of steps that run while the tree starts.
    pub(crate) early: usize,
    pub(crate) messages: Vec<TestMessage>,
    /// Drops the runtime at the end in place of a shutdown.
    pub(crate) drops_runtime: bool,
}

/// A supervisor, with its workers and the supervisors below it.
#[derive(Debug)]
pub(crate) struct PoolPlan {
    pub(crate) policy: SupervisorPolicy,
    pub(crate) as_child: ChildPolicy,
    pub(crate) workers: Vec<WorkerPlan>,
    /// The supervisors that start after the workers.
    pub(crate) inner: Option<Box<PoolPlan>>,
}

/// A worker.
#[derive(Debug, Clone)]
pub(crate) struct WorkerPlan {
    pub(crate) policy: ChildPolicy,
    pub(crate) mailbox_capacity: usize,
    /// The results of its starts, in order; all later ones succeed.
    pub(crate) starts: Vec<StartOutcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartOutcome {
    Succeeds,
    Slow(Duration),
    Fails,
    Hangs,
}

/// A message, and what its handler does at each delivery; the last action repeats.
#[derive(Debug, Clone)]
pub(crate) struct TestMessage {
    pub(crate) actions: Vec<HandlerAction>,
    pub(crate) is_redeliverable: bool,
    pub(crate) crashes_max: u32,
    pub(crate) send_mode: SendMode,
}

/// The ways to send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendMode {
    Cast,
    TryCast,
    /// Casts, and waits for the reply.
    Ask,
    Call,
    CallWithin(Duration),
}

/// The actions of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandlerAction {
    Answer,
    AnswerAfter(Duration),
    /// Drops the reply.
    DropReply,
    /// Keeps the reply in the state.
    HoldReply,
    /// Answers all callers whose reply it kept.
    AnswerHeld,
    /// Makes an owned task answer.
    AnswerFromTask(Duration),
    /// Answers, and starts an owned task that panics.
    SpawnPanickingTask(Duration),
    /// Answers, and ends the incarnation.
    StopSelf,
    Panic,
    PanicAfter(Duration),
    Fail,
    AnswerThenPanic,
    /// Returns, and then the snapshot panics.
    PanicInSnapshot,
    Hang,
}

/// One step of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TraceStep {
    /// Sends the message of that number to a worker.
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
    /// Adds a supervisor to the root, under a name that may be taken. Its workers get messages before they start.
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

/// The target of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CommandTarget {
    Worker(usize),
    Pool,
}

impl RandomTrace {
    /// Draws the trace of `seed`.
    pub(crate) fn random(seed: u64) -> Self {
        let mut generator = TraceGenerator(Rng::with_seed(seed));
        let count = generator.0.usize(4..=LABELS.len());
        let root = generator.supervisor();
        // Most trees start, so that most traces test more than the start.
        let is_shaky = generator.one_in(4);
        let steps = generator.steps(count);
        Self {
            seed,
            root,
            root_shutdown: generator.shutdown(),
            workers: generator.workers(&root, is_shaky),
            pool: generator.one_in(2).then(|| generator.pool(&root, is_shaky, 1)),
            early: if generator.one_in(2) { generator.0.usize(0..=steps.len()) } else { 0 },
            steps,
            messages: (0..count).map(|_| generator.message()).collect(),
            drops_runtime: generator.one_in(4),
        }
    }

    /// Returns the worker that [`Step::Add`] adds.
    pub(crate) fn added_worker(&self) -> WorkerPlan {
        TraceGenerator(Rng::with_seed(!self.seed)).worker(&self.root, false)
    }

    /// Returns the supervisor that [`Step::AddPool`] adds.
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

    fn delay(&mut self) -> Delay {
        let min = self.duration();
        match self.0.u32(0..4) {
            0 | 1 => Delay::NONE,
            2 => Delay::Fixed { delay: min },
            _ => Delay::Exponential { min, max: min * 10, factor: 1.5, jitter: self.one_in(2) },
        }
    }

    fn supervisor(&mut self) -> SupervisorPolicy {
        let intensity =
            self.one_in(4).then_some(Budget { restarts_max: 3, window: Duration::from_millis(50) });
        let auto_shutdown = match self.0.u32(0..8) {
            0 => AutoShutdown::AnySignificant,
            1 => AutoShutdown::AllSignificant,
            _ => AutoShutdown::Never,
        };
        SupervisorPolicy {
            strategy: self.choose(STRATEGIES),
            intensity,
            auto_shutdown,
            ..SupervisorPolicy::default()
        }
    }

    /// Draws a policy for a child of a supervisor with that policy.
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
            delay: self.delay(),
            budget: self.one_in(2).then(|| Budget { restarts_max: self.0.u32(0..4), window }),
            stable_after: self.duration(),
            exhausted: if self.one_in(4) { OnBudgetExhausted::Escalate } else { OnBudgetExhausted::GiveUp },
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

    /// Draws steps that send all messages in their order, with other steps in between.
    fn steps(&mut self, messages: usize) -> Vec<TraceStep> {
        let mut steps = Vec::new();
        for message in 0..messages {
            while self.one_in(2) {
                steps.push(self.interleaved_step());
            }
            steps.push(TraceStep::Send { message, to: self.0.usize(0..8) });
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
