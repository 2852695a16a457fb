//! Keeps what programs print: in files of bounded size, without secrets, and readable while they are written.
//!
//! - [`LogStore`]: the logs of one runtime; [`ProcessLog`]: the log of one program, to which its pipes are read
//! - [`LogLine`]: a line, and its form in the file; `text`: a line from the bytes that were printed
//! - `flood`: the limit for a program that prints too much; pure
//! - `tail`: the last lines, for people; `traceback`: the ones that explain a crash; pure
//! - `files`: the files of one log; `writer`: the thread that writes them; `writer_link`: connects it to the sources
//! - [`LogReader`]: reads the files, also from another process; [`LogSubscription`]: the same as a stream
//!
//! A program never waits for a disk. Its lines wait in a queue, and what finds no room there is counted and left out.
//! The writer takes all lines that wait and writes them straight to the file. The end of this process, however it
//! comes, thus loses none of them.

mod events;
mod files;
mod flood;
mod line;
mod process_log;
mod reader;
mod store;
mod subscription;
mod tail;
mod text;
mod traceback;
mod writer;
mod writer_link;

pub use events::{LogsDegraded, OutputNoisy, OutputQuiet};
pub use files::list_logs;
pub use flood::LogRate;
pub use line::{LogLine, LogStream};
pub use process_log::ProcessLog;
pub use reader::{LogItem, LogRange, LogReader};
pub use store::LogStore;
pub use subscription::LogSubscription;
pub(crate) use text::shown_text;
pub use writer_link::LogSettings;
