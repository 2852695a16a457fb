//! Reads the system's processes: `/proc` on Linux, `ps` elsewhere.

use std::collections::{HashMap, HashSet};
use std::io;

#[cfg(any(target_os = "linux", test))]
use super::{super::spec::MARKER_VARIABLE, watchdog::WATCHDOG_VARIABLE};

/// A process as seen at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ProcessInfo {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) group: u32,
    /// The start time, as the system writes it. Together with the id it identifies one process for good.
    pub(super) started: String,
    /// True if it has exited and was not reaped yet.
    pub(super) is_zombie: bool,
    /// True if a signal or a debugger has stopped it, so that it does nothing.
    pub(super) is_suspended: bool,
    pub(super) resident_bytes: u64,
    pub(super) marker: OwnerMarker,
}

/// The owner that its environment names. Only Linux shows it.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is known to bear a mark there"))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum OwnerMarker {
    #[default]
    None,
    /// A runtime started the process, or an ancestor of it, under this marker.
    Process(String),
    /// The process is the watchdog of a runtime.
    Watchdog,
}

/// Returns the living processes among `all` that belong together.
///
/// These are the members of the group, if one is named, the bearers of the marker, and the descendants of both.
/// Watchdogs and their descendants are left out.
pub(super) fn group_members<'a>(
    all: &'a [ProcessInfo],
    group: Option<u32>,
    marker: &str,
) -> Vec<&'a ProcessInfo> {
    let mut children: HashMap<u32, Vec<&ProcessInfo>> = HashMap::new();
    for process in all.iter().filter(|process| process.marker != OwnerMarker::Watchdog) {
        children.entry(process.parent).or_default().push(process);
    }
    let is_marked =
        |process: &ProcessInfo| matches!(&process.marker, OwnerMarker::Process(mark) if mark == marker);
    let is_root = |process: &&ProcessInfo| {
        process.marker != OwnerMarker::Watchdog && (Some(process.group) == group || is_marked(process))
    };
    let mut waiting: Vec<&ProcessInfo> = all.iter().filter(is_root).collect();
    let (mut known, mut members) = (HashSet::new(), Vec::new());
    while let Some(process) = waiting.pop() {
        if known.insert(process.pid) {
            waiting.extend(children.get(&process.pid).into_iter().flatten());
            members.extend(Some(process).filter(|process| !process.is_zombie));
        }
    }
    members
}

/// Lists all visible processes. Markers are read only for those that started at `since` or later: descendants are
/// younger than their ancestors.
pub(super) fn list(since: &str) -> io::Result<Vec<ProcessInfo>> {
    #[cfg(target_os = "linux")]
    return proc::list(since);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = since;
        ps::list()
    }
}

/// Reads one process, without its marker.
pub(super) fn find(pid: u32) -> Option<ProcessInfo> {
    #[cfg(target_os = "linux")]
    return proc::find(pid);
    #[cfg(not(target_os = "linux"))]
    ps::list().ok()?.into_iter().find(|process| process.pid == pid)
}

/// Identifies the boot of the system: start times on Linux count from there.
pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(any(target_os = "linux", test))]
fn parse_marker(environment: &[u8]) -> OwnerMarker {
    let mut variables = environment.split(|byte| *byte == 0);
    let value = |variable: &[u8], name: &str| {
        variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec)
    };
    let found = variables.find_map(|variable| match value(variable, MARKER_VARIABLE) {
        Some(mark) => Some(OwnerMarker::Process(String::from_utf8_lossy(&mark).into_owned())),
        None => value(variable, WATCHDOG_VARIABLE).map(|_| OwnerMarker::Watchdog),
    });
    found.unwrap_or_default()
}

#[cfg(target_os = "linux")]
mod proc {
    use std::fs;
    use std::io::{self, Read};

    use super::{OwnerMarker, ProcessInfo, parse_marker};

    /// The part of an environment that is read, in bytes.
    const ENVIRONMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;

    pub(super) fn list(since: &str) -> io::Result<Vec<ProcessInfo>> {
        let since: u64 = since.parse().unwrap_or(0);
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry.ok().and_then(|entry| entry.file_name().to_str()?.parse().ok()) else {
                continue;
            };
            // A process that exits meanwhile is left out.
            let Some(mut process) = find(pid) else { continue };
            if !process.is_zombie && process.started.parse().is_ok_and(|started: u64| started >= since) {
                process.marker = read_marker(pid);
            }
            all.push(process);
        }
        Ok(all)
    }

    pub(super) fn find(pid: u32) -> Option<ProcessInfo> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(&String::from_utf8_lossy(&stat), rustix::param::page_size() as u64)
    }

    fn read_marker(pid: u32) -> OwnerMarker {
        let mut environment = Vec::new();
        // The environment of another user's process cannot be read; it is not ours.
        let read = fs::File::open(format!("/proc/{pid}/environ"))
            .and_then(|file| file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut environment));
        read.map_or(OwnerMarker::None, |_| parse_marker(&environment))
    }

    /// Parses proc_pid_stat(5). The name, in parentheses, may contain any character.
    pub(super) fn parse_stat(stat: &str, page_bytes: u64) -> Option<ProcessInfo> {
        let (pid, _) = stat.split_once(' ')?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let id = |field: usize| u32::try_from(number(field)?).ok();
        let state = fields.first()?;
        let is_zombie = ["Z", "X"].contains(state);
        Some(ProcessInfo {
            pid: pid.parse().ok()?,
            parent: id(4)?,
            group: id(5)?,
            // A process whose first thread has exited looks like this as well, while its other threads run.
            is_zombie: is_zombie && number(20)? <= 1,
            is_suspended: ["T", "t"].contains(state),
            started: number(22)?.to_string(),
            resident_bytes: number(24)?.saturating_mul(page_bytes),
            marker: OwnerMarker::None,
        })
    }
}

#[cfg(any(not(target_os = "linux"), test))]
mod ps {
    use std::io;
    use std::process::{Command, Stdio};

    use super::{OwnerMarker, ProcessInfo};

    // Linux has a better source; only tests use this one there.
    pub(super) fn list() -> io::Result<Vec<ProcessInfo>> {
        let mut ps = Command::new("ps");
        ps.args(["-A", "-o", "pid=,ppid=,pgid=,stat=,rss=,lstart="]);
        // Start times have to read the same at every look.
        ps.env("LC_ALL", "C").env("TZ", "UTC0").stdin(Stdio::null()).stderr(Stdio::null());
        let output = ps.output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(parse_line).collect())
    }

    pub(super) fn parse_line(line: &str) -> Option<ProcessInfo> {
        let mut fields = line.split_ascii_whitespace();
        let mut id = || fields.next()?.parse::<u32>().ok();
        let (pid, parent, group) = (id()?, id()?, id()?);
        let state = fields.next()?;
        let resident_bytes = fields.next()?.parse::<u64>().ok()?.saturating_mul(1024);
        let started = fields.collect::<Vec<_>>().join(" ");
        Some(ProcessInfo {
            pid,
            parent,
            group,
            started,
            is_zombie: state.starts_with('Z'),
            is_suspended: state.starts_with('T'),
            resident_bytes,
            marker: OwnerMarker::None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: u32, parent: u32, group: u32) -> ProcessInfo {
        ProcessInfo { pid, parent, group, started: "1".to_owned(), ..ProcessInfo::default() }
    }

    fn ids(all: &[ProcessInfo], group: Option<u32>) -> Vec<u32> {
        let mut ids: Vec<u32> =
            group_members(all, group, "ours-1").iter().map(|process| process.pid).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn group_members_include_detached_descendants() {
        // 12 has a session of its own, 13 is its child; 20 and 21 are unrelated.
        let all = [seen(10, 1, 10), seen(11, 10, 10), seen(12, 10, 12), seen(13, 12, 12), seen(20, 1, 20)];
        assert_eq!(ids(&all, Some(10)), [10, 11, 12, 13]);
        assert_eq!(ids(&all, None), [0_u32; 0]);
    }

    #[test]
    fn marked_processes_are_members_and_others_are_not() {
        let marked = |pid, mark: &str| ProcessInfo {
            marker: OwnerMarker::Process(mark.to_owned()),
            ..seen(pid, 1, pid)
        };
        let all = [marked(30, "ours-1"), seen(31, 30, 30), marked(32, "ours-12"), marked(33, "theirs-1")];
        assert_eq!(ids(&all, None), [30, 31]);
    }

    #[test]
    fn zombie_is_no_member_and_its_children_are() {
        let all = [ProcessInfo { is_zombie: true, ..seen(10, 1, 10) }, seen(12, 10, 12)];
        assert_eq!(ids(&all, Some(10)), [12]);
    }

    #[test]
    fn nested_watchdog_and_its_children_are_no_members() {
        let watchdog = ProcessInfo { marker: OwnerMarker::Watchdog, ..seen(11, 10, 11) };
        let all = [seen(10, 1, 10), watchdog, seen(12, 11, 11), seen(13, 10, 13)];
        assert_eq!(ids(&all, Some(10)), [10, 13]);
    }

    #[test]
    fn parent_cycle_ends_the_search() {
        assert_eq!(ids(&[seen(10, 11, 10), seen(11, 10, 11)], Some(10)), [10, 11]);
    }

    #[test]
    fn marker_is_parsed_only_from_its_own_variable() {
        let expected = OwnerMarker::Process("ours-1".to_owned());
        assert_eq!(parse_marker(b"A=1\0MAINSTAY_PROCESS=ours-1\0B=2\0"), expected);
        assert_eq!(parse_marker(b"MAINSTAY_WATCHDOG=1\0"), OwnerMarker::Watchdog);
        assert_eq!(parse_marker(b"MAINSTAY_PROCESS_X=1\0A=MAINSTAY_PROCESS=1\0"), OwnerMarker::None);
        assert_eq!(parse_marker(b""), OwnerMarker::None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn stat_line_is_parsed_for_any_program_name() {
        let tail = "S 7 42 42 0 -1 4194560 1 0 0 0 1 0 0 0 20 0 3 0 98765 1000 12 0";
        for name in ["sh", "a b", "a) S 1 (b", "))"] {
            let read = proc::parse_stat(&format!("43 ({name}) {tail}"), 4096).unwrap();
            let ProcessInfo { pid, parent, group, started, is_zombie: is_dead, resident_bytes, .. } = read;
            assert_eq!((pid, parent, group, started.as_str()), (43, 7, 42, "98765"), "{name}");
            assert_eq!((is_dead, resident_bytes), (false, 12 * 4096));
        }
        for (state, expected) in [("S", false), ("R", false), ("T", true), ("t", true)] {
            let stat = format!("43 (sh) {}", tail.replacen('S', state, 1));
            assert_eq!(proc::parse_stat(&stat, 1).unwrap().is_suspended, expected, "{state}");
        }
        let zombie = tail.replacen('S', "Z", 1);
        assert!(!proc::parse_stat(&format!("43 (sh) {zombie}"), 1).unwrap().is_zombie, "threads go on");
        let dead = zombie.replace(" 3 0 98765", " 1 0 98765");
        assert!(proc::parse_stat(&format!("43 (sh) {dead}"), 1).unwrap().is_zombie);
        for broken in ["", "43", "43 (sh", "43 (sh) ", "43 (sh) S", "x (sh) S 1 2"] {
            assert_eq!(proc::parse_stat(broken, 1), None, "{broken}");
        }
    }

    #[test]
    fn ps_line_is_parsed() {
        let read = ps::parse_line("  43     7    42 Ss+   1200 Tue Nov 25 18:22:00 2025").unwrap();
        assert_eq!((read.pid, read.parent, read.group), (43, 7, 42));
        assert_eq!((read.is_zombie, read.resident_bytes), (false, 1200 * 1024));
        assert_eq!(read.started, "Tue Nov 25 18:22:00 2025");
        assert!(ps::parse_line("43 7 42 Z 0 Tue Nov 25 18:22:00 2025").unwrap().is_zombie);
        assert!(ps::parse_line("43 7 42 T 0 Tue Nov 25 18:22:00 2025").unwrap().is_suspended);
        assert_eq!(ps::parse_line("PID PPID"), None);
    }

    #[test]
    fn own_process_is_listed_by_proc_and_ps() {
        let (own, parent) = (std::process::id(), std::os::unix::process::parent_id());
        let by_look = list("0").unwrap().into_iter().find(|process| process.pid == own).unwrap();
        assert_eq!((by_look.parent, by_look.is_zombie), (parent, false));
        assert!(by_look.resident_bytes > 100_000);
        assert_eq!(find(own).unwrap().started, by_look.started);
        let by_ps = ps::list().unwrap().into_iter().find(|process| process.pid == own).unwrap();
        assert_eq!((by_ps.parent, by_ps.group, by_ps.is_zombie), (parent, by_look.group, false));
        assert_eq!(by_ps.started.split(' ').count(), 5, "{}", by_ps.started);
    }
}
