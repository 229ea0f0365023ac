//! Idlewild, a Server-Sent Events hub: an idle client costs its kernel socket and one cache line.
//!
//! The modules, from the top layer down. A lower layer never imports a higher one:
//!
//! | layer | module | one purpose |
//! |---|---|---|
//! | 6 | [`cli`], [`server`] | commands; start, reload and drain |
//! | 5 | [`public`], `admin` | the two HTTP services: they translate requests into calls of the hub |
//! | 4 | [`shard`] | owns the sockets: acceptor, poller, table, wheel, delivery |
//! | 4 | `engine` | stores events and session changes, and appends them to the log |
//! | 3 | [`hub`] | the domain: who is connected where, what happened, who is allowed to do what |
//! | 2 | [`auth`], [`wire`], `tls`, `refusals` | authentication; the bytes that clients receive; TLS secrets and records; the list of recent refusals |
//! | 1 | [`event`], [`topic`], [`config`], [`metrics`], `spans`, `base64_bytes`, `wiped`, [`clock`], `outbound`, [`sys`], [`net`], [`shutdown`], `chunked_slab`, `expiring`, `interner`, `page`, `quiet`, `request`, `text`, `version` | plain values, time, listening and accepting, requests to other servers, system calls, and small tools |

mod admin;
mod base64_bytes;
mod chunked_slab;
mod engine;
mod expiring;
mod interner;
mod outbound;
mod page;
mod quiet;
mod refusals;
mod request;
mod spans;
mod text;
mod tls;
mod version;
mod wiped;

// The public names, and their users. A name is public only if src/main.rs, tests/ or benches/ use it, or if a
// signature that they use needs it. Everything else is `pub(crate)` or less, so the compiler finds unused code.
// tests/architecture.rs compares these lists with the source.

// For tests/ and benches/: Identity, credentials::Credential, credentials::find, jwt::Verifier,
// keys::remote::MAX_WAIT, keys::remote::REFRESH, keys::remote::RemoteKeys, mint::Claims, mint::MintError,
// mint::mint, session::KEPT, session::MAX_ANSWER_BYTES, session::MAX_QUESTIONS, session::MAX_QUESTIONS_EACH,
// session::MAX_REFUSALS, session::MAX_WAIT, session::REFUSAL_EVERY, ticket::MAX_BYTES, ticket::Tickets
pub mod auth;

// For src/main.rs: main
pub mod cli;

// For tests/ and benches/: Believed, Clock, SteadyTime
pub mod clock;

// For tests/ and benches/: Algorithm, ApiKey, Auth, Certificate, Compression, Config, ConfigSources, Endpoint,
// EngineKind, InputFile, KeyHash, OnExpiry, OnLimit, Secret, load
pub mod config;

// For tests/ and benches/: Draft, EventId, EventName, InvalidEvent, Position, SessionChange, SessionDraft, Target,
// UserId, Users
pub mod event;

// For tests/ and benches/: ConnectionId, Hub, Limit, Quota, Rejection, directory::Admitted, directory::Directory,
// directory::UserHandle, log::Control, log::Entry, log::JoinRequest, log::Joined, log::Log, log::NotRising, log::PieceLimit,
// log::Progress, log::Receipt, log::Record, log::Replay
pub mod hub;

// For benches/: ByLabel, Counter, Gauge, Histogram, Metrics, ShardMetrics
pub mod metrics;

// For tests/ and benches/: Socket, SocketOptions, bind
pub mod net;

// For benches/: Extras, Public, Reloadable
pub mod public;

// For tests/: Dev, PassedSockets, Server
pub mod server;

// For benches/: Accepted, Admission, Declined, Detached, Seat, Shard, Shared, StartHandshake
pub mod shard;

// For benches/: Shutdown
pub mod shutdown;

// For src/main.rs, tests/ and benches/: Allocator, raise_nofile
pub mod sys;

// For tests/: Topic, TopicError, TopicPattern
pub mod topic;

// For benches/: Encoded, Event, Signal, Wire
pub mod wire;
