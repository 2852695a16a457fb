//! The agent actor: watches one agent, has it restarted with the state that it had, and hands it its letters.
//!
//! - [`AgentActor`]: the actor; `actor/letters` is its part that deals with letters
//! - [`Health`]: how checks add up, pure
//! - `mail`: which letter is handed out next, and what becomes of one whose delivery broke off, pure
//! - `callers`: who waits for the answers
//! - [`ActivityMeter`]: what an agent is seen to do apart from answering checks
//! - `memory`: what outlives incarnations, and the process
//! - `revival`: how an agent is brought back, and what it is still owed
//! - [`Driver`]: how an agent is reached; `http` reaches one behind the backend, `process` one that is a process of
//!   its own, `acp` one of those that speaks the Agent Client Protocol
//! - [`AgentFeed`]: what an agent says beside its answers
//! - [`AgentBoard`]: what is known of the agents, for all to see
//!
//! It is an actor because its restarts are a supervisor's business: an agent that has failed ends the actor's
//! incarnation with an error, the supervisor decides by its policy, and the next incarnation brings the agent back.
//! It never restarts an agent for which no incarnation was spent, never has two checks in flight, and never sends
//! an agent's health down the queue of people's requests.

#[cfg(feature = "acp")]
pub mod acp;
mod activity;
mod actor;
mod board;
mod callers;
mod driver;
mod events;
mod feed;
mod health;
mod http;
mod letter;
mod mail;
mod memory;
mod message;
mod process;
mod revival;

pub use activity::{ActivityMeter, AtWork};
pub use actor::{AgentActor, AgentWatch};
pub use board::{AgentBoard, AgentReport};
pub use callers::{Callers, LetterReply, not_handed_out};
pub use driver::{Activity, AgentState, Driver, DriverError, ProcessFacts};
pub use events::{
    AgentHealth, AgentSessionLost, AgentStateSetAside, AgentStuck, LetterAgain, LetterAnswered, LetterFailed,
    LetterSent,
};
pub use feed::{AgentFeed, AgentListener, AgentUpdate, Heard, UPDATES_BYTES_KEPT, UPDATES_KEPT, UpdateKind};
pub use health::{AgentStatus, Change, Health, HealthPolicy, Observation, Outcome, Reported, Signs};
pub use http::HttpDriver;
pub use letter::{Letter, LetterId};
pub use mail::{ATTEMPTS_MAX, LETTERS_WAITING_MAX};
pub use memory::AgentMemory;
pub use message::{AgentMessage, Post};
pub use process::ProcessDriver;
pub use revival::{AgentDebts, Revival};

#[cfg(test)]
mod tests;
