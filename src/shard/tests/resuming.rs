//! A client that comes back to another shard than it left, while publications are still on their way there.

use super::house::{House, Setting};
use super::wire;
use crate::hub::{NewPublication, Payload, PayloadKind, TopicName};
use crate::reactor::sim::{PeerId, SimSettings};

const TOPIC: &str = "md.a";

fn publish(house: &mut House, number: u64) {
    let topic = TopicName::parse(TOPIC).expect("a topic of the tests is one");
    let payload = Payload { bytes: number.to_string().into(), kind: PayloadKind::Json };
    assert!(house.control.publish(NewPublication::new(topic, payload)));
}

/// What a client of one shard has been sent, as text.
fn said(house: &House, place: usize, peer: PeerId) -> String {
    String::from_utf8_lossy(&house.sides[place].net.read(peer)).into_owned()
}

fn subscribe(house: &House, place: usize, stream: &str) -> PeerId {
    let peer = house.sides[place].net.connect(0);
    house.sides[place].net.write(peer, &wire::handshake(&format!("/stream?streams={stream}"), false));
    peer
}

/// The home has given its own clients publications that the other shard has in its mailbox, or not even there. Whoever goes on
/// after one of them there waits for it, and gets what follows: neither a repeat nor `recovered:false`.
#[test]
fn a_position_that_is_ahead_of_a_replica_is_waited_for() {
    let mut house = House::new(&Setting::new(2, SimSettings::CALM));
    let home = usize::from(house.post.home(&TopicName::parse(TOPIC).expect("a topic of the tests is one")));
    let other = 1 - home;
    let everybody = |house: &mut House, rounds: usize| {
        for _ in 0..rounds {
            house.turn(0);
            house.turn(1);
            house.control.take_mail(&house.truth);
        }
    };
    // The replica is there before, and stays.
    let stays = subscribe(&house, other, &format!("{TOPIC};last"));
    everybody(&mut house, 5);
    let reply = said(&house, other, stays);
    let epoch =
        reply.split("\"epoch\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a reply tells the epoch").to_owned();
    for number in 1..=3 {
        publish(&mut house, number);
    }
    // Only the home runs: its clients have all three, the other shard has none.
    (0..5).for_each(|_| house.turn(home));
    let early = subscribe(&house, other, &format!("{TOPIC};since={epoch}:2"));
    let never = subscribe(&house, other, &format!("{TOPIC};since={epoch}:7"));
    everybody(&mut house, 10);
    let early = said(&house, other, early);
    assert!(early.contains("\"offset\":3,\"recovered\":true}],\"id\":null}"), "{early}");
    assert!(early.contains("\"o\":3,\"data\":3}") && !early.contains("\"o\":2,"), "what follows, and no repeat: {early}");
    // What was never published is told so once the home was asked.
    let never = said(&house, other, never);
    assert!(never.contains("\"offset\":3,\"recovered\":false}],\"id\":null}") && !never.contains("\"data\""), "{never}");
}
