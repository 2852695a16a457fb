//! Secrets reach neither the disk, nor subscribers, nor `tracing`.

use std::fmt::{self, Write};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span;

use super::*;

const SECRET: &str = "to\"ken\\ä\n";

fn config(secrets: &[&str]) -> JournalOptions {
    let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    JournalOptions { secrets, ..JournalOptions::default() }
}

/// A subscriber that keeps what `tracing` receives.
#[derive(Clone, Default)]
struct CapturedTrace(Arc<Mutex<String>>);

struct FieldVisitor<'a>(&'a mut String);

impl Visit for FieldVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        writeln!(self.0, "{field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for CapturedTrace {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut FieldVisitor(&mut self.0.lock()));
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn secret_reaches_no_file_and_line_stays_valid() {
    let (dir, journal) = open_temp(config(&[SECRET]));
    journal.record(&actor(), 1, &TextEvent { text: format!("bearer {SECRET}!") });
    journal.flush().await;
    let text = fs::read_to_string(only_segment(dir.path())).unwrap();
    assert!(text.contains(r#""text":"bearer [redacted]!""#), "{text}");
    assert_eq!(seqs(&all_entries(dir.path())), [1]);
}

#[tokio::test]
async fn secret_added_later_reaches_no_file_from_then_on() {
    let (dir, journal) = open_temp(config(&["s3cret"]));
    journal.record(&actor(), 1, &TextEvent { text: "rotated".to_owned() });
    journal.add_secrets(["rotated".to_owned()]);
    journal.record(&actor(), 1, &TextEvent { text: "rotated and s3cret".to_owned() });
    assert_eq!(journal.redact("rotated"), "[redacted]");
    journal.flush().await;
    let text = fs::read_to_string(only_segment(dir.path())).unwrap();
    assert!(text.contains(r#""text":"[redacted] and [redacted]""#), "{text}");
    assert_eq!(text.matches("rotated").count(), 1, "{text}");
}

#[tokio::test]
async fn secret_in_text_or_path_reaches_no_subscriber() {
    let journal = in_memory(config(&["s3cret", SECRET]));
    let path = ActorPath::root("root").and_then(|root| root.child("s3cret-agent")).unwrap();
    journal.record(&path, 1, &TextEvent { text: SECRET.to_owned() });
    let Delivery::Event(record) = journal.subscribe().next().await else { panic!() };
    assert_eq!(record.actor.as_str(), "root/[redacted]-agent");
    assert_eq!(record.fields["text"], "[redacted]");
}

#[test]
fn secret_reaches_no_tracing_subscriber() {
    let trace = CapturedTrace::default();
    let journal = in_memory(config(&["s3cret", SECRET]));
    let path = ActorPath::root("root").and_then(|root| root.child("agent-s3cret")).unwrap();
    // With a single listener, tracing asks only the first thread whether it listens, and that may be another test's.
    let _second = tracing::Dispatch::new(CapturedTrace::default());
    tracing::subscriber::with_default(trace.clone(), || {
        journal.record(&path, 1, &TextEvent { text: format!("{SECRET} and s3cret") });
    });
    let trace = trace.0.lock();
    assert!(trace.contains("actor=root/agent-[redacted]"), "{trace}");
    assert!(trace.contains(r#"fields={"text":"[redacted] and [redacted]"}"#), "{trace}");
    let sentence = TextEvent { text: "[redacted] and [redacted]".to_owned() }.summary();
    assert!(trace.contains(&format!("message={sentence}\n")), "{trace}");
    assert!(!trace.contains("s3cret") && !trace.contains("ken"), "{trace}");
}
