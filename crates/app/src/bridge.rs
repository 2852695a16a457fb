//! The protocol for user interfaces: JSON texts in both directions, the same over every transport.
//!
//! A client sends commands, `{"id":1,"type":"status"}`, and gets exactly one reply to each: `{"id":1,"ok":…}` or
//! `{"id":1,"error":…}`. Commands run side by side, so replies may come in another order. After
//! `{"id":2,"type":"subscribe","after":"RUN.SEQ"}` it also gets a snapshot,
//! `{"snapshot":{"status":…,"tree":…},"cursor":"RUN.SEQ"}`. Then come the events in batches,
//! `{"events":[…],"cursor":"RUN.SEQ"}`: at most one batch every 50 ms, so a slow client gets fewer and larger ones. A
//! gap replaces events that are kept nowhere any more:
//! `{"lagged":{"after":"RUN.SEQ","before":"RUN.SEQ"},"cursor":"RUN.SEQ"}`.
//!
//! A client keeps the cursor of the last batch, and passes it as `after` when it comes back, also after a crash of the
//! runtime. It continues without a gap, and gets no event twice. `status.runtime.boot` of the snapshot differs in each
//! run. If it is unknown and the run is not a later one, the data folder is another one, and old cursors mean nothing.
//!
//! `{"id":9,"type":"cancel","request":ID}` cancels the request of command ID of the same session. A request that was
//! in flight then ends with the reason `cancelled`. Requests may wait for long and keep no other command waiting.
//!
//! `{"request":ID,"accepted":{"request_id":N}}` says the number of a request, and `"progress":true` has its progress
//! pushed. With `"stream":true` the response's body comes in chunks, `{"request":ID,"chunk":…}`, which the client
//! acknowledges. With `"stream_body":true` the request's body goes in parts: see [`BodyCommand`].
//!
//! Messages to agents wait for their answers beside the commands, so many may be in flight. Updates of an agent come
//! after `{"id":3,"type":"agent","agent":ID,"action":"listen"}`: see [`AgentAction`].
//!
//! The backend's frames come after `{"id":4,"type":"connection","action":"listen","types":["chat.*"]}`, and frames go to
//! it with `"action":"send"`: see [`ConnectionAction`]. A client that is too slow for the frames gets the number of those
//! that it lost, `{"frame":{"lagged":N}}`.
//!
//! The lines of a log come after `{"id":5,"type":"logs","log":ID,"action":"listen"}`: first the last ones, then each when it
//! was written. A client that is too slow gets the number of files that were deleted before their lines came to it.
//!
//! - [`BridgeCommand`]: the commands; [`BridgeAgentCommand`]: those about one agent
//! - [`ServerMessage`]: every text that a client gets
//! - [`serve`]: one client's session

mod agent;
mod agent_streams;
mod bodies;
mod byte_limit;
mod cache;
mod command;
mod file_search;
mod frames;
mod hello;
mod history;
mod logs;
mod malformed;
mod panics;
mod protocol;
mod replies;
mod request_pushes;
mod requests;
mod session;

pub use agent::{AgentAction, AgentDetails, BridgeAgentCommand};
pub use bodies::BodyCommand;
pub use cache::{CacheAction, CachedEntryReply, FileContents, InvalidateBy};
pub use command::{
    BackendAction, BridgeCommand, ConnectionAction, CredentialsAction, ListenAction, RequestCommand,
    RequestsCommand, execute,
};
pub use file_search::FoundFiles;
pub use hello::{BridgeCapability, Hello};
pub use history::HistoryCommand;
pub use logs::LogsCommand;
pub use protocol::{AcceptedMessage, EventGap, FrameItem, LagMarker, ServerMessage, StateSnapshot};
#[cfg(feature = "cli")]
pub(crate) use replies::IncidentStory;
pub use replies::ResponseStart;
pub use request_pushes::{AcceptedRequest, BodyEnd, RequestProgress};
pub use session::serve;

#[cfg(test)]
#[cfg(feature = "backend")]
mod tests;
#[cfg(test)]
#[cfg(feature = "typescript")]
mod typescript;
