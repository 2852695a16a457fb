use proptest::prelude::*;

use super::super::{groups::GroupLimit, permits::Resource};
use super::*;
use crate::tests::s;
use Priority::{High, Low, Normal};

const ZERO: Duration = Duration::ZERO;
const SECOND: Duration = s(1);
const AGE: Duration = s(5);

fn item(id: u64, priority: Priority, queued_at: Duration) -> QueueItem<()> {
    QueueItem {
        id: RequestId(id),
        priority,
        queued_at,
        deadline: None,
        groups: GroupSet::default(),
        resource: Resource::default(),
        payload: (),
    }
}

fn priority_queue(queue_max: usize, overflow: Overflow) -> PriorityQueue<()> {
    PriorityQueue::new(PriorityQueuePolicy { queue_max, overflow, age_after: AGE })
}

fn enqueue(lanes: &mut PriorityQueue<()>, item: QueueItem<()>, now: Duration) {
    assert_eq!(lanes.push(item, now), PushOutcome::Queued);
}

/// Pops everything that may run at `now`, and returns the ids.
fn run_all(lanes: &mut PriorityQueue<()>, now: Duration) -> Vec<u64> {
    std::iter::from_fn(|| match lanes.pop(now, now, |_| true, &[])? {
        PopOutcome::Ready(entry) => Some(entry.id.0),
        PopOutcome::Expired(entry) => panic!("{entry:?} expired"),
    })
    .collect()
}

#[test]
fn item_moves_up_one_lane_per_age_after() {
    let just_before = |time: Duration| time.saturating_sub(Duration::from_nanos(1));
    for (waited, order) in [
        (just_before(AGE), [3, 2, 1]),
        (AGE, [3, 1, 2]),
        (just_before(AGE * 2), [3, 1, 2]),
        (AGE * 2, [1, 3, 2]),
    ] {
        let mut lanes = priority_queue(10, Overflow::Reject);
        let now = s(100);
        enqueue(&mut lanes, item(1, Low, now - waited), now);
        enqueue(&mut lanes, item(2, Normal, now), now);
        enqueue(&mut lanes, item(3, High, now), now);
        assert_eq!(run_all(&mut lanes, now), order, "after {waited:?}");
    }
}

#[test]
fn full_group_holds_its_own_items_alone_and_in_order() {
    let paths = ["/model/**", "/other/**"].map(|path| GroupLimit::new(path, 1).unwrap());
    let [model, other] = ["/model/a", "/other/a"].map(|path| GroupSet::of_path(&paths, path));
    let mut lanes = priority_queue(10, Overflow::Reject);
    let in_group = |id, priority, groups| QueueItem { groups, ..item(id, priority, ZERO) };
    for item in [
        in_group(1, Normal, model),
        in_group(2, High, model),
        in_group(3, Low, GroupSet::default()),
        in_group(4, Low, other),
    ] {
        enqueue(&mut lanes, item, ZERO);
    }
    let mut next = |open: &[GroupSet]| match lanes.pop(ZERO, ZERO, |groups| open.contains(&groups), &[]) {
        Some(PopOutcome::Ready(item)) => Some(item.id.0),
        _ => None,
    };
    let none = GroupSet::default();
    assert_eq!([next(&[none, other]), next(&[none, other]), next(&[none, other])], [Some(3), Some(4), None]);
    assert_eq!([next(&[model]), next(&[model]), next(&[model])], [Some(2), Some(1), None]);
    assert_eq!(lanes.next_ready(ZERO, |_| true, &[]), None);
}

#[test]
fn full_resource_holds_its_own_items_alone_and_in_order() {
    let [full, other] = ["/full", "/other"].map(Resource::of_path);
    let mut lanes = priority_queue(10, Overflow::Reject);
    for (id, priority, resource) in [(1, Normal, full), (2, High, full), (3, Low, other), (4, Normal, other)]
    {
        enqueue(&mut lanes, QueueItem { resource, ..item(id, priority, ZERO) }, ZERO);
    }
    let mut next = |full: &[Resource]| match lanes.pop(ZERO, ZERO, |_| true, full) {
        Some(PopOutcome::Ready(item)) => Some(item.id.0),
        _ => None,
    };
    assert_eq!([next(&[full]), next(&[full]), next(&[full])], [Some(4), Some(3), None]);
    assert_eq!([next(&[]), next(&[]), next(&[])], [Some(2), Some(1), None]);
    enqueue(&mut lanes, QueueItem { resource: full, ..item(5, High, ZERO) }, ZERO);
    assert_eq!(lanes.pop(ZERO, ZERO, |_| true, &[full]), None);
    assert_eq!(lanes.next_ready(ZERO, |_| true, &[full]), None, "a timer would never rest");
    assert_eq!(lanes.next_ready(ZERO, |_| true, &[]), Some(ZERO));
}

#[test]
fn ageing_can_be_turned_off_and_absurd_spans_do_not_overflow() {
    for age_after in [ZERO, Duration::MAX] {
        let mut lanes =
            PriorityQueue::new(PriorityQueuePolicy { age_after, ..PriorityQueuePolicy::default() });
        enqueue(&mut lanes, item(1, Low, ZERO), ZERO);
        let late = Duration::from_secs(1 << 40);
        enqueue(&mut lanes, item(2, High, late), late);
        assert_eq!(run_all(&mut lanes, late), [2, 1]);
    }
}

#[test]
fn id_waits_only_once() {
    let mut lanes = priority_queue(10, Overflow::Reject);
    let one = item(1, Low, ZERO);
    enqueue(&mut lanes, one.clone(), ZERO);
    assert_eq!(lanes.push(one.clone(), ZERO), PushOutcome::Duplicate(one.clone()));
    assert_eq!(lanes.requeue(one.clone(), SECOND), Some(one));
    assert_eq!(lanes.len(), 1);
}

#[test]
fn policy_is_written_as_in_the_config() {
    let written = [Overflow::Reject, Overflow::DropOldest, Overflow::DropLowest]
        .map(|overflow| serde_json::to_value(overflow).unwrap());
    assert_eq!(written, ["reject", "drop-oldest", "drop-lowest"]);
}

// === a naive model ===

/// A model that keeps the same promises by looking at every item each time.
struct NaiveModel {
    policy: PriorityQueuePolicy,
    entries: Vec<(QueueItem<()>, Option<Duration>)>,
}

impl NaiveModel {
    fn rank(&self, entry: &QueueItem<()>, now: Duration) -> Rank {
        let spans = now.saturating_sub(entry.queued_at).as_nanos() / self.policy.age_after.as_nanos();
        let arrived = Priority::ALL.iter().position(|priority| *priority == entry.priority).unwrap();
        (arrived.saturating_sub(usize::try_from(spans.min(2)).unwrap()), entry.id)
    }

    /// Returns the items that may run at `now`.
    fn ready(&self, now: Duration) -> impl Iterator<Item = &QueueItem<()>> {
        self.entries.iter().filter(move |(_, due)| due.is_none_or(|due| due <= now)).map(|(entry, _)| entry)
    }

    fn push(&mut self, entry: QueueItem<()>, now: Duration) -> PushOutcome<()> {
        if self.entries.len() < self.policy.queue_max {
            self.entries.push((entry, None));
            return PushOutcome::Queued;
        }
        let leaves = match self.policy.overflow {
            Overflow::Reject => None,
            Overflow::DropOldest => self.ready(now).map(|other| other.id).min(),
            Overflow::DropLowest => {
                let lowest = self.ready(now).map(|other| self.rank(other, now)).max();
                lowest.filter(|rank| *rank > self.rank(&entry, now)).map(|(_, id)| id)
            }
        };
        let Some(left) = leaves.and_then(|id| self.cancel(id)) else { return PushOutcome::Rejected(entry) };
        self.entries.push((entry, None));
        PushOutcome::Displaced(left)
    }

    fn pop(&mut self, now: Duration, full: &[Resource]) -> Option<PopOutcome<()>> {
        if let Some(expired) = self.expire_one(now) {
            return Some(PopOutcome::Expired(expired));
        }
        let open = self.ready(now).filter(|entry| !full.contains(&entry.resource));
        let next = open.map(|entry| self.rank(entry, now)).min()?;
        self.cancel(next.1).map(PopOutcome::Ready)
    }

    fn expire_one(&mut self, now: Duration) -> Option<QueueItem<()>> {
        let dead = |(entry, _): &(QueueItem<()>, _)| {
            Some((entry.deadline.filter(|deadline| *deadline <= now)?, entry.id))
        };
        let (_, id) = self.entries.iter().filter_map(dead).min()?;
        self.cancel(id)
    }

    fn cancel(&mut self, id: RequestId) -> Option<QueueItem<()>> {
        let at = self.entries.iter().position(|(entry, _)| entry.id == id)?;
        Some(self.entries.remove(at).0)
    }
}

#[derive(Debug, Clone)]
enum QueueOp {
    Push { priority: Priority, wait: Option<u64>, path: usize },
    Pop { full: Option<usize> },
    PutBack { after: u64 },
    Cancel { id: u64 },
    Expire,
    Pass { seconds: u64 },
}

fn queue_op() -> impl Strategy<Value = QueueOp> {
    let priority = prop::sample::select(Priority::ALL.to_vec());
    prop_oneof![
        6 => (priority, prop::option::of(0..12_u64), 0..3_usize)
            .prop_map(|(priority, wait, path)| QueueOp::Push { priority, wait, path }),
        4 => prop::option::of(0..3_usize).prop_map(|full| QueueOp::Pop { full }),
        2 => (0..8_u64).prop_map(|after| QueueOp::PutBack { after }),
        1 => (0..40_u64).prop_map(|id| QueueOp::Cancel { id }),
        1 => Just(QueueOp::Expire),
        3 => (0..4_u64).prop_map(|seconds| QueueOp::Pass { seconds }),
    ]
}

proptest! {
    #[test]
    fn priority_queue_matches_the_naive_model(
        queue_max in 1..6_usize,
        overflow in prop::sample::select(vec![Overflow::Reject, Overflow::DropOldest, Overflow::DropLowest]),
        acts in prop::collection::vec(queue_op(), 0..120),
    ) {
        let policy = PriorityQueuePolicy { queue_max, overflow, age_after: s(3) };
        let (mut lanes, mut model) = (PriorityQueue::new(policy), NaiveModel { policy, entries: Vec::new() });
        let (mut now, mut running, mut ids) = (ZERO, Vec::new(), 0..);
        let resources = ["/a", "/b", "/c"].map(Resource::of_path);
        for act in acts {
            match act {
                QueueOp::Push { priority, wait, path } => {
                    let mut entry = item(ids.next().unwrap(), priority, now);
                    entry.resource = resources[path];
                    entry.deadline = wait.map(|wait| now + s(wait));
                    prop_assert_eq!(lanes.push(entry.clone(), now), model.push(entry, now));
                }
                QueueOp::Pop { full } => {
                    let full = full.map(|path| resources[path]);
                    let popped = lanes.pop(now, now, |_| true, full.as_slice());
                    prop_assert_eq!(&popped, &model.pop(now, full.as_slice()));
                    if let Some(PopOutcome::Ready(entry)) = popped {
                        running.push(entry);
                    }
                }
                QueueOp::PutBack { after } => {
                    if let Some(entry) = running.pop() {
                        let due = now + s(after);
                        prop_assert_eq!(lanes.requeue(entry.clone(), due), None);
                        model.entries.push((entry, Some(due)));
                    }
                }
                QueueOp::Cancel { id } => {
                    prop_assert_eq!(lanes.cancel(RequestId(id)), model.cancel(RequestId(id)));
                }
                QueueOp::Expire => {
                    let expired: Vec<_> = std::iter::from_fn(|| model.expire_one(now)).collect();
                    prop_assert_eq!(lanes.expire(now), expired);
                }
                QueueOp::Pass { seconds } => now += s(seconds),
            }
            prop_assert_eq!(lanes.len(), model.entries.len());
            let deadline = model.entries.iter().filter_map(|(entry, _)| entry.deadline).min();
            prop_assert_eq!(lanes.next_deadline(), deadline);
            let held = lanes.delayed() + lanes.ready.values().flatten().map(BTreeSet::len).sum::<usize>();
            prop_assert_eq!(lanes.len(), held);
            for lane in Priority::ALL {
                let count = model.entries.iter().filter(|(entry, _)| entry.priority == lane).count();
                prop_assert_eq!(lanes.count(lane), count);
            }
        }
        for (entry, _) in model.entries {
            prop_assert_eq!(lanes.remove(entry.id), Some(entry));
        }
        prop_assert!(lanes.is_empty() && lanes.delayed() == 0 && lanes.next_deadline().is_none());
        prop_assert!(lanes.next_due().is_none());
    }
}
