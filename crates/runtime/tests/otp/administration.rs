//! Lines 13 to 15: administration.

use mainstay_runtime::policy::SupervisorPolicy;
use mainstay_runtime::{AdminError, Status};

use crate::stage::{Cue, Player, Stage, at_once, delayed, settle};

fn running() -> AdminError {
    AdminError::Running { name: "a".to_owned() }
}

fn restarting() -> AdminError {
    AdminError::Restarting { name: "a".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn starting_a_running_child_again_is_already_running_and_one_that_is_not_is_already_present() {
    let (stage, [a], _) = Stage::of(SupervisorPolicy::default(), delayed(), ["a"]).await;
    let root = stage.runtime.root();
    let again = || root.add(Player::new("a", &stage.script).under(at_once()));
    assert!(matches!(again().await, Err(AdminError::AlreadyRunning { path }) if path.as_str() == "root/a"));
    a.cast(Cue::Panic).await.unwrap();
    settle().await;
    assert_eq!(stage.status("root/a"), Status::Restarting);
    assert!(matches!(again().await, Err(AdminError::AlreadyPresent { path }) if path.as_str() == "root/a"));
    root.stop("a").await.unwrap();
    assert!(matches!(again().await, Err(AdminError::AlreadyPresent { .. })));
}

#[tokio::test(start_paused = true)]
async fn stopping_is_idempotent_and_an_unknown_child_is_not_found() {
    let (stage, _, _) = Stage::of(SupervisorPolicy::default(), at_once(), ["a"]).await;
    let root = stage.runtime.root();
    assert_eq!(root.stop("a").await, Ok(()));
    assert_eq!(root.stop("a").await, Ok(()));
    let not_found = Err(AdminError::NotFound { name: "b".to_owned() });
    assert_eq!(root.stop("b").await, not_found);
    assert_eq!(root.start("b").await, not_found);
    assert_eq!(root.restart("b").await, not_found);
    assert_eq!(root.delete("b").await, not_found);
    assert_eq!(root.reset("b").await, not_found);
}

#[tokio::test(start_paused = true)]
async fn start_or_delete_of_a_running_child_is_refused_and_of_a_restarting_one_too() {
    let (stage, [a], _) = Stage::of(SupervisorPolicy::default(), delayed(), ["a"]).await;
    let root = stage.runtime.root();
    assert_eq!((root.start("a").await, root.delete("a").await), (Err(running()), Err(running())));
    a.cast(Cue::Panic).await.unwrap();
    settle().await;
    assert_eq!((root.start("a").await, root.delete("a").await), (Err(restarting()), Err(restarting())));
    root.stop("a").await.unwrap();
    assert_eq!(root.delete("a").await, Ok(()));
    assert!(root.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_order_that_another_one_displaces_is_told_so() {
    let (stage, _, [direction]) = Stage::of(SupervisorPolicy::default(), at_once(), ["a"]).await;
    let root = stage.runtime.root();
    let _never = direction.hold_starts();
    let stop = async {
        settle().await;
        root.stop("a").await
    };
    let (restarted, stopped) = tokio::join!(root.restart("a"), stop);
    assert_eq!(restarted, Err(AdminError::Superseded { name: "a".to_owned() }));
    assert_eq!(stopped, Ok(()));
}
