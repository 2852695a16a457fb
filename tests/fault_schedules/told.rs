//! What happened, line by line, for whoever has to find out why a schedule failed.

use mainstay::runtime::journal::Record;

use crate::lived::Lived;
use crate::schedule::Schedule;

/// Everything in the order of its time, in milliseconds of the journal. Troubles and requests stand where they were
/// planned; on a slow machine they come later.
pub(crate) fn story(schedule: &Schedule, lived: &Lived) -> String {
    let mut lines: Vec<(u64, String)> =
        lived.records.iter().map(|record| (record.mono_ms, of_record(record))).collect();
    for trouble in &schedule.troubles {
        lines.push((lived.began_ms + trouble.at_ms, format!("   > {:?}", trouble.what)));
        lines.push((lived.began_ms + trouble.ends_ms(), format!("   < {:?}", trouble.what)));
    }
    for called in &lived.calls {
        let (id, tag, call) = (called.id, &called.tag, &called.call);
        lines.push((
            lived.began_ms + call.at_ms,
            format!("   ? {tag} is request {id}: {:?}, {:?}", call.what, call.patience),
        ));
    }
    lines.sort_by_key(|(ms, _)| *ms);
    lines.into_iter().map(|(ms, line)| format!("{ms:>6} ms {line}\n")).collect()
}

fn of_record(record: &Record) -> String {
    // What decisions followed from is long, and does not help here.
    let fields = record.fields.iter().filter(|(name, _)| *name != "inputs");
    let fields: Vec<String> = fields.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{:>4} {} {} {}", record.seq, record.actor, record.kind, fields.join(" "))
}
