//! How the clients come by TLS.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::tls::{Cipher, Client, Trust};

/// The flags of TLS.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    /// Come by TLS; --spawn makes a certificate for the run, --floor keeps a whole rustls connection a client
    #[arg(long = "tls", help_heading = "The clients")]
    on: bool,
    /// Take no certificates but those in this PEM file and what they sign [default: any, nothing is verified]
    #[arg(
        long = "tls-ca",
        value_name = "FILE",
        requires = "url",
        help_heading = "The clients"
    )]
    ca: Option<PathBuf>,
    /// Whether later connections use the tickets of those before
    #[arg(long = "tls-resume", value_enum, default_value_t = Switch::On, help_heading = "The clients")]
    resume: Switch,
    /// What the clients offer to seal with [default: all, in this order]
    #[arg(long = "tls-cipher", value_enum, help_heading = "The clients")]
    cipher: Option<Cipher>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Tls {
    /// Whether --tls is there.
    pub(crate) fn asked_for(&self) -> bool {
        self.on
    }

    /// Whether the certificate of a server that runs already is looked at.
    pub(crate) fn verifies(&self) -> bool {
        self.ca.is_some()
    }

    /// Says so when a flag of TLS is there and no TLS.
    pub(crate) fn check_unused(&self) -> Result<()> {
        let idle = [
            ("--tls-ca", self.ca.is_some()),
            ("--tls-resume", self.resume == Switch::Off),
            ("--tls-cipher", self.cipher.is_some()),
        ];
        for (flag, given) in idle {
            ensure!(
                !given,
                "{flag}: nobody comes by TLS; ask for --tls or an https:// URL"
            );
        }
        Ok(())
    }

    /// Whom the clients of a server that runs already trust.
    pub(crate) fn trust(&self) -> Result<Trust> {
        match &self.ca {
            Some(path) => Trust::of_file(path),
            None => Ok(Trust::Anybody),
        }
    }

    /// The clients of `host`. They keep as many tickets as there may be handshakes under way.
    pub(crate) fn client(&self, host: &str, trust: Trust, in_flight: u32) -> Result<Client> {
        let tickets = (self.resume == Switch::On).then_some(in_flight as usize);
        Client::new(host, trust, self.cipher, tickets)
    }
}
