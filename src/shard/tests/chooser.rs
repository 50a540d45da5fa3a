//! A peer that chooses how it hears topics, with `since`, `last`, `slow` and `rate`, and its judge.
//!
//! It comes back with the position that it has wherever it can. The judge knows what was published, by topic and offset, and
//! what docs/protocol.md promises: order, each at most once, all or nothing after a position, notices that add up to what did
//! not come, and in the end the newest of each key.

use std::collections::BTreeMap;

use serde_json::Value;

use super::dice::Dice;
use super::wire::{self, CLOSE, Incoming, TEXT};
use crate::reactor::sim::{PeerId, SimNet};

/// What was published: by topic the keys and payloads in order, as the home numbers them.
#[derive(Default)]
pub(super) struct Published {
    topics: BTreeMap<String, Vec<(usize, String)>>,
}

impl Published {
    pub(super) fn add(&mut self, topic: &str, key: usize, payload: String) {
        self.topics.entry(topic.to_owned()).or_default().push((key, payload));
    }

    fn of(&self, topic: &str) -> &[(usize, String)] {
        self.topics.get(topic).map_or(&[], Vec::as_slice)
    }

    fn end(&self, topic: &str) -> u64 {
        self.of(topic).len() as u64
    }

    pub(super) fn count(&self) -> usize {
        self.topics.values().map(Vec::len).sum()
    }

    /// The newest offset of a publication's key, of those up to `at`.
    fn newest_of_key(&self, topic: &Kind, offset: u64, at: u64) -> u64 {
        let (all, key) = (self.of(topic.name), self.of(topic.name)[offset as usize - 1].0);
        let same = |index: &usize| !topic.keyed || all[*index].0 == key;
        (0..at as usize).rev().find(same).map_or(0, |index| index as u64 + 1)
    }
}

/// A topic of these tests.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) state: bool,
    pub(super) keyed: bool,
}

/// Every publication counts; the newest does; the newest of each key does.
pub(super) const KINDS: [Kind; 3] = [
    Kind { name: "md.log", state: false, keyed: false },
    Kind { name: "md.states.one", state: true, keyed: false },
    Kind { name: "md.states.keys", state: true, keyed: true },
];

/// Those that the newest alone counts of.
pub(super) const PATTERN: &str = "md.states.*";

/// How a topic is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Close,
    Drop,
    Conflate,
    Rate,
}

/// What happened to all peers, over all their connections.
#[derive(Debug, Default)]
pub(super) struct Met {
    pub(super) given: u64,
    /// Of those by the pattern.
    pub(super) heard: u64,
    pub(super) resumed: u64,
    pub(super) lost: u64,
    pub(super) gaps: u64,
    pub(super) culled: u64,
    pub(super) thinned: u64,
    pub(super) snapshots: u64,
    pub(super) closed: u64,
}

/// One topic on one peer.
#[derive(Debug)]
struct Held {
    kind: &'static Kind,
    choice: Choice,
    /// By the pattern, not by its name.
    patterned: bool,
    last: bool,
    /// The position asked for.
    since: Option<u64>,
    /// What comes above it must all come or be told; none before the reply.
    joined: Option<u64>,
    /// In the end the newest is owed of each key that was published on above it.
    owed_from: u64,
    /// The last offset that was given or told in a gap.
    position: u64,
    given: u64,
    left_out: u64,
    /// Up to where `culled` told.
    told: u64,
    /// By key the last value.
    values: BTreeMap<usize, u64>,
    /// For the message of a failed assertion.
    heard: Vec<String>,
}

/// One peer, over all its connections.
pub(super) struct Chooser {
    number: usize,
    place: usize,
    net: SimNet,
    id: PeerId,
    incoming: Incoming,
    open: bool,
    closed: Option<u16>,
    held: Vec<Held>,
    epochs: BTreeMap<&'static str, String>,
    ring: u64,
}

impl Chooser {
    /// Connects to a shard.
    pub(super) fn connect(number: usize, (place, net): (usize, SimNet), ring: u64, dice: &mut Dice) -> Chooser {
        let mut held: Vec<Held> = Vec::new();
        let has_pattern = dice.once_in(2);
        for kind in &KINDS {
            if !held.is_empty() && dice.once_in(2) {
                // What has no name here is the pattern's.
                held.extend(has_pattern.then(|| Held { patterned: true, ..Held::new(kind, Choice::Rate) }));
                continue;
            }
            let choices = if kind.state { 4 } else { 2 };
            let choice = [Choice::Close, Choice::Drop, Choice::Conflate, Choice::Rate][dice.below(choices)];
            held.push(Held::new(kind, choice));
        }
        held.sort_by_key(|held| held.patterned);
        let id = net.connect(0);
        let incoming = Incoming::default();
        let mut chooser =
            Chooser { number, place, net, id, incoming, open: false, closed: None, held, epochs: BTreeMap::new(), ring };
        chooser.ask(dice);
        chooser
    }

    /// Comes back, perhaps elsewhere, with its positions.
    pub(super) fn come_back(&mut self, (place, net): (usize, SimNet), dice: &mut Dice) {
        (self.place, self.id) = (place, net.connect(0));
        self.net = net;
        (self.incoming, self.open, self.closed) = (Incoming::default(), false, None);
        self.ask(dice);
    }

    fn ask(&mut self, dice: &mut Dice) {
        let mut streams: Vec<String> = self.held.iter_mut().map(|held| held.ask(&self.epochs, dice)).collect();
        let named = self.named();
        if let Some(first) = self.held.get(named) {
            let last = first.last;
            self.held[named..].iter_mut().for_each(|held| held.last = last);
            streams.truncate(named + 1);
        }
        self.net.write(self.id, &wire::handshake(&format!("/stream?streams={}", streams.join("/")), dice.once_in(2)));
    }

    /// How many topics it names; the pattern's are behind them.
    fn named(&self) -> usize {
        self.held.iter().filter(|held| !held.patterned).count()
    }

    /// Whether its connection is over.
    pub(super) fn is_away(&self) -> bool {
        self.closed.is_some() || self.net.is_closed(self.id).is_some()
    }

    pub(super) fn cut(&mut self) {
        self.net.reset(self.id);
        self.closed = Some(1006);
    }

    pub(super) fn window(&self, bytes: usize) {
        self.net.window(self.id, bytes);
    }

    fn who(&self) -> String {
        format!("chooser {} on shard {}", self.number, self.place)
    }

    /// Reads what was delivered and judges it.
    pub(super) fn read(&mut self, published: &Published, met: &mut Met) {
        if self.closed.is_some() {
            return;
        }
        self.incoming.extend(&self.net.read(self.id));
        if !self.open {
            let Some(head) = self.incoming.head() else { return };
            assert!(head.starts_with("HTTP/1.1 101 "), "{}: {head}", self.who());
            self.incoming.deflate = head.contains("permessage-deflate");
            self.open = true;
        }
        while let Some(frame) = self.incoming.frame() {
            if frame.first == CLOSE {
                let code = frame.payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
                let may = self.held.iter().any(|held| matches!(held.choice, Choice::Close | Choice::Rate));
                assert!(code == 1013 && may, "{}: closed with {code}: {:?}", self.who(), frame.payload);
                met.closed += 1;
                self.closed = Some(code);
                self.net.finish(self.id);
                return;
            }
            let text = String::from_utf8(frame.payload).expect("all of it is text");
            assert_eq!(frame.first, TEXT, "{}: {text}", self.who());
            self.take(&text, published, met);
        }
    }

    fn take(&mut self, text: &str, published: &Published, met: &mut Met) {
        let said: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{}: not JSON: {text}", self.who()));
        let who = format!("{}: {text}", self.who());
        if let Some(entries) = said["result"].as_array() {
            let named = self.named();
            assert_eq!(entries.len(), self.held.len().min(named + 1), "{who}");
            let (names, patterns) = self.held.split_at_mut(named);
            for (held, entry) in names.iter_mut().zip(entries) {
                held.begin(entry, &mut self.epochs, published, self.ring, met, &who);
            }
            for held in patterns {
                held.begin_heard(&entries[named], published, &who);
            }
            return;
        }
        let topic = said["stream"].as_str().or(said["s"].as_str()).unwrap_or_else(|| panic!("{who}"));
        let held = self.held.iter_mut().find(|held| held.kind.name == topic).unwrap_or_else(|| panic!("not asked for: {who}"));
        assert!(held.joined.is_some(), "the reply comes first: {who}");
        match said["e"].as_str() {
            None => {
                let offset = number(&said, "o");
                let payload = &published.of(topic)[offset as usize - 1].1;
                assert!(text.ends_with(&format!(",\"data\":{payload}}}")), "not what was published: {who}");
                held.take(offset, published, &who);
                met.given += 1;
                met.heard += u64::from(held.patterned);
            }
            Some("gap") => {
                held.take_gap(number(&said, "from"), number(&said, "to"), &who);
                met.gaps += 1;
            }
            Some("culled") => {
                held.take_culled(number(&said, "o"), number(&said, "n"), &who);
                met.culled += number(&said, "n");
            }
            Some(_) => panic!("nothing else happened: {who}"),
        }
    }

    /// What it must be given or told yet, once it takes all.
    pub(super) fn lacks(&self, published: &Published) -> Option<String> {
        if self.is_away() {
            return Some(format!("{} is away", self.who()));
        }
        let lacking = self.held.iter().find_map(|held| held.lacks(published))?;
        Some(format!("{}: {lacking}", self.who()))
    }

    /// In the end: publications that a rate thinned out.
    pub(super) fn thinned(&self) -> u64 {
        self.held.iter().filter(|held| held.choice == Choice::Rate).map(|held| held.position.saturating_sub(held.given)).sum()
    }
}

impl Held {
    fn new(kind: &'static Kind, choice: Choice) -> Held {
        Held {
            kind,
            choice,
            patterned: false,
            last: false,
            since: None,
            joined: None,
            owed_from: 0,
            position: 0,
            given: 0,
            left_out: 0,
            told: 0,
            values: BTreeMap::new(),
            heard: Vec::new(),
        }
    }

    /// The stream of the next connection.
    fn ask(&mut self, epochs: &BTreeMap<&'static str, String>, dice: &mut Dice) -> String {
        let known = self.joined.map(|joined| joined.max(self.position)).filter(|_| self.choice != Choice::Rate);
        let (last, since, patterned) = (dice.once_in(2), known.filter(|_| !dice.once_in(4)), self.patterned);
        *self = Held { patterned, last, since, ..Held::new(self.kind, self.choice) };
        let how = match self.choice {
            Choice::Close => ";slow=close",
            Choice::Drop => ";slow=drop",
            Choice::Conflate => ";slow=conflate",
            Choice::Rate => ";rate=100ms",
        };
        let since = self.since.map_or_else(String::new, |offset| format!(";since={}:{offset}", epochs[self.kind.name]));
        let name = if self.patterned { PATTERN } else { self.kind.name };
        format!("{name}{how}{since}{}", if self.last { ";last" } else { "" })
    }

    /// The reply's entry: all or nothing.
    fn begin(
        &mut self,
        entry: &Value,
        epochs: &mut BTreeMap<&'static str, String>,
        published: &Published,
        ring: u64,
        met: &mut Met,
        who: &str,
    ) {
        assert!(self.joined.is_none() && entry["stream"] == self.kind.name, "{who}");
        let newest = number(entry, "offset");
        assert!(newest <= published.end(self.kind.name), "{who}");
        let epoch = entry["epoch"].as_str().expect("an epoch is text").to_owned();
        let before = epochs.insert(self.kind.name, epoch.clone());
        let recovered = entry["recovered"].as_bool();
        assert_eq!(recovered.is_some(), self.since.is_some(), "`since` is answered, and nothing else: {who}");
        if let Some(since) = self.since {
            let same = before.as_ref() == Some(&epoch);
            // A topic is forgotten with its last subscriber, but not once it was published on.
            assert!(same || since == 0, "nothing was restarted: {who}");
            assert!(!same || newest >= since, "{since} was given already: {who}");
            let held = same && newest - since <= ring;
            assert_eq!(recovered, Some(held), "since {since} with a ring of {ring}: {who}");
            if held {
                met.resumed += 1;
                (self.joined, self.owed_from, self.position, self.last) = (Some(since), since, since, false);
                return;
            }
            met.lost += 1;
        }
        met.snapshots += u64::from(self.last && self.kind.keyed && newest > 0);
        // Without keys `last` is one publication, which counts as if it were live.
        let old = self.last && !self.is_snapshot();
        let joined = newest.saturating_sub(old.into());
        self.owed_from = if self.last { 0 } else { joined };
        self.joined = Some(joined);
    }

    /// The reply's entry of the pattern, which says of no topic where it begins.
    fn begin_heard(&mut self, entry: &Value, published: &Published, who: &str) {
        assert!(self.joined.is_none() && entry["stream"] == PATTERN, "{who}");
        self.owed_from = if self.last { 0 } else { published.end(self.kind.name) };
        self.joined = Some(0);
    }

    /// Whether `last` brings what may be passed over where it is replaced first.
    fn is_snapshot(&self) -> bool {
        self.kind.keyed || self.choice == Choice::Rate
    }

    fn take(&mut self, offset: u64, published: &Published, who: &str) {
        let joined = self.joined.expect("it has begun");
        self.heard.push(offset.to_string());
        assert!(offset > self.position, "behind {}: {who}", self.position);
        self.values.insert(published.of(self.kind.name)[offset as usize - 1].0, offset);
        if offset <= joined {
            assert!(self.last && self.is_snapshot(), "old, and not asked for: {who}");
            let newest = published.newest_of_key(self.kind, offset, joined);
            assert_eq!(newest, offset, "of a snapshot at {joined}: {who}");
            self.position = offset;
            return;
        }
        let live = self.position.max(joined);
        match self.choice {
            Choice::Close | Choice::Drop => assert_eq!(offset, live + 1, "a hole that nothing tells; {self:?}: {who}"),
            Choice::Conflate => {
                let missed = offset - joined - self.given - 1;
                assert!(missed <= self.left_out, "{missed} did not come, {} were told: {who}", self.left_out);
                let is_newest = offset > self.told || published.newest_of_key(self.kind, offset, self.told) == offset;
                assert!(is_newest, "replaced before {}, which was told first: {who}", self.told);
            }
            Choice::Rate => {}
        }
        (self.position, self.given) = (offset, self.given + 1);
    }

    fn take_gap(&mut self, from: u64, to: u64, who: &str) {
        let joined = self.joined.expect("it has begun");
        let live = self.position.max(joined);
        assert!(self.choice == Choice::Drop && from == live + 1 && to >= from, "a gap begins behind {live}: {who}");
        self.position = to;
    }

    fn take_culled(&mut self, up_to: u64, count: u64, who: &str) {
        assert!(self.choice == Choice::Conflate && count > 0 && up_to >= self.told, "{who}");
        (self.told, self.left_out) = (up_to, self.left_out + count);
        self.heard.push(format!("culled {up_to} {count}"));
    }

    fn lacks(&self, published: &Published) -> Option<String> {
        let (name, end) = (self.kind.name, published.end(self.kind.name));
        let Some(joined) = self.joined else { return Some(format!("{name}: the reply")) };
        let accounted = match self.choice {
            Choice::Close | Choice::Drop => self.position.max(joined),
            Choice::Conflate => joined + self.given + self.left_out,
            Choice::Rate => end,
        };
        assert!(accounted <= end, "more than the {end} that were published: {self:?}");
        if accounted < end {
            return Some(format!("{name}: {accounted} of {end} accounted for, {:?}", self.choice));
        }
        let newest = |offset: u64| published.newest_of_key(self.kind, offset, end) == offset;
        let lacking = (self.owed_from + 1..=end).filter(|offset| self.choice != Choice::Drop && newest(*offset));
        let mut lacking = lacking.filter(|offset| !self.values.values().any(|value| value == offset));
        let lacking = lacking.next();
        lacking.map(|offset| format!("{name}: {offset}, the newest of its key, {self:?}"))
    }
}

fn number(said: &Value, member: &str) -> u64 {
    said[member].as_u64().unwrap_or_else(|| panic!("no {member} in {said}"))
}
