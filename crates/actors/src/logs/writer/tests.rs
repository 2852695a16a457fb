use std::fs;

use mainstay_runtime::clock::SystemClock;
use mainstay_runtime::journal::{Delivery, JournalOptions, KnownSecrets};
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use crate::error::Secrets;
use crate::logs::{LogItem, LogRange, LogRate, LogSettings, LogStore, LogSubscription, ProcessLog};

/// The limit after which a test has failed.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

struct WriterFixture {
    dir: tempfile::TempDir,
    store: LogStore,
    journal: Journal,
    log: ProcessLog,
}

impl WriterFixture {
    fn new(rate: LogRate) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogSettings { file_bytes: 1 << 20, files: 3, rate };
        let store = LogStore::new(settings);
        let options = JournalOptions {
            secrets: KnownSecrets::new(vec!["j0urnal-secret".to_owned()]),
            ..JournalOptions::default()
        };
        let journal = Journal::in_memory("boot", Arc::new(SystemClock), options);
        store.start(Some(&dir.path().join("logs")), journal.clone()).unwrap();
        let log = store.get_or_create("it", ActorPath::root("it").ok());
        Self { dir, store, journal, log }
    }

    fn plenty() -> Self {
        Self::new(LogRate { lines_per_second: 100_000, bytes_per_second: 1 << 30 })
    }

    fn push(&self, text: &str) {
        let _ = self.log.push(LogStream::Out, text.as_bytes());
    }

    /// Returns the texts of the log once the writer has ended.
    async fn content(&self) -> Vec<String> {
        timeout(TEST_TIMEOUT, self.store.close()).await.unwrap();
        let items = self.store.read("it", LogRange::default()).await.unwrap().unwrap();
        items.into_iter().map(text).collect()
    }

    async fn wait_for(&self, kind: &str) -> String {
        let mut events = self.journal.subscribe();
        let wait = async {
            loop {
                if let Delivery::Event(record) = events.next().await
                    && record.kind == kind
                {
                    return serde_json::to_string(&record.fields).unwrap();
                }
            }
        };
        timeout(TEST_TIMEOUT, wait).await.unwrap()
    }
}

fn text(item: LogItem) -> String {
    match item {
        LogItem::Line(LogLine { stream, text, .. }) => format!("{stream} {text}"),
        LogItem::Lagged(files) => format!("lagged {files}"),
    }
}

async fn next_text(log: &mut LogSubscription) -> Option<String> {
    timeout(TEST_TIMEOUT, log.next()).await.unwrap().map(|item| text(item.unwrap()))
}

#[tokio::test]
async fn lines_are_in_the_file_with_stream_and_without_secrets() {
    let fixture = WriterFixture::plenty();
    fixture.log.begin(Secrets::from_texts(["s3cret-t0ken".to_owned()]));
    fixture.log.note("process 7 has started");
    fixture.push("one s3cret-t0ken\ntwo j0urnal-secret\n");
    let _ = fixture.log.push(LogStream::Err, b"open");
    fixture.log.end("process 7 has ended");
    let expected = [
        "note process 7 has started",
        "out one [redacted]",
        "out two [redacted]",
        "err open",
        "note process 7 has ended",
    ];
    assert_eq!(fixture.content().await, expected);
}

#[tokio::test]
async fn subscriber_gets_each_line_once_and_the_end() {
    let fixture = WriterFixture::plenty();
    fixture.push("0\n1\n2\n");
    let (stop, has_stopped) = watch::channel(false);
    let range = LogRange { lines: Some(2), since: None };
    let follow = async || fixture.store.follow("it", range, has_stopped.clone()).await.unwrap();
    let mut log = loop {
        // The writer is another thread.
        if let Some(log) = follow().await {
            break log;
        }
    };
    for n in 3..2000 {
        fixture.push(&format!("{n}\n"));
    }
    let first = next_text(&mut log).await.unwrap();
    let first: usize = first.strip_prefix("out ").unwrap().parse().unwrap();
    assert!(first <= 1, "{first}");
    for n in first + 1..2000 {
        assert_eq!(next_text(&mut log).await.unwrap(), format!("out {n}"));
    }
    fixture.push("last\n");
    fixture.store.close().await;
    stop.send_replace(true);
    assert_eq!(next_text(&mut log).await.as_deref(), Some("out last"));
    assert_eq!(next_text(&mut log).await, None);
    assert!(fixture.store.follow("other", range, has_stopped).await.unwrap().is_none());
}

#[tokio::test]
async fn flood_is_noted_once_counted_and_ends_with_its_last_lines() {
    let fixture = WriterFixture::new(LogRate { lines_per_second: 1, bytes_per_second: 1 << 30 });
    let lines: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    for piece in lines.as_bytes().chunks(100) {
        let _ = fixture.log.push(LogStream::Out, piece);
    }
    assert!(fixture.log.is_noisy());
    assert!(fixture.wait_for("output_noisy").await.contains("\"lines_per_second\":1"));
    fixture.log.end("it has ended");
    let quiet = fixture.wait_for("output_quiet").await;
    let content = fixture.content().await;
    let dropped = 1000 - content.iter().take_while(|line| line.starts_with("out ")).count();
    assert!(quiet.contains(&format!("\"dropped_lines\":{dropped}")), "{quiet} {content:?}");
    let notes: Vec<_> = content.iter().filter(|line| line.starts_with("note ")).collect();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(
        notes[0].contains("more than 1 line or") && notes[1].contains(&format!("left out {dropped} lines"))
    );
    assert_eq!(content[content.len() - 3..], ["out line 998", "out line 999", "note it has ended"]);
}

#[tokio::test]
async fn refused_lines_wait_and_degrade_until_the_disk_takes_them() {
    let fixture = WriterFixture::plenty();
    let place = fixture.dir.path().join("logs");
    fs::write(&place, "no folder").unwrap();
    fixture.push("one\n");
    assert!(fixture.wait_for("logs_degraded").await.contains("logs/it.log"));
    assert!(fixture.store.degraded().unwrap().contains("logs/it.log"));
    for _ in 0..3000 {
        fixture.push(&format!("{}\n", "x".repeat(1000)));
    }
    fs::remove_file(&place).unwrap();
    let content = fixture.content().await;
    assert_eq!(fixture.store.degraded(), None);
    assert_eq!(content[0], "out one");
    let missing = content.iter().find(|line| line.contains("are missing here")).unwrap();
    let kept = content.iter().filter(|line| line.starts_with("out x")).count();
    assert!(kept > 500 && missing.starts_with(&format!("note {} lines", 3000 - kept)), "{kept} {missing}");
}

#[cfg(unix)]
#[tokio::test]
async fn deleted_file_is_begun_again_with_a_note() {
    let fixture = WriterFixture::plenty();
    fixture.push("one\n");
    let path = fixture.dir.path().join("logs/it.log");
    let mut written = fixture.store.written();
    timeout(TEST_TIMEOUT, written.wait_for(|groups| *groups > 0)).await.unwrap().unwrap();
    fs::remove_file(&path).unwrap();
    fixture.push("two\n");
    let content = fixture.content().await;
    assert!(content[0].starts_with("note the file of this log was deleted"), "{content:?}");
    assert_eq!(content[1..], ["out two"]);
}

#[tokio::test]
async fn runtime_without_folder_writes_nothing_and_ends() {
    let store = LogStore::new(LogSettings {
        file_bytes: 1 << 20,
        files: 2,
        rate: LogRate { lines_per_second: 10, bytes_per_second: 1000 },
    });
    let journal = Journal::in_memory("boot", Arc::new(SystemClock), JournalOptions::default());
    store.start(None, journal).unwrap();
    let log = store.get_or_create("it", None);
    let _ = log.push(LogStream::Out, b"one\n");
    assert_eq!(log.excerpt(), ["one"]);
    assert!(store.read("it", LogRange::default()).await.unwrap().is_none());
    timeout(TEST_TIMEOUT, store.close()).await.unwrap();
}
