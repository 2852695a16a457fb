//! Defines the body of a request: in memory, in a file, or a stream. Each attempt opens it again.

mod file;
mod reader;

use parking_lot::Mutex;
use std::{fmt, io, path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};

pub(crate) use self::reader::BODY_PART_BYTES_MAX;
pub use self::reader::BodyReader;

/// The body of a request. Cheap to clone; clones of a single-use body share it.
#[derive(Clone)]
pub struct Body(BodySource);

#[derive(Clone)]
enum BodySource {
    Bytes(Bytes),
    File(Arc<Path>),
    Factory { length: Option<u64>, open: Arc<dyn Fn() -> BodyParts + Send + Sync> },
    SingleUse { length: Option<u64>, parts: SingleUse },
}

/// The parts of a body.
type BodyParts = BoxStream<'static, Result<Bytes, BodyError>>;

/// Single-use parts; `None` once the connection has asked for the first.
type SingleUse = Arc<Mutex<Option<BodyParts>>>;

/// Says why a body could not be sent whole. The text is for a log and may name the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body cannot be opened, or reading it failed.
    #[error("{0}")]
    Unreadable(String),
    /// The length differs from the announced one, or the file was written to meanwhile.
    #[error("{0}")]
    Changed(String),
}

impl BodyError {
    fn unreadable(error: &io::Error) -> Self {
        Self::Unreadable(format!("reading it failed: {error}"))
    }
}

impl Body {
    /// Creates a body from the file at `path`. Each attempt uses the length at its opening.
    pub(super) fn from_file(path: &Path) -> Self {
        Self(BodySource::File(path.into()))
    }

    /// Creates a body from `open`, which is called for each attempt.
    pub(super) fn from_factory<S>(length: Option<u64>, open: impl Fn() -> S + Send + Sync + 'static) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        Self(BodySource::Factory { length, open: Arc::new(move || to_parts(open())) })
    }

    /// Creates a body from a single-use `stream`.
    pub(super) fn from_stream(
        length: Option<u64>,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self(BodySource::SingleUse { length, parts: Arc::new(Mutex::new(Some(to_parts(stream)))) })
    }

    /// Returns the whole body, if it is in memory.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            BodySource::Bytes(bytes) => Some(bytes),
            BodySource::File(_) | BodySource::Factory { .. } | BodySource::SingleUse { .. } => None,
        }
    }

    /// Returns whether the body is single-use and was begun, so that no other attempt can send it.
    #[must_use]
    pub(crate) fn is_spent(&self) -> bool {
        match &self.0 {
            BodySource::SingleUse { parts, .. } => parts.lock().is_none(),
            BodySource::Bytes(_) | BodySource::File(_) | BodySource::Factory { .. } => false,
        }
    }

    /// Opens the body for one attempt.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if the file is missing, is no regular file, or cannot be opened.
    pub async fn open(&self) -> Result<BodyReader, BodyError> {
        match &self.0 {
            BodySource::Bytes(bytes) => Ok(BodyReader::from_bytes(bytes.clone())),
            BodySource::File(path) => {
                // Boxed, so that requests without a file need no room for it.
                let (length, parts) = Box::pin(file::open(path)).await?;
                BodyReader::from_parts(Some(length), parts).check_empty().await
            }
            BodySource::Factory { length, open } => {
                BodyReader::from_parts(*length, open()).check_empty().await
            }
            BodySource::SingleUse { length, parts } => {
                BodyReader::from_single_use(*length, Arc::clone(parts)).check_empty().await
            }
        }
    }
}

fn to_parts(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> BodyParts {
    stream.map(|part| part.map_err(|error| BodyError::unreadable(&error))).boxed()
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(BodySource::Bytes(bytes))
    }
}

impl fmt::Debug for Body {
    /// Shows the kind of body, and nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            BodySource::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            BodySource::File(_) => f.write_str("a file"),
            BodySource::Factory { length, .. } => write!(f, "a stream of {length:?} bytes"),
            BodySource::SingleUse { length, .. } => {
                write!(f, "a stream of {length:?} bytes that is there once")
            }
        }
    }
}

#[cfg(test)]
mod tests;
