//! Windows that close in the middle of a frame.

use super::house::{House, Setting};
use super::peer::{Expecting, Peer, Phase, topic};
use crate::hub::{NewPublication, Payload, PayloadKind, TopicName};
use crate::reactor::sim::{PeerEnd, SimSettings};

const CALM: Expecting = Expecting { stop: false, ring: None };

/// Publishes so that each payload is another.
fn publish(house: &mut House, topic: &str, number: usize) {
    let topic = TopicName::parse(topic).expect("a topic of the tests is one");
    let bytes = format!(r#"{{"n":{number},"x":"{}"}}"#, "w".repeat(20)).into();
    assert!(house.control.publish(NewPublication::new(topic, Payload { bytes, kind: PayloadKind::Json })));
}

fn rounds(house: &mut House, peers: &mut [Peer], count: usize) {
    for _ in 0..count {
        (0..house.sides.len()).for_each(|place| house.turn(place));
        house.control.take_mail(&house.truth);
        for peer in peers.iter_mut() {
            peer.write(usize::MAX);
            peer.read(&house.truth, CALM);
        }
    }
}

/// The window closes after `window` bytes of what two topics bring, and opens again; a ping comes in the meantime.
fn check_closing(window: usize, combined: bool) {
    let mut house = House::new(&Setting::new(1, SimSettings::CALM));
    let names = if combined { vec![topic(0), topic(1)] } else { vec![topic(0)] };
    let mut peers = vec![Peer::subscriber(0, house.sides[0].net.clone(), combined, &names)];
    rounds(&mut house, &mut peers, 5);
    peers[0].window(window);
    for number in 0..6 {
        publish(&mut house, &topic(number % names.len()), number);
        house.turn(0);
        house.turn(0);
    }
    peers[0].ping();
    peers[0].write(usize::MAX);
    (0..4).for_each(|_| house.turn(0));
    publish(&mut house, &topic(0), 6);
    peers[0].window(1 << 16);
    rounds(&mut house, &mut peers, 10);
    assert_eq!(peers[0].lacks(&house.truth), None, "window {window}");
}

#[test]
fn a_window_that_closes_in_mid_frame_changes_no_byte() {
    for window in (1..150).chain((150..400).step_by(7)) {
        check_closing(window, true);
        check_closing(window, false);
    }
}

#[test]
fn a_frame_whose_rest_cannot_be_kept_is_followed_by_nothing() {
    let mut setting = Setting::new(1, SimSettings::CALM);
    setting.config.topics[0].ring_publications = 1;
    setting.config.limits.torn_bytes_max = 1;
    let mut house = House::new(&setting);
    let net = house.sides[0].net.clone();
    let mut peers = vec![Peer::subscriber(0, net.clone(), true, &[topic(0)])];
    rounds(&mut house, &mut peers, 5);
    peers[0].window(30);
    publish(&mut house, &topic(0), 0);
    (0..3).for_each(|_| house.turn(0));
    // In one turn the socket takes bytes again, a ping comes, and the ring gives the frame up.
    peers[0].window(1 << 16);
    peers[0].ping();
    peers[0].write(usize::MAX);
    publish(&mut house, &topic(0), 1);
    (0..5).for_each(|_| house.turn(0));
    assert_eq!(net.read(peers[0].id).len(), 30, "nothing is sent in the middle of a frame");
    assert_eq!((peers[0].end(), peers[0].phase), (Some(PeerEnd::Reset), Phase::Open));
}
