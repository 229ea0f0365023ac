//! A ticket works once, on whichever node it is used first.

use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::{Answer, BASE, Client, NOTIFICATIONS, SECRET, process, request};

const TICKETS: usize = 1_000;
const THREADS: usize = 4;
/// Per thread. Each has fewer tickets at a time than a user may have.
const USERS: usize = 10;

#[test]
fn of_two_nodes_that_get_a_ticket_at_once_exactly_one_lets_the_client_in() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &Settings::redis(&redis.url()));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let nodes = &nodes;
            scope.spawn(move || race(nodes, thread));
        }
    });
}

/// Uses tickets of the first node on both others at once.
fn race(nodes: &[Node], thread: usize) {
    for user in 0..USERS {
        let token = process::token_signed_with(SECRET, &format!("{thread}-{user}"));
        for _ in 0..TICKETS / THREADS / USERS {
            let ticket = ticket_for(&nodes[0], &token);
            let path = format!("{NOTIFICATIONS}?ticket={ticket}");
            let mut clients = [1, 2].map(|node: usize| Client::connect(nodes[node].public));
            for client in &mut clients {
                client.get(&path, "");
            }
            let mut statuses = clients.map(|client| client.stream().status);
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 401]);
        }
    }
}

#[test]
fn a_head_request_on_another_node_uses_no_ticket_up() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(2, &Settings::redis(&redis.url()));
    let ticket = ticket_for(&nodes[0], &token());
    let path = format!("{NOTIFICATIONS}?ticket={ticket}");
    let head = request(nodes[1].public, "HEAD", &path, &[], "");
    assert_eq!(head.status, 200);
    assert_eq!(Client::connect(nodes[1].public).open(&path).status, 200);
    assert_eq!(Client::connect(nodes[0].public).open(&path).status, 401);
}

#[test]
fn a_log_out_on_one_node_revokes_tickets_on_another() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(2, &Settings::redis(&redis.url()));
    let ticket = ticket_for(&nodes[0], &token());
    let answer = nodes[1].request("POST", "/v1/users/42/logout", "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let path = format!("{NOTIFICATIONS}?ticket={ticket}");
    assert_eq!(Client::connect(nodes[0].public).open(&path).status, 401);
}

/// Gets a ticket from one node and uses it on another.
pub fn a_ticket_works_on_another_node(nodes: &[Node]) {
    let ticket = ticket_for(&nodes[0], &token());
    let path = format!("{NOTIFICATIONS}?ticket={ticket}");
    assert_eq!(Client::connect(nodes[1].public).open(&path).status, 200);
}

#[test]
fn tickets_beyond_a_user_s_share_drop_the_oldest() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(2, &Settings::redis(&redis.url()));
    let token = token();
    let tickets: Vec<String> = (0..33)
        .map(|number| ticket_for(&nodes[number % 2], &token))
        .collect();
    let status = |ticket: &str| {
        let path = format!("{NOTIFICATIONS}?ticket={ticket}");
        Client::connect(nodes[0].public).open(&path).status
    };
    assert_eq!(status(&tickets[0]), 401);
    for ticket in &tickets[1..] {
        assert_eq!(status(ticket), 200);
    }
    // What is left of them is their list, until the last would have expired.
    let keys: Vec<String> = redis.command(&["KEYS", "*ticket*"]);
    assert_eq!(keys.len(), 1, "{keys:?}");
}

#[test]
fn without_redis_tickets_are_neither_issued_nor_refused() {
    let mut redis = Redis::start(Options::append_only());
    let nodes = Node::start_ready(2, &Settings::redis(&redis.url()));
    let token = token();
    let before = ticket_for(&nodes[0], &token);
    redis.kill();
    assert_eq!(ask_for_ticket(&nodes[0], &token).status, 503);
    let path = format!("{NOTIFICATIONS}?ticket={before}");
    assert_eq!(Client::connect(nodes[1].public).open(&path).status, 503);
    // A token still works.
    let by_token = format!("{NOTIFICATIONS}?token={token}");
    assert_eq!(Client::connect(nodes[1].public).open(&by_token).status, 200);
    redis.start_again();
    nodes.iter().for_each(Node::wait_until_ready);
    assert_eq!(ask_for_ticket(&nodes[0], &token).status, 201);
}

fn ask_for_ticket(node: &Node, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let path = format!("{BASE}/sse/ticket/");
    request(
        node.public,
        "POST",
        &path,
        &[("Authorization", &bearer)],
        "",
    )
}

fn ticket_for(node: &Node, token: &str) -> String {
    let answer = ask_for_ticket(node, token);
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

fn token() -> String {
    process::token_signed_with(SECRET, "42")
}
