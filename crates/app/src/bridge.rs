//! The protocol for user interfaces: JSON texts in both directions, the same over every transport.
//!
//! A client sends commands, `{"id":1,"type":"status"}`, and gets exactly one reply to each: `{"id":1,"ok":…}` or
//! `{"id":1,"error":…}`. Commands run side by side, so replies may come in another order. After
//! `{"id":2,"type":"subscribe","after":"RUN.SEQ"}` it also gets a snapshot,
//! `{"snapshot":{"status":…,"tree":…},"cursor":"RUN.SEQ"}`, and then the events in batches,
//! `{"events":[…],"cursor":"RUN.SEQ"}`: at most one batch every 50 ms, so a slow client gets fewer and larger ones. Events
//! that are kept nowhere any more are announced: `{"lagged":{"after":"RUN.SEQ","before":"RUN.SEQ"},"cursor":"RUN.SEQ"}`.
//!
//! A client keeps the cursor of the last batch, and passes it as `after` when it comes back, also after a crash of the
//! runtime: it goes on without a gap, and gets no event twice. The snapshot's `status.runtime.boot` is another one in each
//! run: where it is unknown and the run is not a later one, the data folder is another one, and old cursors mean nothing.
//!
//! `{"id":9,"type":"cancel","request":ID}` calls off the request that command ID of the same session made; that one is then
//! answered with the reason `cancelled`, as far as it was still under way. Requests may wait for long and keep no other
//! command waiting.
//!
//! Letters to agents wait for their answers beside the commands, so many may be under way. What an agent says of its own
//! accord comes after `{"id":3,"type":"agent","agent":ID,"action":"listen"}`: see [`AgentAction`].
//!
//! - [`Command`]: what a client can ask; [`AgentCommand`]: of one agent
//! - [`serve`]: one client's session

mod agent;
mod agent_streams;
mod command;
mod requests;
mod session;

pub use agent::{AgentAction, BridgeAgentCommand};
pub use command::{BridgeCommand, CacheAction, ConnectionAction, InvalidateBy, RequestCommand, execute};
pub use session::serve;

#[cfg(test)]
#[cfg(feature = "backend")]
mod tests;
