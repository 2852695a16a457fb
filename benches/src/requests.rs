//! Measures a request through the queue beside the same by plain reqwest: loopback, keep-alive, 1 KiB responses.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use mainstay_actors::queue::{QueueActor, QueueHandle, QueuePolicy, QueueView};
use mainstay_actors::request::Request;
use mainstay_actors::transport::{HttpSettings, HttpTransport};
use mainstay_runtime::{Child, Runtime, SupervisorSpec};
use tokio::task::JoinSet;

use crate::contender::BenchError;
use crate::contender::mainstay::journal;
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::server::{BODY_BYTES, COUNT_PATH, HttpServer};
use crate::settings::BenchSettings;

/// The numbers of requests in flight at once.
const CONCURRENCY: [usize; 3] = [1, 5, 32];
/// The requests of one round, of all callers together.
const REQUESTS: usize = 4_000;
const PEERS: &[&str] = &["reqwest"];
const PATH: &str = "/thing";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestMethod {
    Get,
    Post,
}

impl RequestMethod {
    const ALL: [Self; 2] = [Self::Get, Self::Post];

    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST of 1 KiB",
        }
    }
}

/// A client that makes requests.
trait HttpClient: Clone + Send + Sync + 'static {
    /// Makes one request, reads the whole response and returns its length.
    fn exchange(
        &self,
        method: RequestMethod,
        body: &Bytes,
    ) -> impl Future<Output = Result<usize, BenchError>> + Send;
}

/// Mainstay's client: a queue under its supervisor, with nothing else in the tree.
#[derive(Clone)]
struct QueueClient(QueueHandle);

impl HttpClient for QueueClient {
    async fn exchange(&self, method: RequestMethod, body: &Bytes) -> Result<usize, BenchError> {
        let request = match method {
            RequestMethod::Get => Request::get(PATH).build()?,
            RequestMethod::Post => Request::post(PATH).body(body.clone()).build()?,
        };
        Ok(self.0.request(request).await?.body.len())
    }
}

/// The client that Mainstay's transport is built on, by itself.
#[derive(Clone)]
struct ReqwestClient {
    client: reqwest::Client,
    url: Arc<str>,
}

impl ReqwestClient {
    /// Builds the client with Mainstay's settings, except that it has no time limit on responses.
    fn new(base: &str, callers: usize) -> Result<Self, BenchError> {
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

impl HttpClient for ReqwestClient {
    async fn exchange(&self, method: RequestMethod, body: &Bytes) -> Result<usize, BenchError> {
        let request = match method {
            RequestMethod::Get => self.client.get(&*self.url),
            RequestMethod::Post => self.client.post(&*self.url).body(body.clone()),
        };
        let response = request.send().await?.error_for_status()?;
        Ok(response.bytes().await?.len())
    }
}

/// Returns the microseconds of a request: `callers` tasks make `REQUESTS` requests, each task one after the other.
async fn round<C: HttpClient>(client: &C, method: RequestMethod, callers: usize) -> Result<f64, BenchError> {
    let body = Bytes::from(vec![b'y'; BODY_BYTES]);
    let each = REQUESTS / callers;
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..callers {
        let (client, body) = (client.clone(), body.clone());
        tasks.spawn(async move {
            for _ in 0..each {
                let length = client.exchange(method, &body).await?;
                if length != BODY_BYTES {
                    return Err(format!("a response has {length} bytes").into());
                }
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome??;
    }
    Ok(begun.elapsed().as_nanos() as f64 / 1e3 / (each * callers) as f64)
}

async fn start_queue(base: &str, callers: usize, dir: &Path) -> Result<(Runtime, QueueClient), BenchError> {
    let settings = HttpSettings { idle_connections_max: callers, ..HttpSettings::new(base) };
    let transport = Arc::new(HttpTransport::new(&settings)?);
    let policy = QueuePolicy { max_concurrent: callers, ..QueuePolicy::default() };
    let mut root = SupervisorSpec::new("root");
    let actor = QueueActor::new(transport, policy, QueueView::default());
    let address = root.child(Child::new("queue", actor))?;
    let runtime = Runtime::builder().journal(journal(dir)?).start(root).await?;
    Ok((runtime, QueueClient(QueueHandle::new(address))))
}

/// Returns the number of connections that the server has accepted, this one included.
async fn count_connections(base: &str) -> Result<u64, BenchError> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    Ok(client.get(format!("{base}{COUNT_PATH}")).send().await?.text().await?.parse()?)
}

/// Measures the contenders in turns; each goes first in every other round. The first round warms up.
pub(crate) async fn measure(settings: &BenchSettings, dir: &Path) -> Result<Vec<ScoreLine>, BenchError> {
    let server = HttpServer::start()?;
    let base = server.base();
    let mut lines = Vec::new();
    for callers in CONCURRENCY {
        let (runtime, queue_client) =
            start_queue(&base, callers, &dir.join(format!("requests-{callers}"))).await?;
        let reqwest_client = ReqwestClient::new(&base, callers)?;
        for method in RequestMethod::ALL {
            let what = format!("{}, {callers} at a time", method.name());
            let mut line = ScoreLine::against(PEERS, what, "us").target(ScoreTarget::OfFirst(1.1));
            let mut made = [0, 0];
            for number in 0..=settings.rounds {
                let mut figures = [0.0; 2];
                for turn in 0..2 {
                    let contender = (turn + number) % 2;
                    let before = count_connections(&base).await?;
                    figures[contender] = match contender {
                        0 => round(&queue_client, method, callers).await?,
                        _ => round(&reqwest_client, method, callers).await?,
                    };
                    // The connection that asks does not count.
                    made[contender] += count_connections(&base).await? - before - 1;
                }
                if number > 0 {
                    line.record(figures);
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
