//! How a server is spoken to: where subscribers and publishers connect, what they say, and what a message means. The plug-in
//! point: another server is another implementation of [`Dialect`] and a name in [`Name`].

use std::io;

use crate::link::Outgoing;
use crate::url::Url;

/// The dialects there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// The server subscribes by the path, and what is published arrives as it is.
    Auto,
}

impl Name {
    pub(crate) fn dialect(self) -> Box<dyn Dialect> {
        match self {
            Name::Auto => Box::new(Auto),
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Name::Auto => "auto",
        }
    }
}

/// One way to speak.
pub(crate) trait Dialect: Send + Sync {
    /// Where a subscriber of these topics connects; `url` as given by the user.
    fn subscriber(&self, url: &Url, topics: &[String]) -> Url;

    /// Where the publisher of these topics connects.
    fn publisher(&self, url: &Url, topics: &[String]) -> Url;

    /// What a client says first; for a publisher no topics. True: it is ready at once. Else a message of the server's makes it
    /// so ([`Heard::Ready`]).
    fn greet(&self, _topics: &[String], _out: &mut Outgoing<'_>) -> bool {
        true
    }

    /// Publishes.
    fn publish(&self, topic: &str, payload: &[u8], out: &mut Outgoing<'_>);

    /// What a message is; `held` is the connection's own, for what a message leaves over.
    fn hear<'m>(
        &self,
        message: &'m [u8],
        held: &'m mut Vec<u8>,
        each: &mut dyn FnMut(Heard<'_>) -> io::Result<()>,
    ) -> io::Result<()>;
}

/// A part of a message.
pub(crate) enum Heard<'m> {
    /// A publication; its topic where it is told.
    Publication { topic: Option<&'m [u8]>, payload: &'m [u8] },
    /// The client holds its subscriptions, or may publish.
    Ready,
}

/// `/ws/TOPIC` and `/publish/TOPIC`; for several topics `/stream?streams=A/B` and `/publish`, to which goes `TOPIC LF payload`.
struct Auto;

impl Dialect for Auto {
    fn subscriber(&self, url: &Url, topics: &[String]) -> Url {
        match topics {
            [_] => url.clone(),
            _ => url.with_target(format!("/stream?streams={}", topics.join("/"))),
        }
    }

    fn publisher(&self, url: &Url, topics: &[String]) -> Url {
        match topics {
            [_] => url.with_target(url.target.replacen("/ws", "/publish", 1)),
            _ => url.with_target("/publish"),
        }
    }

    fn publish(&self, topic: &str, payload: &[u8], out: &mut Outgoing<'_>) {
        let _ = topic;
        out.text(payload);
    }

    fn hear<'m>(
        &self,
        message: &'m [u8],
        _held: &'m mut Vec<u8>,
        each: &mut dyn FnMut(Heard<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        each(Heard::Publication { topic: None, payload: message })
    }
}
