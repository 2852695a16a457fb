//! Tests the single timer of an actor.

use mainstay_runtime::Timer;

use crate::*;

#[derive(Debug)]
enum Ask {
    /// Wakes the actor at this time at the latest.
    WakeBy(Duration),
    Cancel,
    Tick,
    /// Returns the times at which the actor woke, and the next one.
    Ticks(Reply<(Vec<Duration>, Option<Duration>)>),
    /// Makes the timer fire while this message is handled, and sets it again.
    Overlap {
        until: Duration,
        due: Duration,
    },
}

impl Message for Ask {}

struct Sleeper;

#[derive(Default)]
struct State {
    timer: Timer,
    ticks: Vec<Duration>,
}

impl Worker for Sleeper {
    type Message = Ask;
    type State = State;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<Ask>, _: Option<()>) -> Result<State, Failure> {
        Ok(State::default())
    }

    async fn handle(&self, ctx: &mut Context<Ask>, ask: Ask, state: &mut State) -> Result<(), Failure> {
        match ask {
            Ask::WakeBy(due) => state.timer.wake_by(ctx, due, Ask::Tick),
            Ask::Cancel => state.timer.cancel(),
            Ask::Tick => {
                state.ticks.push(ctx.now());
                state.timer.clear_due(ctx.now());
            }
            Ask::Ticks(reply) => reply.send((state.ticks.clone(), state.timer.due())),
            Ask::Overlap { until, due } => {
                advance(until.saturating_sub(ctx.now())).await;
                state.timer.cancel();
                state.timer.wake_by(ctx, due, Ask::Tick);
            }
        }
        Ok(())
    }
}

async fn sleeper() -> (Runtime, Address<Ask>) {
    start_child(Child::new("sleeper", Sleeper).policy(immediate_policy())).await
}

#[tokio::test(start_paused = true)]
async fn timer_goes_off_at_the_earliest_time_that_was_asked_for() {
    let (_runtime, sleeper) = sleeper().await;
    for seconds in [5, 3, 4] {
        sleeper.cast(Ask::WakeBy(s(seconds))).await.unwrap();
    }
    assert_eq!(sleeper.call(Ask::Ticks).await, Ok((vec![], Some(s(3)))));
    advance(s(10)).await;
    assert_eq!(sleeper.call(Ask::Ticks).await, Ok((vec![s(3)], None)), "a timer that was replaced went off");
}

#[tokio::test(start_paused = true)]
async fn cancelled_timer_stays_silent_and_can_be_set_again() {
    let (_runtime, sleeper) = sleeper().await;
    sleeper.cast(Ask::WakeBy(s(3))).await.unwrap();
    sleeper.cast(Ask::Cancel).await.unwrap();
    sleeper.cast(Ask::WakeBy(s(7))).await.unwrap();
    advance(s(10)).await;
    assert_eq!(sleeper.call(Ask::Ticks).await, Ok((vec![s(7)], None)));
}

/// The message of the first timer waits already when the second timer is set.
#[tokio::test(start_paused = true)]
async fn late_message_of_a_replaced_timer_leaves_its_successor_set() {
    let (_runtime, sleeper) = sleeper().await;
    sleeper.cast(Ask::WakeBy(s(3))).await.unwrap();
    sleeper.cast(Ask::Overlap { until: s(5), due: s(8) }).await.unwrap();
    advance(s(6)).await;
    assert_eq!(sleeper.call(Ask::Ticks).await, Ok((vec![s(5)], Some(s(8)))));
    advance(s(6)).await;
    assert_eq!(sleeper.call(Ask::Ticks).await, Ok((vec![s(5), s(8)], None)));
}
