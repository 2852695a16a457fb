use std::collections::BTreeMap;
use std::sync::LazyLock;

use mainstay_runtime::journal::{Delivery, Record};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::mainstay::Mainstay;

/// The fields of every kind of event, in the order of the kinds' names.
pub(crate) static EXAMPLES: LazyLock<BTreeMap<String, Map<String, Value>>> = LazyLock::new(|| {
    let lines = include_str!("../events/examples.jsonl").lines();
    lines
        .map(|line| {
            let fields: Map<String, Value> = serde_json::from_str(line).unwrap();
            (fields["kind"].as_str().unwrap().to_owned(), fields)
        })
        .collect()
});

/// Makes the records of run 1, one of each of these (milliseconds, actor, kind, fields).
fn records(events: &[(u64, &str, &str, Value)]) -> Vec<Record> {
    let records = events.iter().enumerate().map(|(index, (mono_ms, actor, kind, fields))| {
        example_record(1, index as u64 + 1, *mono_ms, actor, kind, fields)
    });
    records.collect()
}

/// Makes a record with the example's fields of its kind, but for these.
pub(crate) fn example_record(
    run: u64,
    seq: u64,
    mono_ms: u64,
    actor: &str,
    kind: &str,
    fields: &Value,
) -> Record {
    let mut record = json!({
        "run": run, "seq": seq, "at": format!("2026-03-01T12:00:{:02}.{:03}Z", mono_ms / 1000 % 60, mono_ms % 1000),
        "mono_ms": mono_ms, "actor": actor, "generation": 1, "kind": kind,
    });
    for (name, value) in EXAMPLES[kind].iter().chain(fields.as_object().unwrap()) {
        record[name] = value.clone();
    }
    serde_json::from_value(record).unwrap()
}

fn fold(records: &[Record]) -> Vec<Incident> {
    let mut log = IncidentLog::default();
    records.iter().for_each(|record| log.apply(record));
    log.incidents().cloned().collect()
}

/// Returns the numbers of the events of each incident.
fn grouping(incidents: &[Incident]) -> Vec<Vec<u64>> {
    incidents.iter().map(|incident| incident.events.iter().map(|event| event.cursor.seq).collect()).collect()
}

const PLANNER: &str = "root/agents/planner";
const CODER: &str = "root/agents/coder";

#[test]
fn crash_and_restart_of_an_agent_are_one_incident() {
    let incidents = fold(&records(&[
        (4133, PLANNER, "agent_health", json!({ "to": "failed" })),
        (
            4134,
            PLANNER,
            "actor_exited",
            json!({ "cause": "error", "message": "no answer", "location": null }),
        ),
        (4136, PLANNER, "decision", json!({ "scope": [PLANNER] })),
        (5000, CODER, "actor_ready", json!({})),
        (9134, PLANNER, "actor_started", json!({})),
        (9135, PLANNER, "actor_ready", json!({})),
        (9135, PLANNER, "actor_restarted", json!({})),
        (9147, PLANNER, "agent_health", json!({ "from": "starting", "to": "healthy", "error": null })),
        (60_000, PLANNER, "actor_exited", json!({})),
    ]));
    assert_eq!(grouping(&incidents), [vec![1, 2, 3, 5, 6, 7, 8], vec![9]]);
    let first = &incidents[0];
    assert!(first.is_over());
    assert_eq!((first.lasted_ms, first.ended_at.as_deref()), (5014, Some("2026-03-01T12:00:09.147Z")));
    assert_eq!(
        first.title,
        "planner: the agent's status changes from healthy to failed: a check was missed (over after 5 s)"
    );
    assert_eq!(
        first.story(),
        [
            first.title.as_str(),
            "It began at 2026-03-01T12:00:04.133Z, with event 1.1.",
            "Exit: ended with an error: no answer.",
            "Decision: restart in 5 s, attempt 1 (1 of 5 restarts used).",
            "Policy: restart after each exit, the first 5 s later, then up to 1 min (factor 2), at most 5 restarts in 10 min, \
             then give up.",
            "In all: 1 restart.",
            "Last event: the agent's status changes from starting to healthy.",
            "It was over at 2026-03-01T12:00:09.147Z, after 5 s.",
        ]
    );
    assert!(!incidents[1].is_over());
}

#[test]
fn outage_has_all_that_could_not_reach_the_backend() {
    let network = json!({ "code": "NETWORK_ERROR", "reason": "connection_refused", "message": "m",
        "retryable": true, "attempts": 0 });
    let incidents = fold(&records(&[
        (1000, "root/connection", "connection_state", json!({ "from": "connected", "to": "reconnecting" })),
        (1001, "root/queue", "queue_held", json!({ "waiting": 3 })),
        (1500, PLANNER, "agent_health", json!({ "to": "degraded", "error": network })),
        (2000, "root/queue", "request_retry", json!({ "request_id": 17 })),
        (3000, "root/queue", "request_failed", json!({ "request_id": 18, "reason": "outcome_unknown" })),
        (8000, "root/connection", "connection_state", json!({ "from": "reconnecting", "to": "connected" })),
        (8001, "root/queue", "queue_released", json!({ "waiting": 2 })),
        (8100, PLANNER, "agent_health", json!({ "from": "degraded", "to": "healthy", "error": null })),
    ]));
    assert_eq!(grouping(&incidents), [vec![1, 2, 3, 4, 5, 6, 7, 8]]);
    let outage = &incidents[0];
    assert!(outage.is_over());
    assert_eq!(outage.requests, [17, 18]);
    let totals = outage.totals;
    assert_eq!((totals.requests_held, totals.requests_retried, totals.requests_failed), (3, 1, 1));
    assert_eq!(totals.outcomes_unknown, 1);
}

#[test]
fn escalation_brings_the_supervisor_into_the_incident() {
    let incidents = fold(&records(&[
        (1, "root/pool/a", "actor_exited", json!({})),
        (2, "root/pool/a", "decision", json!({ "decision": "escalate", "scope": [] })),
        (3, "root/pool", "escalated", json!({})),
        (4, "root/pool/b", "actor_exited", json!({ "cause": "shutdown" })),
        (9000, "root/pool", "actor_exited", json!({ "cause": "error" })),
        (9001, "root/pool", "decision", json!({ "decision": "restart", "scope": ["root/pool"] })),
        (9002, "root/pool", "actor_ready", json!({})),
        (9003, "root/pool", "actor_restarted", json!({})),
    ]));
    assert_eq!(grouping(&incidents), [vec![1, 2, 3, 4, 5, 6, 7, 8]]);
    assert!(incidents[0].is_over());
}

#[test]
fn restart_of_a_group_is_one_incident() {
    let scope = json!({ "scope": ["root/pool/a", "root/pool/b"] });
    let incidents = fold(&records(&[
        (1, "root/pool/a", "actor_exited", json!({})),
        (2, "root/pool/a", "decision", scope),
        (3, "root/pool/b", "actor_exited", json!({ "cause": "shutdown" })),
        (5003, "root/pool/a", "actor_ready", json!({})),
        (5004, "root/pool/b", "actor_ready", json!({})),
    ]));
    assert_eq!(grouping(&incidents), [vec![1, 2, 3, 4, 5]]);
    assert_eq!(incidents[0].actors, ["root/pool/a", "root/pool/b"]);
}

#[test]
fn given_up_actor_stays_open_with_its_next_step() {
    let mut events = vec![
        (1, PLANNER, "actor_exited", json!({})),
        (2, PLANNER, "decision", json!({ "decision": "give_up", "scope": [PLANNER] })),
        (3, PLANNER, "gave_up", json!({ "unrecoverable": true, "next_step": "Correct the program." })),
    ];
    let incidents = fold(&records(&events));
    let step = "Correct the program. Then `mainstay agent start planner` tries again";
    assert_eq!(incidents[0].next_step.as_deref(), Some(step));
    assert_eq!(incidents[0].story().last().unwrap(), &format!("It is not over. Next step: {step}."));
    assert!(!incidents[0].is_over());
    events.push((90_000, PLANNER, "budget_reset", json!({})));
    events.push((90_001, PLANNER, "actor_ready", json!({})));
    let incidents = fold(&records(&events));
    assert_eq!(grouping(&incidents), [vec![1, 2, 3, 4, 5]]);
    assert_eq!((incidents[0].is_over(), incidents[0].next_step.as_deref()), (true, None));
}

#[test]
fn stop_of_a_child_that_waits_for_its_restart_ends_the_incident() {
    let incidents = fold(&records(&[
        (1, PLANNER, "agent_health", json!({ "to": "failed" })),
        (2, PLANNER, "actor_exited", json!({ "cause": "error" })),
        (3, PLANNER, "decision", json!({ "scope": [PLANNER] })),
        (2000, PLANNER, "restart_cancelled", json!({})),
    ]));
    assert_eq!(grouping(&incidents), [vec![1, 2, 3, 4]]);
    assert_eq!((incidents[0].is_over(), incidents[0].lasted_ms), (true, 1999));
    assert_eq!(incidents[0].story()[5], "Last event: a command stops it, so its restart is cancelled.");
}

#[test]
fn restart_of_a_suspended_backend_ends_the_incident() {
    const BACKEND: &str = "root/backend";
    let incidents = fold(&records(&[
        (1, BACKEND, "backend_suspended", json!({})),
        (90_000, BACKEND, "actor_exited", json!({ "cause": "error" })),
        (90_001, BACKEND, "decision", json!({ "scope": [BACKEND] })),
        (95_000, BACKEND, "actor_ready", json!({})),
    ]));
    assert_eq!(grouping(&incidents), [vec![1, 2, 3, 4]]);
    assert!(incidents[0].is_over());
}

#[test]
fn stop_has_every_exit_until_the_end_of_the_run() {
    let incidents = fold(&records(&[
        (1, PLANNER, "actor_exited", json!({})),
        (2, "root", "runtime_stopping", json!({})),
        (3, PLANNER, "actor_exited", json!({ "cause": "killed" })),
        (4, CODER, "actor_exited", json!({ "cause": "shutdown" })),
        (90_000, "root", "actor_exited", json!({ "cause": "shutdown" })),
        (90_001, "root", "runtime_stopped", json!({})),
    ]));
    assert_eq!(grouping(&incidents), [vec![1], vec![2, 3, 4, 5, 6]]);
    assert!(incidents[1].is_over());
}

#[test]
fn end_of_a_run_cuts_what_was_open() {
    let mut log = IncidentLog::default();
    log.apply(&example_record(1, 1, 5, PLANNER, "actor_exited", &json!({})));
    log.apply(&example_record(2, 1, 5, "root", "run_interrupted", &json!({})));
    log.apply(&example_record(2, 2, 6, PLANNER, "actor_exited", &json!({})));
    let incidents: Vec<_> = log.incidents().cloned().collect();
    assert_eq!(
        incidents.iter().map(|incident| incident.id.to_string()).collect::<Vec<_>>(),
        ["1.1", "2.1", "2.2"]
    );
    assert!(incidents[0].is_cut && incidents[0].ended_at.is_none());
    assert!(!incidents[2].is_cut);
}

#[test]
fn events_and_incidents_are_bounded() {
    let mut log = IncidentLog::default();
    for seq in 1..=1000 {
        log.apply(&example_record(1, seq, seq, PLANNER, "actor_exited", &json!({})));
    }
    let incident = log.incidents().next().unwrap();
    assert_eq!((incident.events.len(), incident.events_left_out), (200, 800));
    assert_eq!(incident.totals.exits, 1000);
    let seqs = grouping(std::slice::from_ref(incident)).concat();
    assert_eq!(seqs[..100], (1..=100).collect::<Vec<_>>());
    assert_eq!(seqs[100..], (901..=1000).collect::<Vec<_>>());
    for seq in 1001..=2000 {
        log.apply(&example_record(1, seq, seq * 10_000, &format!("root/a{seq}"), "actor_exited", &json!({})));
    }
    assert_eq!(log.incidents().len(), 200);
}

#[test]
fn open_incident_names_the_next_step_of_its_worst_condition() {
    let mut events = vec![
        (1, PLANNER, "agent_health", json!({ "to": "degraded" })),
        (2, PLANNER, "actor_exited", json!({})),
        (3, PLANNER, "decision", json!({ "scope": [PLANNER] })),
    ];
    let step = |events: &[_]| fold(&records(events))[0].next_step.clone();
    assert_eq!(step(&events[..1]).as_deref(), Some("the next checks decide whether it is restarted"));
    assert_eq!(step(&events[..2]).as_deref(), Some("its supervisor decides about a restart"));
    assert_eq!(step(&events).as_deref(), Some("it is restarted 5 s after its exit"));
    events.push((9000, PLANNER, "actor_ready", json!({})));
    assert_eq!(step(&events).as_deref(), Some("the next checks decide whether it is restarted"));
}

#[test]
fn request_that_the_backend_answers_is_an_incident_of_its_own() {
    let request =
        |id: u64, reason: &str| json!({ "request_id": id, "reason": reason, "code": "SERVER_ERROR" });
    let incidents = fold(&records(&[
        (1, "root/connection", "connection_state", json!({ "from": "connected", "to": "reconnecting" })),
        (2, "root/queue", "request_failed", request(17, "not_found")),
        (3, "root/queue", "request_retry", request(18, "connection_closed")),
        (4, "root/queue", "request_failed", request(19, "cancelled")),
    ]));
    assert_eq!(grouping(&incidents), [vec![1, 3], vec![2]]);
}

#[test]
fn query_finds_incidents_by_what_people_call_things() {
    let incidents = fold(&records(&[
        (1, PLANNER, "actor_exited", json!({})),
        (2, PLANNER, "message_failed", json!({ "message_id": 7 })),
        (3, "root/queue", "request_failed", json!({ "request_id": 17, "reason": "not_found" })),
    ]));
    let found = |text: &str| -> Vec<String> {
        let query = IncidentQuery::from(text);
        let found = incidents.iter().filter(|incident| query.matches(incident));
        found.map(|incident| incident.id.to_string()).collect()
    };
    for text in ["planner", PLANNER, "1.1", "1.2", "planner:7"] {
        assert_eq!(found(text), ["1.1"], "{text}");
    }
    for text in ["queue", "root/queue", "17", "1.3"] {
        assert_eq!(found(text), ["1.3"], "{text}");
    }
    for text in ["coder", "plan", "1.4", "18", "planner:8", "coder:7", "7"] {
        assert!(found(text).is_empty(), "{text}");
    }
}

#[tokio::test]
async fn running_runtime_lists_what_has_happened_so_far() {
    let mainstay = Mainstay::builder().start().await.unwrap();
    let mut events = mainstay.events();
    mainstay.inject_panic("queue").await.unwrap();
    while let Some(delivery) = events.next().await {
        if matches!(delivery, Delivery::Event(record) if record.kind == "actor_restarted") {
            break;
        }
    }
    let mut incidents = mainstay.incidents().await;
    incidents.retain(|incident| incident.actor == "root/queue");
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert!(incidents[0].title.starts_with("queue: panicked: "), "{}", incidents[0].title);
    assert_eq!((incidents[0].totals.exits, incidents[0].totals.restarts), (1, 1));
    mainstay.shutdown().await;
    let incidents = mainstay.incidents().await;
    let stop = incidents.last().unwrap();
    assert!(stop.title.starts_with("The runtime is stopping (over after "), "{}", stop.title);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::tier::cases(100, 10_000)))]

    #[test]
    fn each_exit_and_decision_belongs_to_one_incident(
        steps in prop::collection::vec((0..80_usize, 0..5_usize, 0..8000_u64), 1..150)
    ) {
        let kinds: Vec<&String> = EXAMPLES.keys().collect();
        let actors = ["root", "root/backend", "root/queue", PLANNER, CODER];
        let (mut records, mut mono_ms, mut run, mut seq) = (Vec::new(), 0, 1, 0);
        for (kind, actor, pause) in steps {
            let kind = kinds[kind % kinds.len()];
            if kind == "runtime_started" {
                (run, seq, mono_ms) = (run + 1, 0, 0);
            }
            seq += 1;
            mono_ms += pause;
            records.push(example_record(run, seq, mono_ms, actors[actor], kind, &json!({})));
        }
        let incidents = fold(&records);
        for record in &records {
            let owners = incidents.iter().filter(|incident| incident.has_event(record.cursor())).count();
            let is_due = ["actor_exited", "decision"].contains(&record.kind.as_str());
            prop_assert!(owners == 1 || (owners == 0 && !is_due), "{} belongs to {owners}", record.cursor());
        }
        for incident in &incidents {
            prop_assert!(incident.story().len() <= 12);
            let first = &incident.events[0];
            // The first letter may be a capital, and the full stop gives way to the end.
            let summary = first.summary.trim_end_matches('.');
            prop_assert!(incident.title.contains(&summary[1..]), "{}", incident.title);
        }
    }
}

#[test]
fn request_that_the_backend_died_over_belongs_to_its_incident() {
    let backend = "root/backend";
    let incidents = fold(&records(&[
        (1, backend, "actor_exited", json!({})),
        (2, "root/queue", "request_retry", json!({ "request_id": 17, "reason": "connection_closed" })),
        (3, backend, "actor_exited", json!({})),
        (4, "root/queue", "request_failed", json!({ "request_id": 17, "reason": "quarantined" })),
        (5, "root/queue", "request_failed", json!({ "request_id": 18, "reason": "not_found" })),
    ]));
    assert_eq!(grouping(&incidents), [vec![1, 2, 3, 4], vec![5]]);
}

#[test]
fn fault_of_the_storage_lasts_until_its_end() {
    let mut events = vec![
        (1, "logs", "logs_degraded", json!({ "phase": "begins" })),
        (60_000, "logs", "logs_degraded", json!({ "phase": "ends" })),
        (90_000, "logs", "logs_degraded", json!({ "phase": "once" })),
    ];
    let incidents = fold(&records(&events));
    assert_eq!(grouping(&incidents), [vec![1, 2], vec![3]]);
    assert!(incidents.iter().all(Incident::is_over));
    events.truncate(1);
    assert!(!fold(&records(&events))[0].is_over());
}

#[test]
fn timed_out_request_can_have_an_unknown_outcome() {
    let request = json!({ "request_id": 17, "reason": "outcome_unknown" });
    let incidents = fold(&records(&[(1, "root/queue", "request_timed_out", request)]));
    assert_eq!((incidents[0].totals.requests_failed, incidents[0].totals.outcomes_unknown), (1, 1));
}
