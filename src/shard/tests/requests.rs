//! Requests that once ended the process.

use super::house::{House, Setting};
use super::wire::{self, Incoming};
use crate::hub::TopicName;
use crate::reactor::sim::SimSettings;
use crate::ws::frame::Opcode;

/// Names of topics whose home is this shard.
fn topics_of(house: &House, place: u16, count: usize) -> Vec<String> {
    let names = (0..).map(|number| format!("t{number}"));
    let is_here = |name: &String| house.post.home(&TopicName::parse(name).expect("it is one")) == place;
    names.filter(is_here).take(count).collect()
}

/// Sends all requests at once to shard 0 of two, and gives the replies.
fn replies(house: &mut House, requests: &[String]) -> Vec<String> {
    let net = house.sides[0].net.clone();
    let peer = net.connect(0);
    net.write(peer, &wire::handshake("/ws", false));
    requests.iter().for_each(|request| net.write(peer, &wire::client_frame(Opcode::Text, request.as_bytes())));
    (0..30).for_each(|turn| house.turn(turn % 2));
    let mut incoming = Incoming::default();
    incoming.extend(&net.read(peer));
    assert!(incoming.head().is_some_and(|head| head.starts_with("HTTP/1.1 101 ")));
    let frames = std::iter::from_fn(|| incoming.frame());
    frames.map(|frame| String::from_utf8(frame.payload).expect("replies are text")).collect()
}

fn request(method: &str, topics: &[&str]) -> String {
    format!(r#"{{"method":"{method}","params":{topics:?},"id":1}}"#)
}

const DONE: &str = r#"{"result":null,"id":1}"#;

#[test]
fn a_name_may_stand_twice_in_a_list() {
    let mut house = House::new(&Setting::new(2, SimSettings::CALM));
    let (here, there) = (topics_of(&house, 0, 1), topics_of(&house, 1, 1));
    let list = [&here[0][..], &here[0], &there[0], &there[0]];
    let requests = [request("SUBSCRIBE", &list), request("UNSUBSCRIBE", &list)];
    assert_eq!(replies(&mut house, &requests), [DONE, DONE]);
}

#[test]
fn a_replica_that_a_refused_request_asked_for_comes_to_the_next_request() {
    let mut setting = Setting::new(2, SimSettings::CALM);
    // Two topics a shard.
    setting.config.limits.topics_max = 2;
    let mut house = House::new(&setting);
    let (here, there) = (topics_of(&house, 0, 3), topics_of(&house, 1, 2));
    let requests = [
        request("SUBSCRIBE", &[&here[0], &here[1]]),
        request("SUBSCRIBE", &[&there[0], &here[2]]),
        request("SUBSCRIBE", &[&there[0]]),
        format!(r#"{{"method":"PUBLISH","params":["{}",1],"id":1}}"#, there[0]),
    ];
    let replies = replies(&mut house, &requests);
    assert_eq!((replies.len(), &replies[0][..], &replies[2][..]), (5, DONE, DONE), "{replies:?}");
    assert!(replies[1].starts_with(r#"{"error":{"code":5,"#), "{replies:?}");
    assert!(replies[3].contains(r#""offset":1"#) != replies[4].contains(r#""offset":1"#), "{replies:?}");
}
