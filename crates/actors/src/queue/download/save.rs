//! Saves a response body: writes a temporary file beside the target, and renames it once it is complete.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

use super::Download;
use crate::error::{Error, Reason};

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
        let mut draft = PartialFile::create_beside(path).await.map_err(failed)?;
        let mut bytes = 0;
        while let Some(part) = self.chunk().await? {
            draft.file.write_all(&part).await.map_err(failed)?;
            bytes += part.len() as u64;
        }
        draft.persist(path).await.map_err(failed)?;
        Ok(bytes)
    }
}

/// A temporary file. Dropping it removes it, after the file is closed, which some systems require.
struct PartialFile {
    file: File,
    path: TempPath,
}

impl PartialFile {
    async fn create_beside(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        // If this future is dropped meanwhile, so is the file, and that removes it.
        let created = spawn_blocking(move || create_beside(&path)).await.map_err(io::Error::other)?;
        let (file, path) = created?.into_parts();
        Ok(Self { file: File::from_std(file), path })
    }

    /// Syncs the file to disk and renames it to `path`.
    async fn persist(self, path: &Path) -> io::Result<()> {
        let Self { mut file, path: draft } = self;
        file.flush().await?;
        file.sync_all().await?;
        drop(file);
        let path = path.to_owned();
        Ok(spawn_blocking(move || draft.persist(path)).await.map_err(io::Error::other)??)
    }
}

fn create_beside(path: &Path) -> io::Result<NamedTempFile> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not name a file"));
    };
    let old = fs::metadata(path).ok();
    if old.as_ref().is_some_and(Metadata::is_dir) {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".part");
    // A new file gets the usual permissions, not those of a temporary one.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    #[cfg(unix)]
    if old.is_some() {
        // A private file must not be readable by others while it is rewritten.
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600));
    }
    let draft = builder.tempfile_in(path.parent().unwrap_or_else(|| Path::new("")))?;
    #[cfg(unix)]
    if let Some(old) = old {
        draft.as_file().set_permissions(old.permissions())?;
    }
    Ok(draft)
}
