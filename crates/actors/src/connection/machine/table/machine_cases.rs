//! Machines in every state, and under every condition that may decide beside the state.

use mainstay_runtime::policy::Delay;

use super::*;

/// What else may decide, beside the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CaseCondition {
    AttemptsLeft,
    NoAttemptsLeft,
    Wait,
    Probe,
    Unreachable,
    Refused,
    NoRecentHint,
    RecentHint,
}

use CaseCondition::*;

impl CaseCondition {
    pub(super) fn text(self) -> &'static str {
        match self {
            AttemptsLeft => "attempts left",
            NoAttemptsLeft => "no attempt left",
            Wait => "`wait`",
            Probe => "`probe`",
            Unreachable => "nobody had answered",
            Refused => "it had been refused",
            NoRecentHint => "no news were heeded lately",
            RecentHint => "news were heeded lately",
        }
    }
}

/// A machine, its clock, and what is special about it.
#[derive(Clone)]
pub(super) struct MachineCase {
    pub(super) conditions: Vec<CaseCondition>,
    pub(super) machine: Machine,
    pub(super) now: Duration,
}

impl MachineCase {
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

    fn with(mut self, condition: CaseCondition) -> Self {
        self.conditions.push(condition);
        self
    }

    pub(super) fn apply(&mut self, event: MachineEvent) -> Vec<MachineAction> {
        self.machine.on_event(self.now, event, 0.5)
    }

    pub(super) fn then(mut self, event: MachineEvent) -> Self {
        self.apply(event);
        self
    }

    pub(super) fn opened(self) -> Self {
        let generation = self.machine.generation;
        self.then(MachineEvent::Opened { generation })
    }

    fn dial_failed(self, fault: ConnectionError) -> Self {
        let generation = self.machine.generation;
        self.then(MachineEvent::DialFailed { generation, error: fault })
    }

    fn tick_when_due(mut self) -> Self {
        self.now = self.machine.next_wake().expect("it waits for nothing");
        self.then(MachineEvent::Tick)
    }

    pub(super) fn after(mut self, time: Duration) -> Self {
        self.now += time;
        self
    }
}

pub(super) fn refused() -> ConnectionError {
    ConnectionError::new(ConnectionErrorKind::Refused, "")
}

pub(super) fn final_fault() -> ConnectionError {
    ConnectionError::from_status(401, None)
}

const POLICIES: [(AfterFailed, CaseCondition); 2] = [(AfterFailed::Wait, Wait), (AfterFailed::Probe, Probe)];

/// Machines with attempts left and without, under both policies, brought somewhere. Some are at their second attempt, so
/// that to go on counting and to count anew are not the same.
fn variants(attempt: u32, bring: impl Fn(MachineCase) -> MachineCase) -> Vec<MachineCase> {
    let mut subjects = Vec::new();
    for (after_failed, policy) in POLICIES {
        for (left, attempts) in [(1, AttemptsLeft), (0, NoAttemptsLeft)] {
            let mut subject = MachineCase::new(attempt + left, after_failed).with(attempts).with(policy);
            subject = subject.then(MachineEvent::Connect);
            for _ in 1..attempt {
                subject = subject.dial_failed(refused()).tick_when_due();
            }
            subjects.push(bring(subject));
        }
    }
    subjects
}

/// Machines that have failed in every way.
fn failures(after_failed: AfterFailed, bring: impl Fn(MachineCase) -> MachineCase) -> Vec<MachineCase> {
    let mut subjects = Vec::new();
    for (fault, cause) in [(refused(), Unreachable), (final_fault(), Refused)] {
        for news in [NoRecentHint, RecentHint] {
            let mut subject =
                MachineCase::new(2, after_failed).with(cause).with(news).then(MachineEvent::Connect);
            if news == RecentHint {
                subject = subject
                    .dial_failed(refused())
                    .tick_when_due()
                    .dial_failed(refused())
                    .then(MachineEvent::BackendSeen);
            }
            subject = subject.dial_failed(refused()).tick_when_due().dial_failed(fault.clone());
            subjects.push(bring(subject));
        }
    }
    subjects
}

/// At the second attempt of three.
fn second_of_three() -> MachineCase {
    MachineCase::new(3, AfterFailed::Wait).then(MachineEvent::Connect).dial_failed(refused()).tick_when_due()
}

/// Every state, and machines that are in it.
pub(super) fn states() -> Vec<Vec<MachineCase>> {
    let second = |bring: fn(MachineCase) -> MachineCase| variants(2, bring);
    vec![
        vec![MachineCase::new(3, AfterFailed::Wait)],
        vec![second_of_three().opened().then(MachineEvent::Disconnect)],
        variants(1, |subject| subject),
        second(MachineCase::opened),
        second(|subject| subject.opened().tick_when_due()),
        second(|subject| subject.opened().then(MachineEvent::SystemResumed)),
        vec![second_of_three().dial_failed(refused())],
        second(|subject| subject),
        failures(AfterFailed::Wait, |subject| subject),
        failures(AfterFailed::Probe, |subject| subject),
        failures(AfterFailed::Probe, MachineCase::tick_when_due),
    ]
}

/// What the table calls the state that a machine is in.
pub(super) fn state_name(machine: &Machine) -> &'static str {
    match &machine.phase {
        MachinePhase::Disconnected { closing: None } => "disconnected",
        MachinePhase::Disconnected { closing: Some(_) } => "disconnected, closing",
        MachinePhase::Dialling { purpose: DialPurpose::First, .. } => "connecting",
        MachinePhase::Dialling { purpose: DialPurpose::Retry, .. } => "reconnecting, dialling",
        MachinePhase::Dialling { purpose: DialPurpose::Probe, .. } => "failed, probing",
        MachinePhase::Connected { liveness: peer, .. } => match peer.is_verifying() {
            None => "connected",
            Some(false) => "connected, pinged",
            Some(true) => "connected, doubted",
        },
        MachinePhase::Waiting { .. } => "reconnecting, waiting",
        MachinePhase::Failed { probe_at: None } => "failed",
        MachinePhase::Failed { probe_at: Some(_) } => "failed, probe planned",
    }
}
