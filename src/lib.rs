//! Idlewild, a Server-Sent Events hub that holds an idle client for its kernel socket and one
//! cache line.
//!
//! The parts, from the top layer down; a lower layer never imports a higher one:
//!
//! | layer | module | one purpose |
//! |---|---|---|
//! | 6 | [`cli`], [`server`] | commands; wiring, start, reload and drain |
//! | 5 | [`public`], `admin` | the two HTTP services: they translate requests into the hub's verbs |
//! | 4 | [`shard`] | owns the sockets: acceptor, poller, table, wheel, delivery |
//! | 4 | [`engine`] | where events come from and are kept |
//! | 3 | [`hub`] | the domain: who is connected where, what happened, who is allowed to do what |
//! | 2 | [`auth`], [`wire`], `tls`, `refusals` | who are you; what clients are told, and how; what streams are sealed with; who was not let in |
//! | 1 | [`event`], [`topic`], [`config`], [`metrics`], `spans`, [`clock`], `outbound`, [`sys`], [`net`], [`shutdown`], `expiring`, `interner`, `page`, `quiet`, `request`, `text` | plain values, time, questions to others, system calls, and what pages in the binary, or requests, have in common |

mod admin;
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

// What is public, for whom: the names that src/main.rs, tests/ and benches/ use, and those that their signatures
// need. Everything else is `pub(crate)` or less, so that the compiler finds what is unused. tests/architecture.rs
// compares the lists with the source.

// For tests/ and benches/: Identity, credentials::Credential, credentials::find, jwt::Verifier,
// keys::remote::MAX_WAIT, keys::remote::REFRESH, keys::remote::RemoteKeys, mint::Claims, mint::MintError,
// mint::mint, session::KEPT, session::MAX_ANSWER_BYTES, session::MAX_QUESTIONS, session::MAX_QUESTIONS_EACH,
// session::MAX_REFUSALS, session::MAX_WAIT, session::REFUSAL_EVERY, ticket::MAX_BYTES, ticket::Tickets
pub mod auth;

// For src/main.rs: main
pub mod cli;

// For tests/ and benches/: Believed, Clock, SteadyTime
pub mod clock;

// For tests/ and benches/: Algorithm, ApiKey, Auth, Certificate, Config, Endpoint, InputFile, KeyHash, OnExpiry,
// OnLimit, Secret, Sources, load
pub mod config;

// For benches/: MemoryEngine
pub mod engine;

// For tests/ and benches/: Draft, EventId, EventName, InvalidEvent, Position, SessionChange, SessionDraft, Target,
// UserId, Users
pub mod event;

// For tests/ and benches/, as their files say.
pub mod hub;

// For benches/: ByLabel, Counter, Gauge, Histogram, Metrics, ShardMetrics
pub mod metrics;

// For tests/ and benches/: Socket, SocketOptions, bind
pub mod net;

// For benches/: Extras, Live, Public
pub mod public;

// For tests/: Dev, Passed, Server
pub mod server;

// For benches/, as their files say.
pub mod shard;

// For benches/: Shutdown
pub mod shutdown;

// For tests/ and benches/: raise_nofile
pub mod sys;

// For tests/: Topic, TopicError, TopicPattern
pub mod topic;

// For benches/, and `websocket` until the shard uses it: Encoded, Event, Signal, Wire, websocket::CloseCode,
// websocket::Closing, websocket::MAX_MESSAGE_BYTES, websocket::MAX_UNTAKEN_BYTES, websocket::Ping, websocket::Reader,
// websocket::Received
pub mod wire;
