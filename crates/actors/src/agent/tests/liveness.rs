//! Tells busy agents from stuck ones, also when the clock or the backend's availability jumps.

use super::*;

async fn wait(seconds: u64) {
    tokio::time::sleep(s(seconds)).await;
}

/// Starts a healthy agent that counts as stuck after this time without progress.
async fn agent_with_progress_timeout(progress_timeout: Duration) -> (Arc<ScriptedDriver>, AgentActorFixture) {
    let driver = ScriptedDriver::answering([healthy()]);
    let policy = HealthPolicy { progress_timeout, ..policy() };
    let fixture = AgentActorFixture::with(&driver, policy, None).await;
    (driver, fixture)
}

#[tokio::test(start_paused = true)]
async fn missed_checks_at_work_degrade_without_restart() {
    let (driver, mut fixture) = agent([healthy(), missed()]).await;
    let at_work = driver.meter.begin();
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    wait(600).await;
    assert_eq!((fixture.status(), *driver.restarts.lock()), (Degraded, 0));
    drop(at_work);
    // The end of the question counts as progress; the limit applies again from then on.
    wait(120).await;
    assert_eq!(*driver.restarts.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn missed_checks_with_progress_do_not_restart() {
    let (driver, fixture) = agent([healthy(), missed()]).await;
    for _ in 0..40 {
        driver.meter.note_progress();
        wait(20).await;
    }
    assert_eq!((fixture.status(), *driver.restarts.lock()), (Degraded, 0));
}

#[tokio::test(start_paused = true)]
async fn stuck_agent_restarts_although_checks_pass() {
    let (driver, mut fixture) = agent_with_progress_timeout(s(100)).await;
    let _at_work = driver.meter.begin();
    wait(60).await;
    driver.meter.note_progress();
    let stuck = fixture.next_event_of(AgentStuck::KIND).await;
    assert_eq!(stuck.mono_ms / 1000, 160, "to the point, whatever the interval of the checks");
    assert_eq!(stuck.fields["quiet_ms"], 100_000);
    let exited = fixture.next_event_of("actor_exited").await;
    assert!(
        exited.fields["message"].as_str().unwrap().contains("without progress for longer than 1 min 40 s")
    );
    fixture.next_event_of("actor_restarted").await;
    assert_eq!(*driver.restarts.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn stuck_agent_is_detected_between_checks() {
    let (driver, mut fixture) = agent_with_progress_timeout(s(7)).await;
    // Work that ends in time causes no restart, and moves no check.
    wait(1).await;
    drop(driver.meter.begin());
    wait(1).await;
    let _at_work = driver.meter.begin();
    let stuck = fixture.next_event_of(AgentStuck::KIND).await;
    assert_eq!((stuck.mono_ms, &stuck.fields["quiet_ms"]), (9000, &json!(7000)));
    fixture.next_event_of("actor_restarted").await;
    assert_eq!(*driver.restarts.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn standstill_of_the_runtime_is_no_silence_of_the_agent() {
    let (driver, fixture) = agent_with_progress_timeout(s(100)).await;
    let _at_work = driver.meter.begin();
    wait(99).await;
    tokio::time::advance(s(1000)).await;
    wait(1).await;
    // It was made in time, and is read only after the overdue check.
    driver.meter.note_progress();
    wait(90).await;
    assert_eq!((fixture.status(), *driver.restarts.lock()), (Healthy, 0));
    wait(20).await;
    assert_eq!(*driver.restarts.lock(), 1, "silence counts again");
}

#[tokio::test(start_paused = true)]
async fn idle_agent_is_never_stuck() {
    let (driver, fixture) = agent_with_progress_timeout(s(10)).await;
    driver.meter.note_progress();
    wait(6000).await;
    assert_eq!((fixture.status(), *driver.restarts.lock()), (Healthy, 0));
}

#[tokio::test(start_paused = true)]
async fn crashing_state_is_quarantined() {
    let (driver, mut fixture) = agent([healthy(), healthy(), failed()]).await;
    for round in 1..=3 {
        fixture.next_event_of("actor_restarted").await;
        assert_eq!(driver.written.lock().len(), round);
        driver.set_answers([failed()]);
    }
    fixture.next_event_of(AgentStateQuarantined::KIND).await;
    fixture.next_event_of("actor_restarted").await;
    assert_eq!(driver.written.lock().len(), 3, "it starts without its state");
}

#[tokio::test(start_paused = true)]
async fn flapping_agent_exhausts_its_budget() {
    let (driver, mut fixture) = agent([healthy()]).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    let mut exits = 0;
    loop {
        driver.set_answers([failed()]);
        let Delivery::Event(record) = fixture.events.next().await else { panic!("events are missing") };
        exits += u32::from(record.kind == "actor_exited");
        if record.kind == "gave_up" {
            break;
        }
    }
    assert_eq!(exits, 6, "five restarts, and then no more");
}
