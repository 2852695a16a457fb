//! What `tracing` gets of an event.

use std::fmt::{self, Write};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span;

use super::*;

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

/// Records an event, and returns what `tracing` gets of it: a field a line.
pub(super) fn trace_of<E: Event>(journal: &Journal, path: &ActorPath, event: &E) -> String {
    let trace = CapturedTrace::default();
    // With a single listener, tracing asks only the first thread whether it listens, and that may be another test's.
    let _second = tracing::Dispatch::new(CapturedTrace::default());
    tracing::subscriber::with_default(trace.clone(), || journal.record(path, 7, event));
    std::mem::take(&mut *trace.0.lock())
}

#[derive(Serialize)]
struct EndEvent {
    cause: &'static str,
    reason: Option<&'static str>,
    restarts: u32,
    by: &'static str,
}

test_event!(EndEvent, "gone");

#[tokio::test]
async fn trace_has_place_cause_and_reason_as_fields() {
    let (_dir, journal) = open_temp(JournalOptions::default());
    record_numbers(&journal, 0..2);
    let event = EndEvent { cause: "panic", reason: Some("stopped"), restarts: 2, by: "root" };
    let expected = "message=gone\nkind=\"gone\"\nactor=root\ngeneration=7\nrun=1\nseq=3\ncause=\"panic\"\n\
                    reason=\"stopped\"\nfields={\"by\":\"root\",\"restarts\":2}\n";
    assert_eq!(trace_of(&journal, &actor(), &event), expected);
    journal.close().await.unwrap();
    let trace = trace_of(&journal, &actor(), &EndEvent { reason: None, ..event });
    assert!(!trace.contains("seq=") && !trace.contains("reason="), "closed, it numbers nothing: {trace}");
}
