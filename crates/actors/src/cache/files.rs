//! Reads files and searches folders, and caches the results until they change.

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

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// Caches the user's files while their folders are watched. Cheap to clone.
///
/// A change drops the cached entries. It takes effect after the debounce time and at most 50 ms more, on a machine
/// that is not overloaded. Until then a read may return the old contents. Concurrent reads of one file share one
/// read.
///
/// Nothing is cached if no event would announce its change:
/// - a path outside of the watched folders, or in one that is not watched at the moment;
/// - the target of a symlink below a watched folder, which the watch does not follow;
/// - a path with `..`, or one that is not UTF-8;
/// - a file that has another name somewhere (a hard link).
///
/// Such files are read without the cache.
///
/// No system reports some changes: those of another machine on a network file system, and those below a mount point.
/// The same holds for writes through a name that a file was given later, and for a changed case on a case-insensitive
/// system. So contents are kept for the cache's own time to live at most, and a missing file for as long as failures
/// are.
#[derive(Debug, Clone)]
pub struct FileCache {
    cache: CacheHandle,
    roots: Roots,
}

impl FileCache {
    /// Caches files in `cache` as far as `roots` are watched.
    #[must_use]
    pub fn new(cache: CacheHandle, roots: Roots) -> Self {
        Self { cache, roots }
    }

    /// Returns the folders to watch.
    #[must_use]
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Returns whether a file's contents, or its absence, are cached at the moment. Reads no file.
    #[must_use]
    pub fn is_cached(&self, path: &Path) -> bool {
        let key = self.roots.locate(path).and_then(|watched| watched.key.file_key());
        key.is_some_and(|key| self.cache.contains(&key))
    }

    /// Reads the file at an absolute path, of at most [`FILE_BYTES_MAX`].
    ///
    /// # Errors
    /// Fails with `not_found` if the file does not exist. This is cached as a failure, and dropped when the file
    /// appears. Fails with `forbidden` if access is denied. Fails with `invalid_request` if the path is relative, is
    /// not a file, is too large, or cannot be read.
    pub async fn read_bytes(&self, path: &Path) -> Result<Bytes, Error> {
        check_absolute(path)?;
        let way = |watched: &WatchedPath| watched.key.file_key();
        let Some((watched, key)) = self.find_cacheable(path, way).await? else {
            return run_blocking({
                let path = path.to_owned();
                move || Ok(read(&path)?.0)
            })
            .await;
        };
        let roots = self.roots.clone();
        let load = || async move {
            let (bytes, is_kept) = run_blocking({
                let path = watched.path.clone();
                move || {
                    // Checked before the read, so the watch reports any later change.
                    let is_direct = is_canonical(&path);
                    let (bytes, is_alone) = read(&path)?;
                    Ok((bytes, is_direct && is_alone))
                }
            })
            .await?;
            let loaded = Loaded::new(CacheValue::Bytes(bytes));
            Ok(if is_kept && roots.is_current(&watched) { loaded } else { loaded.uncached() })
        };
        self.get_or_load(&key, load).await
    }

    /// Searches the folder at an absolute path: returns the cached result, or the result of `load`. Any change in the
    /// folder or below it drops the result. `load` must read nothing else.
    ///
    /// # Errors
    /// Fails with `invalid_request` if the path is relative; else with the error of `load`, which is cached as
    /// failures are.
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
        let Some((watched, key)) =
            self.find_cacheable(folder, |watched| watched.key.search_key(query)).await?
        else {
            return load().await;
        };
        let roots = self.roots.clone();
        let load = || async move {
            let path = watched.path.clone();
            let is_direct = run_blocking(move || Ok(is_canonical(&path))).await?;
            let loaded = Loaded::new(CacheValue::Bytes(load().await?));
            Ok(if is_direct && roots.is_current(&watched) { loaded } else { loaded.uncached() })
        };
        self.get_or_load(&key, load).await
    }

    /// Returns the watched path and the key of a result that can be cached; `None` if it must be read without the
    /// cache.
    async fn find_cacheable(
        &self,
        path: &Path,
        key: impl Fn(&WatchedPath) -> Option<String>,
    ) -> Result<Option<(WatchedPath, String)>, Error> {
        let found = self.roots.locate(path).and_then(|watched| key(&watched).map(|key| (watched, key)));
        let Some((watched, key)) = found else { return Ok(None) };
        // A cached path was canonical when it was read, and events report when it no longer is.
        if self.cache.contains(&key) {
            return Ok(Some((watched, key)));
        }
        let path = watched.path.clone();
        let is_direct = run_blocking(move || Ok(is_canonical(&path))).await?;
        Ok(is_direct.then_some((watched, key)))
    }

    async fn get_or_load<F>(
        &self,
        key: &str,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Bytes, Error>
    where
        F: Future<Output = Result<Loaded, Error>> + Send + 'static,
    {
        let options = EntryOptions {
            stale_for: Duration::ZERO,
            depends_on_connection: false,
            ..self.cache.default_options()
        };
        match self.cache.get_or_load(key, None, options, load).await?.value {
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

/// Returns whether a path reaches its file without a symlink and by its one spelling. Only then each change of the
/// file is reported by this path.
fn is_canonical(path: &Path) -> bool {
    match fs::canonicalize(path) {
        Ok(real) => real == path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A dangling symlink exists too.
            let is_nothing = fs::symlink_metadata(path).is_err();
            is_nothing && path.parent().is_some_and(is_canonical)
        }
        Err(_) => false,
    }
}

/// Returns the contents of a file, and whether it has no other name.
fn read(path: &Path) -> Result<(Bytes, bool), Error> {
    let failed = |error: io::Error| read_error(path, &error);
    // Opening a pipe waits for its other end.
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
    // The file may grow during the read.
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

/// Returns true, because this system does not report the number of links.
#[cfg(not(unix))]
const fn has_single_link(_: &fs::Metadata) -> bool {
    true
}

fn read_error(path: &Path, error: &io::Error) -> Error {
    let (reason, message) = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            (Reason::NotFound, "There is no such file. Check the name.")
        }
        io::ErrorKind::PermissionDenied => {
            (Reason::Forbidden, "The file may not be read. Check its permissions.")
        }
        _ => (Reason::InvalidRequest, "The file could not be read. Check that it is there, then try again."),
    };
    Error::new(reason).with_message(message).with_details(&format!("{}: {error}", path.display()))
}
