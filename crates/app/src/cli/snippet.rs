//! Shows the line of a configuration to which a problem belongs, with a caret below the place. Pure.
//!
//! A text in quotes is masked if it may be a secret: if it is long, or if the line or the key has a sensitive name.

use mainstay_actors::error::is_sensitive_name;
use textwrap::core::display_width;

use crate::config::ConfigProblem;

/// The longest text in quotes that is shown, in characters. Tokens are longer, and values with a fault seldom are.
const SHOWN_CHARS_MAX: usize = 24;
/// The longest part of a line that is shown, in characters.
const LINE_CHARS_MAX: usize = 70;
const MASK: char = '…';

/// Returns the problem's line of the text and a caret; `None` if the problem has no line.
pub(super) fn snippet(text: &str, problem: &ConfigProblem) -> Option<String> {
    let line = text.lines().nth(problem.line.checked_sub(1)?)?;
    let (line, column) = mask(line, &problem.key, problem.column.saturating_sub(1));
    let (line, column) = window(&line, column);
    let blank = " ".repeat(display_width(&line.chars().take(column).collect::<String>()));
    let number = problem.line;
    let margin = " ".repeat(number.to_string().len());
    Some(format!("  {number} | {line}\n  {margin} | {blank}^"))
}

/// Masks the texts in quotes that may be secrets. Returns the line and the place of the character that was at `column`.
fn mask(line: &str, key: &str, column: usize) -> (String, usize) {
    let words = |text: &str| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').any(is_sensitive_name)
    };
    let is_sensitive = words(line) || words(key);
    let chars: Vec<char> = line.chars().collect();
    let (mut masked, mut place, mut at) = (String::new(), None, 0);
    while at < chars.len() {
        let quote = chars[at];
        if !matches!(quote, '"' | '\'') {
            if at == column {
                place = Some(masked.chars().count());
            }
            // A tab or a control character takes one column.
            masked.push(if quote.is_control() { ' ' } else { quote });
            at += 1;
            continue;
        }
        let end = closing_quote(&chars, at);
        let shown = masked.chars().count();
        let inner = &chars[at + 1..end];
        if is_sensitive && !inner.is_empty() || inner.len() > SHOWN_CHARS_MAX {
            masked.extend([quote, MASK]);
            if (at..=end).contains(&column) {
                place = Some(if column == at { shown } else { shown + 1 });
            }
        } else {
            masked.push(quote);
            masked.extend(inner.iter().map(|c| if c.is_control() { ' ' } else { *c }));
            if (at..=end).contains(&column) {
                place = Some(shown + column - at);
            }
        }
        masked.extend(chars.get(end));
        at = end + 1;
    }
    let length = masked.chars().count();
    (masked, place.unwrap_or(length))
}

/// Returns the place of the quote that closes the one at `from`, or the end of the line.
fn closing_quote(chars: &[char], from: usize) -> usize {
    let mut is_escaped = false;
    for (at, c) in chars.iter().enumerate().skip(from + 1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if chars[from] == '"' => is_escaped = true,
            c if *c == chars[from] => return at,
            _ => {}
        }
    }
    chars.len()
}

/// Cuts a long line to the part around a column. Returns it and the column in it.
fn window(line: &str, column: usize) -> (String, usize) {
    let length = line.chars().count();
    if length <= LINE_CHARS_MAX {
        return (line.to_owned(), column);
    }
    let first = if column < LINE_CHARS_MAX { 0 } else { column - LINE_CHARS_MAX / 2 };
    let part: String = line.chars().skip(first).take(LINE_CHARS_MAX).collect();
    let (before, after) =
        (if first > 0 { "…" } else { "" }, if first + LINE_CHARS_MAX < length { "…" } else { "" });
    (format!("{before}{part}{after}"), column - first + before.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Returns the snippet of the first problem that reading a file finds.
    fn first(text: &str) -> String {
        let error = Config::from_toml(text).unwrap_err();
        snippet(text, &error.problems[0]).unwrap()
    }

    #[test]
    fn caret_stands_below_key_or_value() {
        assert_eq!(first("[connection]\nmax_retires = 3\n"), "  2 | max_retires = 3\n    | ^");
        assert_eq!(first("[cache]\nttl = \"60x\" # ä\n"), "  2 | ttl = \"60x\" # ä\n    |       ^");
        assert_eq!(first("[cache]\n\tttl = 5\n"), "  2 |  ttl = 5\n    |        ^");
        assert_eq!(first("[cache\n"), "  1 | [cache\n    |       ^");
    }

    #[test]
    fn text_that_may_be_secret_is_masked() {
        for (text, shown) in [
            ("[backend]\ntoken_env = \"s3cret\"\npasword = 1\n", "3 | pasword = 1"),
            ("[backend]\npassword = \"s3cret\"\n", "password = \"…\"\n    | ^"),
            ("[backend]\npassword = \"s3cret\n", "password = \"…\n"),
            ("[backend]\nheaders = { Authorization = \"s3cret\", X = 3 }\n", "\"…\", X = 3 }\n"),
            ("[backend]\nurl = 's3cret-0123456789-0123456789'\n", "url = '…'\n    |       ^"),
            (
                "[[agent]]\nid = \"a\"\ndriver = \"process\"\ncommand = [\"x\", \"--token\", \"s3cret\", 3]\n",
                "[\"…\", \"…\", \"…\", 3]",
            ),
        ] {
            let snippet = first(text);
            assert!(!snippet.contains("s3cret"), "{snippet}");
            assert!(snippet.contains(shown), "{snippet}");
        }
    }

    #[test]
    fn long_line_is_cut_around_the_caret() {
        let text = format!("[cache]\nttl = 5 {}\n", "# x".repeat(1_000));
        assert!(first(&text).lines().all(|line| line.chars().count() < 90), "{}", first(&text));
        let text = format!("limits = [{}]\n", "1, ".repeat(1_000));
        let problem = ConfigProblem { line: 1, column: 2_000, key: String::new(), message: String::new() };
        let shown = snippet(&text, &problem).unwrap();
        let (line, caret) = shown.split_once('\n').unwrap();
        assert_eq!(caret.chars().count(), 6 + 1 + 35 + 1, "{shown}");
        assert!(line.contains("| …") && line.ends_with('…') && line.chars().count() < 90, "{shown}");
    }
}
