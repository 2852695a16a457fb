use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use proptest::prelude::*;

use super::*;
use FailureKind::*;
use RetryDecision::{Done, Fail, Requeue, RetryIn};
use SendProgress::{MaybeSent, NotSent};

use crate::{error::Code, queue::retry_budget::BudgetPolicy, transport::ResponseHead};

const SECOND: Duration = Duration::from_secs(1);

/// Delays without jitter, so that they can be predicted.
const POLICY: RetryPolicy = RetryPolicy {
    retries: 3,
    delay: Delay::Exponential { min: SECOND, max: Duration::from_secs(30), factor: 2.0, jitter: false },
    retry_after_max: Duration::from_secs(60),
};

const IDEMPOTENT: RequestFacts = RequestFacts {
    is_repeatable: true,
    retries: None,
    is_spent: false,
    may_have_acted: false,
    has_renewed_token: false,
    is_suspect: false,
    has_backend_ended: false,
};
const ONCE_ONLY: RequestFacts = RequestFacts { is_repeatable: false, ..IDEMPOTENT };

/// A wall-clock time at a whole second, as HTTP dates are.
fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn retry_context() -> RetryContext {
    RetryContext { now: Duration::ZERO, wall: wall(), jitter: 0.5, time_left: None }
}

fn ample_budget() -> RetryBudget {
    RetryBudget::new(BudgetPolicy { reserve: 1000, ..BudgetPolicy::default() })
}

fn decide(facts: RequestFacts, attempt: u32, result: &AttemptResult) -> RetryDecision {
    decide_after_attempt(&POLICY, &facts, attempt, result, &mut ample_budget(), retry_context())
}

fn decide_with(
    budget: &mut RetryBudget,
    facts: RequestFacts,
    attempt: u32,
    failure: &TransportError,
) -> RetryDecision {
    decide_after_attempt(
        &POLICY,
        &facts,
        attempt,
        &AttemptResult::Failed(failure.clone()),
        budget,
        retry_context(),
    )
}

fn after_failure(facts: RequestFacts, attempt: u32, failure: &TransportError) -> RetryDecision {
    decide_with(&mut ample_budget(), facts, attempt, failure)
}

fn answer(status: u16) -> FullResponse {
    let status = StatusCode::from_u16(status).unwrap();
    FullResponse {
        status,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"said so"),
        is_redirected: false,
    }
}

fn answer_with_retry_after(status: u16, retry_after: &str) -> FullResponse {
    let mut answer = answer(status);
    answer.headers.insert(header::RETRY_AFTER, HeaderValue::from_str(retry_after).unwrap());
    answer
}

fn failed(kind: FailureKind, reach: SendProgress) -> TransportError {
    TransportError::new(kind, reach, "words")
}

fn failure_within_answer(kind: FailureKind, status: u16) -> TransportError {
    let head = ResponseHead { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new() };
    TransportError::in_body(kind, head, "words")
}

fn error_of(failure: RetryDecision) -> Error {
    match failure {
        Fail(error) => error,
        other => panic!("not failed: {other:?}"),
    }
}

fn delay_of(failure: &RetryDecision) -> Duration {
    match failure {
        RetryIn { delay, .. } => *delay,
        other => panic!("not repeated: {other:?}"),
    }
}

#[test]
fn good_answer_is_done_and_costs_no_budget() {
    let mut budget = RetryBudget::new(BudgetPolicy { reserve: 1, ..BudgetPolicy::default() });
    for status in [200, 201, 204, 304] {
        let result = AttemptResult::Answered(answer(status));
        let decision = decide_after_attempt(&POLICY, &IDEMPOTENT, 1, &result, &mut budget, retry_context());
        assert_eq!(decision, Done, "{status}");
    }
    assert_eq!(budget.remaining(Duration::ZERO), 1);
}

#[test]
fn delays_grow_until_retries_end_and_error_has_attempts() {
    let reset = failed(Reset, MaybeSent);
    for (attempt, seconds) in [(1, 1), (2, 2), (3, 4)] {
        let failure = after_failure(IDEMPOTENT, attempt, &reset);
        let (delay, reason) = (SECOND * seconds, Reason::ConnectionReset);
        assert_eq!(failure, RetryIn { delay, reason });
    }
    let error = error_of(after_failure(IDEMPOTENT, 4, &reset));
    assert_eq!((error.reason, error.attempts, error.retryable), (Reason::ConnectionReset, 4, true));
}

#[test]
fn request_can_ask_for_fewer_or_more_retries() {
    let reset = failed(Reset, MaybeSent);
    let with = |retries, attempt| {
        let facts = RequestFacts { retries: Some(retries), ..IDEMPOTENT };
        after_failure(facts, attempt, &reset)
    };
    assert!(matches!(with(0, 1), Fail(_)));
    assert!(matches!(with(5, 5), RetryIn { .. }));
    assert!(matches!(with(5, 6), Fail(_)));
}

#[test]
fn unreachable_backend_requeues_without_cost() {
    let mut budget = RetryBudget::new(BudgetPolicy { reserve: 0, ..BudgetPolicy::default() });
    for kind in [Refused, HostNotFound, ConnectTimedOut, Connect] {
        let absent = failed(kind, NotSent);
        for (facts, attempt) in [(IDEMPOTENT, 1), (ONCE_ONLY, 1), (IDEMPOTENT, 1000)] {
            let facts = RequestFacts { retries: Some(0), ..facts };
            let decision = decide_with(&mut budget, facts, attempt, &absent);
            assert_eq!(decision, Requeue { reason: kind.reason() }, "{kind:?}, {attempt}");
        }
    }
}

#[test]
fn send_counts_though_the_backend_is_gone_afterwards() {
    let absent = failed(Refused, MaybeSent);
    let failure = |facts| after_failure(facts, 1, &absent);
    assert_eq!(delay_of(&failure(IDEMPOTENT)), SECOND);
    assert!(matches!(failure(RequestFacts { retries: Some(0), ..IDEMPOTENT }), Fail(_)));
    assert_eq!(error_of(failure(ONCE_ONLY)).reason, Reason::OutcomeUnknown);
}

#[test]
fn refusal_does_not_hide_an_earlier_send() {
    let absent = failed(Refused, NotSent);
    let failure = |facts| {
        decide(RequestFacts { may_have_acted: true, ..facts }, 2, &AttemptResult::Failed(absent.clone()))
    };
    assert_eq!(failure(IDEMPOTENT), Requeue { reason: Reason::ConnectionRefused });
    assert_eq!(error_of(failure(ONCE_ONLY)).reason, Reason::OutcomeUnknown);
}

#[test]
fn retry_after_a_kept_connection_is_immediate_and_free() {
    let mut budget = RetryBudget::new(BudgetPolicy { percent: 0, reserve: 0, ..BudgetPolicy::default() });
    let stale = TransportError { is_on_kept_connection: true, ..failed(Reset, MaybeSent) };
    let mut decide = |facts, attempt| decide_with(&mut budget, facts, attempt, &stale);
    for attempt in 1..=3 {
        assert_eq!(delay_of(&decide(IDEMPOTENT, attempt)), Duration::ZERO);
    }
    assert_eq!(error_of(decide(IDEMPOTENT, 4)).attempts, 4);
    assert!(matches!(decide(RequestFacts { retries: Some(0), ..IDEMPOTENT }, 1), Fail(_)));
    assert_eq!(error_of(decide(ONCE_ONLY, 1)).reason, Reason::OutcomeUnknown);
}

#[test]
fn retry_with_a_new_token_is_immediate_free_and_made_once() {
    let mut budget = RetryBudget::new(BudgetPolicy { percent: 0, reserve: 0, ..BudgetPolicy::default() });
    let rejected = failure_within_answer(TokenRenewed, 401);
    for facts in [IDEMPOTENT, ONCE_ONLY] {
        let mut decide = |facts, attempt| decide_with(&mut budget, facts, attempt, &rejected);
        let at_once = RetryIn { delay: Duration::ZERO, reason: Reason::Unauthenticated };
        assert_eq!(decide(facts, 3), at_once);
        for (facts, attempt, retryable) in [
            (facts, 4, true),
            (RequestFacts { retries: Some(0), ..facts }, 1, true),
            (RequestFacts { is_spent: true, ..facts }, 1, true),
            (RequestFacts { has_renewed_token: true, ..facts }, 2, false),
        ] {
            let error = error_of(decide(facts, attempt));
            let seen = (error.reason, error.status, error.attempts, error.retryable);
            assert_eq!(seen, (Reason::Unauthenticated, Some(401), attempt, retryable), "{facts:?}");
            assert_eq!(error.message.contains("Try again"), retryable, "{facts:?}");
        }
    }
    let in_doubt = RequestFacts { may_have_acted: true, ..ONCE_ONLY };
    assert_eq!(error_of(after_failure(in_doubt, 2, &rejected)).reason, Reason::OutcomeUnknown);
}

#[test]
fn spent_body_is_not_requeued() {
    let facts = RequestFacts { is_spent: true, ..ONCE_ONLY };
    let absent = failed(Refused, NotSent);
    let error = error_of(after_failure(facts, 1, &absent));
    assert_eq!(error.reason, Reason::ConnectionRefused);
}

#[test]
fn facts_are_taken_from_the_request() {
    let facts = |builder: crate::request::RequestBuilder| RequestFacts::from(&builder.build().unwrap());
    assert_eq!(facts(Request::get("/")), IDEMPOTENT);
    assert_eq!(facts(Request::builder(Method::PATCH, "/")), ONCE_ONLY);
    assert_eq!(facts(Request::post("/").retries(7)), RequestFacts { retries: Some(7), ..ONCE_ONLY });
    assert_eq!(facts(Request::post("/").idempotency_key("k")), IDEMPOTENT);
}

#[test]
fn spent_body_leaves_no_retries() {
    let stream = futures_util::stream::iter([Ok(Bytes::from_static(b"x"))]);
    let request = Request::put("/").retries(7).body_stream_once(None, stream).build().unwrap();
    assert_eq!(RequestFacts::from(&request), RequestFacts { retries: Some(7), ..IDEMPOTENT });
    let body = request.body().unwrap().open();
    let mut body = futures_util::FutureExt::now_or_never(body).unwrap().unwrap();
    let _ = futures_util::FutureExt::now_or_never(futures_util::StreamExt::next(&mut body)).unwrap();
    let spent = RequestFacts { retries: Some(7), is_spent: true, ..IDEMPOTENT };
    assert_eq!(RequestFacts::from(&request), spent);
    let reset = failed(Reset, MaybeSent);
    assert!(matches!(after_failure(spent, 1, &reset), Fail(_)));
}

#[test]
fn failed_upload_keeps_its_reason_and_is_not_retried() {
    for facts in [IDEMPOTENT, ONCE_ONLY] {
        for reach in [NotSent, MaybeSent] {
            for (kind, reason) in
                [(UploadUnreadable, Reason::BodyUnreadable), (UploadChanged, Reason::BodyChanged)]
            {
                let error = error_of(after_failure(facts, 1, &failed(kind, reach)));
                assert_eq!((error.code, error.reason, error.retryable), (Code::InvalidInput, reason, false));
            }
        }
    }
}

#[test]
fn interrupted_response_is_uncertain_only_if_not_repeatable() {
    for (kind, code, reason) in [
        (BodyReset, Code::NetworkError, Reason::ConnectionReset),
        (BodyTimedOut, Code::Timeout, Reason::TimedOut),
    ] {
        let error = interrupted_response_error(&IDEMPOTENT, &failure_within_answer(kind, 200));
        assert_eq!((error.code, error.reason, error.status), (code, reason, Some(200)));
        let error = interrupted_response_error(&ONCE_ONLY, &failure_within_answer(kind, 200));
        assert_eq!((error.code, error.reason, error.status), (code, Reason::OutcomeUnknown, Some(200)));
    }
}

/// The decision that the table expects after a first attempt.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Retry,
    Unknown,
    Known(Reason),
}

#[test]
fn decision_follows_outcome_and_harmlessness_of_a_repeat() {
    use Expected::*;
    let kind = |kind: FailureKind| Some(Known(kind.reason()));
    let status = |status| Known(Reason::from_status(status).unwrap());
    let is_final = |status: &u16| ![400, 404, 408, 425, 429].contains(status);
    // A repeatable request, and one that is not; none where the other column says it all.
    let answers = [425, 429].map(|status| (status, Some(Retry), Some(Retry))).into_iter();
    let answers = answers
        .chain([408, 500, 502, 503, 504, 507, 520].map(|status| (status, Some(Retry), Some(Unknown))))
        .chain([400, 404, 501].map(|it| (it, Some(status(it)), Some(status(it)))))
        .chain((400..500).filter(is_final).chain([302, 505, 511]).map(|it| (it, Some(status(it)), None)))
        .map(|(status, repeatable, once)| (AttemptResult::Answered(answer(status)), repeatable, once));
    let failures = [
        (failed(TimedOut, MaybeSent), Some(Retry), Some(Unknown)),
        (failed(Reset, MaybeSent), Some(Retry), Some(Unknown)),
        (failed(TimedOut, NotSent), None, Some(Retry)),
        (failed(Reset, NotSent), None, Some(Retry)),
        (failed(BadResponse, MaybeSent), kind(BadResponse), Some(Unknown)),
        (failed(Tls, MaybeSent), kind(Tls), None),
        (failed(TooLarge, MaybeSent), kind(TooLarge), None),
        (failed(BadRequest, MaybeSent), kind(BadRequest), None),
        (failure_within_answer(BodyReset, 200), Some(Retry), Some(Unknown)),
        (failure_within_answer(BodyTimedOut, 200), Some(Retry), Some(Unknown)),
        (failure_within_answer(BadResponse, 200), None, Some(Unknown)),
        (failure_within_answer(BodyReset, 500), None, Some(Unknown)),
        // Only the text of a refusal was lost.
        (failure_within_answer(BodyReset, 429), None, Some(Retry)),
        (failure_within_answer(TooLarge, 201), None, kind(TooLarge)),
    ];
    let failures = failures
        .into_iter()
        .map(|(failure, repeatable, once)| (AttemptResult::Failed(failure), repeatable, once));
    let lost = (AttemptResult::Lost, Some(Retry), Some(Unknown));
    for (result, repeatable, once) in answers.chain(failures).chain([lost]) {
        for (facts, expected) in [(IDEMPOTENT, repeatable), (ONCE_ONLY, once)] {
            let Some(expected) = expected else { continue };
            let what = format!("{result:?}, {facts:?}, {expected:?}");
            match (expected, decide(facts, 1, &result)) {
                (Retry, RetryIn { delay, .. }) => assert_eq!(delay, SECOND, "{what}"),
                (Unknown, Fail(error)) => {
                    assert_eq!((error.reason, error.retryable), (Reason::OutcomeUnknown, false), "{what}");
                    if let AttemptResult::Answered(answer) = &result {
                        assert_eq!(error.status, Some(answer.status.as_u16()), "{what}");
                        assert!(error.details.unwrap().contains("said so"), "{what}");
                    }
                }
                (Known(reason), Fail(error)) => {
                    let status = match &result {
                        AttemptResult::Answered(answer) => Some(answer.status.as_u16()),
                        AttemptResult::Failed(failure) => failure.status(),
                        AttemptResult::Lost => None,
                    };
                    assert_eq!((error.reason, error.status), (reason, status), "{what}");
                }
                (_, other) => panic!("{what}: {other:?}"),
            }
        }
    }
}

// === Retry-After ===

fn waits(retry_after: &str) -> Duration {
    delay_of(&decide(IDEMPOTENT, 1, &AttemptResult::Answered(answer_with_retry_after(503, retry_after))))
}

fn date(offset: i64) -> String {
    let distance = Duration::from_secs(offset.unsigned_abs());
    httpdate::fmt_http_date(if offset < 0 { wall() - distance } else { wall() + distance })
}

#[test]
fn retry_after_is_honoured_up_to_its_cap() {
    for value in ["7", " 7 ", "6.2", &date(7)] {
        assert_eq!(waits(value), SECOND * 7, "{value}");
    }
    for value in ["0", &date(-3600), &date(0), "-5", "+5", "1,5", "soon", "", "Thu, 99 Foo 2099 00:00:00 GMT"]
    {
        assert_eq!(waits(value), SECOND, "{value}: it never shortens the delay");
    }
    for value in ["3600", "18446744073709551615", "99999999999999999999999999", &date(100_000_000)] {
        assert_eq!(waits(value), POLICY.retry_after_max, "{value}");
    }
}

#[test]
fn error_tells_what_the_backend_asked_for() {
    let recorded = |value| {
        error_of(decide(IDEMPOTENT, 4, &AttemptResult::Answered(answer_with_retry_after(429, value))))
            .retry_after_ms
    };
    assert_eq!(recorded("3600"), Some(3_600_000));
    assert_eq!(recorded("99999999999999999999999999"), Some(86_400_000));
    assert_eq!(recorded("soon"), None);
}

#[test]
fn retry_after_counts_even_if_the_rest_of_the_answer_was_lost() {
    let mut lost = failure_within_answer(BodyReset, 503);
    lost.head.as_mut().unwrap().headers.insert(header::RETRY_AFTER, HeaderValue::from_static("9"));
    assert_eq!(delay_of(&after_failure(IDEMPOTENT, 1, &lost)), SECOND * 9);
}

// === The budget ===

#[test]
fn spent_budget_fails_with_the_cause_and_says_why_in_the_log() {
    let mut budget = RetryBudget::new(BudgetPolicy { reserve: 0, ..BudgetPolicy::default() });
    let reset = failed(Reset, MaybeSent);
    let error = error_of(decide_with(&mut budget, IDEMPOTENT, 1, &reset));
    assert_eq!((error.reason, error.attempts), (Reason::ConnectionReset, 1));
    assert!(error.details.unwrap().contains("not repeated"));
}

// === Any result ===

fn result() -> impl Strategy<Value = AttemptResult> {
    let reach = prop::sample::select(vec![NotSent, MaybeSent]);
    let kind = || prop::sample::select(FailureKind::ALL);
    prop_oneof![
        (100..1000_u16, "[0-9]{0,25}")
            .prop_map(|(status, after)| AttemptResult::Answered(answer_with_retry_after(status, &after))),
        (kind().prop_filter("it is an answer", |kind| *kind != TokenRenewed), reach)
            .prop_map(|(kind, reach)| AttemptResult::Failed(failed(kind, reach))),
        (kind(), 100..1000_u16).prop_map(|(kind, status)| {
            let status = if kind == TokenRenewed { 401 } else { status };
            AttemptResult::Failed(failure_within_answer(kind, status))
        }),
        Just(()).prop_map(|()| AttemptResult::Lost),
    ]
}

proptest! {
    #[test]
    fn decision_never_repeats_side_effects_and_has_a_message(
        result in result(),
        repeatable in any::<bool>(),
        retries in prop::option::of(0..5_u32),
        may_have_acted in any::<bool>(),
        has_renewed_token in any::<bool>(),
        attempt in 1..7_u32,
        jitter in 0.0..1.0,
    ) {
        let policy = RetryPolicy::default();
        let facts = RequestFacts { is_repeatable: repeatable, retries, may_have_acted, has_renewed_token, ..IDEMPOTENT };
        let failure = decide_after_attempt(&policy, &facts, attempt, &result, &mut ample_budget(), RetryContext { jitter, ..retry_context() });
        match failure {
            Done => prop_assert!(result.is_success()),
            RetryIn { delay, .. } => {
                prop_assert!(attempt <= retries.unwrap_or(policy.retries));
                let is_renewed = matches!(&result, AttemptResult::Failed(failure) if failure.kind == TokenRenewed);
                prop_assert!(!is_renewed || (delay.is_zero() && !has_renewed_token));
                prop_assert!(is_renewed || (delay >= SECOND && delay <= policy.retry_after_max));
                let turned_away = |status: Option<u16>| matches!(status, Some(425 | 429)) || is_renewed;
                let harmless = match &result {
                    AttemptResult::Answered(answer) => turned_away(Some(answer.status.as_u16())),
                    AttemptResult::Failed(failure) => failure.progress == NotSent || turned_away(failure.status()),
                    AttemptResult::Lost => false,
                };
                prop_assert!(repeatable || (harmless && !may_have_acted), "{result:?}");
            }
            Requeue { .. } => {
                let was_sent = !matches!(result, AttemptResult::Failed(failure) if failure.progress == NotSent);
                prop_assert!(!was_sent && (repeatable || !may_have_acted));
            }
            Fail(error) => {
                prop_assert_eq!(error.attempts, attempt);
                prop_assert!(!error.message.is_empty());
                prop_assert!(repeatable || error.reason != Reason::TimedOut || error.status.is_none());
            }
        }
    }
}
