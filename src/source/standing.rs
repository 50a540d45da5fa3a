//! What was last known of each feed. It outlives the feed's tasks: whoever runs the feed next, this process or the one that takes its place,
//! knows which topics are behind it before it has brought anything, and can tell their subscribers that it is gone.
//!
//! Without: feeds that are never told to be gone: only upstreams write here. Invariant: no two feeds are called the same.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::hub::TopicName;
use crate::metrics::FeedMetrics;
use crate::takeover::HandedFeed;

/// What was last known of a feed.
#[derive(Debug, Default)]
pub struct Standing {
    /// Topics that it brought something of.
    pub(super) topics: HashSet<TopicName>,
    /// When it brought something last, milliseconds since 1970.
    pub(super) heard_ms: u64,
    /// Subscribers were told that it is gone.
    pub(super) gone: bool,
}

/// Of all feeds of a configuration, in its order; for the control thread.
#[derive(Clone, Debug)]
pub struct Standings(Rc<[(String, Rc<RefCell<Standing>>)]>);

impl Standings {
    /// Of these, nothing being known of them.
    #[must_use]
    pub fn of(feeds: &[Arc<FeedMetrics>]) -> Standings {
        let mut alike = HashMap::new();
        let one = |feed: &Arc<FeedMetrics>| {
            let name = format!("{} {}", feed.kind, feed.name);
            let number: &mut u32 = alike.entry(name.clone()).or_default();
            *number += 1;
            (format!("{name} {number}"), Rc::default())
        };
        Standings(feeds.iter().map(one).collect())
    }

    /// Of the feed at this place of the configuration.
    pub(super) fn at(&self, place: usize) -> Rc<RefCell<Standing>> {
        self.0[place].1.clone()
    }

    /// For another gateway.
    #[must_use]
    pub fn hand_over(&self) -> Vec<HandedFeed> {
        let one = |(name, standing): &(String, Rc<RefCell<Standing>>)| {
            let standing = standing.borrow();
            let topics = standing.topics.iter().cloned().collect();
            HandedFeed { name: name.clone(), topics, heard_ms: standing.heard_ms, gone: standing.gone }
        };
        self.0.iter().map(one).filter(|feed| !feed.topics.is_empty()).collect()
    }

    /// Goes on with the feeds of another gateway that are this one's, too. Gives the topics of those that are gone, and since when.
    #[must_use]
    pub fn adopt(&self, handed: Vec<HandedFeed>) -> Vec<(Vec<TopicName>, u64)> {
        let mut stale = Vec::new();
        for HandedFeed { name, topics, heard_ms, gone } in handed {
            let Some((_, standing)) = self.0.iter().find(|(own, _)| *own == name) else { continue };
            *standing.borrow_mut() = Standing { topics: topics.iter().cloned().collect(), heard_ms, gone };
            if gone {
                stale.push((topics, heard_ms));
            }
        }
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feed_goes_on_with_what_was_known_of_its_own() {
        let metrics = |names: &[&str]| -> Vec<Arc<FeedMetrics>> {
            names.iter().map(|name| Arc::new(FeedMetrics::new("upstream", name, 1))).collect()
        };
        let name = |name: &str| TopicName::parse(name).expect("a name");
        let before = Standings::of(&metrics(&["wss://a", "wss://a", "wss://old", "wss://quiet"]));
        for (place, (topic, gone)) in [("one", false), ("two", true), ("three", true)].into_iter().enumerate() {
            *before.at(place).borrow_mut() = Standing { topics: [name(topic)].into(), heard_ms: place as u64, gone };
        }
        let after = Standings::of(&metrics(&["wss://new", "wss://a", "wss://a"]));
        assert_eq!(after.adopt(before.hand_over()), [(vec![name("two")], 1)]);
        let topics: Vec<HashSet<TopicName>> = (0..3).map(|place| after.at(place).borrow().topics.clone()).collect();
        assert_eq!(topics, [HashSet::new(), [name("one")].into(), [name("two")].into()]);
    }
}
