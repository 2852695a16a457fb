use proptest::prelude::*;

use super::*;
use crate::tests::s;
use Priority::{High, Low, Normal};

const ZERO: Duration = Duration::ZERO;
const SECOND: Duration = s(1);
const AGE: Duration = s(5);

fn item(id: u64, priority: Priority, queued_at: Duration) -> QueueItem<()> {
    QueueItem { id: RequestId(id), priority, queued_at, deadline: None, payload: () }
}

fn priority_queue(queue_max: usize, overflow: Overflow) -> PriorityQueue<()> {
    PriorityQueue::new(PriorityQueuePolicy { queue_max, overflow, age_after: AGE })
}

fn enqueue(lanes: &mut PriorityQueue<()>, item: QueueItem<()>, now: Duration) {
    assert_eq!(lanes.push(item, now), PushOutcome::Queued);
}

/// Pops everything that may run at `now`, and returns the ids.
fn run_all(lanes: &mut PriorityQueue<()>, now: Duration) -> Vec<u64> {
    std::iter::from_fn(|| match lanes.pop(now)? {
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

/// Fills the queue with high priority; one request is served per second, and each time another of high priority
/// comes.
#[test]
fn low_item_starts_within_the_bound_under_high_load() {
    let queue_max = 50;
    let mut lanes = priority_queue(queue_max, Overflow::Reject);
    let mut ids = 1..;
    let mut arrive = |lanes: &mut PriorityQueue<()>, priority, now| {
        enqueue(lanes, item(ids.next().unwrap(), priority, now), now);
    };
    for _ in 1..queue_max {
        arrive(&mut lanes, High, ZERO);
    }
    arrive(&mut lanes, Low, ZERO);

    let bound = AGE * 2 + SECOND * u32::try_from(queue_max).unwrap();
    let mut now = ZERO;
    while let Some(PopOutcome::Ready(next)) = lanes.pop(now)
        && next.priority == High
    {
        now += SECOND;
        assert!(now <= bound, "not started within {bound:?}");
        arrive(&mut lanes, High, now);
    }
    // Every older one went first, so the bound was tight.
    assert_eq!(now, SECOND * u32::try_from(queue_max - 1).unwrap());
}

#[test]
fn delayed_item_counts_expires_cancels_and_is_not_evicted() {
    for overflow in [Overflow::Reject, Overflow::DropOldest, Overflow::DropLowest] {
        let mut lanes = priority_queue(1, overflow);
        let mut parked = item(1, Low, ZERO);
        parked.deadline = Some(SECOND);
        assert_eq!(lanes.requeue(parked.clone(), AGE), None);
        let newcomer = item(2, High, ZERO);
        assert_eq!(lanes.push(newcomer.clone(), ZERO), PushOutcome::Rejected(newcomer));
        assert_eq!(lanes.expire(SECOND), [parked.clone()]);
        assert_eq!(lanes.requeue(parked.clone(), AGE), None);
        assert_eq!(lanes.cancel(RequestId(1)), Some(parked));
        let expected = (0, 0, None, None);
        assert_eq!((lanes.len(), lanes.delayed(), lanes.next_due(), lanes.next_deadline()), expected);
    }
}

#[test]
fn an_id_waits_only_once() {
    let mut lanes = priority_queue(10, Overflow::Reject);
    let one = item(1, Low, ZERO);
    enqueue(&mut lanes, one.clone(), ZERO);
    assert_eq!(lanes.push(one.clone(), ZERO), PushOutcome::Duplicate(one.clone()));
    assert_eq!(lanes.requeue(one.clone(), SECOND), Some(one));
    assert_eq!(lanes.len(), 1);
}

#[test]
fn the_policy_is_written_as_in_the_config() {
    let written = [Overflow::Reject, Overflow::DropOldest, Overflow::DropLowest]
        .map(|overflow| serde_json::to_value(overflow).unwrap());
    assert_eq!(written, ["reject", "drop-oldest", "drop-lowest"]);
}

#[test]
fn a_hundred_thousand_wait_and_come_out_each_once_in_order() {
    let count = 100_000;
    let mut lanes = priority_queue(count as usize, Overflow::Reject);
    for id in 0..count {
        let priority = Priority::ALL[usize::try_from(id % 3).unwrap()];
        enqueue(&mut lanes, item(id, priority, ZERO), ZERO);
    }
    let more = item(count, High, ZERO);
    assert!(matches!(lanes.push(more, ZERO), PushOutcome::Rejected(_)));
    for id in (0..count).step_by(10) {
        assert_eq!(lanes.cancel(RequestId(id)).unwrap().id.0, id);
    }
    let out = run_all(&mut lanes, ZERO);
    let expected: Vec<u64> =
        (0..3).flat_map(|lane| (lane..count).step_by(3).filter(|id| id % 10 != 0)).collect();
    assert_eq!(out, expected);
    assert!(
        lanes.entries.is_empty() && lanes.deadlines.is_empty() && lanes.ready.iter().all(BTreeSet::is_empty)
    );
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

    fn pop(&mut self, now: Duration) -> Option<PopOutcome<()>> {
        if let Some(expired) = self.expire_one(now) {
            return Some(PopOutcome::Expired(expired));
        }
        let next = self.ready(now).map(|entry| self.rank(entry, now)).min()?;
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
    Push { priority: Priority, wait: Option<u64> },
    Pop,
    PutBack { after: u64 },
    Cancel { id: u64 },
    Expire,
    Pass { seconds: u64 },
}

fn queue_op() -> impl Strategy<Value = QueueOp> {
    let priority = prop::sample::select(Priority::ALL.to_vec());
    prop_oneof![
        6 => (priority, prop::option::of(0..12_u64)).prop_map(|(priority, wait)| QueueOp::Push { priority, wait }),
        4 => Just(QueueOp::Pop),
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
        for act in acts {
            match act {
                QueueOp::Push { priority, wait } => {
                    let mut entry = item(ids.next().unwrap(), priority, now);
                    entry.deadline = wait.map(|wait| now + s(wait));
                    prop_assert_eq!(lanes.push(entry.clone(), now), model.push(entry, now));
                }
                QueueOp::Pop => {
                    let popped = lanes.pop(now);
                    prop_assert_eq!(&popped, &model.pop(now));
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
            let held = lanes.delayed() + lanes.ready.iter().map(BTreeSet::len).sum::<usize>();
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
    }
}
