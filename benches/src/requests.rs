//! A request through the queue beside the same request by plain reqwest: loopback, keep-alive, 1 KiB answers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use mainstay_actors::queue::{LanesPolicy, QueueActor, QueueHandle, QueuePolicy, QueueView};
use mainstay_actors::request::Request;
use mainstay_actors::transport::{HttpSettings, HttpTransport};
use mainstay_runtime::{Child, Runtime, SupervisorSpec};
use tokio::task::JoinSet;

use crate::contender::Fault;
use crate::contender::mainstay::journal;
use crate::scoreboard::{Line, Target};
use crate::server::{BODY_BYTES, COUNT_PATH, Server};
use crate::settings::Settings;

/// How many requests are under way at once.
const CONCURRENCY: [usize; 3] = [1, 5, 32];
/// Requests of one round, of all callers together.
const REQUESTS: usize = 4_000;
const PEERS: &[&str] = &["reqwest"];
const PATH: &str = "/thing";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Get,
    Post,
}

impl Way {
    const ALL: [Self; 2] = [Self::Get, Self::Post];

    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST of 1 KiB",
        }
    }
}

/// Whoever makes requests.
trait Client: Clone + Send + Sync + 'static {
    /// Makes one request, reads the whole answer and returns its length.
    fn exchange(&self, way: Way, body: &Bytes) -> impl Future<Output = Result<usize, Fault>> + Send;
}

/// Mainstay's: a queue under its supervisor, with nothing else in the tree.
#[derive(Clone)]
struct Queued(QueueHandle);

impl Client for Queued {
    async fn exchange(&self, way: Way, body: &Bytes) -> Result<usize, Fault> {
        let request = match way {
            Way::Get => Request::get(PATH).build()?,
            Way::Post => Request::post(PATH).body(body.clone()).build()?,
        };
        Ok(self.0.request(request).await?.body.len())
    }
}

/// The client that Mainstay's transport is built on, by itself.
#[derive(Clone)]
struct Plain {
    client: reqwest::Client,
    url: Arc<str>,
}

impl Plain {
    /// Set up as Mainstay sets its own up. It keeps no time limit on answers, which Mainstay does.
    fn new(base: &str, callers: usize) -> Result<Self, Fault> {
        let client = reqwest::Client::builder()
            .user_agent("mainstay-benches")
            .connect_timeout(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_secs(4))
            .pool_max_idle_per_host(callers)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .build()?;
        Ok(Self { client, url: format!("{base}{PATH}").into() })
    }
}

impl Client for Plain {
    async fn exchange(&self, way: Way, body: &Bytes) -> Result<usize, Fault> {
        let request = match way {
            Way::Get => self.client.get(&*self.url),
            Way::Post => self.client.post(&*self.url).body(body.clone()),
        };
        let response = request.send().await?.error_for_status()?;
        Ok(response.bytes().await?.len())
    }
}

/// Microseconds a request: the time of a round of `REQUESTS`, made by so many callers one after the other.
async fn round<C: Client>(client: &C, way: Way, callers: usize) -> Result<f64, Fault> {
    let body = Bytes::from(vec![b'y'; BODY_BYTES]);
    let each = REQUESTS / callers;
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..callers {
        let (client, body) = (client.clone(), body.clone());
        tasks.spawn(async move {
            for _ in 0..each {
                let length = client.exchange(way, &body).await?;
                if length != BODY_BYTES {
                    return Err(format!("an answer has {length} bytes").into());
                }
            }
            Ok::<_, Fault>(())
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome??;
    }
    Ok(begun.elapsed().as_nanos() as f64 / 1e3 / (each * callers) as f64)
}

async fn queue(base: &str, callers: usize, dir: &Path) -> Result<(Runtime, Queued), Fault> {
    let settings = HttpSettings { idle_connections_max: callers, ..HttpSettings::new(base) };
    let transport = Arc::new(HttpTransport::new(&settings)?);
    let lanes = LanesPolicy::default();
    let policy = QueuePolicy { max_concurrent: callers, lanes, ..QueuePolicy::default() };
    let mut root = SupervisorSpec::new("root");
    let actor = QueueActor::new(transport, policy, QueueView::default());
    let address = root.child(Child::new("queue", actor))?;
    let runtime = Runtime::builder().journal(journal(dir)?).start(root).await?;
    Ok((runtime, Queued(QueueHandle::new(address))))
}

/// How many connections the server has taken, this one included.
async fn connections(base: &str) -> Result<u64, Fault> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    Ok(client.get(format!("{base}{COUNT_PATH}")).send().await?.text().await?.parse()?)
}

/// Contenders take turns, and each goes first in every other round. The first round warms up.
pub(crate) async fn measure(settings: &Settings, dir: &Path) -> Result<Vec<Line>, Fault> {
    let server = Server::start()?;
    let base = server.base();
    let mut lines = Vec::new();
    for callers in CONCURRENCY {
        let (runtime, queued) = queue(&base, callers, &dir.join(format!("requests-{callers}"))).await?;
        let plain = Plain::new(&base, callers)?;
        for way in Way::ALL {
            let what = format!("{}, {callers} at a time", way.name());
            let mut line = Line::beside(PEERS, what, "us").target(Target::OfFirst(1.1));
            let mut made = [0, 0];
            for number in 0..=settings.rounds {
                let mut figures = [0.0; 2];
                for turn in 0..2 {
                    let contender = (turn + number) % 2;
                    let before = connections(&base).await?;
                    figures[contender] = match contender {
                        0 => round(&queued, way, callers).await?,
                        _ => round(&plain, way, callers).await?,
                    };
                    // The one that asks is none of theirs.
                    made[contender] += connections(&base).await? - before - 1;
                }
                if number > 0 {
                    line.note(figures);
                }
            }
            let [ours, theirs] = made;
            eprintln!("  {}: {ours} connections made by mainstay, {theirs} by reqwest", line.what);
            lines.push(line);
        }
        runtime.shutdown().await;
    }
    Ok(lines)
}
