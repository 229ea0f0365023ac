//! Limits wrong API keys per address: after a burst, one per second is answered. Requests with a valid
//! key never come here.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::expiring::Expiring;
use crate::net::Network;

/// Time between two answers to wrong keys from one address.
const INTERVAL_MS: u64 = 1_000;
/// Wrong keys from one address that are answered at once: enough for a deployment with an old key.
const AT_ONCE: u64 = 20;
/// Answers to one address that wait; further requests get 429.
const MAX_WAITING: u64 = 5;
/// Networks with an entry of their own, about 200 KiB. All others share one entry.
const MAX_NETWORKS: usize = 4_096;

/// The networks that have sent wrong API keys, each with its allowance.
#[derive(Debug, Default)]
pub(super) struct WrongKeys(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Each entry expires when its allowance is full again.
    networks: Expiring<Network, ()>,
    /// When the shared allowance of all other networks is full again.
    others_full_ms: u64,
}

impl WrongKeys {
    /// How long to delay the answer to a wrong key from this peer; `None` if too many answers wait.
    pub(super) fn delay(&self, peer: Option<SocketAddr>, now_ms: u64) -> Option<Duration> {
        let mut table = self.0.lock();
        let network = Network::of(peer.map(|peer| peer.ip()));
        table.networks.make_room(MAX_NETWORKS, now_ms);
        let known = table.networks.get(network);
        let is_other = known.is_none() && table.networks.len() >= MAX_NETWORKS;
        let full_ms = match known {
            Some(entry) => entry.expiry.at_ms,
            None if is_other => table.others_full_ms,
            None => now_ms,
        };
        let next_ms = full_ms.max(now_ms) + INTERVAL_MS;
        let at_once_ms = AT_ONCE * INTERVAL_MS;
        let delay_ms = (next_ms - now_ms).saturating_sub(at_once_ms);
        if delay_ms > MAX_WAITING * INTERVAL_MS {
            return None;
        }
        if is_other {
            table.others_full_ms = next_ms;
        } else {
            table.networks.insert(network, (), next_ms);
        }
        Some(Duration::from_millis(delay_ms))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn delays(keys: &WrongKeys, peer: Option<SocketAddr>, now_ms: u64, n: u64) -> Vec<Option<u64>> {
        let delay = |_| Some(keys.delay(peer, now_ms)?.as_secs());
        (0..n).map(delay).collect()
    }

    #[test]
    fn twenty_are_answered_at_once_then_one_per_second_and_then_none() {
        let keys = WrongKeys::default();
        let (a, same, b) = (
            Some(peer("[2001:db8::1]:1")),
            Some(peer("[2001:db8::2]:2")),
            Some(peer("192.0.2.1:1")),
        );
        assert_eq!(delays(&keys, a, 0, 20), [Some(0); 20]);
        let then = [Some(1), Some(2), Some(3), Some(4), Some(5), None, None];
        assert_eq!(delays(&keys, same, 0, 7), then);
        assert_eq!(delays(&keys, b, 0, 1), [Some(0)]);
        assert_eq!(delays(&keys, None, 0, 1), [Some(0)]);
        // One second later, one more is answered. After a minute, the allowance is full again.
        assert_eq!(delays(&keys, a, 1_000, 2), [Some(5), None]);
        assert_eq!(delays(&keys, a, 60_000, 20), [Some(0); 20]);
    }

    #[test]
    fn addresses_that_do_not_fit_the_table_share_an_entry_until_there_is_room() {
        let keys = WrongKeys::default();
        let address = |n: u32| Some(SocketAddr::new(IpAddr::V4(n.into()), 1));
        for n in 0..10_000 {
            keys.delay(address(n), 0);
        }
        assert_eq!(keys.0.lock().networks.len(), MAX_NETWORKS);
        assert_eq!(keys.delay(address(20_000), 0), None);
        let later_ms = 10_000 * INTERVAL_MS;
        assert_eq!(keys.delay(address(20_000), later_ms), Some(Duration::ZERO));
        assert_eq!(keys.0.lock().networks.len(), 1);
    }
}
