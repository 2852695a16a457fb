//! A rest-for-one pipeline: a source, a step that adds up the source's numbers, and a report on the sum. When the
//! step crashes, the actors after it restart with it; those before it continue.
//!
//! `cargo run -p mainstay-runtime --example pipeline`

use mainstay_runtime::journal::Delivery;
use mainstay_runtime::policy::{Strategy, SupervisorPolicy};
use mainstay_runtime::{Address, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker};

/// Sends its numbers to the sum.
struct Producer {
    sum: Address<SumMessage>,
}

#[derive(Debug)]
enum ProducerMessage {
    Take(i64),
    Sent(Reply<u64>),
}

impl Message for ProducerMessage {}

impl Worker for Producer {
    type Message = ProducerMessage;
    type State = u64;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<ProducerMessage>, _: Option<()>) -> Result<u64, Failure> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: &mut Context<ProducerMessage>,
        reading: ProducerMessage,
        sent: &mut u64,
    ) -> Result<(), Failure> {
        match reading {
            ProducerMessage::Take(value) => {
                self.sum.cast(SumMessage::Add(value)).await?;
                *sent += 1;
            }
            ProducerMessage::Sent(reply) => reply.send(*sent),
        }
        Ok(())
    }
}

/// Adds up, and panics at a negative number.
struct Sum;

#[derive(Debug)]
enum SumMessage {
    Add(i64),
    Get(Reply<i64>),
}

impl Message for SumMessage {}

impl Worker for Sum {
    type Message = SumMessage;
    type State = i64;
    type Snapshot = i64;

    async fn start(&self, _: &mut Context<SumMessage>, kept: Option<i64>) -> Result<i64, Failure> {
        Ok(kept.unwrap_or(0))
    }

    async fn handle(
        &self,
        _: &mut Context<SumMessage>,
        figure: SumMessage,
        sum: &mut i64,
    ) -> Result<(), Failure> {
        match figure {
            SumMessage::Add(value) if value < 0 => return Err(format!("{value} is negative").into()),
            SumMessage::Add(value) => *sum += value,
            SumMessage::Get(reply) => reply.send(*sum),
        }
        Ok(())
    }

    fn snapshot(&self, sum: &i64) -> Option<i64> {
        Some(*sum)
    }
}

/// Reads the sum in its start, so it must restart with the step that it read from.
struct SumReporter {
    sum: Address<SumMessage>,
}

#[derive(Debug)]
enum SumReporterMessage {
    Read(Reply<i64>),
}

impl Message for SumReporterMessage {}

impl Worker for SumReporter {
    type Message = SumReporterMessage;
    type State = i64;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<SumReporterMessage>, _: Option<()>) -> Result<i64, Failure> {
        Ok(self.sum.call(SumMessage::Get).await?)
    }

    async fn handle(
        &self,
        _: &mut Context<SumReporterMessage>,
        SumReporterMessage::Read(reply): SumReporterMessage,
        sum: &mut i64,
    ) -> Result<(), Failure> {
        reply.send(*sum);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut steps = SupervisorSpec::new("steps")
        .policy(SupervisorPolicy { strategy: Strategy::RestForOne, ..SupervisorPolicy::default() });
    let sum = steps.child(Child::new("sum", Sum))?;
    let report = steps.child(Child::new("report", SumReporter { sum: sum.clone() }))?;
    let mut root = SupervisorSpec::new("root");
    let source = root.child(Child::new("source", Producer { sum: sum.clone() }))?;
    root.supervisor(steps)?;
    let runtime = Runtime::builder().start(root).await?;
    let mut story = runtime.journal().subscribe_after(runtime.journal().cursor());

    assert_eq!(report.call(SumReporterMessage::Read).await?, 0);
    for value in [3, 4, -1, 5] {
        source.cast(ProducerMessage::Take(value)).await?;
    }
    println!("the source has sent {} figures", source.call(ProducerMessage::Sent).await?);

    // The journal names the restarted actors and the causes.
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
    assert_eq!(runtime.tree().find("root/source").map(|node| node.info.generation), Some(1));

    // Nothing behind the number that crashed the step is lost, and the report has restarted.
    assert_eq!(sum.call(SumMessage::Get).await?, 12);
    println!("the sum is 12, the restarted report read {}", report.call(SumReporterMessage::Read).await?);
    runtime.shutdown().await;
    Ok(())
}
