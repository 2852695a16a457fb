//! Renders the run of a failed schedule, line by line, for the person who looks for the cause.

use mainstay::journal::Record;

use crate::run_result::RunResult;
use crate::schedule::Schedule;

/// Returns all events in the order of their time, in milliseconds of the journal. Faults and requests have their
/// planned times; on a slow machine they come later.
pub(crate) fn failure_report(schedule: &Schedule, result: &RunResult) -> String {
    let mut lines: Vec<(u64, String)> =
        result.records.iter().map(|record| (record.mono_ms, record_line(record))).collect();
    for fault in &schedule.faults {
        lines.push((result.began_ms + fault.at_ms, format!("   > {:?}", fault.action)));
        lines.push((result.began_ms + fault.ends_ms(), format!("   < {:?}", fault.action)));
    }
    for called in &result.calls {
        let (id, tag, call) = (called.id, &called.tag, &called.call);
        lines.push((
            result.began_ms + call.at_ms,
            format!("   ? {tag} is request {id}: {:?}, {:?}", call.kind, call.caller),
        ));
    }
    lines.sort_by_key(|(ms, _)| *ms);
    lines.into_iter().map(|(ms, line)| format!("{ms:>6} ms {line}\n")).collect()
}

fn record_line(record: &Record) -> String {
    // The inputs of decisions are long, and do not help here.
    let fields = record.fields.iter().filter(|(name, _)| *name != "inputs");
    let fields: Vec<String> = fields.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{:>4} {} {} {}", record.seq, record.actor, record.kind, fields.join(" "))
}
