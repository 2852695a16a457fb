//! Kills a process repeatedly while it saves states.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child as Process, ChildStdout, Command, Stdio};
use std::time::Duration;

use mainstay_runtime::policy::{ChildPolicy, Shutdown};
use mainstay_runtime::state::{RedbConfig, RedbStore, StateStore};
use mainstay_runtime::{ActorPath, Address};

use crate::numbers::{NumberMessage, NumberSnapshot, start_numbers};
use crate::{another_process, tier};

const QUICK_KILLS: u32 = 40;
const KILLS: u32 = 300;
const NAMES: [&str; 3] = ["small", "middle", "large"];

fn text_of(name: &str, number: u64) -> String {
    let times = match name {
        "small" => 1,
        "middle" => 100 + number % 100,
        _ => 4000 + number % 1000,
    };
    format!("{number} ").repeat(usize::try_from(times).unwrap())
}

fn path(name: &str) -> ActorPath {
    ActorPath::root("root").unwrap().child(name).unwrap()
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn process_advances_until_killed() {
    let Some(file) = another_process::state_file() else { return };
    let config = RedbConfig { commit_interval: Duration::from_millis(1), ..RedbConfig::default() };
    let policy = ChildPolicy { shutdown: Shutdown::Kill, ..ChildPolicy::default() };
    let (store, _runtime, workers) = start_numbers(&file, config, policy, NAMES, text_of).await;
    loop {
        let numbers = advance_all(&workers).await;
        store.flush().await.unwrap();
        println!("\nsaved {} {} {}", numbers[0], numbers[1], numbers[2]);
    }
}

/// Advances every sequence a few times, and returns their numbers once those snapshots are with the store.
async fn advance_all(workers: &[Address<NumberMessage>; 3]) -> Vec<u64> {
    let mut numbers = Vec::new();
    for worker in workers {
        for _ in 0..5 {
            worker.cast(NumberMessage::Increase).await.unwrap();
        }
        // The snapshots of the five messages before it were saved before this one is handled.
        numbers.push(worker.call(NumberMessage::Get).await.unwrap());
    }
    numbers
}

/// Reads the acknowledged numbers until the process has ended: a line in the pipe counts as well.
fn read_acknowledged(output: BufReader<ChildStdout>, known: &mut BTreeMap<&str, u64>) {
    for line in output.lines() {
        parse_saved_line(&line.unwrap(), known);
    }
}

/// Returns whether the line acknowledges numbers.
fn parse_saved_line(line: &str, known: &mut BTreeMap<&str, u64>) -> bool {
    let Some(numbers) = line.strip_prefix("saved ") else { return false };
    let numbers: Vec<u64> = numbers.split(' ').filter_map(|number| number.parse().ok()).collect();
    // The last line may be torn.
    if numbers.len() == NAMES.len() {
        known.extend(NAMES.into_iter().zip(numbers));
    }
    true
}

fn spawn(file: &Path) -> (Process, BufReader<ChildStdout>) {
    let command = Command::new(another_process::test_binary());
    let name = "kill::process_advances_until_killed";
    let mut process =
        another_process::with_test(command, name, file).stderr(Stdio::inherit()).spawn().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    (process, output)
}

/// Spends a short time that no clock measures.
fn spin_randomly(rng: &mut fastrand::Rng) {
    for n in 0..rng.u32(..200_000) {
        std::hint::black_box(n);
    }
}

#[tokio::test]
async fn kills_lose_no_acknowledged_snapshot() {
    let seed = tier::seed().unwrap_or(7);
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    let mut known: BTreeMap<&str, u64> = BTreeMap::new();
    let mut ahead = 0;
    let kills = tier::cases(QUICK_KILLS, KILLS);
    for kill in 1..=kills {
        let (mut process, mut output) = spawn(&file);
        // Every fourth run reads no line: then the process is killed while it opens the file and starts.
        let lines = if rng.u8(..4) == 0 { 0 } else { rng.u32(1..12) };
        let mut received = 0;
        while received < lines {
            let mut line = String::new();
            assert!(output.read_line(&mut line).unwrap() > 0, "seed {seed}, kill {kill}: it ended by itself");
            received += u32::from(parse_saved_line(line.trim_end(), &mut known));
        }
        spin_randomly(&mut rng);
        process.kill().unwrap();
        read_acknowledged(output, &mut known);
        let status = process.wait().unwrap();
        assert!(!status.success(), "seed {seed}, kill {kill}: it ended by itself");
        ahead += check_file(&file, &known, &format!("seed {seed}, kill {kill}")).await;
    }
    assert!(known["small"] > u64::from(kills), "hardly anything was saved: {known:?}");
    // Otherwise the kills came only between one save and the next, which may happen with few of them.
    if kills >= KILLS {
        assert!(ahead > 0, "seed {seed}: no kill came between a commit and its acknowledgement");
    }
}

/// Checks that the file's content is whole and no older than the acknowledged numbers. Returns the number of newer
/// states.
async fn check_file(file: &Path, known: &BTreeMap<&str, u64>, when: &str) -> u32 {
    let store = RedbStore::open(file, RedbConfig::default()).unwrap();
    let mut ahead = 0;
    for name in NAMES {
        let least = known.get(name).copied().unwrap_or(0);
        let Some(state) = store.load(&path(name)).unwrap() else {
            assert_eq!(least, 0, "{when}: {name} is lost");
            continue;
        };
        let snapshot: NumberSnapshot = serde_json::from_slice(&state.content).unwrap();
        assert_eq!(snapshot.text, text_of(name, snapshot.number), "{when}: {name} is torn");
        assert!(
            snapshot.number >= least,
            "{when}: {name} is at {}, {least} was acknowledged",
            snapshot.number
        );
        ahead += u32::from(snapshot.number > least);
    }
    assert_eq!(store.quarantined().unwrap(), [], "{when}");
    store.close().await;
    let files = std::fs::read_dir(file.parent().unwrap()).unwrap();
    let damaged = files.filter(|entry| entry.as_ref().unwrap().path().to_string_lossy().contains("damaged"));
    assert_eq!(damaged.count(), 0, "{when}: the whole file was found damaged");
    ahead
}
