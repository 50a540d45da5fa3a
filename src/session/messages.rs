//! Frames of an open connection: what each message means to the connection's role.

use bytes::Bytes;

use super::{Answer, Effect, Moment, Open, Phase, Request, Role, Rules, Session, Unfinished};
use crate::config::Limits;
use crate::dialect::stream::{self, Command, Property, Published, PublisherMessage, payload_kind, reply};
use crate::dialect::{ClientError, ErrorCode};
use crate::hub::{Marks, NewPublication, Payload, PayloadKind};
use crate::metrics::CloseClass;
use crate::ws::deflate::{Agreement, Compressor};
use crate::ws::{self, Assembler, CloseCode, Connection, Event, Message, MessageKind, ProtocolError, frame};

impl Session {
    /// Takes frames as far as the first effect.
    pub(super) fn receive_frames(&mut self, input: &mut &mut [u8], rules: &Rules, moment: Moment) -> Option<Effect> {
        let Phase::Open(mut open) = std::mem::replace(&mut self.phase, Phase::Receiving) else {
            unreachable!("only open connections have frames")
        };
        // A message that comes whole leaves nothing behind, and never has a box.
        let (mut kept, mut begun) = (open.unfinished.take(), None);
        let unfinished = match &mut kept {
            Some(kept) => &mut **kept,
            None => begun.insert(Unfinished::new(open.deflate.as_ref(), moment.now_us)),
        };
        let effect = self.take_frames(input, &mut open, unfinished, rules, moment);
        // The shard may be long with an effect.
        unfinished.connection.forget_piece();
        if matches!(self.phase, Phase::Receiving) {
            if !unfinished.is_nothing() {
                open.unfinished = kept.or_else(|| begun.map(Box::new));
            }
            self.phase = Phase::Open(open);
        }
        effect
    }

    /// Frames until the input's end, the first effect or the connection's end.
    fn take_frames(
        &mut self,
        input: &mut &mut [u8],
        open: &mut Open,
        unfinished: &mut Unfinished,
        rules: &Rules,
        moment: Moment,
    ) -> Option<Effect> {
        let limits = open.limits(rules);
        let Open { role, deflate, .. } = open;
        let Unfinished { connection, assembler, began_us, compressor } = unfinished;
        if !connection.inside_message() {
            *began_us = moment.now_us;
        }
        let mut effect = None;
        while effect.is_none() && matches!(self.phase, Phase::Receiving) {
            match connection.next(&limits, input) {
                Ok(Some(Event::Data { kind, bytes, first, last })) => {
                    if last {
                        // What is behind it in the input begins another.
                        *began_us = moment.now_us;
                    }
                    let deflate = deflate.map(|agreed| Deflate { agreed, compressor });
                    let message = assembler.add(kind, bytes, first, last);
                    effect = message.and_then(|message| self.handle_message(message, role, deflate, rules, moment));
                }
                Ok(Some(event)) => self.handle_control(event, rules, moment),
                Ok(None) => break,
                Err(error) => self.close_for(error, moment.now_us),
            }
        }
        effect
    }

    fn handle_control(&mut self, event: Event<'_>, rules: &Rules, moment: Moment) {
        match event {
            Event::Ping(payload) => self.receive_ping(payload, rules, moment.now_us),
            Event::Pong(_) => {}
            Event::Data { .. } => unreachable!("data frames have their own path"),
            Event::Close(body) => {
                // RFC 6455 5.5.1: "If an endpoint receives a Close frame and did not previously send a Close frame, the
                // endpoint MUST send a Close frame in response. [...] the endpoint typically echos the status code it
                // received."
                let mut reply = Vec::new();
                match body {
                    Some((code, _)) => frame::write_close(&mut reply, code, "", None),
                    None => frame::write(&mut reply, frame::Opcode::Close, &[], None),
                }
                self.end_with(reply, CloseClass::Normal, moment.now_us);
            }
        }
    }

    fn handle_message(
        &mut self,
        message: Message<'_>,
        role: &mut Role,
        deflate: Option<Deflate<'_>>,
        rules: &Rules,
        moment: Moment,
    ) -> Option<Effect> {
        self.messages_in += 1;
        let now_us = moment.now_us;
        match role {
            Role::Subscriber { combined, events, heartbeat } => {
                let properties = Properties { combined: *combined, events: *events, heartbeat: *heartbeat };
                self.handle_request(message, properties, rules, moment)
            }
            Role::Echo => {
                if self.may_ask(rules, now_us) {
                    self.echo(&message, deflate);
                }
                None
            }
            Role::PublisherOne(topic) => {
                let payload = payload_of(message);
                Some(self.publish(NewPublication::new((**topic).clone(), payload)))
            }
            Role::PublisherMany => self.handle_combined(message, rules, now_us),
            Role::Sse { .. } => unreachable!("a client of events sends no frames"),
        }
    }

    /// Sends it back, compressed where that was agreed.
    fn echo(&mut self, message: &Message<'_>, deflate: Option<Deflate<'_>>) {
        let opcode = match message.kind {
            MessageKind::Text => frame::Opcode::Text,
            MessageKind::Binary => frame::Opcode::Binary,
        };
        match deflate {
            Some(mut deflate) => {
                let mut payload = Vec::new();
                deflate.compress(&message.bytes, &mut payload);
                frame::write_compressed(self.owe(), opcode, &payload, None);
            }
            None => frame::write(self.owe(), opcode, &message.bytes, None),
        }
        self.messages_out += 1;
    }

    fn handle_request(&mut self, message: Message<'_>, properties: Properties, rules: &Rules, moment: Moment) -> Option<Effect> {
        let now_us = moment.now_us;
        if message.kind == MessageKind::Binary {
            self.close(CloseCode::UNSUPPORTED, "requests are text messages", CloseClass::Policy, now_us);
            return None;
        }
        // A request that cannot be read costs a token like a good one.
        let within_rate = self.take_from_bucket(rules, now_us);
        let request = match stream::request(&message.bytes) {
            Ok(request) => request,
            Err(failure) => {
                self.failed(&failure.id, &failure.error, rules, now_us);
                return None;
            }
        };
        let id = request.id;
        if !within_rate {
            let message = format!("more than {} requests a second: slow down", self.rate(rules).0);
            self.failed(&id, &ClientError { code: ErrorCode::TooManyRequests, message }, rules, now_us);
            return None;
        }
        match request.command {
            Command::Publish { topic, data, .. } if data.len() > rules.limits.publication_bytes_max as usize => {
                let (bytes, max) = (data.len(), rules.limits.publication_bytes_max);
                let message = format!("{}: the publication has {bytes} bytes, publication_bytes_max is {max}", topic.as_str());
                self.failed(&id, &ClientError { code: ErrorCode::Limit, message }, rules, now_us);
            }
            Command::Publish { topic, data, key } if self.may_publish(&topic, rules) => {
                let payload = Payload { bytes: Bytes::copy_from_slice(data), kind: PayloadKind::Json };
                let marks = Marks { key, ..Marks::default() };
                let publication = NewPublication { marks, ..NewPublication::new(topic, payload) };
                return Some(Effect::Publish { answer: Answer::Reply(id), publication });
            }
            Command::Publish { topic, .. } => {
                let message = format!("{}: publishing is not allowed here", topic.as_str());
                self.deny(format!("PUBLISH on {:?} is not granted", topic.as_str()));
                self.failed(&id, &ClientError { code: ErrorCode::NotAllowed, message }, rules, now_us);
            }
            Command::Auth(token) => return self.authenticate(id, &token, rules, moment),
            Command::Ping => self.answer(|out| reply::time(out, &id, moment.unix_us / 1000)),
            Command::GetProperty(property) => {
                let value = match property {
                    Property::Combined => properties.combined,
                    Property::Events => properties.events,
                    Property::Heartbeat => properties.heartbeat,
                };
                self.answer(|out| reply::property(out, &id, value));
            }
            Command::Subscribe(streams) => {
                if let Some(stream) = self.find_denied(&streams, rules) {
                    let error = ClientError::new(ErrorCode::NotAllowed, format!("{stream}: not allowed"));
                    self.deny(format!("SUBSCRIBE to {stream:?} is not granted"));
                    self.failed(&id, &error, rules, now_us);
                    return None;
                }
                return Some(Effect::Request { id, request: Request::Subscribe(streams) });
            }
            Command::Unsubscribe(topics) => return Some(Effect::Request { id, request: Request::Unsubscribe(topics) }),
            Command::ListSubscriptions => return Some(Effect::Request { id, request: Request::List }),
            Command::Positions(topics) => return Some(Effect::Request { id, request: Request::Positions(topics) }),
            Command::SetProperty(property, value) => {
                let request = match property {
                    Property::Combined => Request::SetCombined(value),
                    Property::Events => Request::SetEvents(value),
                    Property::Heartbeat => Request::SetHeartbeat(value),
                };
                return Some(Effect::Request { id, request });
            }
        }
        None
    }

    fn handle_combined(&mut self, message: Message<'_>, rules: &Rules, now_us: u64) -> Option<Effect> {
        let parsed = match message.kind {
            MessageKind::Text => stream::publication(PublisherMessage::Text(&message.bytes)),
            MessageKind::Binary => stream::publication(PublisherMessage::Binary(&message.bytes)),
        };
        // A publisher's connection has no replies, so what cannot be read or is not allowed can only close it.
        match parsed {
            // The message may be longer than its payload, by the envelope.
            Ok(published) if published.payload.len() > rules.limits.publication_bytes_max as usize => {
                let reason = format!("more than publication_bytes_max = {} bytes", rules.limits.publication_bytes_max);
                self.close(CloseCode::TOO_BIG, &reason, CloseClass::TooBig, now_us);
                None
            }
            Ok(published) if self.may_publish(&published.topic, rules) => {
                let Published { topic, kind, payload } = published;
                let payload = Payload { bytes: Bytes::copy_from_slice(payload), kind };
                Some(self.publish(NewPublication::new(topic, payload)))
            }
            Ok(published) => {
                let reason = format!("publishing to {} is not allowed here", published.topic.as_str());
                self.close(CloseCode::POLICY, &reason, CloseClass::Policy, now_us);
                None
            }
            Err(error) => {
                self.close(CloseCode::POLICY, &error.message, CloseClass::Policy, now_us);
                None
            }
        }
    }

    /// A publisher's message goes on its way.
    fn publish(&mut self, publication: NewPublication) -> Effect {
        let answer = self.number_message().map_or(Answer::None, Answer::Count);
        Effect::Publish { answer, publication }
    }

    /// Takes a token for an echoed message; closes with 1008 where there is none.
    fn may_ask(&mut self, rules: &Rules, now_us: u64) -> bool {
        let may = self.take_from_bucket(rules, now_us);
        if !may {
            self.close(CloseCode::POLICY, "too many messages a second", CloseClass::Policy, now_us);
        }
        may
    }

    fn close_for(&mut self, error: ProtocolError, now_us: u64) {
        let code = error.close_code();
        let class = if code == CloseCode::INVALID_PAYLOAD && error != ProtocolError::DeflateBroken {
            CloseClass::Utf8
        } else if code == CloseCode::TOO_BIG {
            CloseClass::TooBig
        } else {
            CloseClass::Protocol
        };
        self.close(code, &error.to_string(), class, now_us);
    }
}

/// A subscriber's properties.
#[derive(Clone, Copy)]
struct Properties {
    combined: bool,
    events: bool,
    heartbeat: bool,
}

/// permessage-deflate for what is sent back.
struct Deflate<'c> {
    agreed: Agreement,
    compressor: &'c mut Option<Box<Compressor>>,
}

impl Deflate<'_> {
    /// With its own compressor. An idle client holds one only where its context is taken over.
    fn compress(&mut self, message: &[u8], out: &mut Vec<u8>) {
        let bits = self.agreed.window_bits(ws::Role::Server);
        if self.agreed.takes_over(ws::Role::Server) {
            self.compressor.get_or_insert_with(|| Box::new(Compressor::new(bits, true))).compress(message, out);
        } else {
            Compressor::new(bits, false).compress(message, out);
        }
    }
}

impl Unfinished {
    /// Nothing came yet.
    fn new(deflate: Option<&Agreement>, now_us: u64) -> Unfinished {
        let connection = match deflate {
            Some(agreed) => Connection::with_deflate(ws::Role::Server, agreed),
            None => Connection::new(ws::Role::Server),
        };
        Unfinished { connection, assembler: Assembler::default(), began_us: now_us, compressor: None }
    }

    /// Whether what comes next would mean the same without it.
    fn is_nothing(&self) -> bool {
        self.connection.is_fresh() && self.compressor.is_none()
    }
}

impl Open {
    /// A publisher's messages are bounded as publications, others as requests.
    fn limits(&self, rules: &Rules) -> ws::Limits {
        let message_bytes_max = match self.role {
            Role::PublisherOne(_) => rules.limits.publication_bytes_max,
            // The envelope comes on top: name, offset, time.
            Role::PublisherMany => rules.limits.publication_bytes_max.saturating_add(1024),
            Role::Subscriber { .. } | Role::Echo | Role::Sse { .. } => rules.limits.message_bytes_max,
        };
        let Limits { fragments_max, inflate_ratio_max, .. } = rules.limits;
        ws::Limits { message_bytes_max, fragments_max, inflate_ratio_max }
    }
}

fn payload_of(message: Message<'_>) -> Payload {
    let kind = match message.kind {
        MessageKind::Text => payload_kind(&message.bytes),
        MessageKind::Binary => PayloadKind::Binary,
    };
    Payload { bytes: Bytes::from(message.bytes.into_owned()), kind }
}
