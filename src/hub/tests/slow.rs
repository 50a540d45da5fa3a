//! Subscribers that cannot keep up, judged by what they were sent and told: nothing is left out untold, nothing told was sent,
//! and what is sent instead is the newest of its key.
//!
//! The naive judge keeps everything that was published, and of each subscriber the offsets that came, in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::twin::{TestEncoder, publication};
use super::*;
use crate::config::Slow;

#[derive(Clone, Debug)]
enum Step {
    /// Of one of four keys, or none; sometimes it takes its key out.
    Publish {
        key: usize,
        size: usize,
        removes: bool,
        begins: bool,
    },
    Visit {
        client: usize,
        bytes_max: usize,
        sent_permille: usize,
    },
    Switch {
        client: usize,
    },
    Come {
        client: usize,
        last: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![Just(usize::MAX), 0..200_usize];
    let permille = prop_oneof![Just(1000_usize), 0..1000_usize, Just(0)];
    prop_oneof![
        8 => (0..5_usize, 0..40_usize, 0..8_u8, prop::bool::weighted(0.2))
            .prop_map(|(key, size, dice, begins)| Step::Publish { key, size, removes: dice == 0 && key > 0, begins }),
        4 => (0..SLOWS.len(), bytes, permille).prop_map(|(client, bytes_max, sent_permille)| Step::Visit { client, bytes_max, sent_permille }),
        1 => (0..SLOWS.len()).prop_map(|client| Step::Switch { client }),
        1 => (0..SLOWS.len(), any::<bool>()).prop_map(|(client, last)| Step::Come { client, last }),
    ]
}

const SLOWS: [Slow; 4] = [Slow::Drop, Slow::Conflate, Slow::Conflate, Slow::Drop];

/// What one subscriber was sent and told since it came.
#[derive(Default)]
struct Seen {
    subscribed: bool,
    encoding: Option<Encoding>,
    /// Live begins behind this.
    begin: u64,
    offsets: Vec<u64>,
    gaps: BTreeSet<u64>,
    culled: u64,
    told: u64,
    /// Bytes of the frame that is under way.
    begun: Vec<u8>,
    /// The epoch that it was told last.
    epoch: Option<Epoch>,
}

struct Judge {
    hub: Hub,
    topic: TopicId,
    published: Vec<Publication>,
    clients: Vec<Seen>,
}

fn key(number: usize) -> Option<Key> {
    ["", "a", "b", "c", "d"].get(number).filter(|key| !key.is_empty()).map(|key| Key::parse(key).expect("a key"))
}

impl Judge {
    fn new(ring: RingLimits) -> Judge {
        let mut hub = Hub::new(1 << 20);
        let settings = TopicSettings {
            ring,
            slow_lag_bytes: 60,
            slow_lag_ms: 1 << 20,
            slow_default: Slow::Close,
            keyed: true,
            keys_max: 100,
        };
        let name = TopicName::parse("t").expect("a name");
        let topic = hub.open(name, Arc::new(settings), Position { epoch: Epoch::from_number(7), offset: 0 });
        Judge { hub, topic, published: Vec::new(), clients: SLOWS.map(|_| Seen::default()).into() }
    }

    fn newest(&self) -> u64 {
        self.published.len() as u64
    }

    /// The number before an epoch, and its last: those that its publications begin.
    fn numbers(&self, epoch: Epoch) -> (u64, u64) {
        let begins = |new: &&Publication| new.marks.begins.is_some();
        let first = self.published.iter().filter(begins).find(|new| new.marks.begins.as_deref() == Some(&epoch));
        let first = first.map_or(1, |first| first.offset);
        let next = self.published[first as usize..].iter().find(begins);
        (first - 1, next.map_or(self.newest(), |next| next.offset - 1))
    }

    /// The number that an offset stands for in the epoch that the client was told last.
    fn number(&self, client: usize, offset: u64) -> u64 {
        let (before, last) = self.numbers(self.clients[client].epoch.expect("it is subscribed"));
        let number = before + offset;
        assert!(number > before && number <= last, "client {client}: {offset} is none of the epoch's");
        number
    }

    fn is_newest_of_its_key(&self, offset: u64) -> bool {
        let key = &self.published[offset as usize - 1].marks.key;
        self.published[offset as usize..].iter().all(|later| later.marks.key != *key)
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Publish { key: number, size, removes, begins } => {
                let offset = self.newest() + 1;
                let mut new = publication(offset, PayloadKind::Text, format!("{offset}:{}", "x".repeat(size)).as_bytes());
                new.marks = Marks { key: key(number), removes, ..Marks::default() };
                let count = self.published.iter().filter(|new| new.marks.begins.is_some()).count();
                new.marks.begins = begins.then(|| Box::new(Epoch::from_number(1000 + count as u64)));
                self.hub.publish(self.topic, &new, &mut TestEncoder);
                self.published.push(new);
            }
            Step::Visit { client, bytes_max, sent_permille } => self.visit(client, bytes_max, sent_permille),
            Step::Switch { client } => {
                let seen = &mut self.clients[client];
                if let Some(encoding) = &mut seen.encoding {
                    *encoding = if *encoding == Encoding::Raw { Encoding::Combined } else { Encoding::Raw };
                    self.hub.set_encoding(client as u32, *encoding, &mut TestEncoder);
                }
            }
            Step::Come { client, last } => self.come(client, last),
        }
    }

    fn come(&mut self, client: usize, last: bool) {
        if self.clients[client].subscribed {
            return;
        }
        let (start, begin) = (if last { Start::Newest } else { Start::Live }, self.newest());
        let terms = Terms { slow: SLOWS[client], ..Terms::default() };
        let subscribed = self.hub.subscribe(client as u32, self.topic, Encoding::Raw, terms, start, &mut TestEncoder);
        subscribed.expect("a first subscription");
        self.clients[client] = Seen { subscribed: true, encoding: Some(Encoding::Raw), begin, told: begin, ..Seen::default() };
        self.clients[client].epoch = Some(self.hub.position(self.topic).epoch);
    }

    fn visit(&mut self, client: usize, bytes_max: usize, sent_permille: usize) {
        let (mut spans, mut notices) = (Vec::new(), Vec::new());
        let visiting = Visiting { bytes_max, unix_us: 0, tells: true };
        self.hub.take_due(client as u32, visiting, &mut TestEncoder, &mut spans, &mut notices).expect("nobody is closed");
        assert!(notices.is_empty() || self.clients[client].begun.is_empty(), "no notice stands inside a frame");
        for notice in notices {
            let notice = match notice {
                Notice::Gap { topic, from, to } => {
                    Notice::Gap { topic, from: self.number(client, from), to: self.number(client, to) }
                }
                Notice::Culled { topic, offset, count } => Notice::Culled { topic, offset: self.number(client, offset), count },
                Notice::Epoch { .. } => notice,
            };
            let seen = &mut self.clients[client];
            match notice {
                Notice::Gap { from, to, .. } => {
                    assert_eq!(SLOWS[client], Slow::Drop);
                    (from..=to).for_each(|offset| assert!(seen.gaps.insert(offset), "{offset} is told once"));
                    assert!(seen.offsets.iter().all(|offset| *offset < from), "a notice stands before what follows");
                }
                Notice::Culled { offset, count, .. } => {
                    assert_eq!(SLOWS[client], Slow::Conflate);
                    assert!(offset >= seen.told && count > 0);
                    (seen.told, seen.culled) = (offset, seen.culled + count);
                }
                Notice::Epoch { epoch, .. } => {
                    assert_ne!(seen.epoch, Some(epoch), "an epoch is told once");
                    seen.epoch = Some(epoch);
                }
            }
        }
        let bytes: Vec<u8> = spans
            .iter()
            .flat_map(|span| {
                let (one, two) = self.hub.resolve(span);
                [one, two].concat()
            })
            .collect();
        let begun = !self.clients[client].begun.is_empty();
        let offered = self.frames(client, &bytes);
        for (offset, newest) in offered.iter().skip(usize::from(begun)).map(|offset| (offset, self.is_newest_of_its_key(*offset)))
        {
            let conflates = self.hub.conflates(client as u32, self.topic);
            assert!(newest || !conflates, "{offset} was replaced, and is sent to who cannot keep up");
        }
        let sent = bytes.len() * sent_permille / 1000;
        let mut left = sent;
        for span in &spans {
            let part = left.min(span.bytes());
            left -= part;
            self.hub.advance(client as u32, span, part);
        }
        let whole = self.frames(client, &bytes[..sent]);
        self.clients[client].begun.extend_from_slice(&bytes[..sent]);
        // Whole frames are taken off the front.
        for offset in whole {
            let begun = &mut self.clients[client].begun;
            let frame = frame_bytes(begun).expect("a whole frame is there");
            let frame: Vec<u8> = begun.drain(..frame).collect();
            self.judge_epoch(client, offset, &frame[2..]);
            let seen = &mut self.clients[client];
            assert!(seen.offsets.last().is_none_or(|last| *last < offset), "offsets rise");
            seen.offsets.push(offset);
        }
        let slot = client as u32;
        assert!(self.hub.due().is_wanting(slot) || !self.hub.is_behind(slot), "client {client}: who lacks something is marked");
    }

    /// A publication is of the epoch that its client was told last; a raw one says so to nobody.
    fn judge_epoch(&mut self, client: usize, number: u64, body: &[u8]) {
        let begins = self.published[number as usize - 1].marks.begins.as_deref().copied();
        if begins.is_some() {
            self.clients[client].epoch = begins;
        }
        let text = String::from_utf8_lossy(body);
        let Some(place) = text.rsplit(' ').nth(3) else { return };
        let (epoch, offset) = place.split_once(':').expect("a position");
        assert_eq!(self.clients[client].epoch.map(|told| told.as_str().to_owned()).as_deref(), Some(epoch), "client {client}");
        assert_eq!(self.number(client, offset.parse().expect("an offset")), number);
        assert_eq!(text.starts_with("begins "), begins.is_some());
    }

    /// The offsets of the whole frames in what is under way and what comes behind it.
    fn frames(&self, client: usize, bytes: &[u8]) -> Vec<u64> {
        let mut stream = [&self.clients[client].begun[..], bytes].concat();
        let mut offsets = Vec::new();
        while let Some(bytes) = frame_bytes(&stream) {
            let text = String::from_utf8(stream[2..bytes].to_vec()).expect("the test's payloads are text");
            let payload = text.rsplit(' ').next().expect("a payload");
            let offset: u64 =
                payload.split(':').next().and_then(|offset| offset.parse().ok()).expect("it begins with its offset");
            assert_eq!(payload.as_bytes(), self.published[offset as usize - 1].payload.bytes, "byte for byte");
            offsets.push(offset);
            stream.drain(..bytes);
        }
        offsets
    }

    /// Everybody takes all; then what came and what was told is all that was published.
    fn finish(&mut self) {
        // A visit ends where an epoch does.
        let visits = 3 + self.published.iter().filter(|new| new.marks.begins.is_some()).count();
        for _ in 0..visits {
            (0..SLOWS.len()).for_each(|client| self.visit(client, usize::MAX, 1000));
        }
        let mut state: BTreeMap<Option<Key>, u64> = BTreeMap::new();
        for new in &self.published {
            state.insert(new.marks.key.clone(), new.offset);
        }
        for (client, seen) in self.clients.iter().enumerate().filter(|(_, seen)| seen.subscribed) {
            let live: BTreeSet<u64> = seen.offsets.iter().copied().filter(|offset| *offset > seen.begin).collect();
            let all: BTreeSet<u64> = (seen.begin + 1..=self.newest()).collect();
            match SLOWS[client] {
                Slow::Drop => {
                    assert_eq!(&live | &seen.gaps, all, "client {client}");
                    assert!(live.is_disjoint(&seen.gaps));
                }
                _ => {
                    assert_eq!(live.len() as u64 + seen.culled, all.len() as u64, "client {client}: sent and culled are all");
                    let newest = state.values().filter(|offset| **offset > seen.begin);
                    assert!(newest.into_iter().all(|offset| live.contains(offset)), "client {client} ends with the newest state");
                }
            }
        }
        for client in 0..SLOWS.len() {
            self.hub.leave(client as u32);
        }
        assert_eq!((self.hub.members(self.topic), self.hub.torn_bytes(), self.hub.registry.walks()), (0, 0, 0));
    }
}

/// The bytes of the first frame of the twin's encoder, if it is whole.
fn frame_bytes(stream: &[u8]) -> Option<usize> {
    let bytes = 2 + usize::from(*stream.get(1)?);
    (stream.len() >= bytes).then_some(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_left_out_untold(
        steps in prop::collection::vec(step(), 1..120),
        publications in 1..12_u32,
        bytes in 20..400_u32,
    ) {
        let mut judge = Judge::new(RingLimits { publications, bytes, age_ms: 0 });
        for client in 0..2 {
            judge.come(client, false);
        }
        steps.iter().for_each(|step| judge.apply(step));
        judge.finish();
    }
}

#[test]
fn a_snapshot_is_each_keys_newest_in_order_also_of_what_the_ring_gave_up_and_without_what_was_removed() {
    let mut judge = Judge::new(RingLimits { publications: 2, bytes: 1000, age_ms: 0 });
    for (number, removes) in [(1, false), (2, false), (3, false), (1, false), (2, true), (4, false), (4, false)] {
        judge.apply(&Step::Publish { key: number, size: 1, removes, begins: false });
    }
    judge.come(0, true);
    judge.visit(0, 10, 1000);
    judge.visit(0, usize::MAX, 500);
    judge.apply(&Step::Publish { key: 3, size: 1, removes: false, begins: false });
    judge.visit(0, usize::MAX, 1000);
    judge.visit(0, usize::MAX, 1000);
    assert_eq!(judge.clients[0].offsets, [3, 4, 7, 8]);
    // Another hub that is given the state gives the same snapshot.
    let (mut replica, settings) =
        (Judge::new(RingLimits { publications: 2, bytes: 1000, age_ms: 0 }), judge.hub.state(judge.topic));
    replica.hub.close(replica.topic);
    let position = judge.hub.position(judge.topic);
    let topic_settings = TopicSettings {
        ring: RingLimits { publications: 2, bytes: 1000, age_ms: 0 },
        slow_lag_bytes: 1,
        slow_lag_ms: 1,
        slow_default: Slow::Close,
        keyed: true,
        keys_max: 9,
    };
    replica.topic = replica.hub.open(TopicName::parse("t").expect("a name"), Arc::new(topic_settings), position);
    replica.hub.seed(replica.topic, &settings, &mut TestEncoder);
    replica.published = judge.published.clone();
    replica.come(0, true);
    replica.visit(0, usize::MAX, 1000);
    assert_eq!(replica.clients[0].offsets, [4, 7, 8]);
}

#[test]
fn the_rest_of_a_snapshots_last_frame_is_due_also_where_no_ring_holds_it_and_nothing_follows() {
    let mut judge = Judge::new(RingLimits { publications: 1, bytes: 1000, age_ms: 0 });
    for (number, removes) in [(1, false), (2, true)] {
        judge.apply(&Step::Publish { key: number, size: 20, removes, begins: false });
    }
    judge.come(0, true);
    judge.visit(0, usize::MAX, 900);
    assert_eq!(judge.hub.torn(0).map(|rest| rest.place), Some(TornPlace::Copied));
    assert_eq!(judge.hub.due().next_from(0), Some(0));
    judge.visit(0, usize::MAX, 1000);
    assert_eq!((&judge.clients[0].offsets[..], judge.hub.due().next_from(0)), (&[1][..], None));
}
