//! Too much of what is allowed: fragments, headers, pings, subscriptions, brackets; and work that grows faster than its input.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::common::figures::{comes_to, metric};
use crate::common::{Client, Gateway, Raw, frame, http};
use crate::{Cost, Scene};

/// CVE-2014-0193, CVE-2026-62389. Empty ones too: none adds a byte to the message.
#[test]
fn fragment_flood() {
    const FRAGMENTS_MAX: usize = 1024;
    const CLIENTS: usize = 20;
    let mut scene = Scene::new("");
    scene.attack(Cost::clients(CLIENTS, 64 << 10), |gateway| {
        for fragment in [&b""[..], b" "] {
            let mut clients: Vec<_> = (0..CLIENTS).map(|_| Raw::upgraded(gateway, "/ws")).collect();
            for client in &mut clients {
                client.send([frame(0x01, fragment), frame(0x00, fragment).repeat(FRAGMENTS_MAX - 1)].concat());
                client.send(frame(0x89, b"still open"));
                assert_eq!(client.frame().map(|pong| pong.first), Some(0x8A), "{FRAGMENTS_MAX} fragments are borne");
                client.send(frame(0x00, fragment));
                assert_eq!(client.closed_with(), 1009);
            }
        }
    });
}

/// CVE-2024-37890, CVE-2023-43669. 8 KiB and 64 fields, refused as soon as it is too much.
#[test]
fn header_flood() {
    let mut scene = Scene::new("");
    scene.attack(Cost::clients(20, 8192), |gateway| {
        let status = |headers: &[(&str, &str)]| Raw::open(gateway.clients).handshake("/ws", headers).status;
        let usual = 5;
        let many = |count: usize| vec![("X", "1"); count];
        assert_eq!([many(64 - usual), many(65 - usual), many(1_000)].map(|headers| status(&headers)), [101, 431, 431]);
        assert_eq!(status(&[("X", &"x".repeat(7_900))]), 101);
        assert_eq!(status(&[("X", &"x".repeat(8_192))]), 431);
        // A megabyte more would come; it is not awaited.
        let mut raw = Raw::open(gateway.clients);
        raw.send(format!("GET /ws HTTP/1.1\r\nX: {}", "x".repeat(8_192)));
        assert_eq!(raw.response().status, 431);
        let mut raw = Raw::open(gateway.clients);
        raw.send(format!("GET /{} HTTP/1.1\r\n", "x".repeat(8_192)));
        assert_eq!(raw.response().status, 431);
        // Empty lines before the request are borne within the same bound.
        let mut raw = Raw::open(gateway.clients);
        raw.send("\r\n".repeat(8_192));
        assert_eq!(raw.response().status, 431);
        // In single bytes, whole and too long.
        let fine = format!("GET /nothing HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(4_000));
        let mut raw = Raw::open(gateway.clients);
        fine.bytes().for_each(|byte| raw.send([byte]));
        assert_eq!(raw.response().status, 404);
    });
}

/// A head in single bytes costs as much for each of them, however many came before: counted in CPU time of this thread, four
/// times as much input against one, where starting over with each byte would be sixteen.
#[test]
fn a_head_in_single_bytes_is_never_parsed_again() {
    check_linear(|bytes| {
        let mut reader = tidegate::http::HeadReader::new(1 << 30, 64);
        let line = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(bytes));
        for byte in line.as_bytes().chunks(1) {
            assert_eq!(reader.feed(byte), Ok(tidegate::http::Progress::Partial));
        }
    });
}

/// CVE-2021-32640: a regular expression that goes back and forth over white space. Here through the whole handshake.
#[test]
fn slow_subprotocol_list() {
    for (filling, at_the_end) in [(" ", "x"), (",", ""), ("a,", ""), (", ", "x"), ("\t ,", "\t")] {
        check_linear(|bytes| {
            let list = format!("a{}{at_the_end}", filling.repeat(bytes / filling.len() / 4));
            let head = format!(
                "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {list}\r\n\r\n"
            );
            let mut reader = tidegate::http::HeadReader::new(1 << 30, 64);
            reader.feed(head.as_bytes()).expect("it is a head");
            let request = reader.request().expect("it is a request");
            let offered = tidegate::ws::handshake::check_request(&request).map(|upgrade| upgrade.protocols().count());
            assert!(std::hint::black_box(offered).is_ok() || filling == " ", "{offered:?}");
        });
    }
    let mut scene = Scene::new("");
    scene.attack(Cost::clients(20, 8192), |gateway| {
        let longest = 7_900;
        for list in [",".repeat(longest), format!("soap{}", " ".repeat(longest)), "a,".repeat(longest / 2)] {
            let answer = Raw::open(gateway.clients).handshake("/ws", &[("Sec-WebSocket-Protocol", &list)]);
            assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, None));
        }
    });
}

/// Four times the input takes less than eight times the CPU time, measured several times and the least taken of each.
fn check_linear(work: impl Fn(usize)) {
    const BYTES: usize = 1 << 18;
    let cpu = |bytes| {
        let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("CPU time is positive");
        let before = now();
        work(bytes);
        now() - before
    };
    let (mut one, mut four) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        one = one.min(cpu(BYTES));
        four = four.min(cpu(4 * BYTES));
    }
    assert!(four < 8 * one.max(Duration::from_micros(20)), "{one:?} for one, {four:?} for four");
}

/// Pings cost what requests cost, and of those beyond the rate only the newest is owed a pong.
#[test]
fn ping_flood() {
    const BURST: usize = 200;
    let mut scene = Scene::new("");
    scene.attack(Cost::clients(2, 64 << 10), |gateway| {
        // A burst and half as many again as are borne: the newest is answered once there is a token.
        let mut raw = Raw::upgraded(gateway, "/ws");
        let flood: Vec<u8> = (0..BURST + 50).flat_map(|number| frame(0x89, &(number as u32).to_be_bytes())).collect();
        raw.send(flood);
        let (mut pongs, mut newest) = (0, None);
        while newest != Some((BURST + 49) as u32) {
            let pong = raw.frame().expect("it is borne");
            assert_eq!(pong.first, 0x8A);
            let number = u32::from_be_bytes(pong.payload.try_into().expect("four bytes were sent"));
            assert!(newest < Some(number), "pongs in order");
            (newest, pongs) = (Some(number), pongs + 1);
        }
        // While they came there may have been a token or two.
        assert!((1..=BURST + 10).contains(&pongs), "{pongs} pongs for {BURST} tokens");
        // A flood that does not end is told to.
        let mut raw = Raw::upgraded(gateway, "/ws");
        let pings = frame(0x89, &[b'x'; 125]).repeat(1_000);
        (0..10).for_each(|_| raw.send(&pings));
        let close = loop {
            let frame = raw.frame().expect("it is told");
            if frame.first != 0x8A {
                break frame;
            }
        };
        assert_eq!(close.close_code(), Some(1008));
    });
}

/// Every topic that somebody names costs an entry, whether anybody publishes there or not: so many for each client, so many
/// for all, and none once they are gone.
#[test]
fn subscription_bomb() {
    const CLIENTS: usize = 20;
    const SUBSCRIPTIONS_MAX: usize = 1024;
    const TOPICS_MAX: usize = 15_000;
    /// The name, 255 bytes long, stands in the topic and in the map of its shard; it and its subscription have records beside.
    const TOPIC_BYTES: usize = 2 * 255 + 512;
    let mut scene = Scene::new(&format!("[limits]\ntopics_max = {TOPICS_MAX}\nreplica_linger_ms = 100\n"));
    // Each topic is known to its home and to the shard whose client asked; a shard's share of topics_max is an eighth more.
    let topics = 2 * TOPICS_MAX * 9 / 8 * TOPIC_BYTES;
    let cost = Cost::clients(CLIENTS, 0);
    scene.attack(Cost { resident_bytes: cost.resident_bytes + topics as u64, ..cost }, |gateway| {
        let topics_before = metric(gateway, "topics", "");
        let mut refused = 0;
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(gateway, "/ws")).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let name = |topic: usize| format!("{:x<255}", format!("{number}-{topic}-"));
            for part in 0..SUBSCRIPTIONS_MAX / 128 {
                let names: Vec<_> = (0..128).map(|topic| name(part * 128 + topic)).collect();
                let reply = client.ask("SUBSCRIBE", &format!("[\"{}\"]", names.join("\",\"")));
                match reply.as_str() {
                    "{\"result\":null}" => {}
                    // All or none of a request: topics_max.
                    error => {
                        assert!(error.starts_with("{\"error\":{\"code\":5,"), "{error}");
                        refused += 1;
                    }
                }
            }
            if refused == 0 {
                let one_more = client.error("SUBSCRIBE", "[\"one.more\"]");
                assert_eq!(one_more, 5, "subscriptions_max");
            }
            assert_eq!(client.error("SUBSCRIBE", &format!("[\"{}\"]", "x".repeat(256))), 3, "a topic has at most 255 bytes");
        }
        assert!(refused > 0, "topics_max holds for all of them together");
        let topics = metric(gateway, "topics", "") - topics_before;
        assert!(topics <= 2 * (TOPICS_MAX * 9 / 8 + 1) as i64, "{topics} topics");
        drop(clients);
        // The bystanders' topic is left, on both shards.
        comes_to(gateway, "topics", "", 2);
        // No client makes topics faster than its requests are counted.
        let mut fast = Client::connect(gateway, "/ws");
        let replies: Vec<_> = (0..250).map(|number| fast.ask("SUBSCRIBE", &format!("[\"fast.{number}\"]"))).collect();
        let made = replies.iter().filter(|reply| *reply == "{\"result\":null}").count();
        assert!((200..240).contains(&made), "{made} of 250 at once, where 200 and 20 a second are allowed");
        assert!(replies.iter().all(|reply| reply == "{\"result\":null}" || reply.starts_with("{\"error\":{\"code\":8,")));
    });
}

/// Names are chosen by the attacker, places in tables are not: the hash is keyed anew in each process.
#[test]
fn hash_flooding() {
    // What can be seen of it from outside is which shard a topic lives on.
    let homes = |gateway: &Gateway| -> Vec<bool> {
        let published = || metric(gateway, "publications_total", "shard=\"0\"");
        let home = |topic: usize| {
            let before = published();
            gateway.publish(&format!("t{topic}"), "1");
            published() > before
        };
        (0..64).map(home).collect()
    };
    let (one, other) = (homes(&Gateway::publishing()), homes(&Gateway::publishing()));
    assert!(one.contains(&true) && one.contains(&false), "topics are dealt out");
    assert_ne!(one, other, "two processes deal alike");
    // And by the source: no map has another hash than the standard library's, whose keys are random.
    let mut files = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut maps = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        maps += text.matches("HashMap<").count();
        for word in ["with_hasher", "BuildHasherDefault", "FxHash", "AHash", "fnv::", "Fnv", "NoHash", "hashbrown"] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
    assert!(maps > 5, "the maps are found");
}

/// Brackets as deep as a message is long, for everyone who looks at JSON.
#[test]
fn deep_json() {
    const BODY_BYTES_MAX: u64 = 8 << 20;
    const PUBLICATION_BYTES_MAX: u64 = 1 << 20;
    const RING_BYTES: u64 = 4 << 20;
    let mut scene = Scene::new("");
    // A body as it comes and in one piece; the ring of both shards, and half of one while it grows; on both a message that is put
    // together (in twice its room) and a copy for its ring.
    let cost = Cost {
        resident_bytes: 2 * BODY_BYTES_MAX + 2 * RING_BYTES * 3 / 2 + 2 * 3 * PUBLICATION_BYTES_MAX,
        ..Cost::clients(10, 0)
    };
    scene.attack(cost, |gateway| {
        let mut subscriber = Client::connect(gateway, "/ws/deep");
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = |bytes: usize, with_end: bool| {
                let depth = bytes / (open.len() + close.len());
                format!("{}1{}", open.repeat(depth), if with_end { close.repeat(depth) } else { String::new() })
            };
            for with_end in [true, false] {
                let mut client = Client::connect(gateway, "/ws");
                for request in [
                    deep(60_000, with_end),
                    format!("{{\"method\":\"SUBSCRIBE\",\"params\":{},\"id\":1}}", deep(60_000, with_end)),
                    format!("{{\"method\":\"PING\",\"id\":{}}}", deep(60_000, with_end)),
                ] {
                    let reply = client.say(&request);
                    assert!(reply.starts_with("{\"error\":{\"code\":1,"), "{}", &reply[..reply.len().min(200)]);
                }
            }
            // A payload is nobody's business but its reader's: judged, and passed on as it stands.
            let payload = deep(900_000, true);
            Client::connect(gateway, "/publish/deep").send(&payload);
            assert!(subscriber.text() == payload, "passed on as it stands");
            Client::connect(gateway, "/publish").send(&format!("{{\"stream\":\"deep\",\"data\":{payload}}}"));
            assert!(subscriber.text() == payload, "passed on as it stands");
            let body = format!("{{\"topic\":\"deep\",\"data\":{payload}}}");
            assert_eq!(gateway.post("/api/publish", "application/json", body).status, 200);
            assert!(subscriber.text() == payload, "passed on as it stands");
            let body = deep(8 << 20, false);
            assert_eq!(
                http(gateway.admin, "POST", "/api/publish", &[("Content-Type", "application/json")], body.as_bytes()).status,
                400
            );
        }
    });
}
