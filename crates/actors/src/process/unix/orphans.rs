//! Finds and ends the orphans of an earlier run, from its PID file.

use std::future::pending;
use std::time::Duration;

use futures_util::future::join_all;

use super::super::manager::Orphan;
use super::super::shutdown::ShutdownSequence;
use super::pid_file::PidFileEntry;
use super::process_group::{ProcessSet, list_processes, shut_down as end_target};
use super::process_table::{ProcessInfo, group_members};

/// The time that orphans get to end by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// The remains of a recorded process.
#[derive(Debug, PartialEq, Eq)]
struct OrphanMatch<'a> {
    entry: &'a PidFileEntry,
    /// True if the recorded process itself is there, so that the group of its id is its own. Otherwise the group may
    /// be another's, and only processes with the marker are known to be its own.
    has_leader: bool,
    processes: usize,
}

/// Returns the recorded processes, and their descendants, that are among `processes`. A process with the same id and
/// another start time is a different one.
fn find_orphans<'a>(
    entries: &'a [PidFileEntry],
    boot: &str,
    processes: &[ProcessInfo],
) -> Vec<OrphanMatch<'a>> {
    // Before the system was restarted, ids and start times meant other processes.
    let entries = entries.iter().filter(|entry| entry.boot == boot);
    let matched = entries.map(|entry| {
        let is_leader =
            |processes: &&ProcessInfo| processes.pid == entry.pid && processes.started == entry.started;
        // A process under this id with another start time is unrelated, and so is its group.
        let has_leader = !entry.started.is_empty() && processes.iter().any(|processes| is_leader(&processes));
        let group = has_leader.then_some(entry.pid);
        OrphanMatch { entry, has_leader, processes: group_members(processes, group, &entry.marker).len() }
    });
    matched.filter(|found| found.processes > 0).collect()
}

/// Ends the remains of the recorded processes, and returns them.
pub(super) async fn end_orphans(entries: &[PidFileEntry], boot: &str) -> Vec<Orphan> {
    if entries.is_empty() {
        return Vec::new();
    }
    // On a system that shows no processes, none can be identified, so none is touched.
    let Ok(processes) = list_processes(String::new()).await else { return Vec::new() };
    let shutdowns = find_orphans(entries, boot, &processes).into_iter().map(async |found| {
        let target = ProcessSet {
            group: found.has_leader.then_some(found.entry.pid),
            marker: found.entry.marker.clone(),
            // Leaders come before their descendants. If a leader is gone, all are looked at.
            started_since: String::new(),
        };
        let survivors = end_target(&target, ShutdownSequence::new(GRACE), pending(), pending()).await;
        let PidFileEntry { name, pid, .. } = found.entry.clone();
        Orphan { name, pid, processes: found.processes, survivors }
    });
    join_all(shutdowns).await
}

#[cfg(test)]
mod tests {
    use super::super::process_table::OwnerMarker;
    use super::*;

    fn entry(pid: u32, started: &str, boot: &str) -> PidFileEntry {
        let (started, boot) = (started.to_owned(), boot.to_owned());
        PidFileEntry { name: format!("agent-{pid}"), pid, started, boot, marker: format!("m-{pid}") }
    }

    fn seen(pid: u32, group: u32, started: &str) -> ProcessInfo {
        ProcessInfo { pid, parent: 1, group, started: started.to_owned(), ..ProcessInfo::default() }
    }

    fn matched(entries: &[PidFileEntry], all: &[ProcessInfo]) -> Vec<(u32, bool, usize)> {
        let matched = find_orphans(entries, "now", all);
        matched.iter().map(|found| (found.entry.pid, found.has_leader, found.processes)).collect()
    }

    #[test]
    fn orphan_is_matched_by_pid_and_start_with_its_group() {
        let all = [seen(7, 7, "100"), seen(8, 7, "101"), seen(9, 9, "100")];
        assert_eq!(matched(&[entry(7, "100", "now")], &all), [(7, true, 2)]);
    }

    #[test]
    fn process_with_a_reused_pid_is_no_orphan() {
        let all = [seen(7, 7, "555"), seen(8, 7, "556")];
        assert_eq!(matched(&[entry(7, "100", "now")], &all), []);
    }

    #[test]
    fn entry_from_before_a_reboot_matches_nothing() {
        assert_eq!(matched(&[entry(7, "100", "before")], &[seen(7, 7, "100")]), []);
    }

    #[test]
    fn unknown_start_times_never_match() {
        assert_eq!(matched(&[entry(7, "", "now")], &[seen(7, 7, "")]), []);
    }

    #[test]
    fn without_its_leader_only_marked_processes_match() {
        let marked = ProcessInfo { marker: OwnerMarker::Process("m-7".to_owned()), ..seen(12, 12, "101") };
        let all = [seen(11, 7, "101"), marked];
        assert_eq!(matched(&[entry(7, "100", "now")], &all), [(7, false, 1)]);
    }

    #[test]
    fn zombie_is_no_orphan() {
        let all = [ProcessInfo { is_zombie: true, ..seen(7, 7, "100") }];
        assert_eq!(matched(&[entry(7, "100", "now")], &all), []);
    }
}
