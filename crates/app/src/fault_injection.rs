//! Makes an actor panic on purpose, to test and demonstrate its supervision. Only in debug builds, and hidden from the
//! documentation.

use mainstay_actors::error::{Error, Reason};

use crate::mainstay::Mainstay;

impl Mainstay {
    /// Sends an actor a message that makes it panic: `connection`, `queue`, `cache`, or an agent's id.
    ///
    /// # Errors
    /// `agent_unknown` if there is no such actor, `stopped` if it is stopped, `queue_full` if its mailbox is full.
    #[doc(hidden)]
    pub async fn inject_panic(&self, actor: &str) -> Result<(), Error> {
        let handles = &self.0.handles;
        let accepted = match actor {
            "connection" => handles.connection.inject_panic(),
            "queue" => handles.queue_address.inject_panic(),
            "cache" => handles.cache_address.inject_panic(),
            agent => match handles.agent_handles.get(agent) {
                Some(handle) => handle.address.inject_panic(),
                None => {
                    let details = format!(
                        "no actor is called {agent:?}: use connection, queue, cache or an agent's id"
                    );
                    return Err(Error::new(Reason::AgentUnknown).with_details(&details));
                }
            },
        };
        accepted.map(drop).map_err(Error::from)
    }

    /// Makes the cache's actor panic on a message that this call waits for. The other actors keep callers waiting by
    /// themselves; the cache answers at once.
    ///
    /// # Errors
    /// `crashed`, or `stopped` when it is stopped.
    #[doc(hidden)]
    pub async fn inject_panic_into_call(&self) -> Result<(), Error> {
        let promise = self.0.handles.cache_address.inject_panic()?;
        promise.await.map_err(Error::from).map(|never| match never {})
    }
}
