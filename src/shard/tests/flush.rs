//! Flush windows: fewer sends, the same bytes, and the window is the most that is added. Topics that have the same end together.

use super::house::{House, Setting};
use super::peer::{Expecting, Peer, topic};
use crate::hub::{NewPublication, Payload, PayloadKind, TopicName};
use crate::reactor::sim::SimSettings;

const FLUSH_US: u32 = 5_000;

fn publish(house: &mut House, number: usize) {
    let topic = TopicName::parse(&topic(number % 2)).expect("a topic of the tests is one");
    let bytes = format!(r#"{{"n":{number}}}"#).into();
    assert!(house.control.publish(NewPublication::new(topic, Payload { bytes, kind: PayloadKind::Json })));
}

/// One turn, and what the peer reads; gives how often the shard has sent so far.
fn turn(house: &mut House, peer: &mut Peer) -> u64 {
    house.turn(0);
    house.control.take_mail(&house.truth);
    peer.write(usize::MAX);
    peer.read(&house.truth, Expecting { stop: false, ring: None });
    house.sides[0].shard.core.metrics.sends.get()
}

fn now_us(house: &House) -> u64 {
    house.sides[0].shard.core.now.monotonic_us
}

fn house(ring_publications: u32) -> (House, Peer) {
    let mut setting = Setting::new(1, SimSettings::CALM);
    setting.config.topics[0].flush_us = FLUSH_US;
    setting.config.topics[0].ring_publications = ring_publications;
    let mut house = House::new(&setting);
    let mut peer = Peer::subscriber(0, house.sides[0].net.clone(), true, &[topic(0), topic(1)]);
    for _ in 0..5 {
        turn(&mut house, &mut peer);
    }
    (house, peer)
}

#[test]
fn what_comes_within_a_window_leaves_in_one_send_at_its_end() {
    let (mut house, mut peer) = house(1 << 12);
    for round in 0..3 {
        let before = turn(&mut house, &mut peer);
        publish(&mut house, 3 * round);
        turn(&mut house, &mut peer);
        let ends_us = (now_us(&house) / u64::from(FLUSH_US) + 1) * u64::from(FLUSH_US);
        publish(&mut house, 3 * round + 1);
        publish(&mut house, 3 * round + 2);
        let mut sends = turn(&mut house, &mut peer);
        while sends == before {
            assert!(now_us(&house) <= ends_us + u64::from(FLUSH_US), "the window ends by itself");
            sends = turn(&mut house, &mut peer);
        }
        assert!(now_us(&house) >= ends_us, "not before its end");
        assert_eq!((sends, peer.lacks(&house.truth)), (before + 1, None));
    }
}

#[test]
fn a_window_that_fills_half_the_ring_ends_early() {
    let (mut house, mut peer) = house(8);
    let before = turn(&mut house, &mut peer);
    let opened_us = now_us(&house);
    (0..4).for_each(|number| publish(&mut house, 2 * number));
    // One takes them in, one sends them.
    turn(&mut house, &mut peer);
    let sends = turn(&mut house, &mut peer);
    assert_eq!((sends, peer.lacks(&house.truth)), (before + 1, None));
    assert!(now_us(&house) < opened_us + u64::from(FLUSH_US), "nobody waited for its end");
}
