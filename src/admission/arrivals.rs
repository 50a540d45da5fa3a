//! How many clients come, and from where: how fast in all, how fast and how many of one address, and how many of an address that
//! are not yet WebSockets; so that no address has all places, and a wave of clients that come back is told to spread.
//!
//! Without: sockets and clocks; a client is told here when it comes, when it has become a WebSocket, and when it is gone.
//!
//! Invariants: an address stands here while it has a client, or while its bucket is not full again; of the latter there are at
//! most [`REMEMBERED_MAX`]. The map's hashes are keyed at random: clients choose their addresses.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::{Bucket, ClientAddress, is_among};
use crate::config::Arrivals as Settings;

/// Addresses without a client that are remembered for what they used up; beyond, the next one is not remembered.
pub const REMEMBERED_MAX: usize = 65_536;

/// Whose clients are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// One IPv4 address.
    V4([u8; 4]),
    /// One /64 of IPv6, which is what a single subscriber of a network is given (RFC 6177).
    V6([u8; 8]),
    /// All who come by Unix sockets, and of whom nobody says from where.
    Unix,
}

impl Network {
    /// That of an address, however it is written.
    #[must_use]
    pub fn of(address: ClientAddress) -> Network {
        match address.to_canonical() {
            ClientAddress::Unix => Network::Unix,
            ClientAddress::Ip(IpAddr::V4(address)) => Network::V4(address.octets()),
            ClientAddress::Ip(IpAddr::V6(address)) => {
                Network::V6(*address.octets().first_chunk().expect("sixteen are more than eight"))
            }
        }
    }
}

/// Why a client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// More come than this shard takes in a second.
    Storm,
    /// More come from its address than may in a second.
    AddressTooFast,
    /// Its address has as many clients as it may.
    AddressFull,
    /// Its address has as many clients as it may that are not yet WebSockets. An answer would keep the place that is not to be had.
    HalfOpen,
}

impl TurnedAway {
    /// The setting that says so, as the log names it.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            TurnedAway::Storm => "arrivals.per_second",
            TurnedAway::AddressTooFast => "arrivals.per_address_per_second",
            TurnedAway::AddressFull => "arrivals.per_address_max",
            TurnedAway::HalfOpen => "limits.half_open_per_address_max",
        }
    }
}

/// What is known of one network.
#[derive(Debug)]
struct Known {
    clients: u32,
    half_open: u32,
    bucket: Bucket,
}

/// The counts of one shard.
#[derive(Debug)]
pub struct Arrivals {
    networks: HashMap<Network, Known>,
    /// Networks whose last client left, and when their buckets are full again at the latest; in this order.
    remembered: VecDeque<(Network, u64)>,
    all: Bucket,
    settings: Settings,
    half_open_max: u32,
}

impl Arrivals {
    /// Nobody has come. Numbers are this shard's shares.
    #[must_use]
    pub fn new(settings: Settings, half_open_max: u32, now_us: u64) -> Arrivals {
        let all = Bucket::new(settings.burst, now_us);
        Arrivals { networks: HashMap::new(), remembered: VecDeque::new(), all, settings, half_open_max }
    }

    /// Other bounds hold from now on, also for addresses that have clients. Numbers are this shard's shares.
    pub fn go_by(&mut self, settings: Settings, half_open_max: u32, now_us: u64) {
        // By slower buckets those without a client are full again later than they were to be.
        let full_us = now_us + filling_us(&settings);
        self.remembered.iter_mut().for_each(|(_, due_us)| *due_us = full_us);
        (self.settings, self.half_open_max) = (settings, half_open_max);
    }

    /// Whether the bounds per address are not for this one.
    #[must_use]
    pub fn is_exempt(&self, address: ClientAddress) -> bool {
        is_among(&self.settings.exempt, address)
    }

    /// Whether one more may come at all, from wherever.
    pub fn take_place(&mut self, now_us: u64) -> bool {
        self.all.take(self.settings.per_second, self.settings.burst, now_us)
    }

    /// Counts a client, not yet a WebSocket. An exempt one is held to the bound on those only.
    ///
    /// # Errors
    /// Why it is turned away; it is not counted then.
    pub fn enter(&mut self, address: ClientAddress, exempt: bool, now_us: u64) -> Result<(), TurnedAway> {
        let Settings { per_address_per_second, per_address_burst, per_address_max, .. } = self.settings;
        let network = Network::of(address);
        let full = || Known { clients: 0, half_open: 0, bucket: Bucket::new(per_address_burst, now_us) };
        let known = self.networks.entry(network).or_insert_with(full);
        if known.half_open >= self.half_open_max {
            return Err(TurnedAway::HalfOpen);
        }
        if !exempt && known.clients >= per_address_max {
            return Err(TurnedAway::AddressFull);
        }
        // A network without a client has been remembered for its empty bucket.
        if !exempt && !known.bucket.take(per_address_per_second, per_address_burst, now_us) {
            return Err(TurnedAway::AddressTooFast);
        }
        known.clients += 1;
        known.half_open += 1;
        Ok(())
    }

    /// A client that was counted is a WebSocket now.
    pub fn opened(&mut self, address: ClientAddress) {
        self.networks.get_mut(&Network::of(address)).expect("whoever opens is counted").half_open -= 1;
    }

    /// A client that was counted is gone, or another address's.
    pub fn leave(&mut self, address: ClientAddress, half_open: bool, now_us: u64) {
        let network = Network::of(address);
        let known = self.networks.get_mut(&network).expect("whoever leaves is counted");
        known.clients -= 1;
        known.half_open -= u32::from(half_open);
        if known.clients > 0 {
            return;
        }
        if self.remembered.len() < REMEMBERED_MAX && !self.is_quiet(network, now_us) {
            self.remembered.push_back((network, now_us + filling_us(&self.settings)));
        } else {
            self.forget(network);
        }
    }

    /// Whether [`Arrivals::forget_quiet`] has something to do sooner or later.
    #[must_use]
    pub fn remembers(&self) -> bool {
        !self.remembered.is_empty()
    }

    /// Forgets networks without clients whose buckets are full again.
    pub fn forget_quiet(&mut self, now_us: u64) {
        while let Some((network, _)) = self.remembered.pop_front_if(|(_, full_us)| *full_us <= now_us) {
            // It may have come back, and be remembered once more behind.
            if self.is_quiet(network, now_us) {
                self.forget(network);
            }
        }
    }

    fn is_quiet(&mut self, network: Network, now_us: u64) -> bool {
        let Settings { per_address_per_second, per_address_burst, .. } = self.settings;
        let Some(known) = self.networks.get_mut(&network) else { return false };
        known.clients == 0 && known.bucket.is_full(per_address_per_second, per_address_burst, now_us)
    }

    fn forget(&mut self, network: Network) {
        self.networks.remove(&network);
        // A wave leaves no table behind.
        if self.networks.is_empty() {
            (self.networks, self.remembered) = (HashMap::new(), VecDeque::new());
        }
    }
}

/// How long an empty bucket of an address takes to be full again.
fn filling_us(settings: &Settings) -> u64 {
    u64::from(settings.per_address_burst) * 1_000_000 / u64::from(settings.per_address_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        per_second: 1000,
        burst: 1000,
        per_address_per_second: 1,
        per_address_burst: 3,
        per_address_max: 2,
        exempt: Vec::new(),
    };

    fn address(text: &str) -> ClientAddress {
        ClientAddress::Ip(text.parse().expect("an address"))
    }

    #[test]
    fn an_address_has_its_bounds_and_nobody_elses() {
        let mut arrivals = Arrivals::new(SETTINGS, 10, 0);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!([(); 3].map(|()| arrivals.enter(one, false, 0)), [Ok(()), Ok(()), Err(TurnedAway::AddressFull)]);
        assert_eq!(arrivals.enter(other, false, 0), Ok(()));
        arrivals.leave(one, true, 0);
        assert_eq!(arrivals.enter(one, false, 0), Ok(()), "the third of its burst");
        arrivals.leave(one, true, 0);
        assert_eq!(arrivals.enter(one, false, 0), Err(TurnedAway::AddressTooFast));
        assert_eq!(arrivals.enter(one, true, 0), Ok(()), "who is exempt takes no token");
        assert_eq!(arrivals.enter(one, false, 1_000_000), Err(TurnedAway::AddressFull));
        arrivals.leave(one, true, 1_000_000);
        assert_eq!(arrivals.enter(one, false, 1_000_000), Ok(()), "a second brings a token");
    }

    #[test]
    fn who_has_not_ended_its_handshake_is_counted_by_itself_and_exempt_ones_too() {
        let mut arrivals = Arrivals::new(Settings { per_address_max: 100, per_address_burst: 100, ..SETTINGS }, 2, 0);
        let one = address("192.0.2.1");
        assert_eq!([(); 3].map(|()| arrivals.enter(one, true, 0)), [Ok(()), Ok(()), Err(TurnedAway::HalfOpen)]);
        arrivals.opened(one);
        assert_eq!([(); 2].map(|()| arrivals.enter(one, false, 0)), [Ok(()), Err(TurnedAway::HalfOpen)]);
        arrivals.leave(one, false, 0);
        assert_eq!(arrivals.enter(one, false, 0), Err(TurnedAway::HalfOpen), "that one was a WebSocket");
        arrivals.leave(one, true, 0);
        assert_eq!(arrivals.enter(one, false, 0), Ok(()));
    }

    #[test]
    fn who_used_up_its_bucket_is_remembered_until_it_is_full_again() {
        let mut arrivals = Arrivals::new(SETTINGS, 10, 0);
        let one = address("192.0.2.1");
        for _ in 0..3 {
            arrivals.enter(one, false, 0).expect("its burst");
            arrivals.leave(one, true, 0);
        }
        assert_eq!(arrivals.enter(one, false, 0), Err(TurnedAway::AddressTooFast), "leaving gives no token back");
        arrivals.forget_quiet(2_999_000);
        assert!(arrivals.remembers());
        arrivals.forget_quiet(3_000_000);
        assert!(!arrivals.remembers());
        assert_eq!((arrivals.networks.capacity(), arrivals.remembered.capacity()), (0, 0), "nothing is left behind");
    }

    #[test]
    fn a_wave_of_addresses_is_not_remembered_without_end() {
        let mut arrivals = Arrivals::new(SETTINGS, 10, 0);
        for number in 0..REMEMBERED_MAX as u32 + 1000 {
            let one = ClientAddress::Ip(number.to_be_bytes().into());
            arrivals.enter(one, false, 0).expect("its burst");
            arrivals.leave(one, true, 0);
        }
        assert_eq!((arrivals.networks.len(), arrivals.remembered.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        arrivals.forget_quiet(3_000_000);
        assert_eq!(arrivals.networks.capacity(), 0);
    }

    #[test]
    fn all_together_come_no_faster_than_one_shard_takes() {
        let mut arrivals = Arrivals::new(SETTINGS, 10, 0);
        assert_eq!((0..2000).filter(|_| arrivals.take_place(0)).count(), 1000);
        assert_eq!((0..2000).filter(|_| arrivals.take_place(500_000)).count(), 500);
    }

    #[test]
    fn ipv6_counts_by_64_bits_and_ipv4_by_address_however_it_is_written() {
        let network = |text: &str| Network::of(address(text));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("::ffff:192.0.2.1"), network("192.0.2.2"));
    }
}
