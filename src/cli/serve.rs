//! `idlewild serve`

use clap::Args;

use super::ConfigArgs;
use crate::config::load;
use crate::server::{self, Dev};

#[derive(Args, Debug)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// For trying things out: made-up secrets, an API key on stderr, a demo page at / of the public
    /// listener, and, unless a secret is configured, the user user@example.com with the password
    /// `password`.
    #[arg(long)]
    dev: bool,
    /// Let --dev listen where other machines can connect.
    #[arg(long, requires = "dev")]
    dev_anywhere: bool,
    /// Public listener, 127.0.0.1:8000 or unix:/path; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Admin listener; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Vec<String>,
    /// Prefix of the public routes.
    #[arg(long, value_name = "PATH")]
    base_path: Option<String>,
    /// Shard threads; 0 is one per core.
    #[arg(long, value_name = "COUNT")]
    shards: Option<String>,
    /// Streams held at once.
    #[arg(long, value_name = "COUNT")]
    max_connections: Option<String>,
    /// Silence before a heartbeat, as in 30s.
    #[arg(long, value_name = "DURATION")]
    heartbeat: Option<String>,
    /// `shared` or `per-shard`.
    #[arg(long, value_name = "KIND")]
    fd_tables: Option<String>,
    /// error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let sources = self.config.sources(self.flags(), self.dev)?;
        let config = load(&sources)?;
        if let Some(dev) = &sources.dev
            && dev.api_key == config.admin.api_key
        {
            eprintln!("idlewild: development API key: {}", dev.api_key);
        }
        let dev = sources.dev.as_ref().map(|secrets| Dev {
            has_user: secrets.sign(&config),
            anywhere: self.dev_anywhere,
        });
        server::run(&config, &sources, dev)
    }

    fn flags(&self) -> Vec<(String, String)> {
        let lists = [
            ("listen", &self.listen),
            ("admin_listen", &self.admin_listen),
        ];
        let single = [
            ("base_path", &self.base_path),
            ("shards", &self.shards),
            ("max_connections", &self.max_connections),
            ("heartbeat", &self.heartbeat),
            ("fd_tables", &self.fd_tables),
            ("log_level", &self.log_level),
            ("log_format", &self.log_format),
        ];
        let lists = lists
            .into_iter()
            .flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        let single = single
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_ref()?)));
        lists
            .chain(single)
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect()
    }
}
