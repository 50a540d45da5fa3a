//! Settings of a feed that comes from another server, and how its addresses are written.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A feed that another server gives over WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Upstream {
    /// Where it is; several give the same feed, and each message is taken once.
    pub urls: Vec<WebSocketUrl>,
    /// Authorities that are trusted besides the machine's own, PEM.
    pub ca: Option<PathBuf>,
    /// Texts sent when a connection is open, in order.
    pub subscribe: Vec<String>,
    /// Topic template of JSON pointers, as a replay's.
    pub topic: String,
    /// JSON pointer to the payload; none: the whole message.
    pub payload: Option<String>,
    /// JSON pointer to the key; none: publications have no key of the feed's.
    pub key: Option<String>,
    /// The topic of binary messages; none: that of the template, where it has no pointers.
    pub binary_topic: Option<String>,
    /// How messages are numbered; the first that fits a message holds.
    pub sequences: Vec<Sequence>,
    /// Without a byte for so long, not even a pong: the connection is ended.
    pub silent_timeout_ms: u32,
    /// For name, connection, TLS and handshake together.
    pub connect_timeout_ms: u32,
    /// Longest first wait before connecting again.
    pub backoff_min_ms: u32,
    /// Longest wait before connecting again.
    pub backoff_max_ms: u32,
    /// With several addresses: how long a message waits for one that is missing before it.
    pub arbitration_wait_ms: u32,
    /// What waits so, at most.
    pub arbitration_bytes_max: u32,
    /// Topics that the feed may make.
    pub topics_max: u32,
}

impl Upstream {
    /// Most addresses of one feed.
    pub const URLS_MAX: usize = 8;
}

/// How the messages of some topics are numbered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sequence {
    /// Which topics: a name or a pattern.
    pub topics: String,
    /// JSON pointer to the number. A message without it is not numbered so.
    pub number: String,
    /// JSON pointer to the number of the message before; with [`SequenceRule::Chain`] only.
    pub previous: Option<String>,
    /// What the next number is.
    pub rule: SequenceRule,
    /// A number that is lower by more than this is a new beginning of the feed, not a repeat.
    pub window: u64,
}

/// What follows a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequenceRule {
    /// The next one.
    PlusOne,
    /// Any higher one; each message names the one before it.
    Chain,
    /// Any higher one.
    Rising,
}

/// `ws://host[:port][/path][?query]`, or `wss://` with TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebSocketUrl {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// Host, and port where the URL has one: as for the `Host` field.
    pub host: String,
    /// Host and port to connect to.
    pub address: String,
    /// Path and query, beginning with `/`.
    pub target: String,
}

impl WebSocketUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn parse(url: &str) -> Result<WebSocketUrl, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("a URL begins with ws:// or wss://".into());
        };
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            _ => return Err("a URL begins with ws:// or wss://".into()),
        };
        let (host, target) = rest.find(['/', '?', '#']).map_or((rest, ""), |end| rest.split_at(end));
        if host.contains('@') || target.contains('#') || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it holds a character that no address of a WebSocket has".into());
        }
        let with_port = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let (name, port) = with_port.unwrap_or((host, if secure { "443" } else { "80" }));
        if name.is_empty() {
            return Err("it names no host".into());
        }
        if port.parse::<u16>().is_err() {
            return Err(format!("its port {port:?} is not a number up to 65535"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(WebSocketUrl { secure, host: host.into(), address: format!("{name}:{port}"), target })
    }

    /// The host without its port, as a certificate names it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.address.rsplit_once(':').map_or(self.address.as_str(), |(name, _)| name)
    }
}

/// Without path and query: those may bear what a log should not.
impl fmt::Display for WebSocketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "wss" } else { "ws" }, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, host, address, target, secure) in [
            ("ws://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080", "/", false),
            ("WSS://a.example/stream?streams=a@trade/b", "a.example", "a.example:443", "/stream?streams=a@trade/b", true),
            ("ws://[::1]?x=1", "[::1]", "[::1]:80", "/?x=1", false),
            ("ws://[::1]:9/ws", "[::1]:9", "[::1]:9", "/ws", false),
        ] {
            let read = WebSocketUrl::parse(url).expect(url);
            assert_eq!(
                (read.host.as_str(), read.address.as_str(), read.target.as_str(), read.secure),
                (host, address, target, secure)
            );
        }
        assert_eq!(WebSocketUrl::parse("wss://a.example:1/x?token=y").expect("a URL").to_string(), "wss://a.example:1");
    }

    #[test]
    fn what_is_none_is_told() {
        for (url, part) in [
            ("a:80", "begins with ws://"),
            ("https://a", "begins with ws://"),
            ("ws://", "no host"),
            ("ws://a:b", "port"),
            ("ws://u@a/", "character"),
            ("ws://a/#x", "character"),
            ("ws://a/ b", "character"),
        ] {
            let reason = WebSocketUrl::parse(url).expect_err(url);
            assert!(reason.contains(part), "{url}: {reason}");
        }
    }
}
