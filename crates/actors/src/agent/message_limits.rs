//! Enforces the time limits of a message while the agent works on it.

use std::pin::pin;

use mainstay_runtime::journal::{millis, millis_text};
use tokio::time::Instant;

use super::agent_message::MessageLimits;
use super::driver::Driver;
use crate::error::{Error, Reason};
use crate::json::Json;
use crate::standstill::until;

impl MessageLimits {
    /// Waits for the end of a delivery within the limits. A driver that does not own its agent measures the silence
    /// itself: only it knows when the agent has the message.
    pub(super) async fn enforce(
        self,
        driver: &dyn Driver,
        delivery: impl Future<Output = Result<Json, Error>>,
    ) -> Result<Json, Error> {
        let mut delivery = pin!(delivery);
        let begun_at = Instant::now();
        loop {
            let silent_at = self.silent_at(driver, begun_at);
            let Some(due) = [silent_at, self.ends_at].into_iter().flatten().min() else {
                return delivery.await;
            };
            if let Some(answer) = until(due, &mut delivery).await {
                return answer;
            }
            let now = Instant::now();
            if self.ends_at.is_some_and(|at| at <= now) {
                return Err(timed_out(Reason::DeadlineExceeded, "its deadline has passed"));
            }
            if self.silent_at(driver, begun_at).is_some_and(|at| at <= now) {
                let silence = millis_text(millis(self.timeout));
                let details = format!("the agent made no progress for {silence}");
                return Err(timed_out(Reason::TimedOut, &details));
            }
        }
    }

    /// Returns the time at which the silence is too long, if it goes on.
    fn silent_at(self, driver: &dyn Driver, begun_at: Instant) -> Option<Instant> {
        if self.timeout.is_zero() || !driver.owns_agent() {
            return None;
        }
        let progressed_at = driver.activity().progressed_at.map_or(begun_at, |at| at.max(begun_at));
        progressed_at.checked_add(self.timeout)
    }
}

fn timed_out(reason: Reason, details: &str) -> Error {
    Error::outcome_unknown(Error::new(reason).with_details(details)).with_message(
        "The agent took too long for this, and may have done a part of it. Look before sending it again.",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use tokio::time::sleep;

    use super::*;
    use crate::agent::activity::ActivityMeter;
    use crate::agent::agent_message::AgentMessage;
    use crate::agent::driver::{Activity, AgentState, DriverError};
    use crate::agent::health::Observation;
    use crate::error::Code;
    use crate::tests::s;

    /// An agent of the driver's own, of which only the activity is looked at.
    #[derive(Default)]
    struct OwnedAgent {
        meter: ActivityMeter,
        is_asking: AtomicBool,
    }

    impl Driver for OwnedAgent {
        fn kind(&self) -> &'static str {
            "test"
        }

        fn owns_agent(&self) -> bool {
            true
        }

        fn activity(&self) -> Activity {
            let is_asking = self.is_asking.load(Ordering::Relaxed);
            let progressed_at = is_asking.then(Instant::now).or(self.meter.activity().progressed_at);
            Activity { in_flight: 1, progressed_at }
        }

        fn check(&self) -> BoxFuture<'_, Observation> {
            std::future::pending().boxed()
        }

        fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
            std::future::pending().boxed()
        }

        fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
            std::future::pending().boxed()
        }

        fn write_state(&self, _: Json) -> BoxFuture<'_, Result<(), DriverError>> {
            std::future::pending().boxed()
        }

        fn deliver(&self, _: AgentMessage) -> BoxFuture<'_, Result<Json, Error>> {
            std::future::pending().boxed()
        }
    }

    fn limits(timeout: Duration, deadline: Option<Duration>) -> MessageLimits {
        MessageLimits { timeout, ends_at: deadline.map(|deadline| Instant::now() + deadline) }
    }

    async fn end_of(limits: MessageLimits, agent: &OwnedAgent) -> (Code, String) {
        let error = limits.enforce(agent, std::future::pending()).await.unwrap_err();
        assert_eq!(error.reason, Reason::OutcomeUnknown);
        (error.code, error.details.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn silent_agent_times_out_and_progress_breaks_the_silence() {
        let (agent, started) = (OwnedAgent::default(), Instant::now());
        let progress = async {
            for _ in 0..3 {
                sleep(s(6)).await;
                agent.meter.note_progress();
            }
        };
        let (end, ()) = tokio::join!(end_of(limits(s(10), None), &agent), progress);
        assert_eq!(end, (Code::Timeout, "timed_out: the agent made no progress for 10 s".to_owned()));
        assert_eq!(started.elapsed(), s(28));
    }

    #[tokio::test(start_paused = true)]
    async fn wait_for_a_person_is_no_silence_but_has_a_deadline() {
        let (agent, started) = (OwnedAgent::default(), Instant::now());
        agent.is_asking.store(true, Ordering::Relaxed);
        let answered = async {
            sleep(s(1000)).await;
            agent.meter.note_progress();
            agent.is_asking.store(false, Ordering::Relaxed);
        };
        let (end, ()) = tokio::join!(end_of(limits(s(10), None), &agent), answered);
        assert_eq!((end.0, started.elapsed()), (Code::Timeout, s(1010)));
        agent.is_asking.store(true, Ordering::Relaxed);
        let (_, details) = end_of(limits(s(10), Some(s(60))), &agent).await;
        assert!(details.starts_with("deadline_exceeded"), "{details}");
        assert_eq!(started.elapsed(), s(1070));
    }

    #[tokio::test(start_paused = true)]
    async fn answer_in_time_and_zero_timeout_have_no_limit() {
        let agent = OwnedAgent::default();
        let answer = async {
            sleep(s(100_000)).await;
            Ok(Json::default())
        };
        assert_eq!(limits(Duration::ZERO, None).enforce(&agent, answer).await, Ok(Json::default()));
    }
}
