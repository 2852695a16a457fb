//! Reads events from one stream of lines, from any source.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use super::reader::{Entry, LINE_BYTES_MAX};

/// A reader of the lines of one stream: of a single segment, or of the printed lines of a journal.
///
/// It does not report missing numbers, because printed lines may be a selection.
#[derive(Debug)]
pub struct Lines<R> {
    stream: R,
    name: PathBuf,
    offset_bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads `stream`. Reports of damage call it `name`.
    pub fn new(stream: R, name: impl Into<PathBuf>) -> Self {
        Self { stream, name: name.into(), offset_bytes: 0 }
    }

    /// Returns the next entry; `None` at the end.
    ///
    /// A last line without a line break counts if it is whole. If it is not, its writer never finished it and the
    /// next run would cut it away, so it is skipped, as [`Reader`](super::Reader) does.
    ///
    /// # Errors
    /// Returns an error if the stream cannot be read.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut line = Vec::new();
        let read = self.stream.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        let offset_bytes = self.offset_bytes;
        self.offset_bytes += read as u64;
        let has_end = line.pop_if(|last| *last == b'\n').is_some();
        if read == 0 {
            return Ok(None);
        }
        if !has_end && read == LINE_BYTES_MAX {
            let reason = format!("the line has no end within {LINE_BYTES_MAX} bytes");
            return Ok(Some(Entry::Damaged { file: self.name.clone(), offset_bytes, reason }));
        }
        let entry = Entry::from_line(line, &self.name, offset_bytes);
        Ok(Some(entry).filter(|entry| has_end || matches!(entry, Entry::Event(..))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Record;
    use crate::journal::line::{LineEncoder, UnsequencedLine};

    fn line(seq: u64) -> String {
        let unsequenced = UnsequencedLine::new("root", 0, "noted", "{}");
        LineEncoder::new(1).encode(seq, jiff::Timestamp::UNIX_EPOCH, 0, &unsequenced).to_string()
    }

    fn read(text: &[u8]) -> Vec<Entry> {
        let mut lines = Lines::new(text, "here");
        std::iter::from_fn(|| lines.next_entry().unwrap()).collect()
    }

    #[test]
    fn damaged_line_is_reported_with_its_offset() {
        let (first, third) = (line(1), line(3));
        let text = format!("{first}\n{}\n{third}\n", line(2).replace("root", "loot"));
        let entries = read(text.as_bytes());
        assert_eq!(entries.len(), 3, "{entries:?}");
        assert_eq!(entries[0], Entry::Event(Box::new(Record::parse(&first).unwrap()), first.clone()));
        let Entry::Damaged { file, offset_bytes, reason } = &entries[1] else { panic!("{entries:?}") };
        assert_eq!((file.to_str(), *offset_bytes), (Some("here"), first.len() as u64 + 1));
        assert!(reason.contains("checksum"), "{reason}");
        assert!(matches!(&entries[2], Entry::Event(record, _) if record.seq == 3));
    }

    #[test]
    fn last_line_without_newline_counts_if_complete() {
        let whole = format!("{}\n{}", line(1), line(2));
        assert_eq!(read(whole.as_bytes()).len(), 2);
        assert_eq!(read(&whole.as_bytes()[..whole.len() - 3]).len(), 1);
        assert_eq!(read(b""), []);
    }

    #[test]
    fn endless_line_is_damaged_and_not_buffered() {
        let endless = vec![b'x'; LINE_BYTES_MAX + 7];
        let entries = read(&endless);
        assert!(matches!(&entries[..], [Entry::Damaged { offset_bytes: 0, .. }]), "{}", entries.len());
    }

    #[test]
    fn non_utf8_line_is_damaged() {
        assert!(matches!(&read(b"\xff\xfe\n")[..], [Entry::Damaged { .. }]));
    }
}
