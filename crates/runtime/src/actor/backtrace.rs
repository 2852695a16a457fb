//! Backtraces as the journal tells them: the frames of what panicked, without those of the machinery around it.

use std::fmt::{self, Write};

/// The most that is kept of a backtrace.
pub(crate) const BACKTRACE_BYTES_MAX: usize = 16 * 1024;

/// Where a panic is raised; above it are frames of the panic hook alone.
const PANIC_ENTRY_FRAMES: [&str; 3] =
    ["rust_begin_unwind", "std::panicking::begin_panic", "std::panic::panic_any"];
/// Frames between the place where a panic is raised and what panicked.
const PANIC_MACHINERY_FRAMES: [&str; 4] =
    ["std::panicking::", "std::panic::", "core::panicking::", "core::panic::"];
/// Frames that call a handler.
const HANDLER_CALLER_FRAMES: [&str; 4] = [
    "mainstay_runtime::actor::worker::Plain",
    "mainstay_runtime::actor::incarnation::",
    "mainstay_runtime::actor::panics::",
    "mainstay_runtime::messaging::teardown::",
];

/// The backtrace as text: from what panicked down to the handler, and at most `BACKTRACE_BYTES_MAX` bytes.
pub(crate) fn render(backtrace: &impl fmt::Display) -> String {
    let mut text = BoundedText(String::new());
    if write!(text, "{backtrace}").is_err() {
        // There was more; what there is ends with a whole line.
        text.0.truncate(text.0.rfind('\n').unwrap_or(0));
    }
    trim_frames(&text.0).to_owned()
}

/// Takes text up to its limit.
struct BoundedText(String);

impl Write for BoundedText {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if self.0.len() + piece.len() > BACKTRACE_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(piece);
        Ok(())
    }
}

/// Without the frames that raised the panic and those that called the handler; all of it where those are not found, as
/// where the program has no symbols.
fn trim_frames(text: &str) -> &str {
    let frames = frames(text);
    let raised =
        frames.iter().position(|frame| frame.matches_any(&PANIC_ENTRY_FRAMES)).map_or(0, |at| at + 1);
    let mut below =
        frames.iter().skip(raised).skip_while(|frame| frame.matches_any(&PANIC_MACHINERY_FRAMES)).peekable();
    let start = below.peek().map_or(0, |frame| frame.offset);
    let end = below
        .find(|frame| frame.matches_any(&HANDLER_CALLER_FRAMES))
        .map_or(text.len(), |frame| frame.offset);
    let kept = text.get(start..end).unwrap_or(text).trim_end();
    if kept.is_empty() { text } else { kept }
}

/// A frame, and where in the text it begins.
struct BacktraceFrame<'a> {
    offset: usize,
    name: &'a str,
}

impl BacktraceFrame<'_> {
    fn matches_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.name.contains(name))
    }
}

/// The lines that begin a frame: a number, a colon, a name.
fn frames(text: &str) -> Vec<BacktraceFrame<'_>> {
    let mut at = 0;
    let mut frames = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some((number, name)) = line.split_once(": ")
            && number.trim_start().bytes().all(|byte| byte.is_ascii_digit())
            && !number.trim_start().is_empty()
        {
            frames.push(BacktraceFrame { offset: at, name });
        }
        at += line.len();
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = "\
   0: mainstay_runtime::actor::panics::note
             at ./src/actor/panics.rs:77:20
   1: std::panicking::panic_with_hook
   2: __rustc::rust_begin_unwind
   3: core::panicking::panic_fmt
             at /rustc/0/library/core/src/panicking.rs:80:14
   4: pool::divide
             at ./src/pool.rs:7:9
   5: pool::Pool::handle::{{closure}}
   6: <mainstay_runtime::messaging::teardown::Judged<F> as core::future::future::Future>::poll
   7: std::panicking::catch_unwind
   8: tokio::runtime::task::core::Core<T,S>::poll
";

    #[test]
    fn backtrace_spans_panic_to_handler() {
        let kept =
            "   4: pool::divide\n             at ./src/pool.rs:7:9\n   5: pool::Pool::handle::{{closure}}";
        assert_eq!(render(&RAW), kept);
    }

    #[test]
    fn backtrace_without_symbols_is_kept_whole() {
        for text in ["", "   0: <unknown>\n   1: <unknown>", "disabled backtrace"] {
            assert_eq!(render(&text), text);
        }
    }

    struct DeepBacktrace;

    impl fmt::Display for DeepBacktrace {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            (0..10_000).try_for_each(|frame| writeln!(f, "{frame:>4}: pool::descend"))
        }
    }

    #[test]
    fn backtrace_too_long_is_cut_at_a_line_end() {
        let told = render(&DeepBacktrace);
        assert!(told.len() <= BACKTRACE_BYTES_MAX && told.ends_with("descend"), "{} bytes", told.len());
    }
}
