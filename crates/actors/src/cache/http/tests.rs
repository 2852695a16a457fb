//! The policy, case by case, with the time passed in. Each case names its section of RFC 9111, or of the RFC that it
//! names.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    lifetime::ResponseLifetime,
    stored_response::{RequestTime, StoredResponse, is_cacheable},
    validators::{conditional_headers, freshened_headers, is_validated_by},
};
use crate::{
    error::Secrets,
    request::{Request, RequestBuilder, RequestId, Response},
    tests::s,
};

/// Sun, 06 Nov 1994 08:49:37 GMT.
const NOW: Duration = Duration::from_secs(784_111_777);
const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT";

fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    }
    headers
}

fn lifetime_of(status: u16, lines: &[&str]) -> Option<ResponseLifetime> {
    ResponseLifetime::from_response(StatusCode::from_u16(status).unwrap(), &headers(lines), wall())
}

fn storable_lifetime(lines: &[&str]) -> ResponseLifetime {
    lifetime_of(200, lines).unwrap_or_else(|| panic!("not kept: {lines:?}"))
}

fn freshness_lifetime_s(lines: &[&str]) -> Option<u64> {
    storable_lifetime(&[lines, &["ETag: \"a\""]].concat())
        .freshness_lifetime
        .map(|lifetime| lifetime.as_secs())
}

fn conditions_of(lines: &[&str]) -> Vec<String> {
    let conditions = conditional_headers(&headers(lines), wall());
    let text = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut lines: Vec<String> = conditions.iter().map(text).collect();
    lines.sort();
    lines
}

// === what may be stored (3) ===

#[test]
fn lifetime_without_cache_headers_is_unbounded() {
    // 4.2.2: a heuristic is allowed, and not used here.
    for lines in
        [&[][..], &[DATE], &["Last-Modified: Sun, 06 Nov 1994 07:00:00 GMT"], &["Cache-Control: public"]]
    {
        let lifetime = storable_lifetime(lines);
        assert_eq!(lifetime.freshness_lifetime, None, "{lines:?}");
        assert_eq!(lifetime.stale_for, None, "{lines:?}");
        assert!(lifetime.is_fresh(), "{lines:?}");
    }
}

#[test]
fn lifetime_partial_or_unknown_status_is_none() {
    // 3: "the response status code is final"; 3.3: only a cache that combines parts stores one.
    let stored = (200..600).filter(|status| lifetime_of(*status, &["Cache-Control: max-age=60"]).is_some());
    assert_eq!(stored.collect::<Vec<_>>(), [200, 203, 204]);
}

#[test]
fn lifetime_exists_unless_a_rule_forbids_it() {
    for (lines, is_stored) in [
        // 5.2.2.5; 5.2: names of directives are case-insensitive, and several lines are one list.
        (&["Cache-Control: no-store"][..], false),
        (&["Cache-Control: No-Store"], false),
        (&["Cache-Control: max-age=60,NO-STORE", "ETag: \"a\""], false),
        (&["Cache-Control: max-age=60", "Cache-Control: no-store"], false),
        (&["Cache-Control:  , ,no-store ,"], false),
        (&["Cache-Control: no-store=\"yes\""], false),
        (&["Cache-Control: x=\"a,b\\\"c\", no-store"], false),
        (&["Cache-Control: must-understand, no-store"], false),
        // The text behind an open quote may be anything.
        (&["Cache-Control: max-age=\"60, no-store"], false),
        (&["Cache-Control: x=\"a\\\""], false),
        // 5.2.3: an unknown directive is ignored; within a quoted string nothing is a directive.
        (&["Cache-Control: no-stored"], true),
        (&["Cache-Control: x=\"no-store\""], true),
        (&["Cache-Control: x=\", no-store, \""], true),
        // 4.1.
        (&["Vary: *", "Cache-Control: max-age=60"], false),
        (&["Vary: accept, *", "Cache-Control: max-age=60"], false),
        (&["Vary: \u{20}*", "Cache-Control: max-age=60"], false),
        (&["Vary: a b", "Cache-Control: max-age=60"], false),
        (&["Vary: accept", "Vary: *"], false),
        (&["Vary: Accept, X-Tenant,"], true),
        // It would never be usable.
        (&["Cache-Control: no-cache"], false),
        (&["Cache-Control: max-age=0, must-revalidate"], false),
        (&["Cache-Control: no-cache", "ETag: \"a\""], true),
        (&["Cache-Control: max-age=0, stale-while-revalidate=5"], true),
    ] {
        assert_eq!(lifetime_of(200, lines).is_some(), is_stored, "{lines:?}");
    }
}

// === the lifetime (4.2) ===

#[test]
fn freshness_lifetime_follows_max_age_and_expires() {
    for (lines, seconds) in [
        // 5.2.2.1; 5.2: both forms of an argument; 1.2.2: values above the maximum are capped.
        (&["Cache-Control: max-age=60"][..], Some(60)),
        (&["Cache-Control: MAX-AGE=60"], Some(60)),
        (&["Cache-Control: max-age=\"60\""], Some(60)),
        (&["Cache-Control: max-age=060"], Some(60)),
        (&["Cache-Control: max-age=60, max-age=60"], Some(60)),
        (&["Cache-Control: max-age=0"], Some(0)),
        (&["Cache-Control: max-age=99999999999999999999999999"], Some(1 << 31)),
        // 5.2.2.7 and 5.2.2.10.
        (&["Cache-Control: private, max-age=60"], Some(60)),
        (&["Cache-Control: private=\"set-cookie\", max-age=60"], Some(60)),
        (&["Cache-Control: s-maxage=5, max-age=60"], Some(60)),
        (&["Cache-Control: s-maxage=5"], None),
        // 4.2.1: "caches are encouraged to consider responses that have invalid freshness information to be stale".
        (&["Cache-Control: max-age"], Some(0)),
        (&["Cache-Control: max-age="], Some(0)),
        (&["Cache-Control: max-age=-1"], Some(0)),
        (&["Cache-Control: max-age=1.5"], Some(0)),
        (&["Cache-Control: max-age=1h"], Some(0)),
        (&["Cache-Control: max-age=60, max-age=61"], Some(0)),
        (&["Cache-Control: max-age=60", "Cache-Control: max-age=5"], Some(0)),
        (&["Expires: 0", DATE], Some(0)),
        (&["Expires: tomorrow", DATE], Some(0)),
        (
            &["Expires: Sun, 06 Nov 1994 09:49:37 GMT", "Expires: Sun, 06 Nov 1994 09:49:38 GMT", DATE],
            Some(0),
        ),
        // RFC 9110, 6.6.1: without a date, the time of the request counts.
        (&["Expires: Sun, 06 Nov 1994 08:50:37 GMT"], Some(60)),
        (&["Expires: Sun, 06 Nov 1994 08:50:37 GMT", "Date: noon"], Some(60)),
    ] {
        assert_eq!(freshness_lifetime_s(lines), seconds, "{lines:?}");
    }
    // 5.2.2.8.
    assert_eq!(storable_lifetime(&["Cache-Control: proxy-revalidate, max-age=60"]).stale_for, None);
}

#[test]
fn expires_counts_from_date_and_max_age_overrides_it() {
    // 5.3 and 4.2.1; RFC 9110, 5.6.7: three forms of a date.
    let date = "Date: Sun, 06 Nov 1994 00:00:00 GMT";
    for expires in [
        "Expires: Sun, 06 Nov 1994 01:00:00 GMT",
        "Expires: Sunday, 06-Nov-94 01:00:00 GMT",
        "Expires: Sun Nov  6 01:00:00 1994",
    ] {
        assert_eq!(freshness_lifetime_s(&[expires, date]), Some(3600), "{expires}");
        assert_eq!(freshness_lifetime_s(&[expires, date, "Cache-Control: max-age=5"]), Some(5), "{expires}");
    }
    assert_eq!(freshness_lifetime_s(&["Expires: Sat, 05 Nov 1994 01:00:00 GMT", date]), Some(0));
}

#[test]
fn age_header_reduces_freshness() {
    // 4.2.3 and 5.1.
    let of = |lines: &[&str]| {
        let lifetime = storable_lifetime(&[lines, &["Cache-Control: max-age=60", "ETag: \"a\""]].concat());
        (lifetime.age.as_secs(), lifetime.is_fresh())
    };
    assert_eq!(of(&[]), (0, true));
    assert_eq!(of(&["Age: 59"]), (59, true));
    assert_eq!(of(&["Age: 60"]), (60, false), "4.2: fresh is what has lived for less than its lifetime");
    assert_eq!(of(&["Age: 5", "Age: 70"]), (5, true), "5.1: the first of several");
    assert_eq!(of(&["Age: 5, 70"]), (5, true));
    assert_eq!(of(&["Age: 18446744073709551615"]), (1 << 31, false), "1.2.2");
}

#[test]
fn age_malformed_makes_response_stale() {
    // 5.1.
    for age in ["Age: -1", "Age: x", "Age: 1.5", "Age: ,5"] {
        let lifetime = storable_lifetime(&[age, "ETag: \"a\""]);
        assert_eq!((lifetime.freshness_lifetime, lifetime.stale_for), (Some(s(0)), Some(s(0))), "{age}");
    }
}

#[test]
fn age_wrong_server_clock_is_ignored() {
    // 4.2.3: by dates only if clocks are synchronised, which is unknown here.
    let lifetime = storable_lifetime(&["Date: Sat, 05 Nov 1994 08:49:37 GMT", "Cache-Control: max-age=60"]);
    assert_eq!((lifetime.age, lifetime.is_fresh()), (s(0), true));
}

#[test]
fn no_cache_always_revalidates() {
    // 5.2.2.4; 5.4 for the HTTP/1.0 header.
    for lines in [
        &["Cache-Control: no-cache, max-age=60"][..],
        &["Cache-Control: No-Cache=\"set-cookie, x\", max-age=60"],
        &["Cache-Control: max-age=60", "Cache-Control: no-cache"],
        &["Pragma: No-Cache"],
    ] {
        let lifetime = storable_lifetime(&[lines, &["ETag: \"a\""]].concat());
        let expected = (Some(s(0)), Some(s(0)), true);
        assert_eq!((lifetime.freshness_lifetime, lifetime.stale_for, lifetime.is_revalidatable), expected);
    }
    assert_eq!(freshness_lifetime_s(&["Pragma: no-cache", "Cache-Control: max-age=60"]), Some(60));
}

// === stale responses (4.2.4) ===

#[test]
fn stale_while_revalidate_yields_to_must_revalidate() {
    // 4.2.4 and 5.2.2.2; RFC 5861, 3.
    let of = |line: &str| storable_lifetime(&[line, "ETag: \"a\""]).stale_for;
    assert_eq!(of("Cache-Control: max-age=60"), None);
    assert_eq!(of("Cache-Control: max-age=60, stale-while-revalidate=30"), Some(s(30)));
    assert_eq!(of("Cache-Control: max-age=60, stale-while-revalidate=x"), Some(s(0)));
    assert_eq!(of("Cache-Control: max-age=60, must-revalidate"), Some(s(0)));
    assert_eq!(of("Cache-Control: max-age=60, stale-while-revalidate=30, Must-Revalidate"), Some(s(0)));
    assert_eq!(of("Cache-Control: no-cache, stale-while-revalidate=30"), Some(s(0)));
}

// === revalidation (4.3) ===

#[test]
fn conditional_headers_use_etag_and_last_modified() {
    // 4.3.1.
    let modified = "Last-Modified: Sun, 06 Nov 1994 07:00:00 GMT";
    let since = "if-modified-since: Sun, 06 Nov 1994 07:00:00 GMT";
    assert_eq!(conditions_of(&["ETag: \"a\""]), ["if-none-match: \"a\""]);
    assert_eq!(conditions_of(&["ETag: W/\"a,b\""]), ["if-none-match: W/\"a,b\""]);
    assert_eq!(conditions_of(&[modified, DATE]), [since]);
    assert_eq!(conditions_of(&[modified]), [since], "without a date: from when it was asked for");
    assert_eq!(conditions_of(&[modified, DATE, "ETag: \"a\""]), [since, "if-none-match: \"a\""]);
}

#[test]
fn conditional_headers_skip_invalid_validators() {
    // RFC 9110, 8.8.3.
    let long = format!("ETag: \"{}\"", "a".repeat(1024));
    for line in ["ETag: a", "ETag: \"", "ETag: w/\"a\"", "ETag: \"a\"b\"", "Last-Modified: noon", &long] {
        assert_eq!(conditions_of(&[line]), [""; 0], "{line}");
    }
}

#[test]
fn last_modified_within_response_second_is_no_validator() {
    // RFC 9110, 8.8.2.2.
    for (modified, is_sent) in [("08:49:38", false), ("08:49:37", false), ("08:49:36", true)] {
        let modified = format!("Last-Modified: Sun, 06 Nov 1994 {modified} GMT");
        assert_eq!(conditions_of(&[&modified, DATE]).len(), usize::from(is_sent), "{modified}");
    }
}

#[test]
fn is_validated_by_304_requires_matching_validator() {
    // 4.3.4.
    let time = "Last-Modified: Sun, 06 Nov 1994 07:00:00 GMT";
    for (stored, named, is_meant) in [
        (&["ETag: \"a\""][..], &["ETag: \"a\""][..], true),
        (&["ETag: \"a\""], &["ETag: \"b\""], false),
        (&["ETag: \"a\""], &["ETag: W/\"a\""], true),
        (&["ETag: W/\"a\""], &["ETag: W/\"a\""], true),
        (&["ETag: W/\"a\""], &["ETag: \"a\""], false),
        (&[time], &["ETag: \"a\""], false),
        (&[time], &[time], true),
        (&[time], &["Last-Modified: Sun, 06 Nov 1994 07:00:01 GMT"], false),
        (&["ETag: \"a\""], &[], true),
        (&[time], &[], true),
    ] {
        assert_eq!(is_validated_by(&headers(stored), &headers(named)), is_meant, "{stored:?} {named:?}");
    }
}

#[test]
fn freshened_headers_304_replaces_all_but_body_headers() {
    // 3.2.
    let stored = headers(&[
        "Cache-Control: no-cache",
        "Cache-Control: max-age=5",
        "Content-Type: text/plain",
        "Content-Length: 4",
        "Date: Sun, 06 Nov 1994 07:00:00 GMT",
        "Age: 50",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
    ]);
    let brought = headers(&[
        "Cache-Control: max-age=60",
        "Cache-Control: must-revalidate",
        "Content-Type: text/html",
        "Content-Length: 0",
        "X-New: 1",
        DATE,
    ]);
    let expected = headers(&[
        "Cache-Control: max-age=60",
        "Cache-Control: must-revalidate",
        "Content-Type: text/plain",
        "Content-Length: 4",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        "X-New: 1",
        DATE,
    ]);
    assert_eq!(freshened_headers(&stored, &brought), expected);
    assert_eq!(
        freshened_headers(&stored, &headers(&[])).get(header::AGE),
        None,
        "it described the old answer"
    );
}

// === which requests it may answer (4, 4.1) ===

fn response(status: u16, lines: &[&str], body: &'static str) -> Response {
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers(lines),
        body: Bytes::from_static(body.as_bytes()),
        ms: 5,
        cached: false,
        attempts: 2,
        is_redirected: false,
        request_id: RequestId(7),
        secrets: Secrets::default(),
    }
}

fn get(build: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Request {
    build(Request::get("/a")).build().unwrap()
}

fn request_time() -> RequestTime {
    RequestTime { at: s(0), wall: wall() }
}

/// Returns a stored response to a plain GET.
fn stored_response(lines: &[&str], body: &'static str) -> StoredResponse {
    StoredResponse::new(&get(|request| request), response(200, lines, body), request_time())
}

#[test]
fn is_cacheable_only_for_plain_get() {
    assert!(is_cacheable(&get(|request| request)));
    assert!(is_cacheable(&get(|request| request.header("accept-language", "de"))));
    for name in
        ["Authorization", "Cookie", "Range", "If-None-Match", "If-Modified-Since", "Cache-Control", "Pragma"]
    {
        assert!(!is_cacheable(&get(|request| request.header(name, "x"))), "{name}");
    }
    assert!(!is_cacheable(&get(|request| request.idempotency_key("k"))));
    assert!(!is_cacheable(&get(RequestBuilder::generated_idempotency_key)));
    assert!(!is_cacheable(&get(|request| request.body("x"))));
    for request in [Request::post("/a"), Request::builder(http::Method::HEAD, "/a")] {
        assert!(!is_cacheable(&request.build().unwrap()));
    }
}

#[test]
fn matches_request_requires_identical_headers() {
    // 4.1, and stricter.
    let german = get(|request| request.header("accept-language", "de"));
    for vary in ["Vary: Accept-Language", "Vary: Origin"] {
        let stored = StoredResponse::new(&german, response(200, &[vary], ""), request_time());
        assert!(stored.matches_request(&get(|request| request.header("Accept-Language", "de"))));
        assert!(!stored.matches_request(&get(|request| request.header("accept-language", "en"))));
        assert!(!stored.matches_request(&get(|request| request)));
        let twice = |request: RequestBuilder| request.header("accept-language", "de").header("x-a", "1");
        assert!(!stored.matches_request(&get(twice)));
    }
}

#[test]
fn is_shareable_stale_on_arrival_is_false() {
    // 4: "a cache can use a response that is stored or storable to satisfy multiple requests, provided that …".
    for (lines, is_for_all) in [
        (&["Cache-Control: max-age=60"][..], true),
        (&[], true),
        (&["Cache-Control: no-store"], false),
        (&["Cache-Control: no-cache", "ETag: \"a\""], false),
        (&["Cache-Control: max-age=60", "Age: 60", "ETag: \"a\""], false),
        (&["Vary: *"], false),
    ] {
        let stored = stored_response(lines, "");
        assert_eq!(stored.is_shareable(), is_for_all, "{lines:?}");
    }
}

#[test]
fn lifetime_redirected_response_is_none() {
    // RFC 9110, 15.4: a redirect is a response of its own, with a lifetime of its own.
    let led_to = Response { is_redirected: true, ..response(200, &["Cache-Control: max-age=60"], "") };
    let stored = StoredResponse::new(&get(|request| request), led_to, request_time());
    assert_eq!((stored.lifetime(), stored.is_shareable()), (None, false));
}

#[test]
fn to_cached_response_sets_age_and_cached() {
    // 5.1.
    let requested_at = request_time();
    let stored =
        StoredResponse::new(&get(|request| request), response(200, &["Age: 5"], "body"), requested_at);
    let served = stored.to_cached_response(requested_at.at + s(10));
    assert_eq!(served.headers[header::AGE], "15");
    assert_eq!((served.cached, served.attempts, served.ms, &*served.body), (true, 0, 0, &b"body"[..]));
}

#[test]
fn new_without_date_uses_request_time() {
    // RFC 9110, 6.6.1.
    let request = get(|request| request);
    let of = |lines: &[&str], wall| {
        let stored = StoredResponse::new(&request, response(200, lines, ""), RequestTime { at: s(0), wall });
        stored.to_response().headers.get(header::DATE).map(|date| date.to_str().unwrap().to_owned())
    };
    assert_eq!(of(&[], wall()).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(of(&["Date: noon"], wall()).unwrap(), "noon");
    assert_eq!(of(&[], SystemTime::UNIX_EPOCH - s(1)), None, "a clock that is that wrong tells nothing");
}

#[test]
fn freshened_304_keeps_body_and_renews_lifetime() {
    // 4.3.4.
    let request = get(|request| request);
    let first = ["ETag: \"a\"", "Age: 70", "Cache-Control: max-age=60", DATE];
    let stored = stored_response(&first, "body");
    let expected = &headers(&["If-None-Match: \"a\""]);
    assert_eq!(stored.to_conditional_request(&request).unwrap().headers(), expected);
    let renewed = stored.freshened(response(304, &["ETag: \"a\""], ""), &request, request_time()).unwrap();
    let served = renewed.to_response();
    assert_eq!((served.status, &*served.body, served.cached), (StatusCode::OK, &b"body"[..], false));
    let lifetime = renewed.lifetime().unwrap();
    assert_eq!((lifetime.age, lifetime.freshness_lifetime, lifetime.is_fresh()), (s(0), Some(s(60)), true));
}

#[test]
fn freshened_304_with_no_store_has_no_lifetime() {
    // 3.2 and 5.2.2.5.
    let request = get(|request| request);
    let stored = stored_response(&["ETag: \"a\""], "body");
    let renewed =
        stored.freshened(response(304, &["Cache-Control: no-store"], ""), &request, request_time()).unwrap();
    assert_eq!((renewed.lifetime(), &*renewed.to_response().body), (None, &b"body"[..]));
}

#[test]
fn conditional_request_without_match_or_validator_is_none() {
    let request = get(|request| request);
    let stored = stored_response(&["ETag: \"a\""], "");
    assert!(stored.to_conditional_request(&get(|request| request.header("x-a", "1"))).is_none());
    assert!(stored_response(&[], "").to_conditional_request(&request).is_none());
    // A request with the maximum number of headers adds none.
    let full = get(|request| (0..64).fold(request, |request, n| request.header(&format!("x-{n}"), "")));
    assert!(
        StoredResponse::new(&full, response(200, &["ETag: \"a\""], ""), request_time())
            .to_conditional_request(&full)
            .is_none()
    );
}

#[test]
fn freshened_too_many_headers_is_none() {
    let request = get(|request| request);
    let mut stored = stored_response(&["ETag: \"a\""], "");
    let more = |from: usize| {
        let lines: Vec<String> = (from..from + 100).map(|n| format!("X-{n}: 1")).collect();
        response(304, &lines.iter().map(String::as_str).collect::<Vec<_>>(), "")
    };
    for from in [0, 100] {
        stored = stored.freshened(more(from), &request, request_time()).unwrap();
    }
    assert!(stored.freshened(more(200), &request, request_time()).is_none());
}
