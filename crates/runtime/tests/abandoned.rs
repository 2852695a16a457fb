//! Tests an incarnation that was abandoned while its handler blocked a thread, and that returns later.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use mainstay_runtime::journal::Delivery;
use mainstay_runtime::policy::{ChildPolicy, Shutdown};
use mainstay_runtime::{Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Blocks its thread, or waits at an await point, until the test releases it.
struct ThreadBlocker {
    entered: SyncSender<()>,
    release: Mutex<Receiver<()>>,
    resume: Arc<Notify>,
}

enum BlockerMessage {
    /// Never reaches an await point.
    Block,
    Wait,
    Ask(Reply<u64>),
}

impl Message for BlockerMessage {}

impl Worker for ThreadBlocker {
    type Message = BlockerMessage;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<BlockerMessage>, _: Option<()>) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(
        &self,
        ctx: &mut Context<BlockerMessage>,
        load: BlockerMessage,
        (): &mut (),
    ) -> Result<(), Failure> {
        match load {
            BlockerMessage::Block => {
                self.entered.send(())?;
                self.release.lock().recv()?;
            }
            BlockerMessage::Wait => self.resume.notified().await,
            BlockerMessage::Ask(reply) => reply.send(ctx.generation()),
        }
        Ok(())
    }
}

/// Runs in real time, since a paused clock cannot show a blocked thread. The only times are those of the policy.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn abandoned_incarnation_takes_no_successor_message() {
    let (entered_sender, entered) = sync_channel(1);
    let (release, release_receiver) = sync_channel(1);
    let go = Arc::new(Notify::new());
    let worker = ThreadBlocker {
        entered: entered_sender,
        release: Mutex::new(release_receiver),
        resume: Arc::clone(&go),
    };
    let moment = Duration::from_millis(20);
    let policy =
        ChildPolicy { shutdown: Shutdown::Graceful(moment), kill_timeout: moment, ..ChildPolicy::default() };
    let mut root = SupervisorSpec::new("root");
    let worker = root.child(Child::new("worker", worker).policy(policy)).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    let mut story = runtime.journal().subscribe_after(runtime.journal().cursor());

    worker.try_cast(BlockerMessage::Block).unwrap();
    let _entered = tokio::task::spawn_blocking(move || entered.recv().map(|()| entered)).await.unwrap();
    runtime.root().stop("worker").await.unwrap();
    runtime.root().start("worker").await.unwrap();
    worker.try_cast(BlockerMessage::Wait).unwrap();
    let (reply, answer) = Reply::channel();
    worker.try_cast(BlockerMessage::Ask(reply)).unwrap();
    release.send(()).unwrap();
    loop {
        let Delivery::Event(record) = story.next().await else { panic!("events are missing") };
        if record.kind == "abandoned_ended" {
            break;
        }
    }
    go.notify_one();
    assert_eq!(answer.await, Ok(2));
}
