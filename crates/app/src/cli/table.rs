//! Lays out tables and paragraphs for a width. Pure.

use anstyle::Style;
use mainstay_runtime::journal::escape_controls;
use textwrap::core::display_width;
use unicode_width::UnicodeWidthChar;

/// The mark at which a text was cut.
const ELLIPSIS: char = '…';
/// The blank columns between two columns of a table.
const GAP: usize = 2;
/// A column is not made narrower than this, unless it has less in it.
const COLUMN_MIN: usize = 6;
/// A text is cut down to this before a title is cut.
const TEXT_MIN: usize = 20;
/// A title is not cut to less than this.
const TITLE_MIN: usize = 3;

/// A cell of a table.
pub(super) type Cell = (String, Style);

/// Returns the cells of each row, escaped, cut and padded, so that a row joined by two blanks fits the width. Where the width
/// is too small, columns without content go first. Then long texts are cut, then titles, then the widest columns, and the first
/// column, which names what the row is about, at last. Without a width, each column is as wide as it needs to be.
pub(super) fn lay_out(header: &[Cell], rows: &[Vec<Cell>], width: Option<usize>) -> Vec<Vec<Cell>> {
    let mut header = header.to_vec();
    let mut rows: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| row.iter().map(|(text, style)| (escape_controls(text), *style)).collect())
        .collect();
    let content = |rows: &[Vec<Cell>], at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|(text, _)| display_width(text)).max().unwrap_or(0)
    };
    let mut contents: Vec<usize> = (0..header.len()).map(|at| content(&rows, at)).collect();
    let natural = |header: &[Cell], contents: &[usize]| -> Vec<usize> {
        header.iter().zip(contents).map(|((title, _), content)| display_width(title).max(*content)).collect()
    };
    let mut widths = natural(&header, &contents);
    let room = |columns: usize| width.map(|width| width.saturating_sub(GAP * columns.saturating_sub(1)));
    if !rows.is_empty() && room(widths.len()).is_some_and(|room| widths.iter().sum::<usize>() > room) {
        let kept: Vec<bool> = contents.iter().map(|content| *content > 0).collect();
        for row in rows.iter_mut().chain([&mut header]) {
            let mut kept = kept.iter();
            row.retain(|_| kept.next().copied().unwrap_or(true));
        }
        contents.retain(|content| *content > 0);
        widths = natural(&header, &contents);
    }
    if let Some(room) = room(widths.len())
        && let Some((_, others)) = contents.split_first()
    {
        let whole: Vec<usize> = others.iter().map(|content| (*content).max(TITLE_MIN)).collect();
        let least: Vec<usize> = whole.iter().map(|content| (*content).min(COLUMN_MIN)).collect();
        let titles = header.iter().skip(1).map(|(title, _)| display_width(title));
        let readable =
            titles.zip(&whole).map(|(title, content)| title.max((*content).min(TEXT_MIN))).collect();
        for (first, others) in
            [(widths[0], readable), (widths[0], whole), (widths[0], least.clone()), (COLUMN_MIN, least)]
        {
            let minimums: Vec<usize> = std::iter::once(first).chain(others).collect();
            shrink(&mut widths, &minimums, room);
        }
    }
    let fit = |cells: Vec<Cell>| -> Vec<Cell> {
        let last = cells.len().saturating_sub(1);
        let padded = cells.into_iter().zip(&widths).enumerate().map(|(at, ((text, style), width))| {
            let text = cut(&text, *width);
            let gap = if at == last { 0 } else { width.saturating_sub(display_width(&text)) + GAP };
            (format!("{text}{}", " ".repeat(gap)), style)
        });
        padded.collect()
    };
    std::iter::once(header).chain(rows).map(fit).collect()
}

/// Makes the widest columns narrower until all of them together have the width, or none is above its minimum.
fn shrink(widths: &mut [usize], minimums: &[usize], total: usize) {
    while widths.iter().sum::<usize>() > total {
        let shrinkable = (0..widths.len()).filter(|at| widths[*at] > minimums[*at]);
        let Some(widest) = shrinkable.max_by_key(|at| widths[*at]) else { return };
        widths[widest] -= 1;
    }
}

/// Cuts a text to a width, with a mark where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |c: &char| {
        let taken = c.width().unwrap_or(0);
        let is_room = taken <= room;
        room = if is_room { room - taken } else { 0 };
        is_room
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.truncate(short.trim_end().len());
    if width > 0 {
        short.push(ELLIPSIS);
    }
    short
}

/// Returns the lines of a text behind a label, which the further lines are indented for. Words longer than a line are kept
/// whole, since a person may want to copy them.
pub(super) fn paragraph(label: &str, text: &str, indent: usize, width: Option<usize>) -> String {
    let gap = " ".repeat(indent.saturating_sub(display_width(label)));
    let Some(width) = width.filter(|width| *width > indent) else { return format!("{label}{gap}{text}") };
    let (first, further) = (format!("{label}{gap}"), " ".repeat(indent));
    let options = textwrap::Options::new(width)
        .initial_indent(&first)
        .subsequent_indent(&further)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::fill(text, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&str]], width: Option<usize>) -> Vec<String> {
        let cells = |row: &&[&str]| row.iter().map(|text| ((*text).to_owned(), Style::new())).collect();
        let rows: Vec<Vec<Cell>> = rows.iter().map(cells).collect();
        let laid_out = lay_out(&rows[0], &rows[1..], width);
        laid_out.into_iter().map(|row| row.into_iter().map(|(text, _)| text).collect()).collect()
    }

    #[test]
    fn long_text_is_cut_before_titles() {
        let error = "SERVER_ERROR: The agent could not be started. Look into its last error.";
        let rows: [&[&str]; 2] = [
            &["actor", "status", "generation", "restarts", "left", "mailbox", "last error"],
            &["└─ agents/planner", "failed", "1", "5", "0", "0", error],
        ];
        let narrow = table(&rows, Some(80));
        assert!(narrow.iter().all(|line| display_width(line) <= 80), "{narrow:?}");
        assert_eq!(narrow[0], "actor              status  genera…  restar…  left  mailbox  last error");
    }

    #[test]
    fn table_fits_the_width_and_cuts_the_widest_column() {
        let rows: [&[&str]; 3] = [
            &["agent", "status", "last error"],
            &["planner", "healthy", ""],
            &["a", "failed (given up)", "SERVER_ERROR: The agent reports that it has failed."],
        ];
        assert_eq!(
            table(&rows, None),
            [
                "agent    status             last error",
                "planner  healthy            ",
                "a        failed (given up)  SERVER_ERROR: The agent reports that it has failed.",
            ]
        );
        let narrow = table(&rows, Some(50));
        assert_eq!(narrow[2], "a        failed (given up)  SERVER_ERROR: The age…");
        assert_eq!(table(&rows, Some(30))[2], "a        failed (g…  SERVER_E…");
        // Below its least width a table stays as wide as that.
        assert_eq!(table(&rows, Some(0))[1..], ["plann…  healt…  ", "a       faile…  SERVE…"]);
    }

    #[test]
    fn narrow_table_drops_empty_columns_and_cuts_ids_last() {
        let rows: [&[&str]; 3] = [
            &["actor", "status", "generation", "left", "last error"],
            &["├─ summariser", "running", "1", "no limit", ""],
            &["└─ translator", "running", "12", "5", ""],
        ];
        assert_eq!(
            table(&rows, Some(60))[1],
            "├─ summariser  running  1           no limit  ",
            "it fits without"
        );
        for (width, expected) in [
            (44, "├─ summariser  running  1           no limit"),
            (41, "├─ summariser  running  1        no limit"),
            (37, "├─ summariser  running  1    no limit"),
            (34, "├─ summariser  runni…  1    no li…"),
            (30, "├─ summa…  runni…  1    no li…"),
        ] {
            assert_eq!(table(&rows, Some(width))[1].trim_end(), expected, "{width}");
        }
        assert_eq!(table(&rows, Some(41))[0], "actor          status   genera…  left");
        assert_eq!(table(&rows[..1], Some(10)).len(), 1, "a table without rows has its titles");
    }

    #[test]
    fn wide_and_control_characters_take_their_room() {
        let rows: [&[&str]; 2] = [&["name", "next"], &["エージェント", "a\u{1b}[2Jb"]];
        assert_eq!(table(&rows, None)[1], "エージェント  a\\u{1b}[2Jb");
        assert_eq!(table(&rows, Some(15))[1], "エージ…  a\\u{1…");
    }

    #[test]
    fn every_row_fits_any_width_above_the_least() {
        let cell = |text: &str| (text.to_owned(), Style::new());
        let header = ["id", "request", "priority", "state", "age", "attempts"].map(cell);
        let row = vec![
            cell("12"),
            cell("GET /ä/日本語/very/long?query=1"),
            cell("normal"),
            cell("waiting for a retry"),
            cell("10 min 33 s"),
            cell("12 attempts"),
        ];
        for width in 55..140 {
            for row in lay_out(&header, std::slice::from_ref(&row), Some(width)) {
                let text: String = row.into_iter().map(|(text, _)| text).collect();
                assert!(display_width(&text) <= width, "{width}: {text}");
            }
        }
    }

    #[test]
    fn paragraph_is_wrapped_behind_its_label() {
        let text = "given up, since no restart can help: look at http://127.0.0.1:8000/a/long/address";
        assert_eq!(
            paragraph("next", text, 8, Some(30)),
            "next    given up, since no\n        restart can help: look\n        at\n        \
             http://127.0.0.1:8000/a/long/address"
        );
        assert_eq!(paragraph("next", text, 8, None), format!("next    {text}"));
        assert_eq!(paragraph("", "", 8, Some(30)).trim_end(), "");
    }
}
