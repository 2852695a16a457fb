//! Shows a view of the runtime once, or again each second until Ctrl-C.
//!
//! On a terminal each view takes the place of the one before. In a pipe, or on a dumb terminal, it follows that one.

use std::time::Duration;

use jiff::Timestamp;
use mainstay_actors::json::Json;
use mainstay_runtime::clock::{Clock, SystemClock};
use tokio::time::{MissedTickBehavior, interval};

use super::args::{OutputForm, WatchedArgs};
use super::client::BridgeClient;
use super::error::CliError;
use super::output::{self, Output};
use super::signals::Signals;
use crate::Reason;
use crate::bridge::BridgeCommand;

/// The time from one view to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows the answer to a command as `args` say; `render` writes it for a person.
pub(super) async fn show(
    out: &mut Output,
    client: &mut BridgeClient,
    args: WatchedArgs,
    command: BridgeCommand,
    render: impl Fn(&mut Output, &BridgeClient, &Json) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let form = args.output.form();
    out.set_wide(form.is_wide());
    if !args.watch {
        let answer = client.request(command).await?;
        return if form == OutputForm::Json { out.json(&answer) } else { render(out, client, &answer) };
    }
    let mut signals = Signals::listen()?;
    tokio::select! {
        // A request that hangs does not keep the command.
        () = signals.requested() => Ok(()),
        result = show_each_second(out, client, form, command, render) => match result {
            Err(failure) if failure.error().is_some_and(|error| error.reason == Reason::Stopped) => {
                Err(CliError::CheckFailed("the runtime has stopped".to_owned()))
            }
            result => result,
        },
    }
}

async fn show_each_second(
    out: &mut Output,
    client: &mut BridgeClient,
    form: OutputForm,
    command: BridgeCommand,
    render: impl Fn(&mut Output, &BridgeClient, &Json) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_first = true;
    loop {
        ticks.tick().await;
        let answer = client.request(command.clone()).await?;
        if form == OutputForm::Json {
            out.json_line(answer.as_str())?;
            continue;
        }
        let mut view = out.buffer();
        let heading = heading(out, SystemClock.now());
        view.line(&out.paint(&heading, output::DIM))?;
        render(&mut view, client, &answer)?;
        let text = view.take_text();
        match output::terminal_size().filter(|_| out.is_screen()) {
            Some((_, height)) => out.text(&frame(&text, height, is_first))?,
            None => out.text(&format!("{text}\n"))?,
        }
        is_first = false;
    }
}

fn heading(out: &Output, now: Timestamp) -> String {
    format!("{}, each second until Ctrl-C", out.options().times.moment(now, now))
}

/// Returns the text that replaces the view before it, cut to the height of the terminal. The terminal cuts lines that are
/// too long, so that each takes one row.
fn frame(text: &str, height: usize, is_first: bool) -> String {
    const CLEAR: &str = "\x1b[2J";
    const HOME_WITHOUT_WRAP: &str = "\x1b[?7l\x1b[H";
    const END_OF_LINE: &str = "\x1b[K\n";
    const REST_WITH_WRAP: &str = "\x1b[J\x1b[?7h";
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    // The cursor needs a row below the text.
    let rows = height.saturating_sub(1).max(1);
    if lines.len() > rows {
        let hidden = lines.len() - (rows - 1);
        lines.truncate(rows - 1);
        lines.push(format!("… and {hidden} more lines"));
    }
    let body: String = lines.iter().map(|line| format!("{line}{END_OF_LINE}")).collect();
    let clear = if is_first { CLEAR } else { "" };
    format!("{clear}{HOME_WITHOUT_WRAP}{body}{REST_WITH_WRAP}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_replaces_the_last_one_and_fits_the_height() {
        assert_eq!(frame("a\nb\n", 24, true), "\x1b[2J\x1b[?7l\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        let tall: String = (0..30).map(|number| format!("{number}\n")).collect();
        let shown = frame(&tall, 5, false);
        assert!(shown.starts_with("\x1b[?7l\x1b[H0\x1b[K\n1"), "{shown:?}");
        assert!(shown.contains("2\x1b[K\n… and 27 more lines\x1b[K\n\x1b[J"), "{shown:?}");
        assert_eq!(shown.matches('\n').count(), 4);
    }
}
