//! A server that does nothing but what the kernel makes it do: handshakes, then the same bytes to all subscribers.
//!
//! Without: topics, backpressure, pings, limits, other clients than this program's. `/publish` takes messages in, whoever asks
//! for another path gets every one. It is built for the closed loop of a fan-out: it waits until as many publications are here
//! as one send is to carry, and then sends them to one subscriber after the other.
//!
//! Invariant: subscribers get the same bytes in the same order by every way, so ways differ only in how the kernel is asked.

use std::collections::HashMap;
use std::io;

use tidegate::http::{HeadReader, Progress};
use tidegate::ws::{Assembler, Connection, Event, Limits, Opcode, Role, frame, handshake};

const LIMITS: Limits = Limits { message_bytes_max: 16 << 20, fragments_max: 1, inflate_ratio_max: 1 };

/// A connection's number among those that are open.
pub(super) type Place = u32;

/// What a way has heard.
pub(super) enum Heard<'a> {
    /// These bytes came.
    Bytes(&'a mut [u8]),
    /// It is over.
    End,
}

/// How the kernel is asked.
pub(super) trait Way {
    /// Waits until something comes, and hands over all of it.
    fn wait(&mut self, heard: &mut dyn FnMut(Place, Heard<'_>)) -> io::Result<()>;

    /// Sends all of `bytes` to each of them. Who left meanwhile is passed over; the next [`Way::wait`] tells of it.
    fn send(&mut self, to: &[Place], bytes: &[u8]) -> io::Result<()>;
}

/// Serves until the way fails. `messages_per_send` publications leave together, in one send for each subscriber.
pub(super) fn serve(mut way: impl Way, messages_per_send: u32) -> io::Result<()> {
    let mut room = Room::default();
    loop {
        way.wait(&mut |place, heard| room.hear(place, heard))?;
        for (place, answer) in room.answers.drain(..) {
            way.send(&[place], &answer)?;
        }
        if room.waiting >= messages_per_send {
            way.send(&room.subscribers, &room.batch)?;
            room.batch.clear();
            room.waiting = 0;
        }
    }
}

/// Who is here and what is to be sent.
#[derive(Default)]
struct Room {
    peers: HashMap<Place, Peer>,
    /// In ascending order.
    subscribers: Vec<Place>,
    answers: Vec<(Place, Vec<u8>)>,
    /// Frames of publications that nobody has yet.
    batch: Vec<u8>,
    /// How many.
    waiting: u32,
}

enum Peer {
    Coming(HeadReader),
    Publisher(Connection, Assembler),
    /// What it says is of no interest: pongs, a close.
    Subscriber,
}

impl Room {
    fn hear(&mut self, place: Place, heard: Heard<'_>) {
        let Heard::Bytes(mut bytes) = heard else {
            self.peers.remove(&place);
            self.subscribers.retain(|other| *other != place);
            return;
        };
        let peer = self.peers.entry(place).or_insert_with(|| Peer::Coming(HeadReader::new(8192, 64)));
        if let Peer::Coming(head) = peer {
            match greet(head, &mut bytes) {
                Some((joined, answer)) => {
                    *peer = joined;
                    if let Peer::Subscriber = peer {
                        let at = self.subscribers.partition_point(|other| *other < place);
                        self.subscribers.insert(at, place);
                    }
                    self.answers.push((place, answer));
                }
                None => return,
            }
        }
        if let Peer::Publisher(connection, assembler) = peer {
            while let Ok(Some(event)) = connection.next(&LIMITS, &mut bytes) {
                if let Event::Data { kind, bytes, first, last } = event
                    && let Some(whole) = assembler.add(kind, bytes, first, last)
                {
                    frame::write(&mut self.batch, Opcode::Text, &whole.bytes, None);
                    self.waiting += 1;
                }
            }
        }
    }
}

/// Takes in a request; once it is whole, who that is and what is answered. What is no WebSocket's request never is.
fn greet(head: &mut HeadReader, bytes: &mut &mut [u8]) -> Option<(Peer, Vec<u8>)> {
    let Ok(Progress::Complete { consumed }) = head.feed(bytes) else { return None };
    *bytes = &mut std::mem::take(bytes)[consumed..];
    let request = head.request().ok()?;
    let upgrade = handshake::check_request(&request).ok()?;
    let mut answer = Vec::new();
    handshake::write_accept(&mut answer, &upgrade.accept, None, &[]);
    let publishes = request.target.starts_with("/publish");
    let peer = if publishes { Peer::Publisher(Connection::new(Role::Server), Assembler::default()) } else { Peer::Subscriber };
    Some((peer, answer))
}
