//! The errors that prevent a server from starting or reloading.

use std::io;

use thiserror::Error;

use super::passed_sockets::PassedError;
use crate::config::{ConfigError, ConfigErrors};
use crate::hub::engine::OpenError;
use crate::net::BindError;
use crate::shard::StartError;

/// The reason why a server does not start or reload.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages describe the variants
pub enum ServerError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error("{key}: {source}")]
    Bind {
        key: &'static str,
        source: BindError,
    },
    #[error(transparent)]
    Passed(#[from] PassedError),
    #[error("cannot raise the limit of open descriptors: {0}")]
    Descriptors(io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot listen: {0}")]
    Listen(io::Error),
    #[error(transparent)]
    History(#[from] OpenError),
}

impl ServerError {
    /// Returns true if the operator's configuration is the cause, and not the machine.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Config(_) | Self::Bind { .. } | Self::Passed(_) | Self::History(_)
        )
    }

    /// The error's text, with one line per problem.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Config(errors) => errors.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        }
    }
}

impl From<ConfigError> for ServerError {
    fn from(error: ConfigError) -> Self {
        ConfigErrors::from(error).into()
    }
}
