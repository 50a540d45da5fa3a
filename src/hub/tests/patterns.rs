//! Patterns: what they bring, and what they keep.

use super::twin::{TestEncoder, open};
use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).expect("it is one")
}

/// So many clients that have a pattern, from slot 0.
fn with_clients(hub: &mut Hub, text: &str, clients: u32) {
    for slot in 0..clients {
        assert!(hub.subscribe_pattern(slot, &pattern(text), None, Encoding::Combined, Terms::default(), false));
    }
}

#[test]
fn a_pattern_brings_topics_that_are_made_later_and_each_publication_once() {
    let mut hub = Hub::new(0);
    let old = open(&mut hub, "md.a", ROOMY, 0);
    publish(&mut hub, old, "before");
    assert!(hub.subscribe_pattern(3, &pattern("md.*"), None, Encoding::Raw, Terms::default(), false));
    assert!(hub.subscribe_pattern(3, &pattern(">"), None, Encoding::Raw, Terms::default(), false));
    assert!(
        !hub.subscribe_pattern(3, &pattern(">"), None, Encoding::Raw, Terms::default(), false),
        "a client has a pattern once"
    );
    let new = open(&mut hub, "md.b", ROOMY, 0);
    let other = open(&mut hub, "other", ROOMY, 0);
    assert_eq!((hub.pattern_topics("md.*"), hub.pattern_topics(">"), hub.pattern_topics("x.>")), (Some(2), Some(3), None));
    for (topic, payload) in [(new, "b1"), (old, "a2"), (new, "b2"), (other, "o1")] {
        publish(&mut hub, topic, payload);
    }
    assert_eq!(visit(&mut hub, 3, ALL, ALL), Ok("#b1#b2#a2#o1".into()));
    assert_eq!(hub.topics.get(new).rows(), 0, "who has caught up has no row");
    assert_eq!((hub.members(new), hub.members(other), hub.members_by_name(new)), (2, 1, 0));
}

#[test]
fn a_topic_that_all_have_read_holds_neither_rows_nor_rings_for_them() {
    let mut hub = Hub::new(0);
    with_clients(&mut hub, ">", 1000);
    let topics: Vec<_> = (0..100).map(|number| open(&mut hub, &format!("t.{number}"), ROOMY, 0)).collect();
    for round in 0..3 {
        for topic in &topics {
            publish(&mut hub, *topic, &format!("{round}"));
            // Client 7 reads nothing.
            for slot in (0..1000).filter(|slot| *slot != 7) {
                visit(&mut hub, slot, ALL, ALL).expect("nothing fell");
            }
        }
    }
    let rows: usize = topics.iter().map(|topic| hub.topics.get(*topic).heard.as_ref().map_or(0, |heard| heard.rows.len())).sum();
    assert!(rows <= 2 * topics.len(), "{rows} rows for one slow client in {} topics", topics.len());
    visit(&mut hub, 7, ALL, ALL).expect("nothing fell");
    for topic in topics {
        let topic = hub.topics.get(topic);
        assert_eq!((topic.rows(), topic.encoded(Encoding::Combined).is_some()), (0, false));
        assert_eq!(topic.heard.as_ref().map(|heard| heard.rows.capacity()), Some(0));
    }
}

#[test]
fn a_name_goes_on_where_the_pattern_is_and_the_pattern_where_the_name_is() {
    let mut hub = Hub::new(0);
    let a = open(&mut hub, "a", ROOMY, 0);
    publish(&mut hub, a, "a1");
    hub.subscribe_pattern(0, &pattern("*"), None, Encoding::Raw, Terms::default(), false);
    publish(&mut hub, a, "a2");
    publish(&mut hub, a, "a3");
    let heard = hub.subscribe(0, a, Encoding::Raw, Terms::default(), Start::After(2), &mut TestEncoder);
    assert_eq!(heard, Err(HubError::Heard { after: 2, next: 2 }));
    assert_eq!(hub.subscribe(0, a, Encoding::Raw, Terms::default(), Start::Newest, &mut TestEncoder), Ok(()));
    assert_eq!(visit(&mut hub, 0, 3, ALL), Ok("#a2".into()));
    assert!(hub.unsubscribe(0, a, &mut TestEncoder));
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Ok("#a3".into()));
    assert_eq!(hub.topics.get(a).rows(), 0);
    assert!(hub.unsubscribe_pattern(0, "*", &mut TestEncoder));
    publish(&mut hub, a, "a4");
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Ok(String::new()));
}

#[test]
fn last_of_a_pattern_is_the_newest_of_each_topic_a_few_at_a_time() {
    let mut hub = Hub::new(0);
    let topics: Vec<_> = ["a", "b", "c", "d", "e"].into_iter().map(|name| open(&mut hub, name, ROOMY, 0)).collect();
    let at = |topic: usize, offset| (topics[topic], Position { epoch: Epoch::from_number(7), offset });
    for topic in &topics[..4] {
        let payload = format!("{}1", hub.name(*topic));
        publish(&mut hub, *topic, &payload);
    }
    hub.subscribe(0, topics[1], Encoding::Raw, Terms::default(), Start::Live, &mut TestEncoder).expect("a first subscription");
    hub.subscribe_pattern(0, &pattern("*"), None, Encoding::Raw, Terms::default(), true);
    assert_eq!(hub.pattern_positions(0, 9), Some(vec![at(0, 0), at(2, 0), at(3, 0), at(4, 0)]));
    publish(&mut hub, topics[2], "c2");
    assert!(!hub.is_touring(), "its client lacks something");
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Ok("#c2".into()));
    let mut came = Vec::new();
    while hub.is_touring() {
        hub.tour(1, &mut TestEncoder);
        came.push(visit(&mut hub, 0, ALL, ALL).expect("nothing fell"));
    }
    assert_eq!(came, ["#a1", "#d1", ""], "without what it named, and what it was given since");
    assert_eq!(hub.pattern_positions(0, 9), Some(vec![at(0, 1), at(2, 2), at(3, 1), at(4, 0)]));
}

#[test]
fn a_pattern_at_a_rate_has_variants_only_while_an_interval_is_under_way_or_read() {
    let mut hub = Hub::new(0);
    for slot in 0..1000 {
        hub.subscribe_pattern(slot, &pattern(">"), Some(100), Encoding::Combined, Terms::default(), false);
    }
    let topics: Vec<_> = (0..100).map(|number| open(&mut hub, &format!("t.{number}"), ROOMY, 0)).collect();
    for round in 0..3 {
        for topic in &topics {
            for part in 0..3 {
                publish(&mut hub, *topic, &format!("{round}.{part}"));
            }
            assert_eq!(hub.topics.get(*topic).rows(), 0, "nobody hears all of it");
        }
        assert_eq!(hub.due().next_from(0), None, "nothing before the interval's end");
        for topic in &topics {
            let &[(100, variant)] = hub.variants(*topic) else { panic!("it has one variant") };
            assert_eq!(hub.refresh(variant, &mut TestEncoder), 1000);
            for slot in 0..1000 {
                let came = visit(&mut hub, slot, ALL, ALL).expect("nothing fell");
                assert!(came.ends_with(&format!("{} Text {round}.2", 3 * (round + 1) + 1000)), "{came}");
            }
            let unheard = hub.take_unheard();
            assert_eq!(unheard, [variant]);
            unheard.into_iter().for_each(|variant| hub.close_variant(variant));
        }
        assert!(hub.variants.is_empty() && hub.unheard.is_empty());
        assert_eq!(hub.topics.numbers(), 200, "numbers are given again");
    }
}

/// At the bound a client whose socket is full is given up, and no more of them than that makes room; who takes bytes has all.
#[test]
fn clients_that_take_nothing_have_no_more_rows_than_there_may_be() {
    const ROWS_MAX: u32 = 100;
    const CLIENTS: u32 = 20;
    const READER: u32 = 7;
    for rate_ms in [None, Some(100)] {
        let mut hub = Hub::new(0);
        hub.bound_pattern_rows(ROWS_MAX);
        for slot in 0..CLIENTS {
            hub.subscribe_pattern(slot, &pattern(">"), rate_ms, Encoding::Combined, Terms::default(), false);
        }
        let first = open(&mut hub, "t", ROOMY, 0);
        let deliver = |hub: &mut Hub, topic| {
            publish(hub, topic, "some text");
            let variant = hub.variants(topic).first().map(|(_, variant)| *variant);
            variant.map(|variant| hub.refresh(variant, &mut TestEncoder));
        };
        deliver(&mut hub, first);
        // Each is inside a frame of it.
        (0..CLIENTS).for_each(|slot| assert!(visit(&mut hub, slot, ALL, 5).is_ok()));
        (0..CLIENTS).filter(|slot| *slot != READER).for_each(|slot| hub.due().block(slot));
        let mut lost = Vec::new();
        for number in 0..60 {
            let topic = open(&mut hub, &format!("t.{number}"), ROOMY, 0);
            deliver(&mut hub, topic);
            assert!(hub.pattern_rows() <= ROWS_MAX + 2, "{} rows", hub.pattern_rows());
            // Who is given up already, and not reset yet, has no row of this one either.
            deliver(&mut hub, first);
            let came = visit(&mut hub, READER, ALL, ALL).expect("nothing fell");
            assert!(came.contains(&format!("t.{number} ")) && came.contains("t "), "{came}");
            for slot in hub.take_overflowed().collect::<Vec<_>>() {
                assert_eq!(hub.registry.passing_of(slot).count(), 0, "its rows are freed at once");
                hub.leave(slot);
                lost.push(slot);
            }
        }
        // Of each of 61 topics one row: one client is within the bound.
        assert_eq!(lost.len(), CLIENTS as usize - 2, "{lost:?}");
        assert_eq!((hub.pattern_rows(), hub.torn_bytes()), (61, 0));
        assert!(!lost.contains(&READER) && lost.iter().collect::<std::collections::BTreeSet<_>>().len() == lost.len());
        (0..CLIENTS).for_each(|slot| hub.leave(slot));
        assert_eq!(hub.pattern_rows(), 0);
    }
}
