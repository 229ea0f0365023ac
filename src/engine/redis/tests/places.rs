//! Places under the limit of all nodes.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use redis::FromRedisValue;

use super::Store;
use crate::engine::redis::scripts;

#[tokio::test]
async fn places_are_granted_up_to_the_limit_of_all_nodes() {
    let mut store = Store::start().await;
    let user = store.keys.user("42");
    // The node, its connections, how many more, whether it makes room itself: how many are granted, and who else is in.
    let steps: [(&str, &str, &str, &str, &[&str]); 8] = [
        ("a.1", "0", "3", "0", &["3"]),
        ("b.1", "0", "3", "0", &["2", "a.1", "3"]),
        ("a.1", "3", "1", "0", &["0", "b.1", "2"]),
        // It does not make room here, because another node has connections, too.
        ("a.1", "3", "1", "1", &["0", "b.1", "2"]),
        // One has left.
        ("b.1", "1", "0", "0", &["0"]),
        ("a.1", "3", "2", "0", &["1", "b.1", "1"]),
        ("b.1", "0", "0", "0", &["0"]),
        ("a.1", "5", "1", "1", &["1"]),
    ];
    for (node, held, asked, makes_room, expected) in steps {
        let held: u64 = held.parse().unwrap();
        let wanted = held + asked.parse::<u64>().unwrap();
        let (held, wanted) = (held.to_string(), wanted.to_string());
        let args = [node, "600000", "5", makes_room, "0", &held, &wanted];
        let answer: Vec<redis::Value> = store.run(&scripts::PLACES, &[&user], &args).await.unwrap();
        let [answer] = &*answer else {
            panic!("{answer:?}");
        };
        let said: Vec<String> = match answer {
            redis::Value::Int(granted) => vec![granted.to_string()],
            partly => Vec::from_redis_value_ref(partly).unwrap(),
        };
        assert_eq!(said, expected, "{args:?}");
    }
    let left: u64 = store.command(&["PTTL", &user]).await;
    assert!(left > 0 && left <= 600_000, "{left}");
    // Names that do not count any more are removed. Each user of a call has its own answer.
    let other = store.keys.user("43");
    let mut args = vec!["b.1", "600000", "5", "0", "2", "a.1", "c.7"];
    args.extend(["0", "5"]);
    args.extend(["1", "6"]);
    let both = [&*user, &*other];
    let answer: Vec<redis::Value> = store.run(&scripts::PLACES, &both, &args).await.unwrap();
    let four = redis::Value::Array(vec![redis::Value::Int(4)]);
    assert_eq!(answer, [redis::Value::Int(5), four]);
    // A user without connections is removed.
    let args = ["b.1", "600000", "0", "0", "0", "0", "0"];
    let _: Vec<u64> = store.run(&scripts::PLACES, &[&user], &args).await.unwrap();
    let left: u64 = store.command(&["EXISTS", &user, &other]).await;
    assert_eq!(left, 1);
}

/// A node states its connections of a user, and asks for more.
#[derive(Clone, Debug)]
struct Step {
    node: usize,
    held: u64,
    asked: u64,
    makes_room: bool,
    /// Another node that does not count any more.
    gone: Option<usize>,
}

const LIMIT: u64 = 5;
const NODES: [&str; 3] = ["node-1.1", "node-2.7", "node-2.70"];

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES.len();
    let gone = proptest::option::weighted(0.2, node.clone());
    (node, 0..=LIMIT + 1, 0..3_u64, any::<bool>(), gone).prop_map(
        |(node, held, asked, makes_room, gone)| Step {
            node,
            held,
            asked,
            makes_room,
            gone: gone.filter(|gone| *gone != node),
        },
    )
}

/// What the script should do with the numbers by node; returns how many places are granted.
fn naive(counts: &mut BTreeMap<usize, u64>, step: &Step) -> u64 {
    if let Some(gone) = step.gone {
        counts.remove(&gone);
    }
    counts.remove(&step.node);
    let elsewhere: u64 = counts.values().sum();
    let makes_room = step.makes_room && elsewhere == 0;
    let room = LIMIT.saturating_sub(step.held + elsewhere);
    let granted = if makes_room {
        step.asked
    } else {
        step.asked.min(room)
    };
    if step.held + granted > 0 {
        counts.insert(step.node, step.held + granted);
    }
    granted
}

async fn run(store: &mut Store, user: &str, step: &Step) -> Vec<String> {
    let (held, wanted) = (step.held.to_string(), (step.held + step.asked).to_string());
    let (limit, makes_room) = (LIMIT.to_string(), u8::from(step.makes_room).to_string());
    let gone = step.gone.map(|gone| NODES[gone]);
    let names_gone = gone.iter().len().to_string();
    let mut args = vec![NODES[step.node], "600000", &limit, &makes_room, &names_gone];
    args.extend(gone);
    args.extend([&*held, &*wanted]);
    let answer: Vec<redis::Value> = store.run(&scripts::PLACES, &[user], &args).await.unwrap();
    match &*answer {
        [redis::Value::Int(granted)] => vec![granted.to_string()],
        [partly] => Vec::from_redis_value_ref(partly).unwrap(),
        _ => panic!("{answer:?}"),
    }
}

#[test]
fn places_are_counted_as_by_a_map() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = std::cell::RefCell::new(runtime.block_on(Store::start()));
    let mut config = ProptestConfig::with_cases(64);
    config.failure_persistence = None;
    proptest!(config, |(steps in vec(step(), 1..30))| {
        let store = &mut *store.borrow_mut();
        let user = store.keys.user("42");
        let _: u64 = runtime.block_on(store.command(&["DEL", &user]));
        let mut counts = BTreeMap::new();
        for step in &steps {
            let granted = naive(&mut counts, step);
            let mut said = runtime.block_on(run(store, &user, step)).into_iter();
            prop_assert_eq!(said.next(), Some(granted.to_string()));
            let names: Vec<String> = said.step_by(2).collect();
            let others = counts.keys().filter(|node| **node != step.node);
            let others: Vec<&str> = others.map(|node| NODES[*node]).collect();
            if granted < step.asked {
                let mut names = names;
                names.sort_unstable();
                prop_assert_eq!(names, others);
            } else {
                prop_assert!(names.is_empty());
            }
        }
    });
}
