//! Processes on unix: groups, signals, a guardian, a record of what runs.

mod orphans;
mod pid_file;
mod process_group;
mod process_table;
mod signals;
mod watchdog;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, broadcast};

use self::pid_file::{PidFile, PidFileEntry};
pub(super) use self::process_group::{ProcessGroup, kill_group, resident_bytes};
use self::watchdog::Watchdog;
use super::manager::{ManagerWarning, OpenError, Orphan};

/// What sees to it that nothing outlives the runtime.
#[derive(Debug)]
pub(super) struct ProcessRegistry {
    watchdog: Watchdog,
    pid_file: Mutex<PidFile>,
    /// Says that the system was not restarted since a process was recorded.
    boot_id: String,
    /// How the marks of all processes of this runtime begin.
    marker_prefix: String,
    spawn_count: AtomicU64,
    warnings: broadcast::Sender<ManagerWarning>,
}

/// What was left by a run before.
pub(super) struct RecoveredOrphans {
    pub(super) orphans: Vec<Orphan>,
    pub(super) damaged_lines: usize,
}

impl ProcessRegistry {
    /// Ends what the record in the folder tells of, and begins a new one.
    pub(super) async fn open(
        data_dir: Option<&Path>,
        troubles: broadcast::Sender<ManagerWarning>,
    ) -> Result<(Self, RecoveredOrphans), OpenError> {
        let boot = process_table::boot_id();
        let (record, read) = PidFile::open(data_dir)?;
        let leftovers = orphans::end_orphans(&read.entries, &boot).await;
        let prefix = format!("{:032x}-", random_u128()?);
        let guardian = Watchdog::new(&prefix, troubles.clone());
        let (record, started) = (Mutex::new(record), AtomicU64::new(0));
        let custody = Self {
            watchdog: guardian,
            pid_file: record,
            boot_id: boot,
            marker_prefix: prefix,
            spawn_count: started,
            warnings: troubles,
        };
        custody.update_pid_file(|_| {}).await;
        Ok((custody, RecoveredOrphans { orphans: leftovers, damaged_lines: read.damaged_lines }))
    }

    /// Lets the guardian go, once nothing is left that it guards, and leaves the record to the next run.
    pub(super) async fn close(&self) {
        self.watchdog.close().await;
        self.pid_file.lock().await.close();
    }

    fn next_marker(&self) -> String {
        format!("{}{}", self.marker_prefix, self.spawn_count.fetch_add(1, Ordering::Relaxed))
    }

    async fn update_pid_file(&self, change: impl FnOnce(&mut Vec<PidFileEntry>)) {
        if let Err(error) = self.pid_file.lock().await.update(change).await {
            // The guardian is there all the same, so nothing is stopped for this.
            let _ = self.warnings.send(ManagerWarning::PidFileFailed { why: error.to_string() });
        }
    }
}

fn random_u128() -> Result<u128, OpenError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| OpenError::Random(error.to_string()))?;
    Ok(u128::from_ne_bytes(bytes))
}
