//! Subscribers resume across crashes: they get each event that reached the disk once, in order.

use parking_lot::{Condvar, Mutex};
use std::io;

use fastrand::Rng;

use super::*;
use crate::journal::files::WriteOutcome;

/// Journal files that stop and fail on command, as they do when the process is killed.
#[derive(Clone, Default)]
struct DiskSwitch(Arc<(Mutex<SwitchState>, Condvar)>);

#[derive(Default, Clone, Copy, PartialEq)]
enum SwitchState {
    #[default]
    Works,
    Held,
    Dead,
}

impl DiskSwitch {
    fn set(&self, state: SwitchState) {
        *self.0.0.lock() = state;
        self.0.1.notify_all();
    }
}

struct SwitchedFiles(JournalFiles, DiskSwitch);

impl Disk for SwitchedFiles {
    fn append(&mut self, first_seq: u64, lines: &[Arc<str>]) -> WriteOutcome {
        let (state, changed) = &*self.1.0;
        let mut state = state.lock();
        changed.wait_while(&mut state, |state| *state == SwitchState::Held);
        if *state == SwitchState::Dead {
            return WriteOutcome { written: 0, lost: None, result: Err(io::ErrorKind::BrokenPipe.into()) };
        }
        self.0.append(first_seq, lines)
    }
}

fn open_switched(dir: &Path, config: &JournalOptions) -> (Journal, DiskSwitch) {
    let (files, recovered) = JournalFiles::open(dir, config).unwrap();
    let switch = DiskSwitch::default();
    let disk = SwitchedFiles(files, switch.clone());
    let opened = (disk, recovered);
    let clock = Arc::new(SystemClock);
    let journal = Journal::on_disk(
        Some(dir.to_owned()),
        "boot".to_owned(),
        clock,
        config,
        opened,
        Duration::from_secs(3600),
    );
    (journal.unwrap(), switch)
}

/// Simulates a kill of the process: what the disk lacks is lost, and a line may be torn.
async fn crash(dir: &Path, journal: Journal, switch: &DiskSwitch, rng: &mut Rng) {
    switch.set(SwitchState::Dead);
    // Closing fails if something was lost.
    let _ = journal.close().await;
    drop(journal);
    if rng.bool() {
        let path = segments(dir).pop().unwrap();
        let torn = r#"{"run":9,"seq":9,"at":"2026"#;
        let mut content = fs::read(&path).unwrap();
        content.extend_from_slice(&torn.as_bytes()[..rng.usize(1..torn.len())]);
        fs::write(&path, content).unwrap();
    }
}

/// Takes up to `most` deliveries that exist already.
async fn take(subscription: &mut JournalSubscription, most: usize, seen: &mut Vec<Cursor>) {
    for _ in 0..most {
        match subscription.try_next().await {
            Some(Delivery::Event(record)) => {
                assert_eq!(subscription.cursor(), record.cursor());
                seen.push(record.cursor());
            }
            Some(lagged) => panic!("{lagged:?} after {seen:?}"),
            None => return,
        }
    }
}

async fn take_all(subscription: &mut JournalSubscription) -> Vec<Cursor> {
    let mut seen = Vec::new();
    take(subscription, usize::MAX, &mut seen).await;
    seen
}

/// Returns how many events the subscriber saw that never reached the disk.
async fn resume_through_crashes(seed: u64) -> usize {
    let mut rng = Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let config = JournalOptions {
        segment_bytes_max: rng.u64(300..4000),
        segments_max: 100_000,
        memory_lines_max: rng.usize(1..50),
        ..JournalOptions::default()
    };
    let mut seen = Vec::new();
    for _ in 0..rng.usize(2..8) {
        let (journal, switch) = open_switched(dir.path(), &config);
        let cursor = seen.last().copied().unwrap_or(Cursor::START);
        let mut subscription = journal.subscribe_after(cursor);
        let mut is_held = false;
        for _ in 0..rng.usize(0..12) {
            match rng.u8(0..5) {
                0 | 1 => record_numbers(&journal, 0..rng.u64(0..40)),
                2 if !is_held => journal.flush().await,
                3 if !is_held => {
                    switch.set(SwitchState::Held);
                    is_held = true;
                }
                _ => take(&mut subscription, rng.usize(0..60), &mut seen).await,
            }
        }
        if rng.u8(0..4) == 0 {
            switch.set(SwitchState::Works);
            stop(&journal).await;
        } else {
            crash(dir.path(), journal, &switch, &mut rng).await;
        }
    }
    let journal = open(dir.path(), config);
    journal.flush().await;
    let mut subscription = journal.subscribe_after(seen.last().copied().unwrap_or(Cursor::START));
    take(&mut subscription, usize::MAX, &mut seen).await;
    let durable = cursors(&all_entries(dir.path()));
    assert!(seen.is_sorted_by(|before, after| before < after), "nothing comes twice: {seen:?}");
    let seen_durable: Vec<_> = seen.iter().copied().filter(|cursor| durable.contains(cursor)).collect();
    assert_eq!(seen_durable, durable);
    seen.len() - durable.len()
}

#[tokio::test]
async fn subscriber_gets_each_durable_event_once_across_crashes() {
    let mut seen_and_lost = 0;
    for seed in crate::tier::seeds(50, 150) {
        println!("MAINSTAY_TEST_SEED={seed}");
        seen_and_lost += resume_through_crashes(seed).await;
    }
    assert!(
        crate::tier::seed().is_some() || seen_and_lost > 30,
        "events were seen that never reached the disk: {seen_and_lost}"
    );
}

#[tokio::test]
async fn cursor_beyond_a_runs_end_continues_with_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, switch) = open_switched(dir.path(), &JournalOptions::default());
    record_and_flush(&journal, 0..3).await;
    switch.set(SwitchState::Held);
    record_numbers(&journal, 3..6);
    let mut subscription = journal.subscribe();
    take_all(&mut subscription).await;
    assert_eq!(subscription.cursor(), at(1, 6), "three of them never reach the disk");
    switch.set(SwitchState::Dead);
    journal.close().await.unwrap_err();

    let journal = open(dir.path(), JournalOptions::default());
    record_and_flush(&journal, 0..2).await;
    for after in [at(1, 3), at(1, 6), at(1, u64::MAX), at(2, 0)] {
        let read = entries(dir.path(), after);
        assert_eq!(cursors(&read), [at(2, 1), at(2, 2), at(2, 3)], "after {after}");
        let mut subscription = journal.subscribe_after(after);
        assert_eq!(take_all(&mut subscription).await, [at(2, 1), at(2, 2), at(2, 3)], "after {after}");
    }
    let mut subscription = journal.subscribe_after(at(1, 2));
    assert_eq!(take_all(&mut subscription).await, [at(1, 3), at(2, 1), at(2, 2), at(2, 3)]);
}

#[tokio::test]
async fn run_is_hidden_until_a_line_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, switch) = open_switched(dir.path(), &JournalOptions::default());
    switch.set(SwitchState::Held);
    let mut subscription = journal.subscribe();
    record_numbers(&journal, 0..10);
    assert_eq!((journal.cursor(), subscription.try_next().await), (at(1, 0), None));
    switch.set(SwitchState::Works);
    for seq in 1..=10 {
        assert_eq!(next_cursor(&mut subscription).await, at(1, seq));
    }
}

#[tokio::test]
async fn file_reader_sees_each_run_once_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::with_seed(7);
    let mut follower = Reader::after(dir.path(), Cursor::START);
    let mut followed = Vec::new();
    let config = JournalOptions { segment_bytes_max: 700, segments_max: 1000, ..JournalOptions::default() };
    for _ in 0..20 {
        let (journal, switch) = open_switched(dir.path(), &config);
        for _ in 0..rng.u8(1..4) {
            record_and_flush(&journal, 0..rng.u64(0..9)).await;
            followed.extend(next_entries(&mut follower));
        }
        record_numbers(&journal, 0..rng.u64(0..3));
        crash(dir.path(), journal, &switch, &mut rng).await;
        followed.extend(next_entries(&mut follower));
    }
    let all = cursors(&all_entries(dir.path()));
    assert_eq!(cursors(&followed), all);
    assert!(all.last().is_some_and(|last| last.run > 15), "{all:?}");
}
