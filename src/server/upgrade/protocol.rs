//! The messages between the two processes. They are JSON with names, so that each understands what another version of
//! the server says, as long as the format is the same.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::auth::keys::remote::FetchedKeys;
use crate::base64_bytes::Base64Bytes;
use crate::hub::directory::Standing;
use crate::hub::engine::{EngineState, PortableEntry, PortableLog, PortableSource};
use crate::server::control::SocketFile;
use crate::server::inherited::EndpointName;
use crate::tls::PortableTicketKeys;

/// The format of the messages. It rises when an older server would misunderstand one.
pub(super) const FORMAT: u32 = 1;

/// From the old process to the new one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToNew {
    /// The beginning.
    Begin {
        format: u32,
        version: String,
        /// The streams of the old process.
        connections: u64,
        /// The directory of its history.
        #[serde(default)]
        history: Option<PathBuf>,
        /// The log that several nodes share.
        #[serde(default)]
        shared_log: Option<String>,
        /// The node's name there.
        #[serde(default)]
        node: Option<String>,
        /// Its control socket, which the new process may replace.
        #[serde(default)]
        control: Option<SocketFile>,
        /// The keys of its TLS session tickets.
        #[serde(default)]
        ticket_keys: Option<PortableTicketKeys>,
        /// The key set that it has fetched from a URL.
        #[serde(default)]
        fetched_keys: Option<FetchedKeys>,
    },
    /// Listening sockets of an endpoint.
    Listeners(EndpointName),
    /// The new process can start.
    Start,
    /// Sockets over which streams move. They go round the shards of both processes, each beginning with its first.
    Streams,
    /// The beginning of the log.
    Log(PortableLog),
    /// The retained entries, the oldest first.
    Retained(Vec<PortableEntry>),
    /// The publishers' ids that are remembered, the oldest first.
    Sources(Vec<PortableSource>),
    /// The users with a known session change.
    Standings(Vec<(String, Standing)>),
    /// Everything before is all that there is to restore.
    Restore,
    /// Entries that the old process has dispatched.
    Entries(Vec<PortableEntry>),
    /// The new process has everything that the old one has confirmed to publishers, and from now on, this will remain
    /// so.
    InStep,
    /// An admin connection between two requests, and the beginning of the next one.
    AdminConnection { received: Base64Bytes },
    /// The engine has stopped.
    Finish(EngineState),
    /// The new process accepts from now on. The old one goes on only if the new one has ended.
    Commit(#[serde(default)] HandedOver),
}

/// What the old process reports at the end. The new one shows it as its last upgrade.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct HandedOver {
    /// Streams that moved.
    pub(super) connections: u64,
    /// Streams that ended during the hand-over.
    pub(super) lost: u64,
    /// Time since the request for the upgrade.
    pub(super) took_ms: u64,
    /// Longest time for which one stream was served by neither process.
    pub(super) longest_pause_ms: u64,
    /// Earlier upgrades of this server, by outcome: those of the old process and of the ones before it.
    pub(super) earlier: Vec<u64>,
}

/// From the new process to the old one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToOld {
    /// It has started, and can take streams.
    Ready {
        pid: u32,
        version: String,
        shards: usize,
    },
    /// It has not started, for this reason.
    Declined { reason: String },
    /// It has everything up to the cut.
    Restored,
    /// Its shards have carried the entries out.
    Taken,
    /// It has everything, and can accept.
    TakenOver,
    /// It accepts from now on.
    Serving,
}
