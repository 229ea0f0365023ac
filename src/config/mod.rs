//! The configuration: every key of `idlewild.toml`, parsed into types that are always valid.
//!
//! A section of the file is a struct, declared once with [`section!`](section). Each field defines its
//! key, variable, flag, default and check, its line in docs/configuration.md, and its line in
//! `idlewild check`. [`load`] overlays the defaults with the file, the variables and the flags, parses
//! each value, and checks the rules about several keys. It reports all errors at once.

mod admin;
mod auth;
mod checks;
mod choice;
mod compression;
mod control;
mod cors;
mod descriptors;
mod endpoint;
mod engine;
mod engine_url;
mod error;
mod file;
mod findings;
mod history;
mod input_file;
mod key_hash;
mod keys;
mod layers;
mod load;
mod login;
mod names;
mod nearest;
mod origin;
mod print;
mod root;
mod rules;
mod secret;
mod secret_file;
mod section;
mod setting;
mod sources;
mod telemetry;
mod tls;
mod trusted_proxy;
mod units;
mod url;
mod variables;
mod warnings;

pub(crate) use admin::Admin;
pub use admin::ApiKey;
pub use auth::{Algorithm, Auth, OnExpiry};
pub use compression::Compression;
pub(crate) use control::control_path;
pub(crate) use cors::Cors;
pub(crate) use descriptors::MAX_LEAVING;
pub(crate) use descriptors::{SPARE_ADMIN_CONNECTIONS, check_descriptors, own_descriptors};
pub use endpoint::Endpoint;
pub use engine::EngineKind;
pub(crate) use engine::LimitScope;
pub(crate) use engine_url::Servers;
pub(crate) use error::{ConfigError, ConfigErrors};
pub(crate) use history::{Fsync, History, OnDamage};
pub use input_file::InputFile;
pub use key_hash::KeyHash;
pub(crate) use keys::flags;
pub use load::load;
pub(crate) use names::CookieName;
pub(crate) use origin::AllowedOrigin;
pub(crate) use print::print;
pub use root::{Config, OnLimit};
pub(crate) use root::{FdTables, LogFormat, LogLevel};
pub use secret::Secret;
pub(crate) use section::ConfigKey;
pub(crate) use setting::Form;
pub use sources::ConfigSources;
pub(crate) use sources::DevSecrets;
pub(crate) use telemetry::Telemetry;
pub use tls::Certificate;
pub(crate) use tls::Tls;
pub(crate) use trusted_proxy::TrustedProxy;
pub(crate) use units::parse_duration;
pub(crate) use url::{Jwks, Url};
pub(crate) use variables::{API_KEY_VARIABLES, ENV_PREFIX};
pub(crate) use warnings::is_known_variable;
pub(crate) use warnings::warnings;
