//! The address of a backend that the runtime starts, which may change with each start.

use std::fmt;

use super::urls::BaseUrl;

/// The address of one start of the backend, and the secret that it was given.
#[derive(Clone, PartialEq, Eq)]
pub struct BackendAddress {
    /// The base URL.
    pub url: BaseUrl,
    /// The bearer token that this start accepts.
    pub token: Option<String>,
}

impl fmt::Debug for BackendAddress {
    /// Leaves out the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendAddress").field("url", &self.url).finish_non_exhaustive()
    }
}
