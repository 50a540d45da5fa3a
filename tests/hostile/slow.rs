//! Clients that take their time: with the handshake, with a message, with reading.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::figures::{comes_to, kernel_bytes, metric};
use crate::common::members::{Came, Then, connect, join, read_all};
use crate::common::{Gateway, Raw, frame};
use crate::scene::{CLIENT_BYTES, on_both_shards};
use crate::{Cost, Scene};

/// `head_bytes_max` by default.
const HEAD_BYTES_MAX: usize = 8192;

/// CVE-2026-33219. A thousand clients, each with as much of a head as there may be, and none ends it.
#[test]
fn memory_before_authentication() {
    const CLIENTS: usize = 1_000;
    let mut scene = Scene::new("");
    scene.attack(Cost::clients(CLIENTS, HEAD_BYTES_MAX as u64), |gateway| {
        let head = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\nX-Long: {}", "x".repeat(HEAD_BYTES_MAX));
        let before = metric(gateway, "received_bytes_total", "");
        let mut clients: Vec<_> = (0..CLIENTS).map(|number| connect(gateway.clients, number, None)).collect();
        // In three pieces, so that what holds them has to grow.
        let mut from = 0;
        for until in [1_000, 5_000, HEAD_BYTES_MAX - 1] {
            clients.iter_mut().for_each(|client| client.write_all(&head.as_bytes()[from..until]).expect("it is read"));
            from = until;
            comes_to_more(gateway, "received_bytes_total", before + (CLIENTS * until) as i64);
        }
        assert!(metric(gateway, "connections", "") > CLIENTS as i64, "all of them are there, half-open");
        // Two bytes more are one too many.
        for client in &mut clients {
            client.write_all(b"xx").expect("it is open");
            assert_eq!(status(client), Some(431));
        }
    });
}

/// Waits for a metric to have at least a value.
fn comes_to_more(gateway: &Gateway, name: &str, least: i64) {
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    while metric(gateway, name, "") < least {
        assert!(std::time::Instant::now() < deadline, "{name} does not come to {least}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The status of the answer that comes; none where the connection just ends.
fn status(client: &mut TcpStream) -> Option<u16> {
    let mut answer = [0; 12];
    match client.read_exact(&mut answer) {
        Ok(()) => std::str::from_utf8(&answer[9..]).ok()?.parse().ok(),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}");
            None
        }
    }
}

/// The time is for the whole handshake: bytes that trickle in do not move it.
#[test]
fn slow_handshake() {
    const CLIENTS: usize = 100;
    let mut scene = Scene::new("[limits]\nhandshake_timeout_ms = 400\nclose_timeout_ms = 400\n");
    scene.attack(Cost::clients(2 * CLIENTS, HEAD_BYTES_MAX as u64), |gateway| {
        let mut silent: Vec<_> = (0..CLIENTS).map(|number| connect(gateway.clients, number, None)).collect();
        let mut slow: Vec<_> = (0..CLIENTS).map(|number| connect(gateway.clients, number, None)).collect();
        let head = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\nX-Slow: {}", "x".repeat(HEAD_BYTES_MAX));
        for byte in head.as_bytes().chunks(1) {
            // The gateway has closed them all; until then a byte each comes every few milliseconds.
            if slow.iter_mut().filter_map(|client| client.write_all(byte).ok()).count() == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Who goes on sending meets a reset in place of an answer that it did not wait for.
        assert!(slow.iter_mut().all(|client| matches!(status(client), Some(408) | None)));
        assert!(silent.iter_mut().all(|client| status(client) == Some(408)));
        let timeouts = metric(gateway, "refusals_total", "reason=\"timeout\"");
        assert_eq!(timeouts, 2 * CLIENTS as i64, "each of them was late");
    });
}

/// A message that began must end: neither fragments nor single bytes move its deadline.
#[test]
fn slow_message() {
    const CLIENTS: usize = 50;
    let mut scene = Scene::new("[limits]\nmessage_timeout_ms = 400\nfragments_max = 1000000\n");
    scene.attack(Cost::clients(2 * CLIENTS, 64 << 10), |gateway| {
        let mut fragments: Vec<_> = (0..CLIENTS).map(|_| Raw::upgraded(gateway, "/ws")).collect();
        let mut bytes: Vec<_> = (0..CLIENTS).map(|_| Raw::upgraded(gateway, "/ws")).collect();
        let before = metric(gateway, "closes_total", "class=\"timeout\"");
        fragments.iter_mut().for_each(|client| client.send(frame(0x01, b"{")));
        let message = frame(0x81, &[b' '; 60_000]);
        let mut at = 0;
        while metric(gateway, "closes_total", "class=\"timeout\"") < before + 2 * CLIENTS as i64 {
            fragments.iter_mut().for_each(|client| client.send(frame(0x00, b" ")));
            bytes.iter_mut().for_each(|client| client.send(&message[at..=at]));
            at += 1;
            // Whoever was told to go answers, so that its end is counted.
            for client in fragments.iter_mut().chain(&mut bytes) {
                if came(&client.stream) {
                    assert_eq!(client.closed_with(), 1008);
                }
            }
            assert!(at < 20_000, "a message that never ends is borne for ever");
        }
    });
}

/// Whether bytes, or the end, are there to be read.
fn came(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket can be made non-blocking");
    let came = stream.peek(&mut [0]).is_ok_and(|length| length > 0);
    stream.set_nonblocking(false).expect("a socket can be made blocking");
    came
}

/// One address has at most its share of half-open clients; others come in meanwhile, and so does it once it has ended some.
#[test]
fn half_open_clients_of_one_address() {
    // A shard has its half, an eighth of it and one more.
    const MAX: usize = 64;
    const SHARD_MAX: usize = MAX / 2 * 9 / 8 + 1;
    let mut scene = Scene::new("[limits]\nhalf_open_per_address_max = 64\n");
    scene.attack(Cost::clients(3 * MAX, HEAD_BYTES_MAX as u64), |gateway| {
        let before = metric(gateway, "connections", "");
        // `connect` takes the addresses in turn, so these are all from the second.
        let attackers: Vec<_> = (0..4 * MAX).map(|number| connect(gateway.clients, 16 * number + 1, None)).collect();
        comes_to_more(gateway, "refusals_total", (4 * MAX - 2 * SHARD_MAX) as i64);
        let turned_away = metric(gateway, "refusals_total", "reason=\"too_many\"");
        let open = metric(gateway, "connections", "") - before;
        assert!(open <= 2 * SHARD_MAX as i64, "{open} half-open clients of one address");
        assert!((open + turned_away) as usize == 4 * MAX && turned_away > 0, "{open} and {turned_away}");
        assert!(gateway.said().contains("half_open_per_address_max"), "the operator is told");
        // From another address, and after the handshake nobody is counted.
        let others: Vec<_> = (0..5 * MAX).map(|_| Raw::upgraded(gateway, "/ws")).collect();
        assert_eq!(metric(gateway, "connections", "") - before, open + 5 * MAX as i64);
        drop(attackers);
        comes_to(gateway, "connections", "", before + 5 * MAX as i64);
        let mut again = connect(gateway.clients, 1, None);
        again.write_all(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is let in");
        assert_eq!(status(&mut again), Some(404));
        drop(others);
    });
}

/// Readers that never read, with the smallest window there is. The gateway holds one unfinished frame for each, the kernel
/// what is unsent and what the window takes; the rest is in the ring, once for all.
#[test]
fn slow_reader() {
    const READERS: usize = 100;
    const PAYLOAD_BYTES: usize = 16 << 10;
    const RING_BYTES: usize = 512 << 10;
    const UNSENT_BYTES_MAX: usize = 16 << 10;
    const RECEIVE_BYTES: usize = 4096;
    const BATCH: usize = 8;
    /// The kernel looks at the bound before it begins a segment, the largest being this on loopback.
    const SEGMENT_BYTES: usize = 64 << 10;
    let limits = format!(
        "[[topic]]\npattern = \"flood\"\nring_bytes = {RING_BYTES}\n\
         [limits]\nsend_unsent_bytes_max = {UNSENT_BYTES_MAX}\nclose_deadline_ms = 500\n"
    );
    let mut scene = Scene::new(&limits);
    // The ring of both shards, and half of one while it grows; a frame each; on each shard a batch under way, in twice its room.
    let shard_bytes = RING_BYTES * 3 / 2 + 2 * BATCH * PAYLOAD_BYTES;
    let cost = Cost {
        resident_bytes: (2 * shard_bytes + READERS * (CLIENT_BYTES as usize + PAYLOAD_BYTES)) as u64,
        kernel_bytes: (READERS * (UNSENT_BYTES_MAX + SEGMENT_BYTES + 2 * RECEIVE_BYTES)) as u64,
    };
    scene.attack(cost, |gateway| {
        let mut publisher = Raw::upgraded(gateway, "/publish/flood");
        let mut stalled = join(gateway, "/ws/flood", READERS, Some(RECEIVE_BYTES));
        // Others hear the same topic, and nothing more is published before they have it.
        let mut readers = on_both_shards(gateway, "/ws/flood");
        let payload = vec![b'x'; PAYLOAD_BYTES];
        let mut published = 0;
        // They fall out of the ring, are told, do not take it, and are reset.
        while metric(gateway, "closes_total", "class=\"lag\"") < READERS as i64 {
            publisher.send(frame(0x82, &payload).repeat(BATCH));
            for frame in readers.iter_mut().flat_map(|reader| (0..BATCH).map(|_| reader.frame())) {
                assert!(frame.is_some_and(|frame| frame.payload == payload), "who reads has all of it");
            }
            published += BATCH;
            assert!(published < 200_000, "readers that never read are borne for ever");
        }
        let copies = metric(gateway, "torn_copies_total", "");
        assert!((1..=READERS as i64).contains(&copies), "at most one unfinished frame each, and some stood in one: {copies}");
        let mut whole = 0;
        read_all(&mut stalled, |_, came| match came {
            Came::Frame(0x82, bytes) => {
                assert_eq!(bytes.len(), PAYLOAD_BYTES);
                whole += 1;
                Then::Read
            }
            Came::Frame(0x88, bytes) => {
                assert_eq!(bytes[..2], 1013u16.to_be_bytes());
                Then::Read
            }
            Came::Frame(first, _) => panic!("a frame {first:#x}"),
            Came::End(cut) => {
                assert!(cut.len() < PAYLOAD_BYTES + 4);
                Then::Read
            }
        });
        assert!(whole < READERS * published, "they lacked something");
    });
}

/// A window that stays shut although nothing is missing from the ring: `TCP_USER_TIMEOUT` ends it.
#[test]
fn zero_window() {
    const READERS: usize = 20;
    const RING_BYTES: u64 = 2 << 20;
    let ring = format!("[[topic]]\npattern = \"quiet\"\nring_bytes = {RING_BYTES}\n");
    let mut scene = Scene::new(&format!("{ring}[limits]\nsend_timeout_ms = 1000\n"));
    // The rings of both shards; for each reader unsent bytes, a segment and a window.
    let cost = Cost {
        resident_bytes: 2 * RING_BYTES + READERS as u64 * CLIENT_BYTES,
        kernel_bytes: READERS as u64 * ((16 + 64 + 8) << 10),
    };
    scene.attack(cost, |gateway| {
        let before = metric(gateway, "connections", "");
        let stalled = join(gateway, "/ws/quiet", READERS, Some(4096));
        let mut publisher = Raw::upgraded(gateway, "/publish/quiet");
        // 1 MiB: within the ring, beyond the window.
        for _ in 0..64 {
            publisher.send(frame(0x82, &[b'x'; 16 << 10]));
        }
        comes_to(gateway, "connections", "", before + 1);
        assert_eq!(metric(gateway, "closes_total", "class=\"lag\""), 0, "none of them fell out of the ring");
        assert!(kernel_bytes(gateway) < 1 << 20, "the kernel gave it back");
        drop(stalled);
    });
}

/// Subscribers of patterns that read nothing, while every topic is published on: each would have a row for each topic.
#[test]
fn patterns_that_nobody_reads() {
    const CLIENTS: usize = 300;
    const TOPICS: usize = 4_000;
    const BATCH: usize = 200;
    const ROWS_MAX: usize = 10_000;
    /// A row, and its place in its topic's list; as many may be idle, and a list has twice its room.
    const ROW_BYTES: usize = 2 * (32 + 2 * 4);
    /// A rate's variant of a topic, whose rings hold one small publication: it stays while somebody is behind there.
    const VARIANT_BYTES: usize = 1024;
    const BIG_BYTES: usize = 256 << 10;
    let topic = format!("[[topic]]\npattern = \"md.>\"\nkind = \"state\"\nrates_ms = [50]\nring_bytes = {}\n", 2 * BIG_BYTES);
    let mut scene = Scene::new(&format!("{topic}[limits]\npattern_rows_max = {ROWS_MAX}\nsend_timeout_ms = 600000\n"));
    let paths = ["/stream?streams=md.%3E", "/stream?streams=md.%3E;rate=50ms"];
    // Others hear the same patterns, and nothing more is published before they have it; all that they need is there before.
    let mut readers: Vec<Raw> = paths.iter().flat_map(|path| on_both_shards(&scene.gateway, path)).collect();
    let mut publisher = Raw::upgraded(&scene.gateway, "/publish");
    let mut round = |offset: usize| {
        for first in (0..TOPICS).step_by(BATCH) {
            let text = |number| format!("{{\"stream\":\"md.{number}\",\"o\":{offset},\"data\":\"{number} {offset}\"}}");
            let batch: BTreeSet<String> = (first..first + BATCH).map(text).collect();
            publisher.send(batch.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect::<Vec<u8>>());
            for reader in &mut readers {
                let came: BTreeSet<String> = (0..BATCH).map(|_| publication(reader)).collect();
                assert_eq!(came, batch, "who reads has all of it");
            }
        }
        readers.len()
    };
    round(1);
    // Rows, of which readers have a batch more; variants; the large publication in its rings and on its way to them.
    let resident = 2 * ((ROWS_MAX + 8 * BATCH) * ROW_BYTES + TOPICS * VARIANT_BYTES + 6 * BIG_BYTES);
    let unsent = CLIENTS as u64 * ((16 + 64 + 8) << 10);
    let cost = Cost { resident_bytes: resident as u64 + CLIENTS as u64 * CLIENT_BYTES, kernel_bytes: unsent };
    let mut big = Raw::upgraded(&scene.gateway, "/publish/big.all");
    scene.attack(cost, |gateway| {
        let patterns = ["/stream?streams=md.%3E/big.%3E", "/stream?streams=md.%3E;rate=50ms/big.%3E"];
        let stalled: Vec<_> = patterns.iter().flat_map(|path| join(gateway, path, CLIENTS / 2, Some(4096))).collect();
        // Inside its frame they stay.
        big.send(frame(0x82, &[b'x'; BIG_BYTES]));
        let mut offset = 1;
        let survivors = 2 * (ROWS_MAX / TOPICS) as i64;
        while metric(gateway, "closes_total", "class=\"lag\"") < CLIENTS as i64 - survivors {
            offset += 1;
            let readers = round(offset);
            let rows = metric(gateway, "pattern_rows", "");
            assert!(rows <= (2 * ROWS_MAX + readers * BATCH) as i64, "{rows} rows");
            assert!(offset < 50, "clients that never read are borne for ever");
        }
        let lag = metric(gateway, "closes_total", "class=\"lag\"");
        assert_eq!(metric(gateway, "overflows_total", ""), lag, "nobody was closed for anything else");
        // Who is within the bound is not reset, and leaves nothing behind.
        assert!(lag < CLIENTS as i64 && metric(gateway, "pattern_rows", "") >= TOPICS as i64);
        drop(stalled);
        comes_to(gateway, "pattern_rows", "", 0);
    });
}

/// The next publication, without replies and pings.
fn publication(reader: &mut Raw) -> String {
    loop {
        let frame = reader.frame().expect("who reads keeps its connection");
        match frame.first {
            0x89 => reader.send(crate::common::frame(0x8A, &frame.payload)),
            _ if frame.payload.starts_with(b"{\"stream\"") => return String::from_utf8(frame.payload).expect("JSON is text"),
            _ => {}
        }
    }
}

/// Requests are not read from a client that does not take their answers.
#[test]
fn replies_that_nobody_reads() {
    const CLIENTS: usize = 20;
    const REPLY_BYTES_MAX: usize = 64 << 10;
    let limits =
        format!("[limits]\nreply_bytes_max = {REPLY_BYTES_MAX}\nrequests_per_second = 1000000\nrequests_burst = 1000000\n");
    let mut scene = Scene::new(&limits);
    // What is owed may be above the bound by one reply, and the vector that holds it twice as long; what is held back is at most
    // two turns' completions, here at most all receive buffers.
    // The kernel holds what is not read up to the largest of net.ipv4.tcp_rmem.
    let cost =
        Cost { kernel_bytes: CLIENTS as u64 * (6 << 20), ..Cost::clients(CLIENTS, (2 * REPLY_BYTES_MAX + 2 * 64 * 4096) as u64) };
    scene.attack(cost, |gateway| {
        let mut clients = join(gateway, "/ws", CLIENTS, Some(4096));
        let request = frame(0x81, b"{\"method\":\"NONSENSE\",\"id\":1}");
        let good = frame(0x81, b"{\"method\":\"PING\",\"id\":1}");
        let burst = [request, good].concat().repeat(500);
        let clients_in = |gateway| metric(gateway, "messages_received_total", "");
        loop {
            let before = clients_in(gateway);
            let mut wrote = 0;
            for client in &mut clients {
                match client.stream.write(&burst) {
                    Ok(bytes) => wrote += bytes,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("a client that is not read is not closed: {error}"),
                }
            }
            // Nothing was taken, and nothing read but what the bystanders' publisher sent.
            if wrote == 0 && clients_in(gateway) - before < 100 {
                break;
            }
        }
        assert!(metric(gateway, "connections", "") > CLIENTS as i64, "none of them is closed");
        clients
    });
}

/// What came while a client does not take its replies is held back up to `held_bytes_max`, over all clients of a shard; whoever
/// goes beyond is told to wait, and within it everything is answered.
#[test]
fn input_that_is_held_back() {
    const REQUESTS: usize = 2_000;
    let rates = "requests_per_second = 1000000\nrequests_burst = 1000000\n";
    for (held_bytes_max, all) in [(4096, false), (1 << 20, true)] {
        let limits = format!("[limits]\nreply_bytes_max = 1024\nheld_bytes_max = {held_bytes_max}\n{rates}");
        let mut scene = Scene::new(&limits);
        let gateway = &scene.gateway;
        let mut client = Raw::upgraded(gateway, "/ws");
        gateway.signal(Signal::STOP);
        // Found at once, so that there is more than one turn can answer.
        client.send(frame(0x81, b"{\"method\":\"PING\",\"id\":1}").repeat(REQUESTS));
        gateway.signal(Signal::CONT);
        scene.attack(Cost::clients(1, 4 * held_bytes_max), |gateway| {
            let mut replies = 0;
            let close = loop {
                let frame = client.frame().expect("a reply, or a close frame");
                if frame.first != 0x81 {
                    break frame.close_code();
                }
                replies += 1;
                if replies == REQUESTS {
                    client.send(frame_of_close());
                }
            };
            assert_eq!((close, replies == REQUESTS), (Some(if all { 1000 } else { 1013 }), all), "{replies} replies");
            client.send(frame_of_close());
            assert_eq!(client.frame(), None, "after the close frame comes the end");
            drop(client);
            comes_to(gateway, "closes_total", "class=\"policy\"", i64::from(!all));
        });
    }
}

fn frame_of_close() -> Vec<u8> {
    frame(0x88, &1000u16.to_be_bytes())
}

/// The admin port is for this machine; what runs here and misbehaves costs it no more than its places.
#[test]
fn slow_clients_of_the_admin_port() {
    const PLACES: usize = 8;
    const BODY_BYTES_MAX: u64 = 2 << 20;
    let admin = format!("body_bytes_max = {BODY_BYTES_MAX}\nopen_connections_max = {PLACES}\n");
    let times = "head_timeout_ms = 500\nbody_timeout_ms = 500\n";
    let mut scene = Scene::with_admin(&format!("{admin}{times}"));
    // A body as it comes, in twice its room, for each place.
    let cost = Cost { resident_bytes: PLACES as u64 * 2 * BODY_BYTES_MAX, kernel_bytes: 0 };
    scene.attack(cost, |gateway| {
        let client = |bytes: &[u8]| {
            let mut stream = connect(gateway.admin, 0, None);
            stream.write_all(bytes).expect("a new connection takes some bytes");
            stream
        };
        let head = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n";
        let body = [head.as_bytes(), &[b' '; 100_000]].concat();
        // More than there are places, of each kind; whoever has none waits, and its time begins when it has one.
        let mut bodies: Vec<_> = (0..2 * PLACES).map(|_| client(&body)).collect();
        let mut heads: Vec<_> = (0..2 * PLACES).map(|_| client(b"GET /metrics HTTP/1.1\r\n")).collect();
        let mut silent: Vec<_> = (0..2 * PLACES).map(|_| client(b"")).collect();
        assert!(bodies.iter_mut().all(|stream| status(stream) == Some(408)));
        drop(bodies);
        assert!(heads.iter_mut().all(|stream| matches!(status(stream), Some(408) | None)));
        assert!(silent.iter_mut().all(|stream| matches!(status(stream), Some(408) | None)));
        assert_eq!(gateway.get("/health/live").status, 200, "there is room again");
    });
}
