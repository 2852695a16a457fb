//! Lists every event, with every variation that may matter.

use super::machine_cases::{MachineCase, final_error, refused};
use super::*;

/// An event and its title in the table. `make` returns `None` if the state has no such event.
pub(super) struct EventCase {
    pub(super) title: &'static str,
    pub(super) make: fn(&mut MachineCase) -> Option<MachineEvent>,
}

/// Returns the number of the ping in flight.
fn ping_number(machine: &Machine) -> Option<u64> {
    match &machine.phase {
        MachinePhase::Connected { liveness, .. } => liveness.number_in_flight(),
        _ => None,
    }
}

pub(super) fn event_cases() -> Vec<EventCase> {
    use ConnectionErrorKind::{Lost, MessageTooLarge, ProtocolViolation};
    use MachineEvent::*;
    fn error(kind: ConnectionErrorKind) -> ConnectionError {
        ConnectionError::new(kind, "")
    }
    fn latest(case: &MachineCase, event: impl FnOnce(u64) -> MachineEvent) -> Option<MachineEvent> {
        Some(event(case.machine.generation))
    }
    fn closed(case: &MachineCase, error: ConnectionError) -> Option<MachineEvent> {
        latest(case, |generation| Closed { generation, error })
    }
    fn stable(case: &mut MachineCase) -> &MachineCase {
        case.now += case.machine.policy.stable_after;
        case
    }
    fn at_wake(case: &mut MachineCase, late: Duration) -> Option<MachineEvent> {
        case.now = case.machine.next_wake()? + late;
        Some(Tick)
    }
    let case = |title, make| EventCase { title, make };
    vec![
        case("`Connect`", |_| Some(Connect)),
        case("`Disconnect`", |_| Some(Disconnect)),
        case("`Opened`", |it| latest(it, |generation| Opened { generation })),
        case("`DialFailed`", |it| latest(it, |generation| DialFailed { generation, error: refused() })),
        case("`DialFailed`, final", |it| {
            latest(it, |generation| DialFailed { generation, error: final_error() })
        }),
        case("`FrameReceived`", |it| latest(it, |generation| FrameReceived { generation })),
        case("`FrameReceived`, stable", |it| latest(stable(it), |generation| FrameReceived { generation })),
        case("`BytesMoved`", |it| latest(it, |generation| BytesMoved { generation, at: it.now })),
        case("`PongReceived`", |it| {
            let number = ping_number(&it.machine).unwrap_or(1);
            latest(it, |generation| PongReceived { generation, number })
        }),
        case("`PongReceived` to an older ping", |it| {
            latest(it, |generation| PongReceived { generation, number: 0 })
        }),
        case("`Closed`", |it| closed(it, error(Lost))),
        case("`Closed`, final", |it| closed(it, ConnectionError::from_close(Some(4401), ""))),
        case("`Closed`, too large", |it| closed(it, error(MessageTooLarge))),
        case("`Closed`, not WebSocket", |it| closed(it, error(ProtocolViolation))),
        case("`Closed`, stable", |it| closed(stable(it), error(Lost))),
        case("`SendFailed`", |it| latest(it, |generation| SendFailed { generation, error: error(Lost) })),
        case("`Tick`, early", |_| Some(Tick)),
        case("`Tick`, due", |it| at_wake(it, Duration::ZERO)),
        case("`Tick`, late", |it| at_wake(it, Duration::from_millis(5_001))),
        case("`BackendSeen`", |_| Some(BackendSeen)),
        case("`BackendStarted`", |_| Some(BackendStarted)),
        case("`CredentialsChanged`", |_| Some(CredentialsChanged)),
        case("`NetworkChanged`", |_| Some(NetworkChanged)),
        case("`SystemResumed`", |_| Some(SystemResumed)),
        case("`Opened`, older", |it| older(it, |generation| Opened { generation })),
        case("`DialFailed`, older", |it| older(it, |generation| DialFailed { generation, error: refused() })),
        case("`FrameReceived`, older", |it| older(it, |generation| FrameReceived { generation })),
        case("`BytesMoved`, older", |it| older(it, |generation| BytesMoved { generation, at: it.now })),
        case("`PongReceived`, older", |it| {
            let number = ping_number(&it.machine).unwrap_or(1);
            older(it, |generation| PongReceived { generation, number })
        }),
        case("`Closed`, older", |it| older(it, |generation| Closed { generation, error: final_error() })),
        case("`SendFailed`, older", |it| {
            older(it, |generation| SendFailed { generation, error: final_error() })
        }),
    ]
}

fn older(case: &MachineCase, event: impl FnOnce(u64) -> MachineEvent) -> Option<MachineEvent> {
    case.machine.generation.checked_sub(1).map(event)
}
