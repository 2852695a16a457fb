//! The thread that writes states to disk: everything saved since the last time goes as one group, in one transaction.
//!
//! It is a thread and not a task because file systems block. It also encodes, so that handlers need not.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::file::{QuarantinedBytes, StateFile, StateFileError, StateTransaction};
use super::write_queue::{PendingQuarantine, PendingWrite, WriteOp};
use super::{Inner, WriteProgress, record};
use crate::journal::FaultPhase;
use crate::path::ActorPath;
use crate::state::StoredState;
use crate::state::memory::QUARANTINED_PER_PATH_MAX;

/// The time that the thread waits before it tries a disk again that refused.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The interval at which an idle writer checks that the file is still in its place.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The text about a file that is not in its place any more, or lost its content.
const LOST_TEXT: &str = "the file was deleted, replaced or emptied while it was open";

/// The writer; see the module.
pub(super) struct StateWriter {
    shared: Arc<Inner>,
    file: StateFile,
    /// The paths whose state in the file is not the one in the queue.
    dirty: HashSet<ActorPath>,
    /// The states that are still to be quarantined.
    quarantined: Vec<(ActorPath, QuarantinedBytes)>,
    /// The paths whose newest state cannot be kept, and why.
    rejected: HashMap<ActorPath, String>,
    is_failing: bool,
}

impl StateWriter {
    pub(super) fn start(
        shared: Arc<Inner>,
        file: StateFile,
        damaged: HashMap<ActorPath, QuarantinedBytes>,
    ) -> std::io::Result<JoinHandle<()>> {
        let dirty = damaged.keys().cloned().collect();
        let asides = damaged.into_iter().collect();
        let writer =
            Self { shared, file, dirty, quarantined: asides, rejected: HashMap::new(), is_failing: false };
        thread::Builder::new().name("mainstay-state".to_owned()).spawn(move || writer.run())
    }

    fn run(mut self) {
        loop {
            let closing = self.wait_for_work();
            let (group, handed) = {
                let mut queue = self.shared.write_queue();
                (queue.take_batch(), queue.accepted)
            };
            for (path, change) in group.iter() {
                self.apply(path, change);
            }
            drop(group);
            // This is dropped outside the lock, because a snapshot's drop may do anything.
            let done = self.shared.write_queue().release_batch();
            drop(done);
            self.write();
            self.shared.write_queue().unwritten_paths = self.dirty.len();
            self.shared.progress.send_replace(WriteProgress {
                accepted: handed,
                is_closed: false,
                unsaved_reason: self.unsaved_reason(),
            });
            if closing {
                return;
            }
        }
    }

    /// Waits until there is something to do, or to check. Returns whether the store is closing.
    fn wait_for_work(&self) -> bool {
        let Inner { config, wakeup, .. } = &*self.shared;
        let mut queue = self.shared.write_queue();
        let pause = if self.is_failing { RETRY_DELAY } else { config.commit_interval };
        let failing = self.is_failing;
        wakeup.wait_while_for(
            &mut queue,
            |queue| !queue.is_closing && (failing || !queue.is_flush_requested),
            pause,
        );
        if failing {
            return queue.is_closing;
        }
        queue.is_writer_idle = queue.is_idle();
        wakeup.wait_while_for(
            &mut queue,
            |queue| queue.is_idle() && !queue.is_flush_requested && !queue.is_closing,
            CHECK_INTERVAL,
        );
        queue.is_writer_idle = false;
        queue.is_closing
    }

    // === accepting a group ===

    fn apply(&mut self, path: &ActorPath, change: &PendingWrite) {
        for aside in &change.quarantines {
            self.quarantine(path, aside);
        }
        match &change.op {
            None => {}
            Some(WriteOp::Save(pending)) => match pending.encode() {
                Ok(state) => self.store(path, state),
                Err(reason) => self.reject(path, reason),
            },
            Some(WriteOp::Remove) => self.remove(path),
        }
    }

    fn quarantine(&mut self, path: &ActorPath, aside: &PendingQuarantine) {
        let state = match &aside.snapshot {
            Some(pending) => pending.encode().ok(),
            None => self.shared.write_queue().stored(path).cloned(),
        };
        // The record gets the number of its row.
        if let Some(bytes) = state.and_then(|state| record::encode(path, 0, &state)) {
            let mut of_this_path = self.quarantined.iter().enumerate().filter(|(_, (one, _))| one == path);
            // The file keeps no more either.
            if let (Some((oldest, _)), QUARANTINED_PER_PATH_MAX..) =
                (of_this_path.next(), 1 + of_this_path.count())
            {
                self.quarantined.remove(oldest);
            }
            self.quarantined.push((path.clone(), QuarantinedBytes { reason: aside.reason.clone(), bytes }));
        }
        self.remove(path);
    }

    fn remove(&mut self, path: &ActorPath) {
        self.rejected.remove(path);
        self.shared.write_queue().remove_stored(path);
        self.dirty.insert(path.clone());
    }

    fn store(&mut self, path: &ActorPath, state: StoredState) {
        if let Err(reason) = self.check_size(path, &state) {
            return self.reject(path, reason);
        }
        self.rejected.remove(path);
        let mut queue = self.shared.write_queue();
        // Many messages change nothing; then nothing is written.
        if queue.stored(path) != Some(&state) {
            queue.put(path, state);
            self.dirty.insert(path.clone());
        }
    }

    fn check_size(&self, path: &ActorPath, state: &StoredState) -> Result<(), String> {
        let (config, bytes) = (&self.shared.config, state.content.len());
        let max = config.state_bytes_max.min(u32::MAX as usize);
        if bytes > max {
            return Err(format!("the state has {bytes} bytes; at most {max} are kept"));
        }
        let (total, max) = (self.shared.write_queue().bytes_after(path, state), config.total_bytes_max);
        if total > max {
            return Err(format!("with it all states would have {total} bytes; at most {max} are kept"));
        }
        Ok(())
    }

    /// Rejects the newest state of `path`, which cannot be kept. Reports it once, until one can.
    fn reject(&mut self, path: &ActorPath, reason: String) {
        if !self.rejected.contains_key(path) {
            let message = format!("{reason}; the previous state stays");
            self.shared.report_degraded(path, FaultPhase::Once, message);
        }
        self.rejected.insert(path.clone(), reason);
    }

    // === writing ===

    fn write(&mut self) {
        let is_in_place = self.file.is_in_place();
        if is_in_place && self.dirty.is_empty() && self.quarantined.is_empty() {
            return;
        }
        let mut outcome = if is_in_place { self.try_write() } else { self.rewrite(LOST_TEXT) };
        if let Err(StateFileError::Damaged(reason)) = &outcome {
            outcome = self.rewrite(&super::damage_text(reason));
        }
        match outcome {
            Ok(()) => {
                self.dirty.clear();
                self.quarantined.clear();
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut self.is_failing) {
                    self.report_degraded(FaultPhase::Ends, "the disk takes states again".to_owned());
                }
            }
            Err(fault) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let message = format!("the disk refuses states, they wait in memory: {fault}");
                    self.report_degraded(FaultPhase::Begins, message);
                }
            }
        }
        *self.shared.database() = self.file.database();
    }

    fn try_write(&mut self) -> Result<(), StateFileError> {
        if self.file.ensure_open()? {
            self.mark_all_dirty();
        }
        let states = {
            let queue = self.shared.write_queue();
            self.dirty.iter().map(|path| (path, queue.stored(path).cloned())).collect()
        };
        self.file.write_states(&StateTransaction { states, quarantined: &self.quarantined })
    }

    /// Creates a new file in place of a damaged or lost one. Every state in use is in memory, and is written again.
    fn rewrite(&mut self, reason: &str) -> Result<(), StateFileError> {
        self.mark_all_dirty();
        let kept_as = self.file.recreate();
        let kept_path = kept_as.as_ref().ok().and_then(Option::as_deref);
        let message = super::recreated_message(kept_path, reason, "a new one gets all states");
        self.report_degraded(FaultPhase::Once, message);
        kept_as?;
        self.try_write()
    }

    fn mark_all_dirty(&mut self) {
        self.dirty.extend(self.shared.write_queue().paths().cloned());
    }

    /// Returns why not everything is safe, if so.
    fn unsaved_reason(&self) -> Option<String> {
        if self.is_failing {
            return Some("the disk refuses states".to_owned());
        }
        self.rejected.iter().next().map(|(path, reason)| format!("{path}: {reason}"))
    }

    fn report_degraded(&self, phase: FaultPhase, message: String) {
        self.shared.report_degraded(&ActorPath::state_store(), phase, message);
    }
}

impl Drop for StateWriter {
    /// Tells the callers that wait for the disk that the writer has ended.
    fn drop(&mut self) {
        if thread::panicking() {
            self.report_degraded(
                FaultPhase::Begins,
                "the thread that writes states has panicked: no more states are saved".to_owned(),
            );
        }
        self.shared.progress.send_modify(|progress| progress.is_closed = true);
    }
}
