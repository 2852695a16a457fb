//! The requirements of a snapshot that outlives its process.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::actor::failure::Failure;

/// A snapshot that can be stored as JSON, and read by a later version of the program.
///
/// Raise [`VERSION`](Self::VERSION) whenever a state that is already stored no longer reads, or reads as something
/// else. A state of an older version then goes through [`migrate`](Self::migrate). A state of a newer version, written
/// by a program that has since been downgraded, is always refused. A refused state is quarantined, `state_refused`
/// says why, and the actor starts fresh.
///
/// ```
/// use mainstay_runtime::state::{Durable, MemoryStore};
/// use mainstay_runtime::{Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker};
/// use serde::{Deserialize, Serialize};
/// use serde_json::Value;
///
/// /// Version 1 was a bare number; version 2 gives it a name.
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Total { count: u64 }
///
/// impl Durable for Total {
///     const VERSION: u32 = 2;
///
///     fn migrate(version: u32, old: Value) -> Result<Self, Failure> {
///         match version {
///             1 => Ok(Self { count: serde_json::from_value(old)? }),
///             other => Err(format!("version {other} was never released").into()),
///         }
///     }
/// }
///
/// #[derive(Debug)]
/// enum Count { Up, Get(Reply<u64>) }
/// impl Message for Count {}
///
/// struct Counter;
/// impl Worker for Counter {
///     type Message = Count;
///     type State = Total;
///     type Snapshot = Total;
///
///     async fn start(&self, _: &mut Context<Count>, kept: Option<Total>) -> Result<Total, Failure> {
///         Ok(kept.unwrap_or_default())
///     }
///
///     async fn handle(&self, _: &mut Context<Count>, message: Count, total: &mut Total) -> Result<(), Failure> {
///         match message {
///             Count::Up => total.count += 1,
///             Count::Get(reply) => reply.send(total.count),
///         }
///         Ok(())
///     }
///
///     fn snapshot(&self, total: &Total) -> Option<Total> {
///         Some(total.clone())
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let store = std::sync::Arc::new(MemoryStore::new());
/// for total in 1..=3 {
///     let mut root = SupervisorSpec::new("root");
///     let counter = root.child(Child::new("counter", Counter).durable()).unwrap();
///     let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
///     counter.cast(Count::Up).await.unwrap();
///     assert_eq!(counter.call(Count::Get).await, Ok(total));
///     runtime.shutdown().await;
/// }
/// # });
/// ```
pub trait Durable: Serialize + DeserializeOwned {
    /// The version of the schema that [`Serialize`] writes.
    const VERSION: u32;

    /// Converts a state of an older version to this version. The default refuses every version.
    ///
    /// # Errors
    /// Returns an error if `version` cannot be migrated, or `old` is not what that version wrote.
    fn migrate(version: u32, _old: Value) -> Result<Self, Failure> {
        Err(format!("there is no migration from version {version}").into())
    }
}

/// The storing and reading of one type's snapshots: [`Durable`] as data, for slots that may not be durable.
pub(crate) struct Codec<S> {
    pub(crate) version: u32,
    pub(crate) encode: fn(&S) -> Result<Vec<u8>, Failure>,
    pub(crate) decode: fn(u32, &[u8]) -> Result<S, Failure>,
}

impl<S> Clone for Codec<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Codec<S> {}

impl<S: Durable> Codec<S> {
    pub(crate) fn new() -> Self {
        Self { version: S::VERSION, encode: |snapshot| Ok(serde_json::to_vec(snapshot)?), decode }
    }
}

fn decode<S: Durable>(version: u32, content: &[u8]) -> Result<S, Failure> {
    if version == S::VERSION {
        return Ok(serde_json::from_slice(content)?);
    }
    if version > S::VERSION {
        return Err(format!("version {version} is newer than {}, the newest one known", S::VERSION).into());
    }
    S::migrate(version, serde_json::from_slice(content)?)
}
