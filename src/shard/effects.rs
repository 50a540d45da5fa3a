//! What sessions ask for, done: subscriptions, positions, publications.
//!
//! An effect that needs another thread (a replica, a credit, a position) suspends its session; once that is there the
//! effect is tried again from its beginning, so it either happens whole or not at all.

use super::clients::{Client, Pending, Receive, Wait};
use super::core::Core;
use super::exchange::Numbering;
use super::mail::{Mail, NotPublished, Ticket};
use crate::dialect::stream::RequestId;
use crate::dialect::{ClientError, ErrorCode};
use crate::hub::{NewPublication, Position};
use crate::metrics::CloseClass;
use crate::reactor::{ClientKey, Op};
use crate::session::{Answer, Effect, Request};
use crate::ws::CloseCode;

impl Core {
    /// Does what a session asks.
    pub(super) fn execute(&mut self, key: ClientKey, effect: Effect) {
        match effect {
            Effect::Asked => self.asked(key),
            Effect::Callout(question) => self.call_out(key, *question),
            Effect::Admit { streams } => self.subscribe(key, None, streams, false),
            Effect::Topics => {
                self.suspend(key, Wait::Topics);
                let control = self.outbox.post().control();
                self.outbox.send(control, Mail::TopicsWanted { from: self.exchange.place(), client: key });
            }
            Effect::Publish { answer, publication } => self.publish(key, answer, publication),
            Effect::Request { id, request } => match request {
                Request::Subscribe(streams) => self.subscribe(key, Some(id), streams, false),
                Request::Unsubscribe(topics) => self.unsubscribe(key, &id, &topics),
                Request::List => self.list(key, &id),
                Request::Positions(topics) => self.positions(key, &id, topics.as_deref()),
                Request::SetCombined(combined) => {
                    let encoding = self.session_mut(key).set_combined(&id, combined);
                    self.topics.hub.set_encoding(key.slot, encoding, &mut self.topics.encoder);
                    self.tell_of_feeds_to(key.slot);
                }
                Request::SetEvents(events) => {
                    let encoding = self.session_mut(key).set_events(&id, events);
                    self.topics.hub.set_encoding(key.slot, encoding, &mut self.topics.encoder);
                    self.tell_of_feeds_to(key.slot);
                }
                Request::Renewed => self.renewed(key, &id),
                Request::SetHeartbeat(heartbeat) => self.set_heartbeat(key, &id, heartbeat),
            },
        }
    }

    pub(super) fn session_mut(&mut self, key: ClientKey) -> &mut crate::session::Session {
        &mut self.clients.get(key).expect("effects come from clients that are there").session
    }

    pub(super) fn fail(&mut self, key: ClientKey, id: Option<&RequestId>, error: &ClientError) {
        let now_us = self.now.monotonic_us;
        let client = self.clients.get(key).expect("effects come from clients that are there");
        match id {
            Some(id) => client.session.failed(id, error, &self.rules, now_us),
            None => client.session.refuse_entering(error, now_us),
        }
    }

    /// A subscription that cannot be had, refused as it was asked for.
    pub(super) fn refuse_subscribe(&mut self, key: ClientKey, effect: &Effect, error: &ClientError) {
        let id = match effect {
            Effect::Request { id, .. } => Some(id),
            _ => None,
        };
        self.fail(key, id, error);
    }

    pub(super) fn suspend(&mut self, key: ClientKey, wait: Wait) {
        let client = self.clients.get(key).expect("effects come from clients that are there");
        client.pending = Some(Box::new(Pending { wait, held: Vec::new() }));
    }

    /// Publishes on the topic's home: here, or by mail for a credit.
    fn publish(&mut self, key: ClientKey, answer: Answer, publication: NewPublication) {
        if !self.is_serving() {
            let now_us = self.now.monotonic_us;
            if let Answer::Reply(id) = &answer {
                return self.fail(key, Some(id), &ClientError::new(ErrorCode::Internal, "the gateway is stopping"));
            }
            // A publisher's connection has no replies: that it is closed tells it what was not taken.
            let session = self.session_mut(key);
            if let Answer::Count(number) = answer {
                session.refused(number, now_us);
            }
            return session.close(CloseCode::GOING_AWAY, "the gateway stops", CloseClass::GoingAway, now_us);
        }
        let numbering = self.exchange.numbering;
        let home = match numbering {
            Numbering::Elsewhere => self.outbox.post().control(),
            Numbering::Homes | Numbering::Nobody => self.outbox.post().home(&publication.topic),
        };
        let here = home == self.exchange.place();
        let may = match here {
            _ if numbering == Numbering::Nobody => false,
            true => !self.outbox.is_congested(),
            false => self.exchange.take_credit(home),
        };
        if !may {
            self.metrics.publisher_pauses.add(1);
            self.exchange.wait_for_credit(key);
            return self.suspend(key, Wait::Credit { answer, publication });
        }
        if here {
            let result = self.publish_here(publication);
            return self.published(key, answer, result);
        }
        let (from, is_awaited) = (self.exchange.place(), answer != Answer::None);
        let ticket = if let Answer::Count(number) = answer { Ticket::Message(key, number) } else { Ticket::Client(key) };
        self.outbox.send(home, Mail::Publish { from, ticket, answer: is_awaited, publication });
        if let Answer::Reply(id) = answer {
            self.suspend(key, Wait::Position { id });
        }
    }

    /// A publisher's connection is to be closed: what waits for a credit is not published, and its input is given up.
    pub(super) fn give_up_waiting(&mut self, key: ClientKey) {
        let now_us = self.now.monotonic_us;
        let Some(client) = self.clients.get(key) else { return };
        let Some(pending) = client.pending.take() else { return };
        self.held_bytes -= pending.held.len();
        if let Wait::Credit { answer: Answer::Count(number), .. } = pending.wait {
            client.session.refused(number, now_us);
        }
    }

    /// A publication has its position, or cannot have one.
    pub(super) fn published(&mut self, key: ClientKey, answer: Answer, result: Result<Position, NotPublished>) {
        let now_us = self.now.monotonic_us;
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        match (answer, result) {
            (Answer::Reply(id), Ok(position)) => client.session.published(&id, position),
            (Answer::Reply(id), Err(refusal)) => {
                let code = match refusal {
                    NotPublished::TopicsMax => ErrorCode::Limit,
                    NotPublished::Journal | NotPublished::Gone => ErrorCode::Internal,
                    NotPublished::Key(_) => ErrorCode::BadRequest,
                };
                client.session.failed(&id, &ClientError::new(code, refusal.to_string()), &self.rules, now_us);
            }
            (Answer::Count(number), Ok(_)) => client.session.taken(number, now_us),
            (Answer::None, Ok(_)) => {}
            // A publisher's connection has no replies: what cannot be taken can only end it.
            (answer, Err(refusal)) => {
                if let Answer::Count(number) = answer {
                    client.session.refused(number, now_us);
                }
                let code = match refusal {
                    NotPublished::Key(_) => CloseCode::POLICY,
                    NotPublished::TopicsMax | NotPublished::Journal | NotPublished::Gone => CloseCode::TRY_AGAIN_LATER,
                };
                client.session.close(code, &refusal.to_string(), CloseClass::Policy, now_us);
            }
        }
    }

    /// Lets clients go on whose waiting is over.
    pub(super) fn resume(&mut self) {
        for key in std::mem::take(&mut self.ready) {
            let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { continue };
            // A client may stand here twice, and wait for something else by its second turn.
            let over = |pending: &mut Box<Pending>| pending.wait.is_over(&client.session, &self.rules);
            let Some(pending) = client.pending.take_if(over) else { continue };
            let Pending { wait, mut held } = *pending;
            if !client.session.is_ending() {
                match wait {
                    Wait::Replicas { effect: Effect::Admit { streams }, .. } => self.subscribe(key, None, streams, true),
                    Wait::Replicas { effect: Effect::Request { id, request: Request::Subscribe(streams) }, .. } => {
                        self.subscribe(key, Some(id), streams, true);
                    }
                    Wait::Replicas { .. } => unreachable!("only subscriptions wait for replicas"),
                    Wait::Credit { answer, publication } => self.publish(key, answer, publication),
                    Wait::Owed => {}
                    Wait::Position { .. } | Wait::Topics | Wait::Callout => unreachable!("these are answered, not tried again"),
                }
            }
            self.go_on(key, &mut held);
        }
    }

    /// After an answer: the input that was held back, then the socket again.
    pub(super) fn go_on(&mut self, key: ClientKey, held: &mut [u8]) {
        self.held_bytes -= held.len();
        self.feed(key, held);
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        if client.pending.is_none() && client.receive == Receive::Paused {
            self.arm_receive(key);
        }
    }

    /// Takes a client out of its waiting to be answered; none where it is gone or waits for something else.
    pub(super) fn take_pending(&mut self, key: ClientKey, is: impl FnOnce(&Wait) -> bool) -> Option<(&mut Client, Pending)> {
        let client = self.clients.get(key).filter(|client| !client.closing)?;
        if !is(&client.pending.as_ref()?.wait) {
            return None;
        }
        let pending = *client.pending.take()?;
        Some((client, pending))
    }

    fn arm_receive(&mut self, key: ClientKey) {
        let client = self.clients.get(key).expect("it was looked up above");
        client.receive = Receive::Armed;
        self.ops.push_back(Op::Receive(key));
    }
}
