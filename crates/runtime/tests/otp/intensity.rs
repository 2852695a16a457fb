//! Lines 20 to 23: intensity.

use mainstay_runtime::policy::{ChildPolicy, Delay, ExitCause, RestartType, SupervisorPolicy};
use mainstay_runtime::{CallError, Status, SupervisorSpec};

use crate::stage::{Cue, Player, Script, Stage, at_once, intensity, pass, s, settle};

fn twice() -> SupervisorPolicy {
    SupervisorPolicy { intensity: intensity(2), ..SupervisorPolicy::default() }
}

#[tokio::test(start_paused = true)]
async fn n_restarts_in_the_period_pass_and_the_next_one_stops_the_supervisor() {
    let (stage, [a, b], _) = Stage::of(twice(), at_once(), ["a", "b"]).await;
    for address in [&a, &b] {
        address.cast(Cue::Panic).await.unwrap();
        settle().await;
    }
    assert_eq!(stage.generations(["root/a", "root/b"]), [2, 2]);
    a.cast(Cue::Panic).await.unwrap();
    assert_eq!(stage.ending().await, ExitCause::Shutdown);
    assert_eq!(b.call(Cue::Ask).await, Err(CallError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn restarts_that_are_spaced_never_trip_the_intensity() {
    let (stage, [a], _) = Stage::of(twice(), at_once(), ["a"]).await;
    for _ in 0..20 {
        a.cast(Cue::Panic).await.unwrap();
        pass(s(5)).await;
    }
    assert_eq!(stage.generation("root/a"), 21);
}

#[tokio::test(start_paused = true)]
async fn exhaustion_counts_as_a_shutdown_so_a_transient_supervisor_is_not_restarted_and_a_permanent_one_is() {
    for (restart, status) in
        [(RestartType::Transient, Status::Stopped), (RestartType::Permanent, Status::Running)]
    {
        let script = Script::default();
        let mut root = SupervisorSpec::new("root");
        let none = SupervisorPolicy { intensity: intensity(0), ..SupervisorPolicy::default() };
        let mut pool =
            SupervisorSpec::new("pool").policy(none).as_child(ChildPolicy { restart, ..at_once() });
        let a = pool.child(Player::new("a", &script).under(at_once())).unwrap();
        root.supervisor(pool).unwrap();
        let mut stage = Stage::start(root, &script).await;
        a.cast(Cue::Panic).await.unwrap();
        let exited = stage.next("actor_exited", "root/pool").await;
        assert_eq!(exited.fields["cause"], "shutdown");
        assert_eq!(exited.fields["message"], "root/pool/a failed once too often: on cue");
        settle().await;
        assert_eq!(stage.status("root/pool"), status);
    }
}

#[tokio::test(start_paused = true)]
async fn every_failed_attempt_to_start_during_a_restart_counts_too() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root").policy(twice());
    let player = Player::new("a", &script);
    let direction = player.direction.clone();
    let second = Delay::Fixed { delay: s(1) };
    let a = root.child(player.under(ChildPolicy { delay: second, ..at_once() })).unwrap();
    let stage = Stage::start(root, &script).await;
    script.read();
    direction.failures_left.store(9, std::sync::atomic::Ordering::SeqCst);
    a.cast(Cue::Panic).await.unwrap();
    assert_eq!(stage.ending().await, ExitCause::Shutdown);
    assert_eq!(
        script.read(),
        ["start a", "start a"],
        "the crash and one failed start were granted a restart"
    );
}
