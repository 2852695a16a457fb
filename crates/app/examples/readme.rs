//! The program of the README, which a test runs.

use std::{error::Error, path::Path, process::ExitCode, time::Duration};

use mainstay::{Mainstay, Request, config::Config};

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    let config = Config::load(Path::new("mainstay.toml"))?;
    let mainstay = Mainstay::builder().config(config).data_dir("mainstay-data").start().await?;
    // A request waits for the backend by itself. This says what it waits for.
    let _ = tokio::time::timeout(Duration::from_millis(500), mainstay.ready()).await;
    if let Some(pending) = mainstay.pending().await {
        eprintln!("waiting for {pending}");
    }
    let response = mainstay.request(Request::get("/api/search?q=rust").build()?).await?;
    println!("{} in {} ms", response.status, response.ms);
    println!("{:#?}", mainstay.agents().list());
    mainstay.shutdown().await;
    Ok(())
}
