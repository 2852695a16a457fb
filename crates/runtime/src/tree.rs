//! A snapshot of the supervision tree.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::actor::slot::any_slot::AnySlot;
use crate::clock::WallTime;
use crate::identity::{ActorInfo, ActorKind};
use crate::journal::Timeline;

/// An actor and its descendants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct TreeNode {
    /// The path.
    pub path: String,
    /// The kind: supervisor or worker.
    pub kind: ActorKind,
    /// The status, the restarts and the last error.
    #[serde(flatten)]
    pub info: ActorInfo<WallTime>,
    /// The number of messages that wait in its mailbox.
    pub mailbox: usize,
    /// True while the process that it manages is suspended. A program that shows the tree sets it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// The children, in their order.
    pub children: Vec<TreeNode>,
}

impl TreeNode {
    pub(crate) fn of(slot: &Arc<dyn AnySlot>, now: Duration, timeline: &Timeline) -> Self {
        let identity = slot.identity();
        let path = identity.path().map_or_else(|| identity.name().to_owned(), ToString::to_string);
        Self {
            path,
            kind: identity.kind(),
            info: identity.info(now).dated(timeline),
            mailbox: slot.backlog(),
            suspended: false,
            children: slot.children().iter().map(|child| Self::of(child, now, timeline)).collect(),
        }
    }

    /// Returns the actor at `path` in this tree.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Self> {
        if self.path == path {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(path))
    }
}
