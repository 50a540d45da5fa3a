//! Who may ask: the admin port is for this machine, and a browser on this machine acts for every page that it shows.
//!
//! Pure: a head in, an answer out. `Host` stops pages whose name resolves to loopback (DNS rebinding); `Origin` and
//! `Sec-Fetch-Site` stop requests that a foreign page sends without reading the answer.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};

use super::answer::Refused;
use crate::dialect::ErrorCode;

/// Whether a request may go on to its handler. `hosts` are names accepted besides `localhost` and loopback addresses; none: any is.
pub(super) fn check(method: &Method, uri: &Uri, headers: &HeaderMap, hosts: Option<&[String]>) -> Result<(), Refused> {
    // RFC 9112 3.2.2: a server MUST ignore Host when the request names an authority itself.
    let authority = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => only(headers, &header::HOST)?
            .ok_or_else(|| Refused::bad_request(ErrorCode::BadRequest, "the request has no Host header"))?,
    };
    let name = host_name(authority);
    let known = name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback())
        || hosts.is_none_or(|hosts| hosts.iter().any(|host| host.eq_ignore_ascii_case(name)));
    if !known {
        let msg =
            format!("this port does not serve {name:?}; use localhost or a loopback address, or add the name to [admin] hosts");
        return Err(Refused { status: StatusCode::MISDIRECTED_REQUEST, code: ErrorCode::NotAllowed, msg });
    }
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let forbidden = |msg: String| Refused { status: StatusCode::FORBIDDEN, code: ErrorCode::NotAllowed, msg };
    if let Some(origin) = only(headers, &header::ORIGIN)? {
        let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !site.is_some_and(|site| site.eq_ignore_ascii_case(authority)) {
            return Err(forbidden(format!("a page of {origin:?} may not change anything here")));
        }
    }
    match only(headers, &HeaderName::from_static("sec-fetch-site"))? {
        None | Some("same-origin" | "none") => Ok(()),
        Some(site) => Err(forbidden(format!("a {site:?} request of a page may not change anything here"))),
    }
}

/// The value of a header that may stand once; twice, or not ASCII, is a bad request.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Refused> {
    let bad = |what| Refused::bad_request(ErrorCode::BadRequest, format!("the header {name} {what}"));
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad("stands twice"));
    }
    value.to_str().map(Some).map_err(|_| bad("is not ASCII"))
}

/// The host without its port; an IPv6 address keeps its brackets.
fn host_name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_status(method: &str, uri: &str, headers: &[(&str, &str)], status: u16) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let result = check(&method.parse().unwrap(), &uri.parse().unwrap(), &map, Some(&["admin.example".to_owned()]));
        let found = result.map_or_else(|refused| refused.status.as_u16(), |()| 200);
        assert_eq!(found, status, "{method} {uri} {headers:?}");
    }

    #[test]
    fn a_host_is_localhost_a_loopback_address_or_configured() {
        for (host, status) in [
            ("localhost", 200),
            ("LocalHost:8081", 200),
            ("127.0.0.1:8081", 200),
            ("127.8.9.1", 200),
            ("[::1]:8081", 200),
            ("[::1]", 200),
            ("admin.example:1", 200),
            ("evil.example:8081", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("192.168.0.1:8081", 421),
            ("0.0.0.0:8081", 421),
            ("[::2]:8081", 421),
            ("", 421),
        ] {
            check_status("GET", "/metrics", &[("host", host)], status);
        }
        check_status("GET", "/metrics", &[], 400);
        check_status("GET", "/metrics", &[("host", "localhost"), ("host", "localhost")], 400);
        check_status("GET", "http://evil.example/metrics", &[("host", "localhost")], 421);
    }

    #[test]
    fn a_foreign_page_changes_nothing() {
        let host = ("host", "localhost:8081");
        for (origin, status) in [
            ("http://localhost:8081", 200),
            ("https://localhost:8081", 200),
            ("http://localhost", 403),
            ("http://localhost:8080", 403),
            ("https://evil.example", 403),
            ("null", 403),
            ("", 403),
            ("ftp://localhost:8081", 403),
        ] {
            check_status("POST", "/api/publish", &[host, ("origin", origin)], status);
            check_status("DELETE", "/api/publish", &[host, ("origin", origin)], status);
            check_status("GET", "/api/topics", &[host, ("origin", origin)], 200);
        }
        for (site, status) in [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403), ("?", 403)] {
            check_status("POST", "/api/publish", &[host, ("sec-fetch-site", site)], status);
            check_status("HEAD", "/api/topics", &[host, ("sec-fetch-site", site)], 200);
        }
        check_status("POST", "/api/publish", &[host, ("origin", "http://localhost:8081"), ("origin", "http://x")], 400);
    }
}
