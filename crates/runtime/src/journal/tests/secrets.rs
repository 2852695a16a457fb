//! Secrets reach neither the disk, nor subscribers, nor `tracing`.

use super::traces::trace_of;
use super::*;

const SECRET: &str = "to\"ken\\ä\n";

fn config(secrets: &[&str]) -> JournalOptions {
    let secrets = KnownSecrets::new(secrets.iter().map(|secret| (*secret).to_owned()).collect());
    JournalOptions { secrets, ..JournalOptions::default() }
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
    let journal = in_memory(config(&["s3cret", SECRET]));
    let path = ActorPath::root("root").and_then(|root| root.child("agent-s3cret")).unwrap();
    let trace = trace_of(&journal, &path, &TextEvent { text: format!("{SECRET} and s3cret") });
    assert!(trace.contains("actor=root/agent-[redacted]"), "{trace}");
    assert!(trace.contains(r#"fields={"text":"[redacted] and [redacted]"}"#), "{trace}");
    let sentence = TextEvent { text: "[redacted] and [redacted]".to_owned() }.summary();
    assert!(trace.contains(&format!("message={sentence}\n")), "{trace}");
    assert!(!trace.contains("s3cret") && !trace.contains("ken"), "{trace}");
}
