//! Tests actors that never start: their callers get `Stopped`, and their messages are dead found.

use mainstay_runtime::journal::{Journal, JournalOptions};
use mainstay_runtime::policy::SupervisorPolicy;
use mainstay_runtime::{Promise, SendError, SendErrorKind, clock::SystemClock};

use crate::probe::{HangSwitch, settle};
use crate::*;

/// `mid[first, late[kid, deep[leaf]]]`: `first` decides whether the others ever start.
struct Family {
    mid: SupervisorSpec,
    kin: Kin,
}

/// Addresses of actors that never start, made before the start.
struct Kin {
    kid: Address<ProbeMessage>,
    leaf: Address<ProbeMessage>,
    late: SupervisorHandle,
    deep: SupervisorHandle,
}

impl Family {
    fn of(first: Probe, as_child: ChildPolicy) -> Self {
        let mut deep = SupervisorSpec::new("deep");
        let leaf = deep.child(Child::new("leaf", Probe::default()).policy(immediate_policy())).unwrap();
        let mut late = SupervisorSpec::new("late");
        let kid = Child::new("kid", Probe::default()).policy(immediate_policy()).mailbox_capacity(2);
        let kid = late.child(kid).unwrap();
        let deep = late.supervisor(deep).unwrap();
        let mut mid = SupervisorSpec::new("mid").as_child(as_child);
        mid.child(Child::new("first", first).policy(immediate_policy())).unwrap();
        let late = mid.supervisor(late).unwrap();
        Self { mid, kin: Kin { kid, leaf, late, deep } }
    }

    fn that_fails() -> Self {
        Self::of(Probe::failing_start(), immediate_policy())
    }

    fn that_hangs(as_child: ChildPolicy) -> Self {
        let (first, fuse): (Probe, HangSwitch) = Probe::hanging_start();
        fuse.arm();
        Self::of(first, as_child)
    }
}

/// The calls and casts made before the start failed.
struct Early {
    call: tokio::task::JoinHandle<Result<i64, CallError>>,
    /// A sender that waits for room in a mailbox of two messages.
    cast: tokio::task::JoinHandle<Result<(), SendError<ProbeMessage>>>,
    to_leaf: Promise<i64>,
    order: tokio::task::JoinHandle<Result<(), AdminError>>,
}

impl Kin {
    /// Leaves messages in all mailboxes, and a sender at one that is full.
    async fn send_early(&self) -> Early {
        let (kid, other) = (self.kid.clone(), self.kid.clone());
        let call = tokio::spawn(async move { kid.call(ProbeMessage::Get).await });
        settle().await;
        self.kid.cast(ProbeMessage::Add(1)).await.unwrap();
        let cast = tokio::spawn(async move { other.cast(ProbeMessage::Add(2)).await });
        let (reply, to_leaf) = Reply::channel();
        self.leaf.try_cast(ProbeMessage::Get(reply)).unwrap();
        let deep = self.deep.clone();
        let order = tokio::spawn(async move { deep.stop("leaf").await });
        settle().await;
        Early { call, cast, to_leaf, order }
    }

    /// Checks that early calls have their answer, and that later calls get theirs at once.
    async fn check_stopped(&self, early: Early) {
        let all_stopped = async {
            assert_eq!(early.call.await.unwrap(), Err(CallError::Stopped));
            assert_eq!(early.cast.await.unwrap().unwrap_err().kind, SendErrorKind::Stopped);
            assert_eq!(early.to_leaf.await, Err(CallError::Stopped));
            let unavailable = AdminError::Unavailable(CallError::Stopped);
            assert_eq!(early.order.await.unwrap(), Err(unavailable.clone()));
            for one in [&self.kid, &self.leaf] {
                assert_eq!(one.call(ProbeMessage::Get).await, Err(CallError::Stopped));
                assert_eq!(one.call_within(s(60), ProbeMessage::Get).await, Err(CallError::Stopped));
                assert_eq!(one.cast(ProbeMessage::Add(1)).await.unwrap_err().kind, SendErrorKind::Stopped);
                assert_eq!(one.try_cast(ProbeMessage::Add(1)).unwrap_err().kind, SendErrorKind::Stopped);
            }
            for one in [&self.late, &self.deep] {
                assert_eq!(one.stop("kid").await, Err(unavailable.clone()));
            }
        };
        let now = tokio::time::Instant::now();
        if tokio::time::timeout(s(3600), all_stopped).await.is_err() {
            panic!("a caller never gets an answer");
        }
        assert_eq!(now.elapsed(), Duration::ZERO, "an answer had to be waited for");
    }

    /// Checks the same, and that the journal names each message that waited.
    async fn check_stopped_and_recorded(&self, early: Early, journal: &Journal, above: &str) {
        self.check_stopped(early).await;
        let mut found = dead_letters(journal).await;
        found.sort();
        let of = |actor: &str, label: &str| (format!("{above}/late/{actor}"), label.to_owned());
        assert_eq!(found, [of("deep", "Stop"), of("deep/leaf", "Get"), of("kid", "Add"), of("kid", "Get")]);
        for one in [&self.kid, &self.leaf] {
            assert_eq!(one.info(Duration::ZERO).status, ActorStatus::Stopped);
        }
    }
}

/// Returns path and label of each message that was lost to a stop.
async fn dead_letters(journal: &Journal) -> Vec<(String, String)> {
    let mut events = journal.subscribe_after(mainstay_runtime::journal::Cursor::START);
    let mut found = Vec::new();
    while let Some(delivery) = events.try_next().await {
        let mainstay_runtime::journal::Delivery::Event(record) = delivery else {
            panic!("events are missing")
        };
        if record.kind == "dead_letter" {
            assert_eq!(record.fields["reason"], "stopped");
            found.push((record.actor.to_string(), record.fields["label"].as_str().unwrap().to_owned()));
        }
    }
    found
}

async fn running() -> Runtime {
    Runtime::builder().seed(1).start(SupervisorSpec::new("root")).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_runtime_whose_first_child_fails_stops_all_below() {
    let Family { mid, kin } = Family::that_fails();
    let early = kin.send_early().await;
    let journal = Journal::in_memory("never", std::sync::Arc::new(SystemClock), JournalOptions::default());
    assert!(Runtime::builder().journal(journal.clone()).start(mid).await.is_err());
    kin.check_stopped_and_recorded(early, &journal, "mid").await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_whose_nested_child_fails_stops_all_below() {
    let Family { mid, kin } = Family::that_fails();
    let mut root = SupervisorSpec::new("root");
    let handle = root.supervisor(mid).unwrap();
    let early = kin.send_early().await;
    let journal = Journal::in_memory("never", std::sync::Arc::new(SystemClock), JournalOptions::default());
    assert!(Runtime::builder().journal(journal.clone()).start(root).await.is_err());
    kin.check_stopped_and_recorded(early, &journal, "root/mid").await;
    drop(handle);
}

#[tokio::test(start_paused = true)]
async fn a_runtime_whose_sibling_fails_stops_a_supervisor_that_never_started() {
    let Family { mid, kin } = Family::of(Probe::default(), immediate_policy());
    let mut root = SupervisorSpec::new("root");
    root.child(Child::new("broken", Probe::failing_start()).policy(immediate_policy())).unwrap();
    let handle = root.supervisor(mid).unwrap();
    let early = kin.send_early().await;
    let journal = Journal::in_memory("never", std::sync::Arc::new(SystemClock), JournalOptions::default());
    assert!(Runtime::builder().journal(journal.clone()).start(root).await.is_err());
    kin.check_stopped_and_recorded(early, &journal, "root/mid").await;
    assert_eq!(handle.stop("first").await, Err(AdminError::Unavailable(CallError::Stopped)));
}

#[tokio::test(start_paused = true)]
async fn a_start_of_a_runtime_that_is_given_up_stops_all_below() {
    let Family { mid, kin } = Family::that_hangs(immediate_policy());
    let early = kin.send_early().await;
    let journal = Journal::in_memory("never", std::sync::Arc::new(SystemClock), JournalOptions::default());
    let starting = Runtime::builder().journal(journal.clone()).start(mid);
    assert!(tokio::time::timeout(s(5), starting).await.is_err(), "it came up");
    kin.check_stopped_and_recorded(early, &journal, "mid").await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_added_and_fails_to_start_stops_all_below() {
    let runtime = running().await;
    let Family { mid, kin } = Family::that_fails();
    let early = kin.send_early().await;
    assert!(matches!(runtime.root().add_supervisor(mid).await, Err(AdminError::StartFailed { .. })));
    kin.check_stopped_and_recorded(early, runtime.journal(), "root/mid").await;
}

/// Adds a supervisor whose first child hangs in its start, and then runs `act`.
async fn while_it_hangs(as_child: ChildPolicy, act: impl AsyncFnOnce(&Runtime)) {
    let runtime = running().await;
    let Family { mid, kin } = Family::that_hangs(as_child);
    let early = kin.send_early().await;
    let root = runtime.root().clone();
    let adding = tokio::spawn(async move { root.add_supervisor(mid).await.map(drop) });
    settle().await;
    act(&runtime).await;
    assert!(adding.await.unwrap().is_err(), "it came up");
    kin.check_stopped_and_recorded(early, runtime.journal(), "root/mid").await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_stopped_in_its_start_stops_all_below() {
    while_it_hangs(immediate_policy(), async |runtime| runtime.root().stop("mid").await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_removed_in_its_start_stops_all_below() {
    while_it_hangs(immediate_policy(), async |runtime| runtime.root().remove("mid").await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_killed_in_its_start_stops_all_below() {
    let killed = ChildPolicy { shutdown: Shutdown::Kill, ..immediate_policy() };
    while_it_hangs(killed, async |runtime| runtime.root().stop("mid").await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_of_the_runtime_stops_all_below_a_start_that_hangs() {
    while_it_hangs(immediate_policy(), async |runtime| {
        assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_stopped_before_its_turn_stops_all_below() {
    let runtime = running().await;
    let Family { mid, kin } = Family::that_hangs(immediate_policy());
    let early = kin.send_early().await;
    let mut outer = SupervisorSpec::new("outer");
    let inner = outer.supervisor(mid).unwrap();
    let root = runtime.root().clone();
    let _adding = tokio::spawn(async move { root.add_supervisor(outer).await.map(drop) });
    settle().await;
    inner.stop("late").await.unwrap();
    kin.check_stopped_and_recorded(early, runtime.journal(), "root/outer/mid").await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_dropped_stops_all_below_a_start_that_hangs() {
    let runtime = running().await;
    let journal = runtime.journal().clone();
    let Family { mid, kin } = Family::that_hangs(immediate_policy());
    let early = kin.send_early().await;
    let root = runtime.root().clone();
    let adding = tokio::spawn(async move { root.add_supervisor(mid).await.map(drop) });
    settle().await;
    drop(runtime);
    assert!(adding.await.unwrap().is_err());
    kin.check_stopped_and_recorded(early, &journal, "root/mid").await;
}

/// Adds a supervisor that is refused: its name is taken, or its parent does not take it.
#[tokio::test(start_paused = true)]
async fn a_supervisor_whose_name_is_taken_stops_all_below() {
    let runtime = running().await;
    runtime.root().add_supervisor(SupervisorSpec::new("mid")).await.unwrap();
    let Family { mid, kin } = Family::of(Probe::default(), immediate_policy());
    let early = kin.send_early().await;
    assert!(matches!(runtime.root().add_supervisor(mid).await, Err(AdminError::AlreadyRunning { .. })));
    kin.check_stopped_and_recorded(early, runtime.journal(), "root/mid").await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_its_parent_cannot_have_stops_all_below() {
    let runtime = running().await;
    let significant =
        ChildPolicy { significant: true, restart: RestartType::Transient, ..immediate_policy() };
    let Family { mid, kin } = Family::of(Probe::default(), significant);
    let early = kin.send_early().await;
    assert!(matches!(runtime.root().add_supervisor(mid).await, Err(AdminError::Spec(_))));
    kin.check_stopped_and_recorded(early, runtime.journal(), "root/mid").await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_a_stopped_parent_is_given_stops_all_below() {
    let runtime = running().await;
    runtime.shutdown().await;
    let Family { mid, kin } = Family::of(Probe::default(), immediate_policy());
    let early = kin.send_early().await;
    assert!(runtime.root().add_supervisor(mid).await.is_err());
    kin.check_stopped(early).await;
}

#[tokio::test(start_paused = true)]
async fn a_spec_that_is_dropped_or_refused_stops_all_below() {
    let Family { mid, kin } = Family::of(Probe::default(), immediate_policy());
    let early = kin.send_early().await;
    drop(mid);
    kin.check_stopped(early).await;
    let Family { mid, kin } = Family::of(Probe::default(), immediate_policy());
    let early = kin.send_early().await;
    let mut dynamic = SupervisorSpec::dynamic("pool");
    dynamic.supervisor(mid).unwrap();
    assert!(Runtime::builder().start(dynamic).await.is_err(), "an initial child of a dynamic supervisor");
    kin.check_stopped(early).await;
}

/// The children of a supervisor that fails to restart keep their messages until it gives up.
#[tokio::test(start_paused = true)]
async fn a_restart_that_fails_stops_all_below_when_it_is_given_up() {
    let (first, fuse) = Probe::hanging_start();
    let as_child = ChildPolicy { delay: Delay::Fixed { delay: s(5) }, ..immediate_policy() };
    let Family { mid, kin } = Family::of(first, as_child);
    let mut root = SupervisorSpec::new("root");
    let strict = SupervisorPolicy {
        intensity: Some(Budget { restarts_max: 0, window: s(10) }),
        ..SupervisorPolicy::default()
    };
    root.supervisor(mid.policy(strict)).unwrap();
    let runtime = Runtime::builder().seed(1).start(root).await.unwrap();
    assert_eq!(kin.kid.call(ProbeMessage::Get).await, Ok(0));
    kin.kid.cast(ProbeMessage::Add(3)).await.unwrap();
    runtime.root().stop("mid").await.unwrap();
    assert_eq!(kin.kid.call(ProbeMessage::Get).await, Err(CallError::Stopped));
    fuse.arm();
    let root = runtime.root().clone();
    let starting = tokio::spawn(async move { root.start("mid").await });
    settle().await;
    assert_eq!(kin.kid.call(ProbeMessage::Get).await, Err(CallError::Stopped), "it is not its turn");
    runtime.root().stop("mid").await.unwrap();
    assert!(starting.await.unwrap().is_err());
    assert_eq!(kin.leaf.call(ProbeMessage::Get).await, Err(CallError::Stopped));
    runtime.root().start("mid").await.unwrap();
    assert_eq!(kin.kid.call(ProbeMessage::Get).await, Ok(3), "its state was lost");
    assert_eq!(kin.leaf.call(ProbeMessage::Get).await, Ok(0));
}
