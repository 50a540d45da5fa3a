//! Counted turns: what a long fan-out may not hold up.

use super::house::{House, Setting};
use super::wire::{self, Incoming, PONG};
use crate::hub::{NewPublication, Payload, PayloadKind, TopicName};
use crate::reactor::sim::{PeerId, SimSettings};
use crate::ws::frame::Opcode;

const SUBSCRIBERS: usize = 5_000;
/// A turn takes the ping in, the next sends its pong.
const ANSWER_TURNS_MAX: usize = 2;
/// A turn takes the connection in, one its request, one sends the answer.
const ACCEPT_TURNS_MAX: usize = 5;

fn publish(house: &mut House) {
    let topic = TopicName::parse("busy").expect("it is one");
    let payload = Payload { bytes: b"1"[..].into(), kind: PayloadKind::Json };
    house.control.publish(NewPublication::new(topic, payload));
    house.control.take_mail(&house.truth);
}

/// Turns until the peer has read something, while the topic is published to in every one.
fn turns_until_read(house: &mut House, peer: PeerId, incoming: &mut Incoming, turns_max: usize) -> usize {
    for turn in 1..=turns_max {
        publish(house);
        house.turn_unjudged(0);
        incoming.extend(&house.sides[0].net.read(peer));
        if !incoming.is_empty() {
            return turn;
        }
    }
    panic!("no answer within {turns_max} turns");
}

#[test]
fn a_ping_and_a_new_client_are_answered_in_the_middle_of_a_fan_out() {
    let mut setting = Setting::new(1, SimSettings { window_bytes: 1 << 20, ..SimSettings::CALM });
    let sends_per_turn = usize::from(setting.config.shards.sends_per_turn);
    setting.config.shards.turn_us = u32::MAX;
    let mut house = House::new(&setting);
    let net = house.sides[0].net.clone();
    let connect = |path: &str| {
        let peer = net.connect(0);
        net.write(peer, &wire::handshake(path, false));
        peer
    };
    let subscribers: Vec<PeerId> = (0..SUBSCRIBERS).map(|_| connect("/ws/busy")).collect();
    let other = connect("/ws");
    while net.read(other).is_empty() {
        house.turn_unjudged(0);
    }
    // Every turn has more to send than it can.
    let turns = 2 * SUBSCRIBERS / sends_per_turn;
    for _ in 0..turns {
        publish(&mut house);
        house.turn_unjudged(0);
    }
    for turn in 0..30 {
        net.write(other, &wire::client_frame(Opcode::Ping, &[turn]));
        let mut incoming = Incoming::default();
        turns_until_read(&mut house, other, &mut incoming, ANSWER_TURNS_MAX);
        let pong = incoming.frame().expect("a pong is whole");
        assert_eq!((pong.first, &pong.payload[..]), (PONG, &[turn][..]));
        let fresh = connect("/ws");
        let mut incoming = Incoming::default();
        turns_until_read(&mut house, fresh, &mut incoming, ACCEPT_TURNS_MAX);
        assert!(incoming.head().is_some_and(|head| head.starts_with("HTTP/1.1 101 ")));
    }
    // Nobody is left out for it: a round takes so many turns as it has sends, twice where half of each is for others.
    subscribers.iter().for_each(|&peer| drop(net.read(peer)));
    for _ in 0..2 * (SUBSCRIBERS + 100).div_ceil(sends_per_turn) {
        publish(&mut house);
        house.turn_unjudged(0);
    }
    assert!(subscribers.iter().all(|&peer| !net.read(peer).is_empty()), "every subscriber is visited in a round");
}
