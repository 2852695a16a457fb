//! Stops within the time that an actor has left.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// Waits for `stop` within `limit`, if there is one. With a fifth of it left, `kill` is called, and `stop` is to end by
/// that.
pub(crate) async fn stop_within<T>(
    limit: Option<Duration>,
    stop: impl Future<Output = T>,
    kill: impl FnOnce(),
) -> T {
    let Some(limit) = limit else { return stop.await };
    let mut stop = pin!(stop);
    match timeout(limit - limit / 5, &mut stop).await {
        Ok(stopped) => stopped,
        Err(_) => {
            kill();
            stop.await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stop_is_a_kill_after_four_fifths_of_the_limit() {
        let (began, (kill, killed)) = (Instant::now(), oneshot::channel());
        let kill = || kill.send(()).unwrap();
        assert_eq!(stop_within(Some(Duration::from_secs(5)), killed, kill).await, Ok(()));
        assert_eq!(began.elapsed(), Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn stop_without_limit_or_in_time_kills_nothing() {
        for limit in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            assert_eq!(stop_within(limit, async { 7 }, || panic!("killed")).await, 7, "{limit:?}");
        }
        let endless = stop_within(None, pending::<()>(), || panic!("killed"));
        assert!(timeout(Duration::from_secs(3600), endless).await.is_err());
    }
}
