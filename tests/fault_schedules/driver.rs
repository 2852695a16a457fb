//! Runs a schedule, and records what happens.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mainstay::AgentStatus;
use mainstay::ConnectionState;
use mainstay::Inbound;
use mainstay::SendOutcome;
use mainstay::backend::Fault as BackendFault;
use mainstay::config::Config;
use mainstay::journal::{Delivery, Record};
use mainstay::supervision::ExitCause;
use mainstay::transport::{HttpSettings, HttpTransport};
use mainstay::{Error, Mainstay, Request, RequestId};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout};

use crate::backend_fixture::BackendFixture;
use crate::calls::{CallAnswer, read_download, request};
use crate::counting_transport::{ConcurrencyCount, CountingTransport};
use crate::fault_proxy::FaultProxy;
use crate::run_result::{CallRecord, RunResult, SendRecord};
use crate::schedule::{
    CallerBehaviour, FaultAction, FinalPhase, ReadMode, Schedule, ScheduledCall, ScheduledFault,
    ScheduledSend,
};

/// The limit of each wait: what has not happened by then never does.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The time after which another mark is sent, since events that no listener keeps can be lost.
const MARK_TIMEOUT: Duration = Duration::from_millis(500);
/// The largest number of connections of a healthy runtime: a WebSocket, eight pooled connections, the agents' checks,
/// and some that are closing.
const OPEN_MAX: usize = 16;
/// The number of tasks that the runtime, the backend and the proxy need at most.
const TASKS_MAX: usize = 128;
/// The interval of polls where no event signals a change.
const POLL_INTERVAL: Duration = Duration::from_millis(3);

/// The result of one task.
enum WorkResult {
    Called(Box<CallRecord>),
    Sent(SendRecord),
    Other,
}

/// Holds what all tasks of a run share.
struct ScheduleRun {
    schedule: Schedule,
    mainstay: Mainstay,
    proxy: FaultProxy,
    backend: BackendFixture,
    start: Instant,
}

/// Runs a schedule on a tokio runtime of its own.
pub(crate) fn run(schedule: &Schedule) -> RunResult {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("there are threads to be had");
    let mut result = runtime.block_on(run_on(schedule.clone()));
    // Some tasks may end a moment later.
    let left = || runtime.metrics().num_alive_tasks();
    let gone = runtime.block_on(async { timeout(TEST_TIMEOUT, eventually(async || left() == 0)).await });
    if gone.is_err() {
        result.complaints.push(format!("{} tasks are left when all has ended", left()));
    }
    result
}

async fn run_on(schedule: Schedule) -> RunResult {
    let mut result = RunResult::default();
    let (fixture, address) = BackendFixture::start(schedule.history_max).await;
    let proxy = FaultProxy::start(address, "/ws", schedule.seed).await.expect("there are ports to be had");
    let count = Arc::<ConcurrencyCount>::default();
    let mainstay = start(&schedule, &proxy, &count).await;
    let mut listeners = JoinSet::new();
    let (records, frames) = listen(&mainstay, &mut listeners);
    let mut run = ScheduleRun { schedule, mainstay, proxy, backend: fixture, start: Instant::now() };
    if run.schedule.begins_healthy
        && timeout(TEST_TIMEOUT, eventually(async || run.has_recovered().await)).await.is_err()
    {
        result.complaints.push(format!("it was not well at first: {}", run.state().await));
    }
    run.start = Instant::now();
    result.began_ms = run.mainstay.journal().now().as_millis() as u64;
    let run = Arc::new(run);

    let mut work = JoinSet::new();
    run.clone().start_work(&mut work);
    let mut faults = JoinSet::new();
    for fault in run.schedule.faults.clone() {
        let run = Arc::clone(&run);
        faults.spawn(async move { run.inject(&fault).await });
    }
    join_work(&mut faults, "troubles", &mut result).await;
    run.clear_faults().await;

    let healed = Instant::now();
    if timeout(TEST_TIMEOUT, run.wait_until_recovered(&frames, &mut result.probes)).await.is_err() {
        result.complaints.push(format!("it did not become well again: {}", run.state().await));
    }
    result.recovered_after = healed.elapsed();
    join_work(&mut work, "requests and sends", &mut result).await;

    if let Some(final_phase) = run.schedule.final_phase.clone() {
        run.clone().start_final_phase(&final_phase, &mut work).await;
    }
    match timeout(TEST_TIMEOUT, run.mainstay.shutdown()).await {
        Ok(ending) if ending.cause == ExitCause::Normal => {}
        Ok(ending) => result.complaints.push(format!("it ended out of order: {ending:?}")),
        Err(_) => result.complaints.push("it did not shut down".to_owned()),
    }
    join_work(&mut work, "requests and sends after the shutdown", &mut result).await;
    let ScheduleRun { mainstay, proxy, backend: fixture, .. } =
        Arc::into_inner(run).expect("all who shared it have ended");
    drop(mainstay);
    // A stall would keep the proxy from noticing which clients have left.
    proxy.clear().await;
    if timeout(TEST_TIMEOUT, proxy.wait_until_idle()).await.is_err() {
        result.complaints.push(format!("{} connections are open after the end", proxy.open_connections()));
    }
    result.backend = fixture.finish().await;
    result.traffic = proxy.traffic();
    proxy.stop().await;
    if timeout(TEST_TIMEOUT, async { while listeners.join_next().await.is_some() {} }).await.is_err() {
        result.complaints.push("the journal or the frames did not come to an end".to_owned());
    }
    result.records = records.borrow().clone();
    result.frames = frames.borrow().clone();
    result.most_in_flight = count.most();
    result
}

async fn start(schedule: &Schedule, proxy: &FaultProxy, count: &Arc<ConcurrencyCount>) -> Mainstay {
    let config = Config::from_toml(&schedule.settings.to_toml(&proxy.url())).expect("settings are valid");
    let transport = HttpTransport::new(&HttpSettings {
        connect_timeout: config.connection.connect_timeout,
        ..HttpSettings::new(proxy.url())
    });
    let transport =
        CountingTransport { transport: transport.expect("the address is valid"), count: Arc::clone(count) };
    let builder = Mainstay::builder().config(config).transport(Arc::new(transport));
    builder.seed(schedule.seed).verbose(true).start().await.expect("the tree comes up, backend or not")
}

type Recorded<T> = watch::Receiver<Vec<T>>;

/// Follows the journal and the frames to their ends.
fn listen(mainstay: &Mainstay, listeners: &mut JoinSet<()>) -> (Recorded<Record>, Recorded<Inbound>) {
    let (records, noted_records) = watch::channel(Vec::new());
    let mut events = mainstay.events();
    listeners.spawn(async move {
        while let Some(Delivery::Event(record)) = events.next().await {
            let is_last = record.kind == "runtime_stopped";
            records.send_modify(|records| records.push(*record));
            if is_last {
                return;
            }
        }
    });
    let (frames, noted_frames) = watch::channel(Vec::new());
    let mut received = mainstay.connection().frames();
    listeners.spawn(async move {
        while let Some(inbound) = received.next().await {
            frames.send_modify(|frames| frames.push(inbound));
        }
    });
    (noted_records, noted_frames)
}

/// Polls a condition that no event signals.
async fn eventually(is_so: impl AsyncFn() -> bool) {
    let mut pace = interval(POLL_INTERVAL);
    while !is_so().await {
        pace.tick().await;
    }
}

/// Records the results of tasks until all have ended.
async fn join_work(tasks: &mut JoinSet<WorkResult>, what: &str, result: &mut RunResult) {
    let ending = timeout(TEST_TIMEOUT, async {
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(WorkResult::Called(called)) => result.calls.push(*called),
                Ok(WorkResult::Sent(sent)) => result.sends.push(sent),
                Ok(WorkResult::Other) => {}
                Err(error) => result.complaints.push(format!("a task of the test failed: {error}")),
            }
        }
    });
    if ending.await.is_err() {
        result.complaints.push(format!("{} {what} did not end", tasks.len()));
        tasks.shutdown().await;
    }
}

impl ScheduleRun {
    async fn sleep_until_ms(&self, at_ms: u64) {
        sleep_until(self.start + Duration::from_millis(at_ms)).await;
    }

    // === what goes wrong ===

    async fn inject(&self, fault: &ScheduledFault) -> WorkResult {
        self.sleep_until_ms(fault.at_ms).await;
        match fault.action.clone() {
            FaultAction::Network(network_fault) => {
                let id = self.proxy.begin(network_fault).await;
                self.sleep_until_ms(fault.ends_ms()).await;
                self.proxy.end(id).await;
            }
            FaultAction::Backend(of_backend) => {
                self.backend.inject(of_backend.clone()).await;
                self.sleep_until_ms(fault.ends_ms()).await;
                if let BackendFault::HangAgent { agent } = of_backend {
                    self.backend.inject(BackendFault::HealAgent { agent }).await;
                }
            }
            FaultAction::RestartBackend => {
                self.backend.stop().await;
                self.sleep_until_ms(fault.ends_ms()).await;
                self.proxy.set_backend(self.backend.restart().await);
            }
            FaultAction::Reconnect => {
                // A dial may fail while other faults last.
                let _ = self.mainstay.connection().reconnect().await;
            }
            FaultAction::Disconnect => {
                self.mainstay.connection().disconnect().await.expect("it is not stopped");
                self.sleep_until_ms(fault.ends_ms()).await;
                let _ = self.mainstay.connection().reconnect().await;
            }
            // The agent's health shows whether the backend was reachable.
            FaultAction::RestartAgent(agent) => _ = self.mainstay.agents().restart(agent).await,
        }
        WorkResult::Other
    }

    /// Ends all remaining faults: nothing fails from here on.
    async fn clear_faults(&self) {
        self.proxy.clear().await;
        for fault in &self.schedule.faults {
            if let FaultAction::Backend(
                BackendFault::Status { path, times, .. }
                | BackendFault::Slow { path, times, .. }
                | BackendFault::Reset { path, times },
            ) = &fault.action
            {
                for _ in 0..*times {
                    self.backend.ask_directly("GET", path, "").await;
                }
            }
        }
    }

    // === what is asked for ===

    fn start_work(self: Arc<Self>, work: &mut JoinSet<WorkResult>) {
        for (number, call) in self.schedule.calls.iter().cloned().enumerate() {
            let run = Arc::clone(&self);
            work.spawn(async move { run.call(format!("call-{number}"), call, false).await });
        }
        for (number, send) in self.schedule.sends.iter().copied().enumerate() {
            let run = Arc::clone(&self);
            work.spawn(async move { run.send(format!("send-{number}"), send).await });
        }
        let run = Arc::clone(&self);
        work.spawn(async move {
            for (number, at_ms) in run.schedule.chatter.iter().enumerate() {
                run.sleep_until_ms(*at_ms).await;
                run.backend.send_chatter(&format!("chatter-{number}")).await;
            }
            WorkResult::Other
        });
    }

    async fn call(&self, tag: String, call: ScheduledCall, is_last: bool) -> WorkResult {
        self.sleep_until_ms(call.at_ms).await;
        let (id, mut answer) = self.ask(&tag, &call);
        let mut cancelled = None;
        let outcome = match call.caller {
            CallerBehaviour::Wait => answer.await,
            CallerBehaviour::DropAfterMs(ms) => {
                let answered = timeout(Duration::from_millis(ms), answer).await.ok().flatten();
                // The drop of a streaming response is noticed later.
                if answered.is_none() && call.reading == ReadMode::Whole {
                    cancelled = Some(self.mainstay.cancel(id).await);
                }
                answered
            }
            CallerBehaviour::CancelAfterMs(ms) => {
                let answered = timeout(Duration::from_millis(ms), &mut answer).await;
                cancelled = Some(self.mainstay.cancel(id).await);
                match answered {
                    Ok(answered) => answered,
                    Err(_) => answer.await,
                }
            }
        };
        WorkResult::Called(Box::new(CallRecord { tag, call, id, outcome, cancelled, is_last }))
    }

    /// Makes a request; the result is `None` if its caller does not read to the end.
    fn ask(
        &self,
        tag: &str,
        call: &ScheduledCall,
    ) -> (RequestId, BoxFuture<'static, Option<Result<CallAnswer, Error>>>) {
        let (request, reading) = (request(tag, call), call.reading);
        if reading == ReadMode::Whole {
            let (id, answer) = self.mainstay.submit(request);
            return (id, answer.map(|answer| Some(answer.map(CallAnswer::from))).boxed());
        }
        let (id, opening) = self.mainstay.submit_open(request);
        (id, async move { read_download(opening.await, reading).await.transpose() }.boxed())
    }

    async fn send(&self, tag: String, send: ScheduledSend) -> WorkResult {
        self.sleep_until_ms(send.at_ms).await;
        let text = json!({ "type": "ping", "tag": tag }).to_string();
        let outcome =
            self.mainstay.connection().send(text.clone(), Duration::from_millis(send.timeout_ms)).await;
        WorkResult::Sent(SendRecord { text, outcome })
    }

    // === how it is ===

    async fn has_recovered(&self) -> bool {
        let status = self.mainstay.status().await;
        self.proxy.open_connections() <= OPEN_MAX
            && Handle::current().metrics().num_alive_tasks() <= TASKS_MAX
            && status.connection.state == ConnectionState::Connected
            && status.queue.stats.waiting + status.queue.stats.running == 0
            && status.queue.held.is_none()
            && status.agents.iter().all(|agent| agent.report.status == AgentStatus::Healthy)
    }

    async fn state(&self) -> String {
        let status = self.mainstay.status().await;
        let (open, tasks) = (self.proxy.open_connections(), Handle::current().metrics().num_alive_tasks());
        format!(
            "{open} connections, {tasks} tasks\n{:#?}\n{:#?}\n{:#?}",
            status.connection, status.queue, status.agents
        )
    }

    /// Waits for full recovery: an event, a text frame and a request get through, and nothing is left to do.
    async fn wait_until_recovered(&self, frames: &Recorded<Inbound>, probes: &mut Vec<SendRecord>) {
        let mut frames = frames.clone();
        for round in 0.. {
            let mark = format!("mark-{round}");
            let quoted = format!("\"{mark}\"");
            self.backend.send_chatter(&mark).await;
            let is_mark =
                |inbound: &Inbound| matches!(inbound, Inbound::Text(text) if text.contains(&quoted));
            let has_come = frames.wait_for(|frames| frames.iter().any(is_mark));
            if timeout(MARK_TIMEOUT, has_come).await.is_ok_and(|come| come.is_ok()) {
                break;
            }
        }
        for round in 0.. {
            let text = json!({ "type": "ping", "tag": format!("probe-{round}") }).to_string();
            let outcome = self.mainstay.connection().send(text.clone(), TEST_TIMEOUT).await;
            let is_sent = outcome == Ok(SendOutcome::Sent);
            probes.push(SendRecord { text: text.clone(), outcome });
            let is_seen = async || self.proxy.has_seen(&text);
            if is_sent && timeout(MARK_TIMEOUT, eventually(is_seen)).await.is_ok() {
                break;
            }
        }
        let probe = || Request::get("/api/search?q=probe").build().expect("it is valid");
        eventually(async || self.mainstay.request(probe()).await.is_ok()).await;
        eventually(async || self.has_recovered().await).await;
    }

    // === the end ===

    /// Injects a last fault, with requests in flight.
    async fn start_final_phase(self: Arc<Self>, final_phase: &FinalPhase, work: &mut JoinSet<WorkResult>) {
        let from = self.start.elapsed().as_millis() as u64;
        self.proxy.begin(final_phase.fault.clone()).await;
        for (number, call) in final_phase.calls.iter().cloned().enumerate() {
            let run = Arc::clone(&self);
            let call = ScheduledCall { at_ms: from + call.at_ms, ..call };
            work.spawn(async move { run.call(format!("last-call-{number}"), call, true).await });
        }
        for (number, send) in final_phase.sends.iter().copied().enumerate() {
            let run = Arc::clone(&self);
            let send = ScheduledSend { at_ms: from + send.at_ms, ..send };
            work.spawn(async move { run.send(format!("last-send-{number}"), send).await });
        }
        self.sleep_until_ms(from + final_phase.shutdown_at_ms).await;
    }
}
