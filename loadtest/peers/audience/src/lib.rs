//! What the peers in Rust share, so that their programs differ in the library that they show and in nothing else: what a
//! path asks for, who hears which topic, and the loop of a connection that is a `Stream` and a `Sink` of messages.
//!
//! Without: any WebSocket. A message is handed on as it came, never copied; what a library offers for it (a shared
//! payload, a batch before a flush) is used.
//!
//! Whoever connects to `/ws/TOPIC` hears that topic, to `/stream?streams=A/B` those; every message from `/publish/TOPIC`
//! goes to all who hear it, from `/publish` a message is the topic, a line feed and the payload; `/echo` sends back.

mod connection;
mod topics;

pub use connection::{Library, serve};
pub use topics::{Audience, Topics};

use std::net::SocketAddr;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages that a subscriber takes from its queue before it flushes them, at most.
pub const BATCH_MESSAGES_MAX: usize = 512;

/// What a client came for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Echo,
    /// To a topic, or each message to the topic that it names.
    Publish(Option<String>),
    Subscribe(Vec<String>),
}

impl Role {
    /// By the path of the request, with its query.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if path == "/echo" {
            return Self::Echo;
        }
        if let Some(topic) = path.strip_prefix("/publish") {
            return Self::Publish(topic.strip_prefix('/').filter(|topic| !topic.is_empty()).map(String::from));
        }
        let streams = query.split('&').find_map(|pair| pair.strip_prefix("streams="));
        let names = streams.unwrap_or_else(|| path.trim_start_matches("/ws").trim_start_matches('/'));
        Self::Subscribe(names.split('/').filter(|name| !name.is_empty()).map(String::from).collect())
    }
}

/// Where to listen: the program's last argument, `ADDRESS:PORT`.
#[must_use]
pub fn address() -> SocketAddr {
    let given = std::env::args().next_back().filter(|argument| argument.contains(':'));
    given.as_deref().unwrap_or("127.0.0.1:9100").parse().unwrap_or_else(|_| {
        eprintln!("The last argument is where to listen, ADDRESS:PORT, e.g. 127.0.0.1:9100");
        std::process::exit(2)
    })
}

/// Says where clients connect, in the words that scripts/compare waits for.
pub fn tell(address: SocketAddr) {
    println!("clients  ws://{address}");
}

/// Splits `topic LF payload` into the topic and where the payload begins.
#[must_use]
pub fn addressed(message: &[u8]) -> Option<(&str, usize)> {
    let end = message.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&message[..end]).ok()?, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_a_client_came_for() {
        assert_eq!(Role::of("/echo"), Role::Echo);
        assert_eq!(Role::of("/publish"), Role::Publish(None));
        assert_eq!(Role::of("/publish/a.b"), Role::Publish(Some("a.b".into())));
        assert_eq!(Role::of("/ws/a.b"), Role::Subscribe(vec!["a.b".into()]));
        assert_eq!(Role::of("/stream?combined=1&streams=a/b"), Role::Subscribe(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn a_message_names_its_topic_before_a_line_feed() {
        assert_eq!(addressed(b"a\n\nb"), Some(("a", 2)));
        assert_eq!(addressed(b"no topic"), None);
    }
}
