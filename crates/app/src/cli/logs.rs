//! `mainstay logs`: reads the log of the backend or of an agent, whether a runtime is running or not.

use std::io;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mainstay_actors::json::Json;
use mainstay_actors::logs::{LogItem, LogLine, LogRange, LogReader, LogStream, list_logs};
use mainstay_runtime::clock::{Clock, SystemClock, WallTime};
use mainstay_runtime::journal::{count, escape_controls};
use tokio::time::sleep;

use super::args::LogArgs;
use super::error::CliError;
use super::event_format::DateHeadings;
use super::output::{self, Output};
use super::stderr::error_line;
use crate::DataDir;
use crate::logs::{unknown_log, unreadable};

/// The number of lines, unless the command says otherwise.
const LINES_DEFAULT: usize = 100;

/// The interval at which a follower looks for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

pub(super) async fn logs(out: &mut Output, id: &str, args: LogArgs, data: DataDir) -> Result<(), CliError> {
    let dir = data.logs();
    let failed = |error: &io::Error| CliError::from_error(&unreadable(error));
    let Some(mut reader) = LogReader::open(&dir, id, &range(&args)).map_err(|error| failed(&error))? else {
        let known = list_logs(&dir).map_err(|error| failed(&error))?;
        let unknown = unknown_log(id, &known);
        let which =
            "only a program that the runtime starts has one: `mainstay agents` shows the agents' drivers";
        return Err(CliError::failed(unknown.reason, format!("{}; {which}", unknown.log_text())));
    };
    let mut dates = DateHeadings::default();
    loop {
        while let Some(item) = reader.next_item().map_err(|error| failed(&error))? {
            match item {
                LogItem::Line(line) => print_line(out, &mut dates, &line, args.json)?,
                LogItem::Lagged(files) => error_line(&format!(
                    "mainstay: {} of this log were deleted before they were read",
                    count(files, "file")
                )),
            }
        }
        if !args.follow {
            return Ok(());
        }
        sleep(FOLLOW_INTERVAL).await;
    }
}

fn range(args: &LogArgs) -> LogRange {
    let since = args.since.map(|age| {
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        WallTime(SystemClock.now().checked_sub(age).unwrap_or(Timestamp::MIN))
    });
    // A time alone asks for all lines since then.
    let lines = args.lines.or_else(|| since.is_none().then_some(LINES_DEFAULT));
    LogRange { lines, since }
}

fn print_line(
    out: &mut Output,
    dates: &mut DateHeadings,
    line: &LogLine,
    json: bool,
) -> Result<(), CliError> {
    if json {
        let line = Json::from_serialize(line).map_err(CliError::internal)?;
        return out.json_line(line.as_str());
    }
    let LogLine { at, stream, text } = line;
    let style = match stream {
        LogStream::Out => output::PLAIN,
        LogStream::Err => output::WARNING,
        LogStream::Note => output::DIM,
    };
    let clock = dates.clock(out, at.0)?;
    let (time, text) = (out.paint(&clock, output::DIM), escape_controls(text));
    out.line(format!("{time} {stream:<4} {}", out.paint(&text, style)).trim_end())
}
