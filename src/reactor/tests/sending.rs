//! What peers are sent.

use super::*;

#[test]
fn pieces_leave_back_to_back() {
    every(SIZES, |mut host| {
        let (client, mut peer) = host.connect();
        let pieces = ["one ", "two ", "three"].map(|piece| IoSlice::new(piece.as_bytes()));
        assert_eq!(host.turn(&[Send { client, pieces: &pieces }], Wait::Poll), [SendOutcome::Sent(13)]);
        let mut read = [0; 13];
        peer.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"one two three");
    });
}

#[test]
fn outcomes_come_in_the_order_of_the_sends() {
    every(SIZES, |mut host| {
        let pairs: Vec<_> = (0..64).map(|_| host.connect()).collect();
        let texts: Vec<_> = (1..=64).map(pattern).collect();
        let pieces: Vec<_> = texts.iter().map(|text| [IoSlice::new(text)]).collect();
        let sends: Vec<_> = pairs.iter().zip(&pieces).map(|(pair, pieces)| Send { client: pair.0, pieces }).collect();
        let wanted: Vec<_> = (1..=64).map(SendOutcome::Sent).collect();
        assert_eq!(host.turn(&sends, Wait::Poll), wanted);
        for ((_, mut peer), text) in pairs.into_iter().zip(&texts) {
            let mut read = vec![0; text.len()];
            peer.read_exact(&mut read).unwrap();
            assert_eq!(&read, text);
        }
    });
}

/// What the kernel takes for a peer that reads nothing, in sends of 4 KiB.
fn taken_unread(host: &mut Host, client: ClientKey) -> usize {
    let chunk = pattern(4096);
    let mut taken = 0;
    loop {
        match host.send(client, &chunk) {
            SendOutcome::Sent(count) => taken += count as usize,
            SendOutcome::Full => return taken,
            SendOutcome::Failed(errno) => panic!("errno {errno}"),
        }
    }
}

#[test]
fn of_a_bounded_client_the_kernel_takes_less() {
    every(SIZES, |mut host| {
        let listed: Vec<_> = [false, true]
            .map(|bounded| {
                let (client, peer) = host.connect();
                socket2::SockRef::from(&peer).set_recv_buffer_size(4096).unwrap();
                if bounded {
                    host.submit(Op::BoundSend(client));
                }
                (taken_unread(&mut host, client), client, peer)
            })
            .into();
        let [(free, ..), (bounded, client, _)] = &listed[..] else { unreachable!("two were made") };
        assert!(*bounded < 256 << 10 && bounded * 4 < *free, "{bounded} of a bounded client, {free} of another");
        host.close(*client);
    });
}

/// What the kernel says of it, if it can.
fn unacknowledged(host: &mut Host, client: ClientKey) -> Option<u32> {
    host.submit(Op::AskUnacknowledged(client));
    match host.next() {
        Completion::Unacknowledged { client: whose, bytes } if whose == client => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_kernel_tells_what_is_not_acknowledged() {
    every(SIZES, |mut host| {
        let (client, mut peer) = host.connect();
        assert_eq!(unacknowledged(&mut host, client), Some(0));
        let taken = taken_unread(&mut host, client);
        let stuck = unacknowledged(&mut host, client).expect("Linux 6.7 or newer tells");
        assert!(stuck > 0 && (stuck as usize) < taken, "{stuck} of {taken}");
        peer.read_exact(&mut vec![0; taken]).unwrap();
        while unacknowledged(&mut host, client) != Some(0) {
            std::thread::yield_now();
        }
        // The answer may come behind the close, of which the shard knows what to think.
        host.submit(Op::AskUnacknowledged(client));
        host.submit(Op::Close { client, reset: false });
        assert!(matches!(host.next(), Completion::Unacknowledged { .. }));
        host.expect(Completion::Closed(client));
    });
}

/// A reader that is slower than we are: short sends, full sockets, `Writable`, and every byte once.
fn check_slow_reader(mut host: Host, pieces_count: usize) {
    let (client, mut peer) = host.connect();
    let text = pattern(24 << 20);
    let reader = std::thread::spawn(move || {
        let mut read = Vec::new();
        let mut chunk = vec![0; 1 << 20];
        loop {
            std::thread::sleep(Duration::from_millis(1));
            match peer.read(&mut chunk).unwrap() {
                0 => return read,
                len => read.extend_from_slice(&chunk[..len]),
            }
        }
    });
    let (mut sent, mut short, mut full) = (0, 0, 0);
    while sent < text.len() {
        let visit = &text[sent..text.len().min(sent + (8 << 20))];
        let pieces: Vec<_> = visit.chunks(visit.len().div_ceil(pieces_count)).map(IoSlice::new).collect();
        match host.turn(&[Send { client, pieces: &pieces }], Wait::Poll)[0] {
            SendOutcome::Sent(count) if count as usize == visit.len() => {
                sent += visit.len();
                continue;
            }
            SendOutcome::Sent(count) => {
                sent += count as usize;
                short += 1;
            }
            SendOutcome::Full => full += 1,
            SendOutcome::Failed(errno) => panic!("errno {errno}"),
        }
        if short == 1 && full == 0 {
            // At once again: the socket is still full, or nearly.
            continue;
        }
        host.submit(Op::PollOut(client));
        host.expect(Completion::Writable(client));
    }
    assert!(short > 0, "the socket was never full");
    host.close(client);
    assert!(reader.join().unwrap() == text, "bytes were lost, repeated or reordered");
}

#[test]
fn a_slow_reader_gets_every_byte_of_single_pieces() {
    every(SIZES, |host| check_slow_reader(host, 1));
}

#[test]
fn a_slow_reader_gets_every_byte_of_many_pieces() {
    every(SIZES, |host| check_slow_reader(host, PIECES_MAX));
}

#[test]
fn a_stalled_reader_is_full_and_the_poll_waits() {
    every(SIZES, |mut host| {
        let (client, mut peer) = host.connect();
        let text = pattern(1 << 20);
        let mut sent = 0;
        while let SendOutcome::Sent(count) = host.send(client, &text) {
            sent += count as usize;
        }
        host.submit(Op::PollOut(client));
        assert_eq!(host.quiet(), None, "a full socket takes nothing");
        let mut read = vec![0; sent];
        peer.read_exact(&mut read).unwrap();
        host.expect(Completion::Writable(client));
        assert_eq!(host.send(client, b"more"), SendOutcome::Sent(4));
    });
}

#[test]
fn a_send_to_a_peer_that_reset_fails() {
    every(SIZES, |mut host| {
        let (client, peer) = host.connect();
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let outcomes: Vec<_> = (0..2).map(|_| host.send(client, b"anyone?")).collect();
        assert_eq!(outcomes, [SendOutcome::Failed(libc::ECONNRESET), SendOutcome::Failed(libc::EPIPE)]);
    });
}

#[test]
fn two_sends_of_a_client_in_one_turn_are_a_mistake() {
    mistake("second send", |mut host| {
        let (client, _peer) = host.connect();
        let pieces = [IoSlice::new(b"x")];
        let send = Send { client, pieces: &pieces };
        host.turn(&[send, send], Wait::Poll);
    });
}
