//! The supervision tree as it stands at one moment.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::identity::{ActorInfo, ActorKind};

/// An actor and those below it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeNode {
    /// Where it stands.
    pub path: String,
    /// Whether it supervises others.
    pub kind: ActorKind,
    /// What it is doing.
    #[serde(flatten)]
    pub info: ActorInfo,
    /// Messages that wait in its mailbox.
    pub mailbox: usize,
    /// Its children, in their order.
    pub children: Vec<TreeNode>,
}

impl TreeNode {
    pub(crate) fn of(slot: &Arc<dyn AnySlot>, now: Duration) -> Self {
        let identity = slot.identity();
        let path = identity.path().map_or_else(|| identity.name().to_owned(), ToString::to_string);
        Self {
            path,
            kind: identity.kind(),
            info: identity.info(now),
            mailbox: slot.backlog(),
            children: slot.children().iter().map(|child| Self::of(child, now)).collect(),
        }
    }

    /// The actor at `path` in this tree.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Self> {
        if self.path == path {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(path))
    }
}
