//! Adds a connection to the directory and removes it, next to 10,000 users.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group};
use idlewild::auth::Identity;
use idlewild::config::OnLimit;
use idlewild::hub::directory::{Directory, UserHandle};
use idlewild::hub::{ConnectionId, Limit};

const USERS: u32 = 10_000;
/// Connections in one count.
const CONNECTIONS: u32 = 500;
const LIMIT: Limit = Limit {
    connections: 5,
    on_limit: OnLimit::Reject,
};

struct Hall {
    directory: Directory,
    coming: Vec<(Identity, ConnectionId)>,
    going: Vec<(UserHandle, ConnectionId)>,
}

/// Every user has one connection; new ones are of `CONNECTIONS` users from `first` on.
fn hall(first: u32) -> Hall {
    let directory = Directory::with_known_seeds();
    for user in 0..USERS {
        admit(&directory, &identity(user), connection(user));
    }
    let coming = (first..first + CONNECTIONS)
        .map(|user| (identity(user), connection(USERS + user)))
        .collect();
    Hall {
        directory,
        coming,
        going: Vec::with_capacity(CONNECTIONS as usize),
    }
}

fn strangers() -> Hall {
    hall(USERS)
}

fn regulars() -> Hall {
    hall(0)
}

/// Connections of new users.
fn visitors() -> Hall {
    come(strangers())
}

fn come(mut hall: Hall) -> Hall {
    for (identity, at) in &hall.coming {
        let user = admit(&hall.directory, black_box(identity), *at);
        hall.going.push((user, *at));
    }
    hall
}

fn admit(directory: &Directory, identity: &Identity, at: ConnectionId) -> UserHandle {
    let admitted = directory.admit(identity, at, LIMIT, |_| ());
    let Ok((admitted, ())) = admitted else {
        panic!("refused: nothing would be counted")
    };
    admitted.user
}

fn identity(user: u32) -> Identity {
    Identity {
        user: user.to_string().into(),
        session: None,
        issued: None,
        expires_at: u64::MAX,
        topics: Box::default(),
    }
}

fn connection(key: u32) -> ConnectionId {
    ConnectionId::new(0, key, 0)
}

#[library_benchmark(setup = strangers)]
fn new_user(hall: Hall) -> Hall {
    come(hall)
}

#[library_benchmark(setup = regulars)]
fn second_connection(hall: Hall) -> Hall {
    come(hall)
}

// The last connection of a user.
#[library_benchmark(setup = visitors)]
fn removal(hall: Hall) -> Hall {
    for (user, at) in &hall.going {
        hall.directory.remove(*user, *at, &|_| ());
    }
    hall
}

library_benchmark_group!(
    name = admission,
    benchmarks = [new_user, second_connection, removal]
);
