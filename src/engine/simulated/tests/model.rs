//! Clients hop between three nodes, under random delays, partitions and losses.
//!
//! The property: each client has every event for it that is left, once and in order, or was told of a gap; its
//! position never falls without one. After a session change is answered, no node that the answer does not name admits
//! the old session. Revoked tokens stay revoked.

use proptest::prelude::*;

use super::step::step;
use super::world::World;

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn nodes_on_a_store_with_faults_keep_their_promises(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.settle();
        world.check();
    }
}
