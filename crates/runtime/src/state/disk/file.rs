//! The file that states are kept in: a redb database with two tables, and what can go wrong with it.
//!
//! redb calls the disk from many places, and after one refusal it wants to be opened anew; on a file that was
//! damaged it may panic. Both end here: a refusal closes the file, the next write opens it again, and a panic is one
//! more kind of damage.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
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
use crate::journal::private;
use crate::path::ActorPath;
use crate::state::memory::ASIDES_PER_PATH_MAX;
use crate::state::{SetAside, StoredState};

/// The state in use of each path.
const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");
/// Path and number -> why, and the record as it was.
const ASIDES: TableDefinition<'_, (&str, u64), (&str, &[u8])> = TableDefinition::new("set_aside");
/// States set aside that are kept in all; the oldest go first.
const ASIDES_MAX: u64 = 1024;
/// What redb may cache: every state is in memory already.
const CACHE_BYTES: usize = 1024 * 1024;

/// Why the file could not be used.
#[derive(Debug)]
pub(super) enum Fault {
    InUse,
    /// What is in the file is no whole database.
    Damaged(String),
    /// The disk, the system or redb refused.
    Refused(io::Error),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse => f.write_str("the file is in use"),
            Self::Damaged(reason) => write!(f, "the file is damaged: {reason}"),
            Self::Refused(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            redb::Error::Corrupted(reason) => Self::Damaged(reason),
            redb::Error::Io(error) if matches!(error.kind(), InvalidData | UnexpectedEof) => {
                Self::Damaged(error.to_string())
            }
            redb::Error::Io(error) => Self::Refused(error),
            other => Self::Refused(io::Error::other(other)),
        }
    }
}

/// What was found in the file.
#[derive(Default)]
pub(super) struct Found {
    pub(super) states: HashMap<ActorPath, StoredState>,
    pub(super) damaged: HashMap<ActorPath, Remains>,
}

/// A state that is to be set aside, as bytes.
pub(super) struct Remains {
    pub(super) why: String,
    pub(super) bytes: Vec<u8>,
}

/// What one transaction writes.
#[derive(Default)]
pub(super) struct Batch<'a> {
    /// The state of each path; `None` where there is none any more.
    pub(super) states: Vec<(&'a ActorPath, Option<StoredState>)>,
    pub(super) asides: &'a [(ActorPath, Remains)],
}

/// The file, locked for as long as this lives.
pub(super) struct StateFile {
    path: PathBuf,
    db: Option<Arc<Database>>,
    /// The number of the next record.
    next_number: u64,
    _lock: File,
}

impl StateFile {
    /// Locks the file and reads it; makes it where there is none. A disk that takes nothing may still be read; then
    /// what it said is returned as well, and the first write opens the file again.
    pub(super) fn open(path: &Path) -> Result<(Self, Found, Option<io::Error>), Fault> {
        let lock = lock(path)?;
        let mut file = Self { path: path.to_owned(), db: None, next_number: 1, _lock: lock };
        match file.take_up() {
            Ok(found) => Ok((file, found, None)),
            Err(Fault::Refused(error)) => match whole(|| read(&Builder::new().open_read_only(path)?)) {
                Ok((found, _)) => Ok((file, found, Some(error))),
                Err(_) => Err(Fault::Refused(error)),
            },
            Err(fault) => Err(fault),
        }
    }

    /// As [`open`](Self::open), in the place of a file that is damaged, which is kept under another name. Also says
    /// which.
    pub(super) fn open_anew(path: &Path) -> Result<(Self, PathBuf), Fault> {
        let lock = lock(path)?;
        let mut file = Self { path: path.to_owned(), db: None, next_number: 1, _lock: lock };
        let kept_as = file.begin_anew()?;
        Ok((file, kept_as))
    }

    /// Puts the damaged file out of the way, and begins an empty one.
    pub(super) fn begin_anew(&mut self) -> Result<PathBuf, Fault> {
        self.db = None;
        let kept_as = free_name(&self.path)?;
        fs::rename(&self.path, &kept_as)?;
        self.take_up()?;
        Ok(kept_as)
    }

    fn take_up(&mut self) -> Result<Found, Fault> {
        if !self.path.exists() {
            make_database(&self.path)?;
        }
        let db = open_database(&self.path)?;
        let (found, highest) = whole(|| read(&db))?;
        self.next_number = self.next_number.max(highest.saturating_add(1));
        self.db = Some(Arc::new(db));
        Ok(found)
    }

    /// Opens the file again if a refusal has closed it. Whether it had to be made, so that all must be written again.
    pub(super) fn ready(&mut self) -> Result<bool, Fault> {
        if self.db.is_some() {
            return Ok(false);
        }
        let is_gone = !self.path.exists();
        self.take_up()?;
        Ok(is_gone)
    }

    /// Writes `batch` in one transaction: all of it is on disk when this returns `Ok`.
    pub(super) fn write(&mut self, batch: &Batch<'_>) -> Result<(), Fault> {
        let Some(db) = self.db.clone() else { return Ok(()) };
        let first_number = self.next_number;
        self.next_number += (batch.states.len() + batch.asides.len()) as u64;
        let written = whole(|| write(&db, batch, first_number));
        if written.is_err() {
            self.db = None;
            drop(db);
        }
        written
    }

    /// The database, unless the disk has just refused.
    pub(super) fn database(&self) -> Option<Arc<Database>> {
        self.db.clone()
    }
}

/// One store a file, also while it is being opened anew: the lock goes with the process, however that ends.
fn lock(path: &Path) -> Result<File, Fault> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private::folder(folder)?;
    }
    let file = private::file().write(true).open(beside(path, ".lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Fault::InUse),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A name beside `path` that no file has yet.
fn free_name(path: &Path) -> io::Result<PathBuf> {
    let names = (1..=999).map(|n| beside(path, &format!(".damaged-{n}")));
    let full = || io::Error::other("there are 999 damaged files beside it already: move them away");
    names.into_iter().find(|name| !name.exists()).ok_or_else(full)
}

/// Runs `work` on the database; its panic is damage.
fn whole<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Fault> {
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Ok(result?),
        Err(_) => Err(Fault::Damaged("the database panicked over it".to_owned())),
    }
}

/// Makes an empty database under another name first: a process that is killed meanwhile leaves no half of one.
fn make_database(path: &Path) -> Result<(), Fault> {
    let unfinished = beside(path, ".new");
    private::file().write(true).truncate(true).open(&unfinished)?;
    drop(open_database(&unfinished)?);
    fs::rename(&unfinished, path)?;
    Ok(sync_folder_of(path)?)
}

fn open_database(path: &Path) -> Result<Database, Fault> {
    let file = private::file().read(true).write(true).open(path)?;
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    // Reads all of it once, and so finds what has changed in the file since it was written.
    builder.set_check_integrity_on_open(true);
    whole(move || Ok(builder.create_with_backend(FileBackend::new(file)?)?))
}

/// A new file is there after a power cut only if its folder was synced.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Everything in use, and the highest number of a record.
fn read(db: &impl ReadableDatabase) -> Result<(Found, u64), redb::Error> {
    let transaction = db.begin_read()?;
    let (mut found, mut highest) = (Found::default(), 0);
    if let Some(states) = there(transaction.open_table(STATES))? {
        for entry in states.iter()? {
            let (path, bytes) = entry?;
            let (path, bytes) = (ActorPath::recalled(path.value()), bytes.value());
            match record::decode(&path, bytes) {
                Ok(record) => {
                    highest = highest.max(record.number);
                    found.states.insert(path, record.state);
                }
                Err(why) => {
                    found.damaged.insert(path, Remains { why, bytes: bytes.to_owned() });
                }
            }
        }
    }
    if let Some(asides) = there(transaction.open_table(ASIDES))? {
        for entry in asides.iter()? {
            highest = highest.max(entry?.0.value().1);
        }
    }
    Ok((found, highest))
}

/// A table, unless nothing was ever written to it.
fn there<T>(table: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write(db: &Database, batch: &Batch<'_>, first_number: u64) -> Result<(), redb::Error> {
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
    if !batch.asides.is_empty() {
        write_asides(&transaction, batch, number)?;
    }
    transaction.commit()?;
    Ok(())
}

fn write_asides(transaction: &WriteTransaction, batch: &Batch<'_>, first: u64) -> Result<(), redb::Error> {
    let mut asides = transaction.open_table(ASIDES)?;
    for ((path, remains), number) in batch.asides.iter().zip(first..) {
        asides.insert((path.as_str(), number), (remains.why.as_str(), remains.bytes.as_slice()))?;
        let of_this_path = (path.as_str(), 0)..=(path.as_str(), u64::MAX);
        let numbers = asides
            .range(of_this_path)?
            .map(|entry| Ok(entry?.0.value().1))
            .collect::<Result<Vec<u64>, StorageError>>()?;
        for old in numbers.iter().rev().skip(ASIDES_PER_PATH_MAX) {
            asides.remove((path.as_str(), *old))?;
        }
    }
    while asides.len()? > ASIDES_MAX {
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

/// What was set aside, by path and then by age.
pub(super) fn read_asides(db: &Database) -> Result<Vec<SetAside>, Fault> {
    whole(|| {
        let transaction = db.begin_read()?;
        let Some(asides) = there(transaction.open_table(ASIDES))? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in asides.iter()? {
            let (key, value) = entry?;
            let path = ActorPath::recalled(key.value().0);
            let (why, bytes) = value.value();
            let remains = record::decode(&path, bytes).map(|record| record.state);
            let remains = remains.map_err(|_| bytes.to_owned());
            found.push(SetAside { path: path.to_string(), why: why.to_owned(), remains });
        }
        Ok(found)
    })
}
