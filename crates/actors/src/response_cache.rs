//! Answers requests from the cache as their server allows, and otherwise by the queue, with one load for all callers.
//!
//! The rules are those of `cache::http`; here is what joins the cache and the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::StatusCode;

use crate::cache::http::{RequestTime, is_cacheable, is_superseding_error};
use crate::cache::{CacheHandle, CacheValue, EntryOptions, Loaded, Selection, StoredResponse, key};
use crate::error::{Error, Reason};
use crate::queue::QueueHandle;
use crate::request::{Request, Response};

/// Caches the responses of one backend. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResponseCache {
    cache: CacheHandle,
    queue: QueueHandle,
}

impl ResponseCache {
    /// Sends requests through `queue`, and stores responses in `cache`.
    #[must_use]
    pub const fn new(cache: CacheHandle, queue: QueueHandle) -> Self {
        Self { cache, queue }
    }

    /// Returns the cached response to `request` if its server considers it fresh and it is no older than `age_max`.
    /// Otherwise asks the backend, with revalidation if possible. `wall` is the wall-clock time, for dates.
    ///
    /// A request that is not a plain GET goes to the backend. So does a request that the stored or shared response
    /// does not match.
    ///
    /// # Errors
    /// Fails with the request's error: see [`Error`].
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
        // If the server sets no bound, each caller sets its own: an entry too old for one may suit the next.
        let options = EntryOptions {
            ttl: Duration::MAX,
            negative_ttl: Duration::ZERO,
            depends_on_connection: true,
            ..self.cache.default_options()
        };
        let has_loaded = Arc::new(AtomicBool::new(false));
        let load = {
            let (queue, request, has_loaded) = (self.queue.clone(), request.clone(), Arc::clone(&has_loaded));
            let requested_at = RequestTime { at: self.cache.now(), wall };
            let (cache, key) = (self.cache.clone(), Selection::key(&key));
            move |stored| async move {
                has_loaded.store(true, Ordering::Relaxed);
                let loaded = fetch(&queue, request, stored, requested_at).await;
                if loaded.as_ref().is_err_and(is_superseding_error) {
                    cache.invalidate_now(vec![key]);
                }
                loaded
            }
        };
        let answer = self.cache.get_or_revalidate(&key, Some(age_max), options, load).await?;
        let CacheValue::Response(stored) = answer.value else { return Err(Error::new(Reason::Internal)) };
        if answer.is_cached && stored.matches_request(&request) {
            return Ok(stored.to_cached_response(self.cache.now()));
        }
        // A refresh running meanwhile loads too, but its result is not the one found here.
        let is_own = !answer.is_cached && has_loaded.load(Ordering::Relaxed);
        if is_own || (!answer.is_cached && stored.is_shareable() && stored.matches_request(&request)) {
            return Ok(stored.to_response());
        }
        self.queue.request(request).await
    }
}

/// Asks the backend, with a conditional request if possible.
async fn fetch(
    queue: &QueueHandle,
    request: Request,
    stored: Option<CacheValue>,
    requested_at: RequestTime,
) -> Result<Loaded, Error> {
    if let Some(CacheValue::Response(stored)) = stored
        && let Some(conditional) = stored.to_conditional_request(&request)
    {
        let response = queue.request(conditional).await?;
        if response.status != StatusCode::NOT_MODIFIED {
            return Ok(to_loaded(StoredResponse::new(&request, response, requested_at)));
        }
        if let Some(renewed) = stored.freshened(response, &request, requested_at) {
            return Ok(to_loaded(renewed));
        }
        // The 304 concerns another response, so the request is repeated without conditions.
    }
    let response = queue.request(request.clone()).await?;
    Ok(to_loaded(StoredResponse::new(&request, response, requested_at)))
}

fn to_loaded(stored: StoredResponse) -> Loaded {
    let lifetime = stored.lifetime();
    let mut loaded = Loaded::new(CacheValue::Response(Arc::new(stored)));
    let Some(lifetime) = lifetime else { return loaded.replacing_stored() };
    loaded = loaded.with_age(lifetime.age);
    if let Some(lifetime) = lifetime.freshness_lifetime {
        loaded = loaded.with_ttl(lifetime);
    }
    if let Some(stale_for) = lifetime.stale_for {
        loaded = loaded.with_stale_for(stale_for);
    }
    if lifetime.is_revalidatable { loaded.with_revalidation() } else { loaded }
}
