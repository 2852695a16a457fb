//! What runs in a slot: one incarnation after the other.
//!
//! - [`Worker`](worker::Worker), [`Context`](context::Context): what an embedder writes, and what it may ask
//! - `behaviour`: the face that workers and supervisors show to the incarnation
//! - `incarnation`: one life, from its launch to the account that it leaves in the slot
//! - `panics`: catching them, with what they say and where they happened; `backtrace`: as much of one as helps

mod backtrace;
pub(crate) mod behaviour;
pub(crate) mod context;
pub(crate) mod failure;
pub(crate) mod incarnation;
pub(crate) mod launch;
pub(crate) mod panics;
pub(crate) mod slot;
pub(crate) mod timer;
pub(crate) mod wake;
pub(crate) mod worker;
