//! The ways in which a session starts or resumes. Pure.

use serde::{Deserialize, Serialize};

/// Says how a session started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionOrigin {
    /// The session is new.
    New,
    /// The agent resumed it.
    Resumed,
    /// The agent loaded it from its storage, and repeated its updates.
    Loaded,
}

/// The login with which a start begins: by this method, or by the only one that the agent offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login(pub(super) Option<String>);

/// A way to log in that an agent offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginMethod {
    /// The id.
    pub id: String,
    /// The name, for a person.
    pub name: String,
    /// True if the agent logs in by itself when it is asked to, and false if its own program does that.
    pub is_offered: bool,
}

/// Returns the method by which to log in: the chosen one, or the only one.
pub(super) fn choose_login<'a>(methods: &'a [LoginMethod], chosen: Option<&str>) -> Option<&'a LoginMethod> {
    let mut offered =
        methods.iter().filter(|method| method.is_offered && chosen.is_none_or(|chosen| method.id == chosen));
    let only = offered.next()?;
    offered.next().is_none().then_some(only)
}

/// A session that could not be resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostSession {
    /// The id of the lost session.
    pub id: String,
    /// The reason, for a person.
    pub message: String,
}

/// The outcome of the attempt to start a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStart {
    /// The session's id.
    pub id: String,
    /// The way in which it started.
    pub origin: SessionOrigin,
    /// The previous session, if this one replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostSession>,
}

/// The agent's capabilities for resumption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ResumeCapabilities {
    /// `session/resume`
    pub(super) resume: bool,
    /// `session/load`
    pub(super) load: bool,
}

/// Returns the ways to resume a session, the best first. Resuming is better than loading: nothing has to be repeated.
pub(super) fn resume_methods(offers: ResumeCapabilities) -> impl Iterator<Item = SessionOrigin> {
    let resume = offers.resume.then_some(SessionOrigin::Resumed);
    let load = offers.load.then_some(SessionOrigin::Loaded);
    resume.into_iter().chain(load)
}

/// The reason for a lost session with an agent that cannot resume any.
pub(super) const NO_RESUME_METHOD: &str = "the agent offers neither session/resume nor session/load";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choose_login_takes_the_chosen_or_only_method() {
        let method =
            |id: &str, is_offered| LoginMethod { id: id.to_owned(), name: id.to_owned(), is_offered };
        let id_of =
            |methods: &[LoginMethod], chosen| choose_login(methods, chosen).map(|method| method.id.clone());
        let one = [method("browser", true), method("shell", false)];
        assert_eq!(id_of(&one, None).as_deref(), Some("browser"));
        assert_eq!(id_of(&one, Some("browser")).as_deref(), Some("browser"));
        assert_eq!(id_of(&one, Some("shell")), None);
        assert_eq!(id_of(&[method("a", true), method("b", true)], None), None);
        assert_eq!(id_of(&[], None), None);
    }

    #[test]
    fn resume_methods_prefer_resume_over_load() {
        let ways = |resume, load| resume_methods(ResumeCapabilities { resume, load }).collect::<Vec<_>>();
        assert_eq!(ways(true, true), [SessionOrigin::Resumed, SessionOrigin::Loaded]);
        assert_eq!(ways(true, false), [SessionOrigin::Resumed]);
        assert_eq!(ways(false, true), [SessionOrigin::Loaded]);
        assert_eq!(ways(false, false), []);
    }
}
