//! What must have come to a peer in the end, and how it must have ended.

use super::super::truth::Truth;
use super::holding::matches;
use super::{Asked, Peer, Phase};
use crate::reactor::sim::PeerEnd;

impl Peer {
    /// What it still lacks, if it is open and takes all.
    pub(in crate::shard::tests) fn lacks(&self, truth: &Truth) -> Option<String> {
        if self.phase == Phase::Handshake {
            return Some("the answer to its handshake".into());
        }
        if !self.has_said_all() || !self.asked.is_empty() || !self.pings.is_empty() {
            return Some(format!("answers: {:?}, {:?}, {} bytes to send", self.asked, self.pings, self.outgoing.len()));
        }
        if truth.is_complete() && self.published.iter().any(|(_, payload)| truth.place_of(payload).is_none()) {
            return Some("the taking of its publications".into());
        }
        if self.acknowledged.is_some_and(|count| count < self.published.len()) {
            return Some("the count of its publications".into());
        }
        self.lacks_publications(truth)
    }

    /// Whether it is connected, waits for no reply and has nothing more to say.
    pub(in crate::shard::tests) fn is_answered(&self) -> bool {
        self.phase != Phase::Handshake && self.has_said_all() && self.asked.is_empty()
    }

    pub(in crate::shard::tests) fn lacks_publications(&self, truth: &Truth) -> Option<String> {
        let mut all = self.subscriptions.iter().chain(&self.heard);
        let lacking = all.find(|held| held.next <= truth.newest(&held.topic) || held.due && !held.known);
        lacking.map(|held| format!("{} from {} to {} ({})", held.topic, held.next, truth.newest(&held.topic), held.due))
    }

    /// Whether a publication reached it, where it subscribed before and is not about to leave.
    pub(in crate::shard::tests) fn has(&self, topic: &str, offset: u64) -> bool {
        let leaves = |(_, asked): &(u64, Asked)| matches!(asked, Asked::Unsubscribe(names) if names.iter().any(|name| matches(name, topic)));
        if self.asked.iter().any(leaves) {
            return true;
        }
        let held = self.subscriptions.iter().chain(&self.heard).find(|held| held.topic == topic);
        held.is_none_or(|held| held.next > offset || held.old >= offset)
    }

    /// It is told that more of its publications were taken: they were.
    pub(super) fn judge_ack(&mut self, text: &str, truth: &Truth) {
        let count: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{}: {text}", self.who()));
        let count = count["ack"].as_u64().unwrap_or_else(|| panic!("{}: {text}", self.who())) as usize;
        let before = self.acknowledged.unwrap_or_else(|| panic!("{}: not asked for: {text}", self.who()));
        assert!(before < count && count <= self.published.len(), "{}: {text} behind {before}", self.who());
        let taken = |(_, payload): &(_, Vec<u8>)| truth.place_of(payload).is_some();
        assert!(!truth.is_complete() || self.published[..count].iter().all(taken), "{}: {text}", self.who());
        self.acknowledged = Some(count);
    }

    /// Nothing that it published is lost, repeated or reordered: what was taken is all up to some message, and all of it
    /// where the connection ended in order.
    pub(in crate::shard::tests) fn judge_published(&self, truth: &Truth, all: bool) {
        let places: Vec<_> = self.published.iter().map(|(_, payload)| truth.place_of(payload)).collect();
        if truth.is_complete() {
            let taken = places.iter().take_while(|place| place.is_some()).count();
            assert!(places[taken..].iter().all(Option::is_none), "{}: a publication between others is lost", self.who());
            assert!(!all || taken == places.len(), "{}: only {taken} of {} publications came", self.who(), places.len());
        }
        if all && let Some(count) = self.acknowledged {
            assert_eq!(count, self.published.len(), "{}: it was told how many were taken before the end", self.who());
        }
        let mut before = std::collections::HashMap::new();
        for ((topic, _), place) in self.published.iter().zip(places) {
            let Some((known, offset)) = place else { continue };
            assert_eq!(topic, known, "{}: published elsewhere", self.who());
            let last = before.insert(topic, *offset).unwrap_or(0);
            assert!(last < *offset, "{}: {topic} {offset} behind {last}", self.who());
        }
    }

    pub(in crate::shard::tests) fn has_published_all(&self) -> bool {
        self.has_said_all() && self.end() != Some(PeerEnd::Lost)
    }

    /// How its connection ended, which must be explained.
    pub(in crate::shard::tests) fn judge_end(&self, lags: bool) {
        let end = self.end();
        match end {
            Some(PeerEnd::Finished) => assert!(self.incoming.is_empty() || self.reset, "{}: a frame is cut off", self.who()),
            Some(PeerEnd::Reset) => assert!(self.reset || lags, "{}: reset without need, {:?}", self.who(), self.phase),
            Some(PeerEnd::Lost) => {}
            None => panic!("{}: never closed, {:?}", self.who(), self.phase),
        }
        let finished = end == Some(PeerEnd::Finished) && !self.reset && matches!(self.phase, Phase::Closed(_));
        if let Some(secure) = &self.secure {
            assert!(!finished || secure.ended, "{}: close_notify is the last that comes: {}", self.who(), secure.is_open());
        }
        if self.said_close
            && self.phase != Phase::Handshake
            && end == Some(PeerEnd::Finished)
            && self.has_published_all()
            && !self.reset
        {
            assert!(matches!(self.phase, Phase::Closed(_)), "{}: its close frame was not answered", self.state());
        }
    }
}
