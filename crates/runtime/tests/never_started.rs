//! Tests actors that never start: their callers get `Stopped`, and the journal records their messages as dead letters.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, poll};
use mainstay_runtime::journal::{Cursor, Delivery, Journal, JournalOptions};
use mainstay_runtime::policy::SupervisorPolicy;
use mainstay_runtime::{Promise, SendError, clock::SystemClock};

use crate::*;

/// `mid[first, late[kid, deep[leaf]]]`: `first` decides whether the others ever start.
struct UnstartedTree {
    mid: SupervisorSpec,
    below: ActorsBelow,
}

/// Addresses of actors that never start, made before the start.
struct ActorsBelow {
    kid: Address<ProbeMessage>,
    leaf: Address<ProbeMessage>,
    late: SupervisorHandle,
    deep: SupervisorHandle,
}

impl UnstartedTree {
    fn new(first: TestProbe, as_child: ChildPolicy) -> Self {
        let mut deep = SupervisorSpec::new("deep");
        let leaf = deep.child(Child::new("leaf", TestProbe::default()).policy(immediate_policy())).unwrap();
        let mut late = SupervisorSpec::new("late");
        let kid = Child::new("kid", TestProbe::default()).policy(immediate_policy()).mailbox_capacity(2);
        let kid = late.child(kid).unwrap();
        let deep = late.supervisor(deep).unwrap();
        let mut mid = SupervisorSpec::new("mid").as_child(as_child);
        mid.child(Child::new("first", first).policy(immediate_policy())).unwrap();
        let late = mid.supervisor(late).unwrap();
        Self { mid, below: ActorsBelow { kid, leaf, late, deep } }
    }

    fn healthy() -> Self {
        Self::new(TestProbe::default(), immediate_policy())
    }

    fn failing() -> Self {
        Self::new(TestProbe::failing_start(), immediate_policy())
    }

    fn hanging(as_child: ChildPolicy) -> Self {
        let (first, switch) = TestProbe::hanging_start();
        switch.arm();
        Self::new(first, as_child)
    }

    /// Sends messages to actors that have not started, runs `end` on the supervisor above them, and checks that
    /// every caller gets its answer. What `end` returns is kept meanwhile.
    async fn check<T>(
        self,
        scene: &str,
        above: Option<&str>,
        end: impl AsyncFnOnce(SupervisorSpec, Journal) -> T,
    ) {
        let journal = Journal::in_memory("never", Arc::new(SystemClock), JournalOptions::default());
        let early = self.below.send_early().await;
        let _kept = end(self.mid, journal.clone()).await;
        self.below.check_stopped(scene, early).await;
        if let Some(above) = above {
            self.below.check_recorded(scene, &journal, above).await;
        }
    }
}

/// The calls and casts made before the start failed.
struct Early {
    call: BoxFuture<'static, Result<i64, CallError>>,
    /// A sender that waits for room in a mailbox of two messages.
    cast: BoxFuture<'static, Result<(), SendError<ProbeMessage>>>,
    to_leaf: Promise<i64>,
    command: BoxFuture<'static, Result<(), AdminError>>,
}

impl ActorsBelow {
    /// Leaves messages in all mailboxes, and a sender at one that is full.
    async fn send_early(&self) -> Early {
        let (kid, other, deep) = (self.kid.clone(), self.kid.clone(), self.deep.clone());
        let mut call = async move { kid.call(ProbeMessage::Get).await }.boxed();
        assert!(poll!(&mut call).is_pending());
        self.kid.cast(ProbeMessage::Add(1)).await.unwrap();
        let mut cast = async move { other.cast(ProbeMessage::Add(2)).await }.boxed();
        assert!(poll!(&mut cast).is_pending(), "the mailbox holds two messages");
        let (reply, to_leaf) = Reply::channel();
        self.leaf.try_cast(ProbeMessage::Get(reply)).unwrap();
        let mut command = async move { deep.stop("leaf").await }.boxed();
        assert!(poll!(&mut command).is_pending());
        Early { call, cast, to_leaf, command }
    }

    /// Checks that early calls have their answer, and that later calls get theirs at once.
    async fn check_stopped(&self, scene: &str, early: Early) {
        let all_stopped = async {
            assert_eq!(early.call.await, Err(CallError::Stopped), "{scene}");
            assert_eq!(early.cast.await.unwrap_err().kind, SendErrorKind::Stopped, "{scene}");
            assert_eq!(early.to_leaf.await, Err(CallError::Stopped), "{scene}");
            let unavailable = Err(AdminError::Unavailable(CallError::Stopped));
            assert_eq!(early.command.await, unavailable, "{scene}");
            for one in [&self.kid, &self.leaf] {
                assert_eq!(sum(one).await, Err(CallError::Stopped), "{scene}");
                assert_eq!(
                    one.call_within(s(60), ProbeMessage::Get).await,
                    Err(CallError::Stopped),
                    "{scene}"
                );
                let refused = one.cast(ProbeMessage::Add(1)).await.unwrap_err();
                assert_eq!(refused.kind, SendErrorKind::Stopped, "{scene}");
                let refused = one.try_cast(ProbeMessage::Add(1)).unwrap_err();
                assert_eq!(refused.kind, SendErrorKind::Stopped, "{scene}");
            }
            for one in [&self.late, &self.deep] {
                assert_eq!(one.stop("kid").await, unavailable, "{scene}");
            }
        };
        let now = tokio::time::Instant::now();
        let answered = tokio::time::timeout(s(3600), all_stopped).await;
        assert!(answered.is_ok(), "{scene}: a caller never gets an answer");
        assert_eq!(now.elapsed(), Duration::ZERO, "{scene}: an answer had to be waited for");
    }

    /// Checks that the journal names each message that waited.
    async fn check_recorded(&self, scene: &str, journal: &Journal, above: &str) {
        let mut found = dead_letters(journal).await;
        found.sort();
        let of = |actor: &str, label: &str| (format!("{above}/late/{actor}"), label.to_owned());
        let expected = [of("deep", "Admin"), of("deep/leaf", "Get"), of("kid", "Add"), of("kid", "Get")];
        assert_eq!(found, expected, "{scene}");
        for one in [&self.kid, &self.leaf] {
            assert_eq!(one.info(Duration::ZERO).status, ActorStatus::Stopped, "{scene}");
        }
    }
}

/// Returns path and label of each message that was lost to a stop.
async fn dead_letters(journal: &Journal) -> Vec<(String, String)> {
    let mut events = journal.subscribe_after(Cursor::START);
    let mut found = Vec::new();
    while let Some(delivery) = events.try_next().await {
        let Delivery::Event(record) = delivery else { panic!("events are missing") };
        if record.kind == "dead_letter" {
            assert_eq!(record.fields["reason"], "stopped");
            found.push((record.actor.to_string(), record.fields["label"].as_str().unwrap().to_owned()));
        }
    }
    found
}

async fn running(journal: Journal) -> Runtime {
    Runtime::builder().seed(1).journal(journal).start(SupervisorSpec::new("root")).await.unwrap()
}

async fn fail_to_start(root: SupervisorSpec, journal: Journal) {
    assert!(Runtime::builder().journal(journal).start(root).await.is_err(), "it came up");
}

#[tokio::test(start_paused = true)]
async fn runtime_start_that_fails_stops_all_below() {
    UnstartedTree::failing().check("its first child fails", Some("mid"), fail_to_start).await;
    let nested = async |mid, journal| {
        let mut root = SupervisorSpec::new("root");
        let handle = root.supervisor(mid).unwrap();
        fail_to_start(root, journal).await;
        handle
    };
    UnstartedTree::failing().check("a nested child fails", Some("root/mid"), nested).await;
    let sibling = async |mid, journal| {
        let mut root = SupervisorSpec::new("root");
        root.child(Child::new("broken", TestProbe::failing_start()).policy(immediate_policy())).unwrap();
        let handle = root.supervisor(mid).unwrap();
        fail_to_start(root, journal).await;
        assert_eq!(handle.stop("first").await, Err(AdminError::Unavailable(CallError::Stopped)));
    };
    UnstartedTree::healthy().check("a sibling fails first", Some("root/mid"), sibling).await;
    let given_up = async |mid, journal| {
        let starting = Runtime::builder().journal(journal).start(mid);
        assert!(tokio::time::timeout(s(5), starting).await.is_err(), "it came up");
    };
    UnstartedTree::hanging(immediate_policy()).check("the start is dropped", Some("mid"), given_up).await;
}

/// Adds a supervisor whose first child hangs in its start, and then runs `act`.
async fn check_hanging(
    scene: &str,
    as_child: ChildPolicy,
    act: impl AsyncFnOnce(Runtime) -> Option<Runtime>,
) {
    let end = async |mid, journal| {
        let runtime = running(journal).await;
        let root = runtime.root().clone();
        let mut adding = std::pin::pin!(root.add_supervisor(mid));
        assert!(
            tokio::time::timeout(Duration::from_millis(1), &mut adding).await.is_err(),
            "{scene}: it came up"
        );
        let kept = act(runtime).await;
        assert!(adding.await.is_err(), "{scene}: it came up");
        kept
    };
    UnstartedTree::hanging(as_child).check(scene, Some("root/mid"), end).await;
}

#[tokio::test(start_paused = true)]
async fn added_supervisor_that_never_starts_stops_all_below() {
    let fails = async |mid, journal| {
        let runtime = running(journal).await;
        assert!(matches!(runtime.root().add_supervisor(mid).await, Err(AdminError::StartFailed { .. })));
        runtime
    };
    UnstartedTree::failing().check("its start fails", Some("root/mid"), fails).await;
    let stop = async |runtime: Runtime| {
        runtime.root().stop("mid").await.unwrap();
        Some(runtime)
    };
    check_hanging("stopped in its start", immediate_policy(), stop).await;
    let killed = ChildPolicy { shutdown: Shutdown::Kill, ..immediate_policy() };
    check_hanging("killed in its start", killed, stop).await;
    check_hanging("removed in its start", immediate_policy(), async |runtime| {
        runtime.root().remove("mid").await.unwrap();
        Some(runtime)
    })
    .await;
    check_hanging("the runtime shuts down", immediate_policy(), async |runtime| {
        assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal);
        Some(runtime)
    })
    .await;
    check_hanging("the runtime is dropped", immediate_policy(), async |_| None).await;
}

#[tokio::test(start_paused = true)]
async fn child_stopped_before_its_turn_stops_all_below() {
    let stop = async |mid, journal| {
        let runtime = running(journal).await;
        let mut outer = SupervisorSpec::new("outer");
        let inner = outer.supervisor(mid).unwrap();
        let root = runtime.root().clone();
        let mut adding = async move { root.add_supervisor(outer).await.map(drop) }.boxed();
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut adding).await.is_err(), "it came up");
        inner.stop("late").await.unwrap();
        (runtime, adding)
    };
    let family = UnstartedTree::hanging(immediate_policy());
    family.check("stopped before its turn", Some("root/outer/mid"), stop).await;
}

#[tokio::test(start_paused = true)]
async fn added_supervisor_that_is_refused_stops_all_below() {
    let name_is_taken = async |mid, journal| {
        let runtime = running(journal).await;
        runtime.root().add_supervisor(SupervisorSpec::new("mid")).await.unwrap();
        assert!(matches!(runtime.root().add_supervisor(mid).await, Err(AdminError::AlreadyRunning { .. })));
        runtime
    };
    UnstartedTree::healthy().check("its name is taken", Some("root/mid"), name_is_taken).await;
    let invalid = async |mid, journal| {
        let runtime = running(journal).await;
        assert!(matches!(runtime.root().add_supervisor(mid).await, Err(AdminError::Spec(_))));
        runtime
    };
    let significant =
        ChildPolicy { significant: true, restart: RestartType::Transient, ..immediate_policy() };
    UnstartedTree::new(TestProbe::default(), significant)
        .check("its policy is invalid", Some("root/mid"), invalid)
        .await;
    let parent_stopped = async |mid, journal| {
        let runtime = running(journal).await;
        runtime.shutdown().await;
        assert!(runtime.root().add_supervisor(mid).await.is_err());
        runtime
    };
    UnstartedTree::healthy().check("its parent has stopped", None, parent_stopped).await;
}

#[tokio::test(start_paused = true)]
async fn spec_that_is_dropped_or_refused_stops_all_below() {
    UnstartedTree::healthy().check("dropped", None, async |mid, _| drop(mid)).await;
    let refused = async |mid, _| {
        let mut dynamic = SupervisorSpec::dynamic("pool");
        dynamic.supervisor(mid).unwrap();
        assert!(Runtime::builder().start(dynamic).await.is_err(), "an initial child of a dynamic supervisor");
    };
    UnstartedTree::healthy().check("refused", None, refused).await;
}

/// The children of a supervisor that fails to restart keep their messages until it gives up.
#[tokio::test(start_paused = true)]
async fn restart_that_fails_stops_all_below_when_given_up() {
    let (first, switch) = TestProbe::hanging_start();
    let as_child = ChildPolicy { delay: Delay::Fixed { delay: s(5) }, ..immediate_policy() };
    let UnstartedTree { mid, below } = UnstartedTree::new(first, as_child);
    let mut root = SupervisorSpec::new("root");
    let intensity = Some(Budget { restarts_max: 0, window: s(10) });
    root.supervisor(mid.policy(SupervisorPolicy { intensity, ..SupervisorPolicy::default() })).unwrap();
    let runtime = Runtime::builder().seed(1).start(root).await.unwrap();
    let root = runtime.root();
    assert_eq!(sum(&below.kid).await, Ok(0));
    below.kid.cast(ProbeMessage::Add(3)).await.unwrap();
    root.stop("mid").await.unwrap();
    assert_eq!(sum(&below.kid).await, Err(CallError::Stopped));
    switch.arm();
    let mut starting = std::pin::pin!(root.start("mid"));
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut starting).await.is_err(), "it came up");
    assert_eq!(sum(&below.kid).await, Err(CallError::Stopped), "it is not its turn");
    root.stop("mid").await.unwrap();
    assert!(starting.await.is_err());
    assert_eq!(sum(&below.leaf).await, Err(CallError::Stopped));
    root.start("mid").await.unwrap();
    assert_eq!(sum(&below.kid).await, Ok(3), "its state was lost");
    assert_eq!(sum(&below.leaf).await, Ok(0));
}
