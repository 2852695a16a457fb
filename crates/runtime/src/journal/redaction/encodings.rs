//! Lists the forms in which encoders of JSON and of addresses write a text.

use std::collections::BTreeSet;

/// The way in which an encoder writes a JSON string. Each escapes the quote, the backslash and control characters.
struct JsonStyle {
    /// Returns whether a character becomes `\uXXXX`. So do control characters without a short escape.
    is_coded: fn(char) -> bool,
    has_escaped_slash: bool,
    has_upper_hex: bool,
}

const JSON_STYLES: [JsonStyle; 10] = [
    // serde_json, `JSON.stringify`; then Jackson.
    JsonStyle { is_coded: |_| false, has_escaped_slash: false, has_upper_hex: false },
    JsonStyle { is_coded: |_| false, has_escaped_slash: false, has_upper_hex: true },
    // Python; then Jackson's `ESCAPE_NON_ASCII`.
    JsonStyle { is_coded: is_no_plain_ascii, has_escaped_slash: false, has_upper_hex: false },
    JsonStyle { is_coded: is_no_plain_ascii, has_escaped_slash: false, has_upper_hex: true },
    // Foundation, PHP's `JSON_UNESCAPED_UNICODE`; then PHP.
    JsonStyle { is_coded: |_| false, has_escaped_slash: true, has_upper_hex: false },
    JsonStyle { is_coded: is_no_plain_ascii, has_escaped_slash: true, has_upper_hex: false },
    // Go and Rails.
    JsonStyle { is_coded: is_markup, has_escaped_slash: false, has_upper_hex: false },
    // Gson.
    JsonStyle {
        is_coded: |c| is_markup(c) || c == '=' || c == '\'',
        has_escaped_slash: false,
        has_upper_hex: false,
    },
    // .NET, which writes the quote as a code; the same in lower case is PHP's `JSON_HEX_*`.
    JsonStyle { is_coded: is_coded_by_net, has_escaped_slash: false, has_upper_hex: true },
    JsonStyle { is_coded: is_coded_by_net, has_escaped_slash: false, has_upper_hex: false },
];

/// Writes every character as a code.
const CODED_JSON_STYLES: [JsonStyle; 2] = [
    JsonStyle { is_coded: |_| true, has_escaped_slash: false, has_upper_hex: false },
    JsonStyle { is_coded: |_| true, has_escaped_slash: false, has_upper_hex: true },
];

fn is_no_plain_ascii(c: char) -> bool {
    c > '~'
}

fn is_markup(c: char) -> bool {
    matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

fn is_coded_by_net(c: char) -> bool {
    is_no_plain_ascii(c) || is_markup(c) || matches!(c, '"' | '\'' | '+' | '`')
}

/// The way in which an encoder writes a part of an address.
struct PercentStyle {
    /// Returns whether a byte stays as it is, beside letters and digits.
    is_kept: fn(u8) -> bool,
    has_plus_for_space: bool,
}

const PERCENT_STYLES: [PercentStyle; 11] = [
    // RFC 3986, Python's `quote` without a safe character, PHP's `rawurlencode`.
    PercentStyle { is_kept: |byte| b"-_.~".contains(&byte), has_plus_for_space: false },
    // Go's `QueryEscape`, Python's `quote_plus`.
    PercentStyle { is_kept: |byte| b"-_.~".contains(&byte), has_plus_for_space: true },
    // PHP's `urlencode`.
    PercentStyle { is_kept: |byte| b"-_.".contains(&byte), has_plus_for_space: true },
    // Forms in browsers, Java's `URLEncoder`.
    PercentStyle { is_kept: |byte| b"-_.*".contains(&byte), has_plus_for_space: true },
    // .NET's `UrlEncode`.
    PercentStyle { is_kept: |byte| b"-_.!*()".contains(&byte), has_plus_for_space: true },
    // `encodeURIComponent`.
    PercentStyle { is_kept: |byte| b"-_.~!*'()".contains(&byte), has_plus_for_space: false },
    // Python's `quote`.
    PercentStyle { is_kept: |byte| b"-_.~/".contains(&byte), has_plus_for_space: false },
    // Go's `PathEscape`.
    PercentStyle { is_kept: |byte| b"-_.~$&+=:@".contains(&byte), has_plus_for_space: false },
    // `encodeURI`.
    PercentStyle { is_kept: |byte| b"-_.~!*'();,/?:@&=+$#".contains(&byte), has_plus_for_space: false },
    // The query of an address in browsers; then its path.
    PercentStyle {
        is_kept: |byte| byte.is_ascii_graphic() && !b"\"#<>'".contains(&byte),
        has_plus_for_space: false,
    },
    PercentStyle {
        is_kept: |byte| byte.is_ascii_graphic() && !b"\"#<>?^`{}".contains(&byte),
        has_plus_for_space: false,
    },
];

/// Returns the forms of a text: as it is, in an address, either of them in JSON, and the text in JSON within JSON. The
/// codes of one form have digits of one case. Each comes also with nothing but its spaces escaped, as in a sloppy address.
pub(super) fn encoded_forms(text: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([text.to_owned()]);
    for style in &PERCENT_STYLES {
        forms.extend([percent_encode(text, style, false), percent_encode(text, style, true)]);
    }
    let mut in_json: BTreeSet<String> = JSON_STYLES.iter().map(|style| json_escape(text, style)).collect();
    let twice: Vec<String> = in_json.iter().map(|form| json_escape(form, &JSON_STYLES[0])).collect();
    in_json.extend(twice);
    for form in &forms {
        in_json.extend(JSON_STYLES.iter().map(|style| json_escape(form, style)));
    }
    in_json.extend(CODED_JSON_STYLES.iter().map(|style| json_escape(text, style)));
    forms.extend(in_json);
    let spaced = forms.iter().filter(|form| form.contains(' ')).map(|form| form.replace(' ', "%20"));
    let spaced: Vec<String> = spaced.collect();
    forms.extend(spaced);
    forms
}

fn json_escape(text: &str, style: &JsonStyle) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        let short = match c {
            '"' | '\\' => Some(c),
            '/' if style.has_escaped_slash => Some(c),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            _ => None,
        };
        match short {
            Some(letter) if !(style.is_coded)(c) => escaped.extend(['\\', letter]),
            None if !(style.is_coded)(c) && c >= ' ' => escaped.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let code =
                        if style.has_upper_hex { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
                    escaped.push_str(&code);
                }
            }
        }
    }
    escaped
}

fn percent_encode(text: &str, style: &PercentStyle, has_upper_hex: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' if style.has_plus_for_space => encoded.push('+'),
            _ if byte.is_ascii_alphanumeric() || (style.is_kept)(byte) => encoded.push(byte.into()),
            _ if has_upper_hex => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push_str(&format!("%{byte:02x}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that each line is a form of the text.
    #[track_caller]
    fn assert_forms(text: &str, expected: &str) {
        let forms = encoded_forms(text);
        for line in expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
            assert!(forms.contains(line), "{line} is no form of {text:?}: {forms:#?}");
        }
    }

    #[test]
    fn text_of_letters_and_digits_has_few_forms() {
        let coded: BTreeSet<String> =
            ["aZ9", r"\u0061\u005a\u0039", r"\u0061\u005A\u0039"].map(String::from).into();
        assert_eq!(encoded_forms("aZ9"), coded);
    }

    #[test]
    fn json_forms_are_those_of_real_encoders() {
        assert_forms(
            "a\"b\\c/d\n\u{1b}é🗝<+='`",
            r#"
            a\"b\\c/d\n\u001bé🗝<+='`
            a\"b\\c/d\n\u001Bé🗝<+='`
            a\"b\\c/d\n\u001b\u00e9\ud83d\udddd<+='`
            a\"b\\c/d\n\u001B\u00E9\uD83D\uDDDD<+='`
            a\"b\\c\/d\n\u001bé🗝<+='`
            a\"b\\c\/d\n\u001b\u00e9\ud83d\udddd<+='`
            a\"b\\c/d\n\u001bé🗝\u003c+='`
            a\"b\\c/d\n\u001bé🗝\u003c+\u003d\u0027`
            a\u0022b\\c/d\n\u001B\u00E9\uD83D\uDDDD\u003C\u002B=\u0027\u0060
            "#,
        );
    }

    #[test]
    fn percent_forms_are_those_of_real_encoders() {
        assert_forms(
            "a b/c+d=é~*'#",
            "
            a%20b%2Fc%2Bd%3D%C3%A9~%2A%27%23
            a+b%2Fc%2Bd%3D%C3%A9~%2A%27%23
            a+b%2Fc%2Bd%3D%C3%A9%7E%2A%27%23
            a+b%2Fc%2Bd%3D%C3%A9%7E*%27%23
            a+b%2fc%2bd%3d%c3%a9%7e*%27%23
            a%20b%2Fc%2Bd%3D%C3%A9~*'%23
            a%20b/c%2Bd%3D%C3%A9~%2A%27%23
            a%20b%2Fc+d=%C3%A9~%2A%27%23
            a%20b/c+d=%C3%A9~*'#
            a%20b/c+d=%C3%A9~*%27%23
            a%20b/c+d=%C3%A9~*'%23
            ",
        );
    }

    #[test]
    fn any_form_may_have_its_spaces_escaped() {
        assert_forms(
            "a \"é",
            r#"a%20"é
            a%20\"é
            a%20\"\u00e9"#,
        );
    }

    #[test]
    fn address_in_json_is_a_form() {
        assert_forms("a b/c&", "a%20b\\/c%26\na%20b/c\\u0026");
    }

    #[test]
    fn json_in_json_is_a_form() {
        assert_forms(
            "a\"b/é",
            r#"a\\\"b/é
            a\\\"b\\/\\u00e9
            a\\u0022b/\\u00E9"#,
        );
    }
}
