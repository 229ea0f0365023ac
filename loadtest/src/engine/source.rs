//! Source addresses: one of 127.0.0.0/8 for every 9,500 connections.
//!
//! The kernel finds a free port by search, which slows as an address fills, and there are some 28,000
//! ports to one. Each worker has addresses of its own, so no count is shared.

use std::net::Ipv4Addr;

/// Connections from one address.
pub(crate) const MAX_PER_SOURCE: u32 = 9_500;

/// The addresses of one worker and how many connections each has.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Offset of the first within 127.1.0.0/16 and on.
    first: u32,
    used: Vec<u32>,
    turn: usize,
}

impl Sources {
    /// Addresses enough for `connections`, distinct from those of every other `worker`.
    pub(crate) fn new(worker: u32, connections: u32) -> Self {
        let sources = connections.div_ceil(MAX_PER_SOURCE).max(1);
        let used = vec![0; sources as usize];
        Self {
            first: worker * sources,
            used,
            turn: 0,
        }
    }

    /// Takes a place on the next address that has one.
    pub(crate) fn take(&mut self) -> Option<(u16, Ipv4Addr)> {
        for _ in 0..self.used.len() {
            self.turn = (self.turn + 1) % self.used.len();
            if self.used[self.turn] < MAX_PER_SOURCE {
                self.used[self.turn] += 1;
                return Some((u16::try_from(self.turn).ok()?, self.address(self.turn)));
            }
        }
        None
    }

    /// Gives a place back.
    pub(crate) fn give_back(&mut self, source: u16) {
        let used = &mut self.used[usize::from(source)];
        debug_assert!(*used > 0, "given back more often than taken");
        *used -= 1;
    }

    fn address(&self, index: usize) -> Ipv4Addr {
        // From 127.1.0.1 on, without the .0 and .255 that look like networks.
        let place = self.first + u32::try_from(index).expect("few sources");
        let base = u32::from(Ipv4Addr::new(127, 1, 0, 1));
        Ipv4Addr::from(base + place / 254 * 256 + place % 254)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn no_address_has_more_than_its_share_and_workers_do_not_meet() {
        let mut per_address = BTreeMap::new();
        for worker in 0..3 {
            let mut sources = Sources::new(worker, 30_000);
            for _ in 0..30_000 {
                let (_, address) = sources.take().unwrap();
                *per_address.entry(address).or_insert(0u32) += 1;
            }
        }
        assert_eq!(per_address.len(), 12);
        assert!(per_address.keys().all(Ipv4Addr::is_loopback));
        assert!(per_address.values().all(|&count| count <= MAX_PER_SOURCE));
    }

    #[test]
    fn a_full_set_takes_no_more_until_one_is_given_back() {
        let mut sources = Sources::new(0, 1);
        let (index, _) = (0..MAX_PER_SOURCE)
            .map(|_| sources.take().unwrap())
            .last()
            .unwrap();
        assert_eq!(sources.take(), None);
        sources.give_back(index);
        assert!(sources.take().is_some());
    }
}
