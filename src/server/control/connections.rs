//! Connections to the control socket. Each has one request, and its number, length and time are bounded, so that a peer
//! that sends nothing, or reads nothing, keeps nobody else from controlling the server.

use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::message::{ControlAnswer, ControlRequest};
use super::upgrades::{RunningUpgrade, Upgrades};
use crate::clock::Clock;

/// Connections at once. One is needed, and a few more in case some hang.
const MAX_CONNECTIONS: usize = 8;
/// Longest request: a path of 4,096 bytes (`PATH_MAX`), of which JSON may need six for one of them.
const MAX_REQUEST_BYTES: u64 = 32 * 1024;
/// Longest wait for a request. Programs send it at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a peer that does not read its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after an error of `accept`. It is the lack of descriptors or memory, which does not end at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the control socket, if there is one, until an upgrade is done and its caller has the report.
///
/// # Errors
/// The runtime cannot watch the socket.
pub(crate) async fn serve(
    listener: Option<StdUnixListener>,
    upgrades: Arc<Upgrades>,
    clock: Clock,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    match listener.map(UnixListener::from_std).transpose()? {
        Some(listener) => {
            let listener = Listening(listener);
            tokio::select! {
                never = accept_all(&listener.0, &upgrades, &clock, &mut connections) => match never {},
                () = upgrades.done() => {}
            }
        }
        None => upgrades.done().await,
    }
    let answered = async { while connections.join_next().await.is_some() {} };
    clock.within(WRITE_TIMEOUT, answered).await;
    Ok(())
}

/// Refuses further connections when dropped. The private descriptor tables of the shards have copies of the socket,
/// with which it would go on listening.
struct Listening(UnixListener);

impl Drop for Listening {
    fn drop(&mut self) {
        // Nothing depends on it: whoever connects nevertheless gets no answer.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

async fn accept_all(
    listener: &UnixListener,
    upgrades: &Arc<Upgrades>,
    clock: &Clock,
    connections: &mut JoinSet<()>,
) -> std::convert::Infallible {
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                let (upgrades, clock) = (Arc::clone(upgrades), clock.clone());
                connections.spawn(async move { answer(stream, &upgrades, &clock).await });
            }
            Ok((stream, _)) => {
                let problem = format!("{MAX_CONNECTIONS} other connections are open; try again");
                // It fits into an empty socket. If the peer is gone, nobody misses it.
                let _ = stream.try_write(&ControlAnswer::Error(problem).line());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the control socket");
                clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the request of one connection.
async fn answer(mut stream: UnixStream, upgrades: &Arc<Upgrades>, clock: &Clock) {
    let request = match check_peer(&stream) {
        Ok(()) => read_request(&mut stream, clock).await,
        Err(problem) => {
            tracing::warn!(%problem, "control: refused");
            Err(problem)
        }
    };
    let answer = match request {
        Ok(ControlRequest::Upgrade { binary }) => match upgrades.begin(binary) {
            Ok(upgrade) => follow(&mut stream, upgrade, clock).await,
            Err(error) => Some(ControlAnswer::Error(error.to_string())),
        },
        Err(problem) => Some(ControlAnswer::Error(problem)),
    };
    if let Some(answer) = answer {
        send(&mut stream, &answer, clock).await;
    }
}

/// Refuses other users. The mode of the socket's file does so already, unless somebody changed it, or has passed a
/// connection on. The kernel names the user that has connected, whoever has the connection now.
fn check_peer(stream: &UnixStream) -> Result<(), String> {
    let peer = stream
        .peer_cred()
        .map_err(|error| format!("cannot tell who you are: {error}"))?
        .uid();
    let own = rustix::process::geteuid().as_raw();
    if is_allowed(peer, own) {
        return Ok(());
    }
    Err(format!(
        "the user with id {peer} may not control this server (run this as root, or as the server's user, with id {own})"
    ))
}

fn is_allowed(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// Reads the request: a line, or all that the peer sends before it shuts down its side.
async fn read_request(stream: &mut UnixStream, clock: &Clock) -> Result<ControlRequest, String> {
    let mut line = Vec::new();
    let mut limited = BufReader::new(stream.take(MAX_REQUEST_BYTES + 1));
    match clock
        .within(REQUEST_TIMEOUT, limited.read_until(b'\n', &mut line))
        .await
    {
        None => return Err(format!("no request within {REQUEST_TIMEOUT:?}")),
        Some(Err(error)) => return Err(format!("the request cannot be read: {error}")),
        Some(Ok(_)) => {}
    }
    if line.len() as u64 > MAX_REQUEST_BYTES {
        return Err(format!(
            "the request is longer than {MAX_REQUEST_BYTES} bytes"
        ));
    }
    ControlRequest::parse(&line)
}

/// Passes the progress on, and returns the result; `None` if the peer no longer reads. The upgrade then goes on.
async fn follow(
    stream: &mut UnixStream,
    upgrade: RunningUpgrade,
    clock: &Clock,
) -> Option<ControlAnswer> {
    let RunningUpgrade {
        mut progress,
        mut result,
    } = upgrade;
    loop {
        tokio::select! {
            // Progress first: what was reported before the end is sent before it.
            biased;
            Some(step) = progress.recv() => {
                if !send(stream, &ControlAnswer::Progress(step), clock).await {
                    return None;
                }
            }
            result = &mut result => {
                return Some(match result {
                    Ok(Ok(report)) => ControlAnswer::Done(report),
                    Ok(Err(error)) => ControlAnswer::Error(error.to_string()),
                    Err(_) => ControlAnswer::Error("the upgrade has ended unexpectedly; see the server's log".to_owned()),
                });
            }
        }
    }
}

/// Returns true if the peer has read so far that the answer is in the kernel's buffer.
async fn send(stream: &mut UnixStream, answer: &ControlAnswer, clock: &Clock) -> bool {
    let line = answer.line();
    let written = clock.within(WRITE_TIMEOUT, stream.write_all(&line)).await;
    matches!(written, Some(Ok(())))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;
    use tokio::sync::mpsc;

    use super::super::upgrades::tests::{report, upgrades};
    use super::super::upgrades::{UpgradeError, UpgradeReport};
    use super::*;

    /// A control socket that is served, with a clock that the test moves.
    struct Served {
        directory: TempDir,
        clock: Clock,
        tell: mpsc::Sender<Result<UpgradeReport, UpgradeError>>,
        serving: tokio::task::JoinHandle<io::Result<()>>,
    }

    impl Served {
        fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let listener = StdUnixListener::bind(directory.path().join("socket")).unwrap();
            listener.set_nonblocking(true).unwrap();
            let (upgrades, tell) = upgrades();
            let clock = Clock::manual(0);
            let serving = tokio::spawn(serve(Some(listener), upgrades, clock.clone()));
            Self {
                directory,
                clock,
                tell,
                serving,
            }
        }

        fn path(&self) -> std::path::PathBuf {
            self.directory.path().join("socket")
        }
    }

    async fn connect(path: &Path, request: &[u8]) -> UnixStream {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream
    }

    async fn rest(mut stream: UnixStream) -> String {
        let mut answer = String::new();
        // Closed while the peer's bytes were unread.
        if let Err(error) = stream.read_to_string(&mut answer).await {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        answer
    }

    #[test]
    fn the_servers_user_and_root_are_allowed() {
        assert!(is_allowed(0, 0) && is_allowed(0, 1_000) && is_allowed(1_000, 1_000));
        assert!(!is_allowed(1_001, 1_000) && !is_allowed(1_000, 0));
    }

    #[tokio::test]
    async fn progress_comes_first_and_the_report_last_and_then_serving_ends() {
        let served = Served::start();
        let request = b"{\"command\":\"upgrade\",\"binary\":\"/x\"}\n";
        let stream = connect(&served.path(), request).await;
        served.tell.send(Ok(report())).await.unwrap();
        let answer = rest(stream).await;
        let lines: Vec<_> = answer.lines().collect();
        assert_eq!(lines.len(), 2, "{answer}");
        assert_eq!(lines[0], r#"{"progress":"starting Some(\"/x\")"}"#);
        assert!(lines[1].starts_with(r#"{"done":{"pid":7,"#), "{answer}");
        served.serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_error_is_the_only_line_that_says_why() {
        let served = Served::start();
        let declined = UpgradeError::Declined("the program is older".into());
        served.tell.send(Err(declined)).await.unwrap();
        // Without a line feed, but with an end.
        let mut stream = connect(&served.path(), b"{\"command\":\"upgrade\"}").await;
        stream.shutdown().await.unwrap();
        let answer = rest(stream).await;
        assert!(
            answer.ends_with("{\"error\":\"the program is older\"}\n"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_request_that_is_too_long_or_never_comes_is_answered() {
        let served = Served::start();
        let long = vec![b'x'; usize::try_from(MAX_REQUEST_BYTES).unwrap() + 1];
        let answer = rest(connect(&served.path(), &long).await).await;
        assert!(answer.contains("longer than 32768 bytes"), "{answer}");

        let silent = connect(&served.path(), b"{\"command\"").await;
        // Connections are accepted in their order, so the silent one is waited for.
        rest(connect(&served.path(), b"\n").await).await;
        served.clock.advance(REQUEST_TIMEOUT);
        let answer = rest(silent).await;
        assert_eq!(answer, "{\"error\":\"no request within 5s\"}\n");
    }

    #[tokio::test]
    async fn nobody_connects_after_the_end_even_if_a_copy_of_the_socket_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = StdUnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let _copy = listener.try_clone().unwrap();
        let (upgrades, _tell) = upgrades();
        let serving = serve(Some(listener), upgrades, Clock::manual(0));
        let ended = tokio::time::timeout(Duration::ZERO, serving).await;
        assert!(ended.is_err());
        let error = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn silent_peers_take_only_the_places_that_there_are() {
        let served = Served::start();
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(connect(&served.path(), b"").await);
        }
        let answer = rest(connect(&served.path(), b"").await).await;
        assert!(answer.contains("8 other connections are open"), "{answer}");
        drop(silent.pop());
        // The server sees the end of that one at some moment.
        loop {
            let answer = rest(connect(&served.path(), b"\n").await).await;
            if answer.contains("it is empty") {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}
