//! Many children under one supervisor: what each takes to start and stop, and what it keeps in memory.
//!
//! Each figure comes from a process of its own, so that no contender finds memory that another has left, and one that
//! takes too long can be ended.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::contender::kameo::KameoSpawner;
use crate::contender::mainstay::MainstaySpawner;
use crate::contender::ractor::RactorSpawner;
use crate::contender::{BenchError, LiveGuard, ChildSpawner};
use crate::machine::resident_bytes;
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;

/// The first argument of a process that measures one figure.
pub(crate) const SUBCOMMAND: &str = "errand";
/// Who adds children at the same time, where not one after the other.
const ADDERS: u64 = 64;
/// Rounds of each size; a process is dear, and the largest ones are steady.
const ROUNDS: usize = 3;
const SIZES: [u64; 3] = [1_000, 10_000, 100_000];
const NAMES: [&str; 3] = ["mainstay", "ractor", "kameo"];

/// What one process found out.
#[derive(Debug, Clone, Copy)]
struct Measurement {
    /// Microseconds.
    start_each: f64,
    /// Microseconds.
    stop_each: f64,
    bytes_each: f64,
}

/// How children are added.
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
        Self::ALL.iter().find(|(way, _)| *way == self).map_or("", |(_, name)| name)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, one)| *one == name).map(|(way, _)| *way)
    }
}

// === in the process that measures ===

/// Carries out the errand that `args` name, and prints what it finds.
pub(crate) async fn run_subcommand(args: &[String], dir: &Path) -> Result<(), BenchError> {
    let [contender, way, children] = args else { return Err("an errand has three arguments".into()) };
    let way = AddMode::from_name(way).ok_or("there is no such way")?;
    let children = children.parse()?;
    let finding = match contender.as_str() {
        "mainstay" => measure_children_of::<MainstaySpawner>(way, children, dir).await?,
        "ractor" => measure_children_of::<RactorSpawner>(way, children, dir).await?,
        "kameo" => measure_children_of::<KameoSpawner>(way, children, dir).await?,
        _ => return Err("there is no such contender".into()),
    };
    println!("{} {} {}", finding.start_each, finding.stop_each, finding.bytes_each);
    Ok(())
}

async fn measure_children_of<N: ChildSpawner>(way: AddMode, children: u64, dir: &Path) -> Result<Measurement, BenchError> {
    let nursery = N::start(dir).await?;
    let resident_before = resident_bytes()?;
    let begun = Instant::now();
    match way {
        AddMode::OneByOne | AddMode::AfterCall => {
            for number in 0..children {
                nursery.add(number, way == AddMode::AfterCall).await?;
            }
        }
        AddMode::Concurrent => add_at_once(&nursery, children).await?,
    }
    let started = begun.elapsed();
    if LiveGuard::count() != children {
        return Err(format!("{} of {children} children are alive", LiveGuard::count()).into());
    }
    // What was only needed for starting has gone by then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let resident_after = resident_bytes()?;
    let begun = Instant::now();
    nursery.stop().await;
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

async fn add_at_once<N: ChildSpawner>(nursery: &N, children: u64) -> Result<(), BenchError> {
    let mut adders = tokio::task::JoinSet::new();
    for first in 0..ADDERS {
        let nursery = nursery.clone();
        adders.spawn(async move {
            for number in (first..children).step_by(ADDERS as usize) {
                nursery.add(number, false).await?;
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

/// Has a process measure one figure; says why if there is none.
fn run_subprocess(settings: &BenchSettings, name: &str, way: AddMode, children: u64) -> Result<Measurement, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut process = Command::new(std::env::current_exe().map_err(told)?)
        .args([SUBCOMMAND, name, way.name(), &children.to_string()])
        .env("MAINSTAY_BENCHES_DIR", &settings.dir)
        .env("MAINSTAY_BENCHES_WORKERS", settings.workers.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(told)?;
    let begun = Instant::now();
    let ended = loop {
        if let Some(status) = process.try_wait().map_err(told)? {
            break status;
        }
        if begun.elapsed() > settings.limit {
            process.kill().map_err(told)?;
            process.wait().map_err(told)?;
            return Err(format!("did not end within {} s", settings.limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = String::new();
    if let Some(mut stdout) = process.stdout.take() {
        stdout.read_to_string(&mut text).map_err(told)?;
    }
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match figures[..] {
        [start_each, stop_each, bytes_each] => Ok(Measurement { start_each, stop_each, bytes_each }),
        _ => Err(format!("ended with {ended} and no figures")),
    }
}

/// Sends every contender on the same errand, in turn, and hands on what each found.
fn run_all(settings: &BenchSettings, way: AddMode, children: u64, mut note: impl FnMut(usize, Measurement)) {
    let mut given_up = [false; 3];
    for _ in 0..ROUNDS {
        for (index, name) in NAMES.iter().enumerate() {
            if given_up[index] {
                continue;
            }
            match run_subprocess(settings, name, way, children) {
                Ok(finding) => note(index, finding),
                Err(reason) => {
                    given_up[index] = true;
                    println!("{name} with {children} children, {}: {reason}", way.name());
                }
            }
        }
    }
}

pub(crate) fn measure_memory(settings: &BenchSettings) -> Vec<ScoreLine> {
    let children = settings.children_max;
    let mut idle =
        ScoreLine::new(format!("memory of an idle child, {children}"), "bytes").target(ScoreTarget::OfFirst(1.25));
    let mut greeted = ScoreLine::new("memory of a child that handled a call", "bytes");
    run_all(settings, AddMode::OneByOne, children, |index, found| idle.record_of(index, found.bytes_each));
    run_all(settings, AddMode::AfterCall, children, |index, found| greeted.record_of(index, found.bytes_each));
    vec![idle, greeted]
}

pub(crate) fn measure_children(settings: &BenchSettings) -> Vec<ScoreLine> {
    let sizes: Vec<u64> = SIZES.into_iter().filter(|size| *size <= settings.children_max).collect();
    let (mut starts, mut crowds, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    for &size in &sizes {
        let mut start = ScoreLine::new(format!("start of a child, one by one, of {size}"), "us");
        let mut stop = ScoreLine::new(format!("stop of a child, of {size}"), "us");
        let mut crowd = ScoreLine::new(format!("start of a child, {ADDERS} at a time, of {size}"), "us");
        run_all(settings, AddMode::OneByOne, size, |index, found| {
            start.record_of(index, found.start_each);
            stop.record_of(index, found.stop_each);
        });
        run_all(settings, AddMode::Concurrent, size, |index, found| crowd.record_of(index, found.start_each));
        starts.push(start);
        crowds.push(crowd);
        stops.push(stop);
    }
    let growths = [("start, one by one", &starts), ("start, many at a time", &crowds), ("stop", &stops)]
        .map(|(what, lines)| growth(what, lines));
    starts.into_iter().chain(crowds).chain(stops).chain(growths.into_iter().flatten()).collect()
}

/// What a child costs among the most, as a multiple of what it costs among the fewest.
fn growth(what: &str, lines: &[ScoreLine]) -> Option<ScoreLine> {
    let [first, .., last] = lines else { return None };
    let mut line =
        ScoreLine::new(format!("growth of {what}, {} to {} children", SIZES[0], SIZES[lines.len() - 1]), "times")
            .target(ScoreTarget::AtMost(2.0));
    for (index, (few, many)) in first.samples().iter().zip(last.samples()).enumerate() {
        if !few.is_empty() && !many.is_empty() {
            line.record_of(index, many.median() / few.median());
        }
    }
    Some(line)
}
