//! What a supervisor can be asked.

use std::sync::Arc;

use super::admin_error::AdminError;
use super::machine::ChildId;
use crate::actor::slot::any_slot::AnySlot;
use crate::messaging::message::Message;
use crate::messaging::reply::Reply;

/// How an order ended.
pub(crate) type AdminResult = Result<(), AdminError>;

/// What is to be done with one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdminCommand {
    Add,
    Stop,
    Start,
    Restart,
    Delete,
    Remove,
    Reset,
}

/// A supervisor's messages.
pub(crate) enum SupervisorMessage {
    /// Take a child in and start it; answered when it has come to rest.
    Add { slot: Arc<dyn AnySlot>, reply: Reply<AdminResult> },
    /// Do something with a child; answered when it has come to rest.
    Admin { name: String, command: AdminCommand, reply: Reply<AdminResult> },
    /// A child that is itself a supervisor has come up.
    ChildReady { key: ChildId, generation: u64 },
    /// The tasks of an incarnation that has left have ended, or have been abandoned because they never yield; its
    /// account lies in the slot.
    TasksEnded { key: ChildId, generation: u64, abandoned: bool },
    /// Something may be due.
    Tick,
}

impl Message for SupervisorMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Add { .. } => "Add",
            Self::Admin { command: order, .. } => match order {
                AdminCommand::Add => "Add",
                AdminCommand::Stop => "Stop",
                AdminCommand::Start => "Start",
                AdminCommand::Restart => "Restart",
                AdminCommand::Delete => "Delete",
                AdminCommand::Remove => "Remove",
                AdminCommand::Reset => "Reset",
            },
            Self::ChildReady { .. } => "ChildReady",
            Self::TasksEnded { .. } => "TornDown",
            Self::Tick => "Tick",
        }
    }
}
