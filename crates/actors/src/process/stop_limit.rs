//! Stops within the time that an actor has left.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::timeout;

/// Waits for `stop` within the time that is left, if it is limited. After a fifth of it, `ask` is called, so that a stop
/// that begins with a wait becomes a request. With a fifth left, `kill` is called, and `stop` is to end by that. The end
/// may move meanwhile, when this process has stood still.
pub(crate) async fn stop_within<T>(
    time_left: impl Fn() -> Option<Duration>,
    stop: impl Future<Output = T>,
    ask: impl FnOnce(),
    kill: impl FnOnce(),
) -> T {
    let Some(limit) = time_left() else { return stop.await };
    let (mut stop, part) = (pin!(stop), limit / 5);
    if let Some(stopped) = wait_until_left(limit.saturating_sub(part), &time_left, stop.as_mut()).await {
        return stopped;
    }
    ask();
    if let Some(stopped) = wait_until_left(part, &time_left, stop.as_mut()).await {
        return stopped;
    }
    kill();
    stop.await
}

/// Waits for `stop` until only this much time is left.
async fn wait_until_left<T, S: Future<Output = T>>(
    rest: Duration,
    time_left: &impl Fn() -> Option<Duration>,
    mut stop: Pin<&mut S>,
) -> Option<T> {
    loop {
        let left = time_left().unwrap_or_default().saturating_sub(rest);
        if let Ok(stopped) = timeout(left, &mut stop).await {
            return Some(stopped);
        }
        if left.is_zero() {
            return None;
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
        let time_left = || Some(Duration::from_secs(5).saturating_sub(began.elapsed()));
        let ask = || assert_eq!(began.elapsed(), Duration::from_secs(1));
        assert_eq!(stop_within(time_left, killed, ask, kill).await, Ok(()));
        assert_eq!(began.elapsed(), Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn stop_that_ends_when_asked_is_no_kill() {
        let (began, (ask, asked)) = (Instant::now(), oneshot::channel());
        let ask = || ask.send(()).unwrap();
        let time_left = || Some(Duration::from_secs(5).saturating_sub(began.elapsed()));
        assert_eq!(stop_within(time_left, asked, ask, || panic!("killed")).await, Ok(()));
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn stop_is_no_kill_before_an_end_that_has_moved() {
        let (began, (kill, killed)) = (Instant::now(), oneshot::channel());
        let kill = || kill.send(()).unwrap();
        let time_left = || {
            let end = if began.elapsed() < Duration::from_secs(2) { 5 } else { 12 };
            Some(Duration::from_secs(end).saturating_sub(began.elapsed()))
        };
        assert_eq!(stop_within(time_left, killed, || (), kill).await, Ok(()));
        assert_eq!(began.elapsed(), Duration::from_secs(11));
    }

    #[tokio::test(start_paused = true)]
    async fn stop_without_limit_or_in_time_kills_nothing() {
        for limit in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            assert_eq!(
                stop_within(|| limit, async { 7 }, || panic!("asked"), || panic!("killed")).await,
                7,
                "{limit:?}"
            );
        }
        let endless = stop_within(|| None, pending::<()>(), || panic!("asked"), || panic!("killed"));
        assert!(timeout(Duration::from_secs(3600), endless).await.is_err());
    }
}
