//! Observes the tokens of the backend: each is redacted before it is used, and each change is an event.

use mainstay_actors::credentials::{Credentials, TokenCause};
use mainstay_runtime::ActorPath;
use mainstay_runtime::journal::{Event, Journal};
use serde::{Deserialize, Serialize};

/// The path of events that belong to no actor of the tree.
const PATH: &str = "credentials";

/// The backend's token is another one from now on. The first one that is read from a source is recorded as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct CredentialsChanged {
    /// The cause.
    pub cause: TokenCause,
}

impl Event for CredentialsChanged {
    const KIND: &'static str = "credentials_changed";

    fn describe(&self) -> String {
        let token = "the backend's token is another one from now on";
        match self.cause {
            TokenCause::Used => format!("{token}: its source gives it"),
            TokenCause::Rejected => format!("{token}, since the backend rejected the last one"),
            TokenCause::Reloaded => format!("{token}: a command asked for it"),
        }
    }
}

/// Redacts every token, those known already and those to come, and records each change.
pub(crate) fn observe(credentials: &Credentials, journal: &Journal) {
    let journal = journal.clone();
    credentials.observe(move |token, cause| {
        journal.add_secrets([token.to_owned()]);
        if let (Some(cause), Ok(path)) = (cause, ActorPath::root(PATH)) {
            journal.record(&path, 0, &CredentialsChanged { cause });
        }
    });
}
