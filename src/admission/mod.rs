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

use std::net::IpAddr;

use ipnet::IpNet;

pub use bucket::Bucket;
pub use callout::{Granted, Question, Verdict};
pub use forwarded::client_address;
pub use grants::Grants;
pub use jwks::{KeySet, KeySetError};
pub use key::{Key, KeyError, Keys};
pub use readiness::Readiness;
pub use revoked::{Revocation, RevocationsMax, Revoked};
pub use token::{Fault, Holder, OwnLimits, Refused, Tokens};

/// Whether the address is in one of the networks, however it is written (`::ffff:192.0.2.1` is an IPv4 address).
#[must_use]
pub fn is_among(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address.to_canonical()))
}
