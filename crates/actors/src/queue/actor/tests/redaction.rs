//! Tests a backend that repeats what it was sent, in any form and place: none of it comes back in an error.

use std::collections::HashMap;

use http::Method;
use mainstay_runtime::journal::{Cursor, Delivery};
use proptest::prelude::*;

use super::*;
use crate::credentials::Credentials;
use crate::error::Secrets;
use crate::queue::events::RequestRef;

/// The index of the secret that was not sent in this form, but as another encoder writes it.
const IN_FORM: usize = 8;

/// The shortest part of a secret that counts as leaked.
const WINDOW_CHARS: usize = 8;

/// The secrets that are sent and must not come back. None of them has a character of [`junk`].
#[derive(Debug, Clone)]
struct SentSecrets {
    token: String,
    configured: String,
    header: String,
    key: String,
    cookie: String,
    /// A value of the query, before it is encoded.
    asked: String,
    /// A value of the body.
    password: String,
}

impl SentSecrets {
    fn path(&self) -> String {
        format!("/things/of/mine?q={}&page=1", encoded(&self.asked))
    }

    /// Returns every secret in every readable form.
    fn secrets(&self) -> Vec<Vec<String>> {
        let Self { token, configured, header, key, cookie, asked, password } = self;
        let plain = |text: &String| text.chars().map(String::from).collect();
        let in_address = asked.chars().map(|letter| encoded(&letter.to_string()));
        let in_form = in_address.clone().map(|letter| letter.replace("%20", "+")).collect();
        let mut secrets: Vec<_> = [token, configured, header, key, cookie, asked, password].map(plain).into();
        secrets.extend([in_address.collect(), in_form]);
        secrets
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    let code = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(code).collect()
}

fn sent() -> impl Strategy<Value = SentSecrets> {
    let token = "[A-Wa-w0-9+/._~-]{10,40}={0,2}";
    let visible = r#"[A-Wa-w0-9!-/:-@\[-`{-~]{10,40}"#;
    let text = "[A-Wa-w0-9 /&?+%\"äö🗝]{10,30}";
    let drawn = (token, visible, visible, visible, "[A-Wa-w0-9/+]{10,40}", text, text);
    drawn.prop_map(|(token, configured, header, key, cookie, asked, password)| SentSecrets {
        token,
        configured,
        header,
        key,
        cookie,
        asked,
        password,
    })
}

fn junk() -> impl Strategy<Value = String> {
    "[xyzXYZ ]{0,520}"
}

/// The form in which a secret is repeated.
#[derive(Debug, Clone, Copy)]
enum EchoEncoding {
    Plain,
    Json,
    /// As Python does it.
    Ascii,
    /// Every character as its code.
    Escaped,
    /// Escaped as PHP does it.
    Slashed,
}

impl EchoEncoding {
    fn encode(self, text: &str) -> String {
        let json = || {
            let quoted = serde_json::to_string(text).unwrap();
            quoted[1..quoted.len() - 1].to_owned()
        };
        let coded =
            |text: String| text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
        match self {
            Self::Plain => text.to_owned(),
            Self::Json => json(),
            Self::Escaped => coded(text.to_owned()),
            Self::Ascii => json()
                .chars()
                .map(|c| if c.is_ascii() { c.to_string() } else { coded(c.to_string()) })
                .collect(),
            Self::Slashed => json().replace('/', "\\/"),
        }
    }

    /// Returns whether this form may stand in a head.
    fn is_header_safe(self, text: &str) -> bool {
        text.is_ascii() || matches!(self, Self::Ascii | Self::Escaped)
    }
}

/// The places where a secret is repeated, as `{}`: the rest of the status line, a header and the body.
const PLACES: [[&str; 3]; 13] = [
    ["S", "content-type: text/plain", "{}"],
    ["S", "content-type: text/html", "<p>{}</p>"],
    ["S", "content-type: application/json", r#"{"detail":"{}"}"#],
    ["S", PROBLEM, r#"{"detail":"{}"}"#],
    ["S", PROBLEM, r#"{"title":"{}","detail":7}"#],
    ["S", PROBLEM, r#"{"type":"{}"}"#],
    ["S", "x-echo: {}", ""],
    ["S", "location: http://other.invalid/{}", ""],
    ["S", "retry-after: {}", ""],
    ["{}", "connection: close", ""],
    // The body breaks off, or is in no chunk; and a response that is not HTTP.
    ["S", "content-length: 100000", "{}"],
    ["S", "transfer-encoding: chunked", "{}\r\n"],
    ["", "{}", ""],
];

const PROBLEM: &str = "content-type: application/problem+json";

/// Returns the response that repeats `echo` there.
fn answer(place: [&str; 3], status: u16, echo: &str) -> String {
    let [rest, header, body] = place.map(|part| part.replace("{}", echo));
    if rest.is_empty() {
        return format!("{header}\r\n\r\n");
    }
    let length = match header.as_str() {
        "content-length: 100000" | "transfer-encoding: chunked" => String::new(),
        _ => format!("connection: close\r\ncontent-length: {}\r\n", body.len()),
    };
    format!("HTTP/1.1 {status} {rest}\r\n{length}{header}\r\n\r\n{body}")
}

/// A response that repeats a secret.
#[derive(Debug, Clone)]
struct Echo {
    /// The index of the secret.
    which: usize,
    form: EchoEncoding,
    place: [&'static str; 3],
    status: u16,
    junk: String,
    is_post: bool,
}

fn echo() -> impl Strategy<Value = Echo> {
    use EchoEncoding::*;
    let form = prop::sample::select(vec![Plain, Json, Ascii, Escaped, Slashed]);
    let status = prop::sample::select(vec![200, 302, 400, 401, 403, 404, 409, 422, 429, 500, 503]);
    let place = prop::sample::select(PLACES.to_vec());
    (0..9_usize, form, place, status, junk(), any::<bool>()).prop_map(
        |(which, form, place, status, junk, is_post)| Echo { which, form, place, status, junk, is_post },
    )
}

impl Echo {
    fn bytes(&self, sent: &SentSecrets) -> Vec<u8> {
        let secret = &sent.secrets()[self.which].concat();
        let in_head = !self.place[2].contains("{}");
        // No encoder writes every character of an address as a code.
        let is_encoded = self.which == IN_FORM && matches!(self.form, EchoEncoding::Escaped);
        let is_unsafe = in_head && !self.form.is_header_safe(secret);
        let form = if is_encoded || is_unsafe { EchoEncoding::Ascii } else { self.form };
        answer(self.place, self.status, &format!("{0}{1}{0}", self.junk, form.encode(secret))).into()
    }
}

/// Returns the callers' errors and every line of the journal.
async fn outcomes(
    sent: &SentSecrets,
    parts: &ForbiddenParts,
    echoes: &[Echo],
) -> (Vec<Option<Error>>, Vec<String>) {
    let transport = |echo: &Echo| vec![Receive, ServerStep::Send(echo.bytes(sent)), Close];
    let server = ScriptedServer::start(echoes.iter().map(transport).collect::<Vec<_>>()).await;
    let mut settings = HttpSettings::new(server.url());
    settings.credentials = Credentials::fixed(&sent.token);
    settings.headers.insert("x-configured", sent.configured.parse().unwrap());
    parts.assert_absent(&format!("{settings:?}"));
    let (runtime, queue, _) = start_over_http(&settings, policy().retry.delay).await;
    let mut records = runtime.journal().subscribe_after(Cursor::START);

    let mut errors = Vec::new();
    for echo in echoes {
        let method = if echo.is_post { Method::POST } else { Method::GET };
        let request = Request::builder(method, sent.path())
            .header("x-own", &sent.header)
            .header("cookie", &format!("sid={}", sent.cookie))
            .idempotency_key(&sent.key)
            .json(&serde_json::json!({ "user": "somebody", "password": sent.password }))
            .retries(0)
            .build()
            .unwrap();
        parts.assert_absent(&format!("{request:?}"));
        errors.push(match queue.request(request).await {
            Ok(response) => {
                parts.assert_absent(&format!("{response:?}"));
                response.json::<u8>().err()
            }
            Err(error) => Some(error),
        });
    }
    runtime.shutdown().await;
    let mut lines = Vec::new();
    while let Some(Delivery::Event(record)) = records.try_next().await {
        lines.push(serde_json::to_string(&*record).unwrap());
    }
    (errors, lines)
}

/// The parts of the secrets that may stand nowhere, by their first bytes: to seek each of them in each text takes minutes.
struct ForbiddenParts(HashMap<[u8; WINDOW_CHARS], Vec<String>>);

impl ForbiddenParts {
    fn new(sent: &SentSecrets) -> Self {
        let mut parts: HashMap<_, Vec<String>> = HashMap::new();
        for part in sent.secrets().iter().flat_map(|secret| secret.windows(WINDOW_CHARS).map(<[_]>::concat)) {
            let first = *part.as_bytes().first_chunk().unwrap();
            parts.entry(first).or_default().push(part);
        }
        Self(parts)
    }

    /// Asserts that the text holds no secret and no long part of one.
    fn assert_absent(&self, text: &str) {
        let bytes = text.as_bytes();
        for (at, first) in bytes.windows(WINDOW_CHARS).enumerate() {
            for part in self.0.get(first).into_iter().flatten() {
                assert!(!bytes[at..].starts_with(part.as_bytes()), "{part:?} stands in {text:?}");
            }
        }
    }
}

#[test]
fn forbidden_part_is_found_in_any_place() {
    let secret = "secret-ä%20b".to_owned();
    let parts = ForbiddenParts::new(&SentSecrets {
        token: secret.clone(),
        configured: secret.clone(),
        header: secret.clone(),
        key: secret.clone(),
        cookie: secret.clone(),
        asked: secret.clone(),
        password: secret,
    });
    parts.assert_absent("secret- ecret-x");
    for text in ["a secret-ä", "cret-ä%2", "{ret-ä%20b}", "secret%2D%C3%A4%2520b"] {
        let found = std::panic::catch_unwind(|| parts.assert_absent(text));
        assert!(found.is_err(), "{text}");
    }
}

#[test]
fn secret_across_the_cut_of_a_path_is_redacted() {
    let secrets = || Secrets::from_texts(["s3cret-t0ken".to_owned()]);
    for before in 150..210 {
        let path = format!("/{}s3cret-t0ken/{}", "x".repeat(before), "y".repeat(100));
        let request = Request::get(path).build().unwrap();
        let path = RequestRef::new(RequestId(1), &request, secrets).path;
        assert!(!path.contains("s3c"), "{before}: {path}");
        assert!(path.chars().count() <= 201, "{path}");
    }
    let short = Request::get("/short").build().unwrap();
    assert_eq!(RequestRef::new(RequestId(1), &short, || panic!("no cut")).path, "/short");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn backend_echoes_of_secrets_are_redacted_everywhere(
        sent in sent(),
        echoes in prop::collection::vec(echo(), 1..24),
    ) {
        let parts = ForbiddenParts::new(&sent);
        let (errors, lines) = block_on(outcomes(&sent, &parts, &echoes));
        for queue in &lines {
            parts.assert_absent(queue);
        }
        prop_assert!(lines.len() > echoes.len());
        for error in errors.into_iter().flatten() {
            parts.assert_absent(error.details.as_deref().unwrap_or_default());
            parts.assert_absent(&error.to_string());
            parts.assert_absent(&format!("{error:?}"));
            parts.assert_absent(&serde_json::to_string(&error).unwrap());
            let is_plain = !error.message.contains('/') && !error.message.contains("127.0.0.1");
            prop_assert!(is_plain, "{}", error.message);
            prop_assert!(error.details.is_none_or(|details| details.chars().count() <= 1010));
        }
    }

    /// Tests that any bytes give an error, and never a panic or a text unfit for people.
    #[test]
    fn junk_response_gives_a_helpful_error(
        answers in prop::collection::vec((junk_bytes(), 400..600_u16), 1..24),
        kind in prop::sample::select(vec!["application/problem+json", "application/json", "text/html"]),
    ) {
        let with_head = |(junk, status): &(Vec<u8>, u16)| {
            let head = format!("HTTP/1.1 {status} S\r\nconnection: close\r\ncontent-type: {kind}\r\n");
            let head = format!("{head}content-length: {}\r\n\r\n", junk.len());
            [head.as_bytes(), junk].concat()
        };
        let alone = answers.iter().map(|(junk, _)| junk.clone());
        let answers: Vec<_> = answers.iter().map(with_head).chain(alone).collect();
        for error in block_on(failures(answers)) {
            // A plain text of the backend is shown as it is; the rest is ours.
            if error.message == error.reason.message() {
                assert_message_helps(&error.message);
            }
            let details = error.log_text();
            prop_assert!(!details.contains(char::is_control), "{}", details);
            prop_assert!(details.chars().count() <= 1010, "{}", details);
        }
    }
}

fn junk_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..600)
}

/// Returns the result of one request for each of these responses.
async fn failures(answers: Vec<Vec<u8>>) -> Vec<Error> {
    let count = answers.len();
    let transport = |answer| vec![Receive, ServerStep::Send(answer), Close];
    let server = ScriptedServer::start(answers.into_iter().map(transport).collect::<Vec<_>>()).await;
    let (_runtime, queue, _) = start_over_http(&HttpSettings::new(server.url()), policy().retry.delay).await;
    let mut errors = Vec::new();
    for _ in 0..count {
        // With its key the request may be repeated, but not by the transport itself.
        let request = Request::post("/thing").idempotency_key("key").retries(0).build().unwrap();
        errors.push(queue.request(request).await.unwrap_err());
    }
    errors
}
