//! An answer into a file: written beside it, and put into its place once it is whole.

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

/// How many names are tried for what is written beside the file: what an earlier process left behind may have one.
const NAMES_MAX: u32 = 100;

impl Download {
    /// Saves the whole body at `path`, and returns how many bytes it has. A file that is there is replaced; on Unix the
    /// new one has its permissions. A link there is replaced, not followed.
    ///
    /// It is written under another name in the same folder, and renamed once it is whole and on the disk. Whatever
    /// happens before, dropping the future included, leaves `path` as it was and nothing beside it; only a process that
    /// is killed leaves a file there, whose name ends with `.part`.
    ///
    /// A body that ends with its connection is saved as it came, and may be cut off; whoever would rather keep the old
    /// file looks at [`is_end_marked`](Self::is_end_marked) before.
    ///
    /// # Errors
    ///
    /// As [`chunk`](Self::chunk); [`Reason::NotSaved`] if the file cannot be written, and then the request is called
    /// off.
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

/// A file that is being written. Dropping it removes it.
struct PartialFile {
    file: File,
    path: RemoveOnDrop,
}

/// Where it is. Dropped after the file is closed, which some systems want.
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
                        // What only its owner may read must not be open to all while it is written anew.
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

    /// Puts it into its place, whole and on the disk.
    async fn persist(self, path: &Path) -> io::Result<()> {
        let Self { mut file, path: place } = self;
        file.flush().await?;
        file.sync_all().await?;
        drop(file);
        // From here on dropping the place finds nothing to remove.
        fs::rename(&place.0, path).await
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // It is gone already if it was put into its place; nothing can be done if it cannot be removed.
        let _ = std::fs::remove_file(&self.0);
    }
}
