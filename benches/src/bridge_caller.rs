//! Asks over the bridge, as a window does.

use mainstay::{Mainstay, bridge};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::contender::BenchError;

/// A session of the bridge, with one command at a time.
pub(crate) struct BridgeCaller {
    commands: mpsc::Sender<String>,
    messages: mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl BridgeCaller {
    pub(crate) fn open(mainstay: &Mainstay) -> Self {
        let (commands, incoming) = mpsc::channel(1);
        let (outgoing, messages) = mpsc::channel(1);
        Self { commands, messages, task: tokio::spawn(bridge::serve(mainstay.clone(), incoming, outgoing)) }
    }

    /// Sends a command of this type, with these further members, and returns the reply. A refusal is an error.
    pub(crate) async fn ask(&mut self, kind: &str, members: &str) -> Result<String, BenchError> {
        self.commands.send(format!(r#"{{"id":1,"type":"{kind}"{members}}}"#)).await?;
        let reply = self.messages.recv().await.ok_or("the session has ended")?;
        if !reply.starts_with(r#"{"id":1,"ok":"#) {
            return Err(format!("{kind} was answered with {reply}").into());
        }
        Ok(reply)
    }

    pub(crate) async fn close(self) -> Result<(), BenchError> {
        drop(self.commands);
        Ok(self.task.await?)
    }
}
