//! Who may enter: by where a client comes from (addresses that proxies tell, how many clients may come from one), and by what its token
//! says.
//!
//! Without: sockets, clocks, and what a client asks for; that is the session's.

pub mod arrivals;
mod bucket;
mod callout;
mod forwarded;
mod grants;
mod jwks;
mod key;
pub mod proxy;
mod readiness;
pub mod request_id;
mod revoked;
mod token;

use std::fmt;
use std::net::IpAddr;

use crate::config::Network;

pub use bucket::Bucket;
pub use callout::{Granted, Question, Verdict};
pub use forwarded::client_address;
pub use grants::Grants;
pub use jwks::{KeySet, KeySetError};
pub use key::{Key, KeyError, Keys};
pub use readiness::Readiness;
pub use revoked::{Revocation, RevocationsMax, Revoked};
pub use token::{Fault, Holder, OwnLimits, Refused, Tokens};

/// Where a client comes from: its connection's other end, or whom a trusted proxy speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// An address.
    Ip(IpAddr),
    /// A Unix socket of this machine, whose other end has none.
    Unix,
}

impl ClientAddress {
    /// The same, however it was written (`::ffff:192.0.2.1` is an IPv4 address).
    #[must_use]
    pub fn to_canonical(self) -> ClientAddress {
        match self {
            ClientAddress::Ip(address) => ClientAddress::Ip(address.to_canonical()),
            ClientAddress::Unix => ClientAddress::Unix,
        }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> ClientAddress {
        ClientAddress::Ip(address)
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAddress::Ip(address) => address.fmt(f),
            ClientAddress::Unix => Network::Unix.fmt(f),
        }
    }
}

/// Whether the address is in one of the networks, however it is written.
#[must_use]
pub fn is_among(networks: &[Network], address: ClientAddress) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| match (network, &address) {
        (Network::Ip(network), ClientAddress::Ip(address)) => network.contains(address),
        (Network::Unix, ClientAddress::Unix) => true,
        _ => false,
    })
}
