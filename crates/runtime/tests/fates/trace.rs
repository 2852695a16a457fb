//! Random traces: everything that a run is given from outside.

use std::time::Duration;

use fastrand::Rng;
use mainstay_runtime::policy::{
    AutoShutdown, Budget, ChildPolicy, Delay, Exhausted, RestartType, Shutdown, Strategy, SupervisorPolicy,
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
pub(crate) struct Trace {
    pub(crate) seed: u64,
    pub(crate) root: SupervisorPolicy,
    pub(crate) root_shutdown: Shutdown,
    /// The workers below the root.
    pub(crate) workers: Vec<Post>,
    pub(crate) pool: Option<Pool>,
    pub(crate) steps: Vec<Step>,
    pub(crate) letters: Vec<Letter>,
    /// Whether the runtime is dropped in the end, and not shut down.
    pub(crate) is_dropped: bool,
}

/// A supervisor below the root, with its workers.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) policy: SupervisorPolicy,
    pub(crate) as_child: ChildPolicy,
    pub(crate) workers: Vec<Post>,
}

/// A worker.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) policy: ChildPolicy,
    pub(crate) mailbox_capacity: usize,
    /// How its starts go, in order; those beyond go well.
    pub(crate) starts: Vec<Start>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Well,
    Slow(Duration),
    Fails,
}

/// A message, and what its handler does each time that it is delivered; the last deed is repeated.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) deeds: Vec<Deed>,
    pub(crate) opted_in: bool,
    pub(crate) crashes_max: u32,
    pub(crate) sent: Sent,
}

/// How a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    Cast,
    TryCast,
    /// A cast whose reply is waited for.
    Ask,
    Call,
    CallWithin(Duration),
}

/// What a handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Answer,
    AnswerAfter(Duration),
    /// Leaves the caller without an answer.
    Leave,
    /// Keeps the caller waiting, in the state.
    Keep,
    /// Answers everybody who was kept waiting.
    Release,
    /// Lets an owned task answer.
    Delegate(Duration),
    /// Answers, and starts an owned task that panics.
    Undermine(Duration),
    /// Answers, and ends the incarnation.
    End,
    Panic,
    PanicAfter(Duration),
    Fail,
    AnswerThenPanic,
    /// Comes to its end, and then the snapshot panics.
    Smudge,
    Hang,
}

/// One step of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Sends the letter of that number to a worker.
    Send {
        letter: usize,
        to: usize,
    },
    Order {
        order: Order,
        to: Target,
    },
    /// Adds a worker to the root.
    Add,
    Yield,
    Pass(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Stop,
    Start,
    Restart,
    Remove,
    Reset,
}

/// Whom an order is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    Worker(usize),
    Pool,
}

impl Trace {
    /// The trace of `seed`.
    pub(crate) fn random(seed: u64) -> Self {
        let mut draw = Draw(Rng::with_seed(seed));
        let count = draw.0.usize(4..=LABELS.len());
        let root = draw.supervisor();
        Self {
            seed,
            root,
            root_shutdown: draw.shutdown(),
            workers: draw.posts(&root),
            pool: draw.one_in(2).then(|| {
                let policy = draw.supervisor();
                Pool { policy, as_child: draw.child(&root), workers: draw.posts(&policy) }
            }),
            steps: draw.steps(count),
            letters: (0..count).map(|_| draw.letter()).collect(),
            is_dropped: draw.one_in(4),
        }
    }

    /// The worker that [`Step::Add`] adds.
    pub(crate) fn added(&self) -> Post {
        Draw(Rng::with_seed(!self.seed)).post(&self.root)
    }
}

struct Draw(Rng);

impl Draw {
    fn one_in(&mut self, times: u32) -> bool {
        self.0.u32(0..times) == 0
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(0..choices.len())].clone()
    }

    fn span(&mut self) -> Duration {
        Duration::from_millis(self.of(&[1, 5, 20, 100]))
    }

    fn shutdown(&mut self) -> Shutdown {
        if self.one_in(4) { Shutdown::Kill } else { Shutdown::Graceful(self.span()) }
    }

    fn supervisor(&mut self) -> SupervisorPolicy {
        let intensity =
            self.one_in(4).then_some(Budget { restarts_max: 3, window: Duration::from_millis(50) });
        let auto_shutdown = match self.0.u32(0..8) {
            0 => AutoShutdown::AnySignificant,
            1 => AutoShutdown::AllSignificant,
            _ => AutoShutdown::Never,
        };
        SupervisorPolicy { strategy: self.of(STRATEGIES), intensity, auto_shutdown, dynamic: false }
    }

    /// A policy for a child of a supervisor with that policy.
    fn child(&mut self, above: &SupervisorPolicy) -> ChildPolicy {
        let window = self.span();
        let restart = self.of(&[
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
            stuck_after: self.one_in(4).then(|| self.span()),
            delay: if self.one_in(2) { Delay::NONE } else { Delay::Fixed { delay: self.span() } },
            budget: self.one_in(2).then(|| Budget { restarts_max: self.0.u32(0..4), window }),
            stable_after: self.span(),
            exhausted: if self.one_in(4) { Exhausted::Escalate } else { Exhausted::Abandon },
            shutdown: self.shutdown(),
            checkpoint_crashes_max: self.0.u32(1..4),
            ..ChildPolicy::default()
        }
    }

    fn posts(&mut self, above: &SupervisorPolicy) -> Vec<Post> {
        (0..self.0.usize(1..=2)).map(|_| self.post(above)).collect()
    }

    fn post(&mut self, above: &SupervisorPolicy) -> Post {
        let policy = self.child(above);
        let mailbox_capacity = self.of(&[1, 2, 32]);
        let starts = (0..4).map(|_| match self.0.u32(0..8) {
            0 => Start::Fails,
            1 => Start::Slow(self.span()),
            _ => Start::Well,
        });
        // A tree that does not come up has nothing to tell.
        let starts = std::iter::once(Start::Well).chain(starts.collect::<Vec<_>>()).collect();
        Post { policy, mailbox_capacity, starts }
    }

    fn letter(&mut self) -> Letter {
        Letter {
            deeds: (0..self.0.usize(1..=3)).map(|_| self.deed()).collect(),
            opted_in: self.one_in(2),
            crashes_max: self.0.u32(1..=3),
            sent: match self.0.u32(0..6) {
                0 => Sent::Cast,
                1 => Sent::TryCast,
                2 => Sent::Ask,
                3 => Sent::Call,
                _ => Sent::CallWithin(self.span()),
            },
        }
    }

    fn deed(&mut self) -> Deed {
        let span = self.span();
        match self.0.u32(0..22) {
            0 => Deed::AnswerAfter(span),
            1 => Deed::Leave,
            2 => Deed::Keep,
            3 => Deed::Release,
            4 => Deed::Delegate(span),
            5 => Deed::Undermine(span),
            6 => Deed::End,
            7 | 8 => Deed::Panic,
            9 => Deed::PanicAfter(span),
            10 | 11 => Deed::Fail,
            12 => Deed::AnswerThenPanic,
            13 => Deed::Smudge,
            14 => Deed::Hang,
            _ => Deed::Answer,
        }
    }

    /// Sends all letters in their order, with whatever else may happen in between.
    fn steps(&mut self, letters: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for letter in 0..letters {
            while self.one_in(2) {
                steps.push(self.step_between());
            }
            steps.push(Step::Send { letter, to: self.0.usize(0..8) });
        }
        steps
    }

    fn step_between(&mut self) -> Step {
        match self.0.u32(0..12) {
            0..=2 => Step::Order { order: self.order(), to: Target::Worker(self.0.usize(0..8)) },
            3 => Step::Order { order: self.order(), to: Target::Pool },
            4 => Step::Add,
            5..=7 => Step::Yield,
            _ => Step::Pass(self.span()),
        }
    }

    fn order(&mut self) -> Order {
        match self.0.u32(0..10) {
            0 => Order::Remove,
            1 | 2 => Order::Stop,
            3 | 4 => Order::Reset,
            5 | 6 => Order::Restart,
            _ => Order::Start,
        }
    }
}
