//! Lives a schedule, and takes notes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mainstay::actors::agent::AgentStatus;
use mainstay::actors::connection::feed::Inbound;
use mainstay::actors::connection::outbound::Fate;
use mainstay::actors::connection::status::ConnectionState;
use mainstay::actors::transport::{HttpSettings, HttpTransport};
use mainstay::backend::Fault as BackendFault;
use mainstay::config::Config;
use mainstay::runtime::journal::{Delivery, Record};
use mainstay::runtime::policy::ExitCause;
use mainstay::{Error, Mainstay, Request, RequestId};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout};

use crate::bed::Bed;
use crate::calls::{Answer, read, request};
use crate::counted::{Count, Counted};
use crate::fault_proxy::Proxy;
use crate::lived::{Called, Lived, Sent};
use crate::schedule::{Call, Finale, Patience, Reading, Schedule, Send, Trouble, What};

/// What has not come about after this never does.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a mark may take to come through before the next one is sent: events that nobody keeps can be lost.
const MARK_PATIENCE: Duration = Duration::from_millis(500);
/// What a runtime that is well has open at most: a WebSocket, eight connections that are kept, and the agents' checks; and
/// some that are just going.
const OPEN_MAX: usize = 16;
/// What it, the backend and the proxy need for all that, by far.
const TASKS_MAX: usize = 128;
/// How often it is looked whether what no event tells of has come about.
const PACE: Duration = Duration::from_millis(3);

/// One piece of work that has ended.
enum Ended {
    Called(Box<Called>),
    Sent(Sent),
    Other,
}

/// What all tasks of a run share.
struct Scene {
    schedule: Schedule,
    mainstay: Mainstay,
    proxy: Proxy,
    bed: Bed,
    start: Instant,
}

/// Lives a schedule on a runtime of its own.
pub(crate) fn live(schedule: &Schedule) -> Lived {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("there are threads to be had");
    let mut lived = runtime.block_on(live_on(schedule.clone()));
    // Whoever has ended its tasks only lately may still be taking them down.
    let left = || runtime.metrics().num_alive_tasks();
    let gone = runtime.block_on(async { timeout(PATIENCE, eventually(async || left() == 0)).await });
    if gone.is_err() {
        lived.complaints.push(format!("{} tasks are left when all has ended", left()));
    }
    lived
}

async fn live_on(schedule: Schedule) -> Lived {
    let mut lived = Lived::default();
    let (bed, address) = Bed::make(schedule.history_max).await;
    let proxy = Proxy::start(address, "/ws", schedule.seed).await.expect("there are ports to be had");
    let count = Arc::<Count>::default();
    let mainstay = start(&schedule, &proxy, &count).await;
    let mut listeners = JoinSet::new();
    let (records, frames) = listen(&mainstay, &mut listeners);
    let mut scene = Scene { schedule, mainstay, proxy, bed, start: Instant::now() };
    if scene.schedule.begins_well
        && timeout(PATIENCE, eventually(async || scene.is_well().await)).await.is_err()
    {
        lived.complaints.push(format!("it was not well at first: {}", scene.state().await));
    }
    scene.start = Instant::now();
    lived.began_ms = scene.mainstay.journal().now().as_millis() as u64;
    let scene = Arc::new(scene);

    let mut work = JoinSet::new();
    scene.clone().begin_work(&mut work);
    let mut troubles = JoinSet::new();
    for trouble in scene.schedule.troubles.clone() {
        let scene = Arc::clone(&scene);
        troubles.spawn(async move { scene.trouble(&trouble).await });
    }
    all(&mut troubles, "troubles", &mut lived).await;
    scene.calm_down().await;

    let healed = Instant::now();
    if timeout(PATIENCE, scene.settle(&frames, &mut lived.probes)).await.is_err() {
        lived.complaints.push(format!("it did not become well again: {}", scene.state().await));
    }
    lived.settled_after = healed.elapsed();
    all(&mut work, "requests and sends", &mut lived).await;

    if let Some(finale) = scene.schedule.finale.clone() {
        scene.clone().begin_finale(&finale, &mut work).await;
    }
    match timeout(PATIENCE, scene.mainstay.shutdown()).await {
        Ok(ending) if ending.cause == ExitCause::Normal => {}
        Ok(ending) => lived.complaints.push(format!("it ended out of order: {ending:?}")),
        Err(_) => lived.complaints.push("it did not shut down".to_owned()),
    }
    all(&mut work, "requests and sends after the shutdown", &mut lived).await;
    let Scene { mainstay, proxy, bed, .. } = Arc::into_inner(scene).expect("all who shared it have ended");
    drop(mainstay);
    // What is held up would keep the proxy from looking at who has gone.
    proxy.heal().await;
    if timeout(PATIENCE, proxy.deserted()).await.is_err() {
        lived.complaints.push(format!("{} connections are open after the end", proxy.open()));
    }
    lived.done = bed.leave().await;
    lived.wire = proxy.wire();
    proxy.stop().await;
    if timeout(PATIENCE, async { while listeners.join_next().await.is_some() {} }).await.is_err() {
        lived.complaints.push("the journal or the frames did not come to an end".to_owned());
    }
    lived.records = records.borrow().clone();
    lived.frames = frames.borrow().clone();
    lived.most_under_way = count.most();
    lived
}

async fn start(schedule: &Schedule, proxy: &Proxy, count: &Arc<Count>) -> Mainstay {
    let config = Config::from_toml(&schedule.settings.to_toml(&proxy.url())).expect("settings are valid");
    let transport = HttpTransport::new(&HttpSettings {
        connect_timeout: config.connection.connect_timeout,
        ..HttpSettings::new(proxy.url())
    });
    let transport = Counted { transport: transport.expect("the address is valid"), count: Arc::clone(count) };
    let builder = Mainstay::builder().config(config).transport(Arc::new(transport));
    builder.seed(schedule.seed).verbose(true).start().await.expect("the tree comes up, backend or not")
}

type Noted<T> = watch::Receiver<Vec<T>>;

/// Follows the journal and the frames to their ends.
fn listen(mainstay: &Mainstay, listeners: &mut JoinSet<()>) -> (Noted<Record>, Noted<Inbound>) {
    let (records, noted_records) = watch::channel(Vec::new());
    let mut events = mainstay.events_after(0);
    listeners.spawn(async move {
        while let Delivery::Event(record) = events.next().await {
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

/// Looks again and again, for what no event tells of.
async fn eventually(is_so: impl AsyncFn() -> bool) {
    let mut pace = interval(PACE);
    while !is_so().await {
        pace.tick().await;
    }
}

/// Takes in what tasks bring, until all have ended.
async fn all(tasks: &mut JoinSet<Ended>, what: &str, lived: &mut Lived) {
    let ending = timeout(PATIENCE, async {
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Ended::Called(called)) => lived.calls.push(*called),
                Ok(Ended::Sent(sent)) => lived.sends.push(sent),
                Ok(Ended::Other) => {}
                Err(error) => lived.complaints.push(format!("a task of the test failed: {error}")),
            }
        }
    });
    if ending.await.is_err() {
        lived.complaints.push(format!("{} {what} did not end", tasks.len()));
        tasks.shutdown().await;
    }
}

impl Scene {
    async fn until(&self, at_ms: u64) {
        sleep_until(self.start + Duration::from_millis(at_ms)).await;
    }

    // === what goes wrong ===

    async fn trouble(&self, trouble: &Trouble) -> Ended {
        self.until(trouble.at_ms).await;
        match trouble.what.clone() {
            What::Wire(fault) => {
                let id = self.proxy.begin(fault).await;
                self.until(trouble.ends_ms()).await;
                self.proxy.end(id).await;
            }
            What::CrashAgent(agent) => {
                self.bed.inject(BackendFault::CrashAgent { agent: agent.to_owned() }).await;
            }
            What::Answer { path, status, retry_after, times } => {
                let path = path.to_owned();
                self.bed.inject(BackendFault::Status { path, status, times, retry_after }).await;
            }
            What::Slow { path, ms, times } => {
                self.bed.inject(BackendFault::Slow { path: path.to_owned(), ms, times }).await;
            }
            What::Reset { path, times } => {
                self.bed.inject(BackendFault::Reset { path: path.to_owned(), times }).await;
            }
            What::DropWebSockets => self.bed.inject(BackendFault::DropWs).await,
            What::RefuseWebSockets => {
                self.bed.inject(BackendFault::RefuseWs { for_ms: trouble.lasts_ms }).await;
                self.until(trouble.ends_ms()).await;
            }
            What::SilenceWebSockets => {
                self.bed.inject(BackendFault::HalfOpenWs { for_ms: trouble.lasts_ms }).await;
                self.until(trouble.ends_ms()).await;
            }
            What::HangAgent(agent) => {
                self.bed.inject(BackendFault::HangAgent { agent: agent.to_owned() }).await;
                self.until(trouble.ends_ms()).await;
                self.bed.inject(BackendFault::HealAgent { agent: agent.to_owned() }).await;
            }
            What::RestartBackend => {
                self.bed.end().await;
                self.until(trouble.ends_ms()).await;
                self.proxy.lead_to(self.bed.begin().await);
            }
            What::Reconnect => self.mainstay.connection().reconnect().await.expect("it is not stopped"),
            What::Disconnect => {
                self.mainstay.connection().disconnect().await.expect("it is not stopped");
                self.until(trouble.ends_ms()).await;
                self.mainstay.connection().reconnect().await.expect("it is not stopped");
            }
            // Whether the backend could be reached for it is told by the agent's health.
            What::RestartAgent(agent) => _ = self.mainstay.agents().restart(agent).await,
        }
        Ended::Other
    }

    /// Ends what is left of all faults: from here on nothing goes wrong any more.
    async fn calm_down(&self) {
        self.proxy.heal().await;
        for trouble in &self.schedule.troubles {
            if let What::Answer { path, times, .. }
            | What::Slow { path, times, .. }
            | What::Reset { path, times } = &trouble.what
            {
                for _ in 0..*times {
                    self.bed.ask_directly("GET", path, "").await;
                }
            }
        }
    }

    // === what is asked for ===

    fn begin_work(self: Arc<Self>, work: &mut JoinSet<Ended>) {
        for (number, call) in self.schedule.calls.iter().cloned().enumerate() {
            let scene = Arc::clone(&self);
            work.spawn(async move { scene.call(format!("call-{number}"), call, false).await });
        }
        for (number, send) in self.schedule.sends.iter().copied().enumerate() {
            let scene = Arc::clone(&self);
            work.spawn(async move { scene.send(format!("send-{number}"), send).await });
        }
        let scene = Arc::clone(&self);
        work.spawn(async move {
            for (number, at_ms) in scene.schedule.chatter.iter().enumerate() {
                scene.until(*at_ms).await;
                scene.bed.chatter(&format!("chatter-{number}")).await;
            }
            Ended::Other
        });
    }

    async fn call(&self, tag: String, call: Call, is_last: bool) -> Ended {
        self.until(call.at_ms).await;
        let (id, mut answer) = self.ask(&tag, &call);
        let mut cancelled = None;
        let outcome = match call.patience {
            Patience::ToTheEnd => answer.await,
            Patience::DropAfterMs(ms) => {
                let answered = timeout(Duration::from_millis(ms), answer).await.ok().flatten();
                // That an answer is dropped which has begun is noticed later.
                if answered.is_none() && call.reading == Reading::Whole {
                    cancelled = Some(self.mainstay.cancel(id).await);
                }
                answered
            }
            Patience::CancelAfterMs(ms) => {
                let answered = timeout(Duration::from_millis(ms), &mut answer).await;
                cancelled = Some(self.mainstay.cancel(id).await);
                match answered {
                    Ok(answered) => answered,
                    Err(_) => answer.await,
                }
            }
        };
        Ended::Called(Box::new(Called { tag, call, id, outcome, cancelled, is_last }))
    }

    /// Makes a request; what comes of it is nothing where its caller does not read to the end.
    fn ask(&self, tag: &str, call: &Call) -> (RequestId, BoxFuture<'static, Option<Result<Answer, Error>>>) {
        let (request, reading) = (request(tag, call), call.reading);
        if reading == Reading::Whole {
            let (id, answer) = self.mainstay.submit(request);
            return (id, answer.map(|answer| Some(answer.map(Answer::from))).boxed());
        }
        let (id, opening) = self.mainstay.submit_open(request);
        (id, async move { read(opening.await, reading).await.transpose() }.boxed())
    }

    async fn send(&self, tag: String, send: Send) -> Ended {
        self.until(send.at_ms).await;
        let text = json!({ "type": "ping", "tag": tag }).to_string();
        let fate =
            self.mainstay.connection().send(text.clone(), Duration::from_millis(send.patience_ms)).await;
        Ended::Sent(Sent { text, fate })
    }

    // === how it is ===

    async fn is_well(&self) -> bool {
        let status = self.mainstay.status().await;
        self.proxy.open() <= OPEN_MAX
            && Handle::current().metrics().num_alive_tasks() <= TASKS_MAX
            && status.connection.state == ConnectionState::Connected
            && status.queue.stats.waiting + status.queue.stats.running == 0
            && status.queue.hold.is_none()
            && status.agents.iter().all(|agent| agent.status == AgentStatus::Healthy)
    }

    async fn state(&self) -> String {
        let status = self.mainstay.status().await;
        let (open, tasks) = (self.proxy.open(), Handle::current().metrics().num_alive_tasks());
        format!(
            "{open} connections, {tasks} tasks\n{:#?}\n{:#?}\n{:#?}",
            status.connection, status.queue, status.agents
        )
    }

    /// Returns when all is well: an event comes through, a text frame and a request go through, and nothing is left to do.
    async fn settle(&self, frames: &Noted<Inbound>, probes: &mut Vec<Sent>) {
        let mut frames = frames.clone();
        for round in 0.. {
            let mark = format!("mark-{round}");
            let quoted = format!("\"{mark}\"");
            self.bed.chatter(&mark).await;
            let is_mark =
                |inbound: &Inbound| matches!(inbound, Inbound::Text(text) if text.contains(&quoted));
            let has_come = frames.wait_for(|frames| frames.iter().any(is_mark));
            if timeout(MARK_PATIENCE, has_come).await.is_ok_and(|come| come.is_ok()) {
                break;
            }
        }
        for round in 0.. {
            let text = json!({ "type": "ping", "tag": format!("probe-{round}") }).to_string();
            let fate = self.mainstay.connection().send(text.clone(), PATIENCE).await;
            let is_sent = fate == Ok(Fate::Sent);
            probes.push(Sent { text: text.clone(), fate });
            let is_seen = async || self.proxy.has_seen(&text);
            if is_sent && timeout(MARK_PATIENCE, eventually(is_seen)).await.is_ok() {
                break;
            }
        }
        let probe = || Request::get("/api/search?q=probe").build().expect("it is valid");
        eventually(async || self.mainstay.request(probe()).await.is_ok()).await;
        eventually(async || self.is_well().await).await;
    }

    // === the end ===

    /// Lets something go wrong once more, with requests under way.
    async fn begin_finale(self: Arc<Self>, finale: &Finale, work: &mut JoinSet<Ended>) {
        let from = self.start.elapsed().as_millis() as u64;
        self.proxy.begin(finale.fault.clone()).await;
        for (number, call) in finale.calls.iter().cloned().enumerate() {
            let scene = Arc::clone(&self);
            let call = Call { at_ms: from + call.at_ms, ..call };
            work.spawn(async move { scene.call(format!("last-call-{number}"), call, true).await });
        }
        for (number, send) in finale.sends.iter().copied().enumerate() {
            let scene = Arc::clone(&self);
            let send = Send { at_ms: from + send.at_ms, ..send };
            work.spawn(async move { scene.send(format!("last-send-{number}"), send).await });
        }
        self.until(from + finale.shutdown_at_ms).await;
    }
}
