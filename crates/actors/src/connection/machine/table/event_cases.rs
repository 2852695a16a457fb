//! Every event, in every way that may make a difference.

use super::machine_cases::{MachineCase, final_fault, refused};
use super::*;

/// A way to put an event to a machine: what the table calls it, when it comes, and what it is. `None` where there is no
/// such event in that state.
pub(super) struct EventCase {
    pub(super) title: &'static str,
    pub(super) make: fn(&mut MachineCase) -> Option<MachineEvent>,
}

/// The ping that is in flight.
fn ping_number(machine: &Machine) -> Option<u64> {
    match &machine.phase {
        MachinePhase::Connected { liveness: peer, .. } => peer.number_in_flight(),
        _ => None,
    }
}

pub(super) fn event_cases() -> Vec<EventCase> {
    fn dial_failed(subject: &MachineCase, fault: ConnectionError) -> Option<MachineEvent> {
        Some(MachineEvent::DialFailed { generation: subject.machine.generation, error: fault })
    }
    fn closed(subject: &MachineCase, fault: ConnectionError) -> Option<MachineEvent> {
        Some(MachineEvent::Closed { generation: subject.machine.generation, error: fault })
    }
    fn at_wake(subject: &mut MachineCase, late: Duration) -> Option<MachineEvent> {
        subject.now = subject.machine.next_wake()? + late;
        Some(MachineEvent::Tick)
    }
    let question = |title, ask| EventCase { title, make: ask };
    vec![
        question("`Connect`", |_| Some(MachineEvent::Connect)),
        question("`Disconnect`", |_| Some(MachineEvent::Disconnect)),
        question("`Opened`", |it| Some(MachineEvent::Opened { generation: it.machine.generation })),
        question("`DialFailed`", |it| dial_failed(it, refused())),
        question("`DialFailed`, final", |it| dial_failed(it, final_fault())),
        question("`Received`", |it| Some(MachineEvent::FrameReceived { generation: it.machine.generation })),
        question("`Received`, stable", |it| {
            it.now += it.machine.policy.stable_after;
            Some(MachineEvent::FrameReceived { generation: it.machine.generation })
        }),
        question("`Moved`", |it| {
            Some(MachineEvent::BytesMoved { generation: it.machine.generation, at: it.now })
        }),
        question("`Ponged`", |it| {
            let number = ping_number(&it.machine).unwrap_or(1);
            Some(MachineEvent::PongReceived { generation: it.machine.generation, number })
        }),
        question("`Ponged` to an older ping", |it| {
            Some(MachineEvent::PongReceived { generation: it.machine.generation, number: 0 })
        }),
        question("`Closed`", |it| closed(it, ConnectionError::new(ConnectionErrorKind::Lost, ""))),
        question("`Closed`, final", |it| closed(it, ConnectionError::from_close(Some(4401), ""))),
        question("`Closed`, too large", |it| {
            closed(it, ConnectionError::new(ConnectionErrorKind::MessageTooLarge, ""))
        }),
        question("`Closed`, not WebSocket", |it| {
            closed(it, ConnectionError::new(ConnectionErrorKind::ProtocolViolation, ""))
        }),
        question("`Closed`, stable", |it| {
            it.now += it.machine.policy.stable_after;
            closed(it, ConnectionError::new(ConnectionErrorKind::Lost, ""))
        }),
        question("`SendFailed`", |it| {
            let fault = ConnectionError::new(ConnectionErrorKind::Lost, "");
            Some(MachineEvent::SendFailed { generation: it.machine.generation, error: fault })
        }),
        question("`Tick`, early", |_| Some(MachineEvent::Tick)),
        question("`Tick`, due", |it| at_wake(it, Duration::ZERO)),
        question("`Tick`, late", |it| at_wake(it, Duration::from_millis(5_001))),
        question("`BackendSeen`", |_| Some(MachineEvent::BackendSeen)),
        question("`Woke`", |_| Some(MachineEvent::SystemResumed)),
        question("`Opened`, older", |it| older(it, |generation| MachineEvent::Opened { generation })),
        question("`DialFailed`, older", |it| {
            older(it, |generation| MachineEvent::DialFailed { generation, error: refused() })
        }),
        question("`Received`, older", |it| {
            older(it, |generation| MachineEvent::FrameReceived { generation })
        }),
        question("`Moved`, older", |it| {
            let at = it.now;
            older(it, |generation| MachineEvent::BytesMoved { generation, at })
        }),
        question("`Ponged`, older", |it| {
            let number = ping_number(&it.machine).unwrap_or(1);
            older(it, |generation| MachineEvent::PongReceived { generation, number })
        }),
        question("`Closed`, older", |it| {
            older(it, |generation| MachineEvent::Closed { generation, error: final_fault() })
        }),
        question("`SendFailed`, older", |it| {
            older(it, |generation| MachineEvent::SendFailed { generation, error: final_fault() })
        }),
    ]
}

fn older(subject: &MachineCase, event: impl FnOnce(u64) -> MachineEvent) -> Option<MachineEvent> {
    subject.machine.generation.checked_sub(1).map(event)
}
