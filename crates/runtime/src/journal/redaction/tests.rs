use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn redaction(secrets: &[&str]) -> Redaction {
    Redaction::new(&secrets.iter().map(|secret| (*secret).to_owned()).collect::<Vec<_>>())
}

/// Returns `value` as it reads without the secrets.
fn clean(secrets: &[&str], value: &Value) -> Value {
    serde_json::from_str(&redaction(secrets).redact_json(&value.to_string())).unwrap()
}

#[test]
fn secret_in_json_is_replaced_and_syntax_is_not() {
    for (secrets, value, expected) in [
        (
            &["s3cret"][..],
            json!({"a": "s3cret", "b": ["x s3cret y", {"c": "s3crets3cret"}], "key s3cret": null}),
            json!({"a": "[redacted]", "b": ["x [redacted] y", {"c": "[redacted][redacted]"}], "key [redacted]": null}),
        ),
        (
            &["4711"],
            json!({"pin": 94711, "negative": -4711.5, "list": [4711, 471, 1e300], "other": 12}),
            json!({"pin": "[redacted]", "negative": "[redacted]", "list": ["[redacted]", 471, 1e300], "other": 12}),
        ),
        (
            &["null", "true", "{", "},", "\":", ","],
            json!({"null": null, "on": true, "off": false, "deep": [[], {}]}),
            json!({"[redacted]": null, "on": true, "off": false, "deep": [[], {}]}),
        ),
    ] {
        assert_eq!(clean(secrets, &value), expected, "{secrets:?}");
    }
}

#[test]
fn secrets_that_meet_are_fully_redacted() {
    for (name, secrets, text, expected) in [
        ("one holds the other", &["token", "token-long"][..], "a token-long b", "a [redacted] b"),
        ("the other holds the one", &["token-long", "token"], "a token-long b", "a [redacted] b"),
        ("each holds an end of the other", &["abcd", "cdef"], "xabcdefx", "x[redacted]x"),
        ("it overlaps itself", &["aba"], "xababax", "x[redacted]x"),
        ("one follows the other", &["abcd", "efgh"], "abcdefgh", "[redacted][redacted]"),
        ("its escaped form holds it", &["\\"], r"x \\ y \ z", "x [redacted] y [redacted] z"),
        ("its encoded form holds it", &["%2F%2F"], "x %252F%252F y", "x [redacted] y"),
        ("the replacement holds one", &["act", "pass"], "pass", "[redacted]"),
    ] {
        assert_eq!(redaction(secrets).redact(text), expected, "{name}");
    }
}

#[test]
fn json_escaped_secret_is_replaced() {
    for secret in
        ["to\"ken", "to\\ken", "\"", "\\", "ends in \\", "ends in \"", "line\nbreak", "\u{1}", "tökén", "🗝"]
    {
        let value = json!({ "text": format!("before {secret} after"), (secret): secret });
        let expected = json!({ "text": "before [redacted] after", "[redacted]": "[redacted]" });
        assert_eq!(clean(&[secret], &value), expected, "{secret:?}");
    }
}

#[test]
fn similar_text_is_not_replaced() {
    // In its escaped form, each of these texts holds its secret.
    for (secret, text) in
        [("nab", "\nab"), ("u0001", "\u{1}"), ("\"", "\\"), ("\\n", "\n"), ("text", "\text")]
    {
        let value = json!({ "value": text });
        assert_eq!(clean(&[secret], &value), value, "{secret:?} in {text:?}");
    }
}

#[test]
fn secret_behind_needless_escape_is_replaced() {
    let clean = redaction(&["a/b"]).redact_json(r#"{"text":"\u0061\/b"}"#).into_owned();
    assert_eq!(clean, r#"{"text":"[redacted]"}"#);
}

#[test]
fn overlapping_ranges_are_redacted_once() {
    assert_eq!(
        Redaction::redact_ranges("0123456789", vec![5..7, 1..3, 6..9, 2..4]),
        "0[redacted]4[redacted]9"
    );
    assert_eq!(Redaction::redact_ranges("0123", Vec::new()), "0123");
}

#[test]
fn encoded_secret_is_redacted() {
    let redaction = redaction(&["tök n/1+\"=="]);
    for form in [
        "tök n/1+\"==",
        r#"tök n/1+\"=="#,
        r#"t\u00f6k n\/1+\"=="#,
        r"t\u00F6k n/1\u002B\u0022==",
        r#"tök n/1+\"\u003d\u003d"#,
        "t%C3%B6k%20n%2F1%2B%22%3D%3D",
        "t%c3%b6k%20n%2f1%2b%22%3d%3d",
        "t%C3%B6k+n%2F1%2B%22%3D%3D",
        "t%C3%B6k%20n/1+%22==",
        r"t%C3%B6k%20n\/1+%22==",
    ] {
        assert_eq!(redaction.redact(&format!("<{form}>")), "<[redacted]>", "{form}");
    }
}

#[test]
fn cut_off_secret_is_found_in_any_form() {
    let redaction = redaction(&["s3cret/t0ken"]);
    let cut = |text: &str| Redaction::redact_ranges(text, redaction.cut_off_ranges(text)).into_owned();
    for (text, shown) in [
        ("it was s3cret/t…", "it was [redacted]…"),
        ("it was s3cret/t…: more", "it was [redacted]…: more"),
        ("it was s3cret/t", "it was [redacted]"),
        (r"it was s3cret\…", "it was [redacted]…"),
        ("it was s3cret%2…", "it was [redacted]…"),
        ("it was s3c…", "it was s3c…"),
        ("it was s3cret/t, or not", "it was s3cret/t, or not"),
    ] {
        assert_eq!(cut(text), shown);
    }
}

#[test]
fn many_long_secrets_are_searched_in_one_pass() {
    let secrets: Vec<String> = (0..40).map(|n| format!("{n:03}/{}", "k+y".repeat(20))).collect();
    let redaction = Redaction::new(&secrets);
    let text = secrets.iter().map(|secret| format!("{secret} then ")).collect::<String>().repeat(10);
    let clean = redaction.redact(&text).into_owned();
    assert_eq!(clean, "[redacted] then ".repeat(400));
}

/// Returns the bytes of the redaction's patterns and those of its automaton.
fn sizes(redaction: &Redaction) -> (usize, usize) {
    let automaton = match &redaction.matcher {
        Matcher::Patterns(automaton) => automaton.memory_usage(),
        Matcher::Nothing | Matcher::Everything => 0,
    };
    (redaction.patterns.iter().map(|pattern| pattern.text.len()).sum(), automaton)
}

fn prose(bytes: usize) -> String {
    let text: String = (0..).map(|n| format!("{n} \"ways\" to/from é & <b>; ")).take(bytes / 20).collect();
    cut_to_bytes(&text, bytes).to_owned()
}

#[test]
fn patterns_of_large_secrets_are_bounded() {
    let numbered = |n: usize, bytes| format!("{n}{}", prose(bytes));
    for secrets in [
        vec![prose(60_000)],
        vec!["é🗝".repeat(10_000)],
        (0..64).map(|n| numbered(n, 900)).collect(),
        (0..10_000).map(|n| numbered(n, 6)).collect(),
        (0..1000).map(|n| "a".repeat(n)).collect(),
    ] {
        let (patterns, automaton) = sizes(&Redaction::new(&secrets));
        assert!(patterns <= PATTERN_BYTES_MAX, "{patterns}");
        assert!(automaton <= 16 * PATTERN_BYTES_MAX, "{automaton} for {patterns}");
    }
}

#[test]
fn large_secret_is_redacted_in_every_form() {
    let secret = prose(60_000);
    let redaction = redaction(&[&secret, "short/one"]);
    for form in encodings::encoded_forms(&secret) {
        assert_eq!(redaction.redact(&format!("short/one, {form} end")), "[redacted], [redacted]");
        let text = format!("got {}…", cut_to_bytes(&form, 600));
        let shown = Redaction::redact_ranges(&text, redaction.cut_off_ranges(&text)).into_owned();
        assert_eq!(shown, "got [redacted]…", "{form:.100}");
    }
    let value = json!({ "a": format!("x {secret}"), "b": "kept", "c": 1 });
    assert_eq!(clean(&[&secret], &value), json!({ "a": "x [redacted]", "b": "kept", "c": 1 }));
}

#[test]
fn many_secrets_are_searched_by_shorter_beginnings() {
    let secrets: Vec<String> = (0..64).map(|n| format!("{n:02}{}", prose(900))).collect();
    let redaction = Redaction::new(&secrets);
    assert!(matches!(redaction.matcher, Matcher::Patterns(_)));
    for secret in &secrets {
        assert_eq!(redaction.redact(&format!("of {secret} end")), "of [redacted]");
    }
    assert_eq!(redaction.redact("other text"), "other text");
}

#[test]
fn secrets_beyond_the_limit_withhold_every_text() {
    let secrets: Vec<String> = (0..10_000).map(|n| format!("secret/{n}")).collect();
    let redaction = Redaction::new(&secrets);
    assert_eq!(redaction.redact("harmless"), "[redacted]");
    let json = redaction.redact_json(r#"{"a":["harmless",1],"b":true}"#).into_owned();
    assert_eq!(json, r#"{"[redacted]":["[redacted]","[redacted]"],"[redacted]":true}"#);
}

#[test]
fn text_without_secrets_is_borrowed() {
    for secrets in [&[][..], &[""], &["absent"]] {
        let json = r#"{"text":"a \"quoted\" \\ text","n":1}"#;
        assert_eq!(redaction(secrets).redact_json(json), json);
    }
}

/// Generates texts of few characters, so that secrets often occur, of all the kinds that JSON treats differently.
fn text() -> impl Strategy<Value = String> {
    let char =
        prop::sample::select(vec!['a', 'b', 'n', 'u', '0', '1', '"', '\\', '/', '\n', '\u{1}', 'ö', '🗝']);
    prop::collection::vec(char, 0..12).prop_map(|chars| chars.into_iter().collect())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![text().prop_map(Value::from), any::<i32>().prop_map(Value::from), Just(Value::Null)];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn collect_texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, found)),
        Value::Object(members) => members.iter().for_each(|(key, member)| {
            found.push(key.clone());
            collect_texts(member, found);
        }),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Generates secrets of every kind of character that an encoder treats differently. None has a character of
/// [`other_text`].
fn secret() -> impl Strategy<Value = String> {
    let char = prop::sample::select(
        " !\"#$%&'*+,-./19:;<=>?@AZ[\\]^_`az{|}~\n\u{1}\u{7f}öä🗝".chars().collect::<Vec<_>>(),
    );
    prop::collection::vec(char, 4..24).prop_map(|chars| chars.into_iter().collect())
}

fn other_text() -> impl Strategy<Value = String> {
    "[QRSqrsßé()]{0,30}"
}

proptest! {
    #[test]
    fn no_form_of_a_secret_remains(
        secrets in prop::collection::vec(secret(), 1..5),
        parts in prop::collection::vec((other_text(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
        rest in other_text(),
    ) {
        let redaction = Redaction::new(&secrets);
        let mut text = String::new();
        let mut others = String::new();
        for (other, which, form) in &parts {
            let forms: Vec<String> = encodings::encoded_forms(&secrets[which.index(secrets.len())]).into_iter().collect();
            text.push_str(other);
            text.push_str(&forms[form.index(forms.len())]);
            others.push_str(other);
        }
        let clean = redaction.redact(&format!("{text}{rest}")).into_owned();
        let left = clean.replace(REPLACEMENT, "");
        prop_assert_eq!(left, format!("{others}{rest}"), "of {:?}", text);
        prop_assert_eq!(redaction.redact(&others), &*others);
    }

    #[test]
    fn text_without_secrets_is_unchanged(
        secrets in prop::collection::vec(secret(), 0..5),
        text in other_text(),
    ) {
        let redaction = Redaction::new(&secrets);
        prop_assert!(matches!(redaction.redact(&text), Cow::Borrowed(same) if same == text));
        prop_assert!(redaction.cut_off_ranges(&text).is_empty());
    }

    #[test]
    fn redacted_json_has_no_secret_and_still_parses(
        value in value(),
        secrets in prop::collection::vec(text(), 0..3),
    ) {
        let redaction = Redaction::new(&secrets);
        let clean: Value = serde_json::from_str(&redaction.redact_json(&value.to_string())).unwrap();
        let mut found = Vec::new();
        collect_texts(&clean, &mut found);
        for text in found {
            // A secret may happen to be part of its replacement.
            let rest = text.replace(REPLACEMENT, "\u{0}");
            for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
                prop_assert!(!rest.contains(secret), "{secret:?} is in {text:?}");
            }
        }
    }
}
