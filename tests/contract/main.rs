//! The contract, over real sockets, by capability. Tests advance the clock instead of waiting.

#![allow(missing_docs, unreachable_pub)] // only these tests use it
#![allow(clippy::format_push_string, clippy::must_use_candidate)]

mod admin;
mod admin_connections;
mod admin_half_closed;
mod compression;
mod control;
mod credentials;
mod dashboard;
mod delivery;
mod demo;
mod deploy;
mod descriptors;
mod development;
mod drain;
mod durable;
mod handshake;
mod heartbeat;
mod jwks_url;
mod login;
mod metrics;
mod positions;
mod presence;
mod process;
mod proxy_protocol;
mod publish;
mod refusal;
mod replay;
mod reuse;
mod session_auth;
mod single_device;
mod slow;
mod stream;
mod supervisor;
mod support;
mod tls;
mod tracing;
mod unix_socket;
mod websocket;
