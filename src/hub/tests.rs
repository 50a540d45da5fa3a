//! The hub as the shard uses it; random operations against its naive twin are in [`random`].

mod epochs;
mod patterns;
mod random;
mod rates;
mod slow;
mod twin;

use super::*;
use crate::config::Slow;
use twin::{TestEncoder, open, publication};

const ROOMY: RingLimits = RingLimits { publications: 1000, bytes: 1 << 20, age_ms: 0 };

fn publish(hub: &mut Hub, topic: TopicId, payload: &str) {
    let offset = hub.position(topic).offset + 1;
    hub.publish(topic, &publication(offset, PayloadKind::Text, payload.as_bytes()), &mut TestEncoder);
}

/// One visit: what was offered, and what is advanced when `sent` bytes of it went.
fn visit(hub: &mut Hub, slot: u32, bytes_max: usize, sent: usize) -> Result<String, Fallen> {
    let mut spans = Vec::new();
    hub.take_due(slot, twin::visiting(bytes_max), &mut TestEncoder, &mut spans, &mut Vec::new())?;
    let mut offered = Vec::new();
    for span in &spans {
        let (one, two) = hub.resolve(span);
        assert_eq!(one.len() + two.len(), span.bytes());
        offered.extend_from_slice(one);
        offered.extend_from_slice(two);
    }
    let mut left = sent.min(offered.len());
    for span in &spans {
        let of_span = left.min(span.bytes());
        hub.advance(slot, span, of_span);
        left -= of_span;
    }
    // Headers of the short frames used here are unprintable: `#` stands for one.
    let text = String::from_utf8_lossy(&offered).replace('\u{fffd}', "#");
    Ok(text.chars().filter(|c| !c.is_control()).collect())
}

const ALL: usize = usize::MAX;

#[test]
fn a_visit_takes_all_that_a_client_lacks_over_all_its_topics() {
    let mut hub = Hub::new(0);
    let a = open(&mut hub, "a", ROOMY, 0);
    let b = open(&mut hub, "b", ROOMY, 0);
    for topic in [a, b] {
        hub.subscribe(3, topic, Encoding::Raw, Terms::default(), Start::Live, &mut TestEncoder).expect("a first subscription");
    }
    assert_eq!(hub.due().next_from(0), None);
    for (topic, payload) in [(a, "a1"), (b, "b1"), (a, "a2")] {
        publish(&mut hub, topic, payload);
    }
    assert_eq!(hub.due().next_from(0), Some(3));
    assert_eq!(visit(&mut hub, 3, ALL, ALL), Ok("#a1#a2#b1".into()));
    assert_eq!((hub.due().next_from(0), hub.is_behind(3)), (None, false));
    assert_eq!(hub.subscriptions(3).collect::<Vec<_>>(), [(a, 3), (b, 2)]);
}

#[test]
fn a_cut_visit_goes_on_with_the_topic_that_waited_longest() {
    let mut hub = Hub::new(0);
    let topics = ["a", "b", "c"].map(|name| open(&mut hub, name, ROOMY, 0));
    for topic in topics {
        hub.subscribe(0, topic, Encoding::Raw, Terms::default(), Start::Live, &mut TestEncoder).expect("a first subscription");
    }
    for number in 1..=3 {
        publish(&mut hub, topics[0], &format!("a{number}"));
    }
    publish(&mut hub, topics[1], "b1");
    publish(&mut hub, topics[2], "c1");
    let offered: Vec<_> = (0..5).map(|_| visit(&mut hub, 0, 4, ALL).expect("nothing fell")).collect();
    assert_eq!(offered, ["#a1", "#b1", "#c1", "#a2", "#a3"]);
}

#[test]
fn the_rest_of_a_torn_frame_leads_the_next_visit_and_can_be_taken_alone() {
    let mut hub = Hub::new(100);
    let a = open(&mut hub, "a", ROOMY, 0);
    hub.subscribe(0, a, Encoding::Raw, Terms::default(), Start::Live, &mut TestEncoder).expect("a first subscription");
    publish(&mut hub, a, "first");
    publish(&mut hub, a, "second");
    assert_eq!(visit(&mut hub, 0, ALL, 4), Ok("#first#second".into()));
    assert_eq!(hub.torn(0), Some(TornRest { bytes: 3, place: TornPlace::Ring }));
    assert_eq!(visit(&mut hub, 0, 0, 1), Ok("rst".into()));
    assert_eq!(visit(&mut hub, 0, ALL, 0), Ok("st#second".into()));
    hub.unsubscribe(0, a, &mut TestEncoder);
    assert_eq!(hub.torn(0), Some(TornRest { bytes: 2, place: TornPlace::Copied }));
    assert_eq!(visit(&mut hub, 0, ALL, 1), Ok("st".into()));
    assert_eq!(hub.due().next_from(0), Some(0));
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Ok("t".into()));
    assert_eq!((hub.torn(0), hub.torn_bytes(), hub.due().next_from(0)), (None, 0, None));
}

#[test]
fn a_rest_over_the_total_is_lost_and_its_client_told_of_once() {
    let mut hub = Hub::new(3);
    let a = open(&mut hub, "a", RingLimits { publications: 1, bytes: 100, age_ms: 0 }, 0);
    for slot in [0, 1] {
        hub.subscribe(slot, a, Encoding::Raw, Terms::default(), Start::Live, &mut TestEncoder).expect("a first subscription");
    }
    publish(&mut hub, a, "1234");
    for slot in [0, 1] {
        visit(&mut hub, slot, ALL, 3).expect("nothing fell");
    }
    publish(&mut hub, a, "5");
    assert_eq!(hub.torn(0), Some(TornRest { bytes: 3, place: TornPlace::Copied }));
    assert_eq!(hub.torn(1), Some(TornRest { bytes: 0, place: TornPlace::Lost }));
    assert_eq!(hub.take_overflowed().collect::<Vec<_>>(), [1]);
    assert_eq!(hub.take_overflowed().count(), 0);
    assert_eq!(visit(&mut hub, 1, ALL, ALL), Ok(String::new()));
    hub.leave(1);
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Ok("234#5".into()));
}

#[test]
fn a_client_that_fell_is_told_and_still_owed_its_rest() {
    let mut hub = Hub::new(100);
    let a = open(&mut hub, "a", RingLimits { publications: 2, bytes: 100, age_ms: 0 }, 0);
    let b = open(&mut hub, "b", ROOMY, 0);
    for topic in [a, b] {
        hub.subscribe(0, topic, Encoding::Raw, Terms::default(), Start::Live, &mut TestEncoder).expect("a first subscription");
    }
    publish(&mut hub, a, "a1");
    visit(&mut hub, 0, ALL, 1).expect("nothing fell");
    hub.due().block(0);
    publish(&mut hub, b, "b1");
    publish(&mut hub, a, "a2");
    publish(&mut hub, a, "a3");
    assert_eq!((hub.fallen(0, true), hub.due().blocked().collect::<Vec<_>>()), (None, vec![0]));
    publish(&mut hub, a, "a4");
    assert_eq!(hub.fallen(0, true), Some(a));
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Err(Fallen { topic: a }));
    assert_eq!(hub.subscriptions(0).collect::<Vec<_>>(), [(a, 2), (b, 1)], "nothing was taken");
    hub.unsubscribe_all(0);
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Ok("a1".into()));
    assert_eq!((hub.members(a), hub.members(b)), (0, 0));
}

#[test]
fn newest_is_rebuilt_from_the_log_and_seeds_a_replica() {
    let kinds = [(PayloadKind::Json, 2), (PayloadKind::Text, 125), (PayloadKind::Binary, 126), (PayloadKind::Binary, 70_000)];
    let mut hub = Hub::new(0);
    let a = open(&mut hub, "a", ROOMY, 41);
    assert_eq!(hub.state(a), []);
    for (number, (kind, size)) in kinds.into_iter().enumerate() {
        let published = publication(42 + number as u64, kind, &vec![b'1'; size]);
        hub.publish(a, &published, &mut TestEncoder);
        assert_eq!(hub.state(a), std::slice::from_ref(&published));

        let mut replica = Hub::new(0);
        let b = open(&mut replica, "a", ROOMY, published.offset);
        replica.seed(b, std::slice::from_ref(&published), &mut TestEncoder);
        assert_eq!((replica.state(b), replica.position(b)), (vec![published], hub.position(a)));
    }
}

/// One publication of a key, or a removal of it.
fn publish_key(hub: &mut Hub, topic: TopicId, key: &str, removes: bool) {
    let mut new = publication(hub.newest(topic) + 1, PayloadKind::Text, key.as_bytes());
    new.marks = Marks { key: Some(Key::parse(key).expect("a key")), removes, ..Marks::default() };
    hub.publish(topic, &new, &mut TestEncoder);
}

#[test]
fn a_replica_is_seeded_also_where_the_newest_was_a_removal_that_made_room() {
    let mut hub = Hub::new(0);
    let a = open(&mut hub, "a", ROOMY, 0);
    publish_key(&mut hub, a, "kept", false);
    publish_key(&mut hub, a, "unknown", true);
    let mut replica = Hub::new(0);
    let b = open(&mut replica, "a", ROOMY, 2);
    replica.seed(b, &hub.state(a), &mut TestEncoder);
    assert_eq!((replica.state(b), replica.position(b)), (hub.state(a), hub.position(a)));
    for (hub, topic) in [(&mut hub, a), (&mut replica, b)] {
        hub.subscribe(0, topic, Encoding::Raw, Terms::default(), Start::Newest, &mut TestEncoder).expect("a first subscription");
        assert_eq!(visit(hub, 0, ALL, ALL), Ok("#kept".into()));
        publish(hub, topic, "next");
        assert_eq!(visit(hub, 0, ALL, ALL), Ok("#next".into()));
    }
    replica.recall(b, &hub.log(a), &mut TestEncoder);
    assert_eq!((replica.log(b), replica.state(b)), (hub.log(a), hub.state(a)));
}

#[test]
fn the_newest_that_last_owes_is_told_as_left_out_also_where_a_variant_needs_it() {
    for varied in [false, true] {
        let mut hub = Hub::new(0);
        let a = open(&mut hub, "a", RingLimits { publications: 1, bytes: 100, age_ms: 0 }, 0);
        if varied {
            hub.variant(a, 100);
        }
        publish(&mut hub, a, "1");
        let terms = Terms { slow: Slow::Drop, ..Terms::default() };
        hub.subscribe(0, a, Encoding::Raw, terms, Start::Newest, &mut TestEncoder).expect("a first subscription");
        publish(&mut hub, a, "2");
        let (mut spans, mut notices) = (Vec::new(), Vec::new());
        hub.take_due(0, twin::visiting(ALL), &mut TestEncoder, &mut spans, &mut notices).expect("nobody is closed");
        assert_eq!((notices, spans.len()), (vec![Notice::Gap { topic: a, from: 1, to: 1 }], 1), "with a variant: {varied}");
    }
}

#[test]
fn a_variants_snapshot_does_not_need_its_parents_readers() {
    let mut hub = Hub::new(100);
    let a = open(&mut hub, "a", ROOMY, 0);
    let combined = Encoding::Combined;
    hub.subscribe(0, a, combined, Terms::default(), Start::Live, &mut TestEncoder).expect("a first subscription");
    publish(&mut hub, a, "newest");
    let variant = hub.variant(a, 100);
    hub.subscribe(1, variant, combined, Terms::default(), Start::Newest, &mut TestEncoder).expect("a first subscription");
    let mut spans = Vec::new();
    hub.take_due(1, twin::visiting(ALL), &mut TestEncoder, &mut spans, &mut Vec::new()).expect("nobody is closed");
    // As where a turn finds that somebody fell.
    hub.unsubscribe_all(0);
    let (bytes, _) = hub.resolve(&spans[0]);
    assert!(bytes.ends_with(b"newest"));
    let sent = bytes.len() - 2;
    hub.advance(1, &spans[0], sent);
    assert_eq!(visit(&mut hub, 1, ALL, ALL), Ok("st".into()));
}

#[test]
fn what_cannot_be_subscribed_says_why() {
    let mut hub = Hub::new(0);
    let a = open(&mut hub, "a", RingLimits { publications: 2, bytes: 1000, age_ms: 0 }, 10);
    for payload in ["x", "y", "z"] {
        publish(&mut hub, a, payload);
    }
    let mut subscribe = |start| hub.subscribe(0, a, Encoding::Combined, Terms::default(), start, &mut TestEncoder);
    assert_eq!(subscribe(Start::After(14)), Err(HubError::Ahead { after: 14, newest: 13 }));
    assert_eq!(subscribe(Start::After(10)), Err(HubError::NotHeld { after: 10, oldest: 12 }));
    assert_eq!(subscribe(Start::After(11)), Ok(()));
    assert_eq!(subscribe(Start::Live), Err(HubError::Subscribed));
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Ok("#a 7:12 1012 Text y#a 7:13 1013 Text z".into()));
}

#[test]
fn a_quiet_topic_costs_about_650_bytes() {
    let mut hub = Hub::new(0);
    let a = open(&mut hub, "market.trades.BTC-USD", RingLimits { publications: 4096, bytes: 1 << 20, age_ms: 0 }, 0);
    publish(&mut hub, a, &"x".repeat(200));
    // With its word and its entry in the map by name, which is at worst just above half of 7/8 full.
    let named = size_of::<usize>() + (size_of::<(TopicName, TopicId)>() + 1) * 16 / 7;
    let bytes = hub.topics.get(a).held_bytes() + named;
    assert!(bytes <= 690, "{bytes} bytes");
}
