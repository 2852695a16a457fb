//! What a run before has left behind: found by what was recorded of it, and ended.

use std::time::Duration;

use futures_util::future::join_all;

use super::super::warden::Leftover;
use super::body::{Target, end as end_target, look};
use super::record::Entry;
use super::sight::{Seen, members};

/// What is left is given so long to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// What of a recorded process still runs.
#[derive(Debug, PartialEq, Eq)]
struct Match<'a> {
    entry: &'a Entry,
    /// The recorded process itself is there, so the group of its id is its own. Where it has gone, the group may be
    /// another's, and only what bears the mark is known to be left of it.
    has_leader: bool,
    processes: usize,
}

/// Which of the recorded processes, or of what they started, are among those that were `seen`. Whoever merely has the id
/// of one, and another time of start, is not.
fn matches<'a>(entries: &'a [Entry], boot: &str, seen: &[Seen]) -> Vec<Match<'a>> {
    // Before the system was restarted, ids and times of start meant other processes.
    let entries = entries.iter().filter(|entry| entry.boot == boot);
    let matched = entries.map(|entry| {
        let is_leader = |seen: &&Seen| seen.pid == entry.pid && seen.started == entry.started;
        // Whatever runs under its id and was not started then is another's, and so is that one's group.
        let has_leader = !entry.started.is_empty() && seen.iter().any(|seen| is_leader(&seen));
        let group = has_leader.then_some(entry.pid);
        Match { entry, has_leader, processes: members(seen, group, &entry.marker).len() }
    });
    matched.filter(|found| found.processes > 0).collect()
}

/// Ends what is left of the recorded processes, and says what that was.
pub(super) async fn end(entries: &[Entry], boot: &str) -> Vec<Leftover> {
    if entries.is_empty() {
        return Vec::new();
    }
    // Where processes are not shown, none can be told from another that has got its id, so none is touched.
    let Ok(seen) = look(String::new()).await else { return Vec::new() };
    let endings = matches(entries, boot, &seen).into_iter().map(async |found| {
        let target = Target {
            group: found.has_leader.then_some(found.entry.pid),
            marker: found.entry.marker.clone(),
            // Leaders come before what they start; where one has gone, all are looked at.
            since: String::new(),
        };
        let left = end_target(&target, GRACE, std::future::pending()).await;
        let Entry { name, pid, .. } = found.entry.clone();
        Leftover { name, pid, processes: found.processes, left }
    });
    join_all(endings).await
}

#[cfg(test)]
mod tests {
    use super::super::sight::Mark;
    use super::*;

    fn entry(pid: u32, started: &str, boot: &str) -> Entry {
        let (started, boot) = (started.to_owned(), boot.to_owned());
        Entry { name: format!("agent-{pid}"), pid, started, boot, marker: format!("m-{pid}") }
    }

    fn seen(pid: u32, group: u32, started: &str) -> Seen {
        Seen { pid, parent: 1, group, started: started.to_owned(), ..Seen::default() }
    }

    fn found(entries: &[Entry], all: &[Seen]) -> Vec<(u32, bool, usize)> {
        let matched = matches(entries, "now", all);
        matched.iter().map(|found| (found.entry.pid, found.has_leader, found.processes)).collect()
    }

    #[test]
    fn a_process_is_found_by_its_id_and_its_start_with_all_of_its_group() {
        let all = [seen(7, 7, "100"), seen(8, 7, "101"), seen(9, 9, "100")];
        assert_eq!(found(&[entry(7, "100", "now")], &all), [(7, true, 2)]);
    }

    #[test]
    fn a_process_that_merely_got_the_id_is_spared() {
        let all = [seen(7, 7, "555"), seen(8, 7, "556")];
        assert_eq!(found(&[entry(7, "100", "now")], &all), []);
    }

    #[test]
    fn nothing_is_looked_for_that_was_recorded_before_the_system_was_restarted() {
        assert_eq!(found(&[entry(7, "100", "before")], &[seen(7, 7, "100")]), []);
    }

    #[test]
    fn a_process_whose_start_is_not_known_is_not_taken_for_one_whose_start_is_not_known_either() {
        assert_eq!(found(&[entry(7, "", "now")], &[seen(7, 7, "")]), []);
    }

    #[test]
    fn where_the_process_itself_has_gone_only_what_bears_its_mark_is_left_of_it() {
        let marked = Seen { mark: Mark::Process("m-7".to_owned()), ..seen(12, 12, "101") };
        let all = [seen(11, 7, "101"), marked];
        assert_eq!(found(&[entry(7, "100", "now")], &all), [(7, false, 1)]);
    }

    #[test]
    fn a_process_that_has_ended_but_was_not_waited_for_is_no_leftover() {
        let all = [Seen { is_dead: true, ..seen(7, 7, "100") }];
        assert_eq!(found(&[entry(7, "100", "now")], &all), []);
    }
}
