//! The patterns that clients of a shard are subscribed to, each at a rate or at the topics' own pace: by text, and by levels in a
//! trie that finds all that a name matches. A text at another rate is another pattern.
//!
//! A pattern knows its members (rows of the registry). A topic knows its patterns by a list of its own, which is made anew when
//! the topic is next published on after the set of patterns has changed: so a new pattern touches no topic.
//!
//! Without: rows, topics' rings, what a pattern's members are sent.
//!
//! Invariants: a pattern is here while it has members. A list that was made at [`Patterns::set_at`] is true until that moves;
//! [`Patterns::members_at`] moves with every member that comes or goes.

use std::collections::HashMap;

use super::Encoding;
use super::store::TopicId;
use super::topic::Pattern;
use super::trie::Trie;

/// Names a pattern of one hub. Given again to another once nobody is subscribed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PatternId(u32);

impl PatternId {
    /// As a row of the registry keeps it, in the topic's place.
    pub(super) fn in_row(self) -> TopicId {
        TopicId::from_index(self.0)
    }

    /// What a pattern's row keeps.
    pub(super) fn of_row(topic: TopicId) -> PatternId {
        PatternId(topic.index() as u32)
    }
}

/// One pattern.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) pattern: Pattern,
    /// At which its members hear what it brings, in milliseconds; none: all that is published.
    pub(super) rate_ms: Option<u32>,
    /// The rows of it, in the order of their clients' slots.
    pub(super) members: Vec<u32>,
    /// The encodings that members read, and how many read each.
    pub(super) encodings: Vec<(Encoding, u32)>,
    /// Topics that match, from when that was first asked.
    pub(super) topics: Option<u32>,
}

impl Subscribed {
    fn reads(&mut self, encoding: Encoding) {
        match self.encodings.iter_mut().find(|(other, _)| *other == encoding) {
            Some((_, count)) => *count += 1,
            None => self.encodings.push((encoding, 1)),
        }
    }

    fn reads_no_more(&mut self, encoding: Encoding) {
        let place = self.encodings.iter().position(|(other, _)| *other == encoding).expect("a member reads it");
        self.encodings[place].1 -= 1;
        if self.encodings[place].1 == 0 {
            self.encodings.swap_remove(place);
        }
    }
}

/// All patterns that have members.
#[derive(Debug)]
pub(super) struct Patterns {
    patterns: Vec<Option<Box<Subscribed>>>,
    free: Vec<u32>,
    /// By text: one for each rate.
    names: HashMap<Pattern, Vec<PatternId>>,
    trie: Trie<Vec<PatternId>>,
    set_at: u64,
    members_at: u64,
}

impl Patterns {
    pub(super) fn new() -> Patterns {
        let (patterns, free, names) = (Vec::new(), Vec::new(), HashMap::new());
        Patterns { patterns, free, names, trie: Trie::default(), set_at: 0, members_at: 0 }
    }

    /// Moves when a pattern comes or goes.
    pub(super) fn set_at(&self) -> u64 {
        self.set_at
    }

    /// Moves when a member comes or goes.
    pub(super) fn members_at(&self) -> u64 {
        self.members_at
    }

    /// Those of this text, each at a rate of its own.
    pub(super) fn find(&self, pattern: &str) -> &[PatternId] {
        self.names.get(pattern).map_or(&[], |ids| ids)
    }

    pub(super) fn get(&self, id: PatternId) -> &Subscribed {
        self.patterns[id.0 as usize].as_deref().expect("a pattern with members is there")
    }

    pub(super) fn get_mut(&mut self, id: PatternId) -> &mut Subscribed {
        self.patterns[id.0 as usize].as_deref_mut().expect("a pattern with members is there")
    }

    /// The pattern of this text at this rate, made where it is not there. It must get a member next.
    pub(super) fn find_or_insert(&mut self, pattern: &Pattern, rate_ms: Option<u32>) -> PatternId {
        let found = self.find(pattern.as_str()).iter().find(|id| self.get(**id).rate_ms == rate_ms);
        if let Some(id) = found {
            return *id;
        }
        let (members, encodings) = (Vec::new(), Vec::new());
        let subscribed = Subscribed { pattern: pattern.clone(), rate_ms, members, encodings, topics: None };
        let number = self.free.pop().unwrap_or_else(|| {
            self.patterns.push(None);
            (self.patterns.len() - 1) as u32
        });
        let id = PatternId(number);
        self.patterns[number as usize] = Some(Box::new(subscribed));
        self.names.entry(pattern.clone()).or_default().push(id);
        self.trie.entry(pattern.as_str()).get_or_insert_default().push(id);
        self.set_at += 1;
        id
    }

    /// A row becomes a member, at this place among them.
    pub(super) fn join(&mut self, id: PatternId, place: usize, row: u32, encoding: Encoding) {
        let subscribed = self.get_mut(id);
        subscribed.members.insert(place, row);
        subscribed.reads(encoding);
        self.members_at += 1;
    }

    /// The member at this place leaves; the last one takes the pattern along.
    pub(super) fn leave(&mut self, id: PatternId, place: usize, encoding: Encoding) {
        self.members_at += 1;
        let subscribed = self.get_mut(id);
        subscribed.members.remove(place);
        subscribed.reads_no_more(encoding);
        if subscribed.members.is_empty() {
            let gone = self.patterns[id.0 as usize].take().expect("it was looked at");
            let text = gone.pattern.as_str();
            let ids = self.names.get_mut(text).expect("it stands under its text");
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.names.remove(text);
                self.trie.remove(text);
            } else {
                self.trie.entry(text).get_or_insert_default().retain(|other| *other != id);
            }
            self.free.push(id.0);
            self.set_at += 1;
        }
    }

    /// A member changes its encoding.
    pub(super) fn encode(&mut self, id: PatternId, before: Encoding, encoding: Encoding) {
        let subscribed = self.get_mut(id);
        subscribed.reads_no_more(before);
        subscribed.reads(encoding);
    }

    /// The patterns that the name matches, in the order of their numbers.
    pub(super) fn matching(&self, name: &str) -> Vec<PatternId> {
        let mut found = Vec::new();
        if !self.names.is_empty() {
            self.trie.each(name, |ids| found.extend(ids));
            found.sort_unstable();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn levels(with: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(with), 1..4).prop_map(|levels| levels.join("."))
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_each_pattern_matches_by_itself(
            steps in prop::collection::vec((levels(&["a", "b", "*", "*"]), any::<bool>(), any::<bool>()), 1..30),
            names in prop::collection::vec(levels(&["a", "b", "c"]), 1..20),
        ) {
            let mut patterns = Patterns::new();
            let mut twin: Vec<Pattern> = Vec::new();
            for (text, rest, leaves) in steps {
                let text = if rest { format!("{text}.>") } else { text };
                let pattern = Pattern::parse(&text).expect("it is one");
                let before = patterns.set_at();
                match (twin.iter().position(|other| *other == pattern), leaves) {
                    (Some(place), true) => {
                        twin.remove(place);
                        patterns.leave(patterns.find(&text)[0], 0, Encoding::Raw);
                        prop_assert_ne!(patterns.set_at(), before);
                    }
                    (None, false) => {
                        twin.push(pattern.clone());
                        let id = patterns.find_or_insert(&pattern, None);
                        patterns.join(id, 0, 7, Encoding::Raw);
                        prop_assert_ne!(patterns.set_at(), before);
                    }
                    _ => prop_assert_eq!(patterns.find(&text).len(), usize::from(!leaves)),
                }
                prop_assert_eq!(patterns.names.len(), twin.len());
                for name in &names {
                    let mut found: Vec<Pattern> =
                        patterns.matching(name).into_iter().map(|id| patterns.get(id).pattern.clone()).collect();
                    found.sort();
                    let mut expected: Vec<Pattern> = twin.iter().filter(|pattern| pattern.matches(name)).cloned().collect();
                    expected.sort();
                    prop_assert_eq!(found, expected, "{}", name);
                }
            }
            prop_assert!(!twin.is_empty() || patterns.trie.is_empty());
        }
    }

    #[test]
    fn a_rest_is_one_level_or_more() {
        let mut patterns = Patterns::new();
        for text in [">", "md.>", "md.*", "md.*.BTC-USD", "*.trades.>"] {
            let id = patterns.find_or_insert(&Pattern::parse(text).expect("it is one"), None);
            patterns.join(id, 0, 7, Encoding::Raw);
        }
        let found = |name: &str| -> Vec<String> {
            patterns.matching(name).into_iter().map(|id| patterns.get(id).pattern.as_str().to_owned()).collect()
        };
        assert_eq!(found("md"), [">"]);
        assert_eq!(found("md.x"), [">", "md.>", "md.*"]);
        assert_eq!(found("md.trades.BTC-USD"), [">", "md.>", "md.*.BTC-USD", "*.trades.>"]);
        assert_eq!(found("other"), [">"]);
    }

    #[test]
    fn a_text_at_another_rate_is_another_pattern() {
        let mut patterns = Patterns::new();
        let text = Pattern::parse("md.>").expect("it is one");
        let ids = [None, Some(100), Some(250), Some(100)].map(|rate_ms| patterns.find_or_insert(&text, rate_ms));
        assert_eq!(ids[1], ids[3]);
        ids[..3].iter().for_each(|id| patterns.join(*id, 0, 7, Encoding::Raw));
        assert_eq!(patterns.matching("md.a"), &ids[..3]);
        patterns.leave(ids[1], 0, Encoding::Raw);
        assert_eq!((patterns.matching("md.a"), patterns.find("md.>")), (vec![ids[0], ids[2]], &[ids[0], ids[2]][..]));
        patterns.leave(ids[0], 0, Encoding::Raw);
        patterns.leave(ids[2], 0, Encoding::Raw);
        assert!(patterns.find("md.>").is_empty() && patterns.trie.is_empty());
    }
}
