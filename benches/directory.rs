//! Admitting and removing connections: of one user each, and five of one user.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use idlewild::auth::Identity;
use idlewild::config::OnLimit;
use idlewild::hub::directory::Directory;
use idlewild::hub::{ConnectionId, Limit};

const USERS: u32 = 100_000;
const LIMIT: Limit = Limit {
    connections: 5,
    on_limit: OnLimit::Reject,
};

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

fn admission(criterion: &mut Criterion) {
    let directory = Directory::default();
    for user in 0..USERS {
        let admitted = directory.admit(&identity(user), connection(user), LIMIT, |_| ());
        assert!(admitted.is_ok());
    }
    let stranger = identity(USERS);
    criterion.bench_function("admit_and_remove/new_user_among_100k", |bencher| {
        bencher.iter(|| {
            let at = connection(USERS);
            if let Ok((admitted, ())) = directory.admit(&stranger, at, LIMIT, |_| ()) {
                directory.remove(admitted.user, at, &|_| ());
            }
        });
    });
    let known = identity(7);
    criterion.bench_function("admit_and_remove/second_connection", |bencher| {
        bencher.iter(|| {
            let at = connection(USERS);
            if let Ok((admitted, ())) = directory.admit(&known, at, LIMIT, |_| ()) {
                directory.remove(admitted.user, at, &|_| ());
            }
        });
    });
    criterion.bench_function("connections_of_a_user", |bencher| {
        bencher.iter(|| {
            let mut found = 0;
            directory.connections("7", |_| found += 1);
            found
        });
    });
}

criterion_group!(benches, admission);
criterion_main!(benches);
