//! The book of the requests that were accepted and have no fate yet.
//!
//! It belongs to the actor's recipe and not to an incarnation's state, so a crash takes neither a request nor its
//! caller away. Yet no successor ever works on what a panicking handler left half done: a page changes in one step
//! under the lock, by code that cannot panic midway, and says only what is true of the request whatever becomes of
//! the incarnation: what it is, how many attempts have begun, and whether one is under way. Everything that is
//! derived from that (the line, the permits, the tasks, the timer) is the incarnation's own, ends with it, and is
//! built anew from the pages.
//!
//! A reply can be taken out of the book in one way only, with its page. That makes one fate a request.

use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::Duration,
};

use super::{
    gate::ReachabilityEvidence,
    priority_queue::QueueItem,
    request_entry::{Attempt, RequestEntry, RequestPhase, StreamStart, Waiter},
    responder::{Responder, StreamEndReply, StreamFailure},
    retry::{AttemptOutcome, RequestFacts, SideEffect, has_broken, side_effect},
};
use crate::{
    error::Reason,
    quarantine::DeathRecord,
    request::{
        Request,
        id::{IdMap, RequestId},
    },
};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct RequestTable(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_id: BTreeMap<RequestId, RequestEntry>,
    /// Of the requests that may be shared: which pages are open, by path.
    shared: HashMap<String, Vec<RequestId>>,
    /// The page that each caller waits at who joined it.
    joined: IdMap<RequestId>,
    /// Those whose connection broke, while it is not known whether the backend died over them.
    open: Vec<RequestId>,
}

impl Inner {
    fn next_after(&self, id: RequestId) -> Option<&RequestEntry> {
        if self.is_newest(id) {
            return None;
        }
        self.by_id.range((Excluded(id), Unbounded)).next().map(|(_, page)| page)
    }

    /// Whether no page has a higher id. Mostly they come in their order, and then nothing has to be looked for.
    fn is_newest(&self, id: RequestId) -> bool {
        self.by_id.last_key_value().is_none_or(|(last, _)| *last < id)
    }
}

impl RequestTable {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }

    /// Whether a page, or a caller at one, has this id.
    pub(super) fn contains_id(&self, id: RequestId) -> bool {
        let pages = self.lock();
        (!pages.is_newest(id) && pages.by_id.contains_key(&id)) || pages.joined.contains_key(&id)
    }

    /// Takes a request in, with its first caller, and returns it as it is to stand in line.
    ///
    /// Ids are given out in the order in which callers ask, and two callers can overtake one another on their way
    /// here. The order of the ids counts: one that was overtaken is taken to have arrived when the next id did.
    pub(super) fn insert(&self, request: Arc<Request>, waiter: Waiter) -> QueueItem<()> {
        let (id, now) = (waiter.id, waiter.queued_at);
        let mut pages = self.lock();
        let overtaken_at = pages.next_after(id).map(|page| page.queued_at);
        let queued_at = overtaken_at.map_or(now, |at| at.min(now));
        // One who reads the answer as it comes has it alone.
        if request.is_shared() && !waiter.responder.is_streaming() {
            pages.shared.entry(request.path().to_owned()).or_default().push(id);
        }
        let page = RequestEntry {
            priority: request.priority(),
            request,
            waiters: vec![Waiter { queued_at, ..waiter }],
            queued_at,
            attempts: 0,
            may_have_acted: false,
            last_failure: None,
            deaths: DeathRecord::default(),
            phase: RequestPhase::Waiting { not_before: Duration::ZERO },
        };
        let entry = page.queue_item(id);
        pages.by_id.insert(id, page);
        entry
    }

    /// An open page for a request that is the same as this one, if both may be shared.
    pub(super) fn find_matching(&self, request: &Request, caller: &Responder) -> Option<RequestId> {
        if !request.is_shared() || caller.is_streaming() {
            return None;
        }
        let pages = self.lock();
        let is_same =
            |id: &&RequestId| pages.by_id.get(id).is_some_and(|page| page.request.is_equivalent_to(request));
        pages.shared.get(request.path())?.iter().find(is_same).copied()
    }

    /// Lets one more caller wait at page `id`, and makes the request as urgent as the caller wants it.
    pub(super) fn join(&self, id: RequestId, request: &Request, waiter: Waiter) {
        let mut pages = self.lock();
        pages.joined.insert(waiter.id, id);
        if let Some(page) = pages.by_id.get_mut(&id) {
            page.waiters.push(waiter);
            // The most urgent is the least.
            page.priority = page.priority.min(request.priority());
        }
    }

    /// How many callers have joined another's request.
    pub(super) fn joined_count(&self) -> usize {
        self.lock().joined.len()
    }

    /// The page that the caller of this id waits at.
    pub(super) fn find_by_waiter(&self, id: RequestId) -> Option<RequestId> {
        let pages = self.lock();
        let is_here = |page: &RequestEntry| page.waiters.iter().any(|waiter| waiter.id == id);
        let own = pages.by_id.get(&id).filter(|page| is_here(page)).map(|_| id);
        own.or_else(|| pages.joined.get(&id).copied())
    }

    /// Lets those callers leave page `id` of whom `leaves` holds; returns them, with what they had waited for.
    pub(super) fn remove_waiters(
        &self,
        id: RequestId,
        leaves: impl Fn(&Waiter) -> bool,
    ) -> Option<(Arc<Request>, Vec<Waiter>)> {
        let mut pages = self.lock();
        let page = pages.by_id.get_mut(&id)?;
        let request = Arc::clone(&page.request);
        let parted: Vec<_> = page.waiters.extract_if(.., |waiter| leaves(waiter)).collect();
        for waiter in &parted {
            pages.joined.remove(&waiter.id);
        }
        Some((request, parted))
    }

    /// The request as it stands in line; `None` if it does not wait.
    pub(super) fn queue_item(&self, id: RequestId) -> Option<QueueItem<()>> {
        let pages = self.lock();
        let page = pages.by_id.get(&id)?;
        matches!(page.phase, RequestPhase::Waiting { .. }).then(|| page.queue_item(id))
    }

    /// Notes that an attempt begins. To be called before it does: what may have been sent must not look as if it
    /// had not.
    pub(super) fn begin_attempt(&self, id: RequestId) -> Option<Attempt> {
        let mut pages = self.lock();
        let page = pages.by_id.get_mut(&id)?;
        page.phase = RequestPhase::Running;
        page.attempts = page.attempts.saturating_add(1);
        let (request, lead) = (Arc::clone(&page.request), page.lead_id(id));
        let is_first = page.last_failure.is_none();
        let wants_parts = page.waiters.iter().any(|waiter| waiter.responder.is_streaming());
        let (number, queued_at) = (page.attempts, page.queued_at);
        Some(Attempt { request, lead_id: lead, number, is_first, queued_at, is_streaming: wants_parts })
    }

    /// Notes that the answer has begun, and gives out the caller who is about to get its beginning. `None` if the
    /// request was called off meanwhile, or its caller wants the whole answer.
    pub(super) fn begin_response(&self, id: RequestId) -> Option<StreamStart> {
        let mut pages = self.lock();
        let page = pages.by_id.get_mut(&id)?;
        let waiter = page.waiters.first_mut()?;
        let verdict = StreamFailure::default();
        match std::mem::replace(&mut waiter.responder, Responder::Streaming(Arc::clone(&verdict))) {
            Responder::Download(caller) => {
                page.phase = RequestPhase::Streaming;
                Some(StreamStart {
                    request: Arc::clone(&page.request),
                    reply: caller,
                    failure: verdict,
                    attempts: page.attempts,
                })
            }
            caller => {
                waiter.responder = caller;
                None
            }
        }
    }

    /// Notes who waits for how the answer ended; gives that one back if the request was called off meanwhile.
    pub(super) fn set_stream_end_reply(
        &self,
        id: RequestId,
        reader: StreamEndReply,
    ) -> Result<(), StreamEndReply> {
        match self.lock().by_id.get_mut(&id).and_then(|page| page.waiters.first_mut()) {
            Some(waiter) => {
                waiter.responder = Responder::StreamEnd(reader);
                Ok(())
            }
            None => Err(reader),
        }
    }

    /// Notes that the attempt under way failed for `setback` and that the request waits again, until `deadline`.
    pub(super) fn schedule_retry(
        &self,
        id: RequestId,
        setback: Reason,
        not_before: Duration,
        deadline: Duration,
    ) {
        if let Some(page) = self.lock().by_id.get_mut(&id) {
            page.last_failure = Some(setback);
            page.waiters.iter_mut().for_each(|waiter| waiter.deadline = deadline);
            page.phase = RequestPhase::Waiting { not_before };
        }
    }

    /// Notes that the attempt under way sent nothing, for `setback`: the request waits as if it had not begun. Why an
    /// earlier one failed that may have been acted on stays known.
    pub(super) fn undo_attempt(&self, id: RequestId, setback: Reason) {
        if let Some(page) = self.lock().by_id.get_mut(&id) {
            if !page.may_have_acted {
                page.last_failure = Some(setback);
            }
            page.attempts = page.attempts.saturating_sub(1);
            page.phase = RequestPhase::Waiting { not_before: Duration::ZERO };
        }
    }

    /// Looks at a page.
    pub(super) fn with_entry<T>(&self, id: RequestId, look: impl FnOnce(&RequestEntry) -> T) -> Option<T> {
        self.lock().by_id.get(&id).map(look)
    }

    /// What a retry is decided by: the request's facts, and the number of its last attempt.
    pub(super) fn facts(&self, id: RequestId) -> Option<(RequestFacts, u32)> {
        let facts = |page: &RequestEntry| RequestFacts {
            may_have_acted: page.may_have_acted,
            ..RequestFacts::from(&*page.request)
        };
        self.with_entry(id, |page| (facts(page), page.attempts))
    }

    /// Returns whether the backend died over the request before.
    pub(super) fn is_suspect(&self, id: RequestId) -> bool {
        self.with_entry(id, |page| page.deaths.is_suspect()).unwrap_or(false)
    }

    /// Notes what the end of an attempt says about the backend, for all whose connection broke before. Returns the
    /// requests that are to be quarantined.
    pub(super) fn note_evidence(&self, evidence: ReachabilityEvidence) -> Vec<RequestId> {
        match evidence {
            ReachabilityEvidence::Answered => self.note_alive(),
            ReachabilityEvidence::Unreachable(_) => {
                let mut pages = self.lock();
                let Inner { by_id, open, .. } = &mut *pages;
                let is_poison =
                    |id: &RequestId| by_id.get_mut(id).is_some_and(|page| page.deaths.note_gone());
                return open.drain(..).filter(is_poison).collect();
            }
            ReachabilityEvidence::Unanswered(_) | ReachabilityEvidence::None => {}
        }
        Vec::new()
    }

    /// Notes that the backend is there, for all whose connection broke before.
    pub(super) fn note_alive(&self) {
        let mut pages = self.lock();
        let Inner { by_id, open, .. } = &mut *pages;
        for id in open.drain(..) {
            if let Some(page) = by_id.get_mut(&id) {
                page.deaths.note_alive();
            }
        }
    }

    /// Notes what is to be remembered of the attempt at `id` that ended so and is followed by another.
    pub(super) fn record_end(&self, id: RequestId, outcome: AttemptOutcome<'_>) {
        let mut pages = self.lock();
        let Inner { by_id, open, .. } = &mut *pages;
        let Some(page) = by_id.get_mut(&id) else { return };
        page.may_have_acted |= side_effect(outcome) == Some(SideEffect::Possible);
        if has_broken(outcome) {
            page.deaths.note_break();
            if !open.contains(&id) {
                open.push(id);
            }
        }
    }

    /// Takes a page out: its callers are about to be told.
    pub(super) fn remove(&self, id: RequestId) -> Option<RequestEntry> {
        let mut pages = self.lock();
        let page = pages.by_id.remove(&id)?;
        pages.open.retain(|other| *other != id);
        for waiter in &page.waiters {
            pages.joined.remove(&waiter.id);
        }
        if page.request.is_shared()
            && let Some(open) = pages.shared.get_mut(page.request.path())
        {
            open.retain(|other| *other != id);
            if open.is_empty() {
                pages.shared.remove(page.request.path());
            }
        }
        Some(page)
    }

    /// What every request is doing, in the order of their ids.
    pub(super) fn phases(&self) -> Vec<(RequestId, RequestPhase)> {
        self.lock().by_id.iter().map(|(id, page)| (*id, page.phase)).collect()
    }
}

impl Drop for RequestTable {
    /// The runtime is gone without having stopped anything, and its journal with it; the callers are not.
    fn drop(&mut self) {
        for page in std::mem::take(&mut self.lock().by_id).into_values() {
            let error = page.abort_error(Reason::Stopped).with_attempts(page.attempts);
            for waiter in page.waiters {
                waiter.responder.fail(error.clone().with_request_id(waiter.id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_runtime::Reply;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn absent_caller() -> Responder {
        Responder::Response(Reply::channel().0)
    }

    fn insert(
        book: &RequestTable,
        id: RequestId,
        request: Request,
        caller: Responder,
        now: Duration,
        deadline: Duration,
    ) {
        book.insert(Arc::new(request), Waiter { id, responder: caller, queued_at: now, deadline });
    }

    /// A book in which these ids were admitted, one a second.
    fn request_table(ids: &[u64]) -> RequestTable {
        let book = RequestTable::default();
        for (id, second) in ids.iter().zip(1..) {
            let request = Request::post("/x").build().unwrap();
            insert(&book, RequestId(*id), request, absent_caller(), s(second), s(100));
        }
        book
    }

    fn arrivals(book: &RequestTable) -> Vec<Duration> {
        let arrival = |(id, _)| book.with_entry(id, |page| page.queued_at);
        book.phases().into_iter().filter_map(arrival).collect()
    }

    #[test]
    fn ids_follow_arrival_time_in_any_order() {
        assert_eq!(arrivals(&request_table(&[1, 2, 3])), [s(1), s(2), s(3)]);
        assert_eq!(arrivals(&request_table(&[1, 4, 3, 5, 2])), [s(1), s(2), s(2), s(2), s(4)]);
    }

    #[test]
    fn overtaken_request_arrives_on_insert_if_the_other_left() {
        let book = request_table(&[5]);
        drop(book.remove(RequestId(5)));
        insert(&book, RequestId(4), Request::get("/").build().unwrap(), absent_caller(), s(9), s(100));
        assert_eq!(arrivals(&book), [s(9)]);
    }

    #[test]
    fn attempt_counts_at_start_and_is_uncertain_while_running() {
        let (book, id) = (request_table(&[1]), RequestId(1));
        let loss = || book.with_entry(id, |page| page.abort_error(Reason::Stopped).reason).unwrap();
        assert_eq!(loss(), Reason::Stopped);
        assert_eq!(book.begin_attempt(id).unwrap().number, 1);
        assert_eq!((loss(), book.queue_item(id)), (Reason::OutcomeUnknown, None));
        book.schedule_retry(id, Reason::ConnectionRefused, s(2), s(9));
        assert_eq!((loss(), book.queue_item(id).unwrap().deadline), (Reason::Stopped, Some(s(9))));
        assert_eq!(book.begin_attempt(id).unwrap().number, 2);
    }

    #[test]
    fn response_start_goes_to_a_stream_and_is_uncertain_until_end() {
        let (book, id) = (request_table(&[1]), RequestId(1));
        book.begin_attempt(id).unwrap();
        assert!(book.begin_response(id).is_none(), "its caller wants the whole answer");
        let request = Request::post("/x").build().unwrap();
        let (caller, _download) = Reply::channel();
        insert(&book, RequestId(2), request, Responder::Download(caller), s(1), s(9));
        assert!(book.begin_attempt(RequestId(2)).unwrap().is_streaming);
        assert_eq!(book.begin_response(RequestId(2)).unwrap().attempts, 1);
        assert!(book.begin_response(RequestId(2)).is_none(), "its caller has the beginning");
        let loss = book.with_entry(RequestId(2), |page| page.abort_error(Reason::Crashed).reason);
        assert_eq!((loss, book.queue_item(RequestId(2))), (Some(Reason::OutcomeUnknown), None));
        assert!(book.set_stream_end_reply(RequestId(2), Reply::channel().0).is_ok());
        drop(book.remove(RequestId(2)));
        assert!(book.set_stream_end_reply(RequestId(2), Reply::channel().0).is_err());
    }

    #[tokio::test]
    async fn dropped_table_answers_its_callers() {
        let (book, id) = (RequestTable::default(), RequestId(7));
        let (caller, answer) = Reply::channel();
        let caller = Responder::Response(caller);
        insert(&book, id, Request::get("/").build().unwrap(), caller, s(1), s(2));
        drop(book);
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!((error.reason, error.request_id), (Reason::Stopped, Some(id)));
    }
}
