//! Settings of where clients connect.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Address, Arrivals, ForwardedHeader, Network, ProxyProtocol, SocketMode};

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// An address and port, or a Unix socket.
    pub address: Address,
    /// Who may connect to a Unix socket.
    pub mode: SocketMode,
    /// `Host` values accepted besides `localhost` and loopback addresses when `address` is loopback (421 else). Without port.
    pub hosts: Vec<String>,
    /// Origins accepted besides the same host: `scheme://host[:port]`, exact.
    pub origins: Vec<String>,
    /// Grants permessage-deflate to clients that offer it.
    pub permessage_deflate: bool,
    /// Proxies whose word on whom they speak for is taken.
    pub trusted_proxies: Vec<Network>,
    /// Whether they say it before the client's own bytes.
    pub proxy_protocol: ProxyProtocol,
    /// Where they say it in a request.
    pub forwarded_header: ForwardedHeader,
    /// What stands before every path, as `/md`; empty: nothing.
    pub path_prefix: String,
    /// How long a connection may last, where that is other than `limits.connection_age_max_s`; 0: for ever.
    pub connection_age_max_s: Option<u32>,
    /// How many of its clients may come how fast, where they are counted by themselves; none: with all others.
    pub arrivals: Option<Arrivals>,
    /// TLS over it; none: plain.
    pub tls: Option<ListenerTls>,
}

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerTls {
    /// For clients that name no host, or one that no other certificate has; also for those that name its hosts.
    pub certificate: CertificateFiles,
    /// Further ones, chosen by the host that a client names.
    pub sni: Vec<CertificateFiles>,
    /// Authorities of clients' certificates, PEM; none: clients are not asked for any.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show one.
    pub client_certificates: ClientCertificates,
}

/// Where a certificate is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateFiles {
    /// The chain, PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Who shows none is refused.
    Required,
    /// Who shows none is let in.
    Optional,
}

/// What carries a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerKind {
    /// An address and a port.
    Tcp,
    /// A Unix socket.
    Unix,
}

impl Listener {
    /// What carries it, as its address says.
    #[must_use]
    pub fn kind(&self) -> ListenerKind {
        match self.address {
            Address::Ip(_) => ListenerKind::Tcp,
            Address::Unix(_) => ListenerKind::Unix,
        }
    }
}
