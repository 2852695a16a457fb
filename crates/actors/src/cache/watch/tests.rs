//! What only the inside can bring about: that the system loses events.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::eye::Eye;
use super::fault::WatchFault;

/// More events than the system holds for one watcher; a file has four.
fn files_to_overflow() -> u32 {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    limit.trim().parse::<u32>().unwrap() / 2
}

#[tokio::test]
async fn when_the_system_loses_events_the_watcher_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let eye = Arc::new(Eye::open(folder.path()).unwrap());
    {
        // The watcher's thread cannot tell what it reads, so what it does not read heaps up.
        let _held = eye.gathered.batch();
        for n in 0..files_to_overflow() {
            fs::write(folder.path().join(n.to_string()), "x").unwrap();
        }
    }
    // Those that it held come first.
    let fault = loop {
        let attended = Eye::attend(Arc::clone(&eye), Duration::from_millis(1), Duration::from_secs(60));
        if let Some(trouble) = attended.await.trouble {
            break trouble.fault;
        }
    };
    assert_eq!(fault, WatchFault::Overflow);
}
