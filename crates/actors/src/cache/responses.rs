//! Responses of GETs, through the cache: asked for as the rules of `http` say, over the queue and the cache's one load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::entry_options::EntryOptions;
use super::handle::CacheHandle;
use super::http::{RequestTime, StoredResponse, is_cacheable, is_superseding_error};
use super::key;
use super::load::Loaded;
use super::pattern::Selection;
use super::value::CacheValue;
use crate::error::{Error, Reason};
use crate::queue::QueueHandle;
use crate::request::{Request, Response};

/// The responses of one backend, through the cache. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResponseCache {
    cache: CacheHandle,
    queue: QueueHandle,
}

impl ResponseCache {
    /// Those that `queue` gets, in `cache`.
    #[must_use]
    pub const fn new(cache: CacheHandle, queue: QueueHandle) -> Self {
        Self { cache, queue }
    }

    /// The response to `request`, from the cache if what is held there is fresh for its server and no older than `age_max`;
    /// else from the backend, which is asked whether what is held still holds. `wall` is the time on the wall, for dates.
    ///
    /// A request that is no plain GET goes to the backend, and so does one for whom what is held, or what others are being
    /// answered with, is not meant.
    ///
    /// # Errors
    /// Whatever became of the request instead: see [`Error`].
    pub async fn request(
        &self,
        request: Request,
        age_max: Duration,
        wall: SystemTime,
    ) -> Result<Response, Error> {
        if !is_cacheable(&request) {
            return self.queue.request(request).await;
        }
        let key = format!("{}{}", key::RESPONSE_PREFIX, request.path());
        // Where the server sets no bound, each who asks sets his own: what is too old for one may not be for the next.
        let keeping = EntryOptions {
            ttl: Duration::MAX,
            negative_ttl: Duration::ZERO,
            depends_on_connection: true,
            ..self.cache.default_options()
        };
        let has_loaded = Arc::new(AtomicBool::new(false));
        let load = {
            let (queue, request, has_loaded) = (self.queue.clone(), request.clone(), Arc::clone(&has_loaded));
            let asked = RequestTime { at: self.cache.now(), wall };
            let (cache, key) = (self.cache.clone(), Selection::key(&key));
            move |held| async move {
                has_loaded.store(true, Ordering::Relaxed);
                let loaded = fetch(&queue, request, held, asked).await;
                if loaded.as_ref().is_err_and(is_superseding_error) {
                    cache.invalidate_now(vec![key]);
                }
                loaded
            }
        };
        let answer = self.cache.get_or_revalidate(&key, Some(age_max), keeping, load).await?;
        let CacheValue::Response(held) = answer.value else { return Err(Error::new(Reason::Internal)) };
        if answer.is_cached && held.matches_request(&request) {
            return Ok(held.to_cached_response(self.cache.now()));
        }
        // A refresh that runs meanwhile loads as well, but what it brings is not what was found.
        let is_own = !answer.is_cached && has_loaded.load(Ordering::Relaxed);
        if is_own || (!answer.is_cached && held.is_shareable() && held.matches_request(&request)) {
            return Ok(held.to_response());
        }
        self.queue.request(request).await
    }
}

/// Asks the backend, under the condition that what is held holds no more if it can be asked so.
async fn fetch(
    queue: &QueueHandle,
    request: Request,
    held: Option<CacheValue>,
    asked: RequestTime,
) -> Result<Loaded, Error> {
    if let Some(CacheValue::Response(held)) = held
        && let Some(conditional) = held.to_conditional_request(&request)
    {
        let response = queue.request(conditional).await?;
        if response.status != StatusCode::NOT_MODIFIED {
            return Ok(to_loaded(StoredResponse::new(&request, response, asked)));
        }
        if let Some(renewed) = held.freshened(response, &request, asked) {
            return Ok(to_loaded(renewed));
        }
        // It speaks of something else than what is held: that is asked for without a condition.
    }
    let response = queue.request(request.clone()).await?;
    Ok(to_loaded(StoredResponse::new(&request, response, asked)))
}

fn to_loaded(held: StoredResponse) -> Loaded {
    let terms = held.lifetime();
    let mut loaded = Loaded::new(CacheValue::Response(Arc::new(held)));
    let Some(terms) = terms else { return loaded.replacing_stored() };
    loaded = loaded.with_age(terms.age);
    if let Some(lifetime) = terms.freshness_lifetime {
        loaded = loaded.with_ttl(lifetime);
    }
    if let Some(stale_for) = terms.stale_for {
        loaded = loaded.with_stale_for(stale_for);
    }
    if terms.is_revalidatable { loaded.with_revalidation() } else { loaded }
}
