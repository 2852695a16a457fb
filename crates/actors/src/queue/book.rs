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
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mainstay_runtime::Reply;

use super::{
    caller::{Caller, Reader},
    download::Download,
    lanes::Entry,
    retry::RequestFacts,
};
use crate::{
    error::{Error, Reason},
    request::{Request, RequestId},
};

/// What is known of one request.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) request: Arc<Request>,
    pub(super) caller: Caller,
    /// When it arrived.
    pub(super) queued_at: Duration,
    /// How many attempts have begun.
    pub(super) attempts: u32,
    /// Why the last attempt that ended failed.
    pub(super) setback: Option<Reason>,
    pub(super) phase: Phase,
}

/// What a request is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits for its turn.
    Waiting {
        /// It takes no turn before this.
        not_before: Duration,
        /// When it has waited too long.
        deadline: Duration,
    },
    /// An attempt is under way.
    Running,
    /// Its answer has begun, and its caller has the beginning. It takes no other attempt.
    Reading,
}

/// An attempt that is to be made.
pub(super) struct Attempt {
    pub(super) request: Arc<Request>,
    /// The first is 1.
    pub(super) number: u32,
    pub(super) queued_at: Duration,
    /// Whether the answer is wanted as it comes.
    pub(super) wants_parts: bool,
}

/// A request whose answer has begun, and who gets its beginning.
pub(super) struct Opened {
    pub(super) request: Arc<Request>,
    pub(super) caller: Reply<Result<Download, Error>>,
    pub(super) attempts: u32,
}

impl Page {
    /// What is to be said if nothing more can be done for the request, for `reason`.
    ///
    /// If the attempt under way may have reached the backend and must not be repeated, its outcome is unknown. So it is
    /// where an answer has begun: its rest might have told of a failure.
    pub(super) fn loss(&self, reason: Reason) -> Error {
        let error = Error::new(reason);
        let under_way = matches!(self.phase, Phase::Running | Phase::Reading);
        let in_doubt = under_way && !self.request.is_repeatable();
        if in_doubt { Error::outcome_unknown(error) } else { error }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<BTreeMap<RequestId, Page>>);

impl Book {
    fn pages(&self) -> MutexGuard<'_, BTreeMap<RequestId, Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn holds(&self, id: RequestId) -> bool {
        self.pages().contains_key(&id)
    }

    /// Takes a request in, to wait until `deadline`.
    ///
    /// Ids are given out in the order in which callers ask, and two callers can overtake one another on their way
    /// here. The order of the ids counts: one that was overtaken is taken to have arrived when the next id did.
    pub(super) fn admit(
        &self,
        id: RequestId,
        request: Request,
        caller: Caller,
        now: Duration,
        deadline: Duration,
    ) {
        let mut pages = self.pages();
        let overtaken_at = pages.range((Excluded(id), Unbounded)).next().map(|(_, page)| page.queued_at);
        let page = Page {
            request: Arc::new(request),
            caller,
            queued_at: overtaken_at.map_or(now, |at| at.min(now)),
            attempts: 0,
            setback: None,
            phase: Phase::Waiting { not_before: Duration::ZERO, deadline },
        };
        pages.insert(id, page);
    }

    /// The request as it stands in line; `None` if it does not wait.
    pub(super) fn entry(&self, id: RequestId) -> Option<Entry<()>> {
        let pages = self.pages();
        let page = pages.get(&id)?;
        let Phase::Waiting { deadline, .. } = page.phase else { return None };
        let (priority, queued_at) = (page.request.priority(), page.queued_at);
        Some(Entry { id, priority, queued_at, deadline: Some(deadline), item: () })
    }

    /// Notes that an attempt begins. To be called before it does: what may have been sent must not look as if it
    /// had not.
    pub(super) fn begin(&self, id: RequestId) -> Option<Attempt> {
        let mut pages = self.pages();
        let page = pages.get_mut(&id)?;
        page.phase = Phase::Running;
        page.attempts = page.attempts.saturating_add(1);
        let request = Arc::clone(&page.request);
        let wants_parts = page.caller.wants_parts();
        Some(Attempt { request, number: page.attempts, queued_at: page.queued_at, wants_parts })
    }

    /// Notes that the answer has begun, and gives out the caller who is about to get its beginning. `None` if the
    /// request was called off meanwhile, or its caller wants the whole answer.
    pub(super) fn open(&self, id: RequestId) -> Option<Opened> {
        let mut pages = self.pages();
        let page = pages.get_mut(&id)?;
        match std::mem::replace(&mut page.caller, Caller::Reading) {
            Caller::Download(caller) => {
                page.phase = Phase::Reading;
                Some(Opened { request: Arc::clone(&page.request), caller, attempts: page.attempts })
            }
            caller => {
                page.caller = caller;
                None
            }
        }
    }

    /// Notes who waits for how the answer ended; gives that one back if the request was called off meanwhile.
    pub(super) fn await_end(&self, id: RequestId, reader: Reader) -> Result<(), Reader> {
        match self.pages().get_mut(&id) {
            Some(page) => {
                page.caller = Caller::Reader(reader);
                Ok(())
            }
            None => Err(reader),
        }
    }

    /// Notes that the attempt under way failed for `setback` and that the request waits again.
    pub(super) fn put_off(&self, id: RequestId, setback: Reason, not_before: Duration, deadline: Duration) {
        if let Some(page) = self.pages().get_mut(&id) {
            page.setback = Some(setback);
            page.phase = Phase::Waiting { not_before, deadline };
        }
    }

    /// Looks at the page of a request.
    pub(super) fn look<T>(&self, id: RequestId, look: impl FnOnce(&Page) -> T) -> Option<T> {
        self.pages().get(&id).map(look)
    }

    /// What a retry is decided by: the request's facts, and the number of its last attempt.
    pub(super) fn facts(&self, id: RequestId) -> Option<(RequestFacts, u32)> {
        self.look(id, |page| (RequestFacts::from(&*page.request), page.attempts))
    }

    /// Takes a page out: its caller is about to be told.
    pub(super) fn strike(&self, id: RequestId) -> Option<Page> {
        self.pages().remove(&id)
    }

    /// What every request is doing, in the order of their ids.
    pub(super) fn phases(&self) -> Vec<(RequestId, Phase)> {
        self.pages().iter().map(|(id, page)| (*id, page.phase)).collect()
    }
}

impl Drop for Book {
    /// The runtime is gone without having stopped anything, and its journal with it; the callers are not.
    fn drop(&mut self) {
        for (id, page) in std::mem::take(&mut *self.pages()) {
            let error = page.loss(Reason::Stopped).with_attempts(page.attempts).with_request_id(id);
            page.caller.refuse(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Response;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn nobody() -> Caller {
        Caller::Response(Reply::channel().0)
    }

    /// A book in which these ids were admitted, one a second.
    fn book(ids: &[u64]) -> Book {
        let book = Book::default();
        for (id, second) in ids.iter().zip(1..) {
            let request = Request::post("/x").build().unwrap();
            book.admit(RequestId(*id), request, nobody(), s(second), s(100));
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
        book.admit(RequestId(4), Request::get("/").build().unwrap(), nobody(), s(9), s(100));
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
        book.admit(RequestId(2), request, Caller::Download(caller), s(1), s(9));
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
        let (caller, answer) = Reply::<Result<Response, Error>>::channel();
        book.admit(id, Request::get("/").build().unwrap(), Caller::Response(caller), s(1), s(2));
        drop(book);
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!((error.reason, error.request_id), (Reason::Stopped, Some(id)));
    }
}
