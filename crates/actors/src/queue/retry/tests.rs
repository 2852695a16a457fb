use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use proptest::prelude::*;

use super::*;
use crate::{error::Code, queue::budget::BudgetPolicy, transport::AnswerHead};

const SECOND: Duration = Duration::from_secs(1);

/// Without jitter, so that delays can be told in advance.
const POLICY: RetryPolicy = RetryPolicy {
    retries: 3,
    delay: Delay::Exponential { min: SECOND, max: Duration::from_secs(30), factor: 2.0, jitter: false },
    retry_after_max: Duration::from_secs(60),
};

const IDEMPOTENT: RequestFacts = RequestFacts { repeatable: true, retries: None, is_spent: false };
const ONCE_ONLY: RequestFacts = RequestFacts { repeatable: false, retries: None, is_spent: false };

const KINDS: [FailureKind; 18] = [
    FailureKind::Refused,
    FailureKind::HostNotFound,
    FailureKind::ProxyUnreachable,
    FailureKind::ProxyUnauthenticated,
    FailureKind::ProxyRefused,
    FailureKind::ProxyDenied,
    FailureKind::ConnectTimedOut,
    FailureKind::Tls,
    FailureKind::Connect,
    FailureKind::TimedOut,
    FailureKind::BodyTimedOut,
    FailureKind::Reset,
    FailureKind::BodyReset,
    FailureKind::TooLarge,
    FailureKind::BadResponse,
    FailureKind::BadRequest,
    FailureKind::UploadUnreadable,
    FailureKind::UploadChanged,
];

/// Wall time at a whole second, as HTTP dates are.
fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn moment() -> Moment {
    Moment { now: Duration::ZERO, wall: wall(), jitter: 0.5 }
}

fn ample() -> RetryBudget {
    RetryBudget::new(BudgetPolicy { reserve: 1000, ..BudgetPolicy::default() })
}

fn decide(facts: RequestFacts, attempt: u32, outcome: Outcome<'_>) -> Verdict {
    after_attempt(&POLICY, &facts, attempt, outcome, &mut ample(), moment())
}

fn answer(status: u16) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers: HeaderMap::new(), body: Bytes::from_static(b"said so"), is_redirected: false }
}

fn asking(status: u16, retry_after: &str) -> Answer {
    let mut answer = answer(status);
    answer.headers.insert(header::RETRY_AFTER, HeaderValue::from_str(retry_after).unwrap());
    answer
}

fn failed(kind: FailureKind, reach: Reach) -> TransportError {
    TransportError::new(kind, reach, "words")
}

fn within(kind: FailureKind, status: u16) -> TransportError {
    let head = AnswerHead { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new() };
    TransportError::within(kind, head, "words")
}

fn error_of(verdict: Verdict) -> Error {
    match verdict {
        Verdict::Fail(error) => error,
        other => panic!("not failed: {other:?}"),
    }
}

fn delay_of(verdict: &Verdict) -> Duration {
    match verdict {
        Verdict::RetryIn { delay, .. } => *delay,
        other => panic!("not repeated: {other:?}"),
    }
}

#[test]
fn a_good_answer_is_done_and_costs_no_budget() {
    let mut budget = RetryBudget::new(BudgetPolicy { reserve: 1, ..BudgetPolicy::default() });
    for status in [200, 201, 204, 304] {
        let answer = answer(status);
        let verdict =
            after_attempt(&POLICY, &IDEMPOTENT, 1, Outcome::Answered(&answer), &mut budget, moment());
        assert_eq!(verdict, Verdict::Done);
    }
    assert_eq!(budget.left(Duration::ZERO), 1);
}

#[test]
fn delays_grow_until_the_retries_are_used_up_and_the_error_tells_the_attempts() {
    let reset = failed(FailureKind::Reset, Reach::MaybeSent);
    for (attempt, seconds) in [(1, 1), (2, 2), (3, 4)] {
        let verdict = decide(IDEMPOTENT, attempt, Outcome::Failed(&reset));
        let (delay, reason) = (SECOND * seconds, Reason::ConnectionReset);
        assert_eq!(verdict, Verdict::RetryIn { delay, reason });
    }
    let error = error_of(decide(IDEMPOTENT, 4, Outcome::Failed(&reset)));
    assert_eq!((error.reason, error.attempts, error.retryable), (Reason::ConnectionReset, 4, true));
}

#[test]
fn a_request_can_ask_for_fewer_or_more_retries() {
    let reset = failed(FailureKind::Reset, Reach::MaybeSent);
    let with = |retries, attempt| {
        let facts = RequestFacts { retries: Some(retries), ..IDEMPOTENT };
        decide(facts, attempt, Outcome::Failed(&reset))
    };
    assert!(matches!(with(0, 1), Verdict::Fail(_)));
    assert!(matches!(with(5, 5), Verdict::RetryIn { .. }));
    assert!(matches!(with(5, 6), Verdict::Fail(_)));
}

#[test]
fn what_reached_nobody_goes_back_into_line_however_often_and_costs_neither_a_retry_nor_the_budget() {
    let mut budget = RetryBudget::new(BudgetPolicy { reserve: 0, ..BudgetPolicy::default() });
    for kind in
        [FailureKind::Refused, FailureKind::HostNotFound, FailureKind::ConnectTimedOut, FailureKind::Connect]
    {
        let absent = failed(kind, Reach::NotSent);
        for (facts, attempt) in [(IDEMPOTENT, 1), (ONCE_ONLY, 1), (IDEMPOTENT, 1000)] {
            let facts = RequestFacts { retries: Some(0), ..facts };
            let outcome = Outcome::Failed(&absent);
            let verdict = after_attempt(&POLICY, &facts, attempt, outcome, &mut budget, moment());
            assert_eq!(verdict, Verdict::Hold { reason: kind.reason() });
        }
    }
}

#[test]
fn what_may_be_sent_twice_is_held_though_it_may_have_arrived_before_nobody_was_there() {
    let absent = failed(FailureKind::Refused, Reach::MaybeSent);
    let verdict = |facts| decide(facts, 1, Outcome::Failed(&absent));
    assert_eq!(verdict(IDEMPOTENT), Verdict::Hold { reason: Reason::ConnectionRefused });
    let Verdict::Fail(error) = verdict(ONCE_ONLY) else { panic!() };
    assert_eq!(error.reason, Reason::OutcomeUnknown);
}

#[test]
fn what_can_be_sent_only_once_is_not_held_for_another_time_when_it_was_begun() {
    let facts = RequestFacts { is_spent: true, ..ONCE_ONLY };
    let absent = failed(FailureKind::Refused, Reach::NotSent);
    let error = error_of(decide(facts, 1, Outcome::Failed(&absent)));
    assert_eq!(error.reason, Reason::ConnectionRefused);
}

#[test]
fn the_facts_are_taken_from_the_request() {
    let facts = |builder: crate::request::RequestBuilder| RequestFacts::from(&builder.build().unwrap());
    assert_eq!(facts(Request::get("/")), IDEMPOTENT);
    assert_eq!(facts(Request::builder(Method::PATCH, "/")), ONCE_ONLY);
    assert_eq!(facts(Request::post("/").retries(7)), RequestFacts { retries: Some(7), ..ONCE_ONLY });
    assert_eq!(facts(Request::post("/").idempotency_key("k")), IDEMPOTENT);
}

#[test]
fn a_body_that_can_be_sent_only_once_leaves_no_retries_once_it_was_begun() {
    let stream = futures_util::stream::iter([Ok(Bytes::from_static(b"x"))]);
    let request = Request::put("/").retries(7).body_once(None, stream).build().unwrap();
    assert_eq!(RequestFacts::from(&request), RequestFacts { retries: Some(7), ..IDEMPOTENT });
    let body = request.body().unwrap().open();
    let mut body = futures_util::FutureExt::now_or_never(body).unwrap().unwrap();
    let _ = futures_util::FutureExt::now_or_never(futures_util::StreamExt::next(&mut body)).unwrap();
    let spent = RequestFacts { retries: Some(7), is_spent: true, ..IDEMPOTENT };
    assert_eq!(RequestFacts::from(&request), spent);
    let reset = failed(FailureKind::Reset, Reach::MaybeSent);
    assert!(matches!(decide(spent, 1, Outcome::Failed(&reset)), Verdict::Fail(_)));
}

#[test]
fn a_body_that_failed_is_told_by_its_own_name_and_not_sent_again_whatever_left_of_it() {
    for facts in [IDEMPOTENT, ONCE_ONLY] {
        for reach in [Reach::NotSent, Reach::MaybeSent] {
            for (kind, reason) in [
                (FailureKind::UploadUnreadable, Reason::BodyUnreadable),
                (FailureKind::UploadChanged, Reason::BodyChanged),
            ] {
                let error = error_of(decide(facts, 1, Outcome::Failed(&failed(kind, reach))));
                assert_eq!((error.code, error.reason, error.retryable), (Code::InvalidInput, reason, false));
            }
        }
    }
}

#[test]
fn an_answer_that_broke_off_in_the_middle_leaves_doubt_only_where_a_repeat_could_act_twice() {
    for (kind, code, reason) in [
        (FailureKind::BodyReset, Code::NetworkError, Reason::ConnectionReset),
        (FailureKind::BodyTimedOut, Code::Timeout, Reason::TimedOut),
    ] {
        let error = broken_off(&IDEMPOTENT, &within(kind, 200));
        assert_eq!((error.code, error.reason, error.status), (code, reason, Some(200)));
        let error = broken_off(&ONCE_ONLY, &within(kind, 200));
        assert_eq!((error.code, error.reason, error.status), (code, Reason::OutcomeUnknown, Some(200)));
    }
}

#[test]
fn a_post_that_may_have_been_acted_on_ends_as_outcome_unknown() {
    let timed_out = failed(FailureKind::TimedOut, Reach::MaybeSent);
    let error = error_of(decide(ONCE_ONLY, 1, Outcome::Failed(&timed_out)));
    assert_eq!((error.code, error.reason), (Code::Timeout, Reason::OutcomeUnknown));
    assert!(!error.retryable);

    for status in [408, 500, 502, 503, 504, 507, 520] {
        let error = error_of(decide(ONCE_ONLY, 1, Outcome::Answered(&answer(status))));
        assert_eq!((error.reason, error.status), (Reason::OutcomeUnknown, Some(status)));
        assert!(error.details.unwrap().contains("said so"));
    }
    for lost in [
        failed(FailureKind::Reset, Reach::MaybeSent),
        failed(FailureKind::BadResponse, Reach::MaybeSent),
        within(FailureKind::BodyReset, 200),
        within(FailureKind::BodyTimedOut, 200),
        within(FailureKind::BadResponse, 200),
        within(FailureKind::BodyReset, 500),
    ] {
        let error = error_of(decide(ONCE_ONLY, 1, Outcome::Failed(&lost)));
        assert_eq!(error.reason, Reason::OutcomeUnknown, "{lost}");
    }
    assert_eq!(error_of(decide(ONCE_ONLY, 1, Outcome::Lost)).reason, Reason::OutcomeUnknown);
}

#[test]
fn a_post_that_never_left_or_was_turned_away_is_repeated() {
    for kind in [FailureKind::TimedOut, FailureKind::Reset] {
        let verdict = decide(ONCE_ONLY, 1, Outcome::Failed(&failed(kind, Reach::NotSent)));
        assert_eq!(delay_of(&verdict), SECOND);
    }
    for status in [425, 429] {
        assert_eq!(delay_of(&decide(ONCE_ONLY, 1, Outcome::Answered(&answer(status)))), SECOND);
    }
    // What was lost is only the text of a refusal.
    assert_eq!(
        delay_of(&decide(ONCE_ONLY, 1, Outcome::Failed(&within(FailureKind::BodyReset, 429)))),
        SECOND
    );
}

#[test]
fn a_post_whose_outcome_is_known_says_so() {
    for (status, reason) in
        [(400, Reason::BadRequest), (404, Reason::NotFound), (501, Reason::NotImplemented)]
    {
        let error = error_of(decide(ONCE_ONLY, 1, Outcome::Answered(&answer(status))));
        assert_eq!((error.reason, error.status), (reason, Some(status)));
    }
    let error = error_of(decide(ONCE_ONLY, 1, Outcome::Failed(&within(FailureKind::TooLarge, 201))));
    assert_eq!((error.reason, error.status), (Reason::ResponseTooLarge, Some(201)));
}

#[test]
fn what_may_be_sent_twice_is_repeated_after_every_passing_failure() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        assert_eq!(delay_of(&decide(IDEMPOTENT, 1, Outcome::Answered(&answer(status)))), SECOND);
    }
    for lost in [
        failed(FailureKind::TimedOut, Reach::MaybeSent),
        failed(FailureKind::Reset, Reach::MaybeSent),
        within(FailureKind::BodyReset, 200),
        within(FailureKind::BodyTimedOut, 200),
    ] {
        assert_eq!(delay_of(&decide(IDEMPOTENT, 1, Outcome::Failed(&lost))), SECOND);
    }
    assert_eq!(delay_of(&decide(IDEMPOTENT, 1, Outcome::Lost)), SECOND);
}

#[test]
fn what_a_repeat_cannot_mend_is_not_repeated() {
    for status in (400..500).filter(|status| ![408, 425, 429].contains(status)).chain([302, 501, 505, 511]) {
        let error = error_of(decide(IDEMPOTENT, 1, Outcome::Answered(&answer(status))));
        assert_eq!(Some(error.reason), Reason::of_status(status));
    }
    for kind in [FailureKind::Tls, FailureKind::TooLarge, FailureKind::BadResponse, FailureKind::BadRequest] {
        error_of(decide(IDEMPOTENT, 1, Outcome::Failed(&failed(kind, Reach::MaybeSent))));
    }
}

// === Retry-After ===

fn waits(retry_after: &str) -> Duration {
    delay_of(&decide(IDEMPOTENT, 1, Outcome::Answered(&asking(503, retry_after))))
}

fn date(offset: i64) -> String {
    let distance = Duration::from_secs(offset.unsigned_abs());
    httpdate::fmt_http_date(if offset < 0 { wall() - distance } else { wall() + distance })
}

#[test]
fn retry_after_is_honoured_as_seconds_and_as_a_date() {
    assert_eq!(waits("7"), SECOND * 7);
    assert_eq!(waits(" 7 "), SECOND * 7);
    assert_eq!(waits(&date(7)), SECOND * 7);
}

#[test]
fn retry_after_never_shortens_the_delay_and_one_in_the_past_or_unreadable_changes_nothing() {
    for value in ["0", &date(-3600), &date(0), "-5", "+5", "1.5", "soon", "", "Thu, 99 Foo 2099 00:00:00 GMT"]
    {
        assert_eq!(waits(value), SECOND, "{value}");
    }
}

#[test]
fn an_absurd_retry_after_is_clamped() {
    for value in ["3600", "18446744073709551615", "99999999999999999999999999", &date(100_000_000)] {
        assert_eq!(waits(value), POLICY.retry_after_max, "{value}");
    }
}

#[test]
fn the_error_tells_what_the_backend_asked_for() {
    let told = |value| error_of(decide(IDEMPOTENT, 4, Outcome::Answered(&asking(429, value)))).retry_after_ms;
    assert_eq!(told("3600"), Some(3_600_000));
    assert_eq!(told("99999999999999999999999999"), Some(86_400_000));
    assert_eq!(told("soon"), None);
}

#[test]
fn a_retry_after_counts_even_if_the_rest_of_the_answer_was_lost() {
    let mut lost = within(FailureKind::BodyReset, 503);
    lost.head.as_mut().unwrap().headers.insert(header::RETRY_AFTER, HeaderValue::from_static("9"));
    assert_eq!(delay_of(&decide(IDEMPOTENT, 1, Outcome::Failed(&lost))), SECOND * 9);
}

// === The budget ===

#[test]
fn a_spent_budget_fails_with_the_cause_and_says_why_in_the_log() {
    let mut budget = RetryBudget::new(BudgetPolicy { reserve: 0, ..BudgetPolicy::default() });
    let reset = failed(FailureKind::Reset, Reach::MaybeSent);
    let verdict = after_attempt(&POLICY, &IDEMPOTENT, 1, Outcome::Failed(&reset), &mut budget, moment());
    let error = error_of(verdict);
    assert_eq!((error.reason, error.attempts), (Reason::ConnectionReset, 1));
    assert!(error.details.unwrap().contains("not repeated"));
}

#[test]
fn with_the_backend_down_all_retries_together_stay_within_the_budget() {
    let policy = BudgetPolicy { percent: 20, reserve: 10, window: Duration::from_secs(60) };
    let mut budget = RetryBudget::new(policy);
    let reset = failed(FailureKind::Reset, Reach::MaybeSent);
    let mut repeated = 0;
    for request in 0..1000 {
        let moment = Moment { now: Duration::from_millis(request * 10), ..moment() };
        budget.count_request(moment.now);
        for attempt in 1.. {
            match after_attempt(&POLICY, &IDEMPOTENT, attempt, Outcome::Failed(&reset), &mut budget, moment) {
                Verdict::RetryIn { .. } => repeated += 1,
                Verdict::Fail(_) => break,
                Verdict::Done | Verdict::Hold { .. } => panic!("a reset is no answer and no absence"),
            }
        }
    }
    assert_eq!(repeated, 1000 * 20 / 100 + 10);
}

// === Whatever happens ===

fn outcome() -> impl Strategy<Value = Result<Answer, Option<TransportError>>> {
    let reach = prop::sample::select(vec![Reach::NotSent, Reach::MaybeSent]);
    let kind = || prop::sample::select(KINDS.to_vec());
    prop_oneof![
        (100..1000_u16, "[0-9]{0,25}").prop_map(|(status, after)| Ok(asking(status, &after))),
        (kind(), reach).prop_map(|(kind, reach)| Err(Some(failed(kind, reach)))),
        (kind(), 100..1000_u16).prop_map(|(kind, status)| Err(Some(within(kind, status)))),
        Just(Err(None)),
    ]
}

proptest! {
    #[test]
    fn harm_is_never_risked_and_every_end_has_its_words(
        outcome in outcome(),
        repeatable in any::<bool>(),
        retries in prop::option::of(0..5_u32),
        attempt in 1..7_u32,
        jitter in 0.0..1.0,
    ) {
        let policy = RetryPolicy::default();
        let facts = RequestFacts { repeatable, retries, is_spent: false };
        let view = match &outcome {
            Ok(answer) => Outcome::Answered(answer),
            Err(Some(failure)) => Outcome::Failed(failure),
            Err(None) => Outcome::Lost,
        };
        let verdict = after_attempt(&policy, &facts, attempt, view, &mut ample(), Moment { jitter, ..moment() });
        match verdict {
            Verdict::Done => prop_assert!(outcome.is_ok_and(|answer| Reason::of_status(answer.status.as_u16()).is_none())),
            Verdict::RetryIn { delay, .. } => {
                prop_assert!(attempt <= retries.unwrap_or(policy.retries));
                prop_assert!(delay >= SECOND && delay <= policy.retry_after_max);
                let turned_away = |status: Option<u16>| matches!(status, Some(425 | 429));
                let harmless = match &outcome {
                    Ok(answer) => turned_away(Some(answer.status.as_u16())),
                    Err(Some(failure)) => failure.reach == Reach::NotSent || turned_away(failure.status()),
                    Err(None) => false,
                };
                prop_assert!(repeatable || harmless, "{outcome:?}");
            }
            Verdict::Hold { .. } => {
                let was_sent = outcome.map_or_else(|failed| failed.is_none_or(|it| it.reach > Reach::NotSent), |_| true);
                prop_assert!(!was_sent || repeatable);
            }
            Verdict::Fail(error) => {
                prop_assert_eq!(error.attempts, attempt);
                prop_assert!(!error.message.is_empty());
                prop_assert!(repeatable || error.reason != Reason::TimedOut || error.status.is_none());
            }
        }
    }
}
