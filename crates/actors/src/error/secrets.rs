//! Redacts what we send: tokens, values of headers, queries, and secrets of a program's environment.
//!
//! A backend may repeat them in a body, a problem document, a header or a close reason, and a program on its stderr.
//! Both may also name addresses with secrets of their own. Code that makes an error from such text redacts it first
//! ([`Error::redacted`](super::Error::redacted)).

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use mainstay_runtime::journal::{KnownSecrets, Redaction};
use percent_encoding::percent_decode_str;
use serde_json::Number;
use serde_json::value::RawValue;

use super::{safe_text::printable, url_redaction::secret_ranges};
use crate::json::{Members, parse_json};
use crate::json_text::DEPTH_MAX;

/// The shortest value that is redacted. Shorter ones are no secrets, and would be found in every text.
const VALUE_CHARS_MIN: usize = 4;

/// The same for an environment, where many a short value under a sensitive name is a switch: `true`, `none`.
const VARIABLE_CHARS_MIN: usize = 6;

/// The largest body that is searched for secrets, and the most values that are taken from it.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_VALUES_MAX: usize = 64;

/// Returns whether this name, of a header, a variable or a member in JSON, marks its value as a secret.
///
/// `password`, `passphrase`, `passwd`, `secret`, `credential`, `cookie`, `authorization` and `authentication` count
/// anywhere. `key`, `token`, `auth` and `pwd`, or their plurals, count at the end of a word: in `apikey`, `keyId` and
/// `X-Auth-Tokens`, and not in `keywords` or `author`.
#[must_use]
pub fn is_sensitive_name(name: &str) -> bool {
    const ANYWHERE: [&str; 8] = [
        "password",
        "passphrase",
        "passwd",
        "secret",
        "credential",
        "cookie",
        "authorization",
        "authentication",
    ];
    const AT_WORD_END: [&str; 4] = ["key", "token", "auth", "pwd"];
    let lower = name.to_ascii_lowercase();
    let ends_a_word =
        |part: &&str| lower.match_indices(part).any(|(at, _)| is_word_end(name, at + part.len()));
    ANYWHERE.iter().any(|part| lower.contains(part)) || AT_WORD_END.iter().any(ends_a_word)
}

/// Returns whether a word of the name, or its singular, ends at this place.
fn is_word_end(name: &str, at: usize) -> bool {
    let (word, rest) = name.split_at(at);
    let is_lower = word.ends_with(|c: char| c.is_lowercase());
    let begins_a_word =
        |rest: &str| !rest.starts_with(|c: char| c.is_alphabetic() && !(is_lower && c.is_uppercase()));
    begins_a_word(rest) || rest.strip_prefix(['s', 'S']).is_some_and(begins_a_word)
}

/// The secrets that one request, socket or process knows. Cheap to clone if there are none.
#[derive(Clone, Default)]
pub struct Secrets {
    known: Arc<[String]>,
    headers: HeaderMap,
    query: Option<Box<str>>,
    body: Option<Bytes>,
    /// The secrets of the whole runtime, which may grow.
    shared: Option<KnownSecrets>,
    /// Built when it is first needed, as most requests need none. Every addition makes it invalid.
    redaction: OnceLock<Redaction>,
}

impl Secrets {
    /// Creates the set of these texts; an empty one is ignored.
    #[must_use]
    pub(crate) fn from_texts(texts: impl IntoIterator<Item = String>) -> Self {
        Self { known: texts.into_iter().collect(), ..Self::default() }
    }

    /// Adds the secrets of the whole runtime: those known by now, and those to come.
    #[must_use]
    pub fn with_shared(mut self, shared: &KnownSecrets) -> Self {
        self.shared = Some(shared.clone());
        self
    }

    /// Adds the values of `headers`, and for credentials and cookies their parts as well. Values of fewer than four
    /// characters are left out.
    #[must_use]
    pub(crate) fn with_headers(mut self, headers: &HeaderMap) -> Self {
        self.redaction.take();
        if self.headers.is_empty() {
            headers.clone_into(&mut self.headers);
            return self;
        }
        headers.iter().fold(self, |secrets, (name, value)| secrets.with_header(name, value))
    }

    /// Adds one header's value, as `with_headers` does.
    #[must_use]
    pub fn with_header(mut self, name: &HeaderName, value: &HeaderValue) -> Self {
        self.redaction.take();
        // Appending fails only for a map that is larger than any request's.
        let _ = self.headers.try_append(name, value.clone());
        self
    }

    /// Adds a query: the whole, each of its pairs and each of their values, as written or decoded. Values of fewer
    /// than four characters count only together with their name.
    #[must_use]
    pub(crate) fn with_query(mut self, query: Option<&str>) -> Self {
        self.redaction.take();
        self.query = query.map(Box::from);
        self
    }

    /// Adds the values of a JSON body that stand under sensitive names ([`is_sensitive_name`]).
    ///
    /// Other values stay, because a backend that names the one it rejects helps. Left out are values of fewer than
    /// four characters, those after the first 64, and bodies of more than 64 KiB. Of long values, or of many, only the
    /// beginnings are searched, and a text is withheld from there on ([`Redaction::new`]).
    #[must_use]
    pub fn with_body(mut self, body: Option<&Bytes>) -> Self {
        self.redaction.take();
        self.body = body.filter(|body| body.len() <= BODY_BYTES_MAX).cloned();
        self
    }

    /// Adds the values of an environment under sensitive names ([`is_sensitive_name`]), whole and by line. Passwords
    /// and queries of addresses in any variable count as well. Values of fewer than six characters are left out.
    #[must_use]
    pub(crate) fn with_environment(mut self, variables: &BTreeMap<String, String>) -> Self {
        let is_long_enough = |text: &String| text.chars().count() >= VARIABLE_CHARS_MIN;
        let found = variables.iter().flat_map(|(name, value)| variable_secrets(name, value));
        let known: Vec<String> = found.filter(is_long_enough).collect();
        if !known.is_empty() {
            self.redaction.take();
            self.known = self.known.iter().cloned().chain(known).collect();
        }
        self
    }

    /// Collects the texts and builds their redaction once, so that many clones are cheap.
    #[must_use]
    pub(crate) fn materialize(self) -> Self {
        let built = Self { shared: self.shared.clone(), ..Self::from_texts(self.values()) };
        built.redaction();
        built
    }

    /// Returns the text with each secret replaced, in each of the forms that [`Redaction`] knows.
    ///
    /// The beginning of a secret that was cut off is replaced as well, and so are the users, passwords and queries of
    /// all addresses.
    #[must_use]
    pub(crate) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut ranges = secret_ranges(text);
        let shared = self.shared.as_ref().map(KnownSecrets::redaction);
        for redaction in [Some(self.redaction()), shared.as_ref()].into_iter().flatten() {
            ranges.extend(redaction.secret_ranges(text));
            ranges.extend(redaction.cut_off_ranges(text));
        }
        Redaction::redact_ranges(text, ranges)
    }

    fn redaction(&self) -> &Redaction {
        self.redaction.get_or_init(|| Redaction::new(&self.values()))
    }

    /// Returns whether the text contains a secret.
    #[must_use]
    pub(crate) fn contains_secret(&self, text: &str) -> bool {
        matches!(self.redact(text), Cow::Owned(_))
    }

    fn values(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.known.iter().filter(|text| !text.is_empty()).cloned().collect();
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            if is_credential(name) {
                texts.extend(credential_parts(&value).filter(is_long_enough).map(str::to_owned));
            }
            texts.extend(Some(value.into_owned()).filter(|value| is_long_enough(&value.as_str())));
        }
        if let Some(query) = self.query.as_deref() {
            texts.extend(query_secrets(query).map(str::to_owned));
        }
        if let Some(Ok(body)) = self.body.as_deref().map(parse_json::<&RawValue>) {
            let mut found = Vec::new();
            collect_sensitive(body, false, 0, &mut found);
            texts.extend(found);
        }
        // A backend may have decoded what it read, and a text that is shown has no control characters.
        let decoded: Vec<String> =
            texts.iter().flat_map(|text| percent_decoded(text).chain(json_decoded(text))).collect();
        let mut texts: BTreeSet<String> = texts.into_iter().chain(decoded).collect();
        let shown: Vec<String> = texts.iter().map(|text| text.chars().map(printable).collect()).collect();
        texts.extend(shown);
        texts.into_iter().collect()
    }
}

/// Returns the text for which this one stands in JSON, as a reader takes it that a backend repeats there as it is.
fn json_decoded(text: &str) -> Option<String> {
    let decoded = text.contains('\\').then(|| serde_json::from_str(&format!("\"{text}\"")))?;
    decoded.ok()
}

/// Returns the texts for which this one may stand in an address; none without codes.
fn percent_decoded(text: &str) -> impl Iterator<Item = String> {
    let spaced = text.contains('+').then(|| text.replace('+', " "));
    let texts = [text.contains('%').then(|| text.to_owned()), spaced];
    texts
        .into_iter()
        .flatten()
        .filter_map(|text| Some(percent_decode_str(&text).decode_utf8().ok()?.into_owned()))
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

fn is_long_enough(value: &&str) -> bool {
    value.chars().count() >= VALUE_CHARS_MIN
}

/// Returns whether the header's value consists of parts that are secrets by themselves.
pub(crate) fn is_credential(name: &HeaderName) -> bool {
    [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE].contains(name)
}

/// Collects the JSON values that stand under sensitive names, from the parts that are not nested too deeply.
fn collect_sensitive(value: &RawValue, is_secret: bool, depth: usize, found: &mut Vec<String>) {
    let text = value.get();
    match text.as_bytes().first() {
        _ if depth > DEPTH_MAX => {}
        Some(b'{') => {
            let members = Members::parse(text).ok();
            for (name, value) in members.iter().flat_map(Members::iter) {
                collect_sensitive(value, is_secret || is_sensitive_name(name), depth + 1, found);
            }
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            values.into_iter().for_each(|value| collect_sensitive(value, is_secret, depth + 1, found));
        }
        Some(b't' | b'f' | b'n') => {}
        _ if is_secret && found.len() < BODY_VALUES_MAX => {
            let as_written = serde_json::from_str(text).unwrap_or_else(|_| text.to_owned());
            // A backend may repeat a number as it reads it.
            let as_read = serde_json::from_str::<Number>(text).ok().map(|number| number.to_string());
            let texts = std::iter::once(as_written).chain(as_read.filter(|number| number != text));
            found.extend(texts.filter(|text| is_long_enough(&text.as_str())));
        }
        _ => {}
    }
}

/// Returns the credentials without their scheme, and the cookies without their names.
fn credential_parts(value: &str) -> impl Iterator<Item = &str> {
    let without_scheme = value.split_once(' ').map_or(value, |(_, rest)| rest);
    let cookies = value.split("; ").filter_map(|cookie| Some(cookie.split_once('=')?.1));
    std::iter::once(without_scheme).chain(cookies)
}

/// Returns the secrets in a variable of an environment.
fn variable_secrets(name: &str, value: &str) -> Vec<String> {
    let mut texts: Vec<String> = secret_ranges(value)
        .into_iter()
        .flat_map(|range| {
            let part = &value[range];
            let password = part.split_once(':').map(|(_, password)| password);
            query_secrets(part).chain(password).collect::<Vec<_>>()
        })
        .map(str::to_owned)
        .collect();
    if is_sensitive_name(name) {
        texts.extend(value.lines().map(|line| line.trim().to_owned()));
        texts.push(value.to_owned());
    }
    texts
}

/// Returns the query, its pairs and their values.
fn query_secrets(query: &str) -> impl Iterator<Item = &str> {
    let of_pair = |pair| match str::split_once(pair, '=') {
        // A name alone or a short value gives little away; the two together do.
        Some((_, "")) => [None, None],
        Some((_, value)) => [Some(value), Some(pair)],
        None => [Some(pair), None],
    };
    let texts = std::iter::once(query).chain(query.split('&').flat_map(of_pair).flatten());
    texts.filter(|text| text.contains('=') || is_long_enough(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> Secrets {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        Secrets::default().with_headers(&headers.collect())
    }

    #[test]
    fn token_is_redacted_with_and_without_its_scheme() {
        let secrets = headers(&[(header::AUTHORIZATION, "Bearer s3cr/t==")]);
        assert_eq!(secrets.redact("got 'Bearer s3cr/t=='"), "got '[redacted]'");
        assert_eq!(secrets.redact("bearer s3cr/t== is old"), "bearer [redacted] is old");
        assert_eq!(secrets.redact(r#"{"t":"s3cr\/t=="}"#), r#"{"t":"[redacted]"}"#);
        assert_eq!(secrets.redact(r#"{"t":"s3cr/t\u003d\u003d"}"#), r#"{"t":"[redacted]"}"#);
        assert_eq!(secrets.redact("a bearer is missing"), "a bearer is missing");
    }

    #[test]
    fn header_and_cookie_values_are_redacted_unless_short() {
        let own = HeaderName::from_static("x-own");
        let secrets = headers(&[(header::COOKIE, "sid=abcd; lang=de"), (own.clone(), "value"), (own, "1")]);
        assert_eq!(secrets.redact("abcd de value 1"), "[redacted] de [redacted] 1");
        // A backend that repeats it in JSON without escapes changes it.
        let secrets = headers(&[(HeaderName::from_static("x-own"), r"pass\/word")]);
        assert_eq!(secrets.redact("pass/word"), "[redacted]");
    }

    #[test]
    fn query_is_redacted_whole_by_pair_by_value_and_decoded() {
        let secrets = Secrets::default().with_query(Some("q=my+caf%C3%A9&n=1&empty=&flag"));
        for text in [
            "q=my+caf%C3%A9&n=1&empty=&flag",
            "q=my+caf%C3%A9",
            "my caf\u{e9}",
            "my+caf\u{e9}",
            "my%20caf%c3%a9",
            r"my+caf\u00e9",
            "my+caf%C3%A9",
            "n=1",
            "flag",
        ] {
            assert_eq!(secrets.redact(&format!("<{text}>")), "<[redacted]>", "{text}");
        }
        assert_eq!(secrets.redact("n is 1, empty is not"), "n is 1, empty is not");
    }

    #[test]
    fn json_body_redacts_sensitive_names_only() {
        let body =
            br#"{"name":"project","login":{"Password":"hunter22","pin_token":[4711,"a\"b/c"],"auth":"abc"}}"#;
        let secrets = Secrets::default().with_body(Some(&Bytes::from_static(body)));
        let text = r#"project hunter22 4711 abc {"input":"a\"b\/c"}"#;
        assert_eq!(secrets.redact(text), r#"project [redacted] [redacted] abc {"input":"[redacted]"}"#);
        for other in ["hunter22", "[\"hunter22\"]", "{\"password\":"] {
            let secrets = Secrets::default().with_body(Some(&Bytes::from(other.to_owned())));
            assert_eq!(secrets.redact("hunter22"), "hunter22", "{other}");
        }
        let numbers = br#"{"pin":{"key":[12345678901234567890123,1E9999,1e4]},"n":77777}"#;
        let secrets = Secrets::default().with_body(Some(&Bytes::from_static(numbers)));
        let text = "12345678901234567890123 1E9999 10000.0 77777";
        assert_eq!(secrets.redact(text), "[redacted] [redacted] [redacted] 77777");
        let large = format!("{{\"password\":\"hunter22\",\"x\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX));
        assert_eq!(Secrets::default().with_body(Some(&large.into())).redact("hunter22"), "hunter22");
    }

    #[test]
    fn sensitive_name_has_a_whole_word() {
        for name in [
            "key",
            "api_key",
            "apiKey",
            "APIKey",
            "apikey",
            "X-Api-Key",
            "keyId",
            "KEY2",
            "private.keys",
            "access_token",
            "accessToken",
            "tokens",
            "tokenValue",
            "tokenSecret",
            "TOKENS_OLD",
            "auth",
            "oauth2",
            "X-Auth-User",
            "Authorization",
            "Proxy-Authorization",
            "authentication",
            "PGPASSWORD",
            "passwordHash",
            "MYSQL_PWD",
            "passwd",
            "passphrase",
            "client_secret",
            "Set-Cookie",
            "credentials",
        ] {
            assert!(is_sensitive_name(name), "{name}");
        }
        for name in [
            "keywords",
            "KEYWORDS",
            "keyboard",
            "author",
            "authors",
            "Author-Name",
            "authority",
            "tokenizer",
            "tokenized_text",
            "content",
            "",
            "é",
        ] {
            assert!(!is_sensitive_name(name), "{name}");
        }
    }

    #[test]
    fn large_json_value_is_redacted_under_a_sensitive_name_only() {
        let value = "some prose & more ".repeat(3_300);
        for (name, shown) in [("keywords", format!("got {value}")), ("api_key", "got [redacted]".to_owned())]
        {
            let body = serde_json::json!({ (name): value }).to_string();
            let secrets = Secrets::default().with_body(Some(&body.into()));
            assert_eq!(secrets.redact(&format!("got {value}")), shown, "{name}");
        }
    }

    #[test]
    fn truncated_secret_is_redacted() {
        let secrets = Secrets::from_texts(["s3cret-t0ken".to_owned()]);
        assert_eq!(secrets.redact("it was s3cret-t…"), "it was [redacted]…");
        assert_eq!(secrets.redact("it was s3cret-t0ken…: more"), "it was [redacted]…: more");
        assert_eq!(secrets.redact("it was s3c…"), "it was s3c…", "that gives nothing away");
        assert_eq!(secrets.redact("it was s3cret-t"), "it was [redacted]", "its author cut it");
        assert_eq!(secrets.redact("it was s3cret-t, or not"), "it was s3cret-t, or not", "that is no cut");
    }

    #[test]
    fn environment_redacts_sensitive_names_and_url_passwords() {
        let variables = [
            ("MODEL", "large-one"),
            ("Acme_Api_Key", "sk-4711-x"),
            ("USE_TOKENS", "true"),
            ("PRIVATE_KEY", "-- begin --\nabc/def+ghi\n-- end --"),
            ("DATABASE", "db://me:s3same@host/db?cert=a-long-one"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secrets = Secrets::from_texts(["known".to_owned()]).with_environment(&variables.into());
        for (text, shown) in [
            ("large-one known true", "large-one [redacted] true"),
            ("bad key 'sk-4711-x'", "bad key '[redacted]'"),
            ("bad key sk-471…", "bad key [redacted]…"),
            (r#"{"key":"abc\/def+ghi"}"#, r#"{"key":"[redacted]"}"#),
            ("read abc/def+ghi | next", "read [redacted] | next"),
            ("s3same is wrong for me, a-long-one is old", "[redacted] is wrong for me, [redacted] is old"),
        ] {
            assert_eq!(secrets.redact(text), shown);
        }
    }

    #[test]
    fn secret_added_later_is_redacted() {
        let first = Secrets::from_texts(["first-one".to_owned()]);
        assert_eq!(first.redact("first-one s3cond"), "[redacted] s3cond");
        let name = HeaderName::from_static("x-own");
        let value = HeaderValue::from_static("s3cond");
        let variables = BTreeMap::from([("TOKEN".to_owned(), "s3cond".to_owned())]);
        let body = Bytes::from_static(br#"{"token":"s3cond"}"#);
        for both in [
            first.clone().with_header(&name, &value),
            first.clone().with_headers(&HeaderMap::from_iter([(name, value)])),
            first.clone().with_query(Some("s3cond")),
            first.clone().with_body(Some(&body)),
            first.clone().with_environment(&variables),
        ] {
            assert_eq!(both.redact("first-one s3cond"), "[redacted] [redacted]");
        }
        assert_eq!(first.redact("s3cond"), "s3cond");
    }

    #[test]
    fn unknown_url_credentials_and_queries_are_redacted() {
        for (text, shown) in [
            ("get https://me:pass@host/a?b=c failed", "get https://[redacted]@host/a?[redacted] failed"),
            (r#"{"u":"https:\/\/me:pass@host"}"#, r#"{"u":"https:\/\/[redacted]@host"}"#),
            ("next=https%3A%2F%2Fme%3Apass%40host", "next=https%3A%2F%2F[redacted]%40host"),
            ("get http://localhost:8000/a failed", "get http://localhost:8000/a failed"),
        ] {
            assert_eq!(Secrets::default().redact(text), shown);
        }
    }

    #[test]
    fn text_without_secrets_stays_and_debug_shows_none() {
        assert_eq!(Secrets::default().redact("anything…"), "anything…");
        assert_eq!(Secrets::from_texts([String::new()]).redact("anything"), "anything");
        let secrets = Secrets::from_texts(["s3cret".to_owned()]).with_query(Some("q=s3cret"));
        assert!(!format!("{secrets:?}").contains("s3cret"));
    }
}
