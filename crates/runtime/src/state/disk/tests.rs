use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};

use proptest::prelude::*;
use redb::{ReadableDatabase, TableDefinition};
use tempfile::TempDir;

use super::*;

const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("below").join("state.redb")
    }

    fn open(&self) -> RedbStore {
        self.open_with(RedbConfig::default())
    }

    fn open_with(&self, config: RedbConfig) -> RedbStore {
        RedbStore::open(&self.file(), config).unwrap()
    }

    /// The bytes of the record of `path`, changed by `change`, in a store that nobody has open.
    fn tamper(&self, path: &ActorPath, change: impl FnOnce(&mut Vec<u8>)) {
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

    fn names(&self) -> Vec<String> {
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

fn draft(content: impl Into<Vec<u8>>) -> Draft {
    let content = content.into();
    Draft::new(1, move || Ok(content))
}

fn text(store: &RedbStore, name: &str) -> Option<String> {
    let state = store.load(&path(name)).unwrap()?;
    Some(String::from_utf8(state.content.to_vec()).unwrap())
}

/// A draft whose encoding, and with it the writing thread, waits until something is sent or the sender dropped; and
/// a word that it has begun.
fn held(content: &'static str) -> (Draft, SyncSender<()>, std::sync::mpsc::Receiver<()>) {
    let (release, released) = sync_channel::<()>(1);
    let (begun, has_begun) = sync_channel(1);
    let draft = Draft::new(1, move || {
        begun.send(())?;
        let _ = released.recv();
        Ok(content.into())
    });
    (draft, release, has_begun)
}

#[tokio::test]
async fn what_was_flushed_is_there_when_the_file_is_opened_again() {
    let place = Place::new();
    let store = place.open();
    store.save(&path("one"), draft("1"));
    store.save(&path("two"), draft("2"));
    store.flush().await.unwrap();
    store.remove(&path("two"));
    store.close().await;
    let store = place.open();
    assert_eq!((text(&store, "one"), text(&store, "two")), (Some("1".to_owned()), None));
}

#[tokio::test]
async fn while_a_group_is_written_newer_states_replace_each_other_and_go_as_one_more_group() {
    let place = Place::new();
    let store = place.open();
    let (first, release, has_begun) = held("first");
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
            store.save(&path(name), Draft::new(1, encode));
        }
    }
    drop(release);
    store.flush().await.unwrap();
    assert_eq!((store.commits(), encoded.load(Ordering::SeqCst)), (2, 3));
    store.close().await;
    let store = place.open();
    assert_eq!(text(&store, "three").as_deref(), Some("three 9999"));
}

#[tokio::test]
async fn a_state_that_is_on_disk_already_is_not_written_again() {
    let place = Place::new();
    let store = place.open();
    for _ in 0..3 {
        store.save(&path("one"), draft("1"));
        store.flush().await.unwrap();
    }
    assert_eq!(store.commits(), 1);
    store.close().await;
    let store = place.open();
    store.save(&path("one"), draft("1"));
    store.flush().await.unwrap();
    assert_eq!(store.commits(), 0);
}

#[tokio::test]
async fn what_is_handed_in_is_loaded_before_it_is_written() {
    let place = Place::new();
    let store = place.open();
    for name in ["replaced", "removed", "aside"] {
        store.save(&path(name), draft("old"));
    }
    store.flush().await.unwrap();
    let (first, release, has_begun) = held("first");
    store.save(&path("one"), first);
    has_begun.recv().unwrap();
    store.save(&path("replaced"), draft("new"));
    store.remove(&path("removed"));
    store.set_aside(&path("aside"), "because");
    let waiting = ["replaced", "removed", "aside"].map(|name| text(&store, name));
    assert_eq!(waiting, [Some("new".to_owned()), None, None]);
    drop(release);
    assert_eq!(text(&store, "one").as_deref(), Some("first"));
    store.flush().await.unwrap();
    assert_eq!(["replaced", "removed", "aside"].map(|name| text(&store, name)), waiting);
}

#[tokio::test]
async fn what_was_set_aside_is_kept_on_disk_the_last_four_for_each_path() {
    let place = Place::new();
    let store = place.open();
    store.save(&path("two"), draft("of two"));
    store.flush().await.unwrap();
    store.set_aside(&path("two"), "stored");
    for number in 1..=6 {
        store.save(&path("one"), draft(format!("state {number}")));
        store.set_aside(&path("one"), &format!("reason {number}"));
        if number % 2 == 0 {
            store.flush().await.unwrap();
        }
    }
    store.set_aside(&path("none"), "there is nothing");
    store.save(&path("one"), draft("after"));
    store.close().await;
    let store = place.open();
    assert_eq!((text(&store, "one").as_deref(), text(&store, "two")), (Some("after"), None));
    let asides: Vec<(String, String, String)> = store
        .asides()
        .unwrap()
        .into_iter()
        .map(|SetAside { path, why, remains }| {
            let content = remains.unwrap().content.to_vec();
            (path, why, String::from_utf8(content).unwrap())
        })
        .collect();
    let of_one = |n| ("one".to_owned(), format!("reason {n}"), format!("state {n}"));
    let of_two = ("two".to_owned(), "stored".to_owned(), "of two".to_owned());
    assert_eq!(asides, [of_one(3), of_one(4), of_one(5), of_one(6), of_two]);
}

#[tokio::test]
async fn a_record_with_any_byte_changed_is_refused_once_and_kept_aside_and_the_others_are_loaded() {
    let place = Place::new();
    let (whole, ailing) = (path("whole"), path("ailing"));
    let store = place.open();
    store.save(&whole, draft("12"));
    store.save(&ailing, draft(r#"{"total":12}"#));
    store.close().await;
    let mut original = Vec::new();
    place.tamper(&ailing, |bytes| original.clone_from(bytes));
    for at in 0..original.len() {
        place.tamper(&ailing, |bytes| {
            bytes.clone_from(&original);
            bytes[at] ^= 0x41;
        });
        let store = place.open();
        let damaged = store.load(&ailing).unwrap_err();
        assert!(damaged.0.contains("checksum"), "byte {at}: {damaged}");
        assert_eq!(store.load(&ailing), Ok(None), "byte {at}");
        assert_eq!(text(&store, "whole").as_deref(), Some("12"));
        store.flush().await.unwrap();
        let aside = store.asides().unwrap().pop().unwrap();
        assert_eq!(aside.remains.unwrap_err().len(), original.len());
        store.save(&ailing, draft("new"));
        store.close().await;
    }
    let store = place.open();
    assert_eq!(text(&store, "ailing").as_deref(), Some("new"));
    assert_eq!(store.asides().unwrap().len(), 4);
}

#[tokio::test]
async fn a_record_that_is_cut_short_is_refused() {
    let place = Place::new();
    for bytes in [0, 1, 20, 26] {
        let store = place.open();
        store.save(&path("one"), draft("12"));
        store.close().await;
        place.tamper(&path("one"), |record| record.truncate(bytes));
        let store = place.open();
        assert!(store.load(&path("one")).is_err(), "{bytes} bytes");
        store.close().await;
    }
}

/// A file with three states in it, closed in order.
async fn a_whole_file(place: &Place) -> Vec<u8> {
    let store = place.open();
    for name in ["one", "two", "three"] {
        store.save(&path(name), draft(format!("the state of {name}").repeat(20)));
    }
    store.close().await;
    std::fs::read(place.file()).unwrap()
}

/// Opens what is there; each state must be the right one or none. Says how many are there.
async fn loads_nothing_wrong(place: &Place) -> usize {
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
async fn no_wrong_state_is_loaded_from_a_file_with_bytes_changed_anywhere() {
    let place = Place::new();
    let whole = a_whole_file(&place).await;
    let mut rng = fastrand::Rng::with_seed(11);
    let mut noticed = 0;
    // The header, then places where there is something, then places anywhere.
    let written: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let places = (0..64)
        .chain((0..150).map(|_| written[rng.usize(..written.len())]).collect::<Vec<_>>())
        .chain((0..50).map(|_| rng.usize(..whole.len())).collect::<Vec<_>>());
    for at in places {
        let mut changed = whole.clone();
        changed[at] ^= 1 << rng.u8(..8);
        std::fs::write(place.file(), &changed).unwrap();
        noticed += usize::from(loads_nothing_wrong(&place).await < 3);
        for name in place.names().iter().filter(|name| name.contains("damaged")) {
            std::fs::remove_file(place.file().with_file_name(name)).unwrap();
        }
    }
    assert!(noticed > 50, "only {noticed} changes were noticed");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_kept_under_another_name_and_an_empty_one_begun() {
    let place = Place::new();
    let whole = a_whole_file(&place).await;
    let contents: [&[u8]; 3] = [b"not a database at all", &[0; 5000], &whole[..whole.len() / 2]];
    for (n, content) in contents.into_iter().enumerate() {
        std::fs::write(place.file(), content).unwrap();
        let store = place.open();
        assert_eq!(text(&store, "one"), None);
        store.save(&path("one"), draft("begun anew"));
        store.close().await;
        let store = place.open();
        assert_eq!(text(&store, "one").as_deref(), Some("begun anew"));
        store.close().await;
        let kept = place.file().with_file_name(format!("state.redb.damaged-{}", n + 1));
        assert_eq!(std::fs::read(kept).unwrap(), content);
    }
}

#[tokio::test]
async fn a_process_that_was_killed_while_it_made_the_file_leaves_nothing_in_the_way() {
    let place = Place::new();
    std::fs::create_dir_all(place.file().parent().unwrap()).unwrap();
    std::fs::write(place.file().with_file_name("state.redb.new"), b"half of").unwrap();
    let store = place.open();
    store.save(&path("one"), draft("1"));
    store.close().await;
    assert_eq!(place.names(), ["state.redb", "state.redb.lock"]);
}

#[tokio::test]
async fn a_file_has_one_store_at_a_time() {
    let place = Place::new();
    let store = place.open();
    let second = RedbStore::open(&place.file(), RedbConfig::default());
    assert!(matches!(second.err(), Some(StoreError::InUse { .. })));
    store.close().await;
    place.open();
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let _store = place.open();
    for name in place.names() {
        let mode = std::fs::metadata(place.file().with_file_name(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_state_that_cannot_be_kept_leaves_the_one_before_it_and_flushing_says_why() {
    let place = Place::new();
    let config = RedbConfig { state_bytes_max: 10, total_bytes_max: 300, ..RedbConfig::default() };
    let store = place.open_with(config.clone());
    store.save(&path("one"), draft("short"));
    store.flush().await.unwrap();
    let refused: [(Draft, &str); 2] = [
        (draft("eleven byte"), "one: the state has 11 bytes; at most 10 are kept"),
        (Draft::new(1, || Err("no".into())), "one: the snapshot cannot be encoded: no"),
    ];
    for (draft, reason) in refused {
        store.save(&path("one"), draft);
        assert_eq!(store.flush().await, Err(Unsaved(reason.to_owned())));
    }
    store.save(&path("two"), draft("short"));
    store.save(&path("one"), draft("other"));
    assert_eq!(store.flush().await, Ok(()));
    store.save(&path("three"), draft("short"));
    let too_much = "three: with it all states would take 410 bytes; at most 300 are kept";
    assert_eq!(store.flush().await, Err(Unsaved(too_much.to_owned())));
    store.close().await;
    let store = place.open_with(config);
    assert_eq!(["one", "two", "three"].map(|name| text(&store, name).is_some()), [true, true, false]);
    assert_eq!(text(&store, "one").as_deref(), Some("other"));
}

#[tokio::test]
async fn a_file_that_holds_more_than_may_be_loaded_is_not_opened() {
    let place = Place::new();
    a_whole_file(&place).await;
    let config = RedbConfig { total_bytes_max: 300, ..RedbConfig::default() };
    let refused = RedbStore::open(&place.file(), config).err();
    assert!(matches!(refused, Some(StoreError::TooLarge { bytes: 1395, max: 300, .. })), "{refused:?}");
}

#[tokio::test]
async fn flushing_a_store_that_is_closed_says_what_it_did_not_save() {
    let place = Place::new();
    let store = place.open();
    store.close().await;
    assert_eq!(store.flush().await, Ok(()));
    store.save(&path("one"), draft("late"));
    assert_eq!(store.flush().await, Err(Unsaved("the store is closed".to_owned())));
    assert_eq!(text(&store, "one").as_deref(), Some("late"));
}

#[test]
fn more_paths_than_may_wait_are_refused_and_those_that_wait_stay() {
    let mut ledger = Ledger::new(HashMap::new(), HashMap::new());
    ledger.held_back = ledger::CHANGES_MAX - 1;
    assert!(ledger.save(&path("one"), draft("1")).is_ok());
    assert!(ledger.save(&path("two"), draft("2")).is_err());
    assert!(ledger.save(&path("one"), draft("3")).is_ok());
    assert!(!ledger.set_aside(&path("two"), "no room"));
    ledger.held_back = 0;
    assert!(ledger.remove(&path("two")));
}

/// What a store is asked, one after the other.
#[derive(Debug, Clone)]
enum Ask {
    Save(u8),
    SetAside,
    Remove,
    Flush,
    Reopen,
}

fn asks() -> impl Strategy<Value = Vec<(bool, Ask)>> {
    let ask = prop_oneof![
        4 => any::<u8>().prop_map(Ask::Save),
        1 => Just(Ask::SetAside),
        1 => Just(Ask::Remove),
        2 => Just(Ask::Flush),
        1 => Just(Ask::Reopen),
    ];
    proptest::collection::vec((any::<bool>(), ask), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Against a map: what is loaded is what was last handed in, whether it waits, is being written or is on disk.
    #[test]
    fn whatever_it_is_asked_a_store_loads_what_was_last_handed_in(asks in asks()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::new();
            let mut store = place.open();
            let mut model: HashMap<&str, u8> = HashMap::new();
            for (is_first, ask) in asks {
                let name = if is_first { "one" } else { "two" };
                match ask {
                    Ask::Save(value) => {
                        store.save(&path(name), draft(vec![value]));
                        model.insert(name, value);
                    }
                    Ask::SetAside => {
                        store.set_aside(&path(name), "asked");
                        model.remove(name);
                    }
                    Ask::Remove => {
                        store.remove(&path(name));
                        model.remove(name);
                    }
                    Ask::Flush => store.flush().await.unwrap(),
                    Ask::Reopen => {
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
