//! Epochs where no ring is read frame by frame, in what is thinned out, and in another hub.

use super::twin::given::{name, settings};
use super::twin::{TestEncoder, open, publication, visiting};
use super::*;

/// Publishes as the next; `begins`: in the epoch of this number.
fn publish(hub: &mut Hub, topic: TopicId, begins: Option<u64>) {
    let number = hub.newest(topic) + 1;
    let mut new = publication(number, PayloadKind::Text, format!("p{number}").as_bytes());
    new.marks.begins = begins.map(|number| Box::new(Epoch::from_number(number)));
    hub.publish(topic, &new, &mut TestEncoder);
}

fn at(epoch: u64, offset: u64) -> Position {
    Position { epoch: Epoch::from_number(epoch), offset }
}

fn subscribe(hub: &mut Hub, slot: u32, topic: TopicId, start: Start, slow: Slow) -> Result<(), HubError> {
    let terms = Terms { slow, ..Terms::default() };
    hub.subscribe(slot, topic, Encoding::Combined, terms, start, &mut TestEncoder)
}

#[test]
fn what_is_thinned_out_begins_an_epoch_with_the_first_that_is_not() {
    let mut hub = Hub::new(0);
    let a = open(&mut hub, "a", ROOMY, 0);
    let variant = hub.variant(a, 100);
    subscribe(&mut hub, 0, variant, Start::Live, Slow::Close).expect("a first subscription");
    publish(&mut hub, a, None);
    hub.refresh(variant, &mut TestEncoder);
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Ok("#a 7:1 1001 Text p1".into()));
    publish(&mut hub, a, Some(8));
    assert_eq!(hub.positions(0).collect::<Vec<_>>(), [(variant, at(7, 1))]);
    publish(&mut hub, a, None);
    hub.refresh(variant, &mut TestEncoder);
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Ok("#begins a 8:2 1003 Text p3".into()));
    assert_eq!(hub.positions(0).collect::<Vec<_>>(), [(variant, at(8, 2))]);
    publish(&mut hub, a, None);
    hub.refresh(variant, &mut TestEncoder);
    assert_eq!(visit(&mut hub, 0, ALL, ALL), Ok("#a 8:3 1004 Text p4".into()));
}

#[test]
fn another_hub_goes_on_in_the_same_epochs() {
    let mut home = Hub::new(0);
    let a = open(&mut home, "a", ROOMY, 0);
    for begins in [None, None, Some(8), None] {
        publish(&mut home, a, begins);
    }
    let mut replica = Hub::new(0);
    let b = replica.open_in(name("a"), settings(ROOMY), home.epochs(a).clone(), home.newest(a));
    replica.seed(b, &home.state(a), &mut TestEncoder);
    assert_eq!((replica.position(b), replica.newest(b)), (at(8, 2), 4));
    assert!(replica.lacks_after(b, at(8, 0)) && !replica.lacks_after(b, at(8, 1)) && !replica.lacks_after(b, at(7, 1)));
    assert!(replica.is_ahead(b, at(8, 3)) && !replica.is_ahead(b, at(8, 2)) && !replica.is_ahead(b, at(7, 3)));
    replica.recall(b, &home.log(a), &mut TestEncoder);
    subscribe(&mut replica, 0, b, Start::After(1), Slow::Close).expect("it holds all");
    let all = "#a 7:2 1002 Text p2#begins a 8:1 1003 Text p3#a 8:2 1004 Text p4";
    assert_eq!(visit(&mut replica, 0, ALL, ALL), Ok(all.into()));
}

/// All notices of a visit, and what it offers, which goes.
fn noticed(hub: &mut Hub, slot: u32) -> (Vec<Notice>, usize) {
    let (mut spans, mut notices) = (Vec::new(), Vec::new());
    hub.take_due(slot, visiting(ALL), &mut TestEncoder, &mut spans, &mut notices).expect("nobody is closed");
    let ended = spans.iter().map(|span| hub.advance(slot, span, span.bytes())).sum::<u64>();
    (notices, ended as usize)
}

#[test]
fn what_is_left_out_of_several_epochs_is_told_of_each() {
    let mut hub = Hub::new(0);
    let topic = open(&mut hub, "a", RingLimits { publications: 1, bytes: 1 << 20, age_ms: 0 }, 0);
    subscribe(&mut hub, 0, topic, Start::Live, Slow::Drop).expect("a first subscription");
    for begins in [None, None, Some(8), None, Some(9), None] {
        publish(&mut hub, topic, begins);
    }
    let epoch = |number| Notice::Epoch { topic, epoch: Epoch::from_number(number) };
    let gap = |from, to| Notice::Gap { topic, from, to };
    assert_eq!(noticed(&mut hub, 0), (vec![gap(1, 2), epoch(8), gap(1, 2), epoch(9), gap(1, 1)], 1));
    publish(&mut hub, topic, None);
    publish(&mut hub, topic, Some(10));
    assert_eq!(noticed(&mut hub, 0), (vec![gap(3, 3)], 1), "the ring holds what begins the epoch, and that tells of it");
    assert_eq!(hub.positions(0).collect::<Vec<_>>(), [(topic, at(10, 1))]);
}

#[test]
fn of_epochs_that_nobody_remembers_it_is_told_that_they_are_over() {
    let mut hub = Hub::new(0);
    let topic = open(&mut hub, "a", RingLimits { publications: 1, bytes: 1 << 20, age_ms: 0 }, 0);
    for (slot, slow) in [(0, Slow::Drop), (1, Slow::Conflate)] {
        subscribe(&mut hub, slot, topic, Start::Live, slow).expect("a first subscription");
    }
    publish(&mut hub, topic, None);
    (0..70).for_each(|number| publish(&mut hub, topic, Some(100 + number)));
    let (dropped, frames) = noticed(&mut hub, 0);
    assert_eq!((dropped.first(), frames), (Some(&Notice::Epoch { topic, epoch: Epoch::from_number(105) }), 1));
    assert_eq!(dropped.iter().filter(|notice| matches!(notice, Notice::Gap { from: 1, to: 1, .. })).count(), 64);
    let (culled, frames) = noticed(&mut hub, 1);
    assert_eq!((culled.last(), frames), (Some(&Notice::Epoch { topic, epoch: Epoch::from_number(169) }), 1));
    let count = |notice: &Notice| if let Notice::Culled { count, .. } = notice { *count } else { 0 };
    assert_eq!(culled.iter().map(count).sum::<u64>(), 70);
    assert!(!hub.is_behind(0) && !hub.is_behind(1));
}
