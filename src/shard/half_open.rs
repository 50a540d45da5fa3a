//! How many clients of each address are not yet WebSockets, so that one address cannot have all places with handshakes that
//! it never ends.
//!
//! Without: sockets and deadlines; a client is told here when it comes, and again when it has become a WebSocket or is gone.
//!
//! Invariant: an address stands here only while it has a half-open client, so there are never more of them than clients. The
//! maps' hashes are keyed at random: clients choose their addresses.

use std::collections::HashMap;
use std::net::IpAddr;

/// Whose clients are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Network {
    /// One IPv4 address.
    V4([u8; 4]),
    /// One /64 of IPv6, which is what a single subscriber of a network is given (RFC 6177).
    V6([u8; 8]),
}

impl Network {
    pub(super) fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => Network::V4(address.octets()),
            IpAddr::V6(address) => Network::V6(*address.octets().first_chunk().expect("sixteen are more than eight")),
        }
    }
}

/// The counts of one shard.
#[derive(Debug)]
pub(super) struct HalfOpen {
    /// How many of each network.
    counts: HashMap<Network, u32>,
    /// Where each half-open client is counted, by its slot.
    clients: HashMap<u32, Network>,
    max: u32,
}

impl HalfOpen {
    pub(super) fn new(max: u32) -> HalfOpen {
        HalfOpen { counts: HashMap::new(), clients: HashMap::new(), max }
    }

    /// Counts a client; false, and uncounted, where its network has as many as it may.
    pub(super) fn enter(&mut self, slot: u32, network: Network) -> bool {
        let count = self.counts.entry(network).or_default();
        let may = *count < self.max;
        if may {
            *count += 1;
            assert_eq!(self.clients.insert(slot, network), None, "a client enters once");
        }
        may
    }

    /// A client that was counted is a WebSocket now, or gone.
    pub(super) fn leave(&mut self, slot: u32) {
        let network = self.clients.remove(&slot).expect("whoever leaves has entered");
        let count = self.counts.get_mut(&network).expect("whoever leaves is counted");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&network);
            // A wave leaves no table behind.
            if self.counts.is_empty() {
                (self.counts, self.clients) = (HashMap::new(), HashMap::new());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().expect("an address"))
    }

    #[test]
    fn a_network_has_its_bound_and_nobody_elses() {
        let mut half_open = HalfOpen::new(2);
        let (one, other) = (network("192.0.2.1"), network("192.0.2.2"));
        let mut enter = |slot, network| half_open.enter(slot, network);
        assert_eq!([enter(0, one), enter(1, one), enter(2, one), enter(3, other)], [true, true, false, true]);
        half_open.leave(1);
        assert_eq!([half_open.enter(2, one), half_open.enter(1, one)], [true, false]);
        [0, 2, 3].into_iter().for_each(|slot| half_open.leave(slot));
        assert_eq!((half_open.counts.capacity(), half_open.clients.capacity()), (0, 0), "nothing is left behind");
    }

    #[test]
    fn ipv6_counts_by_64_bits_and_ipv4_by_address_however_it_is_written() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("::ffff:192.0.2.1"), network("192.0.2.2"));
    }
}
