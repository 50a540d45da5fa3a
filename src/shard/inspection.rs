//! Answers to those who watch over the gateway: which clients there are, who is behind, what a topic takes.
//!
//! A walk over the clients goes some of them a turn, however many there are; what changes meanwhile is found as it is when the walk comes
//! there. Without: anything that is kept for it; what is not asked for costs nothing.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::core::Core;
use super::inquiry::{
    ConnectionDetail, ConnectionId, ConnectionRow, Filter, Finding, Inquiry, RowLag, Slow, SlowTopic, TopicPart,
};
use super::mail::Mail;
use super::timer::TICK_US;
use super::topics::Topics;
use crate::admission::request_id;
use crate::hub::{Lack, TopicName};
use crate::metrics::CloseClass;
use crate::reactor::{ClientKey, Now};
use crate::ws::CloseCode;

/// What is looked at in a turn: a client, or a subscription of one, each counts.
const LOOKS_A_TURN: usize = 1024;
/// What a row of the answer counts beside: it is written down.
const LOOKS_A_ROW: usize = 4;

/// An inquiry, and how far its answer is.
pub(super) struct Inspection {
    token: u64,
    walk: Walk,
}

enum Walk {
    /// Nothing to walk over: answered at once.
    None(Inquiry),
    Connections {
        next: u32,
        filter: Filter,
        rows: Vec<ConnectionRow>,
        count_max: usize,
    },
    Slow {
        next: u32,
        count_max: usize,
        found: Box<Laggards>,
    },
}

/// Those who are the furthest behind, as far as a walk came.
#[derive(Default)]
struct Laggards {
    by_bytes: Vec<(u64, ClientKey)>,
    by_age: Vec<(u64, ClientKey)>,
    topics: HashMap<TopicName, (u64, RowLag)>,
}

impl Inspection {
    pub(super) fn new(token: u64, inquiry: Inquiry) -> Inspection {
        let walk = match inquiry {
            Inquiry::Connections { from, filter, count_max } => {
                Walk::Connections { next: from, filter, rows: Vec::new(), count_max }
            }
            Inquiry::Slow { count_max } => Walk::Slow { next: 0, count_max, found: Box::default() },
            other => Walk::None(other),
        };
        Inspection { token, walk }
    }
}

impl Core {
    /// Goes on with the oldest inquiry.
    pub(super) fn inspect(&mut self) {
        let Some(Inspection { token, walk }) = self.inspections.pop_front() else { return };
        let went = match walk {
            Walk::None(inquiry) => Ok(self.find(inquiry)),
            Walk::Connections { next, filter, rows, count_max } => self.list_connections(next, filter, rows, count_max),
            Walk::Slow { next, count_max, found } => self.find_slow(next, count_max, found),
        };
        match went {
            Ok(finding) => self.outbox.send(self.outbox.post().control(), Mail::Found { token, finding }),
            Err(walk) => self.inspections.push_front(Inspection { token, walk }),
        }
    }

    fn find(&mut self, inquiry: Inquiry) -> Finding {
        match inquiry {
            Inquiry::Connection(id) => Finding::Connection(self.named(id).map(|key| Box::new(self.detail(key)))),
            Inquiry::Disconnect { id, code, reason } => {
                Finding::Disconnect(self.named(id).map(|key| self.disconnect(key, code, &reason)).is_some())
            }
            Inquiry::Topic(name) => Finding::Topic(self.topics.part(&name, self.now).map(Box::new)),
            Inquiry::Connections { .. } | Inquiry::Slow { .. } => unreachable!("these are walked over"),
        }
    }

    /// The client of this name, if it is still there.
    fn named(&self, id: ConnectionId) -> Option<ClientKey> {
        let client = self.clients.peek(id.slot).filter(|client| !client.closing)?;
        (client.session.number() == id.number).then_some(client.key)
    }

    /// Ends a client as the operator says.
    fn disconnect(&mut self, key: ClientKey, code: CloseCode, reason: &str) {
        let class = match code {
            CloseCode::NORMAL => CloseClass::Normal,
            CloseCode::GOING_AWAY | CloseCode::RESTART => CloseClass::GoingAway,
            CloseCode::INTERNAL => CloseClass::Internal,
            _ => CloseClass::Policy,
        };
        let now_us = self.now.monotonic_us;
        self.tell_of_disconnect(key, code.0, reason);
        self.session_mut(key).close(code, reason, class, now_us);
        self.settle(key);
    }

    // --- walks: the answer, or how far it is ---

    fn list_connections(
        &mut self,
        mut next: u32,
        filter: Filter,
        mut rows: Vec<ConnectionRow>,
        count_max: usize,
    ) -> Result<Finding, Walk> {
        let mut looks = 0;
        while next < self.clients.slots() {
            if rows.len() == count_max {
                return Ok(Finding::Connections { rows, next: Some(next) });
            }
            if looks >= LOOKS_A_TURN {
                return Err(Walk::Connections { next, filter, rows, count_max });
            }
            let (slot, before) = (next, rows.len());
            next += 1;
            rows.extend(self.wanted(slot, &filter, &mut looks));
            looks += 1 + LOOKS_A_ROW * (rows.len() - before);
        }
        Ok(Finding::Connections { rows, next: None })
    }

    /// The row of the client at a slot, if there is one that is asked for.
    fn wanted(&self, slot: u32, filter: &Filter, looks: &mut usize) -> Option<ConnectionRow> {
        let client = self.clients.peek(slot).filter(|client| !client.closing)?;
        let Filter { network, topic, standing, subject, lag_bytes_min, lag_ms_min, age_ms_min } = filter;
        let address = self.clients.address(slot);
        if standing.is_some_and(|standing| client.session.standing() != standing)
            || subject.is_some() && client.session.subject() != subject.as_deref()
            || network.is_some_and(|network| !network.contains(&address))
            || self.age_ms(slot) < *age_ms_min
        {
            return None;
        }
        if *lag_bytes_min > 0 || *lag_ms_min > 0 {
            *looks += self.topics.hub.lacks(slot).count();
            let lag = self.lag(slot);
            if lag.bytes < *lag_bytes_min || lag.age_ms < *lag_ms_min {
                return None;
            }
        }
        *looks += self.topics.hub.subscription_count(slot);
        let hears = topic.as_ref().is_none_or(|topic| self.topics.hub.hears(slot, topic));
        hears.then(|| self.row(slot))
    }

    fn find_slow(&mut self, mut next: u32, count_max: usize, mut found: Box<Laggards>) -> Result<Finding, Walk> {
        let mut looks = 0;
        while next < self.clients.slots() {
            if looks >= LOOKS_A_TURN {
                return Err(Walk::Slow { next, count_max, found });
            }
            let slot = next;
            next += 1;
            looks += 1;
            let Some(client) = self.clients.peek(slot).filter(|client| !client.closing) else { continue };
            for (topic, lack) in self.topics.hub.lacks(slot) {
                looks += 1;
                if lack != Lack::default() {
                    found.count_topic(self.topics.hub.name(topic), self.row_lag(lack));
                }
            }
            found.count_client(client.key, self.lag(slot), count_max);
        }
        Ok(Finding::Slow(Box::new(self.conclude(*found, count_max))))
    }

    /// The rows of those who were found, where they are still there.
    fn conclude(&self, found: Laggards, count_max: usize) -> Slow {
        let Laggards { by_bytes, by_age, topics } = found;
        let mut keys: Vec<ClientKey> = Vec::new();
        for list in [by_bytes, by_age] {
            keys.extend(worst(list, count_max).into_iter().map(|(_, key)| key));
        }
        keys.sort_unstable_by_key(|key| key.slot);
        keys.dedup();
        let is_there = |key: &ClientKey| self.clients.peek(key.slot).is_some_and(|client| client.key == *key && !client.closing);
        let connections = keys.into_iter().filter(is_there).map(|key| self.row(key.slot)).collect();
        let row = |(topic, (connections, worst))| SlowTopic { topic, connections, worst };
        let mut topics: Vec<SlowTopic> = topics.into_iter().map(row).collect();
        topics.sort_by(SlowTopic::worst_first);
        topics.truncate(count_max);
        Slow { connections, topics }
    }

    // --- rows ---

    fn age_ms(&self, slot: u32) -> u64 {
        let came_us = u64::from(self.clients.came_tick(slot)) * TICK_US;
        self.now.monotonic_us.saturating_sub(came_us) / 1000
    }

    fn row_lag(&self, lack: Lack) -> RowLag {
        let Lack { publications, bytes, oldest_unix_us } = lack;
        let age_us = oldest_unix_us.map_or(0, |oldest_us| self.now.unix_us.saturating_sub(oldest_us));
        RowLag { publications, bytes, age_ms: age_us / 1000 }
    }

    fn lag(&self, slot: u32) -> RowLag {
        self.row_lag(self.topics.hub.lack(slot))
    }

    /// What names the client's connection.
    pub(super) fn connection_id(&self, slot: u32) -> ConnectionId {
        let client = self.clients.peek(slot).expect("only a client that is there is named");
        ConnectionId { shard: self.topics.place, slot, number: client.session.number() }
    }

    /// What names the request by which the client came.
    pub(super) fn request_id(&self, slot: u32) -> String {
        let number = self.clients.peek(slot).map_or(0, |client| client.session.number());
        let made = || request_id::made(self.rules.nonce, number.into(), None);
        self.clients.request_id(slot).map_or_else(made, str::to_owned)
    }

    fn row(&self, slot: u32) -> ConnectionRow {
        let client = self.clients.peek(slot).expect("only a client that is there has a row");
        let (received_bytes, sent_bytes) = self.clients.traffic(slot);
        let is_blocked = self.topics.hub.is_blocked(slot);
        ConnectionRow {
            id: self.connection_id(slot),
            address: self.clients.address(slot),
            port: self.clients.port(slot),
            listener: client.session.listener(),
            standing: client.session.standing(),
            subject: client.session.subject().map(Box::from),
            tls: client.tls.is_some(),
            request_id: self.request_id(slot),
            since_ms: (self.now.unix_us / 1000).saturating_sub(self.age_ms(slot)),
            received_bytes,
            sent_bytes,
            subscriptions: self.topics.hub.subscription_count(slot) as u32,
            lag: self.lag(slot),
            owed_bytes: (client.session.owed().len() + client.pending_sealed().len()) as u64,
            stalled_ms: is_blocked.then(|| client.stalled_ms(self.now.monotonic_us)),
        }
    }

    fn detail(&self, key: ClientKey) -> ConnectionDetail {
        let subscribed = self.topics.hub.subscribed(key.slot).into_iter();
        let subscriptions = subscribed.map(|subscribed| (self.row_lag(subscribed.lack), subscribed)).collect();
        ConnectionDetail { row: self.row(key.slot), subscriptions }
    }
}

impl Laggards {
    fn count_topic(&mut self, topic: &TopicName, lag: RowLag) {
        let (connections, worst) = self.topics.entry(topic.clone()).or_default();
        *connections += 1;
        worst.join(lag);
    }

    fn count_client(&mut self, key: ClientKey, lag: RowLag, count_max: usize) {
        for (list, measure) in [(&mut self.by_bytes, lag.bytes), (&mut self.by_age, lag.age_ms)] {
            if measure > 0 {
                list.push((measure, key));
            }
            if list.len() > 4 * count_max + 64 {
                *list = worst(std::mem::take(list), count_max);
            }
        }
    }
}

/// The highest of them.
fn worst(mut list: Vec<(u64, ClientKey)>, count_max: usize) -> Vec<(u64, ClientKey)> {
    list.sort_unstable_by_key(|(measure, key)| (Reverse(*measure), key.slot));
    list.truncate(count_max);
    list
}

impl Topics {
    /// What this place knows of a topic.
    pub(crate) fn part(&mut self, name: &TopicName, now: Now) -> Option<TopicPart> {
        let topic = self.hub.find(name.as_str())?;
        let newest = self.hub.newest(topic);
        Some(TopicPart {
            position: self.hub.position(topic),
            rate: self.homes.get_mut(&topic).map(|home| home.per_second(newest, now)),
            replicas: self.replicas_of(topic).to_vec(),
            hearers: self.hub.hearers(topic),
            rings: self.hub.rings(topic),
            keys: self.hub.keys(topic),
            stale_since_ms: self.staleness.since_ms(topic),
            journal: None,
        })
    }
}
