use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};

use proptest::prelude::*;
use redb::{ReadableDatabase, TableDefinition};
use tempfile::TempDir;

use super::*;
use crate::clock::SystemClock;
use crate::journal::{Delivery, JournalOptions, JournalSubscription};

const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");

struct StoreDir(TempDir);

impl StoreDir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("below").join("state.redb")
    }

    fn with_store() -> (Self, RedbStore) {
        let place = Self::new();
        let store = place.open();
        (place, store)
    }

    async fn reopen(&self, store: RedbStore) -> RedbStore {
        store.close().await;
        drop(store);
        self.open()
    }

    fn open(&self) -> RedbStore {
        self.open_with(RedbConfig::default())
    }

    fn open_with(&self, config: RedbConfig) -> RedbStore {
        RedbStore::open(&self.file(), config).unwrap()
    }

    /// Changes the bytes of the record of `path`, in a store that is not open.
    fn edit_record(&self, path: &ActorPath, change: impl FnOnce(&mut Vec<u8>)) {
        let db = Database::open(self.file()).unwrap();
        let mut bytes = {
            let states = db.begin_read().unwrap().open_table(STATES).unwrap();
            states.get(path.as_str()).unwrap().unwrap().value().to_vec()
        };
        change(&mut bytes);
        let transaction = db.begin_write().unwrap();
        transaction.open_table(STATES).unwrap().insert(path.as_str(), bytes.as_slice()).unwrap();
        transaction.commit().unwrap();
    }

    fn file_names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path().join("below")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn path(name: &str) -> ActorPath {
    ActorPath::root(name).unwrap()
}

fn snapshot(content: impl Into<Vec<u8>>) -> PendingSnapshot {
    let content = content.into();
    PendingSnapshot::new(1, move || Ok(content))
}

fn load_text(store: &RedbStore, name: &str) -> Option<String> {
    let state = store.load(&path(name)).unwrap()?;
    Some(String::from_utf8(state.content.to_vec()).unwrap())
}

/// Returns a snapshot whose encoding blocks the writing thread until the sender sends or is dropped, and a receiver
/// that resolves when it has begun.
fn blocked_snapshot(
    content: &'static str,
) -> (PendingSnapshot, SyncSender<()>, std::sync::mpsc::Receiver<()>) {
    let (release, released) = sync_channel::<()>(1);
    let (begun, has_begun) = sync_channel(1);
    let pending = PendingSnapshot::new(1, move || {
        begun.send(())?;
        let _ = released.recv();
        Ok(content.into())
    });
    (pending, release, has_begun)
}

#[tokio::test]
async fn states_saved_during_a_write_form_one_batch() {
    let (place, store) = StoreDir::with_store();
    let (first, release, has_begun) = blocked_snapshot("first");
    store.save(&path("one"), first);
    has_begun.recv().unwrap();
    let encoded = Arc::new(AtomicU64::new(0));
    for number in 0..10_000 {
        for name in ["one", "two", "three"] {
            let encoded = Arc::clone(&encoded);
            let encode = move || {
                encoded.fetch_add(1, Ordering::SeqCst);
                Ok(format!("{name} {number}").into_bytes())
            };
            store.save(&path(name), PendingSnapshot::new(1, encode));
        }
    }
    drop(release);
    store.flush().await.unwrap();
    assert_eq!((store.commits(), encoded.load(Ordering::SeqCst)), (2, 3));
    let store = place.reopen(store).await;
    assert_eq!(load_text(&store, "three").as_deref(), Some("three 9999"));
}

#[tokio::test]
async fn unchanged_state_is_not_written_again() {
    let (place, store) = StoreDir::with_store();
    for _ in 0..3 {
        store.save(&path("one"), snapshot("1"));
        store.flush().await.unwrap();
    }
    assert_eq!(store.commits(), 1);
    let store = place.reopen(store).await;
    store.save(&path("one"), snapshot("1"));
    store.flush().await.unwrap();
    assert_eq!(store.commits(), 0);
}

#[tokio::test]
async fn saved_state_is_loaded_before_it_is_written() {
    let (_place, store) = StoreDir::with_store();
    for name in ["replaced", "removed", "aside"] {
        store.save(&path(name), snapshot("old"));
    }
    store.flush().await.unwrap();
    let (first, release, has_begun) = blocked_snapshot("first");
    store.save(&path("one"), first);
    has_begun.recv().unwrap();
    store.save(&path("replaced"), snapshot("new"));
    store.remove(&path("removed"));
    store.quarantine(&path("aside"), "because");
    let waiting = ["replaced", "removed", "aside"].map(|name| load_text(&store, name));
    assert_eq!(waiting, [Some("new".to_owned()), None, None]);
    drop(release);
    assert_eq!(load_text(&store, "one").as_deref(), Some("first"));
    store.flush().await.unwrap();
    assert_eq!(["replaced", "removed", "aside"].map(|name| load_text(&store, name)), waiting);
}

#[tokio::test]
async fn four_quarantined_states_are_kept_on_disk_per_path() {
    let (place, store) = StoreDir::with_store();
    store.save(&path("two"), snapshot("of two"));
    store.flush().await.unwrap();
    store.quarantine(&path("two"), "stored");
    for number in 1..=6 {
        store.save(&path("one"), snapshot(format!("state {number}")));
        store.quarantine(&path("one"), &format!("reason {number}"));
        if number % 2 == 0 {
            store.flush().await.unwrap();
        }
    }
    store.quarantine(&path("none"), "there is nothing");
    store.save(&path("one"), snapshot("after"));
    let store = place.reopen(store).await;
    assert_eq!((load_text(&store, "one").as_deref(), load_text(&store, "two")), (Some("after"), None));
    let read = |state: QuarantinedState| {
        (state.path, state.reason, String::from_utf8(state.content.unwrap().content.to_vec()).unwrap())
    };
    let quarantined: Vec<_> = store.quarantined().unwrap().into_iter().map(read).collect();
    let of_one = |n| ("one".to_owned(), format!("reason {n}"), format!("state {n}"));
    let of_two = ("two".to_owned(), "stored".to_owned(), "of two".to_owned());
    assert_eq!(quarantined, [of_one(3), of_one(4), of_one(5), of_one(6), of_two]);
}

#[tokio::test]
async fn damaged_record_is_quarantined_and_others_load() {
    let place = StoreDir::new();
    let (whole, ailing) = (path("whole"), path("ailing"));
    let store = place.open();
    store.save(&whole, snapshot("12"));
    store.save(&ailing, snapshot(r#"{"total":12}"#));
    store.close().await;
    let mut original = Vec::new();
    place.edit_record(&ailing, |bytes| original.clone_from(bytes));
    for at in 0..original.len() {
        place.edit_record(&ailing, |bytes| {
            bytes.clone_from(&original);
            bytes[at] ^= 0x41;
        });
        let store = place.open();
        let damaged = store.load(&ailing).unwrap_err();
        assert!(damaged.0.contains("checksum"), "byte {at}: {damaged}");
        assert_eq!(store.load(&ailing), Ok(None), "byte {at}");
        assert_eq!(load_text(&store, "whole").as_deref(), Some("12"));
        store.flush().await.unwrap();
        let quarantined = store.quarantined().unwrap().pop().unwrap();
        assert_eq!(quarantined.content.unwrap_err().len(), original.len());
        store.save(&ailing, snapshot("new"));
        store.close().await;
    }
    let store = place.open();
    assert_eq!(load_text(&store, "ailing").as_deref(), Some("new"));
    assert_eq!(store.quarantined().unwrap().len(), 4);
}

#[tokio::test]
async fn truncated_record_is_refused() {
    let place = StoreDir::new();
    for bytes in [0, 1, 20, 26] {
        let store = place.open();
        store.save(&path("one"), snapshot("12"));
        store.close().await;
        place.edit_record(&path("one"), |record| record.truncate(bytes));
        let store = place.open();
        assert!(store.load(&path("one")).is_err(), "{bytes} bytes");
        store.close().await;
    }
}

/// Returns a file with three states in it, closed in order.
async fn write_three_states(place: &StoreDir) -> Vec<u8> {
    let store = place.open();
    for name in ["one", "two", "three"] {
        store.save(&path(name), snapshot(format!("the state of {name}").repeat(20)));
    }
    store.close().await;
    std::fs::read(place.file()).unwrap()
}

/// Opens the store, in which each state must be the right one or none. Returns how many there are.
async fn count_valid_states(place: &StoreDir) -> usize {
    let store = match RedbStore::open(&place.file(), RedbConfig::default()) {
        Ok(store) => store,
        Err(StoreError::Io { .. }) => return 0,
        Err(error) => panic!("{error}"),
    };
    let loaded = ["one", "two", "three"].map(|name| {
        let state = store.load(&path(name)).ok().flatten();
        let right = format!("the state of {name}").repeat(20);
        state.inspect(|state| assert_eq!(&*state.content, right.as_bytes(), "{name}"))
    });
    store.close().await;
    loaded.iter().flatten().count()
}

#[tokio::test]
async fn no_wrong_state_is_loaded_from_a_damaged_file() {
    let place = StoreDir::new();
    let whole = write_three_states(&place).await;
    let mut rng = fastrand::Rng::with_seed(11);
    let mut noticed = 0;
    // The header, then places that hold data, then places anywhere.
    let written: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let places = (0..64)
        .chain((0..150).map(|_| written[rng.usize(..written.len())]).collect::<Vec<_>>())
        .chain((0..50).map(|_| rng.usize(..whole.len())).collect::<Vec<_>>());
    for at in places {
        let mut changed = whole.clone();
        changed[at] ^= 1 << rng.u8(..8);
        std::fs::write(place.file(), &changed).unwrap();
        noticed += usize::from(count_valid_states(&place).await < 3);
        for name in place.file_names().iter().filter(|name| name.contains("damaged")) {
            std::fs::remove_file(place.file().with_file_name(name)).unwrap();
        }
    }
    assert!(noticed > 50, "only {noticed} changes were noticed");
}

#[tokio::test]
async fn non_database_file_is_kept_aside_and_recreated() {
    let place = StoreDir::new();
    let whole = write_three_states(&place).await;
    let contents: [&[u8]; 3] = [b"not a database at all", &[0; 5000], &whole[..whole.len() / 2]];
    for (n, content) in contents.into_iter().enumerate() {
        std::fs::write(place.file(), content).unwrap();
        let store = place.open();
        assert_eq!(load_text(&store, "one"), None);
        store.save(&path("one"), snapshot("begun again"));
        let store = place.reopen(store).await;
        assert_eq!(load_text(&store, "one").as_deref(), Some("begun again"));
        store.close().await;
        let kept = place.file().with_file_name(format!("state.redb.damaged-{}", n + 1));
        assert_eq!(std::fs::read(kept).unwrap(), content);
    }
}

/// Returns the message of the next `state_degraded`.
async fn next_report(events: &mut JournalSubscription) -> String {
    let next = async {
        loop {
            if let Delivery::Event(record) = events.next().await
                && record.kind == "state_degraded"
            {
                return record.fields["message"].as_str().unwrap().to_owned();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), next).await.unwrap()
}

#[cfg(unix)]
#[tokio::test]
async fn lost_file_is_reported_and_all_states_are_written_again() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("deleted", |file| std::fs::remove_file(file).unwrap()),
        ("folder deleted", |file| std::fs::remove_dir_all(file.parent().unwrap()).unwrap()),
        ("replaced", |file| {
            std::fs::write(file.with_extension("x"), "other").unwrap();
            std::fs::rename(file.with_extension("x"), file).unwrap();
        }),
        ("emptied", |file| std::fs::File::options().write(true).open(file).unwrap().set_len(0).unwrap()),
    ];
    // At once, because each waits until an idle store looks at its file.
    let cases = harms.map(|(harm, strike)| async move {
        let (place, store) = StoreDir::with_store();
        let journal = Journal::in_memory("boot", Arc::new(SystemClock), JournalOptions::default());
        let mut events = journal.subscribe();
        store.attach_journal(&journal);
        store.save(&path("one"), snapshot("of one"));
        store.flush().await.unwrap();
        strike(&place.file());
        // An idle store notices it, too.
        let report = next_report(&mut events).await;
        assert!(report.starts_with("the file was deleted, replaced or emptied"), "{harm}: {report}");
        assert!(report.ends_with("a new one gets all states"), "{harm}: {report}");
        store.save(&path("three"), snapshot("of three"));
        store.flush().await.unwrap();
        strike(&place.file());
        store.save(&path("two"), snapshot("of two"));
        store.flush().await.unwrap();
        assert_eq!(store.degraded(), None, "{harm}");
        assert!(RedbStore::open(&place.file(), RedbConfig::default()).is_err(), "{harm}: it is locked");
        strike(&place.file());
        let store = place.reopen(store).await;
        assert_eq!(load_text(&store, "one").as_deref(), Some("of one"), "{harm}");
        assert_eq!(load_text(&store, "two").as_deref(), Some("of two"), "{harm}");
    });
    futures_util::future::join_all(cases).await;
}

#[tokio::test]
async fn unfinished_new_file_does_not_block_open() {
    let place = StoreDir::new();
    std::fs::create_dir_all(place.file().parent().unwrap()).unwrap();
    std::fs::write(place.file().with_file_name("state.redb.new"), b"half of").unwrap();
    let store = place.open();
    store.save(&path("one"), snapshot("1"));
    store.close().await;
    assert_eq!(place.file_names(), ["state.redb", "state.redb.lock"]);
}

#[tokio::test]
async fn second_store_on_one_file_is_refused() {
    let (place, store) = StoreDir::with_store();
    let second = RedbStore::open(&place.file(), RedbConfig::default());
    assert!(matches!(second.err(), Some(StoreError::InUse { .. })));
    store.close().await;
    place.open();
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_readable_by_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (place, _store) = StoreDir::with_store();
    for name in place.file_names() {
        let mode = std::fs::metadata(place.file().with_file_name(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn rejected_state_keeps_the_previous_one_and_fails_flush() {
    let place = StoreDir::new();
    let config = RedbConfig { state_bytes_max: 10, total_bytes_max: 300, ..RedbConfig::default() };
    let store = place.open_with(config.clone());
    store.save(&path("one"), snapshot("short"));
    store.flush().await.unwrap();
    let refused: [(PendingSnapshot, &str); 2] = [
        (snapshot("eleven byte"), "one: the state has 11 bytes; at most 10 are kept"),
        (PendingSnapshot::new(1, || Err("no".into())), "one: the snapshot cannot be encoded: no"),
    ];
    for (pending, reason) in refused {
        store.save(&path("one"), pending);
        assert_eq!(store.flush().await, Err(FlushError(reason.to_owned())));
    }
    store.save(&path("two"), snapshot("short"));
    store.save(&path("one"), snapshot("other"));
    assert_eq!(store.flush().await, Ok(()));
    store.save(&path("three"), snapshot("short"));
    let too_much = "three: with it all states would have 410 bytes; at most 300 are kept";
    assert_eq!(store.flush().await, Err(FlushError(too_much.to_owned())));
    store.close().await;
    let store = place.open_with(config);
    assert_eq!(["one", "two", "three"].map(|name| load_text(&store, name).is_some()), [true, true, false]);
    assert_eq!(load_text(&store, "one").as_deref(), Some("other"));
}

#[tokio::test]
async fn file_over_total_limit_is_not_opened() {
    let place = StoreDir::new();
    write_three_states(&place).await;
    let config = RedbConfig { total_bytes_max: 300, ..RedbConfig::default() };
    let refused = RedbStore::open(&place.file(), config).err();
    assert!(matches!(refused, Some(StoreError::TooLarge { bytes: 1395, max: 300, .. })), "{refused:?}");
}

#[tokio::test]
async fn flush_of_a_closed_store_is_an_error() {
    let (_place, store) = StoreDir::with_store();
    store.close().await;
    assert_eq!(store.flush().await, Ok(()));
    store.save(&path("one"), snapshot("late"));
    assert_eq!(store.flush().await, Err(FlushError("the store is closed".to_owned())));
    assert_eq!(load_text(&store, "one").as_deref(), Some("late"));
}

#[test]
fn full_queue_refuses_new_paths_and_keeps_old_ones() {
    let mut queue = WriteQueue::new(HashMap::new(), HashMap::new());
    queue.unwritten_paths = write_queue::PENDING_PATHS_MAX - 1;
    assert!(queue.save(&path("one"), snapshot("1")).is_ok());
    assert!(queue.save(&path("two"), snapshot("2")).is_err());
    assert!(queue.save(&path("one"), snapshot("3")).is_ok());
    assert!(!queue.quarantine(&path("two"), "no room"));
    queue.unwritten_paths = 0;
    assert!(queue.remove(&path("two")));
}

/// An operation on a store.
#[derive(Debug, Clone)]
enum StoreAction {
    Save(u8),
    Quarantine,
    Remove,
    Flush,
    Reopen,
}

fn store_actions() -> impl Strategy<Value = Vec<(bool, StoreAction)>> {
    let action = prop_oneof![
        4 => any::<u8>().prop_map(StoreAction::Save),
        1 => Just(StoreAction::Quarantine),
        1 => Just(StoreAction::Remove),
        2 => Just(StoreAction::Flush),
        1 => Just(StoreAction::Reopen),
    ];
    proptest::collection::vec((any::<bool>(), action), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Compares the store with a map: it loads what was saved last, whether that waits, is being written or is on
    /// disk.
    #[test]
    fn random_operations_load_the_last_saved_state(actions in store_actions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = StoreDir::new();
            let mut store = place.open();
            let mut model: HashMap<&str, u8> = HashMap::new();
            for (is_first, action) in actions {
                let name = if is_first { "one" } else { "two" };
                match action {
                    StoreAction::Save(value) => {
                        store.save(&path(name), snapshot(vec![value]));
                        model.insert(name, value);
                    }
                    StoreAction::Quarantine => {
                        store.quarantine(&path(name), "asked");
                        model.remove(name);
                    }
                    StoreAction::Remove => {
                        store.remove(&path(name));
                        model.remove(name);
                    }
                    StoreAction::Flush => store.flush().await.unwrap(),
                    StoreAction::Reopen => {
                        store.close().await;
                        store = place.open();
                    }
                }
                for name in ["one", "two"] {
                    let loaded = store.load(&path(name)).unwrap().map(|state| state.content[0]);
                    assert_eq!(loaded, model.get(name).copied());
                }
            }
        });
    }
}
