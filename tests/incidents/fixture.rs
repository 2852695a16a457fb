//! Runs a runtime in this process, waits for its events, and compares the stories of its incidents.

use std::path::Path;

use expect_test::expect_file;
use mainstay::config::Config;
use mainstay::incidents::{Incident, IncidentLog};
use mainstay::journal::{Delivery, Record};
use mainstay::{Mainstay, MainstayBuilder, Subscription};
use tokio::time::timeout;

use crate::stable_text::stable_text;
use crate::support::TEST_TIMEOUT;

/// A runtime, and the events of its journal so far.
pub(crate) struct FaultyRuntime {
    pub(crate) mainstay: Mainstay,
    pub(crate) folder: tempfile::TempDir,
    subscription: Subscription,
    records: Vec<Record>,
}

impl FaultyRuntime {
    /// Starts a runtime with this configuration, in which `{folder}` stands for the path of `folder`.
    pub(crate) async fn start(folder: tempfile::TempDir, config: &str) -> Self {
        Self::start_with(folder, config, |builder| builder).await
    }

    pub(crate) async fn start_with(
        folder: tempfile::TempDir,
        config: &str,
        with: impl FnOnce(MainstayBuilder) -> MainstayBuilder,
    ) -> Self {
        let config = config.replace("{folder}", &folder.path().display().to_string());
        let config = Config::from_toml(&config).unwrap_or_else(|error| panic!("{error}"));
        let builder = Mainstay::builder().config(config).data_dir(folder.path().join("data"));
        let mainstay = with(builder).start().await.unwrap();
        let subscription = mainstay.events();
        Self { mainstay, folder, subscription, records: Vec::new() }
    }

    /// Returns the first event of `actor` for which `is_wanted` holds, whether it has come already or not.
    pub(crate) async fn wait_for(&mut self, actor: &str, is_wanted: impl Fn(&Record) -> bool) -> Record {
        self.wait_for_any(|record| record.actor == actor && is_wanted(record)).await
    }

    /// Returns the first event of any actor for which `is_wanted` holds, whether it has come already or not.
    pub(crate) async fn wait_for_any(&mut self, is_wanted: impl Fn(&Record) -> bool) -> Record {
        let mut seen = 0;
        loop {
            if let Some(record) = self.records[seen..].iter().find(|record| is_wanted(record)) {
                return record.clone();
            }
            seen = self.records.len();
            let next = timeout(TEST_TIMEOUT, self.subscription.next()).await;
            let next =
                next.unwrap_or_else(|_| panic!("the event does not come after\n{}", self.transcript()));
            let Some(Delivery::Event(record)) = next else { panic!("events are missing: {next:?}") };
            self.records.push(*record);
        }
    }

    /// Returns the first event of this kind.
    pub(crate) async fn wait_for_kind(&mut self, actor: &str, kind: &str) -> Record {
        self.wait_for(actor, |record| record.kind == kind).await
    }

    /// Waits until this incarnation of an agent has this status.
    pub(crate) async fn wait_for_agent(&mut self, agent: &str, generation: u64, status: &str) {
        let is_wanted = |record: &Record| {
            record.kind == "agent_health" && record.generation == generation && record.fields["to"] == status
        };
        self.wait_for(&format!("root/agents/{agent}"), is_wanted).await;
    }

    /// Compares the stories of the incidents that began with `actor`, or below it, with the golden text of this name.
    #[track_caller]
    pub(crate) fn check(&self, name: &str, actor: &str) {
        let stories = self.stories(|incident| is_at_or_below(&incident.actor, actor));
        assert_golden(name, &stories);
    }

    /// Compares the stories of all incidents with the golden text of this name.
    #[track_caller]
    pub(crate) fn check_all(&self, name: &str) {
        assert_golden(name, &self.stories(|_| true));
    }

    /// Compares the stories as [`check_all`](Self::check_all) does, but for what depends on the speed: which of the last
    /// events of several actors is the last one, and whether a request is delayed before the queue holds it.
    #[track_caller]
    pub(crate) fn check_unordered(&self, name: &str) {
        let stories = self.stories(|_| true).replace("1 request waited, ", "");
        let lines = stories.split_inclusive('\n').filter(|line| !line.starts_with("Last event: "));
        assert_golden(name, &lines.collect::<String>());
    }

    fn stories(&self, are_wanted: impl Fn(&Incident) -> bool) -> String {
        stories(&self.records, self.folder.path(), are_wanted)
    }

    /// Stops the runtime, and reads its last events.
    pub(crate) async fn stop(&mut self) {
        timeout(TEST_TIMEOUT, self.mainstay.shutdown()).await.expect("it stops in order");
        self.wait_for_kind("root", "runtime_stopped").await;
    }

    fn transcript(&self) -> String {
        let lines = self.records.iter().map(|record| {
            format!(
                "{} {} {}: {}\n",
                record.cursor(),
                record.actor,
                record.kind,
                mainstay::events::summary(record)
            )
        });
        lines.collect()
    }
}

fn is_at_or_below(path: &str, actor: &str) -> bool {
    path.strip_prefix(actor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the stories of these incidents, with placeholders for what differs from run to run.
pub(crate) fn stories(records: &[Record], folder: &Path, are_wanted: impl Fn(&Incident) -> bool) -> String {
    let mut log = IncidentLog::default();
    records.iter().for_each(|record| log.apply(record));
    let incidents = log.incidents().filter(|incident| are_wanted(incident));
    incidents.map(|incident| story(incident, folder)).collect::<Vec<_>>().join("\n")
}

fn story(incident: &Incident, folder: &Path) -> String {
    let lines = incident.story_with(|_| "<time>".to_owned());
    let id = format!("event {}.", incident.id);
    lines.iter().map(|line| stable_text(line, folder).replace(&id, "event <event>.") + "\n").collect()
}

/// Compares stories with the golden text of this name.
#[track_caller]
pub(crate) fn assert_golden(name: &str, stories: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("incidents/golden/{name}.txt"));
    expect_file![golden].assert_eq(stories);
}
