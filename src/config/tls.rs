//! `[tls]`: listeners with TLS.

use std::path::PathBuf;

use toml::{Table, Value};

use super::endpoint::Endpoint;
use super::findings::Findings;
use super::input_file::is_readable;
use super::section::section;
use super::setting::{Form, Setting, item};

section! {
    /// `[tls]`: listeners with TLS.
    pub struct Tls {
        /// Public listeners with TLS 1.3, `["0.0.0.0:8443"]` (docs/tls.md).
        pub listen: Vec<Endpoint> = Vec::new();
        /// `[{ cert = "fullchain.pem", key = "key.pem" }]`, by SNI, the first for the rest.
        pub certificates: Vec<Certificate> = Vec::new();
        /// Whether sessions can be resumed.
        pub session_tickets: bool = true;
    }
}

/// A certificate chain and its key. The files are read where they are used, since they may be replaced
/// while the server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// PEM file of the chain.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

impl Setting for Certificate {
    type Value = Self;
    const FORM: Form = Form::Text;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self> {
        let example = "{ cert = \"fullchain.pem\", key = \"key.pem\" }";
        let [cert, key] = item(value, key, ["cert", "key"], example, findings)?;
        let mut path = |(key, value): (String, Value)| {
            let path = PathBuf::read(value, &key, findings)?;
            findings.note(&key, is_readable(&path))?;
            Some(path)
        };
        let (cert, key) = (path(cert), path(key));
        Some(Self {
            cert: cert?,
            key: key?,
        })
    }

    fn write(value: &Self) -> Value {
        let paths = [("cert", &value.cert), ("key", &value.key)];
        let fields = paths.map(|(name, path)| (name.to_owned(), PathBuf::write(path)));
        Value::Table(Table::from_iter(fields))
    }
}
