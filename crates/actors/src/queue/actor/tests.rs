//! Tests the queue's actor under its supervisor.
//!
//! - `scripted_transport`: a transport with planned responses; `fixture`: a runtime with a queue over it, on a paused
//!   clock
//! - `scheduling`, `retries`, `outages`, `shared`, `cancellation`, `crashes`: the promises, case by case
//! - `deaths`: requests over which the backend dies; `sends`: each send is an attempt, whatever the server does
//! - `streams`: streamed responses
//! - `single_outcome`: each request ends exactly once
//! - `over_http`, `transfers`: real sockets; `transfers` with bodies of any size
//! - `redaction`: no secret of a request comes back in an error
//! - `errors`: each cause of an error, and its row in docs/conformance/errors.md

mod cancellation;
mod crashes;
mod deaths;
mod errors;
mod fixture;
mod outages;
mod over_http;
mod redaction;
mod retries;
mod scheduling;
mod scripted_transport;
mod sends;
mod shared;
mod single_outcome;
mod streams;
mod transfers;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::join_all};
use mainstay_runtime::{
    Address, Child, Reply, Runtime,
    policy::{Budget, ChildPolicy, Delay},
};
use tokio::sync::watch;

use self::{
    fixture::*,
    scripted_transport::{
        ScriptedEnd,
        ScriptedResponse::{self, *},
        ScriptedTransport,
    },
};
use crate::{
    error::{Code, Error, Reason, tests::words::assert_message_helps},
    network::{BackendAvailability, BackendEnds},
    queue::{
        Download, GroupLimit, LatencyByPriority, Overflow, PendingPhase, PriorityQueuePolicy, QueueActor,
        QueueHandle, QueueMessage, QueuePolicy, QueueView, RetryPolicy, WaitingByPriority,
        events::{
            QueueHeld, QueueOverflow, QueueReleased, RequestDone, RequestFailed, RequestJoined, RequestRetry,
            RequestStarted, RequestTimedOut,
        },
    },
    request::{Priority, Request, RequestBuilder, RequestId, Response, TransferProgress},
    tests::{block_on, block_on_paused, s, unresolvable_url},
    transport::{
        HttpSettings,
        scripted_server::{
            ScriptedServer,
            ServerStep::{self, AwaitClose, Close, Hold, Receive},
            ok_response,
        },
    },
};
