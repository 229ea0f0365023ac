//! Source addresses: one of 127.0.0.0/8 per 9,500 connections, or those of a list.
//!
//! The kernel searches for a free port, which slows down as an address fills up; an address has some 28,000
//! ports. Each worker has its own share, so no count is shared.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, ensure};

/// Connections per address.
pub(crate) const MAX_PER_SOURCE: u32 = 9_500;

/// The source addresses of a run's connections.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// 127.1.0.1 and the following, as many as necessary.
    Loopback,
    /// These addresses, shared by the workers.
    Listed(Vec<IpAddr>),
    /// The kernel's choice.
    Kernel,
}

impl Origin {
    /// The source addresses for the nodes: the listed ones, of the nodes' address family, or by their location.
    pub(crate) fn new(mut nodes: impl Iterator<Item = IpAddr>, listed: &[IpAddr]) -> Result<Self> {
        if !listed.is_empty() {
            let pairs = nodes.flat_map(|node| listed.iter().map(move |source| (node, source)));
            for (target, source) in pairs {
                ensure!(
                    source.is_ipv4() == target.is_ipv4(),
                    "--source {source} cannot reach {target}: one is IPv4, the other IPv6"
                );
            }
            return Ok(Self::Listed(listed.to_vec()));
        }
        Ok(if nodes.all(|node| node.is_ipv4() && node.is_loopback()) {
            Self::Loopback
        } else {
            Self::Kernel
        })
    }

    /// Fails if `connections` exceed the addresses.
    pub(crate) fn check(&self, connections: u32, workers: u32) -> Result<()> {
        if let Self::Listed(sources) = self {
            let room = u64::from(places_each(workers)) * sources.len() as u64;
            // One more, because two ramps may each round up.
            let needed = u64::from(connections.div_ceil(workers)) + 1;
            ensure!(
                needed <= room,
                "--connections {connections}: {} source addresses hold {room} for each of {workers} threads, \
                 {needed} are needed; list more (they hold {MAX_PER_SOURCE} each)",
                sources.len()
            );
        }
        Ok(())
    }
}

/// The addresses of a worker, and the connections of each.
#[derive(Debug)]
pub(crate) struct Sources {
    addresses: Vec<Option<IpAddr>>,
    used: Vec<u32>,
    /// This worker's connections per address.
    places: u32,
    turn: usize,
}

impl Sources {
    /// Enough addresses for the `connections` of one of `workers`.
    pub(crate) fn new(origin: &Origin, worker: u32, workers: u32, connections: u32) -> Self {
        let (addresses, places) = match origin {
            Origin::Loopback => {
                let count = connections.div_ceil(MAX_PER_SOURCE).max(1);
                let mine = worker * count..(worker + 1) * count;
                (mine.map(|at| Some(loopback(at))).collect(), MAX_PER_SOURCE)
            }
            Origin::Listed(listed) => (
                listed.iter().copied().map(Some).collect(),
                places_each(workers),
            ),
            Origin::Kernel => (vec![None], u32::MAX),
        };
        Self {
            used: vec![0; addresses.len()],
            addresses,
            places,
            turn: 0,
        }
    }

    /// Takes the next address with room; without addresses the kernel chooses.
    pub(crate) fn take(&mut self) -> Option<(u16, Option<IpAddr>)> {
        for _ in 0..self.used.len() {
            self.turn = (self.turn + 1) % self.used.len();
            if self.used[self.turn] < self.places {
                self.used[self.turn] += 1;
                return Some((u16::try_from(self.turn).ok()?, self.addresses[self.turn]));
            }
        }
        None
    }

    /// Returns the address of a connection.
    pub(crate) fn give_back(&mut self, source: u16) {
        let used = &mut self.used[usize::from(source)];
        debug_assert!(*used > 0, "given back more often than taken");
        *used -= 1;
    }
}

/// A worker's share of a listed address.
fn places_each(workers: u32) -> u32 {
    (MAX_PER_SOURCE / workers.max(1)).max(1)
}

/// From 127.1.0.1, without .0 and .255, which look like network addresses.
fn loopback(place: u32) -> IpAddr {
    let base = u32::from(Ipv4Addr::new(127, 1, 0, 1));
    Ipv4Addr::from(base + place / 254 * 256 + place % 254).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn no_address_exceeds_its_share_and_workers_share_none() {
        let mut per_address = BTreeMap::new();
        for worker in 0..3 {
            let mut sources = Sources::new(&Origin::Loopback, worker, 3, 30_000);
            for _ in 0..30_000 {
                let (_, address) = sources.take().unwrap();
                *per_address.entry(address.unwrap()).or_insert(0u32) += 1;
            }
        }
        assert_eq!(per_address.len(), 12);
        assert!(per_address.keys().all(IpAddr::is_loopback));
        assert!(per_address.values().all(|&count| count <= MAX_PER_SOURCE));
    }

    #[test]
    fn a_full_set_of_addresses_accepts_another_connection_only_after_one_is_returned() {
        let mut sources = Sources::new(&Origin::Loopback, 0, 1, 1);
        let (index, _) = (0..MAX_PER_SOURCE)
            .map(|_| sources.take().unwrap())
            .last()
            .unwrap();
        assert_eq!(sources.take(), None);
        sources.give_back(index);
        assert!(sources.take().is_some());
    }

    #[test]
    fn a_list_of_addresses_is_shared_by_the_workers_and_has_a_limit() {
        let listed: Vec<IpAddr> = ["127.9.0.1", "127.9.0.2"]
            .map(|text| text.parse().unwrap())
            .into();
        let origin = Origin::new(std::iter::once([127, 0, 0, 1].into()), &listed).unwrap();
        let mut sources = Sources::new(&origin, 1, 2, 10);
        let places = std::iter::from_fn(|| sources.take()).count();
        assert_eq!(places, 9_500);
        assert!(origin.check(18_998, 2).is_ok());
        assert!(origin.check(18_999, 2).is_err());
        let v6 = std::iter::once("::1".parse().unwrap());
        assert!(Origin::new(v6, &listed).is_err());
    }

    #[test]
    fn addresses_of_this_machine_reach_only_nodes_on_it() {
        let origin = |node| Origin::new([[127, 0, 0, 1], node].map(IpAddr::from).into_iter(), &[]);
        assert!(matches!(origin([127, 0, 0, 2]).unwrap(), Origin::Loopback));
        assert!(matches!(origin([192, 0, 2, 1]).unwrap(), Origin::Kernel));
    }
}
