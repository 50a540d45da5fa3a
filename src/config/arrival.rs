//! Settings of how clients come and go: what proxies in front tell, how many may come how fast, how a drain is paced.

use serde::{Deserialize, Serialize};

use super::Network;

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// None does.
    Off,
    /// Those of trusted proxies may.
    Optional,
    /// All do: they come from trusted proxies, and begin with one.
    Required,
}

/// Which field of a request names the client that a proxy speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// How many clients may come how fast. Numbers of the whole process are divided among the shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Arrivals {
    /// Clients a second, in the long run.
    pub per_second: u32,
    /// Clients at once.
    pub burst: u32,
    /// Clients of one address a second, in the long run.
    pub per_address_per_second: u32,
    /// Clients of one address at once.
    pub per_address_burst: u32,
    /// Clients of one address at a time.
    pub per_address_max: u32,
    /// Whom the bounds per address are not for.
    pub exempt: Vec<Network>,
}

/// What a listener's own table says of them.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OwnArrivals {
    per_second: Option<u32>,
    burst: Option<u32>,
    per_address_per_second: Option<u32>,
    per_address_burst: Option<u32>,
    per_address_max: Option<u32>,
    exempt: Option<Vec<Network>>,
}

impl OwnArrivals {
    /// With what `[arrivals]` says where it says nothing.
    pub(super) fn over(self, common: &Arrivals) -> Arrivals {
        Arrivals {
            per_second: self.per_second.unwrap_or(common.per_second),
            burst: self.burst.unwrap_or(common.burst),
            per_address_per_second: self.per_address_per_second.unwrap_or(common.per_address_per_second),
            per_address_burst: self.per_address_burst.unwrap_or(common.per_address_burst),
            per_address_max: self.per_address_max.unwrap_or(common.per_address_max),
            exempt: self.exempt.unwrap_or_else(|| common.exempt.clone()),
        }
    }
}

/// How SIGTERM drains the gateway before it stops.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long clients are still taken while `/health/ready` says 503 already.
    pub delay_ms: u32,
    /// Over how long the clients are closed then; 0: not before the stop, which closes all at once.
    pub window_ms: u32,
}
