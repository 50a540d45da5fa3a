//! How a server is spoken to: where subscribers and publishers connect, what they say, and what a message means. The plug-in
//! point: another server is another implementation of [`Dialect`] and a name in [`Name`].

mod nats;
mod tidegate;

use std::io;
use std::sync::Arc;

use crate::link::Outgoing;
use crate::url::Url;

/// The dialects there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// The server subscribes by the URL, and what is published arrives as it is
    Auto,
    /// The gateway's own: SUBSCRIBE, combined messages for several topics, a publisher of many topics
    Tidegate,
    /// nchan: /sub/TOPIC and /pub/TOPIC
    Nchan,
    /// NATS over WebSocket: CONNECT, SUB, PUB, MSG
    Nats,
}

impl Name {
    pub(crate) fn dialect(self) -> Arc<dyn Dialect> {
        match self {
            Name::Auto => Arc::new(Auto),
            Name::Tidegate => Arc::new(tidegate::Tidegate),
            Name::Nchan => Arc::new(Nchan),
            Name::Nats => Arc::new(nats::Nats),
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Name::Auto => "auto",
            Name::Tidegate => "tidegate",
            Name::Nchan => "nchan",
            Name::Nats => "nats",
        }
    }
}

/// Who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    /// One that holds these topics.
    Subscriber(&'t [String]),
    /// The one that publishes these topics.
    Publisher(&'t [String]),
}

/// One way to speak.
pub(crate) trait Dialect: Send + Sync {
    /// Where a client connects; `url` as the user gave it.
    ///
    /// # Errors
    /// A sentence, where that cannot be said in this dialect.
    fn url(&self, url: &Url, part: Part<'_>) -> io::Result<Url>;

    /// What a client says first. True: it is ready at once. Else a message of the server's makes it so ([`Heard::Ready`]).
    fn greet(&self, _part: Part<'_>, _out: &mut Outgoing<'_>) -> bool {
        true
    }

    /// Publishes. `is_only`: there is no other topic.
    fn publish(&self, topic: &str, is_only: bool, payload: &[u8], out: &mut Outgoing<'_>);

    /// Whether a message means the same on every connection that is at such a point, as `held` tells it: the server has let it in,
    /// and nothing is left over of a message before.
    fn is_between(&self, held: &[u8]) -> bool {
        held.is_empty()
    }

    /// What a message is, part by part; `held` is the connection's own, for what a message leaves over. Unless the dialect says
    /// otherwise it is a publication as it was published.
    ///
    /// # Errors
    /// What `each` gives, or a sentence on what the server says is wrong.
    fn hear(
        &self,
        message: &[u8],
        _held: &mut Vec<u8>,
        _out: &mut Outgoing<'_>,
        each: &mut dyn FnMut(Heard<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        each(Heard::Publication { topic: None, payload: message })
    }
}

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard<'m> {
    /// A publication; with its topic where that is told.
    Publication {
        /// By name.
        topic: Option<&'m [u8]>,
        /// As it was published.
        payload: &'m [u8],
    },
    /// The client holds its subscriptions, or may publish.
    Ready,
}

/// The URL as it is for one topic, with /publish in the place of /ws for the publisher; for several topics
/// `/stream?streams=A/B`, and `/publish`, to which goes `TOPIC LF payload`.
struct Auto;

impl Dialect for Auto {
    fn url(&self, url: &Url, part: Part<'_>) -> io::Result<Url> {
        Ok(match part {
            Part::Subscriber([_]) if !url.target.starts_with("/stream") => url.clone(),
            Part::Subscriber(topics) => url.with_target(format!("/stream?streams={}", topics.join("/"))),
            Part::Publisher([_]) => url.with_target(url.target.replacen("/ws", "/publish", 1)),
            Part::Publisher(_) => url.with_target("/publish"),
        })
    }

    fn publish(&self, topic: &str, is_only: bool, payload: &[u8], out: &mut Outgoing<'_>) {
        if is_only {
            out.text(payload);
        } else {
            out.text(&[topic.as_bytes(), b"\n", payload].concat());
        }
    }
}

/// nchan as its documentation has it: a channel is a location, for a publisher too.
struct Nchan;

impl Dialect for Nchan {
    fn url(&self, url: &Url, part: Part<'_>) -> io::Result<Url> {
        match part {
            Part::Subscriber([topic]) => Ok(url.with_target(format!("/sub/{topic}"))),
            Part::Publisher([topic]) => Ok(url.with_target(format!("/pub/{topic}"))),
            _ => Err(io::Error::other("in the dialect nchan a connection has one channel: leave --topics at 1")),
        }
    }

    fn publish(&self, _topic: &str, _is_only: bool, payload: &[u8], out: &mut Outgoing<'_>) {
        out.text(payload);
    }
}
