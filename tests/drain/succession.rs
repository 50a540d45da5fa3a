//! What goes along when one gateway takes another one's place: positions, rings, the newest of each key, the journal; and while clients of
//! the old one are there, everything that is published on either reaches everybody on both.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tungstenite::Message;

use crate::common::{Client, Gateway, PATIENCE, PUBLISHING};

/// Plain topics, some with keys, some with a journal in the directory.
fn topics(directory: &Path) -> String {
    format!(
        "{PUBLISHING}[journal]\ndirectory = {:?}\n[[topic]]\npattern = \"j.>\"\njournal = true\n[[topic]]\npattern = \"k.>\"\n\
         kind = \"state\"\nkey = \"/k\"\nring_publications = 8\n",
        directory.join("journal")
    )
}

/// Positions of a topic after so many publications more, each a number that counts on.
fn publish(gateway: &Gateway, topic: &str, count: u64) -> (String, u64) {
    let publish = |number| gateway.publish(topic, &format!("{{\"k\":\"{}\",\"n\":{number}}}", number % 20));
    (1..count).for_each(|number| drop(publish(number - 1)));
    publish(count - 1)
}

#[test]
fn positions_rings_keys_and_journals_go_on_in_the_next_gateway() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let socket = directory.path().join("takeover");
    let toml = topics(directory.path());
    let mut gateway = Gateway::taking_over(&socket, "2", &[], &toml);
    let names: Vec<String> =
        ["m", "k", "j"].iter().flat_map(|kind| (0..5).map(move |number| format!("{kind}.{number}"))).collect();
    let before: Vec<(String, u64)> = names.iter().map(|name| publish(&gateway, name, 50)).collect();
    for shards in ["1", "3"] {
        let next = Gateway::taking_over(&socket, shards, &[], &toml);
        assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
        gateway = next;
        for (name, (epoch, offset)) in names.iter().zip(&before) {
            let mut client = Client::connect(&gateway, "/stream");
            let first = if name.starts_with('k') { 45 } else { 11 };
            let reply = client.subscribe(&[&format!("{name};since={epoch}:{}", first - 1)]);
            assert_eq!(reply[0]["recovered"], true, "{name}: {reply}");
            assert!((first..=*offset).all(|offset| offset_of(&client.text()) == Some(offset)), "{name}");
            if name.starts_with('k') {
                let mut client = Client::connect(&gateway, "/stream");
                client.subscribe(&[&format!("{name};last")]);
                let newest: Vec<u64> = (0..20).filter_map(|_| offset_of(&client.text())).collect();
                assert_eq!(newest, (offset - 19..=*offset).collect::<Vec<u64>>(), "{name}");
            }
        }
    }
    for (name, (epoch, offset)) in names.iter().zip(&before) {
        assert_eq!(publish(&gateway, name, 1), (epoch.clone(), offset + 1), "{name}");
    }
    gateway.stop();
}

#[test]
fn of_rings_no_more_goes_along_than_handover_bytes_max_and_positions_all_the_same() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let socket = directory.path().join("takeover");
    let toml = format!("{PUBLISHING}[takeover]\nhandover_bytes_max = 1000\n");
    let mut gateway = Gateway::taking_over(&socket, "1", &[], &toml);
    let positions = ["a", "b"].map(|name| publish(&gateway, name, 50));
    let next = Gateway::taking_over(&socket, "2", &[], &toml);
    assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
    for (name, (epoch, offset)) in ["a", "b"].iter().zip(&positions) {
        let recovered = |since: u64| {
            let reply = Client::connect(&next, "/stream").subscribe(&[&format!("{name};since={epoch}:{since}")]);
            reply[0]["recovered"].clone()
        };
        // Frames of some 20 bytes, and 500 bytes a topic.
        assert_eq!([recovered(*offset), recovered(offset - 15), recovered(offset - 40)], [true, true, false], "{name}");
        assert_eq!(publish(&next, name, 1), (epoch.clone(), offset + 1));
    }
    next.stop();
}

fn offset_of(text: &str) -> Option<u64> {
    let message: Value = serde_json::from_str(text).expect("what comes is JSON");
    message["o"].as_u64()
}

/// What all publishers were told, and what all subscribers heard.
struct Scene<'a> {
    clients: SocketAddr,
    admin: SocketAddr,
    over: &'a AtomicBool,
    /// Of each topic: offsets that publishers were told.
    told: &'a Mutex<Vec<(String, u64)>>,
}

const LOADED: [&str; 2] = ["m.a", "j.a"];

impl Scene<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn note(&self, topic: &str, offset: u64) {
        self.told.lock().expect("nobody panics with it").push((topic.to_owned(), offset));
    }

    /// Batches over one connection to the admin port after the other, as each lasts.
    fn publish_batches(&self) {
        let mut stream = None;
        while !self.is_over() {
            let connection = stream
                .take()
                .unwrap_or_else(|| BufReader::new(TcpStream::connect(self.admin).expect("the admin port is not refused")));
            let lines: Vec<String> = LOADED.iter().map(|topic| format!("{{\"topic\":\"{topic}\",\"data\":1}}")).collect();
            let (answer, stays) = ask(connection, &lines.join("\n"));
            assert_eq!(answer.len(), LOADED.len(), "a position for each");
            for (topic, position) in LOADED.iter().zip(answer) {
                self.note(topic, position["offset"].as_u64().unwrap_or_else(|| panic!("no position: {position}")));
            }
            stream = stays;
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// PUBLISH, each with its answer, over one connection after the other.
    fn publish_by_request(&self) {
        while !self.is_over() {
            let mut client = Client::connect_to(self.clients, "/stream");
            let mut asked = None;
            while !self.is_over() {
                let topic = asked.take().unwrap_or(LOADED[0]);
                client.send(&format!("{{\"method\":\"PUBLISH\",\"params\":[\"{topic}\",2],\"id\":1}}"));
                let Some(reply) = next_text(&mut client, |text| !text.contains("serverShutdown")) else { break };
                let reply: Value = serde_json::from_str(&reply).expect("a reply is JSON");
                self.note(topic, reply["result"]["offset"].as_u64().unwrap_or_else(|| panic!("no position: {reply}")));
                asked = (topic == LOADED[0]).then_some(LOADED[1]);
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Over `/publish` with acknowledgements; gives how many were acknowledged.
    fn publish_and_count(&self) -> u64 {
        let mut all = 0;
        while !self.is_over() {
            let mut client = Client::connect_to(self.clients, "/publish/m.a?ack=1");
            let mut acknowledged = 0;
            loop {
                for _ in 0..20 {
                    if client.socket.send(Message::text("3")).is_err() {
                        break;
                    }
                }
                let sent = acknowledged + 20;
                let count = |text: &str| serde_json::from_str::<Value>(text).ok().and_then(|reply| reply["ack"].as_u64());
                while acknowledged < sent {
                    let Some(text) = next_text(&mut client, |text| count(text).is_some()) else { break };
                    acknowledged = count(&text).expect("it was looked at");
                }
                if acknowledged < sent || self.is_over() {
                    break;
                }
                thread::sleep(Duration::from_millis(5));
            }
            all += acknowledged;
        }
        all
    }

    /// Hears a topic from a position on, to the offset that is the last; comes back to whoever is there when it is closed.
    fn hear(&self, topic: &str, epoch: &str, from: u64, last: &Mutex<Option<u64>>) -> u64 {
        let (mut newest, mut connections) = (from, 0);
        loop {
            let mut client = Client::connect_to(self.clients, "/stream");
            client.socket.get_ref().set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes a time-out");
            client.send(&format!("{{\"method\":\"SUBSCRIBE\",\"params\":[\"{topic};since={epoch}:{newest}\"],\"id\":1}}"));
            connections += 1;
            let deadline = Instant::now() + PATIENCE * 2;
            loop {
                if last.lock().expect("nobody panics with it").is_some_and(|last| newest >= last) {
                    return connections;
                }
                assert!(Instant::now() < deadline, "{topic} does not come to its end, it is at {newest}");
                let text = match client.socket.read() {
                    Ok(Message::Text(text)) => text,
                    Ok(Message::Close(close)) => {
                        assert_eq!(close.map(|close| u16::from(close.code)), Some(1012));
                        break;
                    }
                    Ok(_) => continue,
                    Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                    Err(error) => panic!("{topic} was lost before it was closed: {error}"),
                };
                let message: Value = serde_json::from_str(text.as_str()).expect("what comes is JSON");
                match (message["o"].as_u64(), &message["result"][0]) {
                    (Some(offset), _) => {
                        assert_eq!(offset, newest + 1, "{topic}: nothing is missed and nothing twice");
                        newest = offset;
                    }
                    (None, Value::Null) => assert_eq!(message["e"], "serverShutdown", "{message}"),
                    (None, reply) => {
                        assert_eq!((&reply["recovered"], &reply["epoch"]), (&Value::from(true), &Value::from(epoch)), "{reply}");
                    }
                }
            }
        }
    }
}

/// The next text that is wanted; none where it is closed with 1012.
fn next_text(client: &mut Client, wanted: impl Fn(&str) -> bool) -> Option<String> {
    loop {
        match client.socket.read().expect("it is not lost before it is closed") {
            Message::Text(text) if wanted(text.as_str()) => return Some(text.as_str().to_owned()),
            Message::Close(close) => {
                assert_eq!(close.map(|close| u16::from(close.code)), Some(1012));
                return None;
            }
            _ => {}
        }
    }
}

/// Publishes a batch; gives the answer, and the connection where it stays open.
fn ask(mut connection: BufReader<TcpStream>, body: &str) -> (Vec<Value>, Option<BufReader<TcpStream>>) {
    let head = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n";
    connection.get_mut().set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
    connection
        .get_mut()
        .write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
        .expect("it is taken");
    read_answer(connection)
}

/// The lines of an answer, and the connection where it stays open.
pub(crate) fn read_answer(mut connection: BufReader<TcpStream>) -> (Vec<Value>, Option<BufReader<TcpStream>>) {
    let (mut length, mut stays, mut line) = (0, true, String::new());
    loop {
        line.clear();
        assert!(connection.read_line(&mut line).expect("an answer comes") > 0, "the connection ends within an answer");
        let lower = line.trim().to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.parse().expect("a length is a number");
        }
        stays &= lower != "connection: close";
        if lower.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).expect("the body comes whole");
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let answer = lines.map(|line| serde_json::from_slice(line).expect("a line is JSON")).collect();
    (answer, stays.then_some(connection))
}

/// Publishers at every door and subscribers on both sides, while gateways take each other's place: every position once, nobody misses one.
#[test]
fn nobody_misses_a_publication_while_places_are_taken_under_load() {
    const SUBSCRIBERS: usize = 4;
    let directory = TempDir::new().expect("a temporary directory can be made");
    let socket = directory.path().join("takeover");
    let feed = "[[source]]\nkind = \"synthetic\"\nprefix = \"s\"\npublications_per_second = 400\n";
    let toml = format!("{}{feed}[drain]\nwindow_ms = 1500\n[limits]\nrequests_per_second = 10000\n", topics(directory.path()));
    let mut gateway = Gateway::taking_over(&socket, "2", &[], &toml);
    let fed = "s.trades.BTC-USD";
    Client::connect(&gateway, &format!("/stream?streams={fed}")).text();
    let begun: Vec<(&str, String, u64)> = LOADED
        .iter()
        .map(|topic| (*topic, gateway.publish(topic, "0")))
        .map(|(topic, (epoch, offset))| (topic, epoch, offset))
        .collect();
    let (over, told) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let scene = Scene { clients: gateway.clients, admin: gateway.admin, over: &over, told: &told };
    let feed_epoch = position(&gateway, fed);
    let all: Vec<(&str, String, u64)> = begun.iter().cloned().chain([(fed, feed_epoch.0, feed_epoch.1)]).collect();
    let ends: Vec<Mutex<Option<u64>>> = all.iter().map(|_| Mutex::new(None)).collect();
    let acknowledged = thread::scope(|scope| {
        let scene = &scene;
        let finish = OnDrop(|| over.store(true, Ordering::Relaxed));
        let hear = |(topic, epoch, from): &(&'static str, String, u64), last| {
            let (topic, epoch, from) = (*topic, epoch.clone(), *from);
            scope.spawn(move || scene.hear(topic, &epoch, from, last))
        };
        let mut subscribers = Vec::new();
        for (topic, last) in all.iter().zip(&ends) {
            (0..SUBSCRIBERS).for_each(|_| subscribers.push(hear(topic, last)));
        }
        let batches = scope.spawn(|| scene.publish_batches());
        let requests = scope.spawn(|| scene.publish_by_request());
        let counted = scope.spawn(|| scene.publish_and_count());
        for shards in ["1", "2"] {
            thread::sleep(Duration::from_millis(300));
            let next = Gateway::taking_over(&socket, shards, &[], &toml);
            // Some come only now, and want what was before.
            for (topic, last) in all.iter().zip(&ends) {
                subscribers.push(hear(topic, last));
            }
            assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
            gateway = next;
        }
        drop(finish);
        batches.join().expect("no batch is refused");
        requests.join().expect("no request is refused");
        let acknowledged = counted.join().expect("no publisher is lost");
        for ((topic, ..), last) in all.iter().zip(&ends) {
            *last.lock().expect("nobody panics with it") = Some(position(&gateway, topic).1);
        }
        let came_back = subscribers.into_iter().map(|one| one.join().expect("nobody misses anything")).filter(|count| *count > 2);
        assert!(came_back.count() > 0, "some were on all of them");
        acknowledged
    });
    let told = told.into_inner().expect("nobody panics with it");
    for (topic, epoch, _) in &begun {
        let offsets: Vec<u64> = told.iter().filter(|(of, _)| of == topic).map(|(_, offset)| *offset).collect();
        let each: BTreeSet<u64> = offsets.iter().copied().collect();
        assert_eq!(each.len(), offsets.len(), "no position of {topic} is given twice");
        let (now, newest) = position(&gateway, topic);
        let counted = if *topic == "m.a" { acknowledged } else { 0 };
        assert!(now == *epoch && newest > each.len() as u64 + counted, "{topic} has them all, in one epoch");
    }
    gateway.stop();
}

/// The newest position of a topic, as the admin port tells it.
fn position(gateway: &Gateway, topic: &str) -> (String, u64) {
    // The list may be some tenths of a second old.
    thread::sleep(Duration::from_millis(400));
    let topics: Value = serde_json::from_slice(&gateway.get("/api/topics").body).expect("topics are JSON");
    let entry = topics.as_array().and_then(|all| all.iter().find(|entry| entry["topic"] == topic)).expect("it is there");
    (entry["epoch"].as_str().expect("an epoch").to_owned(), entry["offset"].as_u64().expect("an offset"))
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Whichever of the two is killed, the other one goes on, and nobody is left who misses something untold.
#[test]
fn either_gateway_may_be_killed_and_the_other_one_goes_on() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let socket = directory.path().join("takeover");
    let toml = format!("{}[drain]\nwindow_ms = 3600000\n", topics(directory.path()));
    let first = Gateway::taking_over(&socket, "2", &[], &toml);
    let epochs = LOADED.map(|topic| publish(&first, topic, 5).0);
    let hear = |gateway: &Gateway, topic: &str, position: (&str, u64)| {
        Client::connect(gateway, &format!("/stream?streams={topic};since={}:{}", position.0, position.1))
    };
    let mut there: Vec<Client> = LOADED.iter().zip(&epochs).map(|(topic, epoch)| hear(&first, topic, (epoch, 0))).collect();
    let second = Gateway::taking_over(&socket, "2", &[], &toml);
    for ((topic, epoch), client) in LOADED.iter().zip(&epochs).zip(&mut there) {
        assert_eq!(publish(&second, topic, 5), (epoch.clone(), 10));
        hear_up_to(client, 10);
    }
    // Nobody knows what the new one has published last, so positions begin anew; clients stay, and others come.
    second.signal(Signal::KILL);
    let again = LOADED.map(|topic| publish(&first, topic, 1));
    for (((topic, client), epoch), (anew, offset)) in LOADED.iter().zip(&mut there).zip(&epochs).zip(&again) {
        assert!(anew != epoch && *offset == 1, "{topic}: {anew}:{offset} behind {epoch}");
        hear_up_to(client, 1);
        hear_up_to(&mut hear(&first, topic, (anew, 0)), 1);
    }
    // It gives its place to the next one, and may be killed then.
    let third = Gateway::taking_over(&socket, "2", &[], &toml);
    for ((topic, client), (epoch, _)) in LOADED.iter().zip(&mut there).zip(&again) {
        assert_eq!(publish(&third, topic, 1), (epoch.clone(), 2));
        hear_up_to(client, 2);
    }
    first.signal(Signal::KILL);
    for ((topic, client), (epoch, _)) in LOADED.iter().zip(&mut there).zip(&again) {
        assert!(std::iter::from_fn(|| client.socket.read().ok()).count() < 9, "it is reset");
        let mut client = hear(&third, topic, (epoch, 1));
        assert_eq!(publish(&third, topic, 1), (epoch.clone(), 3));
        hear_up_to(&mut client, 2);
        hear_up_to(&mut client, 3);
    }
    ended(third);
}

/// More than `feed_bytes_max` waits for it: it is left to itself, and its clients come to the other one.
#[test]
fn a_gateway_that_does_not_take_what_it_is_told_closes_its_clients() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let socket = directory.path().join("takeover");
    let toml = format!("{PUBLISHING}[takeover]\nfeed_bytes_max = 65536\n[drain]\nwindow_ms = 3600000\n");
    let mut first = Gateway::taking_over(&socket, "1", &[], &toml);
    publish(&first, "m.a", 1);
    let mut client = Client::connect(&first, "/stream?streams=m.a");
    let second = Gateway::taking_over(&socket, "1", &[], &toml);
    first.signal(Signal::STOP);
    let large = format!("\"{}\"", "x".repeat(100_000));
    let deadline = Instant::now() + PATIENCE;
    while !second.said().contains("feed_bytes_max") {
        assert!(Instant::now() < deadline, "it is fed without end");
        second.publish("m.a", &large);
    }
    first.signal(Signal::CONT);
    assert!(next_text(&mut client, |_| false).is_none());
    drop(client);
    assert_eq!(first.wait().code(), Some(0), "it said:\n{}", first.said());
    second.publish("m.a", "1");
    ended(second);
}

/// A drain of an hour is not waited for.
fn ended(mut gateway: Gateway) {
    gateway.signal(Signal::INT);
    assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
}

fn hear_up_to(client: &mut Client, offset: u64) {
    while next_text(client, |_| true).and_then(|text| offset_of(&text)) != Some(offset) {}
}
