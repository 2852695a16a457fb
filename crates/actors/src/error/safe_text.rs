//! Decides whether a text from outside is safe to show to a person.

/// The longest text that is shown, in characters.
pub(crate) const SAFE_PROSE_CHARS_MAX: usize = 200;

/// The longest word, in characters. A longer one is more likely a token, a digest or an id.
const WORD_CHARS_MAX: usize = 30;

/// The longest word of letters and digits. A longer one is more likely a secret.
const MIXED_WORD_CHARS_MAX: usize = 7;

/// Returns whether `text` can stand in a message for a person.
///
/// Such a text is one short line of prose without anything like a URL, a host name, a path, markup or a token. In
/// doubt the answer is no: a refused text is kept for the log.
pub(crate) fn is_safe_prose(text: &str) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= SAFE_PROSE_CHARS_MAX
        && text.chars().all(is_prose_char)
        && text.split(' ').all(is_safe_word)
}

/// Returns whether prose needs the character. Excluded are the marks of URLs, paths, markup and assignments, and
/// control and direction-changing characters.
fn is_prose_char(c: char) -> bool {
    c.is_alphanumeric() || " .,;:!?'\"()-_%’‘“”«»–—…。、".contains(c)
}

fn is_safe_word(word: &str) -> bool {
    // A mark within a word makes it a host name, an address with a port, or a file name; a number may have one.
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
    let number = bare.chars().all(|c| c.is_ascii_digit() || ".,:%".contains(c));
    let marked = bare.contains(['.', ':']);
    let decimal = number && bare.matches('.').count() < 2 && !bare.contains(':');
    (decimal || !marked) && !looks_like_secret(bare)
}

/// Returns whether a word could be a token, a digest or an id.
///
/// Those are ASCII; a script without spaces is not judged by the length of its words.
fn looks_like_secret(word: &str) -> bool {
    let mixed = word.contains(|c: char| c.is_ascii_digit()) && word.contains(char::is_alphabetic);
    word.is_ascii() && (word.len() > WORD_CHARS_MAX || mixed && word.len() > MIXED_WORD_CHARS_MAX)
}

/// The mark at which a text was cut.
pub(crate) const ELLIPSIS: char = '…';

/// Returns the first `chars_max` characters of `text` on one line, with an ellipsis where the rest was cut. For logs.
pub(crate) fn excerpt(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(chars_max).map(printable).collect();
    if chars.next().is_some() {
        short.push(ELLIPSIS);
    }
    short
}

/// Returns the character itself, or a space for one that could drive a terminal or turn the direction of a text.
pub(crate) fn printable(c: char) -> char {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_safe() {
        for text in [
            "The agent is busy.",
            "field agent_id: at least 3 characters (got 1.5%)",
            "Der Dienst läuft nicht – bitte später noch einmal.",
            "权限不足,无法执行此操作。请联系管理员,或者在5分钟后重新登录并再次尝试该操作。",
        ] {
            assert!(is_safe_prose(text), "{text}");
        }
    }

    #[test]
    fn url_path_markup_or_token_is_not_safe() {
        for text in [
            "",
            "   ",
            "see https://internal/wiki",
            "ask internal.example.com",
            "localhost:8000 refused",
            "10.0.0.7 refused",
            "no such file /etc/passwd",
            "no such file C:\\Users\\me",
            "could not read notes.txt",
            "<b>no</b>",
            "token=abc",
            "key sk4f9a8b7c was refused",
            "request 3f2504e0-4f89-11d3-9a0c-0305e82c3301 failed",
            "eyJhbGciOiJIUzIxNiIsInRoZXJlIjoibm90aGluZyJ9",
            "two\nlines",
            "right\u{202e}to left",
        ] {
            assert!(!is_safe_prose(text), "{text}");
        }
        assert!(!is_safe_prose(&"long ".repeat(100)));
    }

    #[test]
    fn excerpt_is_one_bounded_line() {
        assert_eq!(excerpt("a\nb", 10), "a b");
        assert_eq!(excerpt("äöü", 2), "äö…");
        assert_eq!(excerpt("\u{1b}[2J\u{202e}gnp.exe", 20), " [2J gnp.exe");
    }
}
