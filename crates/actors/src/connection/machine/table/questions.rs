//! Every event, in every way that may make a difference.

use super::subjects::{Subject, final_fault, refused};
use super::*;

/// A way to put an event to a machine: what the table calls it, when it comes, and what it is. `None` where there is no
/// such event in that state.
pub(super) struct Question {
    pub(super) title: &'static str,
    pub(super) ask: fn(&mut Subject) -> Option<Event>,
}

/// The ping that is in flight.
fn ping_number(machine: &Machine) -> Option<u64> {
    match &machine.phase {
        Phase::Connected { peer, .. } => peer.number_in_flight(),
        _ => None,
    }
}

pub(super) fn questions() -> Vec<Question> {
    fn dial_failed(subject: &Subject, fault: Fault) -> Option<Event> {
        Some(Event::DialFailed { generation: subject.machine.generation, fault })
    }
    fn closed(subject: &Subject, fault: Fault) -> Option<Event> {
        Some(Event::Closed { generation: subject.machine.generation, fault })
    }
    fn at_wake(subject: &mut Subject, late: Duration) -> Option<Event> {
        subject.now = subject.machine.next_wake()? + late;
        Some(Event::Tick)
    }
    let question = |title, ask| Question { title, ask };
    vec![
        question("`Connect`", |_| Some(Event::Connect)),
        question("`Disconnect`", |_| Some(Event::Disconnect)),
        question("`Opened`", |it| Some(Event::Opened { generation: it.machine.generation })),
        question("`DialFailed`", |it| dial_failed(it, refused())),
        question("`DialFailed`, final", |it| dial_failed(it, final_fault())),
        question("`Received`", |it| Some(Event::Received { generation: it.machine.generation })),
        question("`Received`, stable", |it| {
            it.now += it.machine.policy.stable_after;
            Some(Event::Received { generation: it.machine.generation })
        }),
        question("`Moved`", |it| Some(Event::Moved { generation: it.machine.generation, at: it.now })),
        question("`Ponged`", |it| {
            let number = ping_number(&it.machine).unwrap_or(1);
            Some(Event::Ponged { generation: it.machine.generation, number })
        }),
        question("`Ponged` to an older ping", |it| {
            Some(Event::Ponged { generation: it.machine.generation, number: 0 })
        }),
        question("`Closed`", |it| closed(it, Fault::new(FaultKind::Lost, ""))),
        question("`Closed`, final", |it| closed(it, Fault::from_close(Some(4401), ""))),
        question("`Closed`, too large", |it| closed(it, Fault::new(FaultKind::MessageTooLarge, ""))),
        question("`Closed`, not WebSocket", |it| closed(it, Fault::new(FaultKind::ProtocolViolation, ""))),
        question("`Closed`, stable", |it| {
            it.now += it.machine.policy.stable_after;
            closed(it, Fault::new(FaultKind::Lost, ""))
        }),
        question("`SendFailed`", |it| {
            let fault = Fault::new(FaultKind::Lost, "");
            Some(Event::SendFailed { generation: it.machine.generation, fault })
        }),
        question("`Tick`, early", |_| Some(Event::Tick)),
        question("`Tick`, due", |it| at_wake(it, Duration::ZERO)),
        question("`Tick`, late", |it| at_wake(it, Duration::from_millis(5_001))),
        question("`BackendSeen`", |_| Some(Event::BackendSeen)),
        question("`Woke`", |_| Some(Event::Woke)),
        question("`Opened`, older", |it| older(it, |generation| Event::Opened { generation })),
        question("`DialFailed`, older", |it| {
            older(it, |generation| Event::DialFailed { generation, fault: refused() })
        }),
        question("`Received`, older", |it| older(it, |generation| Event::Received { generation })),
        question("`Moved`, older", |it| {
            let at = it.now;
            older(it, |generation| Event::Moved { generation, at })
        }),
        question("`Ponged`, older", |it| {
            let number = ping_number(&it.machine).unwrap_or(1);
            older(it, |generation| Event::Ponged { generation, number })
        }),
        question("`Closed`, older", |it| {
            older(it, |generation| Event::Closed { generation, fault: final_fault() })
        }),
        question("`SendFailed`, older", |it| {
            older(it, |generation| Event::SendFailed { generation, fault: final_fault() })
        }),
    ]
}

fn older(subject: &Subject, event: impl FnOnce(u64) -> Event) -> Option<Event> {
    subject.machine.generation.checked_sub(1).map(event)
}
