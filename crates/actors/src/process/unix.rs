//! Processes on unix: groups, signals, a guardian, a record of what runs.

mod body;
mod guardian;
mod leftovers;
mod record;
mod sight;
mod signals;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, broadcast};

pub(super) use self::body::{Body, kill_group, resident_bytes};
use self::guardian::Guardian;
use self::record::{Entry, Record};
use super::warden::{Leftover, OpenFault, Trouble};

/// What sees to it that nothing outlives the runtime.
#[derive(Debug)]
pub(super) struct Custody {
    guardian: Guardian,
    record: Mutex<Record>,
    /// Says that the system was not restarted since a process was recorded.
    boot: String,
    /// How the marks of all processes of this runtime begin.
    prefix: String,
    started: AtomicU64,
    troubles: broadcast::Sender<Trouble>,
}

/// What was left by a run before.
pub(super) struct Found {
    pub(super) leftovers: Vec<Leftover>,
    pub(super) damaged_lines: usize,
}

impl Custody {
    /// Ends what the record in the folder tells of, and begins a new one.
    pub(super) async fn open(
        data_dir: Option<&Path>,
        troubles: broadcast::Sender<Trouble>,
    ) -> Result<(Self, Found), OpenFault> {
        let boot = sight::boot();
        let (record, read) = Record::open(data_dir)?;
        let leftovers = leftovers::end(&read.entries, &boot).await;
        let prefix = format!("{:032x}-", random()?);
        let guardian = Guardian::new(&prefix, troubles.clone());
        let (record, started) = (Mutex::new(record), AtomicU64::new(0));
        let custody = Self { guardian, record, boot, prefix, started, troubles };
        custody.write(|_| {}).await;
        Ok((custody, Found { leftovers, damaged_lines: read.damaged_lines }))
    }

    /// Lets the guardian go, once nothing is left that it guards, and leaves the record to the next run.
    pub(super) async fn close(&self) {
        self.guardian.close().await;
        self.record.lock().await.close();
    }

    fn next_marker(&self) -> String {
        format!("{}{}", self.prefix, self.started.fetch_add(1, Ordering::Relaxed))
    }

    async fn write(&self, change: impl FnOnce(&mut Vec<Entry>)) {
        if let Err(error) = self.record.lock().await.change(change).await {
            // The guardian is there all the same, so nothing is stopped for this.
            let _ = self.troubles.send(Trouble::NotRecorded { why: error.to_string() });
        }
    }
}

fn random() -> Result<u128, OpenFault> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| OpenFault::Random(error.to_string()))?;
    Ok(u128::from_ne_bytes(bytes))
}
