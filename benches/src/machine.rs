//! Describes the machine of the measurement.

use std::process::Command;

use crate::contender::BenchError;
use crate::settings::BenchSettings;

/// Returns a line for each fact about the machine, without those that cannot be read.
pub(crate) fn description(settings: &BenchSettings) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = first_value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let rustc = Command::new("rustc").arg("--version").output().ok();
    let rustc = rustc.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    format!(
        "cpu      {cpu}, {cores} cores\nrustc    {}\nload     {}\nworkers  {}, journals in {}\n",
        rustc.trim(),
        load(),
        settings.workers,
        settings.dir.display(),
    )
}

/// Returns the system's load over 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Returns the resident memory of this process. Only Linux provides it.
pub(crate) fn resident_bytes() -> Result<u64, BenchError> {
    const PAGE_BYTES: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 =
        statm.split_whitespace().nth(1).ok_or("/proc/self/statm has no second figure")?.parse()?;
    Ok(pages * PAGE_BYTES)
}

fn first_value(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
