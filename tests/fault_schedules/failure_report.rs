//! What happened, line by line, for whoever has to find out why a schedule failed.

use mainstay::runtime::journal::Record;

use crate::run_result::RunResult;
use crate::schedule::Schedule;

/// Everything in the order of its time, in milliseconds of the journal. Troubles and requests stand where they were
/// planned; on a slow machine they come later.
pub(crate) fn failure_report(schedule: &Schedule, lived: &RunResult) -> String {
    let mut lines: Vec<(u64, String)> =
        lived.records.iter().map(|record| (record.mono_ms, record_line(record))).collect();
    for trouble in &schedule.faults {
        lines.push((lived.began_ms + trouble.at_ms, format!("   > {:?}", trouble.action)));
        lines.push((lived.began_ms + trouble.ends_ms(), format!("   < {:?}", trouble.action)));
    }
    for called in &lived.calls {
        let (id, tag, call) = (called.id, &called.tag, &called.call);
        lines.push((
            lived.began_ms + call.at_ms,
            format!("   ? {tag} is request {id}: {:?}, {:?}", call.kind, call.caller),
        ));
    }
    lines.sort_by_key(|(ms, _)| *ms);
    lines.into_iter().map(|(ms, line)| format!("{ms:>6} ms {line}\n")).collect()
}

fn record_line(record: &Record) -> String {
    // What decisions followed from is long, and does not help here.
    let fields = record.fields.iter().filter(|(name, _)| *name != "inputs");
    let fields: Vec<String> = fields.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{:>4} {} {} {}", record.seq, record.actor, record.kind, fields.join(" "))
}
