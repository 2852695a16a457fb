//! Tells busy agents from stuck ones, also when the clock or the backend's availability jumps.

use super::*;

/// Returns the changes of health so far.
async fn wait(seconds: u64) {
    tokio::time::sleep(s(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn missed_checks_at_work_degrade_without_restart() {
    let script = ScriptedDriver::answering([healthy(), missed()]);
    let mut scene = AgentActorFixture::new(&script).await;
    let at_work = script.meter.begin();
    assert_eq!(scene.next_status_change().await, (Starting, Healthy));
    wait(600).await;
    assert_eq!((scene.status(), *script.restarts.lock()), (Degraded, 0));
    drop(at_work);
    // The end of the question counts as progress; the limit applies again from then on.
    wait(120).await;
    assert_eq!(*script.restarts.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn missed_checks_with_progress_do_not_restart() {
    let script = ScriptedDriver::answering([healthy(), missed()]);
    let scene = AgentActorFixture::new(&script).await;
    for _ in 0..40 {
        script.meter.note_progress();
        wait(20).await;
    }
    assert_eq!((scene.status(), *script.restarts.lock()), (Degraded, 0));
}

#[tokio::test(start_paused = true)]
async fn stuck_agent_restarts_although_checks_pass() {
    let script = ScriptedDriver::answering([healthy()]);
    let policy = HealthPolicy { progress_timeout: s(100), ..policy() };
    let mut scene = AgentActorFixture::with(&script, policy, None).await;
    let _at_work = script.meter.begin();
    wait(60).await;
    script.meter.note_progress();
    let stuck = scene.next_event_of(AgentStuck::KIND).await;
    assert_eq!(stuck.mono_ms / 1000, 160, "to the point, whatever the interval of the checks");
    assert_eq!(stuck.fields["quiet_ms"], 100_000);
    let exited = scene.next_event_of("actor_exited").await;
    assert!(exited.fields["message"].as_str().unwrap().contains("without progress for longer than 100s"));
    scene.next_event_of("actor_restarted").await;
    assert_eq!(*script.restarts.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn stuck_agent_is_detected_between_checks() {
    let script = ScriptedDriver::answering([healthy()]);
    let policy = HealthPolicy { progress_timeout: s(7), ..policy() };
    let mut scene = AgentActorFixture::with(&script, policy, None).await;
    // Work that ends in time causes no restart, and moves no check.
    wait(1).await;
    drop(script.meter.begin());
    wait(1).await;
    let _at_work = script.meter.begin();
    let stuck = scene.next_event_of(AgentStuck::KIND).await;
    assert_eq!((stuck.mono_ms, &stuck.fields["quiet_ms"]), (9000, &json!(7000)));
    scene.next_event_of("actor_restarted").await;
    assert_eq!(*script.restarts.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_agent_is_never_stuck() {
    let script = ScriptedDriver::answering([healthy()]);
    let policy = HealthPolicy { progress_timeout: s(10), ..policy() };
    let scene = AgentActorFixture::with(&script, policy, None).await;
    script.meter.note_progress();
    wait(6000).await;
    assert_eq!((scene.status(), *script.restarts.lock()), (Healthy, 0));
}

#[tokio::test(start_paused = true)]
async fn crashing_state_is_quarantined() {
    let script = ScriptedDriver::answering([healthy(), healthy(), failed()]);
    let mut scene = AgentActorFixture::new(&script).await;
    for round in 1..=3 {
        scene.next_event_of("actor_restarted").await;
        assert_eq!(script.written.lock().len(), round);
        script.set_answers([failed()]);
    }
    scene.next_event_of(AgentStateQuarantined::KIND).await;
    scene.next_event_of("actor_restarted").await;
    assert_eq!(script.written.lock().len(), 3, "it starts without its state");
}

#[tokio::test(start_paused = true)]
async fn flapping_agent_exhausts_its_budget() {
    let script = ScriptedDriver::answering([healthy()]);
    let mut scene = AgentActorFixture::new(&script).await;
    assert_eq!(scene.next_status_change().await, (Starting, Healthy));
    let mut exits = 0;
    loop {
        script.set_answers([failed()]);
        let record = scene.next_event().await;
        exits += u32::from(record.kind == "actor_exited");
        if record.kind == "gave_up" {
            break;
        }
    }
    assert_eq!(exits, 6, "five restarts, and then no more");
}
