//! Answers the inbox's questions, which are all commands that neither deliver, end nor look.

use std::os::fd::{AsFd, BorrowedFd};

use compact_str::ToCompactString;

use super::connections::Connections;
use super::look;
use crate::hub::{Command, ConnectionId, Description};

/// Answers a question. If the receiver is gone, the answer is dropped.
pub(super) fn answer(question: Command, connections: &mut Connections) {
    match question {
        Command::Describe {
            connections: ids,
            reply,
        } => {
            let descriptions = ids.iter().filter_map(|id| describe(connections, *id));
            let _ = reply.send(descriptions.collect());
        }
        Command::Drop {
            connections: ids,
            reply,
        } => {
            let _ = reply.send(look::drop_silent(connections, &ids));
        }
        Command::Ping { reply } => {
            let _ = reply.send(());
        }
        Command::PingOthers { reply } => ping_others(connections, reply),
        Command::Deliver { .. }
        | Command::End { .. }
        | Command::EndAll { .. }
        | Command::Hold { .. }
        | Command::Look { .. } => {}
    }
}

fn describe(connections: &Connections, id: ConnectionId) -> Option<Description> {
    let slot = connections.table.get(connections.table.find(id)?)?;
    Some(Description {
        connection: id,
        since_s: slot.stream.since_s(),
        transport: slot.transport(),
        remote: slot
            .forwarded_for()
            .or_else(|| peer(slot.carrier.fd().as_fd())),
        session: slot.session().map(Box::from),
        topics: connections
            .table
            .topics(slot)
            .map(|topic| topic.as_str().to_compact_string())
            .collect(),
    })
}

/// The address of a socket's peer, if it has one.
fn peer(fd: BorrowedFd<'_>) -> Option<std::net::IpAddr> {
    let address = rustix::net::getpeername(fd).ok()??;
    std::net::SocketAddr::try_from(address)
        .ok()
        .map(|address| address.ip())
}

fn ping_others(connections: &Connections, reply: tokio::sync::oneshot::Sender<()>) {
    let inboxes = connections.shared.hub.inboxes().iter();
    let answers: Vec<_> = inboxes
        .map(|inbox| {
            let (reply, answer) = tokio::sync::oneshot::channel();
            inbox.push(Command::Ping { reply });
            answer
        })
        .collect();
    tokio::task::spawn_local(async move {
        for answer in answers {
            if answer.await.is_err() {
                return;
            }
        }
        let _ = reply.send(());
    });
}
