//! Makes an actor panic on purpose, to show and to test what its supervisor does about it. Only in debug builds.

use mainstay_actors::agent::AgentCommand;
use mainstay_actors::cache::CacheMessage;
use mainstay_actors::connection::ConnectionMessage;
use mainstay_actors::error::{Error, Reason, of_call};
use mainstay_actors::queue::QueueMessage;

use crate::mainstay::Mainstay;

impl Mainstay {
    /// Makes an actor panic at its next message: `connection`, `queue`, `cache`, or an agent's id. Returns when the
    /// message has been accepted.
    ///
    /// # Errors
    /// `agent_unknown` when there is no such actor, `stopped` when it is stopped.
    pub async fn inject_panic(&self, actor: &str) -> Result<(), Error> {
        let members = &self.0.handles;
        let accepted = match actor {
            "connection" => members.connection.cast(ConnectionMessage::Panic).await.is_ok(),
            "queue" => members.queue_address.cast(QueueMessage::Panic).await.is_ok(),
            "cache" => members.cache_address.cast(CacheMessage::Panic).await.is_ok(),
            agent => match members.agent_handles.get(agent) {
                Some(line) => line.address.cast(AgentCommand::Panic).await.is_ok(),
                None => {
                    let details = format!(
                        "no actor is called {agent:?}: use connection, queue, cache or an agent's id"
                    );
                    return Err(Error::new(Reason::AgentUnknown).with_details(&details));
                }
            },
        };
        if accepted { Ok(()) } else { Err(Error::new(Reason::Stopped)) }
    }

    /// Makes the cache's actor panic on a message that this call waits for. The other actors keep callers waiting by
    /// themselves; the cache answers at once.
    ///
    /// # Errors
    /// `crashed`, or `stopped` when it is stopped.
    pub async fn inject_panic_into_call(&self) -> Result<(), Error> {
        self.0.handles.cache_address.call(CacheMessage::PanicOn).await.map_err(of_call)
    }
}
