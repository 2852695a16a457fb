//! Busy is not dead, and hanging is not busy; and what happens when the clock or the link jumps.

use super::*;

/// The changes of health until now.
async fn wait(seconds: u64) {
    tokio::time::sleep(s(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_misses_its_checks_while_it_is_at_work_is_degraded_and_not_restarted() {
    let script = Script::says([well(), missed()]);
    let mut scene = Scene::of(&script).await;
    let at_work = script.meter.begin();
    assert_eq!(scene.change().await, (Starting, Healthy));
    wait(600).await;
    assert_eq!((scene.status(), *script.restarts.lock().unwrap()), (Degraded, 0));
    drop(at_work);
    // Its end is progress; from then on it is measured like any other.
    wait(120).await;
    assert_eq!(*script.restarts.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_shows_progress_between_two_checks_is_not_restarted_for_missing_them() {
    let script = Script::says([well(), missed()]);
    let scene = Scene::of(&script).await;
    for _ in 0..40 {
        script.meter.progress();
        wait(20).await;
    }
    assert_eq!((scene.status(), *script.restarts.lock().unwrap()), (Degraded, 0));
}

#[tokio::test(start_paused = true)]
async fn an_agent_at_work_without_progress_is_restarted_for_it_though_it_answers_its_checks() {
    let script = Script::says([well()]);
    let policy = HealthPolicy { progress_timeout: s(100), ..policy() };
    let mut scene = Scene::with(&script, policy, None).await;
    let _at_work = script.meter.begin();
    wait(60).await;
    script.meter.progress();
    let stuck = scene.until(AgentStuck::KIND).await;
    assert_eq!(stuck.mono_ms / 1000, 160, "to the point, whatever the interval of the checks");
    assert_eq!(stuck.fields["quiet_ms"], 100_000);
    let exited = scene.until("actor_exited").await;
    assert!(exited.fields["message"].as_str().unwrap().contains("without progress for longer than 100s"));
    scene.until("actor_restarted").await;
    assert_eq!(*script.restarts.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_hangs_to_the_point_though_its_checks_come_less_often_than_that() {
    let script = Script::says([well()]);
    let policy = HealthPolicy { progress_timeout: s(7), ..policy() };
    let mut scene = Scene::with(&script, policy, None).await;
    // Work that is done in time is no reason, and moves no check.
    wait(1).await;
    drop(script.meter.begin());
    wait(1).await;
    let _at_work = script.meter.begin();
    let stuck = scene.until(AgentStuck::KIND).await;
    assert_eq!((stuck.mono_ms, &stuck.fields["quiet_ms"]), (9000, &json!(7000)));
    scene.until("actor_restarted").await;
    assert_eq!(*script.restarts.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_work_may_be_quiet_for_as_long_as_it_likes() {
    let script = Script::says([well()]);
    let policy = HealthPolicy { progress_timeout: s(10), ..policy() };
    let scene = Scene::with(&script, policy, None).await;
    script.meter.progress();
    wait(6000).await;
    assert_eq!((scene.status(), *script.restarts.lock().unwrap()), (Healthy, 0));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_the_agent_ends_over_time_and_again_is_set_aside() {
    let script = Script::says([well(), well(), failed()]);
    let mut scene = Scene::of(&script).await;
    for round in 1..=3 {
        scene.until("actor_restarted").await;
        assert_eq!(script.written.lock().unwrap().len(), round);
        script.then([failed()]);
    }
    scene.until(AgentStateSetAside::KIND).await;
    scene.until("actor_restarted").await;
    assert_eq!(script.written.lock().unwrap().len(), 3, "it starts without its state");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_flaps_is_given_up_however_well_its_restarts_go() {
    let script = Script::says([well()]);
    let mut scene = Scene::of(&script).await;
    assert_eq!(scene.change().await, (Starting, Healthy));
    let mut exits = 0;
    loop {
        script.then([failed()]);
        let record = scene.next().await;
        exits += u32::from(record.kind == "actor_exited");
        if record.kind == "gave_up" {
            break;
        }
    }
    assert_eq!(exits, 6, "five restarts, and then no more");
}
