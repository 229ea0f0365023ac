//! Why a server does not start.

use std::io;

use thiserror::Error;

use super::passed::PassedError;
use crate::config::{ConfigError, ConfigErrors};
use crate::hub::engine::OpenError;
use crate::net::BindError;
use crate::shard::StartError;

/// Why a server does not start.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each message says it
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
    /// Whether the operator's configuration, and not the machine, is at fault.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Config(_) | Self::Bind { .. } | Self::Passed(_) | Self::History(_)
        )
    }

    /// Its text, a line for each thing that is wrong.
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
