//! Chooses the lines that explain a crash: the last ones, and the head of a long traceback. Pure.

/// The lines of an excerpt that are from the head of a traceback, if that is longer than the excerpt.
pub(super) const HEAD_LINES: usize = 6;

/// The most lines in a row that are no frames within a traceback: messages, and texts between chained errors.
const MESSAGE_LINES_MAX: usize = 4;

/// The lines behind the end of a traceback after which it is forgotten.
const LINES_BEHIND_MAX: usize = 10;

/// The beginning of a line that is looked at.
const START_BYTES_MAX: usize = 256;

/// Finds the last traceback in an output, line by line, and keeps its head.
#[derive(Debug)]
pub(super) struct TracebackFinder<L> {
    traceback: Option<Traceback<L>>,
}

#[derive(Debug)]
struct Traceback<L> {
    head: Vec<L>,
    /// The lines from its first on.
    lines: usize,
    /// The lines in a row that are no frames.
    message_lines: usize,
    /// The lines behind its end.
    lines_behind: usize,
}

impl<L> Default for TracebackFinder<L> {
    fn default() -> Self {
        Self { traceback: None }
    }
}

impl<L: Clone> TracebackFinder<L> {
    /// Takes the next line. `keep` makes what is kept of it.
    pub(super) fn observe(&mut self, line: &[u8], keep: impl FnOnce() -> L) {
        let start = String::from_utf8_lossy(&line[..line.len().min(START_BYTES_MAX)]);
        let is_within = self.traceback.as_ref().is_some_and(|traceback| !traceback.has_ended());
        if is_traceback_start(&start, is_within) {
            let head = vec![keep()];
            self.traceback = Some(Traceback { head, lines: 1, message_lines: 0, lines_behind: 0 });
            return;
        }
        let Some(traceback) = &mut self.traceback else { return };
        traceback.lines += 1;
        if traceback.has_ended() {
            traceback.lines_behind += 1;
        } else {
            if traceback.head.len() < HEAD_LINES {
                traceback.head.push(keep());
            }
            traceback.message_lines = if is_frame(&start) { 0 } else { traceback.message_lines + 1 };
        }
        if traceback.lines_behind > LINES_BEHIND_MAX {
            // Its end is in no excerpt any more.
            self.traceback = None;
        }
    }

    /// Returns the head of the traceback near the end of the output, and the number of lines from its first on.
    pub(super) fn found(&self) -> Option<(&[L], usize)> {
        self.traceback.as_ref().map(|traceback| (&*traceback.head, traceback.lines))
    }
}

impl<L> Traceback<L> {
    fn has_ended(&self) -> bool {
        self.message_lines > MESSAGE_LINES_MAX
    }
}

/// Returns whether a line begins a traceback: of Python, Rust, Go, Java, .NET or Node.
fn is_traceback_start(line: &str, is_within: bool) -> bool {
    // Python draws the groups of errors with these.
    let line = line.trim_start_matches([' ', '|', '+', '-']);
    let is_error_name = |word: &str| word.ends_with("Error:") || word.ends_with("Exception:");
    line.trim_end().ends_with("Traceback (most recent call last):")
        || line.contains("panicked at ")
        || ["panic: ", "fatal error: ", "Exception in thread ", "Unhandled exception", "Uncaught "]
            .iter()
            .any(|start| line.starts_with(start))
        || !is_within && line.split(' ').next().is_some_and(is_error_name)
}

/// Returns whether a line looks like one of a traceback's frames.
fn is_frame(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with([' ', '\t', '|', '+', '^', '~'])
}

/// The lines of an excerpt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt<'a, L> {
    /// The head of a traceback; empty if the last lines have it.
    pub(super) head: &'a [L],
    /// The number of lines between the two.
    pub(super) left_out: usize,
    /// The number of last lines.
    pub(super) last: usize,
}

/// Chooses at most `lines_max` lines, and not fewer than ten, of an output whose `kept` last lines are known.
pub(super) fn choose_excerpt<L>(
    found: Option<(&[L], usize)>,
    kept: usize,
    lines_max: usize,
) -> Excerpt<'_, L> {
    match found {
        Some((head, lines)) if lines > lines_max => {
            // One line says how many are left out.
            let last = kept.min(lines_max.saturating_sub(1 + head.len()));
            Excerpt { head, left_out: lines - head.len() - last, last }
        }
        _ => Excerpt { head: &[], left_out: 0, last: kept.min(lines_max) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXCERPT_LINES: usize = 20;

    /// Returns the excerpt of a text as one text.
    fn excerpt(text: &str) -> String {
        let mut finder = TracebackFinder::default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().for_each(|line| finder.observe(line.as_bytes(), || *line));
        let Excerpt { head, left_out, last } = choose_excerpt(finder.found(), lines.len(), EXCERPT_LINES);
        let mut shown = head.to_vec();
        let mark = format!("… {left_out} lines …");
        shown.extend((left_out > 0).then_some(&*mark));
        shown.extend(&lines[lines.len() - last..]);
        assert!(shown.len() <= EXCERPT_LINES, "{shown:?}");
        shown.join("\n")
    }

    fn frames(count: usize) -> String {
        (0..count).map(|n| format!("  File \"/app/m{n}.py\", line {n}, in f{n}\n    f{n}()\n")).collect()
    }

    const HEADING: &str = "Traceback (most recent call last):\n";

    #[test]
    fn short_output_and_short_traceback_are_whole() {
        assert_eq!(excerpt("a\nb"), "a\nb");
        assert_eq!(excerpt(""), "");
        let text = format!("starting\n{HEADING}{}ValueError: boom", frames(5));
        assert_eq!(excerpt(&text), text);
        let before: String = (0..100).map(|n| format!("line {n}\n")).collect();
        assert_eq!(excerpt(&before), before.lines().skip(80).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn long_traceback_keeps_its_head_and_its_tail() {
        let text = format!("starting\n{HEADING}{}ValueError: boom\nmore\n", frames(40));
        let shown = excerpt(&text);
        assert!(shown.starts_with(HEADING), "{shown}");
        assert!(shown.contains("line 1, in f1\n    f1()\n"), "{shown}");
        assert!(
            shown.contains("\n… 64 lines …\n") && shown.ends_with("f39()\nValueError: boom\nmore"),
            "{shown}"
        );
    }

    #[test]
    fn last_of_chained_errors_counts() {
        let between = "\nDuring handling of the above exception, another exception occurred:\n\n";
        let text =
            format!("{HEADING}{}KeyError: 'a'\n{between}{HEADING}{}RuntimeError: b", frames(20), frames(30));
        let shown = excerpt(&text);
        assert!(shown.starts_with(HEADING) && shown.ends_with("RuntimeError: b"), "{shown}");
        assert!(shown.contains("lines …") && !shown.contains("KeyError"), "{shown}");
    }

    #[test]
    fn traceback_far_before_the_end_is_not_in_the_excerpt() {
        let after: String = (0..50).map(|n| format!("line {n}\n")).collect();
        let shown = excerpt(&format!("{HEADING}{}ValueError: boom\n{after}", frames(40)));
        assert_eq!(shown.lines().next(), Some("line 30"));
    }

    #[test]
    fn traceback_of_each_language_keeps_its_head() {
        let indented = |frame: &str| frame.repeat(40);
        for (start, frame, end) in [
            (
                "thread 'main' panicked at src/main.rs:2:5:\nboom\nstack backtrace:\n",
                "   0: f\n",
                "note: done",
            ),
            ("panic: boom\n\ngoroutine 1 [running]:\n", "main.f()\n\t/app/main.go:3\n", "exit status 2"),
            (
                "Exception in thread \"main\" java.lang.Exception: boom\n",
                "\tat app.Main.f(Main.java:3)\n",
                "end",
            ),
            ("Unhandled exception. System.Exception: boom\n", "   at App.F()\n", "end"),
            ("/app/a.js:1\nthrow 1\n^\n\nTypeError: boom\n", "    at f (/app/a.js:1:7)\n", "Node.js v22"),
            ("  + Exception Group Traceback (most recent call last):\n", "  |   File \"a.py\"\n", "  +----"),
        ] {
            let shown = excerpt(&format!("{start}{}{end}", indented(frame)));
            let head = start.lines().last().unwrap();
            assert!(
                shown.contains(head) && shown.contains("lines …") && shown.ends_with(end),
                "{start}: {shown}"
            );
        }
    }
}
