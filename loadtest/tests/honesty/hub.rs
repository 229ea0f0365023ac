//! A small hub with optional faults, of one node or several. One thread owns its clients and its history, which all
//! nodes share.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;
use tungstenite::{Message as Frame, WebSocket};

use crate::socket;

/// The hub's faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Ignores `Last-Event-ID`.
    pub(crate) forgetful: bool,
    /// Sends an event for one user to all.
    pub(crate) talkative: bool,
}

/// A client's request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) from: IpAddr,
    /// Index of the node that received it.
    pub(crate) node: usize,
}

/// A running hub; its threads end with the test's process.
#[derive(Debug)]
pub(crate) struct Hub {
    /// The first node's.
    pub(crate) public_url: String,
    pub(crate) admin_url: String,
    /// Those of all nodes, in order.
    pub(crate) public_urls: Vec<String>,
    pub(crate) requests: Receiver<Request>,
}

enum Message {
    Join {
        client: Client,
        user: String,
        last_id: Option<usize>,
    },
    Publish {
        user: Option<String>,
        data: String,
        done: Sender<()>,
    },
}

/// An event's data and its user; `None` for all.
type Logged = (String, Option<String>);

/// A client whose stream has begun, with its transport.
enum Client {
    Stream(TcpStream),
    Socket(Box<WebSocket<TcpStream>>),
}

impl Hub {
    pub(crate) fn start(faults: Faults) -> Self {
        Self::start_nodes(1, faults)
    }

    /// Starts this number of nodes, and one admin listener.
    pub(crate) fn start_nodes(nodes: usize, faults: Faults) -> Self {
        let admin = listener();
        let publics: Vec<TcpListener> = (0..nodes).map(|_| listener()).collect();
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let (public_urls, admin_url): (Vec<String>, _) =
            (publics.iter().map(url).collect(), url(&admin));
        let (messages, inbox) = channel();
        let (seen, requests) = channel();
        std::thread::spawn(move || run(&inbox, faults));
        for (node, public) in publics.into_iter().enumerate() {
            let (joins, seen) = (messages.clone(), seen.clone());
            std::thread::spawn(move || {
                for stream in public.incoming().flatten() {
                    let (joins, seen) = (joins.clone(), seen.clone());
                    std::thread::spawn(move || join(node, stream, &joins, &seen));
                }
            });
        }
        std::thread::spawn(move || {
            for stream in admin.incoming().flatten() {
                let messages = messages.clone();
                std::thread::spawn(move || publish(stream, &messages));
            }
        });
        Self {
            public_url: public_urls[0].clone(),
            public_urls,
            admin_url,
            requests,
        }
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn run(inbox: &Receiver<Message>, faults: Faults) {
    let mut clients: Vec<(Client, String)> = Vec::new();
    let mut log: Vec<Logged> = Vec::new();
    for message in inbox {
        match message {
            Message::Join {
                mut client,
                user,
                last_id,
            } => {
                if let Some(last_id) = last_id.filter(|_| !faults.forgetful) {
                    for (id, (data, to)) in log.iter().enumerate().skip(last_id + 1) {
                        client.send(id, data, to.as_deref(), &user);
                    }
                }
                clients.push((client, user));
            }
            Message::Publish { user, data, done } => {
                for (client, its_user) in &mut clients {
                    let to = user.as_deref().filter(|_| !faults.talkative);
                    client.send(log.len(), &data, to, its_user);
                }
                log.push((data, user));
                let _ = done.send(());
            }
        }
    }
}

impl Client {
    /// Answers `request` and begins the stream.
    fn answer(mut stream: TcpStream, request: &str) -> Self {
        if header(request, "upgrade").is_some() {
            return Self::Socket(Box::new(socket::accept(stream, request)));
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 2000\n\n";
        let _ = stream.write_all(head.as_bytes()); // fails if the client has closed it
        Self::Stream(stream)
    }

    fn send(&mut self, id: usize, data: &str, to: Option<&str>, user: &str) {
        if to.is_some_and(|to| to != user) {
            return;
        }
        // Fails if the client has closed it.
        match self {
            Self::Stream(stream) => {
                let _ = stream.write_all(format!("id: {id}\ndata: {data}\n\n").as_bytes());
            }
            Self::Socket(socket) => {
                let message = socket::event(&id.to_string(), data);
                let _ = socket.send(Frame::text(message));
            }
        }
    }
}

/// The user is the last part of the path.
fn join(node: usize, mut stream: TcpStream, hub: &Sender<Message>, seen: &Sender<Request>) {
    let head = read_head(&mut stream);
    let from = stream.peer_addr().unwrap().ip();
    let target = head.split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let user = path.rsplit('/').next().unwrap().to_owned();
    let mut parameters = query.split('&');
    let in_query = parameters.find_map(|one| one.strip_prefix("last_event_id="));
    let last_id = header(&head, "last-event-id").or(in_query);
    let last_id = last_id.map(|id| id.parse().unwrap());
    let reader = stream.try_clone().unwrap();
    let client = Client::answer(stream, &head);
    let _ = seen.send(Request { head, from, node }); // fails if the test ignores requests
    hub.send(Message::Join {
        client,
        user,
        last_id,
    })
    .unwrap();
    let _ = { reader }.read(&mut [0]);
}

fn publish(mut stream: TcpStream, hub: &Sender<Message>) {
    loop {
        let head = read_head(&mut stream);
        let Some(length) = header(&head, "content-length") else {
            return;
        };
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let (done, wait) = channel();
        hub.send(Message::Publish {
            user: body["to"]["user"].as_str().map(str::to_owned),
            data: body["data"].to_string(),
            done,
        })
        .unwrap();
        wait.recv().unwrap();
        stream
            .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")
            .unwrap();
    }
}

/// Reads a request's head byte by byte, so that it takes nothing after it. Returns an empty text if there is none.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return String::new();
        }
    }
    head
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (its_name, value) = line.split_once(": ")?;
        its_name.eq_ignore_ascii_case(name).then_some(value)
    })
}
