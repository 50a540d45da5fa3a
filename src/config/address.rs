//! Where clients connect, and where they come from: addresses of the internet, and sockets of this machine (`unix:/path`).

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// Longest path that a Unix socket can have (`sun_path` of unix(7), which ends with a zero).
const PATH_BYTES_MAX: usize = 107;

/// Where a listener listens. Displays as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address and a port; port 0 lets the kernel choose.
    Ip(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Address and port; none: a Unix socket.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// The path of a Unix socket; none: an address.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Address::Ip(_) => None,
            Address::Unix(path) => Some(path),
        }
    }

    /// Whether it is one of the loopback addresses, which browsers of this machine reach.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.ip().is_some_and(|address| address.ip().to_canonical().is_loopback())
    }

    /// Whether other machines reach it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.ip().is_some() && !self.is_loopback()
    }

    /// Whether two listeners cannot both have it.
    #[must_use]
    pub fn excludes(&self, other: &Address) -> bool {
        self == other && self.ip().is_none_or(|address| address.port() != 0)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// What is wrong is said in a few words.
    fn from_str(text: &str) -> Result<Address, String> {
        let Some(path) = text.strip_prefix(UNIX) else {
            super::forms::address(text)?;
            return Ok(Address::Ip(text.parse().map_err(|error| format!("{error}"))?));
        };
        if !path.starts_with('/') || path.ends_with('/') {
            return Err("after `unix:` stands the absolute path of a socket, like unix:/run/tidegate/clients.sock".into());
        }
        if path.contains('\0') {
            return Err("its path holds a zero, which no path can".into());
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(format!("its path has {} bytes, and the kernel takes {PATH_BYTES_MAX} for a socket", path.len()));
        }
        Ok(Address::Unix(path.into()))
    }
}

/// Who may use the file of a Unix socket, as `chmod` has it: whoever may write it may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl SocketMode {
    /// Whether every user of this machine may connect.
    #[must_use]
    pub fn is_everyones(self) -> bool {
        self.0 & 0o002 != 0
    }
}

impl Default for SocketMode {
    fn default() -> SocketMode {
        SocketMode(0o660)
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl FromStr for SocketMode {
    type Err = String;

    fn from_str(text: &str) -> Result<SocketMode, String> {
        let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && mode & !0o777 == 0);
        mode.map(SocketMode).ok_or_else(|| "it is no mode of three octal digits, like 0660".into())
    }
}

/// Where clients or proxies come from. Displays as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A network of addresses, or a single one as the network of itself.
    Ip(IpNet),
    /// Unix sockets, whose other end has no address.
    Unix,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Ip(network) => network.fmt(f),
            Network::Unix => f.write_str("unix"),
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// What is wrong is said in a few words.
    fn from_str(text: &str) -> Result<Network, String> {
        if text == "unix" {
            return Ok(Network::Unix);
        }
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            return Ok(Network::Ip(address.to_canonical().into()));
        }
        let network: IpNet = text.parse().map_err(|_| "it is neither an IP address nor a network, nor `unix`".to_owned())?;
        if network.trunc() != network {
            return Err(format!("it has bits beyond its prefix; {} is the whole network", network.trunc()));
        }
        Ok(Network::Ip(network))
    }
}

/// In the file and where it is printed they are text, as `Display` writes it and `FromStr` reads it.
macro_rules! text {
    ($($kind:ty),+) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$kind, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

text!(Address, SocketMode, Network);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written_and_nothing_else_is() {
        for text in ["127.0.0.1:0", "[::1]:8080", "unix:/run/tidegate/clients.sock"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.into()));
        }
        let long = format!("unix:/{}", "x".repeat(PATH_BYTES_MAX));
        for (text, part) in [
            ("unix:", "absolute path"),
            ("unix:run/a", "absolute path"),
            ("unix:/run/", "absolute path"),
            ("unix:@abstract", "absolute path"),
            ("unix:/a\0b", "a zero"),
            (&long, "has 108 bytes"),
            ("/run/a", "no port"),
        ] {
            let said = text.parse::<Address>().expect_err(text);
            assert!(said.contains(part), "{text:?}: {said}");
        }
    }

    #[test]
    fn only_addresses_are_reached_by_other_machines_or_by_browsers() {
        let is = |text: &str| {
            let address: Address = text.parse().expect(text);
            (address.is_loopback(), address.is_public())
        };
        assert_eq!(
            ["127.0.0.9:1", "0.0.0.0:1", "[::ffff:127.0.0.1]:1", "unix:/a"].map(is),
            [(true, false), (false, true), (true, false), (false, false)]
        );
    }

    #[test]
    fn a_mode_is_octal() {
        assert_eq!(
            ["0660", "660", "0777"].map(|text| text.parse::<SocketMode>().map(|mode| mode.0)),
            [Ok(0o660), Ok(0o660), Ok(0o777)]
        );
        for text in ["", "66", "0680", "+660", "1777", "00660", "rw-rw----"] {
            assert!(text.parse::<SocketMode>().is_err(), "{text}");
        }
        assert_eq!(SocketMode::default().to_string(), "0660");
    }

    #[test]
    fn networks_have_no_bits_beyond_their_prefix() {
        for text in ["10.0.0.0/8", "192.0.2.1/32", "unix"] {
            assert_eq!(text.parse::<Network>().map(|network| network.to_string()), Ok(text.into()));
        }
        for (text, part) in [("10.0.0.1/8", "10.0.0.0/8 is the whole"), ("unix:/a", "neither"), ("localhost", "neither")] {
            let said = text.parse::<Network>().expect_err(text);
            assert!(said.contains(part), "{text:?}: {said}");
        }
    }
}
