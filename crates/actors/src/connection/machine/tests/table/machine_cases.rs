//! Builds machines in every state, under every condition that may matter.

use mainstay_runtime::policy::Delay;

use super::*;

/// A condition beside the state.
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
            Unreachable => "unreachable",
            Refused => "refused",
            NoRecentHint => "no recent hint",
            RecentHint => "recent hint",
        }
    }
}

/// A machine, its clock, and its conditions.
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
            // Longer than any case takes.
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

    fn dial_failed(self, error: ConnectionError) -> Self {
        let generation = self.machine.generation;
        self.then(MachineEvent::DialFailed { generation, error })
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

pub(super) fn final_error() -> ConnectionError {
    ConnectionError::from_status(401, None)
}

const POLICIES: [(AfterFailed, CaseCondition); 2] = [(AfterFailed::Wait, Wait), (AfterFailed::Probe, Probe)];

/// Returns machines with and without attempts left, under both policies. Some are at their second attempt, so that
/// continuing the count differs from a reset.
fn variants(attempt: u32, bring: impl Fn(MachineCase) -> MachineCase) -> Vec<MachineCase> {
    let mut cases = Vec::new();
    for (after_failed, policy) in POLICIES {
        for (left, attempts) in [(1, AttemptsLeft), (0, NoAttemptsLeft)] {
            let mut case = MachineCase::new(attempt + left, after_failed).with(attempts).with(policy);
            case = case.then(MachineEvent::Connect);
            for _ in 1..attempt {
                case = case.dial_failed(refused()).tick_when_due();
            }
            cases.push(bring(case));
        }
    }
    cases
}

/// Returns machines that have failed for every cause.
fn failures(after_failed: AfterFailed, bring: impl Fn(MachineCase) -> MachineCase) -> Vec<MachineCase> {
    let mut cases = Vec::new();
    for (error, cause) in [(refused(), Unreachable), (final_error(), Refused)] {
        for changed in [NoRecentHint, RecentHint] {
            let mut case =
                MachineCase::new(2, after_failed).with(cause).with(changed).then(MachineEvent::Connect);
            if changed == RecentHint {
                case = case
                    .dial_failed(refused())
                    .tick_when_due()
                    .dial_failed(refused())
                    .then(MachineEvent::BackendSeen);
            }
            case = case.dial_failed(refused()).tick_when_due().dial_failed(error.clone());
            cases.push(bring(case));
        }
    }
    cases
}

/// Returns a machine at the second attempt of three.
fn second_of_three() -> MachineCase {
    MachineCase::new(3, AfterFailed::Wait).then(MachineEvent::Connect).dial_failed(refused()).tick_when_due()
}

/// Returns machines for every state.
pub(super) fn states() -> Vec<Vec<MachineCase>> {
    let second = |bring: fn(MachineCase) -> MachineCase| variants(2, bring);
    let disabled = ConnectionPolicy { enabled: false, ..ConnectionPolicy::default() };
    vec![
        vec![MachineCase { machine: Machine::new(disabled), ..MachineCase::new(3, AfterFailed::Wait) }],
        vec![MachineCase::new(3, AfterFailed::Wait)],
        vec![second_of_three().opened().then(MachineEvent::Disconnect)],
        variants(1, |case| case),
        second(MachineCase::opened),
        second(|case| case.opened().tick_when_due()),
        second(|case| case.opened().then(MachineEvent::SystemResumed)),
        vec![second_of_three().dial_failed(refused())],
        second(|case| case),
        vec![second_of_three().dial_failed(refused()).then(MachineEvent::BackendSeen)],
        failures(AfterFailed::Wait, |case| case),
        failures(AfterFailed::Probe, |case| case),
        failures(AfterFailed::Probe, MachineCase::tick_when_due),
    ]
}

/// Returns the table's name for the machine's state.
pub(super) fn state_name(machine: &Machine) -> &'static str {
    match &machine.phase {
        MachinePhase::Disabled => "disabled",
        MachinePhase::Disconnected { closing: None } => "disconnected",
        MachinePhase::Disconnected { closing: Some(_) } => "disconnected, closing",
        MachinePhase::Dialling { purpose: DialPurpose::First, .. } => "connecting",
        MachinePhase::Dialling { purpose: DialPurpose::Retry, .. } => "reconnecting, dialling",
        MachinePhase::Dialling { purpose: DialPurpose::Early { .. }, .. } => "reconnecting, dialling early",
        MachinePhase::Dialling { purpose: DialPurpose::Probe, .. } => "failed, probing",
        MachinePhase::Connected { liveness, .. } => match liveness.is_verifying() {
            None => "connected",
            Some(false) => "connected, pinged",
            Some(true) => "connected, verifying",
        },
        MachinePhase::Waiting { .. } => "reconnecting, waiting",
        MachinePhase::Failed { probe_at: None } => "failed",
        MachinePhase::Failed { probe_at: Some(_) } => "failed, probe planned",
    }
}
