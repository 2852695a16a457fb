//! Backtraces for the journal: the frames of the code that panicked, without the runtime's own frames.

use std::fmt::{self, Write};

/// The size limit of a recorded backtrace.
pub(crate) const BACKTRACE_BYTES_MAX: usize = 16 * 1024;

/// Frames that raise a panic; the frames above belong to the panic hook.
const PANIC_ENTRY_FRAMES: [&str; 3] =
    ["rust_begin_unwind", "std::panicking::begin_panic", "std::panic::panic_any"];
/// Frames between the raised panic and the code that panicked.
const PANIC_MACHINERY_FRAMES: [&str; 4] =
    ["std::panicking::", "std::panic::", "core::panicking::", "core::panic::"];
/// Frames that call a handler.
const HANDLER_CALLER_FRAMES: [&str; 4] = [
    "mainstay_runtime::actor::worker::WorkerBehaviour",
    "mainstay_runtime::actor::slot::incarnation::",
    "mainstay_runtime::messaging::panics::",
    "mainstay_runtime::messaging::drop_reason::",
];

/// Returns the backtrace as text, from the code that panicked down to the handler, at most `BACKTRACE_BYTES_MAX`
/// bytes.
pub(crate) fn render(backtrace: &impl fmt::Display) -> String {
    let mut text = BoundedText(String::new());
    if write!(text, "{backtrace}").is_err() {
        // The text was cut, so it ends with the last whole line.
        text.0.truncate(text.0.rfind('\n').unwrap_or(0));
    }
    trim_frames(&text.0).to_owned()
}

/// A text buffer with a size limit.
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

/// Removes the frames that raised the panic and those that called the handler. Without symbols it returns the text
/// unchanged.
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

/// A frame, and its offset in the text.
struct BacktraceFrame<'a> {
    offset: usize,
    name: &'a str,
}

impl BacktraceFrame<'_> {
    fn matches_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.name.contains(name))
    }
}

/// Returns the lines that begin a frame: a number, a colon, a name.
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
   0: mainstay_runtime::messaging::panics::capture
             at ./src/messaging/panics.rs:77:20
   1: std::panicking::panic_with_hook
   2: __rustc::rust_begin_unwind
   3: core::panicking::panic_fmt
             at /rustc/0/library/core/src/panicking.rs:80:14
   4: pool::divide
             at ./src/pool.rs:7:9
   5: pool::Pool::handle::{{closure}}
   6: <mainstay_runtime::messaging::panics::HandlerFuture<F> as core::future::future::Future>::poll
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
        let rendered = render(&DeepBacktrace);
        assert!(
            rendered.len() <= BACKTRACE_BYTES_MAX && rendered.ends_with("descend"),
            "{} bytes",
            rendered.len()
        );
    }
}
