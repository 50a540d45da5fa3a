//! Addresses as they are given on the command line.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// `ws://host:port/path` or `wss://host:port/path`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// TLS, whatever certificate is shown.
    pub(crate) secure: bool,
    /// Host and port.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
}

impl Url {
    /// The same server, another path.
    pub(crate) fn with_target(&self, target: impl Into<String>) -> Url {
        Url { target: target.into(), ..self.clone() }
    }

    /// The first address of the host.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        let found = self.authority.to_socket_addrs().map(|mut addresses| addresses.next());
        found?.ok_or_else(|| io::Error::other(format!("{} has no address", self.authority)))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.secure { "wss" } else { "ws" }, self.authority, self.target)
    }
}

impl std::str::FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let (secure, rest) = match (text.strip_prefix("ws://"), text.strip_prefix("wss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(format!("{text:?} does not begin with ws:// or wss://")),
        };
        let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if !authority.contains(':') {
            return Err(format!("{text:?} has no port; write ws://127.0.0.1:8080/ws"));
        }
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{text:?} has characters that a URL cannot hold; write them with percent signs"));
        }
        Ok(Url { secure, authority: authority.to_owned(), target: target.to_owned() })
    }
}
