//! The driver starts an agent that speaks the Agent Client Protocol, talks to it, and resumes its session.

use parking_lot::{Mutex, MutexGuard};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::AcpError;
use super::instance::{AcpConnectError, AcpInstance};
use super::options::AcpOptions;
use super::prompt::AcpPrompt;
use super::session::{Login, LoginMethod, LostSession, SessionStart};
use crate::agent::agent_message::AgentMessage;
use crate::agent::driver::process::errors::{exited_error, not_running_error, start_error};
use crate::agent::driver::process::{Instance, ProcessHost, ProcessSetup};
use crate::agent::driver::{Activity, AgentState, Driver, DriverError, ProcessUsage, StopReport};
use crate::agent::health::Observation;
use crate::agent::pending_replies::outcome_unknown_error;
use crate::agent::updates::{AgentUpdate, UpdateBroadcast, UpdateKind};
use crate::error::{Error, Reason, excerpt};
use crate::json::{Json, Members};
use crate::process::Readiness;

/// The number of starts in a row that may end during a resumption; after that a new session starts.
const RESUME_FAILURES_MAX: u32 = 3;

/// The longest reason for which a session was lost, in characters.
const LOST_MESSAGE_CHARS_MAX: usize = 500;

/// The data of a session that outlives the process and the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedSession {
    id: String,
    /// The working directory: an agent resumes a session only there.
    cwd: PathBuf,
    /// The previous session, if this one replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<LostSession>,
}

/// Starts an agent's process, and talks to it over its standard input and output. Its messages are prompts.
///
/// The agent is ready once it has initialized and started a session. When the driver is dropped, the process is
/// killed with all that it started.
pub struct AcpDriver {
    host: ProcessHost<AcpInstance>,
    options: AcpOptions,
    session: Mutex<Option<SavedSession>>,
    /// The login of the next start.
    login: Mutex<Option<Login>>,
    /// The number of starts in a row that ended during a resumption.
    failed_resumes: AtomicU32,
}

impl AcpDriver {
    /// Creates a driver that starts agents as `setup` says. Sessions are about the process's working directory. The
    /// launch cannot use [`Readiness::Stdout`], since the output is the protocol.
    #[must_use]
    pub fn new(setup: ProcessSetup) -> Self {
        let options = AcpOptions {
            // The launch itself bounds the whole start.
            setup_timeout: setup.launch.ready_timeout.saturating_mul(2),
            load_timeout: setup.launch.ready_timeout.saturating_mul(2),
            secrets: setup.launch.spec.known_secrets(),
            log: setup.launch.spec.log.clone(),
            ..AcpOptions::default()
        };
        Self {
            host: ProcessHost::new(setup),
            options,
            session: Mutex::default(),
            login: Mutex::default(),
            failed_resumes: AtomicU32::new(0),
        }
    }

    /// Sets the most lines in a row that are skipped since they are not messages; 10,000 unless set, and `None` for no
    /// limit.
    #[must_use]
    pub fn with_stray_lines_max(mut self, lines_max: Option<usize>) -> Self {
        self.options.limits.stray_lines_max = lines_max;
        self
    }

    fn lock_session(&self) -> MutexGuard<'_, Option<SavedSession>> {
        self.session.lock()
    }

    async fn start(&self) -> Result<(), DriverError> {
        let cwd = self.session_dir().map_err(DriverError::Unrecoverable)?;
        let start = AcpInstance::start(&self.host.setup);
        self.host.restart(start, |instance| self.connect(instance, cwd)).await
    }

    /// Connects to the agent, and starts or resumes its session.
    async fn connect(&self, instance: Arc<AcpInstance>, cwd: PathBuf) -> Result<(), DriverError> {
        let before = self.lock_session().clone();
        let is_hopeless = self.failed_resumes.load(Ordering::Relaxed) >= RESUME_FAILURES_MAX;
        let saved =
            before.as_ref().filter(|saved| saved.cwd == cwd && !is_hopeless).map(|saved| saved.id.as_str());
        let login = self.login.lock().take();
        let connected = instance.connect(&self.host.setup, &cwd, saved, login, &self.options).await;
        if connected.is_err() && instance.is_resuming() {
            self.failed_resumes.fetch_add(1, Ordering::Relaxed);
        }
        let mut start = connected.map_err(|why| connect_error(&why, &self.host.setup.launch.spec.name))?;
        self.failed_resumes.store(0, Ordering::Relaxed);
        if let Some(before) = before {
            let why = if before.cwd != cwd {
                Some("it was about another folder".to_owned())
            } else {
                is_hopeless.then(|| {
                    format!(
                        "the agent ended {RESUME_FAILURES_MAX} times in a row when it resumed the session"
                    )
                })
            };
            start.lost = start.lost.or(why.map(|message| LostSession { id: before.id, message }));
        }
        self.save_session(start, cwd);
        Ok(())
    }

    /// Returns the folder that the session is about.
    fn session_dir(&self) -> Result<PathBuf, Error> {
        let launch = &self.host.setup.launch;
        if matches!(launch.readiness, Readiness::Stdout(_)) {
            let words = "an agent that speaks ACP is ready once it has started a session; it cannot report that on stdout";
            return Err(Error::new(Reason::InvalidConfig).with_details(words));
        }
        let cwd = launch.spec.cwd.clone().unwrap_or_default();
        std::path::absolute(cwd.join("."))
            .map_err(|error| Error::new(Reason::AgentFailed).with_details(&error.to_string()))
    }

    fn save_session(&self, mut start: SessionStart, cwd: PathBuf) {
        if let Some(lost) = &mut start.lost {
            lost.message = excerpt(&self.host.secrets.redact(&lost.message), LOST_MESSAGE_CHARS_MAX);
        }
        let body = Json::from_serialize(&start).unwrap_or_default();
        *self.lock_session() = Some(SavedSession { id: start.id, cwd, lost: start.lost });
        self.host.setup.updates.publish(AgentUpdate::new(UpdateKind::Session, body));
    }

    async fn deliver_message(&self, message: AgentMessage) -> Result<Json, Error> {
        let prompt = AcpPrompt::from_body(&message.body).map_err(|error| error.to_error())?;
        let instance = self.host.running_instance()?;
        let client =
            instance.client().ok_or_else(|| not_running_error("it has not started a session yet"))?;
        match client.prompt(message.id, prompt).await {
            Ok(end) => Json::from_serialize(&end)
                .map_err(|error| Error::new(Reason::BadResponse).with_details(&error.to_string())),
            Err(error) => {
                let error = match (instance.exit_for(&error).await, instance.stop_reason()) {
                    // The pipes end with the process, and its exit says more.
                    (_, Some(why)) if error.is_pipe_end() => outcome_unknown_error(&why),
                    (Some(exit), _) => outcome_unknown_error(&exited_error(&exit)),
                    (None, _) => error.to_turn_error(),
                };
                Err(error.redacted(&self.host.secrets))
            }
        }
    }
}

fn connect_error(why: &AcpConnectError, id: &str) -> DriverError {
    match why {
        AcpConnectError::Launch(error) => start_error(error),
        // A person has to do something first.
        AcpConnectError::Protocol(error @ AcpError::AuthRequired(logins)) => {
            DriverError::Unrecoverable(login_error(error.to_error(), logins, id))
        }
        AcpConnectError::Protocol(
            error @ (AcpError::UnknownLogin { .. } | AcpError::UnsupportedVersion(_)),
        ) => DriverError::Unrecoverable(error.to_error()),
        AcpConnectError::Protocol(error) => DriverError::Failed(
            Error::new(Reason::AgentFailed)
                .with_message(
                    "The agent runs, but does not answer. Check that it speaks the Agent Client Protocol.",
                )
                .with_details(&error.to_string()),
        ),
    }
}

/// Returns the error of agent `id` that needs a login, with the command that logs in if there is one.
fn login_error(error: Error, logins: &[LoginMethod], id: &str) -> Error {
    let Some(method) = logins.iter().find(|login| login.is_offered) else { return error };
    let words = |id: &str, method: &str| {
        format!("The agent needs a login first. Log in with 'mainstay agent login {id} {method}'.")
    };
    // An id that looks like a token is for the log.
    error.with_message(&words("ID", "METHOD")).with_message(&words(id, &method.id))
}

impl Driver for AcpDriver {
    fn kind(&self) -> &'static str {
        "acp"
    }

    fn owns_agent(&self) -> bool {
        true
    }

    fn asks_backend(&self) -> bool {
        self.host.asks_backend()
    }

    fn check(&self) -> BoxFuture<'_, Observation> {
        self.host.observe().boxed()
    }

    fn wait_for_failure(&self) -> BoxFuture<'_, Observation> {
        self.host.wait_for_failure().boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>> {
        self.start().boxed()
    }

    fn stop(&self) -> BoxFuture<'_, StopReport> {
        let stopped = self.host.stop();
        async {
            let killed = stopped.await.and_then(|instance| instance.managed().killed());
            StopReport { state: None, killed }
        }
        .boxed()
    }

    fn ask_to_end(&self) {
        self.host.ask_to_end();
    }

    fn abandon(&self) {
        self.host.kill();
    }

    /// Reads nothing: the agent keeps its session itself.
    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>> {
        std::future::ready(Ok(AgentState::Unsupported)).boxed()
    }

    fn write_state(&self, _: Json) -> BoxFuture<'_, Result<(), DriverError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn is_unrunnable(&self) -> bool {
        self.host.is_unrunnable()
    }

    fn note_generation(&self, generation: u64) {
        self.host.setup.launch.spec.log.set_generation(generation);
    }

    fn process(&self) -> Option<ProcessUsage> {
        self.host.usage()
    }

    fn is_suspended(&self) -> BoxFuture<'_, bool> {
        self.host.is_suspended().boxed()
    }

    fn activity(&self) -> Activity {
        self.options.meter.activity().while_asking(self.host.setup.updates.has_questions())
    }

    fn wait_for_work(&self) -> BoxFuture<'_, ()> {
        self.options.meter.wait_for_work().boxed()
    }

    fn updates(&self) -> Option<&UpdateBroadcast> {
        Some(&self.host.setup.updates)
    }

    fn redact(&self, text: &str) -> String {
        self.host.secrets.redact(text).into_owned()
    }

    fn deliver(&self, message: AgentMessage) -> BoxFuture<'_, Result<Json, Error>> {
        self.deliver_message(message).boxed()
    }

    /// Accepts the id of an option, or an object that has it as `optionId`.
    fn answer(&self, ask: &str, answer: Json) -> Result<(), Error> {
        let option_of = |answer: Members<'_>| answer.read("optionId");
        let option = answer.read().ok().or_else(|| Members::parse(answer.as_str()).ok().and_then(option_of));
        let option: String = option.ok_or_else(|| {
            let words = "an answer is the id of one of the options, as a text or in \"optionId\"";
            Error::new(Reason::InvalidRequest)
                .with_message("That is no answer to what the agent asks. Use the id of one of its options.")
                .with_details(words)
        })?;
        let instance = self.host.running_instance()?;
        let client = instance.client().ok_or_else(|| AcpError::UnknownAsk(ask.to_owned()).to_error())?;
        client.answer(ask, &option).map_err(|error| error.to_error())?;
        // The agent is working again from now on.
        self.options.meter.note_progress();
        Ok(())
    }

    fn log_in_at_start(&self, method: Option<String>) -> Result<(), Error> {
        *self.login.lock() = Some(Login(method));
        Ok(())
    }

    fn session(&self) -> Option<Value> {
        self.lock_session().as_ref().and_then(|saved| serde_json::to_value(saved).ok())
    }

    fn restore_session(&self, session: Value) {
        match serde_json::from_value(session) {
            Ok(saved) => *self.lock_session() = Some(saved),
            Err(_) => tracing::warn!("the saved session of an agent cannot be read, and a new one starts"),
        }
    }
}
