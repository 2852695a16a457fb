//! Reads the command line: the parts of a run and their sizes.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
Measures Mainstay beside its alternatives, in one run.

usage: mainstay-benches [options]

  --only LIST         of cast, call, crash, losses, requests, jobs, connection, hits, invalidation, files, agents, history,
                      memory, children; separated by commas (default: all)
  --rounds N          rounds of cast, call, crash, requests, jobs, hits and files for each contender, and at most 11 of
                      invalidation (default 21)
  --restarts N        restarts in the run that counts losses (default 100000)
  --children-max N    largest number of children in one process (default 100000)
  --jobs N            jobs that wait at once (default 100000)
  --reconnects N      how often the backend goes away and comes back for connection (default 100)
  --agents N          agents that are watched at once, at most 10000 (default 10000)
  --agents-s N        seconds over which watching agents is measured (default 60)
  --segment-kib N     size of each of the 8 segments of history's journal, in KiB (default 16384)
  --limit-s N         seconds after which a process of memory or children is killed (default 120)
  --workers N         worker threads of tokio (default: one for each core)
  --dir PATH          the folder for journals (default: the system's folder for temporary files)
  --check             exit with 1 if a target is missed
  --tolerance N       with --check: the percentage by which a ratio may exceed its target (default 10)
";

#[derive(Debug, Clone)]
pub(crate) struct BenchSettings {
    pub(crate) only: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) restarts: u64,
    pub(crate) children_max: u64,
    pub(crate) jobs: usize,
    pub(crate) reconnects: usize,
    pub(crate) agents: usize,
    pub(crate) agents_duration: Duration,
    pub(crate) segment_kib: u64,
    pub(crate) limit: Duration,
    pub(crate) workers: usize,
    pub(crate) dir: PathBuf,
    pub(crate) check: bool,
    pub(crate) tolerance_percent: u32,
}

const PARTS: [&str; 14] = [
    "cast",
    "call",
    "crash",
    "losses",
    "requests",
    "jobs",
    "connection",
    "hits",
    "invalidation",
    "files",
    "agents",
    "history",
    "memory",
    "children",
];

impl BenchSettings {
    fn new() -> Self {
        Self {
            only: PARTS.map(str::to_owned).to_vec(),
            rounds: 21,
            restarts: 100_000,
            children_max: 100_000,
            jobs: 100_000,
            reconnects: 100,
            agents: 10_000,
            agents_duration: Duration::from_secs(60),
            segment_kib: 16 * 1024,
            limit: Duration::from_secs(120),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            dir: std::env::temp_dir(),
            check: false,
            tolerance_percent: 10,
        }
    }

    pub(crate) fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self::new();
        while let Some(option) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{option} needs a value"));
            match option.as_str() {
                "--only" => settings.only = parts(&value()?)?,
                "--rounds" => settings.rounds = number(&option, &value()?)?,
                "--restarts" => settings.restarts = number(&option, &value()?)?,
                "--children-max" => settings.children_max = number(&option, &value()?)?,
                "--jobs" => settings.jobs = number(&option, &value()?)?,
                "--reconnects" => settings.reconnects = number(&option, &value()?)?,
                "--agents" => settings.agents = number(&option, &value()?)?,
                "--agents-s" => settings.agents_duration = Duration::from_secs(number(&option, &value()?)?),
                "--segment-kib" => settings.segment_kib = number(&option, &value()?)?,
                "--limit-s" => settings.limit = Duration::from_secs(number(&option, &value()?)?),
                "--workers" => settings.workers = number(&option, &value()?)?,
                "--dir" => settings.dir = value()?.into(),
                "--check" => settings.check = true,
                "--tolerance" => settings.tolerance_percent = number(&option, &value()?)?,
                _ => return Err(format!("there is no option {option}")),
            }
        }
        Ok(settings)
    }

    pub(crate) fn includes(&self, part: &str) -> bool {
        self.only.iter().any(|one| one == part)
    }
}

fn parts(list: &str) -> Result<Vec<String>, String> {
    let parts: Vec<String> = list.split(',').map(str::to_owned).collect();
    match parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        Some(unknown) => Err(format!("--only has no part {unknown:?}; the parts are {}", PARTS.join(", "))),
        None => Ok(parts),
    }
}

/// Parses a whole number that is at least 1.
fn number<T: TryFrom<u64>>(option: &str, text: &str) -> Result<T, String> {
    let number = text.parse::<u64>().ok().filter(|number| *number > 0);
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("{option} needs a whole number, at least 1, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<BenchSettings, String> {
        BenchSettings::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn parts_outside_only_are_excluded() {
        let settings = read("--only cast,memory");
        assert!(settings.is_ok_and(|settings| settings.includes("memory") && !settings.includes("call")));
    }

    #[test]
    fn invalid_option_is_refused_with_the_reason() {
        for (line, reason) in [
            ("--only casts", "casts"),
            ("--rounds", "needs a value"),
            ("--rounds 0", "at least 1"),
            ("--fast", "no option"),
        ] {
            let refusal = read(line).err().unwrap_or_default();
            assert!(refusal.contains(reason), "{line}: {refusal}");
        }
    }
}
