//! A file goes up and its answer comes down into another, with progress, and neither is ever held in memory.
//!
//! `cargo run --example transfer` runs it against the embedded backend, so that it needs nothing else.

use std::error::Error;
use std::fs;
use std::process::ExitCode;

use mainstay::backend::{Backend, BackendOptions};
use mainstay::config::Config;
use mainstay::{Mainstay, Request, TransferProgress};

/// Returns a transfer's progress as text for a person.
fn describe(progress: TransferProgress) -> String {
    let part = |done: u64, all: Option<u64>| match all {
        Some(all) => format!("{} of {} KiB", done / 1024, all / 1024),
        None => format!("{} KiB", done / 1024),
    };
    let TransferProgress { attempt, sent, to_send, received, to_receive } = progress;
    format!("attempt {attempt}: {} up, {} down", part(sent, to_send), part(received, to_receive))
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    let backend = Backend::bind(BackendOptions::default()).await?;
    let mut config = Config::default();
    config.backend.url = backend.url();
    let mainstay = Mainstay::builder().config(config).start().await?;

    let folder = tempfile::tempdir()?;
    let (original, copy) = (folder.path().join("original"), folder.path().join("copy"));
    fs::write(&original, "all work and no play\n".repeat(40_000))?;

    // The backend returns the body that it gets. Nothing waits for the reader of the progress: it sees the latest
    // state.
    let mut request = Request::post("/api/echo").file(&original).build()?;
    let mut progress = request.progress();
    let transfer = async { mainstay.open(request).await?.save_to(&copy).await };
    let watch = async {
        while progress.changed().await.is_ok() {
            println!("{}", describe(*progress.borrow_and_update()));
        }
    };
    let (saved, ()) = tokio::join!(transfer, watch);
    println!("saved {} bytes", saved?);
    assert!(fs::read(&original)? == fs::read(&copy)?, "the copy differs from the original");

    // A file that cannot be sent is an error with its reason, and leaves nothing behind.
    let missing = Request::post("/api/echo").file(folder.path().join("missing")).build()?;
    match mainstay.request(missing).await {
        Ok(_) => return Err("a file that is not there was sent".into()),
        Err(error) => println!("{}: {error}", error.reason),
    }

    mainstay.shutdown().await;
    backend.stop().await;
    Ok(())
}
