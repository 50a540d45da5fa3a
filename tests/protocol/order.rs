//! "Order": what comes before what.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Client, Gateway, Raw, frame};

/// Publishes to some topics without pause while `work` runs.
fn while_publishing(gateway: &Gateway, topics: &[&str], work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut publishers: Vec<_> =
                topics.iter().map(|topic| Client::connect(gateway, &format!("/publish/{topic}"))).collect();
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                for publisher in &mut publishers {
                    publisher.send(&format!("{{\"n\":{number}}}"));
                }
                number += 1;
                // Fast enough to fall between any two messages of a client, slow enough for a client to keep up.
                thread::sleep(Duration::from_micros(200));
            }
        });
        let finished = Finished(&done);
        work();
        drop(finished);
    });
}

/// Ends the publishing also when a test fails.
struct Finished<'a>(&'a AtomicBool);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn subscribes_reply_comes_before_the_first_publication_of_its_topics() {
    let gateway = Gateway::publishing();
    while_publishing(&gateway, &["md.a", "md.b"], || {
        for round in 0..40 {
            let mut client = Client::connect(&gateway, if round % 2 == 0 { "/stream" } else { "/ws" });
            let streams = if round % 4 < 2 { "[\"md.a;last\",\"md.b\"]" } else { "[\"md.a\",\"md.b\"]" };
            client.send(&format!("{{\"method\":\"SUBSCRIBE\",\"params\":{streams},\"id\":1}}"));
            let first = client.text();
            assert!(first.starts_with("{\"result\":"), "round {round}: {first}");
            client.text();
        }
    });
}

#[test]
fn after_unsubscribes_reply_nothing_more_of_its_topics_comes() {
    let gateway = Gateway::publishing();
    while_publishing(&gateway, &["md.a", "md.b"], || {
        for round in 0..40 {
            let mut client = Client::connect(&gateway, "/stream?streams=md.a/md.b");
            client.text();
            client.send("{\"method\":\"UNSUBSCRIBE\",\"params\":[\"md.a\"],\"id\":\"off\"}");
            while client.text() != "{\"result\":null,\"id\":\"off\"}" {}
            for _ in 0..50 {
                let after = client.text();
                assert!(after.starts_with("{\"stream\":\"md.b\","), "round {round}: {after}");
            }
        }
    });
}

#[test]
fn a_change_of_combined_holds_from_its_reply_on() {
    let gateway = Gateway::publishing();
    while_publishing(&gateway, &["md.a"], || {
        let mut client = Client::connect(&gateway, "/ws/md.a");
        let mut combined = false;
        let mut next = None;
        for round in 0..40 {
            client.send(&format!("{{\"method\":\"SET_PROPERTY\",\"params\":[\"combined\",{}],\"id\":\"set\"}}", !combined));
            let mut after_reply = 0;
            while after_reply < 20 {
                let message = client.text();
                if message == "{\"result\":null,\"id\":\"set\"}" {
                    combined = !combined;
                    after_reply = 1;
                    continue;
                }
                assert_eq!(message.starts_with("{\"stream\":"), combined, "round {round}: {message}");
                after_reply += usize::from(after_reply > 0);
                let number = number_of(&message);
                assert!(next.is_none_or(|next| next == number), "round {round}: {next:?} was to come, not {message}");
                next = Some(number + 1);
            }
        }
    });
}

/// `n` of a payload, raw or combined.
fn number_of(message: &str) -> u64 {
    let value: Value = serde_json::from_str(message).expect("a publication is JSON");
    value["n"].as_u64().or_else(|| value["data"]["n"].as_u64()).expect("a payload bears its number")
}

#[test]
fn requests_are_answered_in_the_order_they_came_also_in_one_segment_and_across_shards() {
    let gateway = Gateway::publishing();
    for _ in 0..10 {
        let mut raw = Raw::upgraded(&gateway, "/ws");
        let mut segment = Vec::new();
        for id in 0..140 {
            let (method, params) = match id % 7 {
                // Eight topics have homes on both shards.
                0 | 2 | 4 | 6 => ("PUBLISH", format!("[\"order.{}\",{id}]", id % 8)),
                1 => ("PING", String::from("null")),
                3 => ("GET_PROPERTY", String::from("[\"combined\"]")),
                _ => ("NONSENSE", String::from("[]")),
            };
            segment.extend(frame(0x81, format!("{{\"method\":\"{method}\",\"params\":{params},\"id\":{id}}}").as_bytes()));
        }
        raw.send(segment);
        for id in 0..140 {
            let reply = raw.text();
            assert!(reply.ends_with(&format!(",\"id\":{id}}}")), "reply {id} was to come: {reply}");
        }
    }
}

#[test]
fn subscribe_publish_unsubscribe_publish_in_one_segment_keep_their_order() {
    let gateway = Gateway::publishing();
    for topic in 0..16 {
        let mut raw = Raw::upgraded(&gateway, "/ws");
        let mut segment = Vec::new();
        for (id, (method, data)) in
            [("SUBSCRIBE", ""), ("PUBLISH", ",7"), ("UNSUBSCRIBE", ""), ("PUBLISH", ",8"), ("PING", "")].iter().enumerate()
        {
            let params = if *method == "PING" { String::from("[]") } else { format!("[\"segment.{topic}\"{data}]") };
            let request = format!("{{\"method\":\"{method}\",\"params\":{params},\"id\":{id}}}");
            segment.extend(frame(0x81, request.as_bytes()));
        }
        raw.send(segment);
        let mut came = Vec::new();
        while came.last().is_none_or(|last: &String| !last.ends_with("\"id\":4}")) {
            came.push(raw.text());
        }
        let publication = came.iter().position(|message| message == "7");
        assert!(publication.is_none_or(|at| at == 1 || at == 2), "between the replies to SUBSCRIBE and UNSUBSCRIBE: {came:?}");
        came.retain(|message| message != "7");
        let in_order = came
            .iter()
            .enumerate()
            .all(|(id, reply)| reply.starts_with("{\"result\":") && reply.ends_with(&format!("\"id\":{id}}}")));
        assert!(in_order && came.len() == 5, "{came:?}");
    }
}

#[test]
fn within_a_topic_publications_come_in_offset_order_each_once_the_same_for_all() {
    let gateway = Gateway::publishing();
    let mut subscribers: Vec<_> = (0..16).map(|_| Client::connect(&gateway, "/stream?streams=md.a/md.b")).collect();
    subscribers.iter_mut().for_each(Client::assert_silent);
    const EACH: u64 = 300;
    thread::scope(|scope| {
        for publisher in 0..4 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = Client::connect(gateway, "/publish");
                for number in 0..EACH {
                    for topic in ["md.a", "md.b"] {
                        client.send(&format!("{{\"stream\":\"{topic}\",\"o\":0,\"data\":\"{publisher}:{number}\"}}"));
                    }
                }
                // What was sent is taken before the connection ends.
                client.socket.close(None).expect("the connection is open");
                while client.socket.read().is_ok() {}
            });
        }
        scope.spawn(|| {
            for number in 0..EACH {
                let line = |topic: &str| format!("{{\"topic\":\"{topic}\",\"data\":\"4:{number}\"}}");
                gateway.post("/api/publish", "application/x-ndjson", format!("{}\n{}\n", line("md.a"), line("md.b")));
            }
        });
    });
    let sequences: Vec<_> = subscribers.iter_mut().map(|client| sequences(client, 5 * EACH)).collect();
    for sequence in &sequences {
        assert_eq!(sequence, &sequences[0], "one order for all subscribers");
    }
    for topic in &sequences[0] {
        for publisher in 0..5 {
            let own: Vec<_> = topic.iter().filter(|data| data.starts_with(&format!("{publisher}:"))).cloned().collect();
            let sent: Vec<_> = (0..EACH).map(|number| format!("{publisher}:{number}")).collect();
            assert_eq!(own, sent, "a publisher's own order");
        }
    }
}

/// The payloads of `md.a` and `md.b`, checked to bear the offsets 1, 2, 3, ...
fn sequences(client: &mut Client, each: u64) -> [Vec<String>; 2] {
    let mut topics = [Vec::new(), Vec::new()];
    for _ in 0..2 * each {
        let message: Value = serde_json::from_str(&client.text()).expect("a publication is JSON");
        let topic = &mut topics[usize::from(message["stream"] == "md.b")];
        topic.push(message["data"].as_str().expect("a payload is a string").to_owned());
        assert_eq!(message["o"].as_u64(), Some(topic.len() as u64), "{message}");
    }
    topics
}

#[test]
fn offsets_and_epoch_are_the_same_on_all_shards_from_1_up_without_holes() {
    let gateway = Gateway::publishing();
    let mut clients: Vec<_> = (0..24).map(|_| Client::connect(&gateway, "/ws")).collect();
    let mut epochs = Vec::new();
    for (client, expected) in clients.iter_mut().zip(1..) {
        let (epoch, offset) = client.publish("md.a", "1");
        assert_eq!(offset, expected);
        epochs.push(epoch);
    }
    epochs.push(gateway.publish("md.a", "1").0);
    epochs.dedup();
    assert_eq!(epochs.len(), 1, "one epoch: {epochs:?}");
    for client in &mut clients {
        let entries = client.subscribe(&["md.a;last"]);
        assert_eq!(entries[0]["epoch"], epochs[0].as_str());
        assert_eq!(entries[0]["offset"], 25);
    }
}
