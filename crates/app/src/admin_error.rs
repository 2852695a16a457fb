//! Makes the error of a command that a supervisor did not carry out.

use mainstay_actors::error::{Error, Reason};
use mainstay_runtime::AdminError;

/// The child that a command concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdminTarget {
    Agent,
    Backend,
}

impl AdminTarget {
    const fn noun(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Backend => "backend",
        }
    }

    const fn start_failed_reason(self) -> Reason {
        match self {
            Self::Agent => Reason::AgentFailed,
            Self::Backend => Reason::Unavailable,
        }
    }

    /// Returns the error for a child that does not exist.
    pub(crate) fn not_found_error(self) -> Error {
        match self {
            Self::Agent => Error::new(Reason::AgentUnknown),
            Self::Backend => Error::new(Reason::NotFound).with_message(
                "This runtime does not start its backend. Start and stop the backend where it runs.",
            ),
        }
    }

    /// Returns the error for a child that exists already.
    pub(crate) fn exists_error(self) -> Error {
        let article = if self == Self::Agent { "an" } else { "a" };
        Error::new(Reason::Conflict).with_message(&format!(
            "There is {article} {} of that name already. Choose another, or remove that one first.",
            self.noun()
        ))
    }

    /// Returns the error for a command to this child, with the supervisor's own words as details.
    pub(crate) fn admin_error(self, error: &AdminError) -> Error {
        let noun = self.noun();
        let conflict =
            |words: &str| Error::new(Reason::Conflict).with_message(&format!("The {noun} {words}"));
        let named = match error {
            AdminError::NotFound { .. } => self.not_found_error(),
            AdminError::AlreadyRunning { .. } | AdminError::AlreadyPresent { .. } => self.exists_error(),
            AdminError::Running { .. } => conflict("is running. Stop it first, or restart it."),
            AdminError::Restarting { .. } => {
                conflict("is being started or stopped just now. Wait for that, then try again.")
            }
            AdminError::Superseded { .. } => conflict(
                "was stopped by another command before it was ready. Start it again if it is needed.",
            ),
            AdminError::StartFailed { .. } => Error::new(self.start_failed_reason()).with_message(&format!(
                "The {noun} could not be started. Look into its last error, then try again."
            )),
            AdminError::Spec(_) => Error::new(Reason::InvalidConfig),
            AdminError::Unavailable(call) => return Error::from(*call),
        };
        named.with_details(&error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use mainstay_runtime::{ActorPath, CallError, SpecError};

    use super::AdminTarget::{Agent, Backend};
    use super::*;

    #[test]
    fn each_refusal_says_what_happened_and_what_to_do() {
        let name = || "planner".to_owned();
        let path = || ActorPath::root("root").unwrap().child("planner").unwrap();
        let start_failed = || AdminError::StartFailed { name: name(), message: "no program".to_owned() };
        let existing = "There is an agent of that name already. Choose another, or remove that one first.";
        let rows = [
            (Agent, AdminError::NotFound { name: name() }, Reason::AgentUnknown, None),
            (
                Backend,
                AdminError::NotFound { name: name() },
                Reason::NotFound,
                Some("This runtime does not start its backend. Start and stop the backend where it runs."),
            ),
            (Agent, AdminError::AlreadyRunning { path: path() }, Reason::Conflict, Some(existing)),
            (Agent, AdminError::AlreadyPresent { path: path() }, Reason::Conflict, Some(existing)),
            (
                Backend,
                AdminError::Running { name: name() },
                Reason::Conflict,
                Some("The backend is running. Stop it first, or restart it."),
            ),
            (
                Agent,
                AdminError::Restarting { name: name() },
                Reason::Conflict,
                Some("The agent is being started or stopped just now. Wait for that, then try again."),
            ),
            (
                Backend,
                AdminError::Superseded { name: name() },
                Reason::Conflict,
                Some(
                    "The backend was stopped by another command before it was ready. Start it again if it is needed.",
                ),
            ),
            (
                Agent,
                start_failed(),
                Reason::AgentFailed,
                Some("The agent could not be started. Look into its last error, then try again."),
            ),
            (
                Backend,
                start_failed(),
                Reason::Unavailable,
                Some("The backend could not be started. Look into its last error, then try again."),
            ),
            (
                Agent,
                AdminError::Spec(SpecError::ZeroMailboxCapacity { name: name() }),
                Reason::InvalidConfig,
                None,
            ),
            (Agent, AdminError::Unavailable(CallError::Stopped), Reason::Stopped, None),
            (Backend, AdminError::Unavailable(CallError::Crashed), Reason::Crashed, None),
        ];
        for (target, refusal, reason, message) in rows {
            let error = target.admin_error(&refusal);
            let usual = Error::new(reason);
            assert_eq!((error.reason, &*error.message), (reason, message.unwrap_or(&usual.message)));
            let details = match refusal {
                AdminError::Unavailable(call) => call.to_string(),
                refusal => refusal.to_string(),
            };
            assert_eq!(error.details.as_deref(), Some(details.as_str()), "{target:?}");
        }
    }
}
