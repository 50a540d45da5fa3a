//! One client's life, from its first byte to its close: head, handshake, frames, messages, and what is owed to it.
//!
//! Bytes go in, an [`Effect`] comes out where the shard has to act; what the session can answer by itself (a ping, a
//! refusal, the page) it puts among the owed bytes. Without: sockets, clocks, topics' rings. Publications never pass
//! through here; they go from the ring to the socket.
//!
//! Invariants:
//! - after an effect the session takes no further input until the shard has answered it, so requests are answered in the
//!   order they came;
//! - owed bytes are whole frames (or events), or a whole HTTP answer, but for the front one, which may be partly sent;
//! - once it is [`Session::is_ending`], input is thrown away and nothing more is owed than what stands there;
//! - an idle open session holds no heap memory, but a publisher's topic and count, what a token says of its bearer, and contexts that
//!   are taken over.

mod acks;
mod arrival;
mod bearer;
mod ending;
mod entrance;
mod jitter;
mod messages;
mod permission;
mod pongs;
mod refusal;
mod renewal;
mod rights;
mod rules;
mod sse;
mod standing;
#[cfg(test)]
mod tests;
mod upgrade;

pub use arrival::{Arrival, Introduction};
pub use ending::Expiry;
pub use jitter::jitter;
pub use rights::Denied;
pub use rules::{ListenerRules, Moment, Rules};
pub use standing::Standing;

use crate::admission::{Bucket, ClientAddress, Question};
use crate::dialect::ClientError;
use crate::dialect::stream::reply::{self, Subscribed};
use crate::dialect::stream::{Lasting, RequestId, Stream, event, sse as stream_sse};
use crate::http::HeadReader;
use crate::hub::{Encoding, NewPublication, Position, Subject, TopicName};
use crate::metrics::{CloseClass, RefusalReason};
use crate::ws::deflate::{Agreement, Compressor};
use crate::ws::{Assembler, CloseCode, Connection, frame};

/// What the shard has to do for a client; the answer is one of the session's methods.
#[derive(Debug)]
pub enum Effect {
    /// A request's head is whole, on a listener with trusted proxies: whose is it, and may one more of that address come?
    /// [`Session::address_asked`], then [`Session::turn_away`] or [`Session::proceed`].
    Asked,
    /// What the client may do is the operator's endpoint to say, of a request or of AUTH: [`Session::called_out`].
    Callout(Box<Question>),
    /// The handshake is valid: subscribe to these, then [`Session::admit`] or [`Session::refuse`].
    Admit {
        /// In the order asked for.
        streams: Vec<Stream>,
    },
    /// `GET /topics`: [`Session::answer_topics`].
    Topics,
    /// A request of a subscriber that the session cannot answer by itself: one of the replies.
    Request {
        /// To be given back.
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// A publication.
    Publish {
        /// How it is told what became of it.
        answer: Answer,
        /// What is published.
        publication: NewPublication,
    },
}

/// How a client hears what became of its publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It came as a request: [`Session::published`] or [`Session::failed`].
    Reply(RequestId),
    /// It came from a publisher whose messages are counted, as the message of this number: [`Session::taken`], or
    /// [`Session::refused`] and [`Session::close`].
    Count(u64),
    /// It came from any other publisher: only if it is refused, by [`Session::close`].
    None,
}

/// What a subscriber asks of the shard.
#[derive(Debug)]
pub enum Request {
    /// [`Session::subscribed`].
    Subscribe(Vec<Stream>),
    /// [`Session::done`].
    Unsubscribe(Vec<Subject>),
    /// [`Session::listed`].
    List,
    /// [`Session::positions`].
    Positions(Option<Vec<TopicName>>),
    /// [`Session::set_combined`], and the encoding of its subscriptions.
    SetCombined(bool),
    /// [`Session::set_events`], the encoding of its subscriptions, and what it may be told from now on.
    SetEvents(bool),
    /// Its rights are another token's now: [`Session::done`], and what they do not cover of its subscriptions ends.
    Renewed,
    /// [`Session::set_heartbeat`], where it has not too many topics.
    SetHeartbeat(bool),
}

/// One client's state.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    /// None where nothing is owed, nor will be for what came.
    owed: Option<Box<Owed>>,
    listener: u16,
    from_loopback: bool,
    /// It may publish, on the topics that the rules allow.
    publishes: bool,
    ping: Ping,
    /// The request in hand is HEAD: its answer has no body.
    bodiless: bool,
    /// How many errors came in a row.
    errors_in_a_row: u16,
    /// Which of its shard's clients it is.
    number: u32,
    bucket: Bucket,
    /// When what is now under way began: the handshake, the ping, the close; of an open connection without a ping the quiet,
    /// with its last byte.
    began_us: u64,
    /// How it ended or is ending, for the counters.
    close_class: Option<CloseClass>,
    /// Whole messages that came and are not yet counted.
    messages_in: u32,
    /// Replies, events and echoes that were made and are not yet counted.
    messages_out: u32,
    /// The refusal to be counted.
    refusal: Option<RefusalReason>,
}

/// What is known of our latest ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    /// None is out, or something came since.
    None,
    /// It is out. The moment under way is the latest look whether its bytes were acknowledged.
    Out,
    /// The kernel was asked, at that moment, whether they were.
    Asked,
    /// They were, at that moment.
    Acknowledged,
}

/// What is to be sent to a client besides publications; and what few clients have, so that the others do not pay for it.
#[derive(Debug, Default)]
struct Owed {
    bytes: Vec<u8>,
    /// Bytes of the front that are sent already.
    sent: u32,
    /// The newest pong that could not be owed at once.
    pong: Option<Box<pongs::LatePong>>,
    /// Of a publisher that is to be told: what it still has to hear of its messages.
    acks: Option<Box<acks::Acks>>,
    /// Who it is, and what it was denied.
    rights: Option<Box<rights::Rights>>,
    /// What names its request, until the shard has taken it.
    request_id: Option<Box<str>>,
    /// Why it is refused or closed, for the log, until the shard has taken it.
    cause: Option<Box<str>>,
}

#[derive(Debug)]
enum Phase {
    /// A trusted proxy is to say whom it speaks for.
    Proxy(arrival::ProxyReader),
    /// A request's head is awaited.
    Head(Box<Awaited>),
    /// The shard has an [`Effect::Admit`] or [`Effect::Topics`] in hand.
    Entering(Box<entrance::Entering>),
    /// WebSocket frames go both ways, or events one way.
    Open(Open),
    /// As the phase before, while its parts are lent to who moves it on.
    Receiving,
    /// A publisher's last messages are on their way, and its close frame comes behind their count. What comes is thrown away.
    Closing(Box<acks::Closing>),
    /// Ours is said; what comes is thrown away until the peer ends too.
    Ending,
}

/// A request's head that is not whole, or not yet answered.
#[derive(Debug)]
struct Awaited {
    reader: HeadReader,
    /// An earlier one on this connection was answered.
    served: bool,
    /// Who sends it: for himself or, where that is a trusted proxy, for somebody else each time.
    peer: ClientAddress,
}

/// An open connection.
#[derive(Debug)]
struct Open {
    role: Role,
    /// permessage-deflate, where that was agreed.
    deflate: Option<Agreement>,
    /// None between two messages.
    unfinished: Option<Box<Unfinished>>,
}

/// What earlier input left behind for the input to come: a message that is not whole yet, contexts that are taken over.
#[derive(Debug)]
struct Unfinished {
    connection: Connection,
    assembler: Assembler,
    /// When the first byte of the message came that is not whole yet.
    began_us: u64,
    /// Of `/echo`, from its first message on, where its context is taken over.
    compressor: Option<Box<Compressor>>,
}

/// What a connection is for, by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// `/ws`, `/stream`.
    Subscriber { combined: bool, events: bool, heartbeat: bool },
    /// `/publish/<topic>`.
    PublisherOne(Box<TopicName>),
    /// `/publish`.
    PublisherMany,
    /// `/echo`.
    Echo,
    /// `/sse`, of one topic or of several.
    Sse { one: bool },
}

// A gateway holds a quarter of a million of them idle.
const _: () = assert!(size_of::<Session>() <= 80);

impl Session {
    fn of(phase: Phase, rules: &Rules, listener: u16, number: u32, now_us: u64) -> Session {
        Session {
            phase,
            owed: None,
            listener,
            number,
            from_loopback: false,
            publishes: false,
            ping: Ping::None,
            bodiless: false,
            errors_in_a_row: 0,
            bucket: Bucket::new(rules.limits.requests_burst, now_us),
            began_us: now_us,
            close_class: None,
            messages_in: 0,
            messages_out: 0,
            refusal: None,
        }
    }

    /// Takes input, as far as it can: to the input's end, to the first effect, or until it [is
    /// congested](Session::is_congested). Bytes are unmasked in place.
    pub fn receive(&mut self, input: &mut &mut [u8], rules: &Rules, moment: Moment) -> Option<Effect> {
        if !input.is_empty() && self.is_open() {
            self.began_us = moment.now_us;
            self.ping = Ping::None;
        }
        while !input.is_empty() {
            let effect = match self.phase {
                Phase::Head(_) => self.receive_head(input, rules, moment),
                // It has asked, and has no more to say.
                Phase::Open(Open { role: Role::Sse { .. }, .. }) => {
                    *input = &mut [];
                    None
                }
                Phase::Open(_) => self.receive_frames(input, rules, moment),
                Phase::Proxy(_) | Phase::Entering(_) | Phase::Receiving => {
                    unreachable!("the shard holds input back until it has answered")
                }
                Phase::Closing(_) | Phase::Ending => {
                    *input = &mut [];
                    None
                }
            };
            // Requests in one buffer may ask for a page each: answers are not made faster than they are taken.
            if effect.is_some() || self.is_congested(rules) {
                return effect;
            }
        }
        None
    }

    /// The encoding that this client's publications have.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        let (role, deflate) = match &self.phase {
            Phase::Open(open) => (&open.role, open.deflate.is_some()),
            Phase::Entering(entering) => (&entering.role, entering.deflate().is_some()),
            Phase::Proxy(_) | Phase::Head(_) | Phase::Receiving | Phase::Closing(_) | Phase::Ending => return Encoding::Raw,
        };
        match (role, deflate) {
            (Role::Sse { one: true }, _) => Encoding::Sse,
            (Role::Sse { one: false }, _) => Encoding::SseMany,
            (Role::Subscriber { combined: true, .. }, false) => Encoding::Combined,
            (Role::Subscriber { combined: true, .. }, true) => Encoding::CombinedDeflate,
            (Role::Subscriber { events: true, .. }, false) => Encoding::RawEvents,
            (Role::Subscriber { events: true, .. }, true) => Encoding::RawEventsDeflate,
            (_, false) => Encoding::Raw,
            (_, true) => Encoding::RawDeflate,
        }
    }

    /// Whether this is a WebSocket or a stream of events by now, and not ending.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Whether this is an open connection that takes publications in.
    #[must_use]
    pub fn is_publisher(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if matches!(open.role, Role::PublisherOne(_) | Role::PublisherMany))
    }

    /// Answers SUBSCRIBE.
    pub fn subscribed(&mut self, id: &RequestId, streams: Option<&[Subscribed]>) {
        self.answer(|out| match streams {
            Some(streams) => reply::subscribed(out, id, streams),
            None => reply::null(out, id),
        });
    }

    /// Answers a request that has nothing to tell.
    pub fn done(&mut self, id: &RequestId) {
        self.answer(|out| reply::null(out, id));
    }

    /// Answers SET_PROPERTY of `combined`; gives the encoding that holds from this reply on.
    pub fn set_combined(&mut self, id: &RequestId, value: bool) -> Encoding {
        if let Phase::Open(open) = &mut self.phase
            && let Role::Subscriber { combined, .. } = &mut open.role
        {
            *combined = value;
        }
        self.done(id);
        self.encoding()
    }

    /// Answers SET_PROPERTY of `events`; gives the encoding that holds from this reply on.
    pub fn set_events(&mut self, id: &RequestId, value: bool) -> Encoding {
        if let Phase::Open(open) = &mut self.phase
            && let Role::Subscriber { events, .. } = &mut open.role
        {
            *events = value;
        }
        self.done(id);
        self.encoding()
    }

    /// Answers SET_PROPERTY of `heartbeat`.
    pub fn set_heartbeat(&mut self, id: &RequestId, value: bool) {
        if let Phase::Open(open) = &mut self.phase
            && let Role::Subscriber { heartbeat, .. } = &mut open.role
        {
            *heartbeat = value;
        }
        self.done(id);
    }

    /// Answers LIST_SUBSCRIPTIONS.
    pub fn listed<'t>(&mut self, id: &RequestId, streams: impl Iterator<Item = (&'t str, Lasting)>) {
        self.answer(|out| reply::subscriptions(out, id, streams));
    }

    /// Answers POSITIONS.
    pub fn positions(&mut self, id: &RequestId, positions: &[(TopicName, Position)]) {
        self.answer(|out| reply::positions(out, id, positions.iter().map(|(topic, position)| (topic, *position))));
    }

    /// Answers PUBLISH.
    pub fn published(&mut self, id: &RequestId, position: Position) {
        self.answer(|out| reply::published(out, id, position));
    }

    /// Answers a request with an error; closes with 1008 after too many in a row.
    pub fn failed(&mut self, id: &RequestId, error: &ClientError, rules: &Rules, now_us: u64) {
        self.reply(|out| reply::error(out, id, error));
        self.errors_in_a_row += 1;
        if self.errors_in_a_row >= rules.limits.errors_in_a_row_max {
            self.close(CloseCode::POLICY, "too many errors in a row", CloseClass::Policy, now_us);
        }
    }

    /// Tells a subscriber that this connection will be closed; only to those who can tell events from payloads.
    pub fn announce_shutdown(&mut self, unix_ms: u64, in_ms: u64) {
        if self.hears_events() {
            self.reply(|out| event::server_shutdown(out, unix_ms, in_ms));
        }
    }

    /// Whether this is a subscriber that can tell events from payloads, or said that it can.
    #[must_use]
    pub fn hears_events(&self) -> bool {
        let Phase::Open(open) = &self.phase else { return false };
        matches!(open.role, Role::Sse { .. } | Role::Subscriber { combined: true, .. } | Role::Subscriber { events: true, .. })
    }

    /// Tells a subscriber that hears them of an event.
    pub fn notify(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.reply(write);
    }

    /// Tells a subscriber of an event whose frame is made already, for all who hear it.
    pub fn notify_frame(&mut self, frame: &[u8]) {
        if !self.is_ending() {
            self.owe().extend_from_slice(frame);
            self.messages_out += 1;
        }
    }

    /// What is owed and not yet sent.
    #[must_use]
    pub fn owed(&self) -> &[u8] {
        self.owed.as_ref().map_or(&[], |owed| &owed.bytes[owed.sent as usize..])
    }

    /// So many of the owed bytes went.
    pub fn owed_went(&mut self, bytes: usize) {
        let Some(owed) = &mut self.owed else { return assert_eq!(bytes, 0, "only what is owed goes") };
        owed.sent += u32::try_from(bytes).expect("owed bytes are bounded by reply_bytes_max");
        if owed.sent as usize == owed.bytes.len() {
            // An idle client holds no buffer.
            (owed.bytes, owed.sent) = (Vec::new(), 0);
            if owed.pong.is_none() && owed.acks.is_none() && owed.rights.is_none() && owed.cause.is_none() {
                self.owed = None;
            }
            self.owe_pong_into_room();
        }
    }

    /// Where owed bytes are put.
    fn owe(&mut self) -> &mut Vec<u8> {
        &mut self.owed.get_or_insert_default().bytes
    }

    /// Whether so much is owed that no more requests may be read.
    #[must_use]
    pub fn is_congested(&self, rules: &Rules) -> bool {
        self.owed().len() > rules.limits.reply_bytes_max as usize
    }

    /// The refusal that happened since this was last asked, for the counters.
    pub fn take_refusal(&mut self) -> Option<RefusalReason> {
        self.refusal.take()
    }

    /// Whole messages that came since this was last asked, for the counters.
    pub fn take_messages_in(&mut self) -> u32 {
        std::mem::take(&mut self.messages_in)
    }

    /// Replies, events and echoes made since this was last asked, for the counters.
    pub fn take_messages_out(&mut self) -> u32 {
        std::mem::take(&mut self.messages_out)
    }

    /// A reply that is no error.
    fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.errors_in_a_row = 0;
        self.reply(write);
    }

    fn reply(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        // RFC 6455 5.5.1: "The application MUST NOT send any more data frames after sending a Close frame." What the shard
        // had in hand may be answered only now.
        if self.is_ending() {
            return;
        }
        let mut json = Vec::with_capacity(64);
        write(&mut json);
        if self.is_sse() {
            stream_sse::message(self.owe(), &json);
        } else {
            frame::write(self.owe(), frame::Opcode::Text, &json, None);
        }
        self.messages_out += 1;
    }
}
