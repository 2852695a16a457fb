//! Starts an agent that speaks the Agent Client Protocol, talks to it, and takes the conversation up again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::client::AcpClient;
use super::fault::AcpFault;
use super::life::{Life, NotTalking};
use super::options::AcpOptions;
use super::prompt::AcpPrompt;
use super::session::{LostSession, SessionStart};
use crate::agent::driver::{Activity, AgentState, Driver, DriverError, ProcessFacts};
use crate::agent::feed::{AgentFeed, AgentUpdate, UpdateKind};
use crate::agent::health::Observation;
use crate::agent::letter::Letter;
use crate::agent::process::memory::over_ceiling;
use crate::agent::process::words::{absent, ended, in_doubt, not_started};
use crate::error::{Error, Reason, Secrets};
use crate::process::{Launch, Readiness, Warden};

/// How often it is looked how much memory the process takes.
const MEMORY_INTERVAL: Duration = Duration::from_secs(10);

/// After so many starts in a row that ended when the agent was to take its conversation up again, it begins another one.
const TAKE_UPS_MAX: u32 = 3;

/// What of a conversation outlives the process, and the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptSession {
    id: String,
    /// What it is about: an agent takes a conversation up again only there.
    cwd: PathBuf,
    /// The one before, if this is another one in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<LostSession>,
}

/// Starts an agent's process, and talks to it over its input and output. Its letters are prompts.
///
/// It is ready when it has introduced itself and begun a conversation. When this is dropped, the process is killed with
/// all that it started.
pub struct AcpDriver {
    launch: Launch,
    warden: Warden,
    feed: AgentFeed,
    options: AcpOptions,
    secrets: Secrets,
    memory_bytes_max: Option<u64>,
    memory_interval: Duration,
    /// One restart at a time.
    turn: tokio::sync::Mutex<()>,
    life: Mutex<Option<Arc<Life>>>,
    session: Mutex<Option<KeptSession>>,
    /// Starts in a row that ended when the agent was to take its conversation up again.
    take_ups_failed: AtomicU32,
}

impl AcpDriver {
    /// An agent that is started like this, and whose processes `warden` keeps from being left behind. Conversations are
    /// about the folder in which it runs. It cannot be [`Readiness::Stdout`]: its output is the protocol.
    #[must_use]
    pub fn new(launch: Launch, warden: Warden) -> Self {
        let options = AcpOptions {
            // How long the whole start may take is said by the launch.
            setup_timeout: launch.ready_within.saturating_mul(2),
            load_timeout: launch.ready_within.saturating_mul(2),
            ..AcpOptions::default()
        };
        Self {
            secrets: Secrets::default().with_environment(&launch.spec.env),
            launch,
            warden,
            feed: AgentFeed::default(),
            options,
            memory_bytes_max: None,
            memory_interval: MEMORY_INTERVAL,
            turn: tokio::sync::Mutex::default(),
            life: Mutex::default(),
            session: Mutex::default(),
            take_ups_failed: AtomicU32::new(0),
        }
    }

    /// Publishes there what the agent says beside its answers.
    #[must_use]
    pub fn with_feed(mut self, feed: AgentFeed) -> Self {
        self.feed = feed;
        self
    }

    /// Uses the connection like this.
    #[must_use]
    pub fn with_options(mut self, options: AcpOptions) -> Self {
        self.options = options;
        self
    }

    /// Cuts these out of what it tells of the agent's words, beside what is secret in the agent's own environment.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets.with_environment(&self.launch.spec.env);
        self
    }

    /// Has the agent restarted when it and what it started hold more memory than this, in bytes, three looks in a row.
    #[must_use]
    pub fn with_memory_ceiling(mut self, bytes_max: u64) -> Self {
        self.memory_bytes_max = Some(bytes_max);
        self
    }

    /// Looks at the memory that often, in place of every 10 s.
    #[must_use]
    pub fn with_memory_interval(mut self, interval: Duration) -> Self {
        self.memory_interval = interval;
        self
    }

    fn life(&self) -> Option<Arc<Life>> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Life>>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Option<KeptSession>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn observe(&self) -> Observation {
        let observation = match self.life() {
            Some(life) => life.observe().await,
            None => Observation::Gone { why: absent("its process does not run") },
        };
        match observation {
            Observation::Gone { why } => Observation::Gone { why: why.without(&self.secrets) },
            other => other,
        }
    }

    /// Resolves when the agent has ended by itself, cannot be talked to any more, or takes too much memory.
    async fn mishap(&self) -> Observation {
        let Some(life) = self.life() else { return self.observe().await };
        let over = life.over();
        // Whoever ends the agent for good must not find it held up by this.
        let life = Arc::downgrade(&life);
        let memory = over_ceiling(self.memory_bytes_max, self.memory_interval, || {
            let life = life.clone();
            async move { Some(life.upgrade()?.look_at_memory().await) }
        });
        tokio::select! {
            () = over => self.observe().await,
            why = memory => {
                if let Some(life) = life.upgrade() {
                    life.condemn(&why);
                    // It is not to grow until its restart is due.
                    life.stop().await;
                }
                Observation::Gone { why }
            }
        }
    }

    async fn start_anew(&self) -> Result<(), DriverError> {
        let _turn = self.turn.lock().await;
        self.end().await;
        let begun = self.begin().await;
        begun.map_err(|error| DriverError::Failed(error.without(&self.secrets)))
    }

    async fn begin(&self) -> Result<(), Error> {
        if matches!(self.launch.ready, Readiness::Stdout(_)) {
            let words = "an agent that speaks ACP is ready when it has begun a conversation; it cannot say so on stdout";
            return Err(Error::new(Reason::InvalidConfig).with_details(words));
        }
        let cwd = self.launch.spec.cwd.clone().unwrap_or_default();
        let cwd = std::path::absolute(cwd.join("."))
            .map_err(|error| Error::new(Reason::AgentFailed).with_details(&error.to_string()))?;
        let before = self.kept().clone();
        let is_hopeless = self.take_ups_failed.load(Ordering::Relaxed) >= TAKE_UPS_MAX;
        let kept =
            before.as_ref().filter(|kept| kept.cwd == cwd && !is_hopeless).map(|kept| kept.id.as_str());
        let life = Life::begin(&self.launch, &self.warden).await;
        let life = Arc::new(life.map_err(|fault| not_started(&fault))?);
        *self.slot() = Some(Arc::clone(&life));
        let started = life.talk(&self.launch, &cwd, kept, &self.feed, &self.options).await;
        if started.is_err() {
            if life.is_taking_up() {
                self.take_ups_failed.fetch_add(1, Ordering::Relaxed);
            }
            self.end_this(&life).await;
        }
        let mut start = started.map_err(|why| not_talking(&why))?;
        self.take_ups_failed.store(0, Ordering::Relaxed);
        if let Some(before) = before {
            let why = if before.cwd != cwd {
                Some("it was about another folder".to_owned())
            } else {
                is_hopeless
                    .then(|| format!("{TAKE_UPS_MAX} times in a row the agent ended over taking it up again"))
            };
            start.lost = start.lost.or(why.map(|why| LostSession { id: before.id, why }));
        }
        self.note(start, cwd);
        Ok(())
    }

    fn note(&self, mut start: SessionStart, cwd: PathBuf) {
        if let Some(lost) = &mut start.lost {
            lost.why = self.secrets.cut_out(&lost.why).into_owned();
        }
        let body = serde_json::to_value(&start).unwrap_or_default();
        *self.kept() = Some(KeptSession { id: start.id, cwd, lost: start.lost });
        self.feed.publish(AgentUpdate::new(UpdateKind::Session, body));
    }

    async fn end(&self) {
        if let Some(life) = self.life() {
            self.end_this(&life).await;
        }
    }

    async fn end_this(&self, life: &Arc<Life>) {
        life.stop().await;
        // Another may have been started meanwhile.
        self.slot().take_if(|now| Arc::ptr_eq(now, life));
    }

    async fn hand_over(&self, letter: Letter) -> Result<Value, Error> {
        let prompt = AcpPrompt::of_body(&letter.body).map_err(|fault| fault.as_error())?;
        let life = self.life().ok_or_else(|| absent("its process does not run"))?;
        let client = life.client().ok_or_else(|| absent("no conversation with it has begun yet"))?;
        match client.prompt(letter.id, prompt).await {
            Ok(end) => serde_json::to_value(&end)
                .map_err(|error| Error::new(Reason::BadResponse).with_details(&error.to_string())),
            Err(fault) => {
                let error = match (life.exit_behind(&fault).await, life.ending()) {
                    // Its input and output end with it, however it takes that.
                    (_, Some(why)) if fault.is_end_of_pipe() => in_doubt(&why),
                    (Some(exit), _) => in_doubt(&ended(&exit)),
                    (None, _) => fault.of_turn(),
                };
                Err(error.without(&self.secrets))
            }
        }
    }
}

fn not_talking(why: &NotTalking) -> Error {
    match why {
        NotTalking::Launch(fault) => not_started(fault),
        // What a person has to do about it is another matter than a program that does not run.
        NotTalking::Acp(fault @ (AcpFault::LoginWanted(_) | AcpFault::Version(_))) => fault.as_error(),
        NotTalking::Acp(fault) => Error::new(Reason::AgentFailed)
            .with_message("The agent was started, and does not talk to us. Check that it speaks the Agent Client Protocol.")
            .with_details(&fault.to_string()),
    }
}

impl Driver for AcpDriver {
    fn kind(&self) -> &'static str {
        "acp"
    }

    fn owns_agent(&self) -> bool {
        true
    }

    fn check(&self) -> BoxFuture<'_, Observation> {
        self.observe().boxed()
    }

    fn incident(&self) -> BoxFuture<'_, Observation> {
        self.mishap().boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.start_anew().boxed()
    }

    fn stop(&self) -> BoxFuture<'_, Option<Value>> {
        self.end().map(|()| None).boxed()
    }

    fn abandon(&self) {
        if let Some(life) = self.slot().take() {
            life.kill();
        }
    }

    /// What it is about is its conversation, which it keeps itself.
    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        std::future::ready(Ok(AgentState::Unsupported)).boxed()
    }

    fn write_state(&self, _: Value) -> BoxFuture<'_, Result<(), DriverError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn process(&self) -> Option<ProcessFacts> {
        self.life()?.facts()
    }

    /// One that waits for a person's answer does not hang.
    fn activity(&self) -> Activity {
        let activity = self.options.meter.activity();
        let asks = self.life().is_some_and(|life| life.client().is_some_and(AcpClient::has_asks));
        if asks { Activity { progressed_at: Some(Instant::now()), ..activity } } else { activity }
    }

    fn work_begun(&self) -> BoxFuture<'_, ()> {
        self.options.meter.begun().boxed()
    }

    fn deliver(&self, letter: Letter) -> BoxFuture<'_, Result<Value, Error>> {
        self.hand_over(letter).boxed()
    }

    /// An answer is the id of one of the options, or an object that has it as `optionId`.
    fn answer(&self, ask: &str, answer: Value) -> Result<(), Error> {
        let option = answer.as_str().or_else(|| answer["optionId"].as_str()).ok_or_else(|| {
            let words = "an answer is the id of one of the options, as a text or in \"optionId\"";
            Error::new(Reason::InvalidRequest)
                .with_message("That is no answer to what the agent asks. Use the id of one of its options.")
                .with_details(words)
        })?;
        let life = self.life().ok_or_else(|| absent("its process does not run"))?;
        let client = life.client().ok_or_else(|| AcpFault::NotAsked(ask.to_owned()).as_error())?;
        client.answer(ask, option).map_err(|fault| fault.as_error())?;
        // From now on it is the agent again that is waited for.
        self.options.meter.progress();
        Ok(())
    }

    fn session(&self) -> Option<Value> {
        self.kept().as_ref().and_then(|kept| serde_json::to_value(kept).ok())
    }

    fn recall(&self, session: Value) {
        match serde_json::from_value(session) {
            Ok(kept) => *self.kept() = Some(kept),
            Err(_) => tracing::warn!(
                "what was kept of an agent's conversation cannot be read, and another one begins"
            ),
        }
    }
}
