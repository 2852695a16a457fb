//! Tests lines 13 to 15: administration.

use crate::*;

fn running() -> AdminError {
    AdminError::Running { name: "a".to_owned() }
}

fn restarting() -> AdminError {
    AdminError::Restarting { name: "a".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn add_existing_child_is_already_running_or_present() {
    let (tree, [a], _) = TestTree::one_for_one(delayed_policy(), ["a"]).await;
    let root = tree.runtime.root();
    let again = || root.add(TestChild::new("a", &tree.log).with_policy(immediate_policy()));
    assert!(matches!(again().await, Err(AdminError::AlreadyRunning { path }) if path.as_str() == "root/a"));
    a.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    assert_eq!(tree.status("root/a"), ActorStatus::Restarting);
    assert!(matches!(again().await, Err(AdminError::AlreadyPresent { path }) if path.as_str() == "root/a"));
    root.stop("a").await.unwrap();
    assert!(matches!(again().await, Err(AdminError::AlreadyPresent { .. })));
}

#[tokio::test(start_paused = true)]
async fn stop_is_idempotent_and_unknown_child_is_not_found() {
    let (tree, _, _) = TestTree::one_for_one(immediate_policy(), ["a"]).await;
    let root = tree.runtime.root();
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
async fn start_or_delete_of_active_child_is_refused() {
    let (tree, [a], _) = TestTree::one_for_one(delayed_policy(), ["a"]).await;
    let root = tree.runtime.root();
    assert_eq!((root.start("a").await, root.delete("a").await), (Err(running()), Err(running())));
    a.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    assert_eq!((root.start("a").await, root.delete("a").await), (Err(restarting()), Err(restarting())));
    root.stop("a").await.unwrap();
    assert_eq!(root.delete("a").await, Ok(()));
    assert!(root.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn command_displaced_by_another_is_superseded() {
    let (tree, _, [controls]) = TestTree::one_for_one(immediate_policy(), ["a"]).await;
    let root = tree.runtime.root();
    let _never = controls.hold_starts();
    let stop = async {
        settle().await;
        root.stop("a").await
    };
    let (restarted, stopped) = tokio::join!(root.restart("a"), stop);
    assert_eq!(restarted, Err(AdminError::Superseded { name: "a".to_owned() }));
    assert_eq!(stopped, Ok(()));
}
