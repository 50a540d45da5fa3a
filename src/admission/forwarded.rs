//! Whom proxies in front of us say that they speak for: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! Each proxy writes the address that it saw to the right of what it was sent, so the left part of the list is whatever the
//! client wrote. It is read from the right, for as long as who wrote an element is trusted.
//!
//! Without: any say in who is trusted, or in which of the two fields counts: a proxy that writes the one passes the other on as its
//! client sent it, so the operator names it.

use std::net::{IpAddr, SocketAddr};

use super::{ClientAddress, is_among};
use crate::config::{ForwardedHeader, Network};
use crate::http::Request;

/// The first address from the right that is no trusted proxy's: the client's. `peer`, where the field is not there, or at the
/// first element that names no address (`unknown`, `_hidden`), the proxy that wrote that.
#[must_use]
pub fn client_address(peer: ClientAddress, request: &Request<'_>, field: ForwardedHeader, trusted: &[Network]) -> ClientAddress {
    let mut address = peer;
    let elements: Vec<&[u8]> = match field {
        ForwardedHeader::XForwardedFor => request.headers.list("x-forwarded-for").collect(),
        ForwardedHeader::Forwarded => request.headers.list("forwarded").collect(),
    };
    for element in elements.into_iter().rev() {
        if !is_among(trusted, address) {
            break;
        }
        let node = match field {
            ForwardedHeader::XForwardedFor => Some(element),
            ForwardedHeader::Forwarded => for_parameter(element),
        };
        match node.and_then(node_address) {
            Some(named) => address = named.into(),
            None => break,
        }
    }
    address.to_canonical()
}

/// RFC 7239 4: `forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )`; its names are case-insensitive. No value that
/// names an address holds a comma or a semicolon, so a quoted string that does is cut here, and names none.
fn for_parameter(element: &[u8]) -> Option<&[u8]> {
    let mut pairs = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| {
        let (name, value) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then(|| value.trim_ascii())
    })
}

/// An address, perhaps with a port, in brackets where it is IPv6, perhaps in quotes.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let node = std::str::from_utf8(node).ok()?;
    let node = node.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(node);
    let bare = node.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(node);
    let address = bare.parse::<IpAddr>().ok().or_else(|| node.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeadReader;

    fn found(field: ForwardedHeader, headers: &str) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|network| network.parse().expect("a network"));
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let mut reader = HeadReader::new(8192, 64);
        reader.feed(head.as_bytes()).expect("a head");
        let peer: IpAddr = "10.0.0.1".parse().expect("an address");
        client_address(peer.into(), &reader.request().expect("a request"), field, &trusted).to_string()
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right() {
        let found = |headers: &str| found(ForwardedHeader::XForwardedFor, headers);
        assert_eq!(found(""), "10.0.0.1");
        assert_eq!(found("X-Forwarded-For: 192.0.2.1\r\n"), "192.0.2.1");
        assert_eq!(found("X-Forwarded-For: 198.51.100.9, 192.0.2.1\r\n"), "192.0.2.1", "the left part is the client's own");
        assert_eq!(found("X-Forwarded-For: 192.0.2.1, 10.0.0.2\r\nX-Forwarded-For: 10.9.9.9\r\n"), "192.0.2.1", "of several");
        assert_eq!(found("X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n"), "10.0.0.3", "all of them trusted");
        assert_eq!(found("X-Forwarded-For: 192.0.2.1, 2001:db8:1::5\r\n"), "192.0.2.1");
        assert_eq!(found("X-Forwarded-For: ::ffff:192.0.2.1\r\n"), "192.0.2.1");
        assert_eq!(found("X-Forwarded-For: 192.0.2.1:4711\r\n"), "192.0.2.1");
        assert_eq!(found("X-Forwarded-For: [2001:db8::9]:4711\r\n"), "2001:db8::9");
        assert_eq!(found("X-Forwarded-For: 192.0.2.1, unknown\r\n"), "10.0.0.1", "nothing left of it can be believed");
        assert_eq!(found("X-Forwarded-For: 192.0.2.1, \u{e4}, 10.0.0.2\r\n"), "10.0.0.2");
        assert_eq!(found("Forwarded: for=192.0.2.1\r\n"), "10.0.0.1", "the field that is not configured");
    }

    #[test]
    fn forwarded_likewise() {
        let found = |headers: &str| found(ForwardedHeader::Forwarded, headers);
        assert_eq!(found("Forwarded: for=192.0.2.1\r\n"), "192.0.2.1");
        assert_eq!(found("Forwarded: for=198.51.100.9, For=\"192.0.2.1:47\";proto=https;by=10.0.0.2\r\n"), "192.0.2.1");
        assert_eq!(found("Forwarded: by=10.0.0.2;for=\"[2001:db8::9]:4711\", for=10.0.0.7\r\n"), "2001:db8::9");
        assert_eq!(found("Forwarded: for=\"[2001:db8::9]\"\r\n"), "2001:db8::9");
        assert_eq!(found("Forwarded: for=192.0.2.1, for=_gazonk\r\n"), "10.0.0.1");
        assert_eq!(found("Forwarded: for=192.0.2.1, proto=https\r\n"), "10.0.0.1");
        assert_eq!(found("X-Forwarded-For: 192.0.2.1\r\n"), "10.0.0.1");
    }

    #[test]
    fn whoever_is_not_trusted_speaks_for_itself() {
        let mut reader = HeadReader::new(8192, 64);
        reader.feed(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n").expect("a head");
        let peer = ClientAddress::Ip("203.0.113.7".parse().expect("an address"));
        let request = reader.request().expect("a request");
        assert_eq!(client_address(peer, &request, ForwardedHeader::XForwardedFor, &[]), peer);
    }
}
