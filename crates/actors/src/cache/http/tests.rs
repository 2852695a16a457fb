//! The policy, case by case, with the time passed in. Each case names its section of RFC 9111, or of the RFC that it says.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::held::{Asked, Held, is_cacheable};
use super::terms::Terms;
use super::validators::{conditions, is_confirmed, renewed};
use crate::error::Secrets;
use crate::request::{Request, RequestBuilder, RequestId, Response};

/// Sun, 06 Nov 1994 08:49:37 GMT.
const NOW: Duration = Duration::from_secs(784_111_777);
const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT";

fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    }
    headers
}

fn terms_of(status: u16, lines: &[&str]) -> Option<Terms> {
    Terms::of(StatusCode::from_u16(status).unwrap(), &headers(lines), wall())
}

fn terms(lines: &[&str]) -> Terms {
    terms_of(200, lines).unwrap_or_else(|| panic!("not kept: {lines:?}"))
}

fn lifetime(lines: &[&str]) -> Option<u64> {
    terms(&[lines, &["ETag: \"a\""]].concat()).lifetime.map(|lifetime| lifetime.as_secs())
}

fn conditions_of(lines: &[&str]) -> Vec<String> {
    let conditions = conditions(&headers(lines), wall());
    let text = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut lines: Vec<String> = conditions.iter().map(text).collect();
    lines.sort();
    lines
}

// === what may be kept (3) ===

#[test]
fn a_response_that_says_nothing_of_caching_is_kept_and_its_callers_age_alone_decides() {
    // 4.2.2: a heuristic is allowed and not wanted here.
    for lines in
        [&[][..], &[DATE], &["Last-Modified: Sun, 06 Nov 1994 07:00:00 GMT"], &["Cache-Control: public"]]
    {
        let terms = terms(lines);
        assert_eq!((terms.lifetime, terms.stale_for, terms.is_fresh()), (None, None, true), "{lines:?}");
    }
}

#[test]
fn no_store_is_never_kept_however_it_is_written_and_whatever_stands_beside_it() {
    // 5.2.2.5; 5.2: names of directives are case-insensitive, and several lines are one list.
    for lines in [
        &["Cache-Control: no-store"][..],
        &["Cache-Control: No-Store"],
        &["Cache-Control: max-age=60,NO-STORE", "ETag: \"a\""],
        &["Cache-Control: max-age=60", "Cache-Control: no-store"],
        &["Cache-Control:  , ,no-store ,"],
        &["Cache-Control: no-store=\"yes\""],
        &["Cache-Control: x=\"a,b\\\"c\", no-store"],
        &["Cache-Control: must-understand, no-store"],
        // What stands behind an open quote may be anything.
        &["Cache-Control: max-age=\"60, no-store"],
        &["Cache-Control: x=\"a\\\""],
    ] {
        assert_eq!(terms_of(200, lines), None, "{lines:?}");
    }
}

#[test]
fn what_only_looks_like_no_store_is_kept() {
    // 5.2.3: an unknown directive is ignored; within a quoted string nothing is a directive.
    for line in
        ["Cache-Control: no-stored", "Cache-Control: x=\"no-store\"", "Cache-Control: x=\", no-store, \""]
    {
        assert!(terms_of(200, &[line]).is_some(), "{line}");
    }
}

#[test]
fn only_statuses_whose_meaning_is_known_and_whole_are_kept() {
    // 3: "the response status code is final"; 3.3: a part is kept by whoever can put parts together.
    let kept = (200..600).filter(|status| terms_of(*status, &["Cache-Control: max-age=60"]).is_some());
    assert_eq!(kept.collect::<Vec<_>>(), [200, 203, 204]);
}

#[test]
fn what_is_private_is_kept_and_what_is_for_shared_caches_does_not_count() {
    // 5.2.2.7, 5.2.2.8 and 5.2.2.10.
    assert_eq!(lifetime(&["Cache-Control: private, max-age=60"]), Some(60));
    assert_eq!(lifetime(&["Cache-Control: private=\"set-cookie\", max-age=60"]), Some(60));
    assert_eq!(lifetime(&["Cache-Control: s-maxage=5, max-age=60"]), Some(60));
    assert_eq!(lifetime(&["Cache-Control: s-maxage=5"]), None);
    assert_eq!(terms(&["Cache-Control: proxy-revalidate, max-age=60"]).stale_for, None);
}

#[test]
fn what_varies_by_more_than_headers_is_not_kept() {
    // 4.1.
    for line in ["Vary: *", "Vary: accept, *", "Vary: \u{20}*", "Vary: a b"] {
        assert_eq!(terms_of(200, &[line, "Cache-Control: max-age=60"]), None, "{line}");
    }
    assert_eq!(terms_of(200, &["Vary: accept", "Vary: *"]), None);
    assert!(terms_of(200, &["Vary: Accept, X-Tenant,"]).is_some());
}

#[test]
fn what_could_never_be_used_is_not_kept() {
    assert_eq!(terms_of(200, &["Cache-Control: no-cache"]), None);
    assert_eq!(terms_of(200, &["Cache-Control: max-age=0, must-revalidate"]), None);
    assert!(terms_of(200, &["Cache-Control: no-cache", "ETag: \"a\""]).is_some());
    assert!(terms_of(200, &["Cache-Control: max-age=0, stale-while-revalidate=5"]).is_some());
}

// === how long it is fresh (4.2) ===

#[test]
fn max_age_is_the_lifetime_in_each_form_in_which_it_may_come() {
    // 5.2.2.1; 5.2: both forms of an argument; 1.2.2: what is too large is as large as can be.
    for (line, seconds) in [
        ("Cache-Control: max-age=60", 60),
        ("Cache-Control: MAX-AGE=60", 60),
        ("Cache-Control: max-age=\"60\"", 60),
        ("Cache-Control: max-age=060", 60),
        ("Cache-Control: max-age=60, max-age=60", 60),
        ("Cache-Control: max-age=0", 0),
        ("Cache-Control: max-age=99999999999999999999999999", 1 << 31),
    ] {
        assert_eq!(lifetime(&[line]), Some(seconds), "{line}");
    }
}

#[test]
fn a_lifetime_that_cannot_be_read_or_contradicts_itself_is_none_at_all() {
    // 4.2.1: "caches are encouraged to consider responses that have invalid freshness information to be stale".
    for lines in [
        &["Cache-Control: max-age"][..],
        &["Cache-Control: max-age="],
        &["Cache-Control: max-age=-1"],
        &["Cache-Control: max-age=1.5"],
        &["Cache-Control: max-age=1h"],
        &["Cache-Control: max-age=60, max-age=61"],
        &["Cache-Control: max-age=60", "Cache-Control: max-age=5"],
        &["Expires: 0", DATE],
        &["Expires: tomorrow", DATE],
        &["Expires: Sun, 06 Nov 1994 09:49:37 GMT", "Expires: Sun, 06 Nov 1994 09:49:38 GMT", DATE],
    ] {
        assert_eq!(lifetime(lines), Some(0), "{lines:?}");
    }
}

#[test]
fn expires_counts_from_the_servers_own_date_and_max_age_goes_before_it() {
    // 5.3 and 4.2.1; RFC 9110, 5.6.7: three forms of a date.
    let date = "Date: Sun, 06 Nov 1994 00:00:00 GMT";
    for expires in [
        "Expires: Sun, 06 Nov 1994 01:00:00 GMT",
        "Expires: Sunday, 06-Nov-94 01:00:00 GMT",
        "Expires: Sun Nov  6 01:00:00 1994",
    ] {
        assert_eq!(lifetime(&[expires, date]), Some(3600), "{expires}");
        assert_eq!(lifetime(&[expires, date, "Cache-Control: max-age=5"]), Some(5), "{expires}");
    }
    assert_eq!(lifetime(&["Expires: Sat, 05 Nov 1994 01:00:00 GMT", date]), Some(0));
}

#[test]
fn without_a_date_expires_counts_from_when_it_was_asked_for() {
    // RFC 9110, 6.6.1.
    assert_eq!(lifetime(&["Expires: Sun, 06 Nov 1994 08:50:37 GMT"]), Some(60));
    assert_eq!(lifetime(&["Expires: Sun, 06 Nov 1994 08:50:37 GMT", "Date: noon"]), Some(60));
}

#[test]
fn the_time_that_caches_on_the_way_held_it_is_part_of_its_age() {
    // 4.2.3 and 5.1.
    let of = |lines: &[&str]| {
        let terms = terms(&[lines, &["Cache-Control: max-age=60", "ETag: \"a\""]].concat());
        (terms.age.as_secs(), terms.is_fresh())
    };
    assert_eq!(of(&[]), (0, true));
    assert_eq!(of(&["Age: 59"]), (59, true));
    assert_eq!(of(&["Age: 60"]), (60, false), "4.2: fresh is what has lived for less than its lifetime");
    assert_eq!(of(&["Age: 5", "Age: 70"]), (5, true), "5.1: the first of several");
    assert_eq!(of(&["Age: 5, 70"]), (5, true));
    assert_eq!(of(&["Age: 18446744073709551615"]), (1 << 31, false), "1.2.2");
}

#[test]
fn an_age_that_cannot_be_read_makes_it_stale_to_everybody() {
    // 5.1.
    for age in ["Age: -1", "Age: x", "Age: 1.5", "Age: ,5"] {
        let terms = terms(&[age, "ETag: \"a\""]);
        assert_eq!((terms.lifetime, terms.stale_for), (Some(s(0)), Some(s(0))), "{age}");
    }
}

#[test]
fn a_server_whose_clock_is_wrong_makes_nothing_older() {
    // 4.2.3: by dates alone where clocks are synchronised, of which nothing is known here.
    let terms = terms(&["Date: Sat, 05 Nov 1994 08:49:37 GMT", "Cache-Control: max-age=60"]);
    assert_eq!((terms.age, terms.is_fresh()), (s(0), true));
}

#[test]
fn no_cache_is_asked_about_each_time_however_fresh_it_says_it_is() {
    // 5.2.2.4; 5.4 of what HTTP/1.0 had in its place.
    for lines in [
        &["Cache-Control: no-cache, max-age=60"][..],
        &["Cache-Control: No-Cache=\"set-cookie, x\", max-age=60"],
        &["Cache-Control: max-age=60", "Cache-Control: no-cache"],
        &["Pragma: No-Cache"],
    ] {
        let terms = terms(&[lines, &["ETag: \"a\""]].concat());
        assert_eq!((terms.lifetime, terms.stale_for, terms.is_renewable), (Some(s(0)), Some(s(0)), true));
    }
    assert_eq!(lifetime(&["Pragma: no-cache", "Cache-Control: max-age=60"]), Some(60));
}

// === what is stale (4.2.4) ===

#[test]
fn stale_is_served_for_as_long_as_the_server_says_and_never_where_it_must_be_validated() {
    // 4.2.4 and 5.2.2.2; RFC 5861, 3.
    let of = |line: &str| terms(&[line, "ETag: \"a\""]).stale_for;
    assert_eq!(of("Cache-Control: max-age=60"), None);
    assert_eq!(of("Cache-Control: max-age=60, stale-while-revalidate=30"), Some(s(30)));
    assert_eq!(of("Cache-Control: max-age=60, stale-while-revalidate=x"), Some(s(0)));
    assert_eq!(of("Cache-Control: max-age=60, must-revalidate"), Some(s(0)));
    assert_eq!(of("Cache-Control: max-age=60, stale-while-revalidate=30, Must-Revalidate"), Some(s(0)));
    assert_eq!(of("Cache-Control: no-cache, stale-while-revalidate=30"), Some(s(0)));
}

// === asking whether it still holds (4.3) ===

#[test]
fn it_is_asked_about_by_its_entity_tag_and_by_its_time() {
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
fn a_validator_that_is_none_is_not_sent() {
    // RFC 9110, 8.8.3.
    let long = format!("ETag: \"{}\"", "a".repeat(1024));
    for line in ["ETag: a", "ETag: \"", "ETag: w/\"a\"", "ETag: \"a\"b\"", "Last-Modified: noon", &long] {
        assert_eq!(conditions_of(&[line]), [""; 0], "{line}");
    }
}

#[test]
fn a_time_within_the_second_of_the_response_is_no_validator_since_a_second_change_in_it_would_go_unseen() {
    // RFC 9110, 8.8.2.2.
    for (modified, is_sent) in [("08:49:38", false), ("08:49:37", false), ("08:49:36", true)] {
        let modified = format!("Last-Modified: Sun, 06 Nov 1994 {modified} GMT");
        assert_eq!(conditions_of(&[&modified, DATE]).len(), usize::from(is_sent), "{modified}");
    }
}

#[test]
fn a_304_confirms_what_it_names_and_nothing_else() {
    // 4.3.4.
    let time = "Last-Modified: Sun, 06 Nov 1994 07:00:00 GMT";
    for (held, named, is_meant) in [
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
        assert_eq!(is_confirmed(&headers(held), &headers(named)), is_meant, "{held:?} {named:?}");
    }
}

#[test]
fn a_304_replaces_the_headers_that_it_has_and_adds_those_that_are_new_and_leaves_the_bodys_alone() {
    // 3.2.
    let held = headers(&[
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
    assert_eq!(renewed(&held, &brought), expected);
    assert_eq!(renewed(&held, &headers(&[])).get(header::AGE), None, "it told of the old answer's way");
}

// === whom it may be given to (4, 4.1) ===

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

fn asked() -> Asked {
    Asked { at: s(0), wall: wall() }
}

#[test]
fn only_a_plain_get_is_answered_out_of_the_cache() {
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
fn a_response_answers_requests_with_the_same_headers_alone_whether_its_server_names_them_or_not() {
    // 4.1, and stricter.
    let german = get(|request| request.header("accept-language", "de"));
    for vary in ["Vary: Accept-Language", "Vary: Origin"] {
        let held = Held::new(&german, response(200, &[vary], ""), asked());
        assert!(held.answers(&get(|request| request.header("Accept-Language", "de"))));
        assert!(!held.answers(&get(|request| request.header("accept-language", "en"))));
        assert!(!held.answers(&get(|request| request)));
        let twice = |request: RequestBuilder| request.header("accept-language", "de").header("x-a", "1");
        assert!(!held.answers(&get(twice)));
    }
}

#[test]
fn what_is_not_fresh_when_it_comes_is_for_the_one_who_asked_alone() {
    // 4: "a cache can use a response that is stored or storable to satisfy multiple requests, provided that …".
    for (lines, is_for_all) in [
        (&["Cache-Control: max-age=60"][..], true),
        (&[], true),
        (&["Cache-Control: no-store"], false),
        (&["Cache-Control: no-cache", "ETag: \"a\""], false),
        (&["Cache-Control: max-age=60", "Age: 60", "ETag: \"a\""], false),
        (&["Vary: *"], false),
    ] {
        let held = Held::new(&get(|request| request), response(200, lines, ""), asked());
        assert_eq!(held.is_for_all(), is_for_all, "{lines:?}");
    }
}

#[test]
fn what_a_redirect_led_to_is_not_kept_since_nothing_is_known_of_how_long_the_redirect_holds() {
    // RFC 9110, 15.4: a redirect is a response of its own, with a lifetime of its own.
    let led_to = Response { is_redirected: true, ..response(200, &["Cache-Control: max-age=60"], "") };
    let held = Held::new(&get(|request| request), led_to, asked());
    assert_eq!((held.terms(), held.is_for_all()), (None, false));
}

#[test]
fn what_comes_out_of_the_cache_tells_its_age_and_that_nobody_was_asked() {
    // 5.1.
    let asked = asked();
    let held = Held::new(&get(|request| request), response(200, &["Age: 5"], "body"), asked);
    let told = held.out_of_the_cache(asked.at + s(10));
    assert_eq!(told.headers[header::AGE], "15");
    assert_eq!((told.cached, told.attempts, told.ms, &*told.body), (true, 0, 0, &b"body"[..]));
}

#[test]
fn a_response_without_a_date_gets_the_time_at_which_it_was_asked_for() {
    // RFC 9110, 6.6.1.
    let request = get(|request| request);
    let of = |lines: &[&str], wall| {
        let held = Held::new(&request, response(200, lines, ""), Asked { at: s(0), wall });
        held.as_it_came().headers.get(header::DATE).map(|date| date.to_str().unwrap().to_owned())
    };
    assert_eq!(of(&[], wall()).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(of(&["Date: noon"], wall()).unwrap(), "noon");
    assert_eq!(of(&[], SystemTime::UNIX_EPOCH - s(1)), None, "a clock that is that wrong tells nothing");
}

#[test]
fn what_a_304_confirms_is_given_out_as_it_was_and_lives_anew() {
    // 4.3.4.
    let request = get(|request| request);
    let first = ["ETag: \"a\"", "Age: 70", "Cache-Control: max-age=60", DATE];
    let held = Held::new(&request, response(200, &first, "body"), asked());
    assert_eq!(held.conditional(&request).unwrap().headers(), &headers(&["If-None-Match: \"a\""]));
    let renewed = held.renewed(response(304, &["ETag: \"a\""], ""), &request, asked()).unwrap();
    let told = renewed.as_it_came();
    assert_eq!((told.status, &*told.body, told.cached), (StatusCode::OK, &b"body"[..], false));
    let terms = renewed.terms().unwrap();
    assert_eq!((terms.age, terms.lifetime, terms.is_fresh()), (s(0), Some(s(60)), true));
}

#[test]
fn what_a_304_says_may_not_be_kept_any_more_is_given_to_the_one_who_asked_and_dropped() {
    // 3.2 and 5.2.2.5.
    let request = get(|request| request);
    let held = Held::new(&request, response(200, &["ETag: \"a\""], "body"), asked());
    let renewed = held.renewed(response(304, &["Cache-Control: no-store"], ""), &request, asked()).unwrap();
    assert_eq!((renewed.terms(), &*renewed.as_it_came().body), (None, &b"body"[..]));
}

#[test]
fn what_is_held_for_other_headers_or_cannot_be_named_is_asked_for_without_a_condition() {
    let request = get(|request| request);
    let held = Held::new(&request, response(200, &["ETag: \"a\""], ""), asked());
    assert!(held.conditional(&get(|request| request.header("x-a", "1"))).is_none());
    assert!(Held::new(&request, response(200, &[], ""), asked()).conditional(&request).is_none());
    // A request with as many headers as it may have takes no more.
    let full = get(|request| (0..64).fold(request, |request, n| request.header(&format!("x-{n}"), "")));
    assert!(Held::new(&full, response(200, &["ETag: \"a\""], ""), asked()).conditional(&full).is_none());
}

#[test]
fn a_server_that_brings_ever_new_headers_does_not_make_what_is_held_grow_without_end() {
    let request = get(|request| request);
    let mut held = Held::new(&request, response(200, &["ETag: \"a\""], ""), asked());
    let more = |from: usize| {
        let lines: Vec<String> = (from..from + 100).map(|n| format!("X-{n}: 1")).collect();
        response(304, &lines.iter().map(String::as_str).collect::<Vec<_>>(), "")
    };
    for from in [0, 100] {
        held = held.renewed(more(from), &request, asked()).unwrap();
    }
    assert!(held.renewed(more(200), &request, asked()).is_none());
}
