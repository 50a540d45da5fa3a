//! What was acknowledged or delivered is there under its position, whenever the gateway is killed; with `always` also where the
//! machine loses its power.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::common::{Client, Gateway};
use crate::disk::Disk;
use crate::{ALWAYS, Journal, configuration, dump, kill, publication_in};

/// An offset and what was published there.
type Acknowledged = (u64, String);

/// A topic and what was published on it.
type Counted = (&'static str, String);

/// Publishes one by one over one connection until that ends; notes what is acknowledged.
fn publish_over_http(admin: SocketAddr, name: usize, acknowledged: &Mutex<Vec<Acknowledged>>) -> std::io::Result<()> {
    for n in 0.. {
        let data = format!("{{\"by\":{name},\"n\":{n}}}");
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(crate::common::PATIENCE))?;
        let body = format!("{{\"topic\":\"j.a\",\"data\":{data}}}");
        let head = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n";
        stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let Some(position) = answer.split("\r\n\r\n").nth(1).filter(|body| body.ends_with('\n')) else { return Ok(()) };
        let position: Value = serde_json::from_str(position).expect("an answer is JSON");
        let offset = position["offset"].as_u64().unwrap_or_else(|| panic!("no position: {answer}"));
        acknowledged.lock().expect("no publisher panics with it").push((offset, data));
    }
    Ok(())
}

/// The same by PUBLISH.
fn publish_over_websocket(mut client: Client, name: usize, acknowledged: &Mutex<Vec<Acknowledged>>) {
    for n in 0.. {
        let data = format!("{{\"by\":{name},\"n\":{n}}}");
        let request = format!("{{\"method\":\"PUBLISH\",\"params\":[\"j.a\",{data}],\"id\":{n}}}");
        if client.socket.send(tungstenite::Message::text(request)).is_err() {
            return;
        }
        let Ok(tungstenite::Message::Text(reply)) = client.socket.read() else { return };
        let reply: Value = serde_json::from_str(reply.as_str()).expect("a reply is JSON");
        let Some(offset) = reply["result"]["offset"].as_u64() else { panic!("no position: {reply}") };
        acknowledged.lock().expect("no publisher panics with it").push((offset, data));
    }
}

/// The same by a publisher's connection, on several topics and up to fifty messages ahead of what is acknowledged; which those
/// are is known, and not where they stand.
fn publish_counted(mut client: Client, name: usize, acknowledged: &Mutex<Vec<Counted>>) {
    let (mut sent, mut taken) = (Vec::new(), 0);
    loop {
        while sent.len() < taken + 50 {
            let (topic, data) = (["j.a", "j.b", "other"][sent.len() % 3], format!("{{\"by\":{name},\"n\":{}}}", sent.len()));
            let message = format!("{{\"stream\":\"{topic}\",\"data\":{data}}}");
            if client.socket.send(tungstenite::Message::text(message)).is_err() {
                break;
            }
            sent.push((topic, data));
        }
        let Ok(tungstenite::Message::Text(text)) = client.socket.read() else { break };
        let count: Value = serde_json::from_str(text.as_str()).expect("a count is JSON");
        let before = std::mem::replace(&mut taken, count["ack"].as_u64().expect("a count is a number") as usize);
        let new = sent[before..taken].iter().filter(|(topic, _)| *topic != "other").cloned();
        acknowledged.lock().expect("no publisher panics with it").extend(new);
    }
}

/// Notes what a subscriber hears until the connection ends.
fn subscribe(mut client: Client, heard: &Mutex<Vec<Acknowledged>>) {
    while let Ok(message) = client.socket.read() {
        let tungstenite::Message::Text(text) = message else { continue };
        heard.lock().expect("no subscriber panics with it").push(publication_in(text.as_str()).1);
    }
}

#[track_caller]
fn check(flush: &str, seed: u64) {
    let journal = Journal::new();
    let (told, counted) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let mut dice = StdRng::seed_from_u64(seed);
    // As many requests as a test has, in place of a client's.
    let keys =
        format!("{flush}\njournal_segment_bytes = 8192\n[limits]\nrequests_per_second = 1000000\nrequests_burst = 1000000");
    for round in 0..6 {
        let gateway = journal.gateway(&keys);
        let killed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for name in 0..2 {
                let (told, killed, admin) = (&told, &killed, gateway.admin);
                scope.spawn(move || {
                    let ended = publish_over_http(admin, round * 10 + name, told);
                    assert!(killed.load(Relaxed), "the gateway answers until it is killed: {ended:?}");
                });
                let client = Client::connect(&gateway, "/stream");
                scope.spawn(move || publish_over_websocket(client, round * 10 + 5 + name, told));
                let client = Client::connect(&gateway, "/stream?streams=j.a");
                scope.spawn(move || subscribe(client, told));
                let (client, counted) = (Client::connect(&gateway, "/publish?ack=1"), &counted);
                scope.spawn(move || publish_counted(client, 100 + round * 10 + name, counted));
            }
            std::thread::sleep(Duration::from_millis(dice.random_range(30..200)));
            killed.store(true, Relaxed);
            kill(gateway);
        });
    }
    // Once more, so that the last kill is looked at by a start.
    journal.gateway(&keys).stop();
    let held = journal.dump("j.a");
    let offsets: Vec<u64> = held.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (1..=held.len() as u64).collect::<Vec<_>>(), "one count over all kills, without a hole");
    let told = told.into_inner().expect("no client panicked with it");
    assert!(told.len() > 50, "only {} were told", told.len());
    for (offset, data) in told {
        assert_eq!(held[offset as usize - 1].1, data, "offset {offset}");
    }
    let of_topic = |topic: &'static str| move |(_, data): (u64, String)| (topic, data);
    let held: HashSet<Counted> =
        held.into_iter().map(of_topic("j.a")).chain(journal.dump("j.b").into_iter().map(of_topic("j.b"))).collect();
    let counted = counted.into_inner().expect("no publisher panicked with it");
    assert!(counted.len() > 50, "only {} were counted", counted.len());
    for publication in counted {
        assert!(held.contains(&publication), "{publication:?} was acknowledged");
    }
}

#[test]
fn nothing_acknowledged_or_delivered_is_lost_to_a_kill() {
    check(ALWAYS, 5);
    check("", 6);
}

/// Publishes in each of the three ways and waits for the acknowledgement, one behind the other.
fn publish_in_all_ways(gateway: &Gateway, topic: &str, round: u64) -> Vec<(u64, String)> {
    let mut expected = Vec::new();
    let mut next = |way: &str, padding: usize| {
        let data = format!("\"{way} {round} {} {}\"", expected.len(), "x".repeat(padding));
        expected.push((round * 60 + expected.len() as u64 + 1, data.clone()));
        data
    };
    for _ in 0..10 {
        gateway.publish(topic, &next("HTTP", 1000));
    }
    let mut client = Client::connect(gateway, "/stream");
    for _ in 0..10 {
        client.publish(topic, &next("PUBLISH", 10));
    }
    let mut publisher = Client::connect(gateway, &format!("/publish/{topic}?ack=1"));
    for _ in 0..40 {
        publisher.send(&next("counted", 100));
    }
    while publisher.text() != "{\"ack\":40}" {}
    expected
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power_of_the_machine() {
    let Some(disk) = Disk::mount() else { return };
    // Old segments end, and new ones begin, in between.
    let keys = format!("{ALWAYS}\njournal_segment_bytes = 8192");
    let gateway = Gateway::configured(&configuration(&disk.path().join("journal"), &keys));
    let mut expected = Vec::new();
    for round in 0..4 {
        expected.extend(publish_in_all_ways(&gateway, "j.a", round));
        // A topic's first publications: its directory and its file are new.
        let of_new = publish_in_all_ways(&gateway, &format!("j.new{round}"), 0);
        let after = disk.without_power(&format!("after {round}"));
        assert_eq!(dump(&after.path().join("journal"), "j.a"), expected, "round {round}");
        assert_eq!(dump(&after.path().join("journal"), &format!("j.new{round}")), of_new, "round {round}");
    }
    gateway.stop();
}
