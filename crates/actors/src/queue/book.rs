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

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    caller::{Caller, Reader, Verdict},
    lanes::Entry,
    page::{Attempt, Opened, Page, Phase, Waiter},
    retry::RequestFacts,
};
use crate::{
    error::Reason,
    request::{
        Request,
        id::{IdMap, RequestId},
    },
};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    by_id: BTreeMap<RequestId, Page>,
    /// Of the requests that may be shared: which pages are open, by path.
    shared: HashMap<String, Vec<RequestId>>,
    /// The page that each caller waits at who joined it.
    joined: IdMap<RequestId>,
}

impl Pages {
    fn next_after(&self, id: RequestId) -> Option<&Page> {
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

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a page, or a caller at one, has this id.
    pub(super) fn holds(&self, id: RequestId) -> bool {
        let pages = self.pages();
        (!pages.is_newest(id) && pages.by_id.contains_key(&id)) || pages.joined.contains_key(&id)
    }

    /// Takes a request in, with its first caller, and returns it as it is to stand in line.
    ///
    /// Ids are given out in the order in which callers ask, and two callers can overtake one another on their way
    /// here. The order of the ids counts: one that was overtaken is taken to have arrived when the next id did.
    pub(super) fn admit(&self, request: Arc<Request>, waiter: Waiter) -> Entry<()> {
        let (id, now) = (waiter.id, waiter.queued_at);
        let mut pages = self.pages();
        let overtaken_at = pages.next_after(id).map(|page| page.queued_at);
        let queued_at = overtaken_at.map_or(now, |at| at.min(now));
        // One who reads the answer as it comes has it alone.
        if request.is_shared() && !waiter.caller.wants_parts() {
            pages.shared.entry(request.path().to_owned()).or_default().push(id);
        }
        let page = Page {
            priority: request.priority(),
            request,
            waiters: vec![Waiter { queued_at, ..waiter }],
            queued_at,
            attempts: 0,
            setback: None,
            phase: Phase::Waiting { not_before: Duration::ZERO },
        };
        let entry = page.entry(id);
        pages.by_id.insert(id, page);
        entry
    }

    /// An open page for a request that is the same as this one, if both may be shared.
    pub(super) fn same_as(&self, request: &Request, caller: &Caller) -> Option<RequestId> {
        if !request.is_shared() || caller.wants_parts() {
            return None;
        }
        let pages = self.pages();
        let is_same =
            |id: &&RequestId| pages.by_id.get(id).is_some_and(|page| page.request.is_same_as(request));
        pages.shared.get(request.path())?.iter().find(is_same).copied()
    }

    /// Lets one more caller wait at page `id`, and makes the request as urgent as the caller wants it.
    pub(super) fn join(&self, id: RequestId, request: &Request, waiter: Waiter) {
        let mut pages = self.pages();
        pages.joined.insert(waiter.id, id);
        if let Some(page) = pages.by_id.get_mut(&id) {
            page.waiters.push(waiter);
            // The most urgent is the least.
            page.priority = page.priority.min(request.priority());
        }
    }

    /// How many callers have joined another's request.
    pub(super) fn joined(&self) -> usize {
        self.pages().joined.len()
    }

    /// The page that the caller of this id waits at.
    pub(super) fn page_of(&self, id: RequestId) -> Option<RequestId> {
        let pages = self.pages();
        let is_here = |page: &Page| page.waiters.iter().any(|waiter| waiter.id == id);
        let own = pages.by_id.get(&id).filter(|page| is_here(page)).map(|_| id);
        own.or_else(|| pages.joined.get(&id).copied())
    }

    /// Lets those callers leave page `id` of whom `leaves` holds; returns them, with what they had waited for.
    pub(super) fn part(
        &self,
        id: RequestId,
        leaves: impl Fn(&Waiter) -> bool,
    ) -> Option<(Arc<Request>, Vec<Waiter>)> {
        let mut pages = self.pages();
        let page = pages.by_id.get_mut(&id)?;
        let request = Arc::clone(&page.request);
        let parted: Vec<_> = page.waiters.extract_if(.., |waiter| leaves(waiter)).collect();
        for waiter in &parted {
            pages.joined.remove(&waiter.id);
        }
        Some((request, parted))
    }

    /// The request as it stands in line; `None` if it does not wait.
    pub(super) fn entry(&self, id: RequestId) -> Option<Entry<()>> {
        let pages = self.pages();
        let page = pages.by_id.get(&id)?;
        matches!(page.phase, Phase::Waiting { .. }).then(|| page.entry(id))
    }

    /// Notes that an attempt begins. To be called before it does: what may have been sent must not look as if it
    /// had not.
    pub(super) fn begin(&self, id: RequestId) -> Option<Attempt> {
        let mut pages = self.pages();
        let page = pages.by_id.get_mut(&id)?;
        page.phase = Phase::Running;
        page.attempts = page.attempts.saturating_add(1);
        let (request, lead) = (Arc::clone(&page.request), page.lead(id));
        let is_first = page.setback.is_none();
        let wants_parts = page.waiters.iter().any(|waiter| waiter.caller.wants_parts());
        let (number, queued_at) = (page.attempts, page.queued_at);
        Some(Attempt { request, lead, number, is_first, queued_at, wants_parts })
    }

    /// Notes that the answer has begun, and gives out the caller who is about to get its beginning. `None` if the
    /// request was called off meanwhile, or its caller wants the whole answer.
    pub(super) fn open(&self, id: RequestId) -> Option<Opened> {
        let mut pages = self.pages();
        let page = pages.by_id.get_mut(&id)?;
        let waiter = page.waiters.first_mut()?;
        let verdict = Verdict::default();
        match std::mem::replace(&mut waiter.caller, Caller::Reading(Arc::clone(&verdict))) {
            Caller::Download(caller) => {
                page.phase = Phase::Reading;
                Some(Opened { request: Arc::clone(&page.request), caller, verdict, attempts: page.attempts })
            }
            caller => {
                waiter.caller = caller;
                None
            }
        }
    }

    /// Notes who waits for how the answer ended; gives that one back if the request was called off meanwhile.
    pub(super) fn await_end(&self, id: RequestId, reader: Reader) -> Result<(), Reader> {
        match self.pages().by_id.get_mut(&id).and_then(|page| page.waiters.first_mut()) {
            Some(waiter) => {
                waiter.caller = Caller::Reader(reader);
                Ok(())
            }
            None => Err(reader),
        }
    }

    /// Notes that the attempt under way failed for `setback` and that the request waits again, until `deadline`.
    pub(super) fn put_off(&self, id: RequestId, setback: Reason, not_before: Duration, deadline: Duration) {
        if let Some(page) = self.pages().by_id.get_mut(&id) {
            page.setback = Some(setback);
            page.waiters.iter_mut().for_each(|waiter| waiter.deadline = deadline);
            page.phase = Phase::Waiting { not_before };
        }
    }

    /// Notes that the attempt under way sent nothing, for `setback`: the request waits as if it had not begun.
    pub(super) fn hold(&self, id: RequestId, setback: Reason) {
        if let Some(page) = self.pages().by_id.get_mut(&id) {
            page.setback = Some(setback);
            page.attempts = page.attempts.saturating_sub(1);
            page.phase = Phase::Waiting { not_before: Duration::ZERO };
        }
    }

    /// Looks at a page.
    pub(super) fn look<T>(&self, id: RequestId, look: impl FnOnce(&Page) -> T) -> Option<T> {
        self.pages().by_id.get(&id).map(look)
    }

    /// What a retry is decided by: the request's facts, and the number of its last attempt.
    pub(super) fn facts(&self, id: RequestId) -> Option<(RequestFacts, u32)> {
        self.look(id, |page| (RequestFacts::from(&*page.request), page.attempts))
    }

    /// Takes a page out: its callers are about to be told.
    pub(super) fn strike(&self, id: RequestId) -> Option<Page> {
        let mut pages = self.pages();
        let page = pages.by_id.remove(&id)?;
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
    pub(super) fn phases(&self) -> Vec<(RequestId, Phase)> {
        self.pages().by_id.iter().map(|(id, page)| (*id, page.phase)).collect()
    }
}

impl Drop for Book {
    /// The runtime is gone without having stopped anything, and its journal with it; the callers are not.
    fn drop(&mut self) {
        for page in std::mem::take(&mut self.pages().by_id).into_values() {
            let error = page.loss(Reason::Stopped).with_attempts(page.attempts);
            for waiter in page.waiters {
                waiter.caller.refuse(error.clone().with_request_id(waiter.id));
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

    fn nobody() -> Caller {
        Caller::Response(Reply::channel().0)
    }

    fn admit(
        book: &Book,
        id: RequestId,
        request: Request,
        caller: Caller,
        now: Duration,
        deadline: Duration,
    ) {
        book.admit(Arc::new(request), Waiter { id, caller, queued_at: now, deadline });
    }

    /// A book in which these ids were admitted, one a second.
    fn book(ids: &[u64]) -> Book {
        let book = Book::default();
        for (id, second) in ids.iter().zip(1..) {
            let request = Request::post("/x").build().unwrap();
            admit(&book, RequestId(*id), request, nobody(), s(second), s(100));
        }
        book
    }

    fn arrivals(book: &Book) -> Vec<Duration> {
        let arrival = |(id, _)| book.look(id, |page| page.queued_at);
        book.phases().into_iter().filter_map(arrival).collect()
    }

    #[test]
    fn ids_grow_with_the_time_of_arrival_however_they_come() {
        assert_eq!(arrivals(&book(&[1, 2, 3])), [s(1), s(2), s(3)]);
        assert_eq!(arrivals(&book(&[1, 4, 3, 5, 2])), [s(1), s(2), s(2), s(2), s(4)]);
    }

    #[test]
    fn one_that_was_overtaken_by_a_request_that_has_gone_arrives_when_it_comes() {
        let book = book(&[5]);
        drop(book.strike(RequestId(5)));
        admit(&book, RequestId(4), Request::get("/").build().unwrap(), nobody(), s(9), s(100));
        assert_eq!(arrivals(&book), [s(9)]);
    }

    #[test]
    fn an_attempt_is_counted_when_it_begins_and_leaves_doubt_only_while_it_is_under_way() {
        let (book, id) = (book(&[1]), RequestId(1));
        let loss = || book.look(id, |page| page.loss(Reason::Stopped).reason).unwrap();
        assert_eq!(loss(), Reason::Stopped);
        assert_eq!(book.begin(id).unwrap().number, 1);
        assert_eq!((loss(), book.entry(id)), (Reason::OutcomeUnknown, None));
        book.put_off(id, Reason::ConnectionRefused, s(2), s(9));
        assert_eq!((loss(), book.entry(id).unwrap().deadline), (Reason::Stopped, Some(s(9))));
        assert_eq!(book.begin(id).unwrap().number, 2);
    }

    #[test]
    fn an_answer_that_has_begun_is_given_to_one_who_wants_it_so_and_leaves_doubt_until_its_end() {
        let (book, id) = (book(&[1]), RequestId(1));
        book.begin(id).unwrap();
        assert!(book.open(id).is_none(), "its caller wants the whole answer");
        let request = Request::post("/x").build().unwrap();
        let (caller, _download) = Reply::channel();
        admit(&book, RequestId(2), request, Caller::Download(caller), s(1), s(9));
        assert!(book.begin(RequestId(2)).unwrap().wants_parts);
        assert_eq!(book.open(RequestId(2)).unwrap().attempts, 1);
        assert!(book.open(RequestId(2)).is_none(), "its caller has the beginning");
        let loss = book.look(RequestId(2), |page| page.loss(Reason::Crashed).reason);
        assert_eq!((loss, book.entry(RequestId(2))), (Some(Reason::OutcomeUnknown), None));
        assert!(book.await_end(RequestId(2), Reply::channel().0).is_ok());
        drop(book.strike(RequestId(2)));
        assert!(book.await_end(RequestId(2), Reply::channel().0).is_err());
    }

    #[tokio::test]
    async fn a_book_that_is_thrown_away_tells_its_callers() {
        let (book, id) = (Book::default(), RequestId(7));
        let (caller, answer) = Reply::channel();
        let caller = Caller::Response(caller);
        admit(&book, id, Request::get("/").build().unwrap(), caller, s(1), s(2));
        drop(book);
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!((error.reason, error.request_id), (Reason::Stopped, Some(id)));
    }
}
