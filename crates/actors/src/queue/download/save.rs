//! Saves a response body: writes a temporary file beside the target, and renames it once it is complete.

use std::{
    ffi::OsString,
    fs::Metadata,
    io,
    path::{Path, PathBuf},
};

use tokio::{
    fs::{self, File},
    io::AsyncWriteExt,
};

use super::Download;
use crate::error::{Error, Reason};

/// The most temporary names tried. An earlier process may have left some of them behind.
const NAMES_MAX: u32 = 100;

impl Download {
    /// Saves the whole body at `path` and returns its size in bytes. Replaces an existing file; on Unix the new file
    /// keeps its permissions. Replaces a symbolic link instead of following it.
    ///
    /// The body goes into a temporary file in the same folder, which is renamed once it is complete and synced to
    /// disk. Any failure, and dropping the future, leaves `path` unchanged and no file beside it. Only a killed
    /// process leaves a file, whose name ends with `.part`.
    ///
    /// A body that ends with its connection is saved as it came and may be cut off. Check
    /// [`is_end_marked`](Self::is_end_marked) first to keep the old file instead.
    ///
    /// # Errors
    ///
    /// The errors of [`chunk`](Self::chunk); [`Reason::NotSaved`] if the file cannot be written, which cancels the
    /// request.
    pub async fn save_to(mut self, path: impl AsRef<Path>) -> Result<u64, Error> {
        let (id, attempts) = (self.request_id, self.attempts);
        let path = path.as_ref();
        let failed = |error: io::Error| {
            let details = format!("{}: {error}", path.display());
            Error::new(Reason::NotSaved).with_details(&details).with_request_id(id).with_attempts(attempts)
        };
        let mut draft = PartialFile::create_beside(path, &id.to_string()).await.map_err(failed)?;
        let mut bytes = 0;
        while let Some(part) = self.chunk().await? {
            draft.file.write_all(&part).await.map_err(failed)?;
            bytes += part.len() as u64;
        }
        draft.persist(path).await.map_err(failed)?;
        Ok(bytes)
    }
}

/// A temporary file. Dropping it removes it.
struct PartialFile {
    file: File,
    path: RemoveOnDrop,
}

/// The path to remove. Dropped after the file is closed, which some systems require.
struct RemoveOnDrop(PathBuf);

impl PartialFile {
    async fn create_beside(path: &Path, mark: &str) -> io::Result<Self> {
        let Some(name) = path.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not name a file"));
        };
        let old = fs::metadata(path).await.ok();
        if old.as_ref().is_some_and(Metadata::is_dir) {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        for number in 0..NAMES_MAX {
            let mut draft = OsString::from(".");
            draft.push(name);
            draft.push(format!(".{mark}-{number}.part"));
            let place = path.with_file_name(draft);
            match File::create_new(&place).await {
                Ok(file) => {
                    let draft = Self { file, path: RemoveOnDrop(place) };
                    if let Some(old) = old.filter(|_| cfg!(unix)) {
                        // A private file must not be readable by others while it is rewritten.
                        draft.file.set_permissions(old.permissions()).await?;
                    }
                    return Ok(draft);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name beside it is taken"))
    }

    /// Syncs the file to disk and renames it to `path`.
    async fn persist(self, path: &Path) -> io::Result<()> {
        let Self { mut file, path: place } = self;
        file.flush().await?;
        file.sync_all().await?;
        drop(file);
        // After the rename, dropping the path finds nothing to remove.
        fs::rename(&place.0, path).await
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // After a rename the file is gone; a failed removal cannot be handled here.
        let _ = std::fs::remove_file(&self.0);
    }
}
