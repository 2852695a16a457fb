//! Responses of GETs, through the cache: asked for as the rules of `http` say, over the queue and the cache's one load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::handle::CacheHandle;
use super::http::{Asked, Held, is_cacheable, is_over};
use super::keeping::Keeping;
use super::key;
use super::load::Loaded;
use super::pattern::Selection;
use super::value::CacheValue;
use crate::error::{Error, Reason};
use crate::queue::QueueHandle;
use crate::request::{Request, Response};

/// The responses of one backend, through the cache. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Responses {
    cache: CacheHandle,
    queue: QueueHandle,
}

impl Responses {
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
        let key = format!("{}{}", key::RESPONSES, request.path());
        // Where the server sets no bound, each who asks sets his own: what is too old for one may not be for the next.
        let keeping = Keeping {
            ttl: Duration::MAX,
            failures_for: Duration::ZERO,
            is_of_the_link: true,
            ..self.cache.keeping()
        };
        let has_loaded = Arc::new(AtomicBool::new(false));
        let load = {
            let (queue, request, has_loaded) = (self.queue.clone(), request.clone(), Arc::clone(&has_loaded));
            let asked = Asked { at: self.cache.now(), wall };
            let (cache, key) = (self.cache.clone(), Selection::key(&key));
            move |held| async move {
                has_loaded.store(true, Ordering::Relaxed);
                let loaded = load(&queue, request, held, asked).await;
                if loaded.as_ref().is_err_and(is_over) {
                    cache.drop_at_once(vec![key]);
                }
                loaded
            }
        };
        let answer = self.cache.get_or_renew(&key, Some(age_max), keeping, load).await?;
        let CacheValue::Response(held) = answer.value else { return Err(Error::new(Reason::Internal)) };
        if answer.is_kept && held.answers(&request) {
            return Ok(held.out_of_the_cache(self.cache.now()));
        }
        // A refresh that runs meanwhile loads as well, but what it brings is not what was found.
        let is_own = !answer.is_kept && has_loaded.load(Ordering::Relaxed);
        if is_own || (!answer.is_kept && held.is_for_all() && held.answers(&request)) {
            return Ok(held.as_it_came());
        }
        self.queue.request(request).await
    }
}

/// Asks the backend, under the condition that what is held holds no more if it can be asked so.
async fn load(
    queue: &QueueHandle,
    request: Request,
    held: Option<CacheValue>,
    asked: Asked,
) -> Result<Loaded, Error> {
    if let Some(CacheValue::Response(held)) = held
        && let Some(conditional) = held.conditional(&request)
    {
        let response = queue.request(conditional).await?;
        if response.status != StatusCode::NOT_MODIFIED {
            return Ok(loaded(Held::new(&request, response, asked)));
        }
        if let Some(renewed) = held.renewed(response, &request, asked) {
            return Ok(loaded(renewed));
        }
        // It speaks of something else than what is held: that is asked for without a condition.
    }
    let response = queue.request(request.clone()).await?;
    Ok(loaded(Held::new(&request, response, asked)))
}

fn loaded(held: Held) -> Loaded {
    let terms = held.terms();
    let mut loaded = Loaded::new(CacheValue::Response(Arc::new(held)));
    let Some(terms) = terms else { return loaded.in_place_of_all() };
    loaded = loaded.aged(terms.age);
    if let Some(lifetime) = terms.lifetime {
        loaded = loaded.fresh_for(lifetime);
    }
    if let Some(stale_for) = terms.stale_for {
        loaded = loaded.stale_for(stale_for);
    }
    if terms.is_renewable { loaded.renewable() } else { loaded }
}
