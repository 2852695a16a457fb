//! What the machine promises, as sequences of events and the actions they lead to.

use mainstay_runtime::policy::Delay;

use super::*;

/// A machine, its clock and its luck.
struct Play {
    machine: Machine,
    now: Duration,
    jitter: f64,
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The defaults, with delays of 1, 2, 4 … 30 s to the point.
fn policy() -> ConnectionPolicy {
    ConnectionPolicy {
        delay: Delay::Exponential { min: secs(1), max: secs(30), factor: 2.0, jitter: false },
        ..ConnectionPolicy::default()
    }
}

fn probing() -> ConnectionPolicy {
    ConnectionPolicy { after_failed: AfterFailed::Probe, ..policy() }
}

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, "")
}

fn refused(generation: u64) -> Event {
    Event::DialFailed { generation, fault: fault(FaultKind::Refused) }
}

fn lost(generation: u64) -> Event {
    Event::Closed { generation, fault: fault(FaultKind::Lost) }
}

fn opened(generation: u64) -> Event {
    Event::Opened { generation }
}

fn received(generation: u64) -> Event {
    Event::Received { generation }
}

fn dial(generation: u64) -> Action {
    Action::Dial { generation }
}

fn drop_of(generation: u64) -> Action {
    Action::Drop { generation }
}

fn ping(generation: u64, number: u64) -> Action {
    Action::SendPing { generation, number }
}

impl Play {
    fn new(policy: ConnectionPolicy) -> Self {
        Self { machine: Machine::new(policy), now: secs(100), jitter: 0.5 }
    }

    /// Connected with socket 1.
    fn connected(policy: ConnectionPolicy) -> Self {
        let mut play = Self::new(policy);
        play.on(Event::Connect);
        play.on(opened(1));
        play
    }

    /// Waiting for attempt 2 after dial 1 was refused.
    fn waiting(policy: ConnectionPolicy) -> Self {
        let mut play = Self::new(policy);
        play.on(Event::Connect);
        play.on(refused(1));
        play
    }

    /// Failed after every attempt was refused; returns it with the last generation.
    fn failed(policy: ConnectionPolicy) -> (Self, u64) {
        let mut play = Self::waiting(policy);
        while play.state() == ConnectionState::Reconnecting {
            play.wake();
            play.on(refused(play.machine.generation));
        }
        let generation = play.machine.generation;
        (play, generation)
    }

    fn all_on(&mut self, event: Event) -> Vec<Action> {
        self.machine.on(event, self.now, self.jitter)
    }

    /// What is to be done now, apart from writing it down.
    fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.all_on(event);
        actions.retain(|action| !matches!(action, Action::Changed(_)));
        actions
    }

    /// What is written down now.
    fn change_on(&mut self, event: Event) -> Transition {
        match self.all_on(event).into_iter().next() {
            Some(Action::Changed(transition)) => transition,
            other => panic!("no change comes first, but {other:?}"),
        }
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// Lets time pass until the machine wants to be woken, and wakes it.
    fn wake(&mut self) -> Vec<Action> {
        self.now = self.machine.next_wake().expect("the machine waits for somebody else");
        self.on(Event::Tick)
    }

    fn state(&self) -> ConnectionState {
        self.machine.status().state
    }

    /// The wait until the next attempt.
    fn wait(&self) -> Duration {
        self.machine.status().next_attempt_at.expect("no attempt is planned") - self.now
    }

    fn attempt(&self) -> u32 {
        self.machine.status().attempt
    }
}

// === from the first attempt to giving up ===

#[test]
fn a_failed_first_attempt_is_followed_by_growing_waits_until_every_retry_is_spent() {
    let mut play = Play::new(policy());
    assert_eq!(play.on(Event::Connect), [dial(1)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Connecting, 1));
    for (generation, wait) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        assert_eq!(play.on(refused(generation)), [drop_of(generation)]);
        assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, generation as u32 + 1));
        assert_eq!(play.wait(), secs(wait));
        assert_eq!(play.wake(), [dial(generation + 1)]);
        assert_eq!(play.state(), ConnectionState::Reconnecting);
    }
    let last = play.change_on(refused(5));
    assert_eq!((last.to, last.attempt, last.reason), (ConnectionState::Failed, 5, Reason::RetriesExhausted));
    assert_eq!(last.error, Some(fault(FaultKind::Refused)));
    assert_eq!(play.machine.next_wake(), None);
}

#[test]
fn a_lost_connection_is_dialled_again_after_the_first_delay() {
    let mut play = Play::connected(policy());
    play.pass(secs(60)).on(received(1));
    assert_eq!(play.on(lost(1)), [drop_of(1)]);
    assert_eq!((play.state(), play.attempt(), play.wait()), (ConnectionState::Reconnecting, 1, secs(1)));
    assert_eq!(play.wake(), [dial(2)]);
    let flushed = [Action::Resume { generation: 2 }, Action::FlushOutbound { generation: 2 }];
    assert_eq!(play.on(opened(2)), flushed);
    assert_eq!(play.machine.open_generation(), Some(2));
}

#[test]
fn after_a_loss_the_waits_grow_from_the_first_delay_on() {
    let mut play = Play::connected(policy());
    play.pass(secs(60)).on(received(1));
    play.on(lost(1));
    for (generation, wait) in [(2, 1), (3, 2), (4, 4), (5, 8), (6, 16)] {
        assert_eq!(play.wait(), secs(wait));
        play.wake();
        play.on(refused(generation));
    }
    assert_eq!(play.state(), ConnectionState::Failed);
}

#[test]
fn without_retries_the_first_failure_is_final() {
    let mut play = Play::connected(ConnectionPolicy { max_retries: 0, ..policy() });
    play.pass(secs(60)).on(received(1));
    play.on(lost(1));
    assert_eq!(play.state(), ConnectionState::Failed);
}

#[test]
fn with_probing_a_failed_connection_is_dialled_once_every_interval_until_it_opens() {
    let (mut play, last) = Play::failed(probing());
    for probe in [last + 1, last + 2] {
        assert_eq!((play.state(), play.wait()), (ConnectionState::Failed, secs(60)));
        assert_eq!(play.wake(), [dial(probe)]);
        assert_eq!(play.state(), ConnectionState::Failed);
        play.on(refused(probe));
    }
    play.wake();
    play.on(opened(last + 3));
    assert_eq!(play.state(), ConnectionState::Connected);
    play.on(lost(last + 3));
    assert_eq!(play.state(), ConnectionState::Failed, "it opened, but did not prove stable");
}

#[test]
fn a_probe_that_fails_stays_a_probe_however_few_attempts_were_made() {
    let mut play = Play::new(probing());
    play.on(Event::Connect);
    play.on(Event::DialFailed { generation: 1, fault: Fault::from_status(401, None) });
    play.wake();
    let change = play.change_on(refused(2));
    assert_eq!((change.to, change.reason), (ConnectionState::Failed, Reason::Fault(FaultKind::Refused)));
    assert_eq!(play.wait(), secs(60));
}

// === the cases ===

#[test]
fn an_error_and_a_close_of_one_socket_lead_to_exactly_one_next_attempt() {
    let mut play = Play::connected(policy());
    assert_eq!(play.on(Event::SendFailed { generation: 1, fault: fault(FaultKind::Lost) }), [drop_of(1)]);
    let planned = play.machine.status();
    assert_eq!(play.all_on(lost(1)), []);
    assert_eq!(play.all_on(lost(1)), []);
    assert_eq!(play.machine.status(), planned);
    assert_eq!(play.wake(), [dial(2)]);
    assert_eq!(play.on(Event::Tick), []);
}

#[test]
fn a_late_event_from_an_old_socket_changes_nothing() {
    let mut play = Play::connected(policy());
    play.on(lost(1));
    play.wake();
    play.on(opened(2));
    let before = play.machine.status();
    play.pass(secs(1));
    assert_eq!(play.all_on(lost(1)), []);
    assert_eq!(play.all_on(refused(1)), []);
    assert_eq!(play.all_on(received(1)), []);
    assert_eq!(play.machine.status(), before);
}

#[test]
fn a_dial_that_opens_after_it_was_given_up_is_dropped() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    play.wake();
    assert_eq!(play.all_on(opened(1)), [drop_of(1)]);
    assert_eq!(play.state(), ConnectionState::Reconnecting);
}

#[test]
fn a_sign_of_life_from_an_old_socket_does_not_keep_the_new_one_alive() {
    let mut play = Play::connected(policy());
    play.on(lost(1));
    play.wake();
    play.on(opened(2));
    assert_eq!(play.wake(), [ping(2, 1)]);
    play.on(received(1));
    play.on(Event::Ponged { generation: 1, number: 1 });
    assert_eq!(play.wake(), [drop_of(2)]);
}

#[test]
fn a_manual_reconnect_during_a_backoff_tries_now() {
    let mut play = Play::waiting(policy());
    let change = play.change_on(Event::Connect);
    assert_eq!((change.to, change.attempt), (ConnectionState::Reconnecting, 2));
    assert_eq!((change.next_attempt_at, change.reason, change.error), (None, Reason::Requested, None));
    play.pass(secs(5));
    assert_eq!(play.on(Event::Tick), [], "the old timer dials no second time");
}

#[test]
fn a_manual_reconnect_after_failed_starts_over() {
    let (mut play, last) = Play::failed(policy());
    assert_eq!(play.on(Event::Connect), [dial(last + 1)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Connecting, 1));
    play.on(refused(last + 1));
    assert_eq!((play.attempt(), play.wait()), (2, secs(1)));
}

#[test]
fn a_connection_that_was_given_up_starts_over_when_the_backend_is_seen_elsewhere() {
    let (mut play, last) = Play::failed(policy());
    assert_eq!(play.on(Event::BackendSeen), [dial(last + 1)]);
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Connecting, 1));
    assert_eq!(play.all_on(Event::BackendSeen), []);
}

#[test]
fn news_of_the_backend_override_neither_a_refusal_nor_a_wish_to_stay_away() {
    let mut refused = Play::new(policy());
    refused.on(Event::Connect);
    refused.on(Event::DialFailed { generation: 1, fault: fault(FaultKind::Unauthenticated) });
    assert_eq!(refused.state(), ConnectionState::Failed);
    assert_eq!(refused.all_on(Event::BackendSeen), []);
    let mut away = Play::connected(policy());
    away.on(Event::Disconnect);
    assert_eq!(away.all_on(Event::BackendSeen), []);
    assert_eq!(Play::waiting(policy()).all_on(Event::BackendSeen), []);
}

#[test]
fn a_manual_reconnect_during_an_attempt_changes_nothing() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    assert_eq!(play.all_on(Event::Connect), []);
    play.on(refused(1));
    play.wake();
    assert_eq!(play.all_on(Event::Connect), []);
}

#[test]
fn a_manual_reconnect_during_a_probe_makes_it_the_first_attempt() {
    let (mut play, last) = Play::failed(probing());
    play.wake();
    let change = play.change_on(Event::Connect);
    assert_eq!((change.to, change.attempt), (ConnectionState::Connecting, 1));
    play.on(refused(last + 1));
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, 2));
}

#[test]
fn a_manual_reconnect_while_connected_asks_the_peer_for_one_sign_of_life() {
    let mut play = Play::connected(policy());
    assert_eq!(play.on(Event::Connect), [ping(1, 1)]);
    assert_eq!(play.on(Event::Connect), []);
    assert_eq!(play.wake(), [drop_of(1)], "and without one the socket is given up");
}

#[test]
fn at_the_hundredth_attempt_delays_still_differ_and_none_exceeds_the_cap() {
    let delay = Delay::Exponential { min: secs(1), max: secs(30), factor: 2.0, jitter: true };
    let mut play = Play::waiting(ConnectionPolicy { max_retries: 1000, delay, ..policy() });
    for generation in 2..=101 {
        play.wake();
        let mut unlucky = Play { machine: play.machine.clone(), jitter: 0.999, ..play };
        play.jitter = 0.001;
        play.on(refused(generation));
        unlucky.on(refused(generation));
        assert!(play.wait() < unlucky.wait() && unlucky.wait() <= secs(30), "attempt {generation}");
    }
}

#[test]
fn a_server_that_accepts_and_drops_at_once_does_not_reset_the_backoff() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    for (generation, wait) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        play.on(opened(generation));
        play.pass(secs(9)).on(lost(generation));
        assert_eq!((play.attempt(), play.wait()), (generation as u32 + 1, secs(wait)));
        play.wake();
    }
    play.on(opened(5));
    play.on(lost(5));
    assert_eq!(play.state(), ConnectionState::Failed);
}

#[test]
fn a_connection_that_lasted_for_stable_after_resets_the_backoff() {
    let mut play = Play::waiting(policy());
    play.wake();
    play.on(opened(2));
    play.pass(secs(10)).on(lost(2));
    assert_eq!((play.attempt(), play.wait()), (1, secs(1)));
}

#[test]
fn a_server_that_accepts_and_never_speaks_does_not_reset_the_backoff() {
    let mut play = Play::connected(policy());
    play.wake();
    play.wake();
    assert_eq!((play.state(), play.attempt()), (ConnectionState::Reconnecting, 2));
}

#[test]
fn a_silence_that_only_the_system_noticed_does_not_reset_the_backoff() {
    let mut play = Play::waiting(policy());
    play.wake();
    play.on(opened(2));
    play.pass(secs(14)).on(Event::Closed { generation: 2, fault: fault(FaultKind::Unanswered) });
    assert_eq!(play.attempt(), 3);
}

#[test]
fn a_handshake_that_never_answers_ends_by_connect_timeout_and_counts_as_an_attempt() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    play.pass(Duration::from_millis(9_999));
    assert_eq!(play.on(Event::Tick), []);
    play.pass(Duration::from_millis(1));
    let change = play.change_on(Event::Tick);
    assert_eq!((change.to, change.attempt), (ConnectionState::Reconnecting, 2));
    assert_eq!(change.reason, Reason::Fault(FaultKind::ConnectTimedOut));
}

#[test]
fn a_timed_out_dial_is_dropped() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    assert_eq!(play.wake(), [drop_of(1)]);
}

#[test]
fn a_peer_that_vanishes_is_declared_dead_within_ping_interval_and_ping_timeout() {
    let mut play = Play::connected(policy());
    play.pass(secs(7)).on(received(1));
    let vanished_at = play.now;
    assert_eq!(play.wake(), [ping(1, 1)]);
    assert_eq!(play.wake(), [drop_of(1)], "no close handshake is awaited");
    assert_eq!(play.now - vanished_at, secs(15 + 10));
    assert_eq!(play.machine.status().reason, Reason::Fault(FaultKind::Unanswered));
}

#[test]
fn any_frame_counts_as_life() {
    let mut play = Play::connected(policy());
    play.wake();
    play.pass(secs(9)).on(received(1));
    assert_eq!(play.machine.next_wake(), Some(play.now + secs(15)));
    assert_eq!(play.wake(), [ping(1, 2)]);
    play.on(Event::Ponged { generation: 1, number: 2 });
    assert_eq!(play.machine.next_wake(), Some(play.now + secs(15)));
}

#[test]
fn with_pings_off_a_silent_peer_is_believed() {
    let mut play = Play::connected(ConnectionPolicy { ping_interval: Duration::ZERO, ..policy() });
    assert_eq!(play.machine.next_wake(), None);
    play.pass(secs(86_400));
    assert_eq!(play.on(Event::Tick), []);
    assert_eq!(play.on(Event::Woke), [ping(1, 1)], "but not after a sleep");
}

#[test]
fn after_a_sleep_an_open_socket_is_probed_once_and_not_believed() {
    let mut play = Play::connected(policy());
    play.pass(secs(3));
    assert_eq!(play.on(Event::Woke), [ping(1, 1)]);
    assert_eq!(play.on(Event::Woke), [], "one probe, not a burst");
    let deadline = play.now + secs(10);
    play.on(received(1));
    assert_eq!(play.machine.next_wake(), Some(deadline), "what was buffered before the sleep proves nothing");
    assert_eq!(play.wake(), [drop_of(1)]);
}

#[test]
fn after_a_sleep_the_answer_to_the_probe_restores_trust() {
    let mut play = Play::connected(policy());
    play.wake();
    assert_eq!(play.on(Event::Woke), [ping(1, 2)]);
    play.on(Event::Ponged { generation: 1, number: 1 });
    assert_eq!(
        play.machine.next_wake(),
        Some(play.now + secs(10)),
        "the answer to an older ping is no proof"
    );
    play.on(Event::Ponged { generation: 1, number: 2 });
    assert_eq!(play.machine.next_wake(), Some(play.now + secs(15)));
}

#[test]
fn a_late_tick_probes_instead_of_declaring_a_peer_dead_that_had_no_chance_to_be_heard() {
    let mut play = Play::connected(policy());
    assert_eq!(play.wake(), [ping(1, 1)]);
    play.pass(secs(3600));
    assert_eq!(play.on(Event::Tick), [ping(1, 2)]);
    assert_eq!(play.on(Event::Tick), []);
    play.pass(secs(3600));
    assert_eq!(play.on(Event::Tick), [drop_of(1)], "but it does so only once");
}

#[test]
fn a_ping_that_is_sent_late_is_a_probe_too() {
    let mut play = Play::connected(policy());
    play.pass(secs(3600));
    assert_eq!(play.on(Event::Tick), [ping(1, 1)]);
    play.on(received(1));
    assert_eq!(play.wake(), [drop_of(1)], "what was buffered meanwhile proves nothing");
}

#[test]
fn after_a_sleep_a_backoff_is_cut_short_by_one_dial() {
    let mut play = Play::waiting(policy());
    assert_eq!(play.on(Event::Woke), [dial(2)]);
    assert_eq!(play.all_on(Event::Woke), []);
    assert_eq!(play.attempt(), 2);
}

#[test]
fn after_a_sleep_a_failed_connection_is_probed_only_where_the_policy_probes() {
    let (mut play, _) = Play::failed(policy());
    assert_eq!(play.all_on(Event::Woke), []);
    let (mut play, last) = Play::failed(probing());
    assert_eq!(play.on(Event::Woke), [dial(last + 1)]);
    assert_eq!(play.all_on(Event::Woke), []);
}

#[test]
fn a_disconnect_during_a_backoff_leaves_no_later_connect() {
    let mut play = Play::waiting(policy());
    assert_eq!(play.on(Event::Disconnect), []);
    assert_eq!(play.machine.next_wake(), None);
    play.pass(secs(60));
    assert_eq!(play.on(Event::Tick), []);
    assert_eq!(play.on(Event::Woke), []);
    assert_eq!(play.state(), ConnectionState::Disconnected);
}

#[test]
fn a_disconnect_during_a_handshake_drops_it_and_leaves_no_later_connect() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    assert_eq!(play.on(Event::Disconnect), [drop_of(1)]);
    assert_eq!(play.on(opened(1)), [drop_of(1)]);
    assert_eq!(play.on(refused(1)), []);
    assert_eq!((play.state(), play.machine.next_wake()), (ConnectionState::Disconnected, None));
}

#[test]
fn a_disconnect_in_failed_ends_the_probing() {
    let (mut play, _) = Play::failed(probing());
    play.on(Event::Disconnect);
    assert_eq!((play.state(), play.machine.next_wake()), (ConnectionState::Disconnected, None));
}

#[test]
fn a_disconnect_closes_an_open_socket_in_order_but_does_not_wait_for_ever() {
    let mut play = Play::connected(policy());
    assert_eq!(play.on(Event::Disconnect), [Action::CloseGracefully { generation: 1 }]);
    assert_eq!(play.state(), ConnectionState::Disconnected);
    assert_eq!(play.on(Event::Tick), [], "not before close_timeout");
    assert_eq!(play.on(lost(0)), [], "another socket's end is not this one's");
    let mut answered = Play { machine: play.machine.clone(), ..play };
    assert_eq!(answered.on(lost(1)), [drop_of(1)]);
    assert_eq!(answered.machine.next_wake(), None);
    assert_eq!(play.wake(), [drop_of(1)]);
    assert_eq!(play.machine.next_wake(), None);
}

#[test]
fn a_connect_drops_the_socket_that_is_still_closing_before_it_dials() {
    let mut play = Play::connected(policy());
    play.on(Event::Disconnect);
    assert_eq!(play.on(Event::Connect), [drop_of(1), dial(2)]);
}

#[test]
fn a_status_or_close_code_that_means_do_not_come_back_leads_to_failed_with_the_reason() {
    use FaultKind::*;
    for (status, kind) in [
        (401, Unauthenticated),
        (407, ProxyUnauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (400, Rejected),
    ] {
        let mut play = Play::new(policy());
        play.on(Event::Connect);
        let fault = Fault::from_status(status, None);
        let change = play.change_on(Event::DialFailed { generation: 1, fault: fault.clone() });
        assert_eq!((change.to, change.reason), (ConnectionState::Failed, Reason::Fault(kind)), "{status}");
        assert_eq!((change.error, play.machine.next_wake()), (Some(fault), None));
    }
    for (code, kind) in [(1008, PolicyViolation), (4401, Unauthenticated), (4403, Forbidden)] {
        let mut play = Play::connected(policy());
        let change =
            play.change_on(Event::Closed { generation: 1, fault: Fault::from_close(Some(code), "no") });
        assert_eq!((change.to, change.reason), (ConnectionState::Failed, Reason::Fault(kind)), "{code}");
        assert_eq!(play.machine.next_wake(), None);
    }
}

#[test]
fn a_close_code_or_status_that_passes_leads_to_another_attempt() {
    for code in [1000, 1001, 1006, 1011, 1012, 1013, 4999] {
        let mut play = Play::connected(policy());
        play.on(Event::Closed { generation: 1, fault: Fault::from_close(Some(code), "") });
        assert_eq!(play.state(), ConnectionState::Reconnecting, "{code}");
    }
    for status in [200, 302, 408, 425, 429, 500, 502, 503, 504] {
        let mut play = Play::new(policy());
        play.on(Event::Connect);
        play.on(Event::DialFailed { generation: 1, fault: Fault::from_status(status, None) });
        assert_eq!(play.state(), ConnectionState::Reconnecting, "{status}");
    }
}

#[test]
fn retry_after_is_waited_for_up_to_its_cap_and_never_shortens_a_delay() {
    for (asked, wait) in [(0, 1), (45, 45), (100_000_000, 300)] {
        for status in [429, 503] {
            let mut play = Play::new(policy());
            play.on(Event::Connect);
            let fault = Fault::from_status(status, Some(secs(asked)));
            play.on(Event::DialFailed { generation: 1, fault });
            assert_eq!(play.wait(), secs(wait), "HTTP {status}, Retry-After {asked}");
        }
    }
}

#[test]
fn a_message_above_the_limit_closes_that_connection_with_the_reason() {
    let mut play = Play::connected(policy());
    let fault = Fault::new(FaultKind::MessageTooLarge, "");
    let actions = play.all_on(Event::Closed { generation: 1, fault });
    let [Action::Changed(change), Action::Drop { generation: 1 }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!((change.from, change.to), (ConnectionState::Connected, ConnectionState::Reconnecting));
    assert_eq!(change.reason, Reason::Fault(FaultKind::MessageTooLarge));
}

#[test]
fn every_state_carries_what_a_person_asks() {
    let mut play = Play::new(policy());
    let status = |play: &Play| {
        let status = play.machine.status();
        assert_eq!(status.max, 5);
        let error = status.last_error.map(|error| error.kind);
        (
            status.state,
            status.since.as_secs(),
            status.attempt,
            status.next_attempt_at.map(|at| at.as_secs()),
            error,
        )
    };
    use ConnectionState::*;
    let refusal = Some(FaultKind::Refused);
    assert_eq!(status(&play), (Disconnected, 0, 0, None, None));
    play.on(Event::Connect);
    assert_eq!(status(&play), (Connecting, 100, 1, None, None));
    play.pass(secs(2)).on(refused(1));
    assert_eq!(status(&play), (Reconnecting, 102, 2, Some(103), refusal));
    play.wake();
    assert_eq!(status(&play), (Reconnecting, 102, 2, None, refusal));
    play.on(opened(2));
    assert_eq!(status(&play), (Connected, 103, 2, None, refusal));
    play.on(Event::Closed { generation: 2, fault: Fault::from_close(Some(4401), "") });
    assert_eq!(status(&play), (Failed, 103, 2, None, Some(FaultKind::Unauthenticated)));
    play.pass(secs(1)).on(Event::Disconnect);
    assert_eq!(status(&play), (Disconnected, 104, 0, None, Some(FaultKind::Unauthenticated)));
}

#[test]
fn what_an_actor_leaves_behind_is_told_and_its_successor_knows_it() {
    let (play, _) = Play::failed(policy());
    let left = play.machine.status().abandoned(secs(500));
    assert_eq!((left.state, left.since, left.attempt), (ConnectionState::Disconnected, secs(500), 0));
    assert_eq!((left.reason, left.next_attempt_at), (Reason::ActorEnded, None));
    assert_eq!(left.last_error.as_ref().map(|error| error.kind), Some(FaultKind::Refused));
    assert_eq!(Machine::succeeding(policy(), &left).status(), left);

    let mut play = Play::connected(policy());
    play.on(Event::Disconnect);
    let left = play.machine.status();
    assert_eq!(left.clone().abandoned(secs(500)), left, "there was nothing to lose");
}

#[test]
fn a_change_reads_well_in_the_journal() {
    let mut play = Play::new(policy());
    play.on(Event::Connect);
    let change = serde_json::to_value(play.change_on(refused(1))).unwrap();
    assert_eq!(change["from"], "connecting");
    assert_eq!(change["to"], "reconnecting");
    assert_eq!((&change["attempt"], &change["max"]), (&2.into(), &5.into()));
    assert_eq!(change["reason"], "refused");
    let back: Transition = serde_json::from_value(change).unwrap();
    assert_eq!(back.reason, Reason::Fault(FaultKind::Refused));
    assert_eq!(serde_json::to_value(Reason::RetriesExhausted).unwrap(), "retries_exhausted");
}
