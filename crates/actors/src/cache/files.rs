//! Reading files and searching folders, with what was read kept until it changes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::entry_options::EntryOptions;
use super::handle::CacheHandle;
use super::load::Loaded;
use super::value::CacheValue;
use super::watch::{Roots, WatchedPath};
use crate::error::{Error, Reason};

/// The largest file that is read.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// The user's files, kept while the folders that they are in are watched. Cheap to clone.
///
/// A change drops what was kept of it. Between the two there are the time in which changes are gathered and at most 50 ms
/// more, on a machine that is not overloaded; so long it may be told as it was. Somebody who asks while another's read is
/// under way shares it.
///
/// Nothing is kept of what no event would tell about: what is outside of the watched folders, or in one that is not watched
/// at the moment; what a symlink below a watched folder leads to (it is read, never followed by the watch); a path with
/// `..` or one that is no UTF-8; a file that has another name somewhere (a hard link). All of that is read plainly.
///
/// Of some changes no system tells: what another machine does on a network file system, what is mounted below a watched
/// folder, what is written by another name that a file has been given since it was read, or has changed its capitals
/// where those make no difference. So what is kept is kept for the cache's own time at most, and that something is not
/// there for as long as failures are.
#[derive(Debug, Clone)]
pub struct FileCache {
    cache: CacheHandle,
    roots: Roots,
}

impl FileCache {
    /// Files kept in `cache` as far as `roots` are watched.
    #[must_use]
    pub fn new(cache: CacheHandle, roots: Roots) -> Self {
        Self { cache, roots }
    }

    /// The folders that are to be watched.
    #[must_use]
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Whether the contents of a file, or that it is not there, are kept at the moment. Reads nothing.
    #[must_use]
    pub fn is_cached(&self, path: &Path) -> bool {
        let key = self.roots.locate(path).and_then(|stand| stand.key.file_key());
        key.is_some_and(|key| self.cache.contains(&key))
    }

    /// The contents of a file, by its absolute path; at most [`FILE_BYTES_MAX`].
    ///
    /// # Errors
    /// `not_found` when it is not there, which is kept as failures are, and dropped when it appears; `forbidden`, or
    /// `invalid_request` when it is no file, is too large, or cannot be read, or the path is not absolute.
    pub async fn read_bytes(&self, path: &Path) -> Result<Bytes, Error> {
        check_absolute(path)?;
        let way = |stand: &WatchedPath| stand.key.file_key();
        let Some((stand, key)) = self.find_cacheable(path, way).await? else {
            return run_blocking({
                let path = path.to_owned();
                move || Ok(read(&path)?.0)
            })
            .await;
        };
        let roots = self.roots.clone();
        let load = || async move {
            let (bytes, is_kept) = run_blocking({
                let path = stand.path.clone();
                move || {
                    // Before it is read: whatever comes in between is told.
                    let is_direct = is_canonical(&path);
                    let (bytes, is_alone) = read(&path)?;
                    Ok((bytes, is_direct && is_alone))
                }
            })
            .await?;
            let loaded = Loaded::new(CacheValue::Bytes(bytes));
            Ok(if is_kept && roots.is_current(&stand) { loaded } else { loaded.uncached() })
        };
        self.get_or_load(&key, load).await
    }

    /// What a search of a folder finds, by its absolute path: what is kept, or what `load` brings. It is dropped when
    /// anything in the folder, or in a folder in it, changes. `load` must read nothing else.
    ///
    /// # Errors
    /// `invalid_request` when the path is not absolute; else what `load` failed with, which is kept as failures are.
    pub async fn search<F>(
        &self,
        folder: &Path,
        query: &str,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Bytes, Error>
    where
        F: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        check_absolute(folder)?;
        let Some((stand, key)) = self.find_cacheable(folder, |stand| stand.key.search_key(query)).await?
        else {
            return load().await;
        };
        let roots = self.roots.clone();
        let load = || async move {
            let path = stand.path.clone();
            let is_direct = run_blocking(move || Ok(is_canonical(&path))).await?;
            let loaded = Loaded::new(CacheValue::Bytes(load().await?));
            Ok(if is_direct && roots.is_current(&stand) { loaded } else { loaded.uncached() })
        };
        self.get_or_load(&key, load).await
    }

    /// The stand and the key of what may be kept; `None` for what has to be read plainly.
    async fn find_cacheable(
        &self,
        path: &Path,
        key: impl Fn(&WatchedPath) -> Option<String>,
    ) -> Result<Option<(WatchedPath, String)>, Error> {
        let found = self.roots.locate(path).and_then(|stand| key(&stand).map(|key| (stand, key)));
        let Some((stand, key)) = found else { return Ok(None) };
        // What is kept was direct when it was read, and events tell when it no longer is.
        if self.cache.contains(&key) {
            return Ok(Some((stand, key)));
        }
        let path = stand.path.clone();
        let is_direct = run_blocking(move || Ok(is_canonical(&path))).await?;
        Ok(is_direct.then_some((stand, key)))
    }

    async fn get_or_load<F>(
        &self,
        key: &str,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Bytes, Error>
    where
        F: Future<Output = Result<Loaded, Error>> + Send + 'static,
    {
        let keeping = EntryOptions {
            stale_for: Duration::ZERO,
            depends_on_connection: false,
            ..self.cache.default_options()
        };
        match self.cache.get_or_load(key, None, keeping, load).await?.value {
            CacheValue::Bytes(bytes) => Ok(bytes),
            CacheValue::Response(_) => Err(Error::new(Reason::Internal)),
        }
    }
}

fn check_absolute(path: &Path) -> Result<(), Error> {
    if path.is_absolute() {
        return Ok(());
    }
    let message =
        "The place of a file or folder must be given in full, from the top. Correct it, then try again.";
    Err(Error::invalid(message).with_details(&format!("not an absolute path: {}", path.display())))
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let broken_off = |error: tokio::task::JoinError| {
        let reason = if error.is_panic() { Reason::Crashed } else { Reason::Stopped };
        Err(Error::new(reason))
    };
    spawn_blocking(work).await.unwrap_or_else(broken_off)
}

/// Whether a path leads to what is there, or would be, without a symlink, and by its one spelling. Only then every change
/// of that is told by this path.
fn is_canonical(path: &Path) -> bool {
    match fs::canonicalize(path) {
        Ok(real) => real == path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A symlink that leads nowhere is there as well.
            let is_nothing = fs::symlink_metadata(path).is_err();
            is_nothing && path.parent().is_some_and(is_canonical)
        }
        Err(_) => false,
    }
}

/// The contents of a file, and whether it has no other name.
fn read(path: &Path) -> Result<(Bytes, bool), Error> {
    let failed = |error: io::Error| read_error(path, &error);
    // Whoever opens a pipe waits for somebody at its other end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        let message = "This is no file. Choose a file, then try again.";
        return Err(Error::invalid(message).with_details(&format!("no file: {}", path.display())));
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let too_large = || {
        let message = "The file is too large to be read at once. Choose a smaller one.";
        let details = format!("larger than {FILE_BYTES_MAX} bytes: {}", path.display());
        Err(Error::invalid(message).with_details(&details))
    };
    if metadata.len() > FILE_BYTES_MAX {
        return too_large();
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // It may grow meanwhile.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return too_large();
    }
    Ok((bytes.into(), has_single_link(&metadata)))
}

#[cfg(unix)]
fn has_single_link(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) <= 1
}

/// Nobody tells.
#[cfg(not(unix))]
const fn has_one_name(_: &fs::Metadata) -> bool {
    true
}

fn read_error(path: &Path, error: &io::Error) -> Error {
    let (reason, message) = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            (Reason::NotFound, "There is no such file. Check the name, or refresh the view.")
        }
        io::ErrorKind::PermissionDenied => {
            (Reason::Forbidden, "The file may not be read. Check its permissions.")
        }
        _ => (Reason::InvalidRequest, "The file could not be read. Check that it is there, then try again."),
    };
    Error::new(reason).with_message(message).with_details(&format!("{}: {error}", path.display()))
}
