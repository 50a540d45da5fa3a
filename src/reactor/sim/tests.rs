use std::io::IoSlice;

use super::*;
use crate::reactor::echo::Echo;
use crate::reactor::{ClientKey, ReceiveEnd, SendOutcome};

struct Peer {
    id: PeerId,
    written: Vec<u8>,
    read: Vec<u8>,
    finished: bool,
}

/// A random script of peers that come, write, read, stall and leave, over an echo. What a peer reads is what it wrote, all
/// of it if nothing broke the connection.
fn check_echo(settings: SimSettings) {
    let (sim, net) = Sim::new(settings);
    let mut echo = Echo::new(sim);
    let mut script = fastrand(settings.seed);
    let mut peers: Vec<Peer> = Vec::new();
    for step in 0..10_000 {
        if peers.len() < 10 && script(10) == 0 {
            peers.push(Peer { id: net.connect(0), written: Vec::new(), read: Vec::new(), finished: false });
        }
        if !peers.is_empty() {
            let place = script(peers.len() as u64) as usize;
            let peer = &mut peers[place];
            match script(6) {
                0 if !peer.finished && peer.written.len() < 5_000 => {
                    let bytes: Vec<u8> = (0..script(2_000)).map(|_| script(256) as u8).collect();
                    net.write(peer.id, &bytes);
                    peer.written.extend(bytes);
                }
                1 => net.window(peer.id, script(3) as usize * 700),
                2 | 3 => peer.read.extend(net.read(peer.id)),
                4 if step > 500 && !peer.finished => {
                    net.finish(peer.id);
                    peer.finished = true;
                }
                _ => {}
            }
        }
        echo.turn(net.now().monotonic_us + 1_000);
        if peers.len() == 10 && echo.clients.is_empty() && peers.iter().all(|peer| net.is_closed(peer.id).is_some()) {
            break;
        }
        if step == 3_000 {
            peers.iter().for_each(|peer| net.window(peer.id, 1 << 20));
        }
    }
    let mut lost = 0;
    for peer in &mut peers {
        peer.read.extend(net.read(peer.id));
        match net.is_closed(peer.id) {
            Some(PeerEnd::Finished) => assert!(peer.read == peer.written, "seed {}: an echo is not what was said", settings.seed),
            Some(PeerEnd::Lost) => {
                lost += 1;
                assert!(peer.written.starts_with(&peer.read), "seed {}: an echo is not what was said", settings.seed);
            }
            other => panic!("seed {}: {other:?} though the gateway reads all and closes in peace", settings.seed),
        }
    }
    assert!(lost == 0 || settings.reset + settings.aborted > 0, "lost without a reason");
    assert!(echo.clients.is_empty(), "seed {}: someone is left", settings.seed);
    assert_eq!(echo.reactor.buffers_free(), usize::from(settings.receive_buffers), "a buffer did not come back");
}

/// Numbers for the script, apart from the reactor's own dice.
fn fastrand(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    }
}

#[test]
fn no_misfortune_loses_or_reorders_a_byte() {
    for seed in 1..=100 {
        check_echo(SimSettings { seed, incremental: seed.is_multiple_of(2), ..SimSettings::ROUGH });
    }
}

#[test]
fn a_connection_that_breaks_ends_with_a_prefix() {
    for seed in 1..=50 {
        check_echo(SimSettings { seed, incremental: seed.is_multiple_of(2), reset: 10, aborted: 100, ..SimSettings::ROUGH });
    }
}

/// A calm reactor with one client.
struct Pair {
    sim: Sim,
    net: SimNet,
    peer: PeerId,
    client: ClientKey,
}

impl Pair {
    fn new(settings: SimSettings) -> Self {
        let (mut sim, net) = Sim::new(settings);
        let peer = net.connect(0);
        sim.submit(Op::Accept { armed: 1 }).unwrap();
        let mut out = Vec::new();
        sim.turn(&[], Wait::Until { monotonic_us: u64::MAX }, 8, &mut out).unwrap();
        let [Completion::Accepted { client, peer: address, listener: 0 }] = out[..] else { panic!("{out:?}") };
        assert_eq!(address, Some(net.address(peer)));
        Self { sim, net, peer, client }
    }

    fn submit(&mut self, op: Op) -> &mut Self {
        self.sim.submit(op).unwrap();
        self
    }

    fn turn(&mut self, texts: &[&str]) -> Vec<Completion> {
        let pieces: Vec<_> = texts.iter().map(|text| [IoSlice::new(text.as_bytes())]).collect();
        let sends: Vec<_> = pieces.iter().map(|pieces| Send { client: self.client, pieces }).collect();
        let mut out = Vec::new();
        self.sim.turn(&sends, Wait::Poll, 8, &mut out).unwrap();
        out
    }

    fn sent(&self, count: u32) -> Completion {
        Completion::Sent { client: self.client, outcome: SendOutcome::Sent(count) }
    }
}

#[test]
fn two_sends_in_one_turn_overtake() {
    let mut pair = Pair::new(SimSettings::CALM);
    assert_eq!(pair.turn(&["aaa", "bbb"]), [pair.sent(3), pair.sent(3)]);
    assert_eq!(pair.net.read(pair.peer), b"bababa");
    assert_eq!(pair.turn(&["aaa"]), [pair.sent(3)]);
    assert_eq!(pair.turn(&["bbb"]), [pair.sent(3)]);
    assert_eq!(pair.net.read(pair.peer), b"aaabbb");
}

#[test]
fn a_full_window_stops_sends_until_the_peer_reads() {
    let mut pair = Pair::new(SimSettings { window_bytes: 4, ..SimSettings::CALM });
    let client = pair.client;
    assert_eq!(pair.turn(&["abcdef"]), [pair.sent(4)]);
    assert_eq!(pair.turn(&["ef"]), [Completion::Sent { client, outcome: SendOutcome::Full }]);
    assert_eq!(pair.submit(Op::PollOut(client)).turn(&[]), []);
    assert_eq!(pair.net.read(pair.peer), b"abcd");
    assert_eq!(pair.turn(&[]), [Completion::Writable(client)]);
    assert_eq!(pair.turn(&["ef"]), [pair.sent(2)]);
}

#[test]
fn a_close_with_unread_bytes_is_a_reset_as_on_linux() {
    for (unread, reset, end) in [(false, false, PeerEnd::Finished), (true, false, PeerEnd::Reset), (false, true, PeerEnd::Reset)]
    {
        let mut pair = Pair::new(SimSettings::CALM);
        let client = pair.client;
        if unread {
            pair.net.write(pair.peer, b"anyone?");
        }
        assert_eq!(pair.submit(Op::Close { client, reset }).turn(&[]), [Completion::Closed(client)]);
        assert_eq!(pair.net.is_closed(pair.peer), Some(end));
    }
}

#[test]
fn a_slot_goes_to_the_next_generation() {
    let mut pair = Pair::new(SimSettings { slots: 1, ..SimSettings::CALM });
    let client = pair.client;
    let refused = pair.net.connect(0);
    pair.submit(Op::Accept { armed: 1 });
    assert_eq!(pair.turn(&[]), [Completion::AcceptFailed { errno: libc::ENFILE }]);
    assert_eq!(pair.net.is_closed(refused), Some(PeerEnd::Reset));
    pair.net.connect(0);
    pair.submit(Op::Close { client, reset: false }).turn(&[]);
    let mut out = Vec::new();
    pair.sim.turn(&[], Wait::Until { monotonic_us: pair.net.now().monotonic_us + 1_000_000 }, 8, &mut out).unwrap();
    let [Completion::Accepted { client: next, .. }] = out[..] else { panic!("{out:?}") };
    assert!(next.slot == client.slot && next.generation != client.generation);
}

#[test]
fn time_moves_by_waiting_and_by_hand() {
    let mut pair = Pair::new(SimSettings { delay: 500, delay_us_max: 500, ..SimSettings::CALM });
    let start = pair.net.now();
    let until = |us| Wait::Until { monotonic_us: start.monotonic_us + us };
    let mut out = Vec::new();
    assert_eq!(pair.sim.turn(&[], until(1_000), 8, &mut out).unwrap().monotonic_us, start.monotonic_us + 1_000);
    pair.net.advance(500);
    assert_eq!(pair.net.now().unix_us, start.unix_us + 1_500);
    pair.net.write(pair.peer, b"hello");
    pair.submit(Op::Receive(pair.client));
    let now = pair.sim.turn(&[], until(100_000), 8, &mut out).unwrap();
    assert!(matches!(out[..], [Completion::Received { .. }]) && now.monotonic_us <= start.monotonic_us + 2_000);
    // Nothing is under way and the deadline is never: the turn returns, since nobody could wake it.
    assert_eq!(pair.sim.turn(&[], Wait::Until { monotonic_us: u64::MAX }, 8, &mut out).unwrap(), now);
    pair.sim.waker().wake();
    pair.sim.turn(&[], Wait::Poll, 8, &mut out).unwrap();
    assert_eq!(out[1], Completion::Woken);
}

fn check_mistake(mistake: fn(&mut Pair)) {
    mistake(&mut Pair::new(SimSettings::CALM));
}

#[test]
#[should_panic(expected = "a send for")]
fn a_send_to_a_closed_client_is_a_mistake() {
    check_mistake(|pair| {
        let client = pair.client;
        pair.submit(Op::Close { client, reset: false }).turn(&[]);
        pair.turn(&["x"]);
    });
}

#[test]
#[should_panic(expected = "second receive")]
fn a_second_receive_is_a_mistake() {
    check_mistake(|pair| {
        let op = Op::Receive(pair.client);
        pair.submit(op).submit(op);
    });
}

#[test]
#[should_panic(expected = "second poll")]
fn a_second_poll_is_a_mistake() {
    check_mistake(|pair| {
        let op = Op::PollOut(pair.client);
        pair.submit(op).submit(op);
    });
}

#[test]
#[should_panic(expected = "released twice")]
fn a_second_release_is_a_mistake() {
    check_mistake(|pair| {
        pair.net.write(pair.peer, b"x");
        let out = pair.submit(Op::Receive(pair.client)).turn(&[]);
        let [Completion::Received { buffer, .. }] = out[..] else { panic!("{out:?}") };
        pair.sim.release(buffer);
        pair.sim.release(buffer);
    });
}

/// Two pieces of one buffer: it is filled anew only once both are back, and what lies in the other stays.
#[test]
fn pieces_of_a_buffer_go_back_one_by_one() {
    let settings = SimSettings { receive_buffers: 1, receive_buffer_bytes: 8, ..SimSettings::CALM };
    let mut pair = Pair::new(settings);
    let received = |pair: &mut Pair, bytes: &[u8]| {
        pair.net.write(pair.peer, bytes);
        match pair.turn(&[])[..] {
            [Completion::Received { buffer, .. }] => Some(buffer),
            [Completion::ReceiveEnded { reason: ReceiveEnd::NoBuffers, .. }] => None,
            ref other => panic!("{other:?}"),
        }
    };
    let op = Op::Receive(pair.client);
    pair.submit(op);
    let one = received(&mut pair, b"one").unwrap();
    let two = received(&mut pair, b"and 2").unwrap();
    assert_eq!((one.index, one.start, two.index, two.start), (0, 0, 0, 3));
    pair.sim.release(one);
    assert_eq!(pair.sim.bytes(two), b"and 2");
    assert_eq!(pair.sim.buffers_free(), 0);
    assert_eq!(received(&mut pair, b"three"), None);
    pair.sim.release(two);
    assert_eq!(pair.sim.buffers_free(), 1);
    let three = received(pair.submit(op), b"").unwrap();
    assert_eq!(pair.sim.bytes(three), b"three");
}
