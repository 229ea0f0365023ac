//! The final check: every client has each accepted event once and in order, or was told of a gap.
//!
//! A gap excuses only what it covers: the events between the client's position before it and the position that
//! it was told.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use super::book::{Book, Fate, Id};
use super::journal::{Journal, Piece};
use super::publisher::Published;

/// Clients whose failures are described in full.
const MAX_DESCRIBED: usize = 3;

/// What a scenario permits.
#[derive(Default)]
pub struct Rules {
    /// The store may lose its newest events. A client may then have received an event with an id that was lost,
    /// and receive it again with the id under which it was stored later.
    pub may_fork: bool,
    /// Ids of accepted events that the store lost. Nobody has to have them.
    pub lost: HashSet<Id>,
}

/// The result of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// Descriptions of all failures; empty if there are none.
    pub failures: String,
    pub gaps: usize,
    /// Events that clients received with an id that was lost.
    pub phantoms: usize,
    /// Events that clients did not receive because of a gap, or because the store lost them.
    pub excused: usize,
}

/// Compares what these clients received with what was accepted.
pub fn check(book: &Book, journals: &[&Journal], published: &[Published], rules: &Rules) -> Report {
    let fates = book.fates();
    let mut report = Report::default();
    let mut wrong = 0;
    for (number, journal) in journals.iter().enumerate() {
        report.gaps += journal.gaps();
        let Err(failure) = check_client(book, &fates, journal, rules, &mut report) else {
            continue;
        };
        wrong += 1;
        if wrong <= MAX_DESCRIBED {
            let _ = writeln!(
                report.failures,
                "client {number}, {:?}: {failure}\n{}",
                journal.subscriber,
                journal.story()
            );
        }
    }
    if wrong > 0 {
        let _ = writeln!(report.failures, "{wrong} clients in all");
    }
    let disorders = published.iter().filter_map(|one| disorder(&fates, one));
    let ids = if rules.may_fork {
        None
    } else {
        two_ids(&fates)
    };
    for failure in book.conflicts().into_iter().chain(disorders).chain(ids) {
        let _ = writeln!(report.failures, "{failure}");
    }
    report
}

fn check_client(
    book: &Book,
    fates: &[Fate],
    journal: &Journal,
    rules: &Rules,
    report: &mut Report,
) -> Result<(), String> {
    if let Some(fault) = journal.faults.first() {
        return Err(fault.clone());
    }
    let has = received(fates, journal, rules, report)?;
    let joined = journal.joined.ok_or("it never had a stream")?;
    let mut missing = Vec::new();
    for (number, fate) in fates.iter().enumerate() {
        let event = book.event(number);
        // What was sent before its first stream began may have come before its first position.
        let is_due = fate.is_accepted && fate.sent >= Some(joined);
        if !is_due || !event.persist || !journal.subscriber.wants(&event) || has.contains(&number) {
            continue;
        }
        let id = fate.id();
        let is_lost = id.is_some_and(|id| rules.lost.contains(&id));
        if is_lost || is_in_a_gap(&journal.pieces, id) {
            report.excused += 1;
        } else {
            missing.push(number);
        }
    }
    let Some(first) = missing.first() else {
        return Ok(());
    };
    Err(format!(
        "event {first}, {:?}, did not come, nor {} others; {} gaps",
        fates[*first].id(),
        missing.len() - 1,
        journal.gaps()
    ))
}

/// The events that a client received; an error if one came twice without a gap between.
fn received(
    fates: &[Fate],
    journal: &Journal,
    rules: &Rules,
    report: &mut Report,
) -> Result<HashSet<usize>, String> {
    let mut has = HashSet::new();
    for piece in &journal.pieces {
        let mut times: HashMap<usize, usize> = HashMap::new();
        for (id, number) in &piece.events {
            if rules.may_fork && fates[*number].id() != Some(*id) {
                report.phantoms += 1;
                continue;
            }
            *times.entry(*number).or_default() += 1;
        }
        at_most_once(&times)?;
        has.extend(times.into_keys());
    }
    let mut fleeting: HashMap<usize, usize> = HashMap::new();
    for number in &journal.fleeting {
        *fleeting.entry(*number).or_default() += 1;
    }
    at_most_once(&fleeting)?;
    Ok(has)
}

fn at_most_once(times: &HashMap<usize, usize>) -> Result<(), String> {
    match times.iter().find(|(_, times)| **times > 1) {
        Some((number, times)) => Err(format!("event {number} came {times} times")),
        None => Ok(()),
    }
}

/// Returns true if a gap between two pieces covers this id. An unknown id may be in any gap.
fn is_in_a_gap(pieces: &[Piece], id: Option<Id>) -> bool {
    pieces.windows(2).any(|pair| {
        let [before, after] = pair else { return false };
        id.is_none() || (before.until < id && id <= after.after)
    })
}

/// The first event that has several ids.
fn two_ids(fates: &[Fate]) -> Option<String> {
    fates.iter().enumerate().find_map(|(number, fate)| {
        let mut ids: HashSet<Id> = HashSet::new();
        ids.extend(&fate.accepted);
        ids.extend(&fate.received);
        (ids.len() > 1).then(|| format!("event {number} has several ids: {fate:?}"))
    })
}

/// Reports an event of one publisher with a lower id than the one that it sent before.
fn disorder(fates: &[Fate], published: &Published) -> Option<String> {
    let mut last = None;
    for number in &published.order {
        let id = fates[*number].first_id();
        if id.is_some() && id <= last {
            return Some(format!("event {number} is {id:?}, after {last:?}"));
        }
        last = id.or(last);
    }
    None
}
