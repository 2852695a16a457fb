//! Replaces what differs from run to run: measured durations, ports, process ids, folders, places in the source,
//! and the order of two observations.

use std::path::Path;

/// Returns the text with placeholders for what differs from run to run.
pub(crate) fn stable_text(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "<folder>");
    // An exit may be seen before or after the next attempt was announced.
    let text = text.replace("; attempt 3 is not made", "");
    let text = replace_after(&text, [", read "], time_length, "<time>");
    let text = replace_after(&text, ["127.0.0.1:"], number_length, "<port>");
    let text = replace_after(&text, ["process ", "-CONT "], number_length, "<pid>");
    let numbers = ["events 1 to ", "after event 1.", "has left out ", " lines (", "it takes "];
    let text = replace_after(&text, numbers, number_length, "<number>");
    let text = replace_after(&text, [".rs:"], place_length, "<line>");
    let text = replace_after(
        &text,
        ["after ", "for ", "follows in ", "noisy: within "],
        duration_length,
        "<duration>",
    );
    replace_after(&text, ["watched again after <duration> and "], number_length, "<number>")
}

/// Replaces what follows each of the markers, as far as `length` says; 0 leaves it.
fn replace_after<const N: usize>(
    text: &str,
    markers: [&str; N],
    length: impl Fn(&str) -> usize,
    placeholder: &str,
) -> String {
    let mut replaced = text.to_owned();
    for marker in markers {
        let text = std::mem::take(&mut replaced);
        let mut rest = text.as_str();
        while let Some(at) = rest.find(marker) {
            let (before, after) = rest.split_at(at + marker.len());
            let length = length(after);
            replaced.push_str(before);
            replaced.push_str(if length > 0 { placeholder } else { "" });
            rest = &after[length..];
        }
        replaced.push_str(rest);
    }
    replaced
}

fn number_length(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Returns the length of a time in RFC 3339 and UTC.
fn time_length(text: &str) -> usize {
    text.find('Z').map_or(0, |end| end + 1)
}

/// Returns the length of a line and a column.
fn place_length(text: &str) -> usize {
    let line = number_length(text);
    match text[line..].strip_prefix(':') {
        Some(rest) if line > 0 => line + 1 + number_length(rest),
        _ => line,
    }
}

/// Returns the length of a duration such as `7.2 s` or `1 min 30 s`.
fn duration_length(text: &str) -> usize {
    let mut length = 0;
    while let Some(rest) = text[length..].strip_prefix(if length == 0 { "" } else { " " })
        && let part @ 1.. = duration_part_length(rest)
    {
        length = text.len() - rest.len() + part;
    }
    length
}

/// Returns the length of a number with its unit.
fn duration_part_length(text: &str) -> usize {
    let number = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let Some(unit) = text[number..].strip_prefix(' ').filter(|_| number > 0) else { return 0 };
    let unit = unit.bytes().take_while(u8::is_ascii_alphabetic).count();
    let end = number + 1 + unit;
    let is_unit = ["ms", "s", "min", "h", "days"].contains(&&text[number + 1..end]);
    if is_unit { end } else { 0 }
}
