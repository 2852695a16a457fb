//! A counter that survives its panics. It keeps the state after the last handled message, and every message that
//! waited behind the one that crashed it.
//!
//! `cargo run -p mainstay-runtime --example counter`

use mainstay_runtime::{CallError, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker};

#[derive(Debug)]
enum Count {
    Up,
    Divide(u64, Reply<u64>),
    Get(Reply<u64>),
}

impl Message for Count {}

struct Counter;

impl Worker for Counter {
    type Message = Count;
    type State = u64;
    type Snapshot = u64;

    async fn start(&self, _: &mut Context<Count>, kept: Option<u64>) -> Result<u64, Failure> {
        Ok(kept.unwrap_or(0))
    }

    async fn handle(&self, _: &mut Context<Count>, message: Count, count: &mut u64) -> Result<(), Failure> {
        match message {
            Count::Up => *count += 1,
            Count::Divide(by, reply) => reply.send(*count / by),
            Count::Get(reply) => reply.send(*count),
        }
        Ok(())
    }

    fn snapshot(&self, count: &u64) -> Option<u64> {
        Some(*count)
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut root = SupervisorSpec::new("root");
    let counter = root.child(Child::new("counter", Counter))?;
    let runtime = Runtime::builder().start(root).await?;

    for _ in 0..3 {
        counter.cast(Count::Up).await?;
    }
    let crashed = counter.call(|reply| Count::Divide(0, reply)).await;
    println!("dividing by zero: {}", crashed.map_or_else(|error| error.to_string(), |n| n.to_string()));
    assert_eq!(crashed, Err(CallError::Crashed));

    let count = counter.call(Count::Get).await?;
    let tree = runtime.tree();
    let generation = tree.find("root/counter").map(|node| node.info.generation);
    println!("the count is still {count}, in incarnation {}", generation.unwrap_or(0));
    assert_eq!((count, generation), (3, Some(2)));

    runtime.shutdown().await;
    Ok(())
}
