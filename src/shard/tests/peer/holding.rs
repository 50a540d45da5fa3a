//! What a peer holds: topics by name, and topics that its patterns bring.

use super::super::truth::Truth;
use super::{Peer, Subscription, TOPICS, topic};
use crate::hub::Pattern;

/// Patterns of the tests; each topic is matched by some of them.
pub(in crate::shard::tests) const PATTERNS: [&str; 3] = ["md.*", ">", "md.>"];

pub(super) fn matches(pattern: &str, topic: &str) -> bool {
    Pattern::parse(pattern).expect("a pattern of the tests is one").matches(topic)
}

fn is_pattern(subject: &str) -> bool {
    subject.contains(['*', '>'])
}

impl Peer {
    /// A subscription begins: at a known position where the reply told it.
    pub(super) fn subscribe(&mut self, streams: &[(String, bool)], offsets: Option<&[Option<u64>]>, truth: &Truth) {
        for (place, (subject, last)) in streams.iter().enumerate() {
            if self.order.contains(subject) {
                continue;
            }
            self.order.push(subject.clone());
            if is_pattern(subject) {
                self.hear(subject, *last, truth);
                continue;
            }
            if let Some(place) = self.heard.iter().position(|held| held.topic == *subject) {
                // It goes on where the pattern is; `last` may give once more what a pattern brought that is gone by now.
                let held = self.heard.remove(place);
                let due = held.due && !held.known && *last;
                self.subscriptions.push(Subscription { known: held.known && !last, due, ..held });
                continue;
            }
            let (next, known, old) = match offsets.and_then(|offsets| offsets[place]) {
                Some(newest) => (if *last { newest.max(1) } else { newest + 1 }, true, newest),
                None => (truth.newest(subject) + 1, false, truth.newest(subject)),
            };
            self.subscriptions.push(Subscription { topic: subject.clone(), next, known, old, due: false });
        }
    }

    fn hear(&mut self, pattern: &str, last: bool, truth: &Truth) {
        self.patterns.push(pattern.to_owned());
        for topic in (0..TOPICS).map(topic).filter(|topic| matches(pattern, topic)) {
            if self.subscriptions.iter().chain(&self.heard).all(|held| held.topic != topic) {
                let old = truth.newest(&topic);
                self.heard.push(Subscription { topic, next: old + 1, known: false, old, due: last && old > 0 });
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, subjects: &[String]) {
        self.order.retain(|held| !subjects.contains(held));
        self.patterns.retain(|pattern| !subjects.contains(pattern));
        for held in self.subscriptions.extract_if(.., |held| subjects.contains(&held.topic)) {
            self.heard.push(held);
        }
        let patterns = &self.patterns;
        self.heard.retain_mut(|held| {
            held.due = false;
            patterns.iter().any(|pattern| matches(pattern, &held.topic))
        });
    }

    /// The reply tells exactly how far this connection is where it stands.
    pub(super) fn judge_positions(&self, value: &serde_json::Value, truth: &Truth, who: &str) {
        let entries = value["result"].as_array().unwrap_or_else(|| panic!("{who}: {value}"));
        let named = self.subscriptions.len();
        assert!((named..=named + self.heard.len()).contains(&entries.len()), "{who}: {value}");
        for (place, entry) in entries.iter().enumerate() {
            let held = match self.subscriptions.get(place) {
                Some(held) => Some(held),
                None => self.heard.iter().find(|held| entry["stream"] == *held.topic),
            };
            let Subscription { topic, next, known, .. } = held.unwrap_or_else(|| panic!("{who}: {value}"));
            let offset = entry["offset"].as_u64().expect("it has an offset");
            let fits = if *known { offset + 1 == *next } else { offset < *next };
            assert!(fits && entry["stream"] == **topic, "{who}: {value}, expected {topic} before {next}");
            assert!(offset == 0 || entry["epoch"] == truth.epoch(topic), "{who}: {value}");
        }
    }
}
