//! Positions across stops, kills and losses.

use std::fs;
use std::path::Path;

use crate::common::{Client, Gateway};
use crate::{ALWAYS, Journal, kill, position, publication, wait_for_words, write_by_another_boot};

/// Publishes by every door: HTTP, PUBLISH, a publisher's connection. Returns the newest position.
fn publish_by_every_door(gateway: &Gateway, topic: &str, from: u64) -> (String, u64) {
    let (epoch, offset) = gateway.publish(topic, &format!("{{\"n\":{from}}}"));
    assert_eq!(offset, from);
    let mut client = Client::connect(gateway, "/stream");
    let said = client.publish(topic, &format!("{{\"n\":{}}}", from + 1));
    assert_eq!(said, (epoch.clone(), from + 1));
    let mut publisher = Client::connect(gateway, &format!("/publish/{topic}"));
    publisher.send(&format!("{{\"n\":{}}}", from + 2));
    let mut subscriber = Client::connect(gateway, "/stream");
    let reply = subscriber.subscribe(&[&format!("{topic};last")]);
    let mut offset = reply[0]["offset"].as_u64().expect("an offset");
    while offset < from + 2 {
        let (stream, live, data) = publication(&mut subscriber);
        assert_eq!((stream.as_str(), &data), (topic, &format!("{{\"n\":{live}}}")));
        offset = live;
    }
    (epoch, offset)
}

#[track_caller]
fn check_goes_on(keys: &str, end: fn(Gateway)) {
    let journal = Journal::new();
    let topics = ["j.a", "j.b", "j.c"];
    let gateway = journal.gateway(keys);
    let before = topics.map(|topic| publish_by_every_door(&gateway, topic, 1));
    gateway.publish("other", "1");
    end(gateway);
    let gateway = journal.gateway(keys);
    for (topic, before) in topics.iter().zip(&before) {
        assert_eq!(&position(&gateway, topic), before);
        let mut client = Client::connect(&gateway, &format!("/stream?streams={topic};last"));
        client.text();
        assert_eq!(publication(&mut client), (String::from(*topic), 3, String::from("{\"n\":3}")));
        assert_eq!(publish_by_every_door(&gateway, topic, 4).0, before.0);
    }
    assert_eq!(position(&gateway, "other").1, 0, "what has no journal begins anew");
    end(gateway);
    for topic in topics {
        let expected: Vec<(u64, String)> = (1..=6).map(|n| (n, format!("{{\"n\":{n}}}"))).collect();
        assert_eq!(journal.dump(topic), expected);
    }
}

#[test]
fn positions_go_on_after_a_stop() {
    check_goes_on("", Gateway::stop);
    check_goes_on(ALWAYS, Gateway::stop);
}

#[test]
fn positions_go_on_after_a_kill() {
    check_goes_on("", kill);
    check_goes_on(ALWAYS, kill);
}

#[test]
fn what_a_kill_cut_off_is_removed() {
    let journal = Journal::new();
    let gateway = journal.gateway("");
    let before = publish_by_every_door(&gateway, "j.a", 1);
    let whole = fs::read(journal.newest_file("j.a")).expect("it can be read");
    let told = journal.path().join("topics/j.a/newest");
    let before_it = fs::read(&told).expect("it can be read");
    gateway.publish("j.a", "{\"n\":4}");
    kill(gateway);
    // As if the kill had come before the fourth was written, and told.
    fs::write(told, before_it).expect("it can be written");
    let longer = fs::read(journal.newest_file("j.a")).expect("it can be read");
    for end in [whole.len() + 1, whole.len() + 20, longer.len() - 1] {
        fs::write(journal.newest_file("j.a"), &longer[..end]).expect("it can be written");
        let gateway = journal.gateway("");
        assert_eq!(position(&gateway, "j.a"), before);
        wait_for_words(&gateway, "cut off at byte");
        kill(gateway);
    }
    let gateway = journal.gateway("");
    assert_eq!(publish_by_every_door(&gateway, "j.a", 4).0, before.0);
    gateway.stop();
}

/// What was delivered and lost, with the machine or otherwise, is never told again under its position.
#[track_caller]
fn check_lost_tail(keys: &str, lose: fn(&Path, &[u8])) {
    let journal = Journal::new();
    let gateway = journal.gateway(keys);
    let (epoch, _) = publish_by_every_door(&gateway, "j.a", 1);
    let on_disk = fs::read(journal.newest_file("j.a")).expect("it can be read");
    let delivered = publish_by_every_door(&gateway, "j.a", 4);
    assert_eq!(delivered, (epoch.clone(), 6));
    kill(gateway);
    lose(&journal.newest_file("j.a"), &on_disk);
    let gateway = journal.gateway(keys);
    let (other, offset) = position(&gateway, "j.a");
    assert_ne!(other, epoch, "the count is another");
    assert_eq!(offset, 0);
    wait_for_words(&gateway, "a new epoch begins");
    for after in [3, 6] {
        let (recovered, mut client) = resume(&gateway, "j.a", &epoch, after);
        assert!(!recovered);
        client.assert_silent();
    }
    let now = publish_by_every_door(&gateway, "j.a", 1);
    assert_eq!(now, (other.clone(), 3));
    assert!(!resume(&gateway, "j.a", &epoch, 2).0, "what has an old position is not gone on with");
    gateway.stop();
    let gateway = journal.gateway(keys);
    assert_eq!(position(&gateway, "j.a"), now, "and the new count goes on");
    gateway.stop();
}

#[test]
fn a_tail_lost_with_the_machine_is_a_new_epoch() {
    for keys in ["", ALWAYS] {
        check_lost_tail(keys, |file, on_disk| {
            fs::write(file, on_disk).expect("it can be written");
            write_by_another_boot(file);
        });
        // Nobody knows whether something came after what is there.
        check_lost_tail(keys, |file, _| write_by_another_boot(file));
    }
}

#[test]
fn a_tail_lost_otherwise_is_a_new_epoch() {
    check_lost_tail("", |file, on_disk| fs::write(file, on_disk).expect("it can be written"));
    check_lost_tail(ALWAYS, |file, on_disk| fs::write(file, &on_disk[..on_disk.len() - 5]).expect("it can be written"));
    check_lost_tail("", |file, _| fs::remove_file(file).expect("it can be removed"));
}

#[test]
fn rot_is_a_new_epoch() {
    let journal = Journal::new();
    let gateway = journal.gateway("");
    let (epoch, _) = publish_by_every_door(&gateway, "j.a", 1);
    kill(gateway);
    let file = journal.newest_file("j.a");
    let mut bytes = fs::read(&file).expect("it can be read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).expect("it can be written");
    let gateway = journal.gateway("");
    assert_ne!(position(&gateway, "j.a").0, epoch);
    wait_for_words(&gateway, "does not match its checksum");
    gateway.stop();
}

/// A subscriber on each shard hears all of a topic in order while publishers on both shards and over HTTP are at work.
#[test]
fn every_subscriber_hears_all_in_order() {
    let journal = Journal::new();
    let gateway = journal.gateway("journal_segment_bytes = 20000");
    let mut subscribers: Vec<Client> = (0..6).map(|_| Client::connect(&gateway, "/stream?streams=j.a")).collect();
    let mut publishers: Vec<Client> = (0..4).map(|_| Client::connect(&gateway, "/publish/j.a")).collect();
    const EACH: u64 = 500;
    for n in 0..EACH {
        publishers.iter_mut().for_each(|publisher| publisher.send(&format!("{{\"n\":{n}}}")));
        if n % 50 == 0 {
            gateway.publish("j.a", "0");
        }
    }
    let total = EACH * 4 + EACH / 50;
    for subscriber in &mut subscribers {
        for expected in 1..=total {
            assert_eq!(publication(subscriber).1, expected);
        }
    }
    gateway.stop();
    let offsets: Vec<u64> = journal.dump("j.a").into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, (1..=total).collect::<Vec<_>>());
    assert!(journal.files("j.a").len() > 3, "it was rotated");
}

/// The reply to SUBSCRIBE with a position: whether it was recovered, and what came with it.
fn resume(gateway: &Gateway, topic: &str, epoch: &str, offset: u64) -> (bool, Client) {
    let mut client = Client::connect(gateway, "/stream");
    let reply = client.subscribe(&[&format!("{topic};since={epoch}:{offset}")]);
    (reply[0]["recovered"].as_bool().expect("since was given"), client)
}

#[test]
fn a_subscriber_goes_on_after_its_position_across_restarts() {
    let journal = Journal::new();
    let gateway = journal.gateway("");
    let (epoch, _) = publish_by_every_door(&gateway, "j.a", 1);
    kill(gateway);
    let gateway = journal.gateway("");
    publish_by_every_door(&gateway, "j.a", 4);
    gateway.stop();
    let gateway = journal.gateway("");
    // On several connections, so that both shards are asked.
    for after in [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3] {
        let (recovered, mut client) = resume(&gateway, "j.a", &epoch, after);
        assert!(recovered);
        for expected in after + 1..=6 {
            assert_eq!(publication(&mut client), ("j.a".into(), expected, format!("{{\"n\":{expected}}}")));
        }
        client.assert_silent();
    }
    assert!(!resume(&gateway, "j.a", &epoch, 7).0, "that lies ahead");
    kill(gateway);
    // The machine ends, and with it what was not on disk.
    write_by_another_boot(&journal.newest_file("j.a"));
    let gateway = journal.gateway("");
    assert!(resume(&gateway, "j.a", &epoch, 6).0, "nothing was written by the last run, and what it found was closed");
    publish_by_every_door(&gateway, "j.a", 7);
    kill(gateway);
    write_by_another_boot(&journal.newest_file("j.a"));
    let gateway = journal.gateway("");
    for after in [0, 6, 9] {
        let (recovered, mut client) = resume(&gateway, "j.a", &epoch, after);
        assert!(!recovered);
        client.assert_silent();
    }
    gateway.stop();
}

/// The newest of each key survives the ring's turnover, and so it does a restart.
#[test]
fn the_newest_of_each_key_is_there_again() {
    let journal = Journal::new();
    let keys = "kind = \"state\"\nkey = \"/s\"\nring_publications = 2\njournal_segment_bytes = 4096";
    let snapshot = |gateway: &Gateway| {
        let mut client = Client::connect(gateway, "/stream");
        client.subscribe(&["j.a;last"]);
        let all: Vec<String> = (0..9).map(|_| publication(&mut client).2).collect();
        client.assert_silent();
        all
    };
    let gateway = journal.gateway(keys);
    for n in 0..300 {
        // Key 9 is published first, and removed.
        let key = if n == 0 { 9 } else { n % 9 };
        gateway.publish("j.a", &format!("{{\"s\":\"k{key}\",\"n\":{n}}}"));
    }
    let removed = gateway.post("/api/topics/j.a?key=k9&remove=1", "text/plain", "");
    assert_eq!(removed.status, 200, "{removed:?}");
    let before = snapshot(&gateway);
    let expected: Vec<String> = (291..300).map(|n| format!("{{\"s\":\"k{}\",\"n\":{n}}}", n % 9)).collect();
    assert_eq!(before, expected);
    kill(gateway);
    let gateway = journal.gateway(keys);
    assert_eq!(snapshot(&gateway), before);
    gateway.publish("j.a", "{\"s\":\"k0\",\"n\":-1}");
    let now: Vec<String> =
        before.into_iter().filter(|data| !data.contains("\"k0\"")).chain([String::from("{\"s\":\"k0\",\"n\":-1}")]).collect();
    assert_eq!(snapshot(&gateway), now);
    gateway.stop();
}

/// Who watches a pattern hears of topics that a journal brought back, and of new ones.
#[test]
fn a_pattern_matches_what_came_back() {
    let journal = Journal::new();
    let gateway = journal.gateway("");
    gateway.publish("j.a", "1");
    gateway.stop();
    let gateway = journal.gateway("");
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(&gateway, "/stream?streams=j.*;last")).collect();
    for client in &mut clients {
        assert_eq!(client.text(), "{\"result\":[{\"stream\":\"j.*\",\"topics\":1}],\"id\":null}");
        assert_eq!(publication(client), ("j.a".into(), 1, "1".into()));
    }
    gateway.publish("j.a", "2");
    gateway.publish("j.b", "3");
    for client in &mut clients {
        let mut heard = [publication(client), publication(client)];
        heard.sort();
        assert_eq!(heard, [("j.a".into(), 2, "2".into()), ("j.b".into(), 1, "3".into())]);
    }
    gateway.stop();
}
