//! The address of a gateway as its clients write it: `ws://host[:port][/prefix]`, or `wss://` with TLS.

use std::fmt;
use std::path::PathBuf;

use super::say;
use super::token::TokenSource;
use crate::config::WebSocketUrl;
use crate::http;

/// Where a gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host and port as they stand in the URL, for the `Host` field.
    pub(super) host: String,
    /// Host and port to connect to.
    pub(super) address: String,
    /// Path before `/stream` and `/publish`, as behind some proxies; empty or beginning with `/`.
    prefix: String,
    secure: bool,
    /// Authorities that are trusted besides the machine's own.
    pub(super) authority: Option<PathBuf>,
    /// What is shown to it.
    pub(super) token: TokenSource,
}

impl Endpoint {
    /// Where demo mode listens.
    pub(super) const DEFAULT: &str = "ws://127.0.0.1:8080";

    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub(super) fn parse(url: &str) -> Result<Endpoint, String> {
        let WebSocketUrl { secure, host, address, target } = WebSocketUrl::parse(url)?;
        if target.contains('?') {
            return Err("a URL here is only the gateway's address; streams are arguments of their own".into());
        }
        let prefix = target.trim_end_matches('/').to_owned();
        Ok(Endpoint { host, address, prefix, secure, authority: None, token: TokenSource::None })
    }

    /// Whether TLS is spoken.
    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether what is sent stays on this machine, or is sealed.
    pub(super) fn is_private(&self) -> bool {
        self.secure || http::is_loopback_host(&self.host)
    }

    /// Says it where a token goes to another machine without TLS.
    pub(super) fn warn_of_listeners(&self) {
        if self.token.is_some() && !self.is_private() {
            say(&format!("the token goes to {self} without TLS: whoever is on the way can read it and use it; wss:// seals it"));
        }
    }

    /// The host without its port, as a certificate names it.
    pub(super) fn name(&self) -> &str {
        self.address.rsplit_once(':').map_or(self.address.as_str(), |(name, _)| name)
    }

    /// The target of a request to `path`.
    pub(super) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.host, self.prefix)
    }
}

/// Percent-encodes what stands in a path or a list of streams. What a topic's name commonly has stays readable.
pub(super) fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@:;=,*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, host, address, target) in [
            (Endpoint::DEFAULT, "127.0.0.1:8080", "127.0.0.1:8080", "/stream"),
            ("WS://localhost", "localhost", "localhost:80", "/stream"),
            ("ws://[::1]:9/", "[::1]:9", "[::1]:9", "/stream"),
            ("ws://[::1]", "[::1]", "[::1]:80", "/stream"),
            ("wss://a.example/md", "a.example", "a.example:443", "/md/stream"),
            ("ws://a.example:81/feeds/md/", "a.example:81", "a.example:81", "/feeds/md/stream"),
        ] {
            let endpoint = Endpoint::parse(url).expect(url);
            assert_eq!((endpoint.host.as_str(), endpoint.address.as_str()), (host, address), "{url}");
            assert_eq!(endpoint.target("/stream"), target, "{url}");
        }
    }

    #[test]
    fn others_may_listen_on_the_way_where_there_is_no_tls() {
        for (url, private) in [
            (Endpoint::DEFAULT, true),
            ("ws://localhost", true),
            ("ws://[::1]:9", true),
            ("wss://a.example", true),
            ("ws://a.example", false),
            ("ws://10.0.0.1:8080", false),
        ] {
            assert_eq!(Endpoint::parse(url).expect(url).is_private(), private, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_gateway_is_told() {
        for (url, part) in [
            ("127.0.0.1:8080", "begins with ws://"),
            ("http://a", "begins with ws://"),
            ("ws://a?x=1", "streams are arguments"),
            ("ws://", "no host"),
            ("ws://:80", "no host"),
            ("ws://a:b", "port"),
            ("ws://a:70000", "port"),
            ("ws://u@a", "character"),
            ("ws://a/ b", "character"),
        ] {
            let reason = Endpoint::parse(url).expect_err(url);
            assert!(reason.contains(part), "{url}: {reason}");
        }
    }

    #[test]
    fn streams_are_encoded() {
        for (text, encoded) in
            [("btcusdt@depth@0ms", "btcusdt@depth@0ms"), ("a.>", "a.%3E"), ("a+b;last", "a%2Bb;last"), ("é/", "%C3%A9%2F")]
        {
            let mut out = String::new();
            push_encoded(&mut out, text);
            assert_eq!(out, encoded);
        }
    }
}
