//! Clients hop between three nodes, under random delays, partitions and losses.
//!
//! The property: each client has every event for it that is left, once and in order, or was told of a gap; its
//! position never falls without one. After a session change is answered, no node that the answer does not name admits
//! the old session. Revoked tokens stay revoked.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::super::link::Faults;
use super::step::{Step, step};
use super::world::World;

fn walk(steps: &[Step]) {
    let mut world = World::new();
    for step in steps {
        world.take(step);
    }
    world.settle();
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(1), max_shrink_iters: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn nodes_on_a_store_with_faults_keep_their_promises(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        walk(&steps);
    }
}

fn log_out(node: usize) -> Step {
    Step::Change {
        node,
        user: 0,
        keep: None,
    }
}

fn publish(node: usize) -> Step {
    Step::Publish {
        node,
        to: None,
        source: None,
    }
}

/// Writes of this node wait, so it does not attach to another leader.
fn hold_writes(node: usize) -> Step {
    let faults = Faults {
        holds_writes: true,
        ..Faults::default()
    };
    Step::Fault { node, faults }
}

fn hold_reads(node: usize) -> Step {
    let faults = Faults {
        holds_reads: true,
        ..Faults::default()
    };
    Step::Fault { node, faults }
}

#[test]
fn a_change_that_the_store_loses_while_others_are_asked_is_not_confirmed() {
    walk(&[
        hold_writes(2),
        Step::RollBack(0),
        log_out(0),
        Step::Disconnect { node: 0, user: 0 },
        Step::Run(1),
        Step::Empty,
    ]);
}

#[test]
fn a_node_without_a_lease_admits_nobody() {
    walk(&[hold_writes(1), Step::Pass(31_000), log_out(0), Step::Run(1)]);
}

#[test]
fn a_change_that_is_lost_twice_is_written_back_twice() {
    walk(&[
        publish(0),
        hold_reads(2),
        log_out(0),
        Step::Run(1),
        Step::RollBack(1),
        Step::Run(1),
        Step::RollBack(1),
    ]);
}

#[test]
fn a_reader_notices_that_the_store_has_dropped_what_it_has_not_read() {
    walk(&[
        hold_reads(0),
        publish(1),
        log_out(0),
        Step::Pass(520),
        Step::Run(1),
        Step::Trim(1),
    ]);
}

#[test]
fn positions_do_not_fall_when_another_log_takes_the_place_of_a_longer_one() {
    let mut steps: Vec<Step> = (0..9).map(|_| publish(0)).collect();
    steps.extend([
        hold_reads(1),
        Step::Empty,
        Step::Pass(1_000),
        Step::Connect { client: 0, node: 1 },
        Step::Beat(1),
    ]);
    walk(&steps);
}
