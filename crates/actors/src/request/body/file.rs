//! A file as the body of a request, read in parts off the async threads.

use std::{io, path::Path, time::SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use tokio::{
    fs::{self, File},
    io::AsyncReadExt,
};

use super::{BODY_PART_BYTES_MAX, BodyError, BodyParts};

/// What a file looked like when it was opened. One that looks otherwise at its end was written to meanwhile, and what
/// was read of it may be neither the old nor the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileFingerprint {
    length: u64,
    /// `None` where the file system does not tell.
    modified: Option<SystemTime>,
}

impl FileFingerprint {
    async fn read(file: &File) -> io::Result<Self> {
        let found = file.metadata().await?;
        Ok(Self { length: found.len(), modified: found.modified().ok() })
    }
}

/// Opens the file at `path`: how long it is, and its parts.
pub(super) async fn open(path: &Path) -> Result<(u64, BodyParts), BodyError> {
    let refuse = |why: &str| BodyError::Unreadable(format!("{}: {why}", path.display()));
    let failed = |error: io::Error| refuse(&error.to_string());
    // Opening what is no file can wait for ever (a pipe), so it is looked at first.
    let found = fs::metadata(path).await.map_err(failed)?;
    if found.is_dir() {
        return Err(refuse("it is a folder"));
    }
    if !found.is_file() {
        return Err(refuse("it is not a regular file"));
    }
    let file = File::open(path).await.map_err(failed)?;
    let look = FileFingerprint::read(&file).await.map_err(failed)?;
    let parts = stream::try_unfold((file, look), |(mut file, look)| async move {
        let part = next_part(&mut file, look).await?;
        Ok(part.map(|part| (part, (file, look))))
    });
    Ok((look.length, parts.boxed()))
}

/// The next part; `None` at the end of a file that is still as it was.
async fn next_part(file: &mut File, look: FileFingerprint) -> Result<Option<Bytes>, BodyError> {
    let mut part = BytesMut::with_capacity(BODY_PART_BYTES_MAX);
    if file.read_buf(&mut part).await.map_err(|error| BodyError::unreadable(&error))? > 0 {
        return Ok(Some(part.freeze()));
    }
    match FileFingerprint::read(file).await {
        Ok(now) if now == look => Ok(None),
        Ok(now) => {
            let (was, is) = (look.length, now.length);
            Err(BodyError::Changed(format!("the file was written to: it had {was} bytes and now has {is}")))
        }
        Err(error) => Err(BodyError::unreadable(&error)),
    }
}
