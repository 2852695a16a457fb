//! A subscriber gets each event after its cursor once, in order, or a report of what is missing.

use super::*;

fn tiny_memory(segments_max: usize) -> JournalOptions {
    JournalOptions { memory_lines_max: 4, segment_bytes_max: 5000, segments_max, ..JournalOptions::default() }
}

/// Collects the deliveries up to number `last`.
async fn collect_lags(last: u64, subscription: &mut JournalSubscription, mut next: u64) -> Vec<(u64, u64)> {
    let mut lagged = Vec::new();
    while next <= last {
        match subscription.next().await {
            Delivery::Event(record) => {
                assert_eq!(record.seq, next);
                next += 1;
            }
            Delivery::Lagged { after, before } => {
                assert_eq!(after, at(1, next - 1));
                lagged.push((next, before.seq - 1));
                next = before.seq;
            }
        }
    }
    lagged
}

#[tokio::test]
async fn subscription_reads_disk_then_memory_from_any_seq() {
    let (_dir, journal) = open_temp(tiny_memory(1000));
    let last = u64::from(crate::tier::cases(200, 600)).min(600);
    record_and_flush(&journal, 0..last).await;
    for after in 0..=last {
        let mut subscription = journal.subscribe_after(at(1, after));
        let mut got = Vec::new();
        while let Some(delivery) = subscription.try_next().await {
            let Delivery::Event(record) = delivery else { panic!("{delivery:?}") };
            assert_eq!(record.decode::<NumberedEvent>().unwrap().n, record.seq - 1);
            got.push(record.seq);
        }
        assert_eq!(got, seq_range(after + 1..=last));
    }
    let mut subscription = journal.subscribe_after(at(1, last));
    record_numbers(&journal, [last]);
    assert_eq!(next_cursor(&mut subscription).await, at(1, last + 1));
}

#[tokio::test]
async fn subscription_switches_between_disk_and_memory() {
    let (_dir, journal) = open_temp(tiny_memory(1000));
    let mut subscription = journal.subscribe();
    let mut last = 0;
    for _ in 0..3 {
        // Memory no longer has the first of these, and later none of them.
        record_and_flush(&journal, last..last + 300).await;
        assert_eq!(collect_lags(last + 300, &mut subscription, last + 1).await, []);
        last += 300;
        for n in last..last + 300 {
            record_and_flush(&journal, [n]).await;
            assert!(matches!(subscription.try_next_in_memory(), Some(Delivery::Event(_))));
        }
        last += 300;
    }
}

#[tokio::test]
async fn memory_only_subscription_reports_missed_events() {
    let journal = in_memory(JournalOptions { memory_lines_max: 10, ..JournalOptions::default() });
    record_numbers(&journal, 0..30);
    let mut subscription = journal.subscribe();
    assert_eq!(subscription.next().await, Delivery::Lagged { after: at(1, 0), before: at(1, 21) });
    assert_eq!(next_cursor(&mut subscription).await, at(1, 21));
}

#[tokio::test]
async fn future_seq_counts_as_the_newest() {
    let journal = in_memory(JournalOptions::default());
    record_numbers(&journal, 0..3);
    let mut subscription = journal.subscribe_after(at(1, 1000));
    record_numbers(&journal, [3]);
    assert_eq!(next_cursor(&mut subscription).await, at(1, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_subscribers_miss_nothing() {
    const LAST: u64 = 6000;
    let (_dir, journal) = open_temp(tiny_memory(1000));
    let recorders: Vec<_> = (0..3)
        .map(|_| {
            let journal = journal.clone();
            std::thread::spawn(move || record_numbers(&journal, 0..LAST / 3))
        })
        .collect();
    let mut subscribers = tokio::task::JoinSet::new();
    for started in 0..12 {
        // Some start where the others are, some at the beginning.
        let after = if started % 3 == 0 { at(1, 0) } else { journal.cursor() };
        let mut subscription = journal.subscribe_after(after);
        subscribers.spawn(async move { collect_lags(LAST, &mut subscription, after.seq + 1).await });
        tokio::task::yield_now().await;
    }
    while let Some(lagged) = subscribers.join_next().await {
        assert_eq!(lagged.unwrap(), []);
    }
    recorders.into_iter().for_each(|recorder| recorder.join().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_lags_exactly_by_deleted_events() {
    const LAST: u64 = 3000;
    let (dir, journal) = open_temp(tiny_memory(2));
    let recorder = {
        let journal = journal.clone();
        std::thread::spawn(move || record_numbers(&journal, 0..LAST))
    };
    let mut subscription = journal.subscribe();
    let mut next = 1;
    while next <= LAST {
        match subscription.next().await {
            Delivery::Event(record) => {
                assert_eq!((record.seq, record.fields.len()), (next, 1));
                next += 1;
            }
            Delivery::Lagged { after, before } => {
                assert_eq!(after, at(1, next - 1));
                let kept = segment::list_segments(dir.path()).unwrap()[0].first;
                assert!(
                    before <= kept,
                    "events before {before} are reported as gone, and the disk has all from {kept} on"
                );
                next = before.seq;
            }
        }
    }
    recorder.join().unwrap();
    journal.flush().await;
    // A new subscriber gets one report of everything that is missing, at once.
    let lagged = collect_lags(LAST, &mut journal.subscribe(), 1).await;
    let first = segment::list_segments(dir.path()).unwrap()[0].first.seq;
    assert_eq!(lagged, [(1, first - 1)]);
}

#[tokio::test]
async fn cancelled_next_loses_no_event() {
    let (_dir, journal) = open_temp(tiny_memory(1000));
    record_and_flush(&journal, 0..50).await;
    let mut subscription = journal.subscribe();
    let mut got = Vec::new();
    while got.len() < 50 {
        // Reading from disk takes more than one poll; every other attempt is cancelled after its first.
        let polled_once = futures_util::FutureExt::now_or_never(subscription.next());
        let delivery = match polled_once {
            Some(delivery) => delivery,
            None => subscription.next().await,
        };
        let Delivery::Event(record) = delivery else { panic!("{delivery:?}") };
        got.push(record.seq);
    }
    assert_eq!(got, seq_range(1..=50));
}
