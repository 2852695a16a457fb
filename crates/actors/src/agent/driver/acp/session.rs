//! How a conversation begins, or is taken up again. Pure.

use serde::{Deserialize, Serialize};

/// How a conversation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionOrigin {
    /// It is another one than before, or the first.
    New,
    /// The agent took it up where it was.
    Resumed,
    /// The agent read it back from where it keeps it, and told it again.
    Loaded,
}

/// A conversation that could not be taken up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostSession {
    /// What the agent knew it by.
    pub id: String,
    /// Why it could not.
    pub why: String,
}

/// What became of the attempt to talk to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStart {
    /// What the agent knows the conversation by.
    pub id: String,
    /// How it began.
    pub origin: SessionOrigin,
    /// The one before, if this is another one in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostSession>,
}

/// What an agent offers for taking up a conversation again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ResumeCapabilities {
    /// `session/resume`
    pub(super) resume: bool,
    /// `session/load`
    pub(super) load: bool,
}

/// In which ways a conversation is taken up again, the best one first. Resuming is better than loading: nothing has to
/// be told again.
pub(super) fn resume_methods(offers: ResumeCapabilities) -> impl Iterator<Item = SessionOrigin> {
    let resume = offers.resume.then_some(SessionOrigin::Resumed);
    let load = offers.load.then_some(SessionOrigin::Loaded);
    resume.into_iter().chain(load)
}

/// Why a conversation is lost with an agent that offers no way back.
pub(super) const NO_RESUME_METHOD: &str = "the agent offers neither session/resume nor session/load";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_methods_prefer_resume_over_load() {
        let ways = |resume, load| resume_methods(ResumeCapabilities { resume, load }).collect::<Vec<_>>();
        assert_eq!(ways(true, true), [SessionOrigin::Resumed, SessionOrigin::Loaded]);
        assert_eq!(ways(true, false), [SessionOrigin::Resumed]);
        assert_eq!(ways(false, true), [SessionOrigin::Loaded]);
        assert_eq!(ways(false, false), []);
    }
}
