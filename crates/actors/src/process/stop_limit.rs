//! Stops within the time that an actor has left.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// Waits for `stop` within the time that is left, if it is limited. With a fifth of that left, `kill` is called, and
/// `stop` is to end by that. The end may move meanwhile, when this process has stood still.
pub(crate) async fn stop_within<T>(
    time_left: impl Fn() -> Option<Duration>,
    stop: impl Future<Output = T>,
    kill: impl FnOnce(),
) -> T {
    let Some(limit) = time_left() else { return stop.await };
    let mut stop = pin!(stop);
    loop {
        let left = time_left().unwrap_or_default().saturating_sub(limit / 5);
        if let Ok(stopped) = timeout(left, &mut stop).await {
            return stopped;
        }
        if left.is_zero() {
            break;
        }
    }
    kill();
    stop.await
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
        let time_left = || Some(Duration::from_secs(5).saturating_sub(began.elapsed()));
        assert_eq!(stop_within(time_left, killed, kill).await, Ok(()));
        assert_eq!(began.elapsed(), Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn stop_is_no_kill_before_an_end_that_has_moved() {
        let (began, (kill, killed)) = (Instant::now(), oneshot::channel());
        let kill = || kill.send(()).unwrap();
        let time_left = || {
            let end = if began.elapsed() < Duration::from_secs(2) { 5 } else { 12 };
            Some(Duration::from_secs(end).saturating_sub(began.elapsed()))
        };
        assert_eq!(stop_within(time_left, killed, kill).await, Ok(()));
        assert_eq!(began.elapsed(), Duration::from_secs(11));
    }

    #[tokio::test(start_paused = true)]
    async fn stop_without_limit_or_in_time_kills_nothing() {
        for limit in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            assert_eq!(stop_within(|| limit, async { 7 }, || panic!("killed")).await, 7, "{limit:?}");
        }
        let endless = stop_within(|| None, pending::<()>(), || panic!("killed"));
        assert!(timeout(Duration::from_secs(3600), endless).await.is_err());
    }
}
