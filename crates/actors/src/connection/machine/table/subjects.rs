//! Machines in every state, and under every condition that may decide beside the state.

use mainstay_runtime::policy::Delay;

use super::*;

/// What else may decide, beside the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    AttemptsLeft,
    NoneLeft,
    Wait,
    Probe,
    NobodyAnswered,
    Refused,
    NoNews,
    NewsHeeded,
}

use Condition::*;

impl Condition {
    pub(super) fn text(self) -> &'static str {
        match self {
            AttemptsLeft => "attempts left",
            NoneLeft => "no attempt left",
            Wait => "`wait`",
            Probe => "`probe`",
            NobodyAnswered => "nobody had answered",
            Refused => "it had been refused",
            NoNews => "no news were heeded lately",
            NewsHeeded => "news were heeded lately",
        }
    }
}

/// A machine, its clock, and what is special about it.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) conditions: Vec<Condition>,
    pub(super) machine: Machine,
    pub(super) now: Duration,
}

impl Subject {
    pub(super) fn new(max_retries: u32, after_failed: AfterFailed) -> Self {
        let policy = ConnectionPolicy {
            max_retries,
            after_failed,
            delay: Delay::Fixed { delay: Duration::from_secs(1) },
            // Longer than anything here lasts by itself.
            stable_after: Duration::from_secs(1000),
            ..ConnectionPolicy::default()
        };
        Self { conditions: Vec::new(), machine: Machine::new(policy), now: Duration::from_secs(100) }
    }

    fn with(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    pub(super) fn put(&mut self, event: Event) -> Vec<Action> {
        self.machine.on_event(self.now, event, 0.5)
    }

    pub(super) fn then(mut self, event: Event) -> Self {
        self.put(event);
        self
    }

    pub(super) fn opened(self) -> Self {
        let generation = self.machine.generation;
        self.then(Event::Opened { generation })
    }

    fn failing(self, fault: Fault) -> Self {
        let generation = self.machine.generation;
        self.then(Event::DialFailed { generation, fault })
    }

    fn due(mut self) -> Self {
        self.now = self.machine.next_wake().expect("it waits for nothing");
        self.then(Event::Tick)
    }

    pub(super) fn after(mut self, time: Duration) -> Self {
        self.now += time;
        self
    }
}

pub(super) fn refused() -> Fault {
    Fault::new(FaultKind::Refused, "")
}

pub(super) fn final_fault() -> Fault {
    Fault::from_status(401, None)
}

const POLICIES: [(AfterFailed, Condition); 2] = [(AfterFailed::Wait, Wait), (AfterFailed::Probe, Probe)];

/// Machines with attempts left and without, under both policies, brought somewhere. Some are at their second attempt, so
/// that to go on counting and to count anew are not the same.
fn variants(attempt: u32, bring: impl Fn(Subject) -> Subject) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for (after_failed, policy) in POLICIES {
        for (left, attempts) in [(1, AttemptsLeft), (0, NoneLeft)] {
            let mut subject = Subject::new(attempt + left, after_failed).with(attempts).with(policy);
            subject = subject.then(Event::Connect);
            for _ in 1..attempt {
                subject = subject.failing(refused()).due();
            }
            subjects.push(bring(subject));
        }
    }
    subjects
}

/// Machines that have failed in every way.
fn failures(after_failed: AfterFailed, bring: impl Fn(Subject) -> Subject) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for (fault, cause) in [(refused(), NobodyAnswered), (final_fault(), Refused)] {
        for news in [NoNews, NewsHeeded] {
            let mut subject = Subject::new(2, after_failed).with(cause).with(news).then(Event::Connect);
            if news == NewsHeeded {
                subject = subject.failing(refused()).due().failing(refused()).then(Event::BackendSeen);
            }
            subject = subject.failing(refused()).due().failing(fault.clone());
            subjects.push(bring(subject));
        }
    }
    subjects
}

/// At the second attempt of three.
fn second_of_three() -> Subject {
    Subject::new(3, AfterFailed::Wait).then(Event::Connect).failing(refused()).due()
}

/// Every state, and machines that are in it.
pub(super) fn states() -> Vec<Vec<Subject>> {
    let second = |bring: fn(Subject) -> Subject| variants(2, bring);
    vec![
        vec![Subject::new(3, AfterFailed::Wait)],
        vec![second_of_three().opened().then(Event::Disconnect)],
        variants(1, |subject| subject),
        second(Subject::opened),
        second(|subject| subject.opened().due()),
        second(|subject| subject.opened().then(Event::Woke)),
        vec![second_of_three().failing(refused())],
        second(|subject| subject),
        failures(AfterFailed::Wait, |subject| subject),
        failures(AfterFailed::Probe, |subject| subject),
        failures(AfterFailed::Probe, Subject::due),
    ]
}

/// What the table calls the state that a machine is in.
pub(super) fn name(machine: &Machine) -> &'static str {
    match &machine.phase {
        Phase::Disconnected { closing: None } => "disconnected",
        Phase::Disconnected { closing: Some(_) } => "disconnected, closing",
        Phase::Dialling { purpose: Purpose::First, .. } => "connecting",
        Phase::Dialling { purpose: Purpose::Retry, .. } => "reconnecting, dialling",
        Phase::Dialling { purpose: Purpose::Probe, .. } => "failed, probing",
        Phase::Connected { peer, .. } => match peer.is_doubted() {
            None => "connected",
            Some(false) => "connected, pinged",
            Some(true) => "connected, doubted",
        },
        Phase::Waiting { .. } => "reconnecting, waiting",
        Phase::Failed { probe_at: None } => "failed",
        Phase::Failed { probe_at: Some(_) } => "failed, probe planned",
    }
}
