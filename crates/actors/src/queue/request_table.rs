//! Holds the accepted requests that have not ended.
//!
//! The table belongs to the actor and not to an incarnation's state, so a crash loses neither a request nor its
//! caller. No incarnation inherits a half-finished change: an entry changes in one step under the lock, by code that
//! cannot panic midway. An entry holds only what is true whatever happens to the incarnation: the request, the number
//! of attempts, and whether one is in flight. Everything derived from that (queue, permits, tasks, timer) belongs to
//! the incarnation and is rebuilt from the entries.
//!
//! Most requests have one waiter. A shared request (see `RequestBuilder::shared`) has several: each with its own id,
//! its own `wait_timeout` and its own result.
//!
//! A reply leaves the table only with its entry, so each request is answered once.

use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::Duration,
};

use mainstay_runtime::Reply;

use super::attempt::{AttemptCount, AttemptResult, ReachabilityEvidence};
use super::download::{Download, StreamFailure};
use super::groups::GroupSet;
use super::permits::Resource;
use super::priority_queue::QueueItem;
use super::request_entry::{PendingRequest, RequestEntry, RequestPhase, Waiter};
use super::responder::{Responder, StreamEndReply};
use super::retry::{RequestFacts, SideEffect, has_broken, has_renewed_token, side_effect};
use crate::error::{Error, Reason};
use crate::network::BackendEnds;
use crate::quarantine::DeathRecord;
use crate::request::{Priority, Request};
use crate::request_id::{IdMap, RequestId};

/// The table; see the module's documentation.
#[derive(Debug, Default)]
pub(super) struct RequestTable(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_id: BTreeMap<RequestId, RequestEntry>,
    /// The entries that may be shared, by path.
    shared: HashMap<String, Vec<RequestId>>,
    /// The entry of each caller that joined one.
    joined: IdMap<RequestId>,
    /// The requests whose connection broke, while it is unknown whether the backend died over them.
    open: Vec<RequestId>,
    /// The ends of the backend's process, as last noted.
    ends: BackendEnds,
}

impl Inner {
    fn next_after(&self, id: RequestId) -> Option<&RequestEntry> {
        if self.is_newest(id) {
            return None;
        }
        self.by_id.range((Excluded(id), Unbounded)).next().map(|(_, entry)| entry)
    }

    /// Counts a death for each open request that `is_gone` selects. Returns the requests to quarantine.
    fn note_gone(
        &mut self,
        is_gone: impl Fn(RequestId, &mut RequestEntry, BackendEnds) -> bool,
        quarantine_after: u32,
    ) -> Vec<RequestId> {
        let Self { by_id, open, ends, .. } = self;
        let mut poison = Vec::new();
        open.retain(|id| {
            let Some(entry) = by_id.get_mut(id) else { return false };
            if is_gone(*id, entry, *ends) && entry.deaths.note_gone(quarantine_after) {
                poison.push(*id);
            }
            entry.deaths.is_open()
        });
        poison
    }

    /// Applies the ends of the backend's process to the open requests that wait, and to `ended`, whose attempt has just
    /// ended. Returns the requests to quarantine. If another attempt is in flight, its end decides.
    fn settle_ends(&mut self, ended: Option<RequestId>, quarantine_after: u32) -> Vec<RequestId> {
        let is_gone = |id: RequestId, entry: &mut RequestEntry, ends| {
            entry.deaths.note_stops(ends);
            let is_waiting = matches!(entry.phase, RequestPhase::Waiting { .. }) || Some(id) == ended;
            is_waiting && entry.deaths.take_exit(ends)
        };
        self.note_gone(is_gone, quarantine_after)
    }

    /// Returns whether no entry has a higher id. Ids mostly come in order, which makes a search needless.
    fn is_newest(&self, id: RequestId) -> bool {
        self.by_id.last_key_value().is_none_or(|(last, _)| *last < id)
    }
}

impl RequestTable {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }

    /// Returns whether an entry or a waiter has this id.
    pub(super) fn contains_id(&self, id: RequestId) -> bool {
        let inner = self.lock();
        (!inner.is_newest(id) && inner.by_id.contains_key(&id)) || inner.joined.contains_key(&id)
    }

    /// Adds a request with its first waiter, and returns its item for the queue.
    ///
    /// Ids are assigned in the order in which callers ask, but messages can overtake each other. The order of the ids
    /// counts: a request that was overtaken gets the arrival time of the next id.
    pub(super) fn insert(&self, request: Arc<Request>, waiter: Waiter, groups: GroupSet) -> QueueItem<()> {
        let (id, now) = (waiter.id, waiter.queued_at);
        let mut inner = self.lock();
        let overtaken_at = inner.next_after(id).map(|entry| entry.queued_at);
        let queued_at = overtaken_at.map_or(now, |at| at.min(now));
        // A streamed response is never shared.
        if request.is_shared() && !waiter.responder.is_streaming() {
            inner.shared.entry(request.path().to_owned()).or_default().push(id);
        }
        let entry = RequestEntry {
            priority: request.priority(),
            groups,
            resource: Resource::of_path(request.path_without_query()),
            request,
            waiters: vec![Waiter { queued_at, ..waiter }],
            queued_at,
            attempts: AttemptCount::default(),
            may_have_acted: false,
            has_renewed_token: false,
            last_failure: None,
            deaths: DeathRecord::default(),
            phase: RequestPhase::Waiting { not_before: Duration::ZERO },
        };
        let item = entry.queue_item(id);
        inner.by_id.insert(id, entry);
        item
    }

    /// Returns an entry for an equivalent request, if both may be shared.
    pub(super) fn find_matching(&self, request: &Request, responder: &Responder) -> Option<RequestId> {
        if !request.is_shared() || responder.is_streaming() {
            return None;
        }
        let inner = self.lock();
        let is_same = |id: &&RequestId| {
            inner.by_id.get(id).is_some_and(|entry| entry.request.is_equivalent_to(request))
        };
        inner.shared.get(request.path())?.iter().find(is_same).copied()
    }

    /// Adds a waiter to entry `id`, and raises the request's priority to the caller's.
    pub(super) fn join(&self, id: RequestId, request: &Request, waiter: Waiter) {
        let mut inner = self.lock();
        inner.joined.insert(waiter.id, id);
        if let Some(entry) = inner.by_id.get_mut(&id) {
            entry.waiters.push(waiter);
            // The highest priority is the least value.
            entry.priority = entry.priority.min(request.priority());
        }
    }

    /// Sets the priority of the request at which the caller of this id waits. Returns the entry; `None` if it does not
    /// wait.
    pub(super) fn set_priority(&self, id: RequestId, priority: Priority) -> Option<RequestId> {
        let id = self.find_by_waiter(id)?;
        let mut inner = self.lock();
        let entry = inner.by_id.get_mut(&id)?;
        if !matches!(entry.phase, RequestPhase::Waiting { .. }) {
            return None;
        }
        entry.priority = priority;
        Some(id)
    }

    /// Lists the requests that have not ended, oldest first, at most `count`.
    pub(super) fn list(&self, count: usize, now: Duration) -> Vec<PendingRequest> {
        let inner = self.lock();
        inner.by_id.iter().take(count).map(|(id, entry)| entry.to_pending(*id, now)).collect()
    }

    /// Returns the number of callers that joined another's request.
    pub(super) fn joined_count(&self) -> usize {
        self.lock().joined.len()
    }

    /// Returns the entry at which the caller of this id waits.
    pub(super) fn find_by_waiter(&self, id: RequestId) -> Option<RequestId> {
        let inner = self.lock();
        let is_here = |entry: &RequestEntry| entry.waiters.iter().any(|waiter| waiter.id == id);
        let own = inner.by_id.get(&id).filter(|entry| is_here(entry)).map(|_| id);
        own.or_else(|| inner.joined.get(&id).copied())
    }

    /// Removes the waiters of entry `id` that `leaves` selects, and returns them with the request.
    pub(super) fn remove_waiters(
        &self,
        id: RequestId,
        leaves: impl Fn(&Waiter) -> bool,
    ) -> Option<(Arc<Request>, Vec<Waiter>)> {
        let mut inner = self.lock();
        let entry = inner.by_id.get_mut(&id)?;
        let request = Arc::clone(&entry.request);
        let removed: Vec<_> = entry.waiters.extract_if(.., |waiter| leaves(waiter)).collect();
        for waiter in &removed {
            inner.joined.remove(&waiter.id);
        }
        Some((request, removed))
    }

    /// Returns the request's item for the queue; `None` if it does not wait.
    pub(super) fn queue_item(&self, id: RequestId) -> Option<QueueItem<()>> {
        let inner = self.lock();
        let entry = inner.by_id.get(&id)?;
        matches!(entry.phase, RequestPhase::Waiting { .. }).then(|| entry.queue_item(id))
    }

    /// Notes that an attempt starts. Call it before the attempt: a request that may have been sent must not look
    /// unsent.
    pub(super) fn begin_attempt(&self, id: RequestId) -> Option<Attempt> {
        let mut inner = self.lock();
        let ends = inner.ends;
        let entry = inner.by_id.get_mut(&id)?;
        entry.phase = RequestPhase::Running;
        entry.deaths.note_start(ends);
        entry.attempts.made = entry.attempts.made.saturating_add(1);
        let (request, lead_id) = (Arc::clone(&entry.request), entry.lead_id(id));
        let is_first = entry.last_failure.is_none();
        let is_streaming = entry.waiters.iter().any(|waiter| waiter.responder.is_streaming());
        let (number, queued_at, ends_at) = (entry.attempts.made, entry.queued_at, entry.ends_at());
        Some(Attempt { request, lead_id, number, is_first, queued_at, ends_at, is_streaming })
    }

    /// Notes that the response has started, and returns the caller to answer. Returns `None` if the request was
    /// cancelled meanwhile or is not streamed.
    pub(super) fn begin_response(&self, id: RequestId) -> Option<StreamStart> {
        let mut inner = self.lock();
        let entry = inner.by_id.get_mut(&id)?;
        let waiter = entry.waiters.first_mut()?;
        let failure = StreamFailure::default();
        match std::mem::replace(&mut waiter.responder, Responder::Streaming(Arc::clone(&failure))) {
            Responder::Download(responder) => {
                entry.phase = RequestPhase::Streaming;
                Some(StreamStart {
                    request: Arc::clone(&entry.request),
                    reply: responder,
                    failure,
                    attempts: entry.attempts.made,
                    queued_at: waiter.queued_at,
                })
            }
            responder => {
                waiter.responder = responder;
                None
            }
        }
    }

    /// Stores the reply for the end of the body; returns it if the request was cancelled meanwhile.
    pub(super) fn set_stream_end_reply(
        &self,
        id: RequestId,
        reader: StreamEndReply,
    ) -> Result<(), StreamEndReply> {
        match self.lock().by_id.get_mut(&id).and_then(|entry| entry.waiters.first_mut()) {
            Some(waiter) => {
                waiter.responder = Responder::StreamEnd(reader);
                Ok(())
            }
            None => Err(reader),
        }
    }

    /// Notes that the attempt failed for `reason` and that the request waits again, until `deadline`. Returns the number
    /// of the next attempt, which is to be announced; `None` if the request has ended.
    pub(super) fn schedule_retry(
        &self,
        id: RequestId,
        reason: Reason,
        not_before: Duration,
        deadline: Duration,
    ) -> Option<u32> {
        let mut inner = self.lock();
        let entry = inner.by_id.get_mut(&id)?;
        entry.last_failure = Some(reason);
        entry.waiters.iter_mut().for_each(|waiter| waiter.deadline = deadline);
        entry.phase = RequestPhase::Waiting { not_before };
        entry.attempts.announced = entry.attempts.made.saturating_add(1);
        Some(entry.attempts.announced)
    }

    /// Notes that the attempt sent nothing, for `reason`: the request waits as if it had not started. The reason of
    /// an earlier attempt that may have had an effect is kept.
    pub(super) fn undo_attempt(&self, id: RequestId, reason: Reason) {
        if let Some(entry) = self.lock().by_id.get_mut(&id) {
            if !entry.may_have_acted {
                entry.last_failure = Some(reason);
            }
            entry.attempts.made = entry.attempts.made.saturating_sub(1);
            entry.phase = RequestPhase::Waiting { not_before: Duration::ZERO };
        }
    }

    /// Returns what `look` reads from an entry.
    pub(super) fn with_entry<T>(&self, id: RequestId, look: impl FnOnce(&RequestEntry) -> T) -> Option<T> {
        self.lock().by_id.get(&id).map(look)
    }

    /// Returns the facts for a retry decision, and the number of the last attempt.
    pub(super) fn facts(&self, id: RequestId) -> Option<(RequestFacts, u32)> {
        let inner = self.lock();
        let entry = inner.by_id.get(&id)?;
        let facts = RequestFacts {
            may_have_acted: entry.may_have_acted,
            has_renewed_token: entry.has_renewed_token,
            is_suspect: entry.deaths.is_suspect(),
            has_backend_ended: entry.deaths.has_exited_since_start(inner.ends),
            ..RequestFacts::from(&*entry.request)
        };
        Some((facts, entry.attempts.made))
    }

    /// Returns whether the backend died over the request before.
    pub(super) fn is_suspect(&self, id: RequestId) -> bool {
        self.with_entry(id, |entry| entry.deaths.is_suspect()).unwrap_or(false)
    }

    /// Notes what the end of an attempt shows about the backend, for all requests whose connection broke before.
    /// Returns the requests to quarantine.
    pub(super) fn note_evidence(
        &self,
        evidence: ReachabilityEvidence,
        quarantine_after: u32,
    ) -> Vec<RequestId> {
        match evidence {
            ReachabilityEvidence::Answered => self.note_alive(),
            ReachabilityEvidence::Unreachable(_) => return self.note_gone(quarantine_after),
            ReachabilityEvidence::Unanswered(_) | ReachabilityEvidence::None => {}
        }
        Vec::new()
    }

    /// Notes that nothing accepts connections, for all requests whose connection broke before. Returns the requests to
    /// quarantine.
    pub(super) fn note_gone(&self, quarantine_after: u32) -> Vec<RequestId> {
        self.lock().note_gone(|_, _, _| true, quarantine_after)
    }

    /// Notes the ends of the backend's process, for all requests whose connection broke before. Returns the requests
    /// to quarantine.
    pub(super) fn note_ends(&self, ends: BackendEnds, quarantine_after: u32) -> Vec<RequestId> {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.ends, ends) == ends {
            return Vec::new();
        }
        inner.settle_ends(None, quarantine_after)
    }

    /// Notes that the backend is alive, for all requests whose connection broke before.
    pub(super) fn note_alive(&self) {
        let mut inner = self.lock();
        let Inner { by_id, open, .. } = &mut *inner;
        for id in open.drain(..) {
            if let Some(entry) = by_id.get_mut(&id) {
                entry.deaths.note_alive();
            }
        }
    }

    /// Notes the result of an attempt at `id`, which is to wait for another one. Returns the requests to quarantine: if its
    /// connection broke, the end of the backend's process may have been seen before.
    pub(super) fn record_end(
        &self,
        id: RequestId,
        result: &AttemptResult,
        quarantine_after: u32,
    ) -> Vec<RequestId> {
        let mut inner = self.lock();
        let Inner { by_id, open, ends, .. } = &mut *inner;
        let Some(entry) = by_id.get_mut(&id) else { return Vec::new() };
        entry.may_have_acted |= side_effect(result) == Some(SideEffect::Possible);
        entry.has_renewed_token |= has_renewed_token(result);
        if has_broken(result) {
            entry.deaths.note_break(*ends);
        }
        if entry.deaths.is_open() && !open.contains(&id) {
            open.push(id);
        }
        inner.settle_ends(Some(id), quarantine_after)
    }

    /// Removes an entry, to answer its waiters.
    pub(super) fn remove(&self, id: RequestId) -> Option<RequestEntry> {
        let mut inner = self.lock();
        let entry = inner.by_id.remove(&id)?;
        inner.open.retain(|other| *other != id);
        for waiter in &entry.waiters {
            inner.joined.remove(&waiter.id);
        }
        if entry.request.is_shared()
            && let Some(open) = inner.shared.get_mut(entry.request.path())
        {
            open.retain(|other| *other != id);
            if open.is_empty() {
                inner.shared.remove(entry.request.path());
            }
        }
        Some(entry)
    }

    /// Returns the phase of every request, in the order of their ids.
    pub(super) fn phases(&self) -> Vec<(RequestId, RequestPhase)> {
        self.lock().by_id.iter().map(|(id, entry)| (*id, entry.phase)).collect()
    }
}

impl Drop for RequestTable {
    /// Answers the remaining callers: the runtime was dropped without a stop, and its journal with it.
    fn drop(&mut self) {
        for entry in std::mem::take(&mut self.lock().by_id).into_values() {
            let error = entry.abort_error(Reason::Stopped).with_attempts(entry.attempts.made);
            for waiter in entry.waiters {
                waiter.responder.fail(error.clone().with_request_id(waiter.id));
            }
        }
    }
}

/// An attempt to make.
pub(super) struct Attempt {
    pub(super) request: Arc<Request>,
    /// The id in the journal: that of the longest waiter.
    pub(super) lead_id: RequestId,
    /// The attempt's number; the first is 1.
    pub(super) number: u32,
    /// True if no attempt has ended before, not even one that could not connect.
    pub(super) is_first: bool,
    pub(super) queued_at: Duration,
    /// The earliest deadline of its callers.
    pub(super) ends_at: Option<Duration>,
    /// True if the response is streamed.
    pub(super) is_streaming: bool,
}

/// A request whose response has started, and the reply for its caller.
pub(super) struct StreamStart {
    pub(super) request: Arc<Request>,
    pub(super) reply: Reply<Result<Download, Error>>,
    pub(super) failure: StreamFailure,
    pub(super) attempts: u32,
    /// The time at which the caller asked.
    pub(super) queued_at: Duration,
}

#[cfg(test)]
mod tests;
