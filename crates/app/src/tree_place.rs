//! Names the supervisors, the agents and the backend by their places in the tree.

/// The names of the supervisors.
pub(crate) const ROOT_NAME: &str = "root";
pub(crate) const AGENTS_NAME: &str = "agents";
/// The name of the owned backend's actor, and of its log.
pub(crate) const BACKEND_NAME: &str = "backend";

/// The agent or the backend, at its place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TreePlace<'a> {
    Backend,
    Agent(&'a str),
}

impl<'a> TreePlace<'a> {
    /// Returns the place at a path; `None` for that of any other actor.
    pub(crate) fn of_path(path: &'a str) -> Option<Self> {
        match path.split('/').collect::<Vec<_>>()[..] {
            [ROOT_NAME, AGENTS_NAME, id] => Some(Self::Agent(id)),
            [ROOT_NAME, BACKEND_NAME] => Some(Self::Backend),
            _ => None,
        }
    }

    /// Returns the command for a verb about it.
    pub(crate) fn command(self, verb: &str) -> String {
        match self {
            Self::Backend => format!("mainstay backend {verb}"),
            Self::Agent(id) => format!("mainstay agent {verb} {id}"),
        }
    }
}

/// Returns the part of a path that people use: an agent's id, or an actor's path below the root.
pub(crate) fn short_path(path: &str) -> &str {
    let Some(path) = path_below(path, ROOT_NAME) else { return path };
    path_below(path, AGENTS_NAME).unwrap_or(path)
}

fn path_below<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    path.strip_prefix(name)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shortened_for_people() {
        for (path, short, place) in [
            ("root", "root", None),
            ("root/backend", "backend", Some(TreePlace::Backend)),
            ("root/agents", "agents", None),
            ("root/agents/planner", "planner", Some(TreePlace::Agent("planner"))),
            ("root/agentship", "agentship", None),
            ("root/pool/backend", "pool/backend", None),
            ("rootless/backend", "rootless/backend", None),
        ] {
            assert_eq!((short_path(path), TreePlace::of_path(path)), (short, place), "{path}");
        }
    }
}
