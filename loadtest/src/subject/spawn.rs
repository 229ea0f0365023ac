//! `--spawn`: starts a server for the run, on free ports and with a suitable configuration.
//!
//! Its files are in a temporary directory. No process other than this child, and its successor after an upgrade, is ever
//! signalled.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Pid;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use super::admin::Admin;
use super::control::Control;
use crate::cli::Common;
use crate::clock::Deadline;
use crate::engine::{Node, Way};
use crate::sys;
use crate::tls::{Certificate, Trust};

/// Time limit until the server answers `/readyz`.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Time limit for its exit: its own `drain_timeout` of 30 s and a little more.
const STOP_LIMIT: Duration = Duration::from_secs(35);
const POLL: Duration = Duration::from_millis(20);
/// Streams allowed beyond the run's: those of the last round may still be closing when the next begins.
const SPARE_CONNECTIONS: u32 = 256;
/// Lines of the server's log that are shown after a failure.
const SHOWN_LINES: usize = 20;

/// A server that was started here; dropping it ends it.
#[derive(Debug)]
pub(super) struct Spawned {
    /// The process that serves. After an upgrade, this is no longer the one that was started here.
    pid: Pid,
    directory: PathBuf,
    ways: Ways,
}

/// The listeners, all of which are in the configuration.
#[derive(Debug)]
struct Ways {
    public: SocketAddr,
    admin: SocketAddr,
    secret: String,
    api_key: String,
    tls: Option<TlsWay>,
    control: Option<PathBuf>,
}

/// The public TLS listener, its certificate and its key.
#[derive(Debug)]
struct TlsWay {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    certificate_path: PathBuf,
    key_path: PathBuf,
}

impl Spawned {
    /// Starts the server and waits until it is ready.
    pub(super) fn start(common: &Common) -> Result<Self> {
        sys::raise_descriptor_limit(); // inherited
        let binary = common.server_bin()?;
        ensure!(
            binary.is_file(),
            "{}: no such program; build the server (cargo build --release) or set --server-bin",
            binary.display()
        );
        let directory =
            std::env::temp_dir().join(format!("idlewild-load-{}", sys::hex(&sys::random::<8>())));
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .with_context(|| directory.display().to_string())?;
        let started = configure(common, &directory).and_then(|(ways, config)| {
            Ok((launch(&binary, &config, &log_path(&directory))?, ways))
        });
        let (pid, ways) = started.inspect_err(|_| drop(fs::remove_dir_all(&directory)))?;
        let spawned = Self {
            pid,
            directory,
            ways,
        };
        spawned.wait_until_ready()?;
        Ok(spawned)
    }

    /// The listener without TLS.
    pub(super) fn plain(&self, way: Way) -> Node {
        Node {
            address: self.ways.public,
            way,
            tls: None,
        }
    }

    /// The listener with TLS, whose clients trust its certificate.
    pub(super) fn secure(&self, common: &Common, way: Way) -> Result<Node> {
        let tls = self.ways.tls.as_ref();
        let tls = tls.context("the server was started without TLS")?;
        let trust = Trust::Of(vec![tls.certificate.clone()]);
        Ok(Node {
            address: tls.address,
            way,
            tls: Some(common.tls_client(&tls.address.ip().to_string(), trust)?),
        })
    }

    /// Its control socket, if it has one.
    pub(super) fn control(&self) -> Option<Control> {
        self.ways.control.clone().map(Control::new)
    }

    pub(super) fn admin(&self) -> SocketAddr {
        self.ways.admin
    }

    pub(super) fn secret(&self) -> &[u8] {
        self.ways.secret.as_bytes()
    }

    pub(super) fn api_key(&self) -> &str {
        &self.ways.api_key
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().cast_unsigned()
    }

    /// Notes that another process serves now, after the one before has ended.
    pub(super) fn continue_as(&mut self, pid: u32) -> Result<()> {
        let pid = sys::pid(pid)?;
        let ended = self.wait(Deadline::after(STOP_LIMIT))?;
        self.pid = pid;
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the old process ended with {status}{}", self.log_tail()),
            None => bail!("the old process did not end within {STOP_LIMIT:?} of the upgrade"),
        }
    }

    /// Sends SIGTERM and waits; an exit code other than 0 is an error.
    pub(super) fn stop(self) -> Result<()> {
        sys::terminate(self.pid)?;
        let limit = Deadline::after(STOP_LIMIT);
        match self.wait(limit)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the server ended with {status}{}", self.log_tail()),
            None => bail!(
                "the server did not end within {STOP_LIMIT:?} of SIGTERM{}",
                self.log_tail()
            ),
        }
    }

    fn wait_until_ready(&self) -> Result<()> {
        let limit = Deadline::after(START_LIMIT);
        loop {
            if let Some(status) = sys::ended(self.pid)? {
                bail!("the server ended at start with {status}{}", self.log_tail());
            }
            let answer = Admin::new(self.ways.admin).request("GET", "/readyz", "", None);
            match answer {
                Ok((200, _)) => return Ok(()),
                _ if !limit.passed() => std::thread::sleep(POLL),
                Ok((status, body)) => bail!("/readyz stayed {status} {body}{}", self.log_tail()),
                Err(error) => bail!("/readyz did not answer: {error:#}{}", self.log_tail()),
            }
        }
    }

    fn wait(&self, limit: Deadline) -> Result<Option<ExitStatus>> {
        loop {
            match sys::ended(self.pid)? {
                None if !limit.passed() => std::thread::sleep(POLL),
                ended => return Ok(ended),
            }
        }
    }

    fn log_tail(&self) -> String {
        let log = fs::read(log_path(&self.directory)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        if shown.is_empty() {
            String::new()
        } else {
            format!("; its log ends:\n{}", shown.join("\n"))
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Ok(None) = sys::ended(self.pid) {
            sys::kill(self.pid); // stop() was not reached, or it outlasted its limit
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn launch(binary: &Path, config: &Path, log: &Path) -> Result<Pid> {
    let mut command = Command::new(binary);
    // Variables of the environment must not affect it.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"IDLEWILD_") {
            command.env_remove(name);
        }
    }
    command.args(["serve", "--config"]).arg(config);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log)?);
    sys::end_with_parent(&mut command);
    sys::adopt_orphans()?;
    let child = command.spawn();
    let child = child.with_context(|| format!("starting {}", binary.display()))?;
    Ok(sys::pid(child.id())?)
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("stderr.log")
}

/// Writes what the server reads at its start into `directory`: the ways in, the certificate, the
/// configuration.
fn configure(common: &Common, directory: &Path) -> Result<(Ways, PathBuf)> {
    let [public, admin, tls] = free_ports()?;
    let mut ways = Ways {
        public,
        admin,
        secret: sys::hex(&sys::random::<32>()),
        api_key: sys::hex(&sys::random::<32>()),
        tls: None,
        control: common.with_control.then(|| directory.join("control.sock")),
    };
    if common.tls.asked_for() || common.mix {
        let made = Certificate::for_loopback()?;
        let (certificate_pem, key_pem) = made.pem();
        ways.tls = Some(TlsWay {
            address: tls,
            certificate_path: write_new(directory, "certificate.pem", &certificate_pem)?,
            key_path: write_new(directory, "key.pem", &key_pem)?,
            certificate: made.certificate,
        });
    }
    let config = write_new(directory, "idlewild.toml", &config_text(common, &ways))?;
    Ok((ways, config))
}

/// Writes a file that only its owner may read.
fn write_new(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

/// Ports that were free a moment ago. If one is taken meanwhile, the server reports it.
fn free_ports() -> Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [bind()?, bind()?, bind()?]; // at one time, so that they differ
    let [public, admin, tls] = &held;
    Ok([public.local_addr()?, admin.local_addr()?, tls.local_addr()?])
}

/// The configuration, in which each `--set` replaces or adds a line. All keys are dotted from the root, so
/// that `--set auth.leeway='"1s"'` extends a table instead of defining it twice.
fn config_text(common: &Common, ways: &Ways) -> String {
    let Ways {
        public,
        admin,
        secret,
        api_key,
        tls,
        control,
    } = ways;
    let per_user = common.connections().div_ceil(common.users()) + 1;
    let key_hash = sys::hex(&Sha256::digest(api_key));
    let tables = common.spawned_tables();
    let mut keys = vec![
        ("fd_tables", format!("\"{}\"", tables.kind)),
        ("shards", tables.shards.to_string()),
        ("listen", format!("[\"{public}\"]")),
        ("admin_listen", format!("[\"{admin}\"]")),
        (
            "max_connections",
            (common.connections() + SPARE_CONNECTIONS).to_string(),
        ),
        ("max_connections_per_user", per_user.max(5).to_string()),
        ("auth.secret", format!("\"{secret}\"")),
        (
            "admin.api_keys",
            format!("[{{ name = \"load\", hash = \"sha256:{key_hash}\" }}]"),
        ),
    ];
    if let Some(way) = tls {
        let quoted = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
        let (certificate, key) = (quoted(&way.certificate_path), quoted(&way.key_path));
        keys.extend([
            ("tls.listen", format!("[\"{}\"]", way.address)),
            (
                "tls.certificates",
                format!("[{{ cert = {certificate}, key = {key} }}]"),
            ),
        ]);
    }
    if let Some(path) = control {
        let path = toml::Value::from(path.display().to_string());
        keys.push(("control", path.to_string()));
    }
    if common.proxy_protocol {
        let address = tls.as_ref().map_or(*public, |way| way.address);
        keys.push(("proxy_protocol", format!("[\"{address}\"]")));
    }
    for (key, value) in &common.set {
        keys.retain(|(ours, _)| ours != key);
        keys.push((key, value.clone()));
    }
    keys.into_iter().fold(String::new(), |text, (key, value)| {
        text + key + " = " + &value + "\n"
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, Scenario};

    fn text_for(line: &str, tls: Option<TlsWay>) -> String {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Scenario(Scenario::Hold(hold)) = cli.command else {
            panic!("not hold")
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let ways = Ways {
            public: address,
            admin: address,
            secret: "s".to_owned(),
            api_key: "k".to_owned(),
            tls,
            control: None,
        };
        config_text(&hold.common, &ways)
    }

    #[test]
    fn tls_clients_have_a_listener_beside_the_plain_one() {
        let way = TlsWay {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 2)),
            certificate: Vec::new().into(),
            certificate_path: "/a \"b\"/c.pem".into(),
            key_path: "/k.pem".into(),
        };
        let text = text_for("load hold -n 10 --spawn --tls --proxy-protocol", Some(way));
        let value: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(value["listen"][0].as_str(), Some("127.0.0.1:1"));
        assert_eq!(value["tls"]["listen"][0].as_str(), Some("127.0.0.1:2"));
        let certificate = value["tls"]["certificates"][0]["cert"].as_str();
        assert_eq!(certificate, Some("/a \"b\"/c.pem"));
        assert_eq!(value["proxy_protocol"][0].as_str(), Some("127.0.0.1:2"));
    }

    #[test]
    fn a_setting_replaces_ours_or_is_added() {
        let line = "load hold --connections 100 --users 10 --spawn --set max_connections=7 --set auth.leeway=\"1s\"";
        let text = text_for(line, None);
        assert_eq!(text.matches("max_connections = ").count(), 1);
        assert!(text.contains("max_connections = 7\n"), "{text}");
        assert!(text.contains("auth.leeway = \"1s\"\n"), "{text}");
        assert!(text.contains("max_connections_per_user = 11\n"), "{text}");
        // printf k | sha256sum
        assert!(
            text.contains(
                "sha256:8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a"
            ),
            "{text}"
        );
    }
}
