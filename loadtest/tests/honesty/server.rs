//! A real server: the program `idlewild` beside the load generator.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sha2::{Digest, Sha256};

use crate::temp_file;

/// The key that tokens of the clients are signed with.
const SECRET: &str = "a secret of the tests, 32 bytes long";
/// The admin API key.
pub(crate) const API_KEY: &str = "k";

/// A running server with a history of its own; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    config: PathBuf,
    public: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    /// Starts it on free ports, and waits until it listens.
    pub(crate) fn start(name: &str) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_idlewild-load")).with_file_name("idlewild");
        let config = temp_file(&format!("{name}.toml"));
        let digest = Sha256::digest(API_KEY);
        let mut hash = String::new();
        for byte in digest {
            write!(hash, "{byte:02x}").unwrap();
        }
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\nadmin_listen = [\"127.0.0.1:0\"]\nshards = 1\n\
             auth.secret = \"{SECRET}\"\n\
             admin.api_keys = [{{ name = \"load\", hash = \"sha256:{hash}\" }}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(&program)
            .args(["serve", "--config"])
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; build it with: cargo build --bin idlewild",
                    program.display()
                )
            });
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut endpoint = |listener: &str| {
            let mut lines = log.by_ref().map_while(Result::ok);
            let line = lines.find(|line| line.contains(listener));
            let line = line.unwrap_or_else(|| panic!("the server ended without a {listener}"));
            let (_, address) = line.split_once("endpoint=").unwrap();
            address.split(' ').next().unwrap().parse().unwrap()
        };
        let (public, admin) = (endpoint("public listener"), endpoint("admin listener"));
        std::thread::spawn(move || log.for_each(drop)); // a full pipe would block it
        Self {
            child,
            config,
            public,
            admin,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn public_url(&self) -> String {
        format!("http://{}", self.public)
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// A file with the secret of the clients' tokens.
    pub(crate) fn secret_file(name: &str) -> PathBuf {
        let path = temp_file(&format!("{name}.secret"));
        std::fs::write(&path, SECRET).unwrap();
        path
    }

    /// The sum of a counter over its labels.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let its_name = series.split('{').next()?;
            (its_name == name).then(|| value.parse::<u64>().unwrap())
        });
        values.sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has nothing to save
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}
