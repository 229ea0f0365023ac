//! What the control side does once a second.

use std::sync::Arc;
use std::time::Duration;

use crate::admin::Admin;
use crate::clock::millis;
use crate::hub::Hub;
use crate::public::Public;

/// Time between sweeps. A sweep removes expired events and what has run out in the register, samples the rates, and
/// updates the dashboards.
const SWEEP: Duration = Duration::from_secs(1);

/// Sweeps until its task ends.
pub(super) async fn run(hub: Arc<Hub>, public: Arc<Public>, admin: Arc<Admin>) {
    let clock = &hub.clock;
    let mut steady = hub.directory().time(clock);
    let mut now_ms = clock.now_ms();
    loop {
        // Counted from the start of the last sweep, so that the interval does not drift.
        clock.sleep_until(now_ms + millis(SWEEP)).await;
        now_ms = clock.now_ms();
        hub.log().expire(now_ms);
        hub.directory().sweep(steady.at(hub.unix_ms(), now_ms));
        hub.register().sweep();
        public.count_unusable_keys();
        admin.tick();
    }
}
