//! Provides a worker whose snapshot is a number and a text that follows from it.

use std::path::Path;
use std::sync::Arc;

use mainstay_runtime::policy::ChildPolicy;
use mainstay_runtime::state::{Durable, RedbConfig, RedbStore};
use mainstay_runtime::{Address, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker};
use serde::{Deserialize, Serialize};

/// A mixture of two states is noticed: its text does not follow from its number.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct NumberSnapshot {
    pub(crate) number: u64,
    pub(crate) text: String,
}

impl Durable for NumberSnapshot {
    const VERSION: u32 = 1;
}

#[derive(Debug)]
pub(crate) enum NumberMessage {
    Set(u64),
    Increase,
    Get(Reply<u64>),
}

impl Message for NumberMessage {}

/// Makes the text from the name and the number.
pub(crate) type TextOf = fn(&str, u64) -> String;

struct NumberWorker(&'static str, TextOf);

impl Worker for NumberWorker {
    type Message = NumberMessage;
    type State = u64;
    type Snapshot = NumberSnapshot;

    async fn start(
        &self,
        _: &mut Context<NumberMessage>,
        kept: Option<NumberSnapshot>,
    ) -> Result<u64, Failure> {
        Ok(kept.map_or(0, |snapshot| snapshot.number))
    }

    async fn handle(
        &self,
        _: &mut Context<NumberMessage>,
        message: NumberMessage,
        number: &mut u64,
    ) -> Result<(), Failure> {
        match message {
            NumberMessage::Set(to) => *number = to,
            NumberMessage::Increase => *number += 1,
            NumberMessage::Get(reply) => reply.send(*number),
        }
        Ok(())
    }

    fn snapshot(&self, number: &u64) -> Option<NumberSnapshot> {
        Some(NumberSnapshot { number: *number, text: self.1(self.0, *number) })
    }
}

/// Opens the file, and starts a tree with these workers.
pub(crate) async fn start_numbers<const N: usize>(
    file: &Path,
    config: RedbConfig,
    policy: ChildPolicy,
    names: [&'static str; N],
    text: TextOf,
) -> (Arc<RedbStore>, Runtime, [Address<NumberMessage>; N]) {
    let store = Arc::new(RedbStore::open(file, config).unwrap());
    let mut root = SupervisorSpec::new("root");
    let workers = names
        .map(|name| root.child(Child::new(name, NumberWorker(name, text)).policy(policy).durable()).unwrap());
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    (store, runtime, workers)
}
