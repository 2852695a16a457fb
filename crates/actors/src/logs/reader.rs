//! Reads the files of a log while this process or another one writes them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::private_files::{PathKind, is_same_file};

use super::files::LogFiles;
use super::line::{LogLine, LogStream};

/// The size of one read, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// The longest line that is read, in bytes. The runtime writes none that is longer.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// The part of a log to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogRange {
    /// The number of last lines; `None` for all.
    pub lines: Option<usize>,
    /// The time of the first line; `None` for no limit.
    pub since: Option<WallTime>,
}

/// The next item of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogItem {
    /// The next line.
    Line(LogLine),
    /// So many files were deleted before this reader came to them, and with them their lines.
    Lagged(u64),
}

/// Reads a log from a place to its end, and what is added later. Blocks the thread while it reads.
#[derive(Debug)]
pub struct LogReader {
    files: LogFiles,
    file: Option<OpenFile>,
    /// Lines before this time are skipped until the first that is not.
    since: Option<Timestamp>,
    /// The last line's time, for lines that have none.
    last_at: WallTime,
    /// The bytes that are read and not taken yet, from `taken` on.
    buffer: Vec<u8>,
    taken: usize,
}

/// A file that is being read.
#[derive(Debug)]
struct OpenFile {
    file: File,
    /// The number that the file has, or that it gets when it is one of the older files.
    number: u64,
    /// The bytes that are read.
    position: u64,
}

impl LogReader {
    /// Opens the log `id` in a folder, at the beginning of a range. Returns `None` if there is no such log.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub fn open(dir: &Path, id: &str, range: &LogRange) -> io::Result<Option<Self>> {
        let Some(files) = LogFiles::new(dir, id) else { return Ok(None) };
        let mut reader = Self {
            files,
            file: None,
            since: range.since.map(|since| since.0),
            last_at: WallTime(Timestamp::UNIX_EPOCH),
            buffer: Vec::new(),
            taken: 0,
        };
        let found = match range.lines {
            Some(lines) => reader.seek_last(lines)?,
            None => reader.open_after(0)?.is_some(),
        };
        Ok(found.then_some(reader))
    }

    /// Returns the next item; `None` at the present end of the log. A later call returns what was added.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub fn next_item(&mut self) -> io::Result<Option<LogItem>> {
        loop {
            if let Some(line) = self.take_line() {
                match self.since {
                    Some(since) if line.at.0 < since => continue,
                    _ => self.since = None,
                }
                return Ok(Some(LogItem::Line(line)));
            }
            if self.fill()? {
                continue;
            }
            match self.advance()? {
                Advance::Ended => return Ok(None),
                Advance::Next => {}
                Advance::Skipped(files) => return Ok(Some(LogItem::Lagged(files))),
            }
        }
    }

    /// Reads a further piece of the file. Returns `false` at its end.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(open) = &mut self.file else { return Ok(false) };
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let known = self.buffer.len();
        self.buffer.resize(known + PIECE_BYTES, 0);
        let read = open.file.read(&mut self.buffer[known..]);
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(known + count);
        open.position += count as u64;
        read.map(|count| count > 0)
    }

    /// Takes the next whole line. A line without an end is taken if it is longer than any can be.
    fn take_line(&mut self) -> Option<LogLine> {
        let rest = &self.buffer[self.taken..];
        let (line, length) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&rest[..end], end + 1),
            None if rest.len() >= LINE_BYTES_MAX => (rest, rest.len()),
            None => return None,
        };
        let text = String::from_utf8_lossy(line);
        let line = LogLine::parse(&text).unwrap_or_else(|| {
            // Only the runtime writes to the file, but a crash may have cut a line.
            LogLine { at: self.last_at, stream: LogStream::Note, text: text.into_owned() }
        });
        (self.last_at, self.taken) = (line.at, self.taken + length);
        Some(line)
    }

    /// Goes on with the next file at the end of one.
    fn advance(&mut self) -> io::Result<Advance> {
        let Some(open) = &self.file else {
            return Ok(if self.open_after(0)?.is_some() { Advance::Next } else { Advance::Ended });
        };
        let is_current = match fs::metadata(self.files.current()) {
            Ok(at_path) => at_path.len() >= open.position && is_same_file(&open.file, &at_path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let number = open.number;
        let was_renamed = self.files.older_numbers()?.iter().any(|older| *older >= number);
        if is_current && !was_renamed {
            return Ok(Advance::Ended);
        }
        // Nothing is added to it any more, but something may have been before that.
        if self.fill()? {
            return Ok(Advance::Next);
        }
        let next = if was_renamed { self.open_after(number)? } else { self.open_after(0)? };
        Ok(match next {
            None => Advance::Ended,
            Some(found) if was_renamed && found > number + 1 => Advance::Skipped(found - number - 1),
            Some(_) => Advance::Next,
        })
    }

    /// Opens the first file behind the one of this number, and returns its number.
    fn open_after(&mut self, number: u64) -> io::Result<Option<u64>> {
        let Some(found) = self.find_after(number)? else { return Ok(None) };
        let number = found.number;
        self.buffer.clear();
        (self.taken, self.file) = (0, Some(found));
        Ok(Some(number))
    }

    fn find_after(&self, number: u64) -> io::Result<Option<OpenFile>> {
        loop {
            let older = self.files.older_numbers()?;
            let (path, number) = match older.iter().find(|older| **older > number) {
                Some(next) => (self.files.older(*next), *next),
                None => (self.files.current(), older.last().map_or(1, |newest| newest + 1).max(number + 1)),
            };
            match File::open(&path) {
                // A file that was renamed or deleted meanwhile is another than the number says.
                Ok(_) if self.files.older_numbers()? != older => {}
                Ok(file) => {
                    // Some systems open a folder as well.
                    PathKind::File.check(&path)?;
                    return Ok(Some(OpenFile { file, number, position: 0 }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if self.files.older_numbers()? == older {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(PathKind::File.error_at(&path)(error)),
            }
        }
    }

    /// Goes to the first of so many last lines. Returns whether there is a log.
    fn seek_last(&mut self, lines: usize) -> io::Result<bool> {
        let mut files = Vec::new();
        let mut number = 0;
        while let Some(found) = self.find_after(number)? {
            number = found.number;
            let is_last = !self.files.older_numbers()?.contains(&number);
            files.push(found);
            if is_last {
                break;
            }
        }
        let mut missing = lines;
        while let Some(mut open) = files.pop() {
            let (position, found) = find_last_lines(&mut open.file, missing)?;
            missing -= found;
            if missing == 0 || files.is_empty() {
                open.file.seek(SeekFrom::Start(position))?;
                open.position = position;
                self.file = Some(open);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The progress at the end of a file.
enum Advance {
    /// The file is the last one.
    Ended,
    /// There is more to read.
    Next,
    /// There is more to read, behind so many files that are gone.
    Skipped(u64),
}

/// Returns the position of the first of so many last lines of a file, and how many there are. A last line without an
/// end counts as well.
fn find_last_lines(file: &mut File, lines: usize) -> io::Result<(u64, usize)> {
    let end = file.seek(SeekFrom::End(0))?;
    let (mut begin, mut found, mut piece) = (end, 0, Vec::new());
    if lines == 0 {
        return Ok((end, 0));
    }
    while begin > 0 {
        let length = begin.min(PIECE_BYTES as u64);
        begin -= length;
        piece.resize(usize::try_from(length).unwrap_or(PIECE_BYTES), 0);
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut piece)?;
        for (at, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let line_start = begin + at as u64 + 1;
            if line_start < end {
                found += 1;
                if found == lines {
                    return Ok((line_start, found));
                }
            }
        }
    }
    Ok((0, found + usize::from(end > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::files::{FileLimits, LogFile};

    const LIMITS: FileLimits = FileLimits { file_bytes: 1000, files: 3 };

    fn line(n: usize) -> LogLine {
        let at = Timestamp::from_second(1_700_000_000 + n as i64).unwrap();
        LogLine { at: WallTime(at), stream: LogStream::Out, text: format!("line {n}") }
    }

    struct TestLog {
        dir: tempfile::TempDir,
        file: LogFile,
        next: usize,
    }

    impl TestLog {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = LogFile::open(LogFiles::new(dir.path(), "it").unwrap()).unwrap();
            Self { dir, file, next: 0 }
        }

        fn write(&mut self, lines: usize) {
            let first = self.next;
            self.next += lines;
            let text: String = (first..self.next).map(|n| format!("{}\n", line(n))).collect();
            self.file.append(&text, LIMITS).1.unwrap();
        }

        fn reader(&self, range: &LogRange) -> LogReader {
            LogReader::open(self.dir.path(), "it", range).unwrap().unwrap()
        }
    }

    /// Returns the numbers of the lines up to the present end, and how many files were missed.
    fn rest(reader: &mut LogReader) -> (Vec<usize>, u64) {
        let (mut lines, mut missed) = (Vec::new(), 0);
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                LogItem::Line(LogLine { text, .. }) => {
                    lines.push(text.strip_prefix("line ").unwrap().parse().unwrap())
                }
                LogItem::Lagged(files) => missed += files,
            }
        }
        (lines, missed)
    }

    fn last(lines: usize) -> LogRange {
        LogRange { lines: Some(lines), since: None }
    }

    #[test]
    fn range_chooses_last_lines_and_a_time() {
        let mut log = TestLog::new();
        log.write(100);
        for count in [0, 1, 5, 18, 19, 20, 46, 50] {
            let (lines, missed) = rest(&mut log.reader(&last(count)));
            assert_eq!((lines, missed), ((100 - count..100).collect(), 0), "{count}");
        }
        let (all, _) = rest(&mut log.reader(&LogRange::default()));
        assert!(all.len() > 50 && all.len() < 100, "the oldest files are gone: {all:?}");
        assert_eq!(rest(&mut log.reader(&last(1000))).0, all);
        let since = Some(line(97).at);
        assert_eq!(rest(&mut log.reader(&LogRange { lines: None, since })).0, [97, 98, 99]);
        assert_eq!(rest(&mut log.reader(&LogRange { lines: Some(2), since })).0, [98, 99]);
        assert_eq!(rest(&mut log.reader(&LogRange { lines: Some(5), since })).0, [97, 98, 99]);
        assert!(LogReader::open(log.dir.path(), "other", &last(3)).unwrap().is_none());
        assert!(LogReader::open(log.dir.path(), "../it", &last(3)).unwrap().is_none());
    }

    #[test]
    fn follower_gets_each_line_once_across_files() {
        let mut log = TestLog::new();
        log.write(3);
        let mut reader = log.reader(&last(2));
        assert_eq!(rest(&mut reader), (vec![1, 2], 0));
        for count in [0, 1, 10, 25, 3, 40, 0, 44] {
            let first = log.next;
            log.write(count);
            assert_eq!(rest(&mut reader), ((first..first + count).collect(), 0), "{count}");
        }
    }

    #[test]
    fn slow_follower_learns_of_files_that_are_gone() {
        let mut log = TestLog::new();
        log.write(3);
        let mut reader = log.reader(&last(1));
        log.write(200);
        let (lines, missed) = rest(&mut reader);
        // It has kept the file open in which it was.
        assert_eq!(lines[..3], [2, 3, 4]);
        assert_eq!(lines.last(), Some(&202));
        assert!(missed > 3 && lines.len() < 100, "{missed} {lines:?}");
        log.write(5);
        assert_eq!(rest(&mut reader), ((203..208).collect(), 0));
    }

    #[cfg(unix)]
    #[test]
    fn follower_goes_on_after_files_were_deleted() {
        let mut log = TestLog::new();
        log.write(60);
        let mut reader = log.reader(&last(1));
        assert_eq!(rest(&mut reader).0, [59]);
        for entry in fs::read_dir(log.dir.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        assert_eq!(rest(&mut reader).0.len(), 0);
        assert!(!log.file.is_in_place());
        log.file = LogFile::open(LogFiles::new(log.dir.path(), "it").unwrap()).unwrap();
        log.write(2);
        assert_eq!(rest(&mut reader).0, [60, 61]);
    }

    #[test]
    fn unfinished_line_is_read_once_it_has_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it.log");
        let text = format!("{}\n{}", line(0), line(1));
        fs::write(&path, &text).unwrap();
        let mut reader = LogReader::open(dir.path(), "it", &LogRange::default()).unwrap().unwrap();
        assert_eq!(rest(&mut reader).0, [0]);
        fs::write(&path, format!("{text}\n")).unwrap();
        assert_eq!(rest(&mut reader).0, [1]);
        fs::write(&path, format!("{text}\ntorn\n")).unwrap();
        let torn = LogLine { text: "torn".to_owned(), stream: LogStream::Note, ..line(1) };
        assert_eq!(reader.next_item().unwrap(), Some(LogItem::Line(torn)));
    }
}
