//! Measures start, stop and memory of many children under one supervisor.
//!
//! Each figure comes from a process of its own: no contender finds another's memory, and a slow one can be killed.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::kameo::KameoSpawner;
use crate::contender::mainstay::MainstaySpawner;
use crate::contender::ractor::RactorSpawner;
use crate::contender::{BenchError, ChildSpawner, LiveGuard};
use crate::machine::resident_bytes;
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;

/// The first argument of a process that measures one figure.
pub(crate) const SUBCOMMAND: &str = "children";
/// The number of tasks that add children at the same time.
const ADDERS: u64 = 64;
/// The rounds of each size. A process is expensive, and the largest ones are steady.
const ROUNDS: usize = 3;
const SIZES: [u64; 3] = [1_000, 10_000, 100_000];
const NAMES: [&str; 3] = ["mainstay", "ractor", "kameo"];

/// The figures of one process.
#[derive(Debug, Clone, Copy)]
struct Measurement {
    /// Microseconds to start a child.
    start_each: f64,
    /// Microseconds to stop a child.
    stop_each: f64,
    bytes_each: f64,
}

/// The order in which children are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AddMode {
    OneByOne,
    Concurrent,
    AfterCall,
}

impl AddMode {
    const ALL: [(Self, &'static str); 3] =
        [(Self::OneByOne, "one-by-one"), (Self::Concurrent, "at-once"), (Self::AfterCall, "greeted")];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(mode, _)| *mode == self).map_or("", |(_, name)| name)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, one)| *one == name).map(|(mode, _)| *mode)
    }
}

// === in the process that measures ===

/// Runs the measurement that `args` name, and prints its figures.
pub(crate) async fn run_subcommand(args: &[String], dir: &Path) -> Result<(), BenchError> {
    let [contender, mode, children] = args else { return Err("a subprocess has three arguments".into()) };
    let mode = AddMode::from_name(mode).ok_or("there is no such mode")?;
    let children = children.parse()?;
    let measurement = match contender.as_str() {
        "mainstay" => measure_children_of::<MainstaySpawner>(mode, children, dir).await?,
        "ractor" => measure_children_of::<RactorSpawner>(mode, children, dir).await?,
        "kameo" => measure_children_of::<KameoSpawner>(mode, children, dir).await?,
        _ => return Err("there is no such contender".into()),
    };
    println!("{} {} {}", measurement.start_each, measurement.stop_each, measurement.bytes_each);
    Ok(())
}

async fn measure_children_of<N: ChildSpawner>(
    mode: AddMode,
    children: u64,
    dir: &Path,
) -> Result<Measurement, BenchError> {
    let spawner = N::start(dir).await?;
    let resident_before = resident_bytes()?;
    let begun = Instant::now();
    match mode {
        AddMode::OneByOne | AddMode::AfterCall => {
            for number in 0..children {
                spawner.add(number, mode == AddMode::AfterCall).await?;
            }
        }
        AddMode::Concurrent => add_at_once(&spawner, children).await?,
    }
    let started = begun.elapsed();
    if LiveGuard::count() != children {
        return Err(format!("{} of {children} children are alive", LiveGuard::count()).into());
    }
    // No event says when the allocator has returned the memory that only the start needed.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let resident_after = resident_bytes()?;
    let begun = Instant::now();
    spawner.stop().await;
    while LiveGuard::count() > 0 {
        tokio::task::yield_now().await;
    }
    let stopped = begun.elapsed();
    let each = |time: Duration| time.as_nanos() as f64 / 1e3 / children as f64;
    Ok(Measurement {
        start_each: each(started),
        stop_each: each(stopped),
        bytes_each: resident_after.saturating_sub(resident_before) as f64 / children as f64,
    })
}

async fn add_at_once<N: ChildSpawner>(spawner: &N, children: u64) -> Result<(), BenchError> {
    let mut adders = tokio::task::JoinSet::new();
    for first in 0..ADDERS {
        let spawner = spawner.clone();
        adders.spawn(async move {
            for number in (first..children).step_by(ADDERS as usize) {
                spawner.add(number, false).await?;
            }
            Ok::<(), BenchError>(())
        });
    }
    while let Some(outcome) = adders.join_next().await {
        outcome??;
    }
    Ok(())
}

// === in the process that asks ===

/// Measures one figure in a subprocess, or returns the reason for its absence.
fn run_subprocess(
    settings: &BenchSettings,
    name: &str,
    mode: AddMode,
    children: u64,
) -> Result<Measurement, String> {
    let text_of = |error: std::io::Error| error.to_string();
    let mut process = Command::new(std::env::current_exe().map_err(text_of)?)
        .args([SUBCOMMAND, name, mode.name(), &children.to_string()])
        .env("MAINSTAY_BENCHES_DIR", &settings.dir)
        .env("MAINSTAY_BENCHES_WORKERS", settings.workers.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(text_of)?;
    let stdout = process.stdout.take();
    let text = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        // The read ends with the process, whose stdout closes then.
        scope.spawn(move || {
            let mut text = String::new();
            let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut text));
            let _ = sender.send(read.map(|_| text));
        });
        match receiver.recv_timeout(settings.limit) {
            Ok(text) => text.map_err(text_of),
            Err(_) => {
                process.kill().map_err(text_of)?;
                Err(format!("did not end within {} s", settings.limit.as_secs()))
            }
        }
    });
    let ended = process.wait().map_err(text_of)?;
    let text = text?;
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match figures[..] {
        [start_each, stop_each, bytes_each] => Ok(Measurement { start_each, stop_each, bytes_each }),
        _ => Err(format!("ended with {ended} and no figures")),
    }
}

/// Runs the same measurement for every contender in turn, and passes on each result.
fn run_all(
    settings: &BenchSettings,
    mode: AddMode,
    children: u64,
    mut record: impl FnMut(usize, Measurement),
) {
    let mut given_up = [false; 3];
    for _ in 0..ROUNDS {
        for (index, name) in NAMES.iter().enumerate() {
            if given_up[index] {
                continue;
            }
            match run_subprocess(settings, name, mode, children) {
                Ok(measurement) => record(index, measurement),
                Err(reason) => {
                    given_up[index] = true;
                    println!("{name} with {children} children, {}: {reason}", mode.name());
                }
            }
        }
    }
}

pub(crate) fn measure_memory(settings: &BenchSettings) -> Vec<ScoreLine> {
    let children = settings.children_max;
    let mut idle = ScoreLine::new(format!("memory of an idle child, {children}"), "bytes")
        .target(ScoreTarget::OfFirst(1.25));
    let mut greeted = ScoreLine::new("memory of a child that handled a call", "bytes");
    run_all(settings, AddMode::OneByOne, children, |index, measured| {
        idle.record_of(index, measured.bytes_each)
    });
    run_all(settings, AddMode::AfterCall, children, |index, measured| {
        greeted.record_of(index, measured.bytes_each)
    });
    vec![idle, greeted]
}

pub(crate) fn measure_children(settings: &BenchSettings) -> Vec<ScoreLine> {
    let sizes: Vec<u64> = SIZES.into_iter().filter(|size| *size <= settings.children_max).collect();
    let (mut starts, mut crowds, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    for &size in &sizes {
        let mut start = ScoreLine::new(format!("start of a child, one by one, of {size}"), "us");
        let mut stop = ScoreLine::new(format!("stop of a child, of {size}"), "us");
        let mut crowd = ScoreLine::new(format!("start of a child, {ADDERS} at a time, of {size}"), "us");
        run_all(settings, AddMode::OneByOne, size, |index, measured| {
            start.record_of(index, measured.start_each);
            stop.record_of(index, measured.stop_each);
        });
        run_all(settings, AddMode::Concurrent, size, |index, measured| {
            crowd.record_of(index, measured.start_each)
        });
        starts.push(start);
        crowds.push(crowd);
        stops.push(stop);
    }
    let growths = [("start, one by one", &starts), ("start, many at a time", &crowds), ("stop", &stops)]
        .map(|(what, lines)| growth(what, lines));
    starts.into_iter().chain(crowds).chain(stops).chain(growths.into_iter().flatten()).collect()
}

/// Returns the cost of a child in the largest group, as a multiple of its cost in the smallest.
fn growth(what: &str, lines: &[ScoreLine]) -> Option<ScoreLine> {
    let [first, .., last] = lines else { return None };
    let mut line = ScoreLine::new(
        format!("growth of {what}, {} to {} children", SIZES[0], SIZES[lines.len() - 1]),
        "times",
    )
    .target(ScoreTarget::AtMost(2.0));
    for (index, (few, many)) in first.samples().iter().zip(last.samples()).enumerate() {
        if !few.is_empty() && !many.is_empty() {
            line.record_of(index, many.median() / few.median());
        }
    }
    Some(line)
}
