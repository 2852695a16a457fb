//! A rest-for-one pipeline: a source, a step that adds up what the source sends, and a report on that. When the
//! step crashes, whatever comes after it starts anew with it; what comes before it goes on.
//!
//! `cargo run -p mainstay-runtime --example pipeline`

use mainstay_runtime::journal::Delivery;
use mainstay_runtime::policy::{ChildPolicy, Delay, Strategy, SupervisorPolicy};
use mainstay_runtime::{Address, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker};

/// Sends what it is given on to the sum.
struct Source {
    sum: Address<Figure>,
}

enum Reading {
    Take(i64),
    Sent(Reply<u64>),
}

impl Message for Reading {}

impl Worker for Source {
    type Message = Reading;
    type State = u64;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<Reading>, _: Option<()>) -> Result<u64, Failure> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: &mut Context<Reading>,
        reading: Reading,
        sent: &mut u64,
    ) -> Result<(), Failure> {
        match reading {
            Reading::Take(value) => {
                self.sum.cast(Figure::Add(value)).await?;
                *sent += 1;
            }
            Reading::Sent(reply) => reply.send(*sent),
        }
        Ok(())
    }
}

/// Adds up, and cannot bear negative figures.
struct Sum;

enum Figure {
    Add(i64),
    Get(Reply<i64>),
}

impl Message for Figure {}

impl Worker for Sum {
    type Message = Figure;
    type State = i64;
    type Snapshot = i64;

    async fn start(&self, _: &mut Context<Figure>, kept: Option<i64>) -> Result<i64, Failure> {
        Ok(kept.unwrap_or(0))
    }

    async fn handle(&self, _: &mut Context<Figure>, figure: Figure, sum: &mut i64) -> Result<(), Failure> {
        match figure {
            Figure::Add(value) if value < 0 => return Err(format!("{value} is negative").into()),
            Figure::Add(value) => *sum += value,
            Figure::Get(reply) => reply.send(*sum),
        }
        Ok(())
    }

    fn snapshot(&self, sum: &i64) -> Option<i64> {
        Some(*sum)
    }
}

/// Reads the sum when it starts, so it must not outlive the step that it read from.
struct Report {
    sum: Address<Figure>,
}

enum Ask {
    Read(Reply<i64>),
}

impl Message for Ask {}

impl Worker for Report {
    type Message = Ask;
    type State = i64;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<Ask>, _: Option<()>) -> Result<i64, Failure> {
        Ok(self.sum.call(Figure::Get).await?)
    }

    async fn handle(
        &self,
        _: &mut Context<Ask>,
        Ask::Read(reply): Ask,
        sum: &mut i64,
    ) -> Result<(), Failure> {
        reply.send(*sum);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let policy = ChildPolicy { delay: Delay::NONE, ..ChildPolicy::default() };
    let mut steps = SupervisorSpec::new("steps")
        .policy(SupervisorPolicy { strategy: Strategy::RestForOne, ..SupervisorPolicy::default() });
    let sum = steps.child(Child::new("sum", Sum).policy(policy))?;
    let report = steps.child(Child::new("report", Report { sum: sum.clone() }).policy(policy))?;
    let mut root = SupervisorSpec::new("root");
    let source = root.child(Child::new("source", Source { sum: sum.clone() }).policy(policy))?;
    root.supervisor(steps)?;
    let runtime = Runtime::builder().start(root).await?;
    let mut story = runtime.journal().subscribe_after(runtime.journal().seq());

    assert_eq!(report.call(Ask::Read).await?, 0);
    for value in [3, 4, -1, 5] {
        source.cast(Reading::Take(value)).await?;
    }
    println!("the source has sent {} figures", source.call(Reading::Sent).await?);

    // The journal tells who was restarted, and why.
    let mut restarted = Vec::new();
    while restarted.len() < 2 {
        let Delivery::Event(event) = story.next().await else { continue };
        match event.kind.as_str() {
            "actor_exited" => println!("{} exited: {}", event.actor, event.fields["cause"]),
            "decision" => {
                println!("{} decided: {} {}", event.actor, event.fields["decision"], event.fields["scope"])
            }
            "actor_restarted" => restarted.push(event.actor.clone()),
            _ => {}
        }
    }
    assert_eq!(restarted, ["root/steps/sum", "root/steps/report"]);
    assert_eq!(runtime.tree().find("root/source").map(|node| node.vitals.generation), Some(1));

    // Nothing that came after the figure that crashed the step is lost, and the report has begun anew.
    assert_eq!(sum.call(Figure::Get).await?, 12);
    println!("the sum is 12, the report began anew with {}", report.call(Ask::Read).await?);
    runtime.shutdown().await;
    Ok(())
}
