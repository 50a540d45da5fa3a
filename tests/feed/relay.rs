//! A relay between clients and the gateway that cuts each connection with a reset after a random number of bytes: in heads,
//! in replies, in frames, in either direction.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, poll};
use socket2::SockRef;

/// Where connections were cut, seen from the last byte that was passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In what the client says: its handshake, or a request.
    Request,
    /// In the answer's head, or right after it.
    Head,
    /// In the first message, which is the reply to a subscription.
    Reply,
    /// Inside a later frame.
    Frame,
    /// Between two frames.
    Border,
}

/// All places.
pub(crate) const PLACES: [Place; 5] = [Place::Request, Place::Head, Place::Reply, Place::Frame, Place::Border];

/// A relay that runs until the process ends.
pub(crate) struct Relay {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    cuts: Arc<Cuts>,
}

struct Cuts {
    /// Until then nobody is cut soon: a client that never met a gateway may give up.
    begun: AtomicBool,
    /// How many are still to be made.
    left: AtomicUsize,
    made: [AtomicUsize; PLACES.len()],
    dice: Mutex<StdRng>,
}

impl Relay {
    /// Relays to the gateway, and makes so many cuts in all once it [begins](Relay::begin); from then on connections last.
    pub(crate) fn start(gateway: SocketAddr, cuts: usize) -> Relay {
        let seed = rand::random();
        println!("the cuts' seed is {seed}");
        let cuts = Arc::new(Cuts {
            begun: AtomicBool::new(false),
            left: AtomicUsize::new(cuts),
            made: [const { AtomicUsize::new(0) }; PLACES.len()],
            dice: Mutex::new(StdRng::seed_from_u64(seed)),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let relay = Relay { address, cuts: Arc::clone(&cuts) };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a client can be accepted");
                let Ok(server) = TcpStream::connect(gateway) else { continue };
                let cuts = Arc::clone(&cuts);
                let plan = if cuts.begun.load(Ordering::Relaxed) { cuts.plan() } else { (usize::MAX, 1 << 15) };
                std::thread::spawn(move || relay_between(&client, &server, plan, &cuts));
            }
        });
        relay
    }

    /// From now on connections are cut anywhere: all clients have met the gateway.
    pub(crate) fn begin(&self) {
        self.cuts.begun.store(true, Ordering::Relaxed);
    }

    /// Cuts made so far.
    pub(crate) fn made(&self) -> usize {
        self.cuts.made.iter().map(|made| made.load(Ordering::Relaxed)).sum()
    }

    /// Cuts made so far in one place.
    pub(crate) fn made_in(&self, place: Place) -> usize {
        self.cuts.made[place as usize].load(Ordering::Relaxed)
    }

    /// Whether all cuts are made.
    pub(crate) fn is_done(&self) -> bool {
        self.cuts.left.load(Ordering::Relaxed) == 0
    }
}

impl Cuts {
    /// After how many bytes up and down a connection is cut; whichever comes first.
    fn plan(&self) -> (usize, usize) {
        let mut dice = self.dice.lock().expect("no thread panics with it");
        // Of ten one falls into requests, two into the answer's head, two into the reply; the logarithm of the others is even.
        let least = 1 << dice.random_range(9..20);
        let long = dice.random_range(least..2 * least);
        match dice.random_range(0..10) {
            // A client that has said less is cut all the same.
            0 => (dice.random_range(1..600), long),
            1 | 2 => (usize::MAX, dice.random_range(1..160)),
            3 | 4 => (usize::MAX, dice.random_range(130..600)),
            _ => (usize::MAX, long),
        }
    }

    /// Takes one of the cuts to be made.
    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Until one side ends, or the cut.
fn relay_between(client: &TcpStream, server: &TcpStream, (mut up_left, mut down_left): (usize, usize), cuts: &Cuts) {
    let mut walk = Walk::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut sides = [PollFd::new(client, PollFlags::IN), PollFd::new(server, PollFlags::IN)];
        poll(&mut sides, None).expect("sockets can be waited for");
        let [up, down] = sides.map(|side| !side.revents().is_empty());
        for (ready, left, mut from, mut to, is_down) in
            [(up, &mut up_left, client, server, false), (down, &mut down_left, server, client, true)]
        {
            if !ready {
                continue;
            }
            let room = buffer.len().min(*left);
            let Ok(count @ 1..) = from.read(&mut buffer[..room]) else { return };
            if to.write_all(&buffer[..count]).is_err() {
                return;
            }
            *left -= count;
            if is_down {
                walk.take(&buffer[..count]);
            }
            if *left == 0 {
                if cuts.take() {
                    let place = if is_down { walk.place() } else { Place::Request };
                    cuts.made[place as usize].fetch_add(1, Ordering::Relaxed);
                    return reset(client, server);
                }
                *left = usize::MAX;
            }
        }
    }
}

/// What is under way is thrown away with the connection.
fn reset(client: &TcpStream, server: &TcpStream) {
    for side in [client, server] {
        SockRef::from(side).set_linger(Some(Duration::ZERO)).expect("a socket takes SO_LINGER");
    }
}

/// Follows what the gateway sends: a head, then frames.
#[derive(Default)]
struct Walk {
    /// Bytes of the head's end that came in a row.
    head_end: usize,
    /// Whole frames.
    frames: usize,
    header: Vec<u8>,
    /// Bytes of the frame's payload that are still to come.
    left: usize,
}

impl Walk {
    fn take(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.head_end < 4 {
                self.head_end =
                    if *first == b"\r\n\r\n"[self.head_end] { self.head_end + 1 } else { usize::from(*first == b'\r') };
                bytes = rest;
            } else if self.left > 0 {
                let part = self.left.min(bytes.len());
                self.left -= part;
                self.frames += usize::from(self.left == 0);
                bytes = &bytes[part..];
            } else {
                self.header.push(*first);
                bytes = rest;
                self.end_header();
            }
        }
    }

    /// A header that is whole gives the payload's length. A server's frames are not masked.
    fn end_header(&mut self) {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let length = match self.header[..] {
            [_, 126, one, two] => number(&[one, two]),
            [_, 127, ref eight @ ..] if eight.len() == 8 => number(eight),
            [_, short] if short < 126 => usize::from(short),
            _ => return,
        };
        self.header.clear();
        self.left = length;
        self.frames += usize::from(length == 0);
    }

    fn place(&self) -> Place {
        let between = self.header.is_empty() && self.left == 0;
        match self.frames {
            0 if self.head_end < 4 || between => Place::Head,
            0 => Place::Reply,
            _ if between => Place::Border,
            _ => Place::Frame,
        }
    }
}
