//! Names of hosts and origins, as requests bear them: what tells a page of ours from another's.

use std::net::IpAddr;

/// A `Host` value's name without its port, lower case; an IPv6 address without its brackets.
#[must_use]
pub fn host_name(host: &str) -> String {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether a `Host` value names this machine: `localhost` or a loopback address, with any port.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let name = host_name(host);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a page of `origin` (`scheme://host[:port]`) has this `Host` value as its own: the same host and port. The scheme
/// is the page's own, as a balancer may have ended TLS.
#[must_use]
pub fn is_same_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |authority: &str| authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase();
    !authority.is_empty() && bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "[::1]", "localhost."] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io:80", "10.0.0.1", "[::2]:80"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn same_origins() {
        for (origin, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("https://feed.example", "Feed.Example:443"),
            ("http://feed.example:80", "feed.example"),
        ] {
            assert!(is_same_origin(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "null"),
            ("", ""),
            ("http://", ""),
            ("http://127.0.0.1:8080", "127.0.0.1:8081"),
            ("http://evil.example", "feed.example"),
            ("file://feed.example", "feed.example"),
            ("http://feed.example:443", "feed.example"),
        ] {
            assert!(!is_same_origin(origin, host), "{origin} {host}");
        }
    }
}
