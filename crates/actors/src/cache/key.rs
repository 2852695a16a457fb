//! Validates keys, which have the form `namespace:rest`.

use thiserror::Error;

use crate::error::{Error, Reason};

/// The longest key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 8 * 1024;

/// The prefix of file contents, followed by the absolute path.
pub const FILE_PREFIX: &str = "file:";

/// The prefix of search results, followed by the absolute folder and the query.
pub(crate) const SEARCH_PREFIX: &str = "search:";

/// The prefix of responses to GET, followed by path and query.
pub(crate) const RESPONSE_PREFIX: &str = "http:";

/// Says why a key is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The key is too long.
    #[error("a key has at most {KEY_BYTES_MAX} bytes")]
    TooLong,
    /// The key has no namespace.
    #[error(
        "a key begins with a namespace of lower-case letters, digits, \"-\" and \"_\" and a colon, as in \"notes:today\""
    )]
    MissingNamespace,
    /// The namespace is reserved for the runtime.
    #[error("\"file:\", \"search:\" and \"http:\" are filled by the runtime: use a namespace of your own")]
    Reserved,
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        let reason =
            if error == KeyError::TooLong { Reason::RequestTooLarge } else { Reason::InvalidRequest };
        Self::new(reason).with_details(&error.to_string())
    }
}

/// Checks that an embedder may store an entry under `key`.
///
/// # Errors
/// Says what is wrong with the key.
pub fn validate_custom_key(key: &str) -> Result<(), KeyError> {
    let namespace = key.split_once(':').map_or("", |(namespace, _)| namespace);
    let is_fit =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if key.len() > KEY_BYTES_MAX {
        Err(KeyError::TooLong)
    } else if namespace.is_empty() || !namespace.bytes().all(is_fit) {
        Err(KeyError::MissingNamespace)
    } else if [FILE_PREFIX, SEARCH_PREFIX, RESPONSE_PREFIX].iter().any(|reserved| key.starts_with(reserved)) {
        Err(KeyError::Reserved)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validate_custom_key_bad_namespace_or_length_errors() {
        for fit in ["notes:today", "a_b-2:", "n::x", "https:/a"] {
            assert_eq!(validate_custom_key(fit), Ok(()), "{fit}");
        }
        for unfit in ["", "today", ":today", "Notes:today", "no tes:x", "ü:x"] {
            assert_eq!(validate_custom_key(unfit), Err(KeyError::MissingNamespace), "{unfit}");
        }
        for reserved in ["file:/a", "search:/a//b", "http:/a"] {
            assert_eq!(validate_custom_key(reserved), Err(KeyError::Reserved), "{reserved}");
        }
        assert_eq!(validate_custom_key(&format!("n:{}", "x".repeat(KEY_BYTES_MAX))), Err(KeyError::TooLong));
    }
}
