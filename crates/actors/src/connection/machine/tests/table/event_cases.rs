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
    fn dial_failed(case: &MachineCase, error: ConnectionError) -> Option<MachineEvent> {
        Some(MachineEvent::DialFailed { generation: case.machine.generation, error })
    }
    fn closed(case: &MachineCase, error: ConnectionError) -> Option<MachineEvent> {
        Some(MachineEvent::Closed { generation: case.machine.generation, error })
    }
    fn at_wake(case: &mut MachineCase, late: Duration) -> Option<MachineEvent> {
        case.now = case.machine.next_wake()? + late;
        Some(MachineEvent::Tick)
    }
    let case = |title, make| EventCase { title, make };
    vec![
        case("`Connect`", |_| Some(MachineEvent::Connect)),
        case("`Disconnect`", |_| Some(MachineEvent::Disconnect)),
        case("`Opened`", |it| Some(MachineEvent::Opened { generation: it.machine.generation })),
        case("`DialFailed`", |it| dial_failed(it, refused())),
        case("`DialFailed`, final", |it| dial_failed(it, final_error())),
        case("`FrameReceived`", |it| Some(MachineEvent::FrameReceived { generation: it.machine.generation })),
        case("`FrameReceived`, stable", |it| {
            it.now += it.machine.policy.stable_after;
            Some(MachineEvent::FrameReceived { generation: it.machine.generation })
        }),
        case("`BytesMoved`", |it| {
            Some(MachineEvent::BytesMoved { generation: it.machine.generation, at: it.now })
        }),
        case("`PongReceived`", |it| {
            let number = ping_number(&it.machine).unwrap_or(1);
            Some(MachineEvent::PongReceived { generation: it.machine.generation, number })
        }),
        case("`PongReceived` to an older ping", |it| {
            Some(MachineEvent::PongReceived { generation: it.machine.generation, number: 0 })
        }),
        case("`Closed`", |it| closed(it, ConnectionError::new(ConnectionErrorKind::Lost, ""))),
        case("`Closed`, final", |it| closed(it, ConnectionError::from_close(Some(4401), ""))),
        case("`Closed`, too large", |it| {
            closed(it, ConnectionError::new(ConnectionErrorKind::MessageTooLarge, ""))
        }),
        case("`Closed`, not WebSocket", |it| {
            closed(it, ConnectionError::new(ConnectionErrorKind::ProtocolViolation, ""))
        }),
        case("`Closed`, stable", |it| {
            it.now += it.machine.policy.stable_after;
            closed(it, ConnectionError::new(ConnectionErrorKind::Lost, ""))
        }),
        case("`SendFailed`", |it| {
            let error = ConnectionError::new(ConnectionErrorKind::Lost, "");
            Some(MachineEvent::SendFailed { generation: it.machine.generation, error })
        }),
        case("`Tick`, early", |_| Some(MachineEvent::Tick)),
        case("`Tick`, due", |it| at_wake(it, Duration::ZERO)),
        case("`Tick`, late", |it| at_wake(it, Duration::from_millis(5_001))),
        case("`BackendSeen`", |_| Some(MachineEvent::BackendSeen)),
        case("`SystemResumed`", |_| Some(MachineEvent::SystemResumed)),
        case("`Opened`, older", |it| older(it, |generation| MachineEvent::Opened { generation })),
        case("`DialFailed`, older", |it| {
            older(it, |generation| MachineEvent::DialFailed { generation, error: refused() })
        }),
        case("`FrameReceived`, older", |it| {
            older(it, |generation| MachineEvent::FrameReceived { generation })
        }),
        case("`BytesMoved`, older", |it| {
            let at = it.now;
            older(it, |generation| MachineEvent::BytesMoved { generation, at })
        }),
        case("`PongReceived`, older", |it| {
            let number = ping_number(&it.machine).unwrap_or(1);
            older(it, |generation| MachineEvent::PongReceived { generation, number })
        }),
        case("`Closed`, older", |it| {
            older(it, |generation| MachineEvent::Closed { generation, error: final_error() })
        }),
        case("`SendFailed`, older", |it| {
            older(it, |generation| MachineEvent::SendFailed { generation, error: final_error() })
        }),
    ]
}

fn older(case: &MachineCase, event: impl FnOnce(u64) -> MachineEvent) -> Option<MachineEvent> {
    case.machine.generation.checked_sub(1).map(event)
}
