//! The thread that brings states to disk: what was handed in since the last time goes as one group, in one transaction.
//!
//! It is a thread and not a task because file systems block. It also encodes, so that handlers need not.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::file::{Batch, Fault, Remains, StateFile};
use super::ledger::{Aside, Change, Then};
use super::{Progress, Shared, record};
use crate::path::ActorPath;
use crate::state::StoredState;
use crate::state::memory::ASIDES_PER_PATH_MAX;

/// How long the thread waits before it tries a disk again that refused.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Writer {
    shared: Arc<Shared>,
    file: StateFile,
    /// Paths whose state in the file is not the one in the ledger.
    dirty: HashSet<ActorPath>,
    /// States to be set aside, that are not yet.
    asides: Vec<(ActorPath, Remains)>,
    /// Paths whose newest state cannot be kept, and why.
    unfit: HashMap<ActorPath, String>,
    failing: bool,
}

impl Writer {
    pub(super) fn start(
        shared: Arc<Shared>,
        file: StateFile,
        damaged: HashMap<ActorPath, Remains>,
    ) -> std::io::Result<JoinHandle<()>> {
        let dirty = damaged.keys().cloned().collect();
        let asides = damaged.into_iter().collect();
        let writer = Self { shared, file, dirty, asides, unfit: HashMap::new(), failing: false };
        thread::Builder::new().name("mainstay-state".to_owned()).spawn(move || writer.run())
    }

    fn run(mut self) {
        loop {
            let closing = self.wait();
            let (group, handed) = {
                let mut ledger = self.shared.ledger();
                (ledger.take(), ledger.handed)
            };
            for (path, change) in group.iter() {
                self.take_in(path, change);
            }
            drop(group);
            // Dropped outside the lock: what a snapshot does when it is dropped is its own affair.
            let done = self.shared.ledger().taken_in();
            drop(done);
            self.write();
            self.shared.ledger().held_back = self.dirty.len();
            self.shared.progress.send_replace(Progress { handed, ended: false, unsaved: self.unsaved() });
            if closing {
                return;
            }
        }
    }

    /// Returns when there is something to do, and whether it is the last time.
    fn wait(&self) -> bool {
        let Shared { config, bell, .. } = &*self.shared;
        let ledger = self.shared.ledger();
        let pause = if self.failing { RETRY_AFTER } else { config.commit_interval };
        let failing = self.failing;
        let paused =
            bell.wait_timeout_while(ledger, pause, |ledger| !ledger.closing && (failing || !ledger.urgent));
        let mut ledger = paused.unwrap_or_else(PoisonError::into_inner).0;
        if failing {
            return ledger.closing;
        }
        ledger.asleep = ledger.is_idle();
        let woken = bell.wait_while(ledger, |ledger| ledger.is_idle() && !ledger.urgent && !ledger.closing);
        woken.unwrap_or_else(PoisonError::into_inner).closing
    }

    // === taking a group in ===

    fn take_in(&mut self, path: &ActorPath, change: &Change) {
        for aside in &change.asides {
            self.put_aside(path, aside);
        }
        match &change.then {
            None => {}
            Some(Then::Save(draft)) => match draft.encode() {
                Ok(state) => self.keep(path, state),
                Err(reason) => self.find_unfit(path, reason),
            },
            Some(Then::Remove) => self.drop_state(path),
        }
    }

    fn put_aside(&mut self, path: &ActorPath, aside: &Aside) {
        let state = match &aside.draft {
            Some(draft) => draft.encode().ok(),
            None => self.shared.ledger().stored(path).cloned(),
        };
        // It gets the number of the row that it stands in.
        if let Some(bytes) = state.and_then(|state| record::encode(path, 0, &state)) {
            let mut of_this_path = self.asides.iter().enumerate().filter(|(_, (one, _))| one == path);
            // The file keeps no more either.
            if let (Some((oldest, _)), ASIDES_PER_PATH_MAX..) =
                (of_this_path.next(), 1 + of_this_path.count())
            {
                self.asides.remove(oldest);
            }
            self.asides.push((path.clone(), Remains { why: aside.why.clone(), bytes }));
        }
        self.drop_state(path);
    }

    fn drop_state(&mut self, path: &ActorPath) {
        self.unfit.remove(path);
        self.shared.ledger().drop_stored(path);
        self.dirty.insert(path.clone());
    }

    fn keep(&mut self, path: &ActorPath, state: StoredState) {
        if let Err(reason) = self.check_size(path, &state) {
            return self.find_unfit(path, reason);
        }
        self.unfit.remove(path);
        let mut ledger = self.shared.ledger();
        // Many messages change nothing; then nothing is written.
        if ledger.stored(path) != Some(&state) {
            ledger.store(path, state);
            self.dirty.insert(path.clone());
        }
    }

    fn check_size(&self, path: &ActorPath, state: &StoredState) -> Result<(), String> {
        let (config, bytes) = (&self.shared.config, state.content.len());
        let max = config.state_bytes_max.min(u32::MAX as usize);
        if bytes > max {
            return Err(format!("the state has {bytes} bytes; at most {max} are kept"));
        }
        let (total, max) = (self.shared.ledger().bytes_with(path, state), config.total_bytes_max);
        if total > max {
            return Err(format!("with it all states would take {total} bytes; at most {max} are kept"));
        }
        Ok(())
    }

    /// The newest state of `path` cannot be kept: said once, until one can.
    fn find_unfit(&mut self, path: &ActorPath, reason: String) {
        if !self.unfit.contains_key(path) {
            self.shared.tell(path, format!("{reason}; the last one that could be kept stays"));
        }
        self.unfit.insert(path.clone(), reason);
    }

    // === writing ===

    fn write(&mut self) {
        if self.dirty.is_empty() && self.asides.is_empty() {
            return;
        }
        let mut outcome = self.try_write();
        if let Err(Fault::Damaged(reason)) = &outcome {
            outcome = self.begin_anew(reason).and_then(|()| self.try_write());
        }
        match outcome {
            Ok(()) => {
                self.dirty.clear();
                self.asides.clear();
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    self.tell("the disk takes states again".to_owned());
                }
            }
            Err(fault) => {
                if !std::mem::replace(&mut self.failing, true) {
                    self.tell(format!("the disk refuses states, they wait in memory: {fault}"));
                }
            }
        }
        *self.shared.database() = self.file.database();
    }

    fn try_write(&mut self) -> Result<(), Fault> {
        if self.file.ready()? {
            self.write_all_again();
        }
        let states = {
            let ledger = self.shared.ledger();
            self.dirty.iter().map(|path| (path, ledger.stored(path).cloned())).collect()
        };
        self.file.write(&Batch { states, asides: &self.asides })
    }

    /// A new file in the place of one that is damaged. All that was in use is in memory, and is written again.
    fn begin_anew(&mut self, reason: &str) -> Result<(), Fault> {
        self.write_all_again();
        let kept_as = self.file.begin_anew()?;
        self.tell(super::moved(&kept_as, reason));
        Ok(())
    }

    fn write_all_again(&mut self) {
        self.dirty.extend(self.shared.ledger().paths().cloned());
    }

    /// Why not everything is safe, if it is not.
    fn unsaved(&self) -> Option<String> {
        if self.failing {
            return Some("the disk refuses states".to_owned());
        }
        self.unfit.iter().next().map(|(path, reason)| format!("{path}: {reason}"))
    }

    fn tell(&self, reason: String) {
        self.shared.tell(&ActorPath::of_state_store(), reason);
    }
}

impl Drop for Writer {
    /// Whoever waits for the disk learns that nobody writes any more.
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell("the thread that writes states has panicked: none is saved any more".to_owned());
        }
        self.shared.progress.send_modify(|progress| progress.ended = true);
    }
}
