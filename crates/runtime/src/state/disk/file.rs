//! The file that holds the states: a redb database with two tables, and its faults.
//!
//! redb accesses the disk in many places, must be opened again after one refusal, and may panic on a damaged file.
//! This module handles both: a refusal closes the file, the next write opens it again, and a panic counts as damage.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError, TableDefinition,
    TableError, WriteTransaction,
};

use super::record;
use crate::path::ActorPath;
use crate::private_files::{
    PathKind, create_private_dir, describes_same_file, is_same_file, private_file_options,
};
use crate::state::memory::QUARANTINED_PER_PATH_MAX;
use crate::state::{QuarantinedState, StoredState};

/// The state in use of each path.
const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");
/// Path and number -> why, and the record as it was. The table is named by an older word, because files are kept.
const QUARANTINED: TableDefinition<'_, (&str, u64), (&str, &[u8])> = TableDefinition::new("set_aside");
/// The most quarantined states in all; the oldest go first.
const QUARANTINED_MAX: u64 = 1024;
/// The most bytes that redb may cache. It needs few, because every state is in memory already.
const CACHE_BYTES: usize = 1024 * 1024;

/// The end of the name of the lock.
const LOCK_SUFFIX: &str = ".lock";

/// The file could not be used.
#[derive(Debug)]
pub(super) enum StateFileError {
    InUse,
    /// The file does not hold a whole database.
    Damaged(String),
    /// The disk, the system or redb refused.
    Io(io::Error),
}

impl StateFileError {
    /// Adds the path to an error of the system.
    fn located(self, path: &Path) -> Self {
        match self {
            Self::Io(error) => Self::Io(PathKind::File.error_at(path)(error)),
            other => other,
        }
    }
}

impl std::fmt::Display for StateFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse => f.write_str("the file is in use"),
            Self::Damaged(reason) => write!(f, "the file is damaged: {reason}"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for StateFileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<redb::Error> for StateFileError {
    fn from(error: redb::Error) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            redb::Error::Corrupted(reason) => Self::Damaged(reason),
            redb::Error::Io(error) if matches!(error.kind(), InvalidData | UnexpectedEof) => {
                Self::Damaged(error.to_string())
            }
            redb::Error::Io(error) => Self::Io(error),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

/// The content of the file when it was opened.
#[derive(Default)]
pub(super) struct LoadedStates {
    pub(super) states: HashMap<ActorPath, StoredState>,
    pub(super) damaged: HashMap<ActorPath, QuarantinedBytes>,
}

/// A state to be quarantined, as bytes.
pub(super) struct QuarantinedBytes {
    pub(super) reason: String,
    pub(super) bytes: Vec<u8>,
}

/// The content of one transaction.
#[derive(Default)]
pub(super) struct StateTransaction<'a> {
    /// The state of each path; `None` if it has none any more.
    pub(super) states: Vec<(&'a ActorPath, Option<StoredState>)>,
    pub(super) quarantined: &'a [(ActorPath, QuarantinedBytes)],
}

/// The file, locked while this value lives.
pub(super) struct StateFile {
    path: PathBuf,
    db: Option<Arc<Database>>,
    /// The description of the file when it was opened, which tells it from another one at its path.
    opened: Option<Metadata>,
    /// The number of the next record.
    next_record_number: u64,
    lock: File,
}

impl StateFile {
    /// Locks and reads the file, and creates it if there is none. A disk that takes nothing may still be readable;
    /// then its error is returned as well, and the first write opens the file again.
    pub(super) fn open(path: &Path) -> Result<(Self, LoadedStates, Option<io::Error>), StateFileError> {
        let lock = lock_file(path)?;
        let mut file = Self { path: path.to_owned(), db: None, opened: None, next_record_number: 1, lock };
        match file.open_and_read() {
            Ok(found) => Ok((file, found, None)),
            Err(StateFileError::Io(error)) => {
                match catch_damage(|| read_states(&Builder::new().open_read_only(path)?)) {
                    Ok((found, _)) => Ok((file, found, Some(error))),
                    Err(_) => Err(StateFileError::Io(error).located(path)),
                }
            }
            Err(fault) => Err(fault),
        }
    }

    /// Opens the file as [`open`](Self::open) does, in place of a damaged one, which is kept under another name. Also
    /// returns that name.
    pub(super) fn open_recreated(path: &Path) -> Result<(Self, Option<PathBuf>), StateFileError> {
        let lock = lock_file(path)?;
        let mut file = Self { path: path.to_owned(), db: None, opened: None, next_record_number: 1, lock };
        let kept_as = file.recreate().map_err(|error| error.located(path))?;
        Ok((file, kept_as))
    }

    /// Renames what is at the path, and begins an empty file. Returns the new name.
    pub(super) fn recreate(&mut self) -> Result<Option<PathBuf>, StateFileError> {
        self.db = None;
        let mut kept_as = None;
        if self.path.exists() {
            let free = kept_as.insert(free_sibling_path(&self.path)?);
            fs::rename(&self.path, free)?;
        }
        self.open_and_read()?;
        Ok(kept_as)
    }

    /// Returns whether the file at the path is still the open one. It may have been deleted, replaced or emptied.
    pub(super) fn is_in_place(&self) -> bool {
        let (Some(_), Some(opened)) = (&self.db, &self.opened) else { return true };
        fs::metadata(&self.path).is_ok_and(|found| found.len() > 0 && describes_same_file(opened, &found))
    }

    fn open_and_read(&mut self) -> Result<LoadedStates, StateFileError> {
        if !self.path.exists() {
            self.ensure_locked()?;
            create_database(&self.path)?;
        }
        let db = open_database(&self.path)?;
        self.opened = Some(fs::metadata(&self.path)?);
        let (found, highest) = catch_damage(|| read_states(&db))?;
        self.next_record_number = self.next_record_number.max(highest.saturating_add(1));
        self.db = Some(Arc::new(db));
        Ok(found)
    }

    /// Locks the file again if the lock was deleted, for example with the whole folder.
    fn ensure_locked(&mut self) -> Result<(), StateFileError> {
        let at_path = fs::metadata(sibling_path(&self.path, LOCK_SUFFIX));
        if !at_path.is_ok_and(|found| is_same_file(&self.lock, &found)) {
            self.lock = lock_file(&self.path)?;
        }
        Ok(())
    }

    /// Opens the file again if a refusal has closed it. Returns whether it had to be created, so that everything must
    /// be written again.
    pub(super) fn ensure_open(&mut self) -> Result<bool, StateFileError> {
        if self.db.is_some() {
            return Ok(false);
        }
        let is_gone = !self.path.exists();
        self.open_and_read()?;
        Ok(is_gone)
    }

    /// Writes `batch` in one transaction: all of it is on disk when this returns `Ok`.
    pub(super) fn write_states(&mut self, batch: &StateTransaction<'_>) -> Result<(), StateFileError> {
        let Some(db) = self.db.clone() else { return Ok(()) };
        let first_number = self.next_record_number;
        self.next_record_number += (batch.states.len() + batch.quarantined.len()) as u64;
        let written = catch_damage(|| write(&db, batch, first_number));
        if written.is_err() {
            self.db = None;
            drop(db);
        }
        written
    }

    /// Returns the database, unless the disk has just refused.
    pub(super) fn database(&self) -> Option<Arc<Database>> {
        self.db.clone()
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        self.db = None;
        // Closing the file is not enough: a process that is being started holds a copy of it until it executes its
        // program, and the lock with it. Where unlocking fails, closing has to do.
        let _ = self.lock.unlock();
    }
}

/// Locks the file for one store, also while it is reopened. The lock ends with the process, also when that is killed.
fn lock_file(path: &Path) -> Result<File, StateFileError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        create_private_dir(folder).map_err(PathKind::Folder.error_at(folder))?;
    }
    let path = sibling_path(path, LOCK_SUFFIX);
    let located = PathKind::File.error_at(&path);
    let file = private_file_options().write(true).open(&path).map_err(&located)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateFileError::InUse),
        Err(TryLockError::Error(error)) => Err(located(error).into()),
    }
}

fn sibling_path(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns a name beside `path` that no file has yet.
fn free_sibling_path(path: &Path) -> io::Result<PathBuf> {
    let names = (1..=999).map(|n| sibling_path(path, &format!(".damaged-{n}")));
    let full = || io::Error::other("there are 999 damaged files beside it already: move them away");
    names.into_iter().find(|name| !name.exists()).ok_or_else(full)
}

/// Runs `work` on the database; its panic is damage.
fn catch_damage<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StateFileError> {
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Ok(result?),
        Err(_) => Err(StateFileError::Damaged("the database panicked on it".to_owned())),
    }
}

/// Creates an empty database under another name first, so that a killed process leaves no partial one.
fn create_database(path: &Path) -> Result<(), StateFileError> {
    let unfinished = sibling_path(path, ".new");
    private_file_options().write(true).truncate(true).open(&unfinished)?;
    drop(open_database(&unfinished)?);
    fs::rename(&unfinished, path)?;
    Ok(sync_parent_dir(path)?)
}

fn open_database(path: &Path) -> Result<Database, StateFileError> {
    let file = private_file_options().read(true).write(true).open(path)?;
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    // This reads all of it once, and so finds bytes that have changed since they were written.
    builder.set_check_integrity_on_open(true);
    catch_damage(move || Ok(builder.create_with_backend(FileBackend::new(file)?)?))
}

/// Syncs the folder of a new file, which otherwise may be gone after a power cut.
fn sync_parent_dir(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Reads every state in use, and the highest number of a record.
fn read_states(db: &impl ReadableDatabase) -> Result<(LoadedStates, u64), redb::Error> {
    let transaction = db.begin_read()?;
    let (mut found, mut highest) = (LoadedStates::default(), 0);
    if let Some(states) = existing_table(transaction.open_table(STATES))? {
        for entry in states.iter()? {
            let (path, bytes) = entry?;
            let (path, bytes) = (ActorPath::from_stored(path.value()), bytes.value());
            match record::decode(&path, bytes) {
                Ok(record) => {
                    highest = highest.max(record.number);
                    found.states.insert(path, record.state);
                }
                Err(why) => {
                    found.damaged.insert(path, QuarantinedBytes { reason: why, bytes: bytes.to_owned() });
                }
            }
        }
    }
    if let Some(asides) = existing_table(transaction.open_table(QUARANTINED))? {
        for entry in asides.iter()? {
            highest = highest.max(entry?.0.value().1);
        }
    }
    Ok((found, highest))
}

/// Returns a table, unless nothing was ever written to it.
fn existing_table<T>(table: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write(db: &Database, batch: &StateTransaction<'_>, first_number: u64) -> Result<(), redb::Error> {
    // Immediate durability is redb's default: a commit that has returned is on disk.
    let transaction = db.begin_write()?;
    let mut number = first_number;
    {
        let mut states = transaction.open_table(STATES)?;
        for (path, state) in &batch.states {
            match state {
                Some(state) => {
                    let too_large = || redb::Error::ValueTooLarge(state.content.len());
                    let bytes = record::encode(path, number, state).ok_or_else(too_large)?;
                    states.insert(path.as_str(), bytes.as_slice())?;
                }
                None => drop(states.remove(path.as_str())?),
            }
            number += 1;
        }
    }
    if !batch.quarantined.is_empty() {
        write_quarantined(&transaction, batch, number)?;
    }
    transaction.commit()?;
    Ok(())
}

fn write_quarantined(
    transaction: &WriteTransaction,
    batch: &StateTransaction<'_>,
    first: u64,
) -> Result<(), redb::Error> {
    let mut asides = transaction.open_table(QUARANTINED)?;
    for ((path, remains), number) in batch.quarantined.iter().zip(first..) {
        asides.insert((path.as_str(), number), (remains.reason.as_str(), remains.bytes.as_slice()))?;
        let of_this_path = (path.as_str(), 0)..=(path.as_str(), u64::MAX);
        let numbers = asides
            .range(of_this_path)?
            .map(|entry| Ok(entry?.0.value().1))
            .collect::<Result<Vec<u64>, StorageError>>()?;
        for old in numbers.iter().rev().skip(QUARANTINED_PER_PATH_MAX) {
            asides.remove((path.as_str(), *old))?;
        }
    }
    while asides.len()? > QUARANTINED_MAX {
        let mut oldest: Option<(String, u64)> = None;
        for entry in asides.iter()? {
            let key = entry?.0;
            let (path, number) = key.value();
            if oldest.as_ref().is_none_or(|(_, least)| number < *least) {
                oldest = Some((path.to_owned(), number));
            }
        }
        let Some((path, number)) = oldest else { break };
        asides.remove((path.as_str(), number))?;
    }
    Ok(())
}

/// Returns the quarantined states, by path and then by age.
pub(super) fn read_quarantined(db: &Database) -> Result<Vec<QuarantinedState>, StateFileError> {
    catch_damage(|| {
        let transaction = db.begin_read()?;
        let Some(asides) = existing_table(transaction.open_table(QUARANTINED))? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in asides.iter()? {
            let (key, value) = entry?;
            let path = ActorPath::from_stored(key.value().0);
            let (why, bytes) = value.value();
            let remains = record::decode(&path, bytes).map(|record| record.state);
            let remains = remains.map_err(|_| bytes.to_owned());
            found.push(QuarantinedState { path: path.to_string(), reason: why.to_owned(), content: remains });
        }
        Ok(found)
    })
}
