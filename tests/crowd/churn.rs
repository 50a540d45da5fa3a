//! A torrent of connects and disconnects.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::alone;
use crate::common::{Client, Gateway, PUBLISHING, frame};
use crate::figures::{comes_to, metric};
use crate::members::{connect, request};

const THREADS: usize = 4;
const CONNECTIONS: usize = 20_000;
/// Connections that one thread has open before it ends them; all threads' fit below the gateway's bound.
const AT_ONCE: usize = 50;
/// `connections_max` for each of two shards: the even share, and an eighth of it, and one; and as many as accepts are armed, who would
/// be told that there is no room.
const SHARD_CONNECTIONS_MAX: i64 = 400 / 2 * 9 / 8 + 1 + 64;

#[test]
fn a_torrent_of_connects_and_resets_loses_no_slot() {
    let _alone = alone();
    let gateway = Gateway::configured(&format!("{PUBLISHING}[limits]\nconnections_max = 400\nreplica_linger_ms = 50\n"));
    let stream = request(&gateway, "/stream?streams=md.a/md.b");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (gateway, stream) = (&gateway, &stream);
            scope.spawn(move || {
                for wave in 0..CONNECTIONS / THREADS / AT_ONCE {
                    let clients: Vec<_> =
                        (0..AT_ONCE).map(|number| (number, connect(gateway.clients, thread + 4 * number, None))).collect();
                    let begun: Vec<_> =
                        clients.into_iter().filter_map(|(number, client)| begin(number, client, stream)).collect();
                    begun.into_iter().for_each(|(number, client)| end(number + wave, client));
                }
            });
        }
        // Subscribers come and go while there is something to be sent to them.
        for number in 0..200 {
            gateway.publish(["md.a", "md.b"][number % 2], &number.to_string());
        }
    });
    for gauge in ["connections", "subscriptions"] {
        comes_to(&gateway, gauge, "", 0);
    }
    let accepts = metric(&gateway, "accepts_total", "");
    assert_eq!(accepts, CONNECTIONS as i64, "each was accepted once");

    // Every slot can be taken again. What does not fit waits, and comes in its turn.
    let waiting: Vec<_> = (0..4 * SHARD_CONNECTIONS_MAX as usize).map(|number| connect(gateway.clients, number, None)).collect();
    for shard in ["shard=\"0\"", "shard=\"1\""] {
        comes_to(&gateway, "connections", shard, SHARD_CONNECTIONS_MAX);
    }
    drop(waiting);
    comes_to(&gateway, "connections", "", 0);
    assert!(Client::connect(&gateway, "/ws").ask("PING", "").starts_with("{\"result\":"));
    println!("{accepts} connections came and went; closes: {}", metric(&gateway, "closes_total", ""));
    gateway.stop();
}

/// What a client does at its beginning, by its number: some are gone already after it.
fn begin(number: usize, mut client: TcpStream, stream: &str) -> Option<(usize, TcpStream)> {
    let part = match number % 10 {
        0 => return None,
        1 => {
            reset(client);
            return None;
        }
        2 => &stream[..stream.len() / 2],
        3 => "\r\n\r\nnonsense\r\n\r\n",
        _ => stream,
    };
    client.write_all(part.as_bytes()).expect("a new connection takes a request");
    Some((number, client))
}

/// How it ends, by another number, so that each beginning meets each end.
fn end(way: usize, mut client: TcpStream) {
    match way % 6 {
        // Before the answer, or right behind it.
        0 => reset(client),
        1 => drop(client),
        2 => {
            client.shutdown(Shutdown::Write).expect("it is connected");
            read_to_the_end(client);
        }
        // After the answer. Half a request gets none.
        3 => {
            wait(&mut client);
            reset(client);
        }
        4 => {
            wait(&mut client);
            client.write_all(&frame(0x88, &1000u16.to_be_bytes())).ok();
            client.shutdown(Shutdown::Write).ok();
            read_to_the_end(client);
        }
        // With half a frame under way.
        _ => {
            wait(&mut client);
            client.write_all(&frame(0x81, b"{\"method\":\"PING\",\"id\":1}")[..9]).ok();
            reset(client);
        }
    }
}

fn wait(client: &mut TcpStream) {
    client.set_read_timeout(Some(Duration::from_millis(5))).expect("a socket takes a time-out");
    // Where nothing comes in this time it ends without having been answered, which is one more way.
    client.read_exact(&mut [0; 12]).ok();
}

fn read_to_the_end(mut client: TcpStream) {
    client.set_read_timeout(Some(crate::common::PATIENCE)).expect("a socket takes a time-out");
    let mut bytes = Vec::new();
    if let Err(error) = client.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the gateway ends its side in time");
    }
}

/// Leaves by a reset instead of the usual end.
fn reset(client: TcpStream) {
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("a socket takes SO_LINGER");
}
