//! How far clients are behind, as the shard counts it, against what each peer has and has not.

use super::house::{House, Setting};
use super::wire::{self, Incoming};
use crate::hub::{NewPublication, Payload, PayloadKind, TopicName};
use crate::metrics::LAG_BOUNDS;
use crate::reactor::sim::{PeerId, SimNet, SimSettings};

const PUBLICATIONS: usize = 300;
/// What each reader's side has room for; all publications are some 70,000 bytes.
const ROOMS_BYTES: [usize; 7] = [1 << 20, 70_000, 68_000, 60_000, 50_000, 1_000, 0];

/// Ten seconds.
fn rest(house: &mut House, net: &SimNet) {
    for _ in 0..200 {
        net.advance(50_000);
        house.turn_unjudged(0);
    }
}

fn publish(house: &mut House, topic: &str) {
    let bytes = format!("\"{}\"", "x".repeat(200)).into();
    let topic = TopicName::parse(topic).expect("it is one");
    assert!(house.control.publish(NewPublication::new(topic, Payload { bytes, kind: PayloadKind::Json })));
    house.turn_unjudged(0);
    house.control.take_mail(&house.truth);
}

/// Whole publications that came, each with its topic in front.
fn read(net: &SimNet, peer: PeerId, incoming: &mut Incoming) -> usize {
    incoming.extend(&net.read(peer));
    std::iter::from_fn(|| incoming.frame()).filter(|frame| frame.payload.starts_with(b"{\"stream\"")).count()
}

#[test]
fn clients_are_counted_by_what_they_have_not() {
    let mut house = House::new(&Setting::new(1, SimSettings::CALM));
    let net = house.sides[0].net.clone();
    let mut peers: Vec<(PeerId, Incoming)> = Vec::new();
    for room in ROOMS_BYTES {
        let peer = net.connect(0);
        net.write(peer, &wire::handshake("/stream?streams=a/b", false));
        (0..10).for_each(|_| house.turn_unjudged(0));
        let mut incoming = Incoming::default();
        incoming.extend(&net.read(peer));
        assert!(incoming.head().is_some_and(|head| head.starts_with("HTTP/1.1 101 ")));
        net.window(peer, room);
        peers.push((peer, incoming));
    }
    for number in 0..PUBLICATIONS {
        publish(&mut house, if number % 3 == 0 { "a" } else { "b" });
    }
    rest(&mut house, &net);
    let counted = house.sides[0].shard.core.metrics.lags.clients();
    let mut naive = [0; LAG_BOUNDS.len() + 1];
    for (peer, incoming) in &mut peers {
        let lacks = (PUBLICATIONS - read(&net, *peer, incoming)) as u64;
        if lacks > 0 {
            naive[LAG_BOUNDS.iter().position(|&bound| lacks <= bound).unwrap_or(LAG_BOUNDS.len())] += 1;
        }
    }
    assert_eq!(counted, naive);
    assert!(counted.iter().filter(|&&clients| clients > 0).count() >= 3, "several classes: {counted:?}");
    for (peer, _) in &peers {
        net.window(*peer, 1 << 20);
    }
    rest(&mut house, &net);
    assert!(peers.iter_mut().skip(1).all(|(peer, incoming)| read(&net, *peer, incoming) > 0), "the rest came");
    rest(&mut house, &net);
    assert_eq!(house.sides[0].shard.core.metrics.lags.clients(), [0; LAG_BOUNDS.len() + 1], "nobody is behind any more");
}
