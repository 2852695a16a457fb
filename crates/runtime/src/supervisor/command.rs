//! What a supervisor can be asked.

use std::sync::Arc;

use super::admin_error::AdminError;
use super::roster::Key;
use crate::messaging::message::Message;
use crate::messaging::reply::Reply;
use crate::slot::any_slot::AnySlot;

/// How an order ended.
pub(crate) type Answer = Result<(), AdminError>;

/// What is to be done with one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Add,
    Stop,
    Start,
    Restart,
    Delete,
    Remove,
    Reset,
}

/// A supervisor's messages.
pub(crate) enum Command {
    /// Take a child in and start it; answered when it has come to rest.
    Add { slot: Arc<dyn AnySlot>, reply: Reply<Answer> },
    /// Do something with a child; answered when it has come to rest.
    Direct { name: String, order: Order, reply: Reply<Answer> },
    /// A child that is itself a supervisor has come up.
    ChildReady { key: Key, generation: u64 },
    /// The tasks of an incarnation that has left have ended, or have been abandoned because they never yield; its
    /// account lies in the slot.
    TornDown { key: Key, generation: u64, abandoned: bool },
}

impl Message for Command {
    fn label(&self) -> &'static str {
        match self {
            Self::Add { .. } => "Add",
            Self::Direct { order, .. } => match order {
                Order::Add => "Add",
                Order::Stop => "Stop",
                Order::Start => "Start",
                Order::Restart => "Restart",
                Order::Delete => "Delete",
                Order::Remove => "Remove",
                Order::Reset => "Reset",
            },
            Self::ChildReady { .. } => "ChildReady",
            Self::TornDown { .. } => "TornDown",
        }
    }
}
