//! The commands that run until a signal: `demo`, `run` and `demo-backend`.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use mainstay_runtime::RuntimeExit;
use mainstay_runtime::journal::{Cursor, Delivery};
use mainstay_runtime::policy::ExitCause;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::args::{DataDirArg, DemoArgs, DemoBackendArgs, RunArgs};
use super::config_check::ConfigText;
use super::error::CliError;
use super::event_format::EventLines;
use super::journal;
use super::output::{Output, OutputOptions};
use super::signals::Signals;
use super::stderr::last_error_line;
use crate::backend::{Backend, BackendError, BackendOptions};
use crate::config::{AgentConfig, Config};
use crate::control::Control;
use crate::environment;
use crate::mainstay::{Mainstay, StartError};
use crate::tree_builder::error::BuildError;
use crate::{DataDir, Reason};

/// The agents of the demo, before they are numbered.
const DEMO_AGENTS: [&str; 3] = ["planner", "coder", "reviewer"];

/// The most events that wait for the printer.
const PRINTER_QUEUE_MAX: usize = 1024;
/// The interval of the demo's checks of an agent, unless there are many.
const DEMO_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The least time from one check to the next, of all agents together.
const DEMO_CHECK_SPACING: Duration = Duration::from_millis(10);
/// The longest wait for the tree before the greeting.
const GREETING_DELAY_MAX: Duration = Duration::from_secs(1);
/// The time in which everything ends in order after a signal; what is left then is killed.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(5);
/// The longest wait at the end for lines that are not printed yet.
const PRINTER_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the whole tree against the embedded backend.
pub(super) async fn demo(
    out: &mut Output,
    args: DemoArgs,
    data_dir: &DataDirArg,
    verbose: bool,
) -> Result<(), CliError> {
    let data = data_dir.folder()?;
    let agents: Vec<String> = (1..=usize::from(args.agents)).map(demo_agent).collect();
    let backend_config = BackendOptions { agents: agents.clone(), ..BackendOptions::default() };
    let backend = Backend::bind(backend_config).await.map_err(|error| backend_failure(&error))?;
    let mut config = demo_config(&agents);
    config.backend.url = backend.url();
    config.control.port = args.port;
    let agent = agents.first().map_or("planner", String::as_str);
    let mainstay = data_dir.this_program();
    let hint =
        format!("to break it: {mainstay} demo crash {agent} (or hang, drop, slow …; --help lists all)");
    let served = serve(out, config, data, verbose, args.run_for, Some(&hint)).await;
    backend.stop().await;
    served.map_err(ServeError::plain)
}

fn demo_agent(number: usize) -> String {
    DEMO_AGENTS.get(number - 1).map_or_else(|| format!("agent-{number}"), |name| (*name).to_owned())
}

/// Returns the defaults, but with checks often enough to be watched. The checks of many agents leave the processor free
/// for the starts of the others.
fn demo_config(agents: &[String]) -> Config {
    let mut config = Config { agent: agents.iter().map(AgentConfig::http).collect(), ..Config::default() };
    let count = u32::try_from(agents.len()).unwrap_or(u32::MAX);
    config.agents.health_interval = DEMO_CHECK_INTERVAL.max(DEMO_CHECK_SPACING.saturating_mul(count));
    config.agents.health_timeout = Duration::from_secs(2);
    config
}

/// Runs the tree against a real backend.
pub(super) async fn run(
    out: &mut Output,
    args: RunArgs,
    data: DataDir,
    verbose: bool,
) -> Result<(), CliError> {
    let Some(file) = args.config else {
        return serve(out, Config::default(), data, verbose, None, None).await.map_err(ServeError::plain);
    };
    let (config, source) = ConfigText::load(&file)?;
    serve(out, config, data, verbose, None, None).await.map_err(|error| match error {
        ServeError::Build(error) => source.build_error(&error),
        error => error.plain(),
    })
}

fn backend_failure(error: &BackendError) -> CliError {
    let reason = match error {
        BackendError::PortInUse { .. } => Reason::InUse,
        _ => Reason::InvalidConfig,
    };
    CliError::failed(reason, error.to_string())
}

/// Runs the embedded backend alone.
pub(super) async fn demo_backend(out: &mut Output, args: DemoBackendArgs) -> Result<(), CliError> {
    let token = environment::start_token();
    let config = BackendOptions { port: args.port, agents: args.agents, token, ..BackendOptions::default() };
    let backend = Backend::bind(config).await.map_err(|error| backend_failure(&error))?;
    let mut signals = Signals::listen()?;
    out.line(&format!("listening on {}", backend.url()))?;
    signals.requested().await;
    backend.stop().await;
    Ok(())
}

/// The reasons why the tree does not run to its end.
enum ServeError {
    /// No tree can be built from the configuration.
    Build(BuildError),
    /// Anything else.
    Other(CliError),
}

impl ServeError {
    /// Returns the error without a place in a file.
    fn plain(self) -> CliError {
        match self {
            Self::Build(error) => CliError::usage(error.to_string()),
            Self::Other(error) => error,
        }
    }
}

impl From<StartError> for ServeError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(error) => Self::Build(error),
            error => Self::Other(error.into()),
        }
    }
}

impl From<CliError> for ServeError {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

/// Starts the tree and its control server, prints every event, and stops in order. The demo has a hint how to break it.
async fn serve(
    out: &mut Output,
    config: Config,
    data: DataDir,
    verbose: bool,
    lasting: Option<Duration>,
    hint: Option<&str>,
) -> Result<(), ServeError> {
    let mut signals = Signals::listen().map_err(CliError::from)?;
    let (port, has_dashboard) = (config.control.port, config.control.dashboard);
    let backend_url = config.backend.url.clone();
    let builder = Mainstay::builder().config(config).data_dir(data.path()).verbose(verbose);
    let mainstay = builder.demo(hint.is_some()).spawn().await?;
    let control = match Control::start(&mainstay, data, port, has_dashboard).await {
        Ok(control) => control,
        Err(error) => {
            mainstay.shutdown().await;
            return Err(CliError::from(error).into());
        }
    };
    // What the greeting invites to is served already. With many agents it does not wait for all of them.
    tokio::select! {
        _ = mainstay.started() => {}
        () = signals.requested() => {}
        () = sleep(GREETING_DELAY_MAX) => {}
    }
    let greeting = if has_dashboard {
        format!("dashboard {} backend {backend_url}", control.dashboard_url())
    } else {
        format!("backend {backend_url}")
    };
    // The runtime does not need its printer, so a closed stdout ends the printing and nothing else.
    let _ = out.line(&greeting);
    if let Some(hint) = hint {
        let _ = out.line(&format!("live page {}", control.live_page_url()));
        let _ = out.line(hint);
    }
    let exit = print_until_shutdown(&mainstay, &mut signals, lasting, out.options().clone()).await;
    control.stop().await;
    let exit = exit?;
    if exit.is_some()
        && let Err(loss) = mainstay.journal().close().await
    {
        last_error_line(format!("mainstay: {loss}"));
    }
    match exit {
        None => Err(CliError::failed(
            Reason::Stopped,
            "a second signal stopped it before everything had ended in order",
        )
        .into()),
        Some(RuntimeExit { cause: ExitCause::Normal, .. }) => Ok(()),
        Some(RuntimeExit { message, .. }) => Err(CliError::failed(
            Reason::Internal,
            format!(
                "the supervision tree failed: {}",
                message.unwrap_or_else(|| "its root was killed".to_owned())
            ),
        )
        .into()),
    }
}

/// Prints every event until it is time to stop, then stops and prints the rest. Returns `None` after a second signal,
/// which skips the orderly end.
///
/// # Errors
/// When the tree does not start.
async fn print_until_shutdown(
    mainstay: &Mainstay,
    signals: &mut Signals,
    lasting: Option<Duration>,
    options: OutputOptions,
) -> Result<Option<RuntimeExit>, StartError> {
    let mut printer = EventPrinter::start(options);
    let mut events = mainstay.events_after(mainstay.journal().run_start());
    let time_is_over = async {
        match lasting {
            Some(lasting) => sleep(lasting).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(time_is_over);
    let mut has_started = false;
    loop {
        tokio::select! {
            biased;
            () = signals.requested() => break,
            started = mainstay.started(), if !has_started => {
                started?;
                has_started = true;
            }
            Some(delivery) = events.next() => printer.enqueue(delivery),
            () = &mut time_is_over => break,
            _ = mainstay.finished() => break,
        }
    }
    let stopping = mainstay.shutdown_within(SHUTDOWN_WITHIN);
    tokio::pin!(stopping);
    let exit = loop {
        tokio::select! {
            Some(delivery) = events.next() => printer.enqueue(delivery),
            exit = &mut stopping => break Some(exit),
            () = signals.demanded() => {
                mainstay.kill("a second signal ended it at once").await;
                break None;
            }
        }
    };
    while let Some(delivery) = events.try_next() {
        printer.enqueue(delivery);
    }
    printer.finish().await;
    Ok(exit)
}

/// Prints events on a thread of its own: a terminal that is held, or a pipe without a reader, must not stop the rest.
struct EventPrinter {
    deliveries: SyncSender<Delivery>,
    done: oneshot::Receiver<()>,
    /// The gap left by events that found no room: the place before it and the first event after it.
    skipped: Option<(Cursor, Cursor)>,
}

impl EventPrinter {
    fn start(options: OutputOptions) -> Self {
        let (deliveries, inbox) = sync_channel(PRINTER_QUEUE_MAX);
        let (finished, done) = oneshot::channel();
        std::thread::spawn(move || {
            let (mut out, mut lines) = (Output::stdout(options), EventLines::default());
            while let Ok(delivery) = inbox.recv() {
                if print_delivery(&mut out, &mut lines, delivery).is_err() {
                    break;
                }
            }
            // The receiver may be gone.
            let _ = finished.send(());
        });
        Self { deliveries, done, skipped: None }
    }

    fn enqueue(&mut self, delivery: Delivery) {
        if let Some((after, before)) = self.skipped
            && self.deliveries.try_send(Delivery::Lagged { after, before }).is_ok()
        {
            self.skipped = None;
        }
        let (after, before) = match &delivery {
            Delivery::Event(record) => {
                let Cursor { run, seq } = record.cursor();
                (Cursor::new(run, seq.saturating_sub(1)), Cursor::new(run, seq.saturating_add(1)))
            }
            Delivery::Lagged { after, before } => (*after, *before),
        };
        if self.skipped.is_some() || matches!(self.deliveries.try_send(delivery), Err(TrySendError::Full(_)))
        {
            self.skipped = Some((self.skipped.map_or(after, |(first, _)| first), before));
        }
    }

    /// Waits a moment for the lines that are not printed yet.
    async fn finish(self) {
        drop(self.deliveries);
        let _ = timeout(PRINTER_FLUSH_TIMEOUT, self.done).await;
    }
}

fn print_delivery(out: &mut Output, lines: &mut EventLines, delivery: Delivery) -> Result<(), CliError> {
    match delivery {
        Delivery::Event(record) => lines.print(out, &record),
        Delivery::Lagged { after, before } => {
            let missing = journal::gap(after, before);
            out.line(&format!("not shown: {missing}; `mainstay events` has what is kept"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use mainstay_runtime::policy::{ChildPolicy, Shutdown};
    use mainstay_runtime::{Child, Context, Failure, Message, Worker};
    use tokio::time::Instant;

    use super::*;
    use crate::cli::time::TimeFormat;

    /// The message that [`HangingWorker`] handles for ever.
    #[derive(Debug)]
    struct Hang;

    impl Message for Hang {}

    /// Notes when its handler is killed.
    struct HangingWorker(Arc<OnceLock<Instant>>);

    struct KillNote(Arc<OnceLock<Instant>>);

    impl Drop for KillNote {
        fn drop(&mut self) {
            let _ = self.0.set(Instant::now());
        }
    }

    impl Worker for HangingWorker {
        type Message = Hang;
        type State = ();
        type Snapshot = ();

        async fn start(&self, _: &mut Context<Hang>, _: Option<()>) -> Result<(), Failure> {
            Ok(())
        }

        async fn handle(&self, _: &mut Context<Hang>, _: Hang, (): &mut ()) -> Result<(), Failure> {
            let _note = KillNote(Arc::clone(&self.0));
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn run_kills_after_five_seconds_what_does_not_end() {
        let mut config = Config::default();
        config.connection.enabled = false;
        let mainstay = Mainstay::builder().config(config).start().await.unwrap();
        let killed_at = Arc::default();
        let policy =
            ChildPolicy { shutdown: Shutdown::Graceful(Duration::from_secs(3600)), ..ChildPolicy::default() };
        let hanging = mainstay
            .supervisor()
            .add(Child::new("hanging", HangingWorker(Arc::clone(&killed_at))).policy(policy))
            .await
            .unwrap();
        hanging.cast(Hang).await.unwrap();
        let mut signals = Signals::listen().unwrap();
        let options = OutputOptions { times: TimeFormat::utc(), is_wide: false };
        let begun = Instant::now();
        let exit =
            print_until_shutdown(&mainstay, &mut signals, Some(Duration::ZERO), options).await.unwrap();
        assert_eq!(exit.unwrap().cause, ExitCause::Normal);
        // A little of the time is kept for the end of the other actors.
        let lasted = *killed_at.get().unwrap() - begun;
        assert!(lasted > Duration::from_secs(4) && lasted < Duration::from_secs(5), "{lasted:?}");
    }

    #[test]
    fn demo_checks_are_at_most_a_hundred_a_second() {
        let interval = |count: usize| {
            let agents: Vec<String> = (1..=count).map(demo_agent).collect();
            demo_config(&agents).agents.health_interval
        };
        assert_eq!([3, 100, 1000].map(interval), [1, 1, 10].map(Duration::from_secs));
    }
}
