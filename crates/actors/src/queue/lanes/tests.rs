use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const AGE: Duration = Duration::from_secs(5);

fn entry(id: u64, priority: Priority, queued_at: Duration) -> Entry<()> {
    Entry { id: RequestId(id), priority, queued_at, deadline: None, item: () }
}

fn lanes(queue_max: usize, overflow: Overflow) -> Lanes<()> {
    Lanes::new(LanesPolicy { queue_max, overflow, age_after: AGE })
}

/// Pops everything that may run at `now`, as ids.
fn run_all(lanes: &mut Lanes<()>, now: Duration) -> Vec<u64> {
    std::iter::from_fn(|| match lanes.pop(now)? {
        Popped::Ready(entry) => Some(entry.id.0),
        Popped::Expired(entry) => panic!("{entry:?} expired"),
    })
    .collect()
}

#[test]
fn high_goes_before_normal_before_low_and_equals_in_order_of_arrival() {
    let mut lanes = lanes(10, Overflow::Reject);
    let order =
        [Priority::Low, Priority::Normal, Priority::High, Priority::Low, Priority::Normal, Priority::High];
    for (id, priority) in (1..).zip(order) {
        assert_eq!(lanes.push(entry(id, priority, Duration::ZERO), Duration::ZERO), Pushed::Queued);
    }
    assert_eq!([2; 3], Priority::ALL.map(|priority| lanes.count(priority)));
    assert_eq!(run_all(&mut lanes, SECOND), [3, 6, 2, 5, 1, 4]);
    assert!(lanes.is_empty());
}

#[test]
fn an_entry_moves_up_one_lane_for_each_span_that_it_waited() {
    let first_at = |waited: Duration| {
        let mut lanes = lanes(10, Overflow::Reject);
        let now = Duration::from_secs(100);
        assert_eq!(lanes.push(entry(1, Priority::Low, now - waited), now), Pushed::Queued);
        assert_eq!(lanes.push(entry(2, Priority::Normal, now), now), Pushed::Queued);
        assert_eq!(lanes.push(entry(3, Priority::High, now), now), Pushed::Queued);
        run_all(&mut lanes, now)
    };
    let just_before = |time: Duration| time.saturating_sub(Duration::from_nanos(1));
    assert_eq!(first_at(just_before(AGE)), [3, 2, 1]);
    assert_eq!(first_at(AGE), [3, 1, 2]);
    assert_eq!(first_at(just_before(AGE * 2)), [3, 1, 2]);
    assert_eq!(first_at(AGE * 2), [1, 3, 2]);
}

#[test]
fn ageing_can_be_turned_off_and_absurd_spans_do_not_overflow() {
    for age_after in [Duration::ZERO, Duration::MAX] {
        let mut lanes = Lanes::new(LanesPolicy { age_after, ..LanesPolicy::default() });
        assert_eq!(lanes.push(entry(1, Priority::Low, Duration::ZERO), Duration::ZERO), Pushed::Queued);
        let late = Duration::from_secs(1 << 40);
        assert_eq!(lanes.push(entry(2, Priority::High, late), late), Pushed::Queued);
        assert_eq!(run_all(&mut lanes, late), [2, 1]);
    }
}

/// The line is full of high priority, one request is served per second, and each time another of high priority comes.
#[test]
fn under_steady_high_priority_a_low_one_starts_within_the_stated_bound() {
    let queue_max = 50;
    let mut lanes = lanes(queue_max, Overflow::Reject);
    let mut arrive = {
        let mut ids = 1..;
        move |lanes: &mut Lanes<()>, priority, now| {
            assert_eq!(lanes.push(entry(ids.next().unwrap(), priority, now), now), Pushed::Queued);
        }
    };
    for _ in 1..queue_max {
        arrive(&mut lanes, Priority::High, Duration::ZERO);
    }
    arrive(&mut lanes, Priority::Low, Duration::ZERO);

    let bound = AGE * 2 + SECOND * u32::try_from(queue_max).unwrap();
    let mut now = Duration::ZERO;
    while let Some(Popped::Ready(next)) = lanes.pop(now)
        && next.priority == Priority::High
    {
        now += SECOND;
        assert!(now <= bound, "not started within {bound:?}");
        arrive(&mut lanes, Priority::High, now);
    }
    // Every older one went first, so the bound was needed.
    assert_eq!(now, SECOND * u32::try_from(queue_max - 1).unwrap());
}

#[test]
fn a_full_line_rejects_the_newcomer() {
    let mut lanes = lanes(1, Overflow::Reject);
    assert_eq!(lanes.push(entry(1, Priority::Low, Duration::ZERO), SECOND), Pushed::Queued);
    let newcomer = entry(2, Priority::High, SECOND);
    assert_eq!(lanes.push(newcomer.clone(), SECOND), Pushed::Rejected(newcomer));
    assert_eq!(run_all(&mut lanes, SECOND), [1]);
}

#[test]
fn a_full_line_can_drop_the_oldest() {
    let mut lanes = lanes(2, Overflow::DropOldest);
    assert_eq!(lanes.push(entry(1, Priority::High, Duration::ZERO), SECOND), Pushed::Queued);
    assert_eq!(lanes.push(entry(2, Priority::Low, SECOND), SECOND), Pushed::Queued);
    let pushed = lanes.push(entry(3, Priority::Low, SECOND), SECOND);
    assert_eq!(pushed, Pushed::Displaced(entry(1, Priority::High, Duration::ZERO)));
    assert_eq!(run_all(&mut lanes, SECOND), [2, 3]);
}

#[test]
fn a_full_line_can_drop_the_newest_of_the_lowest_lane() {
    let mut lanes = lanes(3, Overflow::DropLowest);
    for (id, priority) in [(1, Priority::Low), (2, Priority::Low), (3, Priority::High)] {
        assert_eq!(lanes.push(entry(id, priority, SECOND), SECOND), Pushed::Queued);
    }
    let newcomer = entry(4, Priority::Low, SECOND);
    assert_eq!(lanes.push(newcomer.clone(), SECOND), Pushed::Rejected(newcomer));
    let pushed = lanes.push(entry(5, Priority::Normal, SECOND), SECOND);
    assert_eq!(pushed, Pushed::Displaced(entry(2, Priority::Low, SECOND)));
    assert_eq!(run_all(&mut lanes, SECOND), [3, 5, 1]);
}

#[test]
fn a_low_entry_that_has_aged_is_not_the_lowest_any_more() {
    let mut lanes = lanes(2, Overflow::DropLowest);
    assert_eq!(lanes.push(entry(1, Priority::Low, Duration::ZERO), Duration::ZERO), Pushed::Queued);
    assert_eq!(lanes.push(entry(2, Priority::Normal, AGE), AGE), Pushed::Queued);
    let pushed = lanes.push(entry(3, Priority::High, AGE), AGE);
    assert_eq!(pushed, Pushed::Displaced(entry(2, Priority::Normal, AGE)));
    assert_eq!(run_all(&mut lanes, AGE), [3, 1]);
}

#[test]
fn an_expired_entry_comes_out_as_expired_and_never_as_ready() {
    let mut lanes = lanes(10, Overflow::Reject);
    let mut short = entry(1, Priority::High, Duration::ZERO);
    short.deadline = Some(SECOND);
    assert_eq!(lanes.push(short.clone(), Duration::ZERO), Pushed::Queued);
    assert_eq!(lanes.push(entry(2, Priority::Low, Duration::ZERO), Duration::ZERO), Pushed::Queued);
    assert_eq!(lanes.next_deadline(), Some(SECOND));
    assert_eq!(lanes.expire(SECOND - Duration::from_nanos(1)), []);
    assert_eq!(lanes.pop(SECOND), Some(Popped::Expired(short)));
    assert_eq!(lanes.next_deadline(), None);
    assert_eq!(run_all(&mut lanes, SECOND), [2]);
}

#[test]
fn a_parked_entry_waits_for_its_time_and_then_goes_on_in_its_old_place() {
    let mut lanes = lanes(10, Overflow::Reject);
    assert_eq!(lanes.push(entry(1, Priority::Normal, Duration::ZERO), Duration::ZERO), Pushed::Queued);
    assert_eq!(lanes.push(entry(2, Priority::Normal, Duration::ZERO), Duration::ZERO), Pushed::Queued);
    let Some(Popped::Ready(first)) = lanes.pop(Duration::ZERO) else { panic!("nothing to run") };
    assert_eq!(lanes.put_back(first, SECOND * 2), None);
    assert_eq!((lanes.parked(), lanes.len(), lanes.next_due()), (1, 2, Some(SECOND * 2)));
    assert_eq!(run_all(&mut lanes, SECOND), [2]);
    assert_eq!(lanes.pop(SECOND), None);
    assert_eq!(lanes.push(entry(3, Priority::Normal, SECOND), SECOND), Pushed::Queued);
    assert_eq!(run_all(&mut lanes, SECOND * 2), [1, 3]);
    assert_eq!(lanes.next_due(), None);
}

#[test]
fn a_parked_entry_counts_for_the_bound_expires_and_can_be_cancelled_but_makes_no_room() {
    for overflow in [Overflow::Reject, Overflow::DropOldest, Overflow::DropLowest] {
        let mut lanes = lanes(1, overflow);
        let mut parked = entry(1, Priority::Low, Duration::ZERO);
        parked.deadline = Some(SECOND);
        assert_eq!(lanes.put_back(parked.clone(), AGE), None);
        let newcomer = entry(2, Priority::High, Duration::ZERO);
        assert_eq!(lanes.push(newcomer.clone(), Duration::ZERO), Pushed::Rejected(newcomer));
        assert_eq!(lanes.expire(SECOND), [parked.clone()]);
        assert_eq!(lanes.put_back(parked.clone(), AGE), None);
        assert_eq!(lanes.cancel(RequestId(1)), Some(parked));
        assert_eq!(
            (lanes.len(), lanes.parked(), lanes.next_due(), lanes.next_deadline()),
            (0, 0, None, None)
        );
    }
}

#[test]
fn an_id_waits_only_once() {
    let mut lanes = lanes(10, Overflow::Reject);
    let one = entry(1, Priority::Low, Duration::ZERO);
    assert_eq!(lanes.push(one.clone(), Duration::ZERO), Pushed::Queued);
    assert_eq!(lanes.push(one.clone(), Duration::ZERO), Pushed::Duplicate(one.clone()));
    assert_eq!(lanes.put_back(one.clone(), SECOND), Some(one));
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
    let mut lanes = lanes(count as usize, Overflow::Reject);
    for id in 0..count {
        let priority = Priority::ALL[usize::try_from(id % 3).unwrap()];
        assert_eq!(lanes.push(entry(id, priority, Duration::ZERO), Duration::ZERO), Pushed::Queued);
    }
    let more = entry(count, Priority::High, Duration::ZERO);
    assert!(matches!(lanes.push(more, Duration::ZERO), Pushed::Rejected(_)));
    for id in (0..count).step_by(10) {
        assert_eq!(lanes.cancel(RequestId(id)).unwrap().id.0, id);
    }
    let out = run_all(&mut lanes, Duration::ZERO);
    let expected: Vec<u64> =
        (0..3).flat_map(|lane| (lane..count).step_by(3).filter(|id| id % 10 != 0)).collect();
    assert_eq!(out, expected);
    assert!(
        lanes.entries.is_empty() && lanes.deadlines.is_empty() && lanes.lanes.iter().all(BTreeSet::is_empty)
    );
}

// === Against a naive model ===

/// The same promises, kept by looking at every entry each time.
struct Model {
    policy: LanesPolicy,
    entries: Vec<(Entry<()>, Option<Duration>)>,
}

impl Model {
    fn rank(&self, entry: &Entry<()>, now: Duration) -> Rank {
        let spans = now.saturating_sub(entry.queued_at).as_nanos() / self.policy.age_after.as_nanos();
        let arrived = Priority::ALL.iter().position(|priority| *priority == entry.priority).unwrap();
        (arrived.saturating_sub(usize::try_from(spans.min(2)).unwrap()), entry.id)
    }

    /// The entries that may run at `now`.
    fn awake(&self, now: Duration) -> impl Iterator<Item = &Entry<()>> {
        self.entries.iter().filter(move |(_, due)| due.is_none_or(|due| due <= now)).map(|(entry, _)| entry)
    }

    fn push(&mut self, entry: Entry<()>, now: Duration) -> Pushed<()> {
        if self.entries.len() < self.policy.queue_max {
            self.entries.push((entry, None));
            return Pushed::Queued;
        }
        let leaves = match self.policy.overflow {
            Overflow::Reject => None,
            Overflow::DropOldest => self.awake(now).map(|other| other.id).min(),
            Overflow::DropLowest => {
                let lowest = self.awake(now).map(|other| self.rank(other, now)).max();
                lowest.filter(|rank| *rank > self.rank(&entry, now)).map(|(_, id)| id)
            }
        };
        let Some(left) = leaves.and_then(|id| self.cancel(id)) else { return Pushed::Rejected(entry) };
        self.entries.push((entry, None));
        Pushed::Displaced(left)
    }

    fn pop(&mut self, now: Duration) -> Option<Popped<()>> {
        if let Some(expired) = self.expire_one(now) {
            return Some(Popped::Expired(expired));
        }
        let next = self.awake(now).map(|entry| self.rank(entry, now)).min()?;
        self.cancel(next.1).map(Popped::Ready)
    }

    fn expire_one(&mut self, now: Duration) -> Option<Entry<()>> {
        let dead = |(entry, _): &(Entry<()>, _)| {
            Some((entry.deadline.filter(|deadline| *deadline <= now)?, entry.id))
        };
        let (_, id) = self.entries.iter().filter_map(dead).min()?;
        self.cancel(id)
    }

    fn cancel(&mut self, id: RequestId) -> Option<Entry<()>> {
        let at = self.entries.iter().position(|(entry, _)| entry.id == id)?;
        Some(self.entries.remove(at).0)
    }
}

#[derive(Debug, Clone)]
enum Act {
    Push { priority: Priority, wait: Option<u64> },
    Pop,
    PutBack { after: u64 },
    Cancel { id: u64 },
    Expire,
    Pass { seconds: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    let priority = prop::sample::select(Priority::ALL.to_vec());
    prop_oneof![
        6 => (priority, prop::option::of(0..12_u64)).prop_map(|(priority, wait)| Act::Push { priority, wait }),
        4 => Just(Act::Pop),
        2 => (0..8_u64).prop_map(|after| Act::PutBack { after }),
        1 => (0..40_u64).prop_map(|id| Act::Cancel { id }),
        1 => Just(Act::Expire),
        3 => (0..4_u64).prop_map(|seconds| Act::Pass { seconds }),
    ]
}

proptest! {
    #[test]
    fn the_line_does_what_the_naive_model_does(
        queue_max in 1..6_usize,
        overflow in prop::sample::select(vec![Overflow::Reject, Overflow::DropOldest, Overflow::DropLowest]),
        acts in prop::collection::vec(act(), 0..120),
    ) {
        let policy = LanesPolicy { queue_max, overflow, age_after: Duration::from_secs(3) };
        let (mut lanes, mut model) = (Lanes::new(policy), Model { policy, entries: Vec::new() });
        let (mut now, mut running, mut ids) = (Duration::ZERO, Vec::new(), 0..);
        for act in acts {
            match act {
                Act::Push { priority, wait } => {
                    let mut entry = entry(ids.next().unwrap(), priority, now);
                    entry.deadline = wait.map(|wait| now + Duration::from_secs(wait));
                    prop_assert_eq!(lanes.push(entry.clone(), now), model.push(entry, now));
                }
                Act::Pop => {
                    let popped = lanes.pop(now);
                    prop_assert_eq!(&popped, &model.pop(now));
                    if let Some(Popped::Ready(entry)) = popped {
                        running.push(entry);
                    }
                }
                Act::PutBack { after } => {
                    if let Some(entry) = running.pop() {
                        let due = now + Duration::from_secs(after);
                        prop_assert_eq!(lanes.put_back(entry.clone(), due), None);
                        model.entries.push((entry, Some(due)));
                    }
                }
                Act::Cancel { id } => {
                    prop_assert_eq!(lanes.cancel(RequestId(id)), model.cancel(RequestId(id)));
                }
                Act::Expire => {
                    let expired: Vec<_> = std::iter::from_fn(|| model.expire_one(now)).collect();
                    prop_assert_eq!(lanes.expire(now), expired);
                }
                Act::Pass { seconds } => now += Duration::from_secs(seconds),
            }
            prop_assert_eq!(lanes.len(), model.entries.len());
            let deadline = model.entries.iter().filter_map(|(entry, _)| entry.deadline).min();
            prop_assert_eq!(lanes.next_deadline(), deadline);
            let held = lanes.parked() + lanes.lanes.iter().map(BTreeSet::len).sum::<usize>();
            prop_assert_eq!(lanes.len(), held);
            for lane in Priority::ALL {
                let count = model.entries.iter().filter(|(entry, _)| entry.priority == lane).count();
                prop_assert_eq!(lanes.count(lane), count);
            }
        }
        for (entry, _) in model.entries {
            prop_assert_eq!(lanes.remove(entry.id), Some(entry));
        }
        prop_assert!(lanes.is_empty() && lanes.parked() == 0 && lanes.next_deadline().is_none());
    }
}
