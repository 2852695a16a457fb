//! Implements processes on Unix: groups, signals, a watchdog, and a PID file.

mod orphans;
mod pid_file;
mod process_group;
mod process_table;
mod signals;
#[cfg(target_os = "linux")]
mod socket_holder;
mod watchdog;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, broadcast};

use self::pid_file::{PidFile, PidFileEntry};
pub(super) use self::process_group::{ProcessGroup, condition, kill_group, resident_bytes};
#[cfg(target_os = "linux")]
pub(super) use self::socket_holder::{SocketHolder, find_socket_holder};
use self::watchdog::Watchdog;
use super::manager::{ManagerWarning, OpenError, Orphan};

/// The safeguards against processes that outlive the runtime.
#[derive(Debug)]
pub(super) struct ProcessRegistry {
    watchdog: Watchdog,
    pid_file: Mutex<PidFile>,
    /// Identifies the boot of the system, in which recorded ids are valid.
    boot_id: String,
    /// The prefix of the markers of all processes of this runtime.
    marker_prefix: String,
    spawn_count: AtomicU64,
    warnings: broadcast::Sender<ManagerWarning>,
}

/// The orphans of an earlier run.
pub(super) struct RecoveredOrphans {
    pub(super) orphans: Vec<Orphan>,
    pub(super) damaged_lines: usize,
}

impl ProcessRegistry {
    /// Ends the orphans in the folder's PID file, and begins a new one.
    pub(super) async fn open(
        data_dir: Option<&Path>,
        warnings: broadcast::Sender<ManagerWarning>,
    ) -> Result<(Self, RecoveredOrphans), OpenError> {
        let boot_id = process_table::boot_id();
        let (pid_file, parsed) = PidFile::open(data_dir)?;
        let orphans = orphans::end_orphans(&parsed.entries, &boot_id).await;
        let marker_prefix = format!("{:032x}-", random_u128()?);
        let watchdog = Watchdog::new(&marker_prefix, warnings.clone());
        let registry = Self {
            watchdog,
            pid_file: Mutex::new(pid_file),
            boot_id,
            marker_prefix,
            spawn_count: AtomicU64::new(0),
            warnings,
        };
        registry.update_pid_file(|_| {}).await;
        Ok((registry, RecoveredOrphans { orphans, damaged_lines: parsed.damaged_lines }))
    }

    /// Ends the watchdog once it has nothing left to watch, and leaves the PID file to the next run.
    pub(super) async fn close(&self) {
        self.watchdog.close().await;
        self.pid_file.lock().await.close();
    }

    fn next_marker(&self) -> String {
        format!("{}{}", self.marker_prefix, self.spawn_count.fetch_add(1, Ordering::Relaxed))
    }

    async fn update_pid_file(&self, change: impl FnOnce(&mut Vec<PidFileEntry>)) {
        if let Err(error) = self.pid_file.lock().await.update(change).await {
            // The watchdog still works, so this stops nothing.
            let _ = self.warnings.send(ManagerWarning::PidFileFailed { message: error.to_string() });
        }
    }
}

fn random_u128() -> Result<u128, OpenError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| OpenError::Random(error.to_string()))?;
    Ok(u128::from_ne_bytes(bytes))
}
