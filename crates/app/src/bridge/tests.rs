//! Sessions about everything, against the embedded backend.

mod agents;
mod bodies;
mod cache;
mod files;
mod fixture;
mod frames;
mod messages;
mod requests;
mod session;
mod updates;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use mainstay_actors::agent::{AgentUpdate, UPDATES_BUFFERED_MAX, UpdateEvent, UpdateKind};
use mainstay_actors::connection::status::{ConnectionState, ConnectionStatus};
use mainstay_runtime::clock::{Clock, SystemClock, WallTime};
use mainstay_runtime::journal::{Delivery, Record};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::fixture::{BridgeFixture, TestSession, with_id};
use super::session::Session;
use super::{BridgeCommand, ServerMessage, serve};
use crate::Reason;
use crate::backend::{Backend, BackendOptions};
use crate::config::Config;
use crate::mainstay::Mainstay;
use crate::subscription::Subscription;

/// After this a test has failed.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
