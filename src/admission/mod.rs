//! Who may enter, as far as it is told by where a client comes from: addresses that proxies tell, and how many clients may
//! come from one.
//!
//! Without: sockets, clocks, and what a client asks for; that is the session's.

pub mod arrivals;
mod bucket;
mod forwarded;
pub mod proxy;
mod readiness;
pub mod request_id;

use std::net::IpAddr;

use ipnet::IpNet;

pub use bucket::Bucket;
pub use forwarded::client_address;
pub use readiness::Readiness;

/// Whether the address is in one of the networks, however it is written (`::ffff:192.0.2.1` is an IPv4 address).
#[must_use]
pub fn is_among(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address.to_canonical()))
}
