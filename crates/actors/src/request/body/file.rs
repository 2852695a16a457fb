//! Reads a file as the body of a request, in parts off the async threads.

use std::{io, path::Path, time::SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use tokio::{
    fs::{self, File},
    io::AsyncReadExt,
};

use super::{BODY_PART_BYTES_MAX, BodyError, BodyParts};

/// The metadata of a file at its opening. If they differ at the end, the file was written to meanwhile, and its bytes
/// may be neither the old nor the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileFingerprint {
    length: u64,
    /// `None` if the file system does not report it.
    modified: Option<SystemTime>,
}

impl FileFingerprint {
    async fn read(file: &File) -> io::Result<Self> {
        let found = file.metadata().await?;
        Ok(Self { length: found.len(), modified: found.modified().ok() })
    }
}

/// Opens the file at `path`, and returns its length and its parts.
pub(super) async fn open(path: &Path) -> Result<(u64, BodyParts), BodyError> {
    let refuse = |why: &str| BodyError::Unreadable(format!("{}: {why}", path.display()));
    let failed = |error: io::Error| refuse(&error.to_string());
    // Opening a pipe can wait for ever, so the kind of file is checked first.
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

/// Returns the next part; `None` at the end of an unchanged file.
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
