//! Tests cached responses against RFC 9111, through the whole tree. The backend is a real socket that records each
//! request.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::future::join_all;
use mainstay::config::Config;
use mainstay::{ConnectionState, Error, Mainstay, Pattern, Request, RequestBuilder, Response};
use support::{TEST_TIMEOUT, eventually, header, read_head, serve_connections, websocket_response};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

const HOUR: Duration = Duration::from_secs(3600);

/// The backend's response to a request, from the number of earlier requests and the head.
type AnswerFn = Arc<dyn Fn(usize, &str) -> String + Send + Sync>;

struct HttpCacheFixture {
    mainstay: Mainstay,
    heads: mpsc::Receiver<String>,
    _backend: JoinSet<()>,
}

impl HttpCacheFixture {
    async fn with_answers(answering: impl Fn(usize, &str) -> String + Send + Sync + 'static) -> Self {
        let (sender, heads) = mpsc::channel(1024);
        let (answering, number): (AnswerFn, _) = (Arc::new(answering), Arc::<AtomicUsize>::default());
        let (port, backend) = serve_connections(move |socket| {
            serve(socket, Arc::clone(&answering), sender.clone(), Arc::clone(&number))
        })
        .await;
        let url = format!("http://127.0.0.1:{port}");
        let config = format!("[backend]\nurl = \"{url}\"\n[connection]\nping_interval = \"1h\"\n");
        let config = Config::from_toml(&config).unwrap();
        let mainstay = Mainstay::builder().config(config).start().await.unwrap();
        // The first connection drops what was loaded before it: an invalidation may have been missed.
        let mut link = mainstay.connection().watch();
        let connected = link.wait_for(|status| status.state == ConnectionState::Connected);
        timeout(TEST_TIMEOUT, connected).await.unwrap().unwrap();
        Self { mainstay, heads, _backend: backend }
    }

    /// Returns a backend with the same response each time.
    async fn with_answer(head: &'static [&'static str], body: &'static str) -> Self {
        Self::with_answers(move |_, _| answer(200, head, body)).await
    }

    async fn request(&self, age_max: Duration) -> Result<Response, Error> {
        self.request_with(age_max, |request| request).await
    }

    async fn request_with(
        &self,
        age_max: Duration,
        build: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Error> {
        let request = build(Request::get("/thing?q=1").retries(0)).build().unwrap();
        timeout(TEST_TIMEOUT, self.mainstay.request_cached(request, age_max)).await.unwrap()
    }

    /// Returns the body, and whether it came from the cache.
    async fn request_text(&self, age_max: Duration) -> (String, bool) {
        let response = self.request(age_max).await.unwrap();
        assert_eq!(response.status, 200);
        (text(&response), response.cached)
    }

    /// Checks that the next requests of the backend had these values of a header.
    async fn expect_requests<const N: usize>(&mut self, name: &str, values: [Option<&str>; N]) {
        for (number, value) in values.into_iter().enumerate() {
            let head = timeout(TEST_TIMEOUT, self.heads.recv()).await.unwrap().unwrap();
            assert_eq!(header(&head, name), value, "request {number}");
        }
    }

    /// Checks the same of `if-none-match`, and that there was no other request.
    async fn expect_conditions<const N: usize>(&mut self, values: [Option<&str>; N]) {
        self.expect_requests("if-none-match", values).await;
        assert!(self.has_no_request(), "more than {N} requests");
    }

    /// Asserts that the backend received no other: it records each before it responds.
    fn has_no_request(&mut self) -> bool {
        self.heads.try_recv().is_err()
    }
}

async fn serve(
    mut socket: TcpStream,
    answering: AnswerFn,
    heads: mpsc::Sender<String>,
    number: Arc<AtomicUsize>,
) -> Option<()> {
    loop {
        let head = read_head(&mut socket).await?;
        let answer = match websocket_response(&head) {
            Some(answer) => answer,
            None => {
                heads.send(head.clone()).await.ok()?;
                answering(number.fetch_add(1, SeqCst), &head)
            }
        };
        socket.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn answer(status: u16, head: &[&str], body: &str) -> String {
    let lines: String = head.iter().map(|line| format!("{line}\r\n")).collect();
    let length = if status == 304 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("HTTP/1.1 {status} So\r\n{length}{lines}\r\n{body}")
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.to_vec()).unwrap()
}

fn loaded(text: &str) -> (String, bool) {
    (text.to_owned(), false)
}

fn cached(text: &str) -> (String, bool) {
    (text.to_owned(), true)
}

#[tokio::test]
async fn fresh_response_is_served_with_age() {
    let mut fixture = HttpCacheFixture::with_answer(&["Cache-Control: max-age=3600", "Age: 30"], "a").await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    let second = fixture.request(HOUR).await.unwrap();
    assert_eq!((text(&second), second.cached, second.attempts), ("a".to_owned(), true, 0));
    let age: u64 = second.headers["age"].to_str().unwrap().parse().unwrap();
    assert!((30..3600).contains(&age), "{age}");
    let oldest = fixture.mainstay.status().await.cache.stats.oldest_ms.unwrap();
    assert!((30_000..3_600_000).contains(&oldest), "the status has the same age: {oldest}");
    fixture.expect_conditions([None]).await;
}

#[tokio::test]
async fn stale_response_is_revalidated_by_etag_and_304_refreshes() {
    let mut fixture =
        HttpCacheFixture::with_answers(|number, head| match (number, header(head, "if-none-match")) {
            (0, None) => answer(200, &["ETag: \"1\"", "Cache-Control: no-cache", "X-Kept: yes"], "a"),
            (1, Some("\"1\"")) => answer(304, &["ETag: \"1\""], ""),
            (2, Some("\"1\"")) => answer(304, &["ETag: \"1\"", "Cache-Control: max-age=60"], ""),
            _ => answer(500, &[], ""),
        })
        .await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    let confirmed = fixture.request(HOUR).await.unwrap();
    assert_eq!((confirmed.status.as_u16(), text(&confirmed)), (200, "a".to_owned()));
    assert_eq!((confirmed.cached, confirmed.attempts), (false, 1), "the backend was asked");
    assert_eq!(confirmed.headers["x-kept"], "yes");
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    assert_eq!(fixture.request_text(HOUR).await, cached("a"), "the second 304 has given it a minute");
    fixture.expect_conditions([None, Some("\"1\""), Some("\"1\"")]).await;
}

#[tokio::test]
async fn changed_response_is_revalidated_by_its_new_etag() {
    let mut fixture = HttpCacheFixture::with_answers(|number, _| {
        let etag = format!("ETag: \"{number}\"");
        answer(200, &[&etag, "Cache-Control: no-cache"], &number.to_string())
    })
    .await;
    for (number, condition) in [("0", None), ("1", Some("\"0\"")), ("2", Some("\"1\""))] {
        assert_eq!(fixture.request_text(HOUR).await, loaded(number));
        fixture.expect_requests("if-none-match", [condition]).await;
    }
}

#[tokio::test]
async fn response_without_etag_is_revalidated_by_last_modified() {
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    let mut fixture = HttpCacheFixture::with_answers(|_, head| match header(head, "if-modified-since") {
        None => answer(
            200,
            &["Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "Cache-Control: max-age=60", "Age: 60"],
            "a",
        ),
        Some(_) => answer(304, &["Age: 61"], ""),
    })
    .await;
    for condition in [None, Some(modified), Some(modified)] {
        assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
        fixture.expect_requests("if-modified-since", [condition]).await;
    }
}

#[tokio::test]
async fn mismatched_304_is_retried_unconditionally() {
    let mut fixture = HttpCacheFixture::with_answers(|number, _| match number {
        0 => answer(200, &["ETag: \"1\"", "Cache-Control: no-cache"], "a"),
        1 => answer(304, &["ETag: \"2\""], ""),
        _ => answer(200, &["ETag: \"2\"", "Cache-Control: no-cache"], "b"),
    })
    .await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    assert_eq!(fixture.request_text(HOUR).await, loaded("b"));
    fixture.expect_conditions([None, Some("\"1\""), None]).await;
}

#[tokio::test]
async fn no_store_is_never_cached_or_shared() {
    let mut fixture = HttpCacheFixture::with_answers(|number, _| {
        answer(200, &["Cache-Control: No-Store", "ETag: \"1\""], &number.to_string())
    })
    .await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("0"));
    assert_eq!(fixture.request_text(HOUR).await, loaded("1"));
    let mut texts = join_all((0..4).map(|_| fixture.request_text(HOUR))).await;
    texts.sort();
    assert_eq!(texts, ["2", "3", "4", "5"].map(loaded));
    assert_eq!(fixture.mainstay.cache().stats().entries, 0);
    fixture.expect_conditions([None; 6]).await;
}

#[tokio::test]
async fn concurrent_misses_share_one_request() {
    let mut fixture = HttpCacheFixture::with_answer(&["Cache-Control: max-age=60"], "a").await;
    // The callers ask one after the other before any other task runs: the test has a single thread.
    let texts = join_all((0..100).map(|_| fixture.request_text(HOUR))).await;
    assert_eq!(texts, vec![loaded("a"); 100]);
    fixture.expect_conditions([None]).await;
}

#[tokio::test]
async fn vary_separates_responses_by_header() {
    let mut fixture = HttpCacheFixture::with_answers(|_, head| {
        let language = header(head, "accept-language").unwrap_or("none");
        answer(200, &["Vary: Accept-Language", "Cache-Control: max-age=60"], language)
    })
    .await;
    let texts = async |language: &str| {
        let asked = fixture.request_with(HOUR, |request| request.header("Accept-Language", language));
        let response = asked.await.unwrap();
        (text(&response), response.cached)
    };
    assert_eq!(texts("de").await, loaded("de"));
    assert_eq!(texts("de").await, cached("de"));
    assert_eq!(texts("en").await, loaded("en"));
    assert_eq!(texts("de").await, cached("de"), "another's answer does not displace it");
    assert_eq!(fixture.request_text(HOUR).await, loaded("none"));
    fixture.expect_requests("accept-language", [Some("de"), Some("en"), None]).await;
    assert!(fixture.has_no_request());
}

#[tokio::test]
async fn concurrent_misses_with_other_headers_are_separate() {
    let fixture = HttpCacheFixture::with_answers(|_, head| {
        answer(200, &["Cache-Control: max-age=60"], header(head, "accept-language").unwrap())
    })
    .await;
    let texts = join_all(["de", "en", "de"].map(|language| {
        fixture.request_with(HOUR, move |request| request.header("accept-language", language))
    }))
    .await;
    let texts: Vec<String> = texts.into_iter().map(|response| text(&response.unwrap())).collect();
    assert_eq!(texts, ["de", "en", "de"]);
}

#[tokio::test]
async fn shorter_of_caller_and_server_max_age_applies() {
    let mut fixture =
        HttpCacheFixture::with_answer(&["Cache-Control: max-age=3600", "Age: 30", "ETag: \"1\""], "a").await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    assert_eq!(
        fixture.request_text(Duration::from_secs(10)).await,
        loaded("a"),
        "for this caller it is too old"
    );
    assert_eq!(fixture.request_text(HOUR).await, cached("a"));
    fixture.expect_conditions([None, Some("\"1\"")]).await;
    let mut fixture =
        HttpCacheFixture::with_answer(&["Cache-Control: max-age=30", "Age: 30", "ETag: \"1\""], "a").await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"), "for the server it is too old");
    fixture.expect_requests("if-none-match", [None, Some("\"1\"")]).await;
}

#[tokio::test]
async fn without_server_lifetime_caller_max_age_applies() {
    let mut fixture =
        HttpCacheFixture::with_answer(&["Age: 30", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"], "a")
            .await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    assert_eq!(fixture.request_text(HOUR).await, cached("a"));
    assert_eq!(fixture.request_text(Duration::from_secs(10)).await, loaded("a"));
    let modified = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    fixture.expect_requests("if-modified-since", [None, modified]).await;
    assert!(fixture.has_no_request());
}

#[tokio::test]
async fn stale_while_revalidate_is_served_and_refreshed() {
    let mut fixture = HttpCacheFixture::with_answers(|number, _| match number {
        0 => answer(
            200,
            &["ETag: \"1\"", "Cache-Control: max-age=60, stale-while-revalidate=3600", "Age: 70"],
            "old",
        ),
        _ => answer(200, &["Cache-Control: max-age=60"], "new"),
    })
    .await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("old"));
    assert_eq!(fixture.request_text(HOUR).await, cached("old"));
    fixture.expect_requests("if-none-match", [None, Some("\"1\"")]).await;
    eventually("it is renewed", async || fixture.request_text(HOUR).await == cached("new")).await;
    assert!(fixture.has_no_request());
}

#[tokio::test]
async fn stale_response_beyond_caller_max_age_is_not_served() {
    let fixture = HttpCacheFixture::with_answers(|number, _| {
        let head = ["Cache-Control: max-age=60, stale-while-revalidate=3600", "Age: 70"];
        answer(200, &head, &number.to_string())
    })
    .await;
    let minute = Duration::from_secs(60);
    assert_eq!(fixture.request_text(minute).await, loaded("0"));
    assert_eq!(fixture.request_text(minute).await, loaded("1"));
}

#[tokio::test]
async fn must_revalidate_error_is_returned_and_entry_kept() {
    let mut fixture = HttpCacheFixture::with_answers(|number, _| match number {
        0 => {
            let control = "Cache-Control: max-age=60, must-revalidate, stale-while-revalidate=3600";
            answer(200, &["ETag: \"1\"", control, "Age: 60"], "a")
        }
        1 => answer(500, &[], "broken"),
        _ => answer(304, &["ETag: \"1\""], ""),
    })
    .await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    assert_eq!(fixture.request(HOUR).await.unwrap_err().status, Some(500));
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    fixture.expect_conditions([None, Some("\"1\""), Some("\"1\"")]).await;
}

#[tokio::test]
async fn no_store_answer_removes_the_stored_response() {
    let fixture = HttpCacheFixture::with_answers(|number, _| match number {
        0 => answer(200, &["Cache-Control: max-age=3600", "Age: 30"], "old"),
        _ => answer(200, &["Cache-Control: no-store"], "new"),
    })
    .await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("old"));
    assert_eq!(fixture.request_text(Duration::from_secs(10)).await, loaded("new"));
    assert_eq!(fixture.request_text(HOUR).await, loaded("new"), "the old one was fresh for this caller");
}

#[tokio::test]
async fn invalidated_response_is_loaded_unconditionally() {
    let mut fixture = HttpCacheFixture::with_answer(&["Cache-Control: max-age=60", "ETag: \"1\""], "a").await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    let key = Pattern::Key("http:/thing?q=1".to_owned());
    assert_eq!(fixture.mainstay.cache().invalidate(&key).await, Ok(1));
    assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
    fixture.expect_conditions([None; 2]).await;
}

#[tokio::test]
async fn redirected_response_is_not_cached() {
    let mut fixture = HttpCacheFixture::with_answers(|_, head| {
        if head.starts_with("GET /thing?q=1 ") {
            answer(302, &["Location: /other"], "")
        } else {
            answer(200, &["Cache-Control: max-age=60", "ETag: \"1\""], "a")
        }
    })
    .await;
    for _ in 0..2 {
        assert_eq!(fixture.request_text(HOUR).await, loaded("a"));
        for _ in 0..2 {
            fixture.expect_requests("if-none-match", [None]).await;
        }
    }
}

#[tokio::test]
async fn gone_statuses_remove_the_stored_response() {
    for status in [400, 401, 403, 404, 410, 451] {
        for held in [&["ETag: \"1\"", "Cache-Control: max-age=3600", "Age: 30"][..], &["Age: 30"]] {
            let mut fixture = HttpCacheFixture::with_answers(move |number, _| match number {
                0 => answer(200, held, "old"),
                _ => answer(status, &["Cache-Control: max-age=60", "ETag: \"2\""], ""),
            })
            .await;
            assert_eq!(fixture.request_text(HOUR).await, loaded("old"));
            assert_eq!(fixture.request(Duration::from_secs(10)).await.unwrap_err().status, Some(status));
            let next = fixture.request(HOUR).await;
            assert_eq!(next.unwrap_err().status, Some(status), "the old one was fresh for this caller");
            fixture.expect_conditions([None, held.len().ge(&3).then_some("\"1\""), None]).await;
        }
    }
}

#[tokio::test]
async fn redirected_write_invalidates_its_target() {
    let fixture = HttpCacheFixture::with_answers(|number, head| match () {
        () if head.starts_with("POST /other ") => answer(307, &["Location: /thing?q=1"], ""),
        () => answer(200, &["Cache-Control: max-age=3600"], &number.to_string()),
    })
    .await;
    assert_eq!(fixture.request_text(HOUR).await, loaded("0"));
    assert_eq!(fixture.request_text(HOUR).await, cached("0"));
    fixture.mainstay.request(Request::post("/other").build().unwrap()).await.unwrap();
    assert_eq!(fixture.request_text(HOUR).await, loaded("3"));
}
