//! Tests a panic of a runtime's actor: it restarts with its queue, and every caller gets its answer.
//!
//! Fault injection exists in debug builds only.

#![cfg(debug_assertions)]

mod support;

use mainstay::ConnectionState;
use mainstay::Mainstay;
use mainstay::backend::{Backend, BackendOptions};
use mainstay::config::Config;
use support::{TEST_TIMEOUT, next_record, start_demo};
use tokio::time::timeout;

async fn start_against(backend: &Backend, more: &str) -> Mainstay {
    let text = format!("[backend]\nurl = \"{}\"\n[connection]\ndelay_min = \"10ms\"\n{more}", backend.url());
    Mainstay::builder().config(Config::from_toml(&text).unwrap()).start().await.unwrap()
}

#[tokio::test]
async fn panicked_actor_is_restarted_alone() {
    let backend = Backend::bind(BackendOptions::default()).await.unwrap();
    let mainstay =
        start_against(&backend, "[agents]\nrestart_delay = \"10ms\"\n[[agent]]\nid = \"planner\"").await;
    let actors = [
        ("connection", "root/connection"),
        ("queue", "root/queue"),
        ("cache", "root/cache"),
        ("planner", "root/agents/planner"),
    ];
    let mut events = mainstay.events();
    for (count, (name, path)) in actors.iter().enumerate() {
        mainstay.inject_panic(name).await.unwrap();
        next_record(&mut events, |event| event.actor == *path && event.kind == "actor_restarted").await;
        let tree = mainstay.tree();
        let generation = |path: &str| tree.find(path).unwrap().info.generation;
        for (at, (_, path)) in actors.iter().enumerate() {
            assert_eq!(generation(path), if at <= count { 2 } else { 1 }, "{path} after {name}");
        }
    }
    let mut link = mainstay.connection().watch();
    let connected = link.wait_for(|link| link.state == ConnectionState::Connected);
    timeout(TEST_TIMEOUT, connected).await.expect("the link came back").unwrap();
    mainstay.shutdown().await;
    backend.stop().await;
}

#[tokio::test]
async fn injected_panic_is_journalled_with_message_and_location() {
    let data = tempfile::tempdir().unwrap();
    let _demo = start_demo(data.path(), "1").await;
    let mut events = support::EventFollower::follow(data.path());
    events.wait_for_event("root", "actor_ready").await;
    assert_eq!(support::run(data.path(), &["panic", "cache"]).await.code, Some(0));
    let exited = events.wait_for_event("root/cache", "actor_exited").await;
    assert_eq!(exited["cause"].as_str(), Some("panic"));
    assert_eq!(exited["message"].as_str(), Some("injected panic"));
    assert!(exited["location"].as_str().unwrap().contains("actor/slot/incarnation.rs:"), "{exited}");
    events.wait_for_event("root/cache", "actor_restarted").await;
}
