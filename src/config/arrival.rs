//! Settings of how clients come and go: what proxies in front tell, how many may come how fast, how a drain is paced.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

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
    /// Addresses that the bounds per address are not for.
    #[serde(deserialize_with = "networks")]
    pub exempt: Vec<IpNet>,
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

/// A network, or a single address as the network of itself.
///
/// # Errors
/// What is wrong with it, in a few words.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network: IpNet = text.parse().map_err(|_| "it is neither an IP address nor a network".to_owned())?;
    if network.trunc() != network {
        return Err(format!("it has bits beyond its prefix; {} is the whole network", network.trunc()));
    }
    Ok(network)
}

/// Networks as the file has them, checked before.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| network(text).map_err(serde::de::Error::custom)).collect()
}
