//! `mainstay status --watch` on a terminal: a screen with the verdict, the tree, the agents, the requests, the incidents and a log.
//!
//! - `model`: the state of the screen, and the meaning of each key. Pure
//! - `view`: draws the state. Pure
//! - `poll`: asks the runtime each second, and carries commands out

mod model;
mod poll;
#[cfg(test)]
mod tests;
mod view;

use std::io;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::model::{KeyEffect, ScreenModel};
use super::error::CliError;
use super::signals::Signals;
use super::time::TimeFormat;
use crate::DataDir;

/// Commands and views on their way between the screen and the task that asks the runtime.
const IN_FLIGHT_MAX: usize = 16;

/// Shows the screen until a key or a signal ends it. The terminal is restored then, also after a panic.
pub(super) async fn show(data: DataDir, times: TimeFormat) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    let mut terminal = ratatui::try_init()?;
    let (commands, received_commands) = mpsc::channel(IN_FLIGHT_MAX);
    let (updates, mut received_updates) = mpsc::channel(IN_FLIGHT_MAX);
    let mut polling = JoinSet::new();
    polling.spawn(poll::run(data, received_commands, updates));
    let mut keys = EventStream::new();
    let mut model = ScreenModel::new();
    let ended = loop {
        if let Err(error) = terminal.draw(|frame| view::draw(frame, &model, &times)) {
            break Err(error);
        }
        tokio::select! {
            () = signals.requested() => break Ok(()),
            update = received_updates.recv() => match update {
                Some(update) => model.update(update),
                None => break Ok(()),
            },
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => match model.press(key) {
                    KeyEffect::Quit => break Ok(()),
                    // A full channel means that the runtime does not answer; the screen says so.
                    KeyEffect::Send(command) => drop(commands.try_send(command)),
                    KeyEffect::None => {}
                },
                // A resize: the next drawing has the new size.
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(error),
                None => break Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            },
        }
    };
    polling.abort_all();
    ratatui::restore();
    ended.map_err(CliError::unwritten)
}
