//! A shell that embeds Mainstay, with a supervised child of its own next to the built-in ones.
//!
//! `cargo run --example embed` runs it against the embedded backend, so that it needs nothing else.

use std::error::Error;
use std::process::ExitCode;

use mainstay::backend::{Backend, BackendOptions};
use mainstay::config::Config;
use mainstay::journal::Delivery;
use mainstay::supervision::{Child, Context, Failure, Message, Reply, Worker};
use mainstay::{Mainstay, Request};

/// Counts what the user has opened. The count survives a panic, because it is handed out as a snapshot.
struct Counter;

#[derive(Debug)]
enum Count {
    Opened(String),
    HowMany(Reply<u64>),
}

impl Message for Count {}

impl Worker for Counter {
    type Message = Count;
    type State = u64;
    type Snapshot = u64;

    async fn start(&self, _: &mut Context<Count>, kept: Option<u64>) -> Result<u64, Failure> {
        Ok(kept.unwrap_or(0))
    }

    async fn handle(&self, _: &mut Context<Count>, message: Count, count: &mut u64) -> Result<(), Failure> {
        match message {
            Count::Opened(name) if name.is_empty() => return Err("a file without a name was opened".into()),
            Count::Opened(_) => *count += 1,
            Count::HowMany(reply) => reply.send(*count),
        }
        Ok(())
    }

    fn snapshot(&self, count: &u64) -> Option<u64> {
        Some(*count)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    // A real shell has a backend already, and names it in its configuration.
    let backend = Backend::bind(BackendOptions::default()).await?;
    let mut config = Config::from_toml("[[agent]]\nid = \"planner\"")?;
    config.backend.url = backend.url();

    let mainstay = Mainstay::builder().config(config).start().await?;
    let counter = mainstay.supervisor().add(Child::new("counter", Counter)).await?;

    let response = mainstay.request(Request::get("/api/search?q=supervision").build()?).await?;
    println!("search: {} in {} ms", response.status, response.ms);

    let mut events = mainstay.events_after(mainstay.journal().cursor());
    counter.cast(Count::Opened("notes.md".to_owned())).await?;
    counter.cast(Count::Opened(String::new())).await?;
    counter.cast(Count::Opened("todo.md".to_owned())).await?;
    while let Some(Delivery::Event(event)) = events.next().await {
        println!("journal: {} {}", event.actor, event.kind);
        if event.kind == "decision" {
            break;
        }
    }
    println!("opened: {}", counter.call(Count::HowMany).await?);

    mainstay.shutdown().await;
    backend.stop().await;
    Ok(())
}
