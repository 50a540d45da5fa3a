//! Patterns in the naive twin: who has a topic by which of them, looked up anew each time, and tours.

use super::super::*;
use super::{Pair, Queue, TestEncoder, TwinClient, slot};

/// Two that match all, one that matches one topic, one that matches none.
pub(in super::super) const PATTERNS: [&str; 4] = ["topic.*", ">", "*.1", "topic.2.>"];

/// A subscription of a pattern.
#[derive(Clone)]
pub(super) struct TwinPattern {
    pub(super) text: &'static str,
    last: bool,
    /// The twin's clock when it was subscribed.
    began: u64,
    /// Number of the topic that its tour comes to next.
    tour: Option<usize>,
    /// Topics that came by a subscription that has ended since the tour began.
    had: Vec<usize>,
}

fn parsed(text: &str) -> Pattern {
    Pattern::parse(text).expect("one of the test's patterns")
}

impl TwinClient {
    /// The pattern that brings the topic of this name.
    pub(super) fn owner(&self, name: &str) -> Option<&TwinPattern> {
        self.patterns.iter().find(|pattern| parsed(pattern.text).matches(name))
    }

    /// Forgets queues of topics that only patterns bring and of which nothing is lacking.
    pub(super) fn prune(&mut self) {
        let in_ring = self.rest.as_ref().and_then(|rest| rest.in_ring).map(|(topic, _)| topic);
        let TwinClient { queues, named, .. } = self;
        queues.retain(|(topic, queue)| !queue.is_empty() || in_ring == Some(*topic) || named.contains(topic));
    }

    /// It had the topic by its name.
    pub(super) fn name_ended(&mut self, topic: usize) {
        self.patterns.iter_mut().for_each(|pattern| pattern.had.push(topic));
    }

    /// The queue of the topic, made where it is not there.
    pub(super) fn queue_or_new(&mut self, topic: usize) -> &mut Queue {
        if self.queue(topic).is_none() {
            self.queues.push((topic, Queue::new()));
        }
        self.queue(topic).expect("it was just made")
    }
}

impl Pair {
    pub(super) fn subscribe_pattern(&mut self, number: usize, text: &'static str, last: bool) {
        let client = &mut self.clients[number];
        let is_new = client.patterns.iter().all(|pattern| pattern.text != text);
        let terms = Terms::default();
        let subscribed = self.hub.subscribe_pattern(slot(number), &parsed(text), None, client.encoding, terms, last);
        assert_eq!(subscribed, is_new);
        if is_new {
            self.clock += 1;
            client.patterns.push(TwinPattern { text, last, began: self.clock, tour: last.then_some(0), had: Vec::new() });
            client.order.push(text.to_owned());
            if last {
                self.tours.push((number, text));
            }
        }
    }

    pub(super) fn unsubscribe_pattern(&mut self, number: usize, text: &'static str) {
        let client = &mut self.clients[number];
        let was = client.patterns.iter().any(|pattern| pattern.text == text);
        assert_eq!(self.hub.pattern_terms(slot(number), text).is_some(), was);
        assert_eq!(self.hub.unsubscribe_pattern(slot(number), text, &mut TestEncoder), was);
        if let Some(pattern) = client.patterns.iter().find(|pattern| pattern.text == text).cloned() {
            let matching = (0..self.topics.len()).filter(|topic| parsed(text).matches(&self.topics[*topic].name));
            let had: Vec<usize> = matching.filter(|topic| self.has_newest(&pattern, *topic)).collect();
            self.clients[number].patterns.iter_mut().for_each(|pattern| pattern.had.extend(&had));
        }
        let client = &mut self.clients[number];
        client.patterns.retain(|pattern| pattern.text != text);
        client.order.retain(|held| held != text);
        self.tours.retain(|tour| *tour != (number, text));
        for topic in 0..self.topics.len() {
            if !client.named.contains(&topic) && client.owner(&self.topics[topic].name).is_none() {
                client.end(topic);
            }
        }
    }

    /// Whether the client has the topic's newest publication by the pattern, or will have it by a queue.
    fn has_newest(&self, owner: &TwinPattern, topic: usize) -> bool {
        let is_before = owner.tour.is_some_and(|next| next <= self.ids[topic].index()) && !owner.had.contains(&topic);
        self.topics[topic].published_at > owner.began || (owner.last && !is_before)
    }

    /// The offset that follows what a pattern brought the client of this topic, if any brought something.
    pub(super) fn next_heard(&self, number: usize, topic: usize) -> Option<u64> {
        let client = &self.clients[number];
        let next = self.topics[topic].newest() + 1;
        if let Some((_, queue)) = client.queues.iter().find(|(of, _)| *of == topic) {
            let torn = client.rest.as_ref().and_then(|rest| rest.in_ring).filter(|(of, _)| *of == topic);
            let front = queue.front().map_or(next, |(offset, _)| *offset);
            return Some(torn.map_or(front, |(_, offset)| offset));
        }
        let owner = client.owner(&self.topics[topic].name)?;
        (self.hub.is_passing(slot(number), self.ids[topic]) || self.has_newest(owner, topic)).then_some(next)
    }

    pub(super) fn tour(&mut self, rows_max: u32) {
        self.hub.tour(rows_max, &mut TestEncoder);
        let mut by_number: Vec<usize> = (0..self.topics.len()).collect();
        by_number.sort_by_key(|topic| self.ids[*topic]);
        for (number, text) in self.tours.clone() {
            if self.clients[number].is_behind() || self.hub.due().is_blocked(slot(number)) {
                continue;
            }
            let (mut given, mut next) = (0, None);
            for &topic in &by_number {
                let pattern = self.clients[number].patterns.iter().find(|pattern| pattern.text == text).expect("it is there");
                let (first, began, had) = (pattern.tour.expect("it tours"), pattern.began, pattern.had.clone());
                if self.ids[topic].index() < first {
                    continue;
                }
                if given == rows_max {
                    next = Some(self.ids[topic].index());
                    break;
                }
                let client = &self.clients[number];
                let is_its = client.owner(&self.topics[topic].name).is_some_and(|owner| owner.text == text);
                let is_old = self.topics[topic].published_at <= began && self.topics[topic].newest() > 0 && !had.contains(&topic);
                let is_passing = client.queues.iter().any(|(of, _)| *of == topic);
                if is_its && is_old && !is_passing && self.topics[topic].head(Encoding::Raw) <= self.topics[topic].newest() {
                    given += 1;
                    let (encoding, newest) = (client.encoding, self.topics[topic].newest());
                    self.topics[topic].derive(encoding, newest);
                    let frame = self.topics[topic].frame(encoding, newest);
                    self.clients[number].queue_or_new(topic).push_back((newest, frame));
                }
            }
            let pattern = self.clients[number].patterns.iter_mut().find(|pattern| pattern.text == text).expect("it is there");
            pattern.tour = next;
            if next.is_none() {
                self.tours.retain(|tour| *tour != (number, text));
            }
        }
    }

    /// All that can be asked of the hub about patterns is as in the twin.
    pub(super) fn compare_patterns(&mut self) {
        for text in PATTERNS {
            let matching = self.topics.iter().filter(|topic| parsed(text).matches(&topic.name)).count() as u32;
            let is_used = self.clients.iter().any(|client| client.patterns.iter().any(|pattern| pattern.text == text));
            assert_eq!(self.hub.pattern_topics(text), is_used.then_some(matching));
            assert_eq!(self.hub.is_pattern_used(text), is_used);
        }
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            let held: Vec<String> = self
                .hub
                .subscribed_to(slot(number))
                .map(|held| match held {
                    Held::Topic(id, _) => self.hub.name(id).as_str().to_owned(),
                    Held::Pattern(pattern, ..) => pattern.as_str().to_owned(),
                })
                .collect();
            assert_eq!(held, client.order, "client {number}'s subscriptions, in order");
            let mut expected = Vec::new();
            for (topic, id) in self.ids.iter().enumerate() {
                let Some(owner) = client.owner(&self.topics[topic].name).filter(|_| !client.named.contains(&topic)) else {
                    continue;
                };
                let in_ring = client.rest.as_ref().and_then(|rest| rest.in_ring).filter(|(of, _)| *of == topic);
                let front = client.queues.iter().find(|(of, _)| *of == topic).and_then(|(_, queue)| queue.front());
                let is_passing = self.hub.is_passing(slot(number), *id);
                let is_behind = in_ring.is_some() || front.is_some();
                assert!(is_passing || !is_behind, "client {number}: who is behind has a row");
                let newest = self.topics[topic].newest();
                let sent = match (in_ring, front) {
                    (Some((_, torn)), _) => torn,
                    (None, Some((offset, _))) => offset - 1,
                    (None, None) if is_passing || self.has_newest(owner, topic) => newest,
                    (None, None) => newest - u64::from(owner.tour.is_some() && newest > 0),
                };
                expected.push((*id, self.topics[topic].at(sent)));
            }
            expected.sort_unstable_by_key(|(id, _)| *id);
            if !expected.is_empty() {
                assert_eq!(self.hub.pattern_positions(slot(number), expected.len() - 1), None);
            }
            assert_eq!(self.hub.pattern_positions(slot(number), expected.len()), Some(expected), "client {number}'s positions");
        }
    }
}
