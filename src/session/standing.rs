//! What those who watch over the gateway are told of a session.

use super::{Phase, Role, Session};

/// So much of a cause is kept; some of it may be what the client sent.
const CAUSE_BYTES_MAX: usize = 200;

/// What a client is here, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its request is awaited or looked at, or it asks over HTTP.
    Arriving,
    /// It hears topics over a WebSocket.
    Subscriber,
    /// It publishes over a WebSocket.
    Publisher,
    /// It hears topics as server-sent events.
    Events,
    /// It is sent back what it sends.
    Echo,
    /// It is told that it ends, or was.
    Leaving,
}

impl Standing {
    /// Every one.
    pub const ALL: [Standing; 6] =
        [Standing::Arriving, Standing::Subscriber, Standing::Publisher, Standing::Events, Standing::Echo, Standing::Leaving];

    /// As it is told and asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Standing::Arriving => "arriving",
            Standing::Subscriber => "subscriber",
            Standing::Publisher => "publisher",
            Standing::Events => "events",
            Standing::Echo => "echo",
            Standing::Leaving => "leaving",
        }
    }
}

impl Session {
    /// What the client is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match &self.phase {
            Phase::Proxy(_) | Phase::Head(_) | Phase::Entering(_) | Phase::Receiving => Standing::Arriving,
            Phase::Open(open) => match open.role {
                Role::Subscriber { .. } => Standing::Subscriber,
                Role::PublisherOne(_) | Role::PublisherMany => Standing::Publisher,
                Role::Echo => Standing::Echo,
                Role::Sse { .. } => Standing::Events,
            },
            Phase::Closing(_) | Phase::Ending => Standing::Leaving,
        }
    }

    /// Which of its shard's clients it is.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Keeps what names its request for the shard.
    pub(super) fn tell_request_id(&mut self, id: String) {
        self.owed.get_or_insert_default().request_id = Some(id.into());
    }

    /// Keeps for the log why the client is refused or closed: the last word counts.
    pub fn tell_cause(&mut self, cause: &str) {
        let mut length = cause.len().min(CAUSE_BYTES_MAX);
        while !cause.is_char_boundary(length) {
            length -= 1;
        }
        self.owed.get_or_insert_default().cause = Some(cause[..length].into());
    }

    /// Why the client was refused or closed, once.
    pub fn take_cause(&mut self) -> Option<Box<str>> {
        self.owed.as_mut()?.cause.take()
    }

    /// What names the request by which it came, once, where that cannot be made from its number.
    pub fn take_request_id(&mut self) -> Option<Box<str>> {
        self.owed.as_mut()?.request_id.take()
    }
}
