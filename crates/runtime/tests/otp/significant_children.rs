//! Lines 36 to 40: significant children.

use mainstay_runtime::policy::{
    AutoShutdown, ChildPolicy, ExitCause, PolicyFault, RestartType, Strategy, SupervisorPolicy,
};
use mainstay_runtime::{AdminError, SpecError, Status, SupervisorSpec};

use crate::stage::{Cue, Player, Script, Stage, at_once, delayed, settle};

fn significant(restart: RestartType) -> ChildPolicy {
    ChildPolicy { restart, significant: true, ..at_once() }
}

fn ending_with(auto_shutdown: AutoShutdown) -> SupervisorPolicy {
    SupervisorPolicy { auto_shutdown, ..SupervisorPolicy::default() }
}

/// A tree whose root ends with its children.
async fn tree<const N: usize>(
    auto_shutdown: AutoShutdown,
    child: ChildPolicy,
    names: [&'static str; N],
) -> (Stage, [mainstay_runtime::Address<Cue>; N]) {
    let (stage, addresses, _) = Stage::of(ending_with(auto_shutdown), child, names).await;
    (stage, addresses)
}

#[tokio::test(start_paused = true)]
async fn significant_is_refused_with_permanent_and_with_auto_shutdown_off() {
    let script = Script::default();
    let player = || Player::new("a", &script);
    let mut root = SupervisorSpec::new("root").policy(ending_with(AutoShutdown::AnySignificant));
    let fault = PolicyFault::SignificantPermanent;
    let refused = root.child(player().under(significant(RestartType::Permanent))).unwrap_err();
    assert_eq!(refused, SpecError::Policy { name: "a".to_owned(), fault });
    let off = SpecError::NoAutoShutdown { name: "a".to_owned() };
    let mut never = SupervisorSpec::new("never");
    never.child(player().under(significant(RestartType::Transient))).unwrap();
    assert_eq!(root.supervisor(never).err(), Some(off.clone()));
    let stage = Stage::start(SupervisorSpec::new("root"), &script).await;
    let refused = stage.runtime.root().add(player().under(significant(RestartType::Transient))).await;
    assert_eq!(refused.unwrap_err(), AdminError::Spec(off));
}

#[tokio::test(start_paused = true)]
async fn any_significant_fires_for_a_transient_child_on_a_normal_exit_alone() {
    let (stage, [a, _]) =
        tree(AutoShutdown::AnySignificant, significant(RestartType::Transient), ["a", "b"]).await;
    a.cast(Cue::Panic).await.unwrap();
    settle().await;
    assert_eq!(stage.statuses(["root/a", "root/b"]), [Status::Running; 2]);
    a.cast(Cue::End).await.unwrap();
    assert_eq!(stage.ending().await, ExitCause::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn any_significant_fires_for_a_temporary_child_on_any_exit() {
    for cue in [Cue::End, Cue::Panic, Cue::Fail] {
        let (mut stage, [a, _]) =
            tree(AutoShutdown::AnySignificant, significant(RestartType::Temporary), ["a", "b"]).await;
        a.cast(cue).await.unwrap();
        assert_eq!(stage.ending().await, ExitCause::Shutdown);
        assert_eq!(stage.next("decision", "root/a").await.fields["decision"], "shut_down");
        assert_eq!(stage.next("auto_shutdown", "root").await.fields["by"], "root/a");
    }
}

#[tokio::test(start_paused = true)]
async fn all_significant_fires_with_the_last_active_one_and_restarting_counts_as_active() {
    let transient = ChildPolicy { delay: delayed().delay, ..significant(RestartType::Transient) };
    let (stage, [a, b]) = tree(AutoShutdown::AllSignificant, transient, ["a", "b"]).await;
    a.cast(Cue::Panic).await.unwrap();
    settle().await;
    assert_eq!(stage.status("root/a"), Status::Restarting);
    b.cast(Cue::End).await.unwrap();
    settle().await;
    assert_eq!(stage.statuses(["root", "root/b"]), [Status::Running, Status::Stopped]);
    a.cast(Cue::End).await.unwrap();
    assert_eq!(stage.ending().await, ExitCause::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn auto_shutdown_is_not_fired_by_stopping_the_child_by_hand() {
    let (stage, _) =
        tree(AutoShutdown::AllSignificant, significant(RestartType::Transient), ["a", "b"]).await;
    stage.runtime.root().stop("a").await.unwrap();
    stage.runtime.root().stop("b").await.unwrap();
    settle().await;
    assert_eq!(stage.status("root"), Status::Running);
}

#[tokio::test(start_paused = true)]
async fn auto_shutdown_is_not_fired_by_a_siblings_group_restart() {
    let script = Script::default();
    let policy =
        SupervisorPolicy { strategy: Strategy::OneForAll, ..ending_with(AutoShutdown::AnySignificant) };
    let mut root = SupervisorSpec::new("root").policy(policy);
    let a = root.child(Player::new("a", &script).under(at_once())).unwrap();
    root.child(Player::new("guest", &script).under(significant(RestartType::Temporary))).unwrap();
    root.child(Player::new("c", &script).under(significant(RestartType::Transient))).unwrap();
    let stage = Stage::start(root, &script).await;
    a.cast(Cue::Panic).await.unwrap();
    settle().await;
    assert_eq!(stage.runtime.root().names(), ["a", "c"]);
    assert_eq!(stage.statuses(["root", "root/a", "root/c"]), [Status::Running; 3]);
}

#[tokio::test(start_paused = true)]
async fn auto_shutdown_cascades_only_if_the_child_supervisor_is_itself_significant() {
    for (is_significant, status) in [(true, None), (false, Some(Status::Running))] {
        let script = Script::default();
        let mut root = SupervisorSpec::new("root").policy(ending_with(AutoShutdown::AnySignificant));
        let as_child =
            ChildPolicy { restart: RestartType::Transient, significant: is_significant, ..at_once() };
        let mut pool =
            SupervisorSpec::new("pool").policy(ending_with(AutoShutdown::AnySignificant)).as_child(as_child);
        let a = pool.child(Player::new("a", &script).under(significant(RestartType::Transient))).unwrap();
        root.supervisor(pool).unwrap();
        let stage = Stage::start(root, &script).await;
        a.cast(Cue::End).await.unwrap();
        settle().await;
        assert_eq!(stage.status("root/pool"), Status::Stopped);
        let root = Some(stage.status("root")).filter(|status| *status == Status::Running);
        assert_eq!(root, status);
    }
}
