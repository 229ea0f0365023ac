//! The final check: compares what each client received with the plan.

use std::collections::HashMap;
use std::fmt::Write;

use super::client::Client;
use super::publisher::Published;
use super::world::World;

/// Failures that are described in full.
const MAX_TOLD: usize = 3;

/// A description of all failures; empty if there are none.
pub fn failures(world: &World, clients: &[Client], published: &[Published]) -> String {
    let mut text = String::new();
    let mut wrong = 0;
    for client in clients {
        let Some(difference) = difference(world, client) else {
            continue;
        };
        wrong += 1;
        if wrong <= MAX_TOLD {
            let person = client.person();
            let _ = writeln!(
                text,
                "client {}, user {}, topics {:?}, narrow {}: {difference}\n{}",
                client.number, person.user, person.topics, person.is_narrow, client.journal.story
            );
        }
    }
    if wrong > 0 {
        let _ = writeln!(text, "{wrong} clients in all");
    }
    for disorder in published.iter().filter_map(|one| disorder(world, one)) {
        let _ = writeln!(text, "{disorder}");
    }
    text
}

/// The first failure of this client.
fn difference(world: &World, client: &Client) -> Option<String> {
    if let Some(fault) = client.journal.faults.first() {
        return Some(fault.clone());
    }
    let mut times: HashMap<usize, usize> = HashMap::new();
    let numbers = client.journal.seen.iter().map(|(_, number)| number);
    for number in numbers.chain(&client.journal.fleeting) {
        *times.entry(*number).or_default() += 1;
    }
    if let Some((number, times)) = times.iter().find(|(_, times)| **times > 1) {
        return Some(format!("event {number} came {times} times"));
    }
    // The client got a gap, so some events are missing. The others were in order, each once.
    if client.journal.gaps > 0 {
        return None;
    }
    let missing: Vec<usize> = (0..world.plan.events.len())
        .filter(|number| {
            let event = &world.plan.events[*number];
            event.persist && client.person().wants(event) && !times.contains_key(number)
        })
        .collect();
    let first = *missing.first()?;
    Some(format!(
        "event {first}, {:?}, did not come, nor {} others",
        world.id(first),
        missing.len() - 1
    ))
}

/// Reports events of one publisher that clients received with an id other than the one in the response,
/// or in a different order than they were sent in.
fn disorder(world: &World, published: &Published) -> Option<String> {
    for (number, id) in &published.ids {
        if let Some(seen) = world.id(*number)
            && seen != *id
        {
            return Some(format!(
                "event {number} was accepted as {id:?} and seen as {seen:?}"
            ));
        }
    }
    let mut last = None;
    for number in &published.order {
        let id = world.id(*number);
        if id.is_some() && id <= last {
            return Some(format!("event {number} is {id:?}, after {last:?}"));
        }
        last = id.or(last);
    }
    None
}
