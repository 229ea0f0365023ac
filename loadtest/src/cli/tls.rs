//! The arguments for TLS.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::tls::{Cipher, Client, Trust};

/// The arguments for TLS.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    /// Connect with TLS; --spawn makes a certificate, --floor keeps a whole rustls connection per client
    #[arg(long = "tls", help_heading = "The clients")]
    on: bool,
    /// Accept only certificates in this PEM file or signed by one of them [default: any, nothing is verified]
    #[arg(
        long = "tls-ca",
        value_name = "FILE",
        requires = "url",
        help_heading = "The clients"
    )]
    ca: Option<PathBuf>,
    /// Whether later connections use the tickets of earlier ones
    #[arg(long = "tls-resume", value_enum, default_value_t = Switch::On, help_heading = "The clients")]
    resume: Switch,
    /// Ciphers that the clients offer [default: all, in this order]
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
    /// Returns true if --tls is given.
    pub(crate) fn asked_for(&self) -> bool {
        self.on
    }

    /// Returns true if the certificate of a running server is verified.
    pub(crate) fn verifies(&self) -> bool {
        self.ca.is_some()
    }

    /// An error if an argument for TLS is given without TLS.
    pub(crate) fn check_unused(&self) -> Result<()> {
        let idle = [
            ("--tls-ca", self.ca.is_some()),
            ("--tls-resume", self.resume == Switch::Off),
            ("--tls-cipher", self.cipher.is_some()),
        ];
        for (flag, given) in idle {
            ensure!(!given, "{flag} needs TLS: add --tls or an https:// URL");
        }
        Ok(())
    }

    /// The certificates that clients of a running server trust.
    pub(crate) fn trust(&self) -> Result<Trust> {
        match &self.ca {
            Some(path) => Trust::of_file(path),
            None => Ok(Trust::Anybody),
        }
    }

    /// The clients of `host`. They keep as many tickets as there may be handshakes in flight.
    pub(crate) fn client(&self, host: &str, trust: Trust, in_flight: u32) -> Result<Client> {
        let tickets = (self.resume == Switch::On).then_some(in_flight as usize);
        Client::new(host, trust, self.cipher, tickets)
    }
}
