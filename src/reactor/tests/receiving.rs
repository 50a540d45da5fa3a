//! What peers send.

use super::*;

#[test]
fn what_came_is_echoed() {
    every(SIZES, |mut host| {
        let (client, mut peer) = host.connect();
        host.submit(Op::Receive(client));
        for round in 0..5 {
            let text = format!("round {round}");
            peer.write_all(text.as_bytes()).unwrap();
            let bytes = host.received(client);
            assert_eq!(bytes, text.as_bytes());
            assert_eq!(host.send(client, &bytes), SendOutcome::Sent(7));
            let mut read = [0; 7];
            peer.read_exact(&mut read).unwrap();
            assert_eq!(read, text.as_bytes());
        }
        assert_eq!(host.reactor.buffers_free(), 64);
    });
}

#[test]
fn the_end_of_a_peer_is_told() {
    every(SIZES, |mut host| {
        let (client, mut peer) = host.connect();
        host.submit(Op::Receive(client));
        peer.write_all(b"last words").unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(host.received(client), b"last words");
        host.expect(Completion::ReceiveEnded { client, reason: ReceiveEnd::Eof });
        assert_eq!(host.send(client, b"still heard"), SendOutcome::Sent(11));
        let mut read = [0; 11];
        peer.read_exact(&mut read).unwrap();
        assert_eq!(host.reactor.buffers_free(), 64);
    });
}

/// A receive stops short of urgent data, though there is more behind it. (The urgent byte itself is not of the stream.)
#[test]
fn urgent_data_holds_up_nothing() {
    every(SIZES, |mut host| {
        let (client, mut peer) = host.connect();
        for _ in 0..3 {
            peer.write_all(b"before ").unwrap();
            socket2::SockRef::from(&peer).send_out_of_band(b"!").unwrap();
            peer.write_all(b"behind").unwrap();
            host.submit(Op::Receive(client));
            let mut received = Vec::new();
            while received.len() < 13 {
                received.extend(host.received(client));
            }
            assert_eq!(received, b"before behind");
            host.submit(Op::CancelReceive(client));
            host.expect(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
        }
    });
}

#[test]
fn a_reset_by_the_peer_is_told() {
    every(SIZES, |mut host| {
        let (client, peer) = host.connect();
        host.submit(Op::Receive(client));
        assert_eq!(host.quiet(), None);
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        host.expect(Completion::ReceiveEnded { client, reason: ReceiveEnd::Failed(libc::ECONNRESET) });
        host.close(client);
    });
}

#[test]
fn a_receive_is_cancelled_and_armed_again() {
    every(SIZES, |mut host| {
        let (client, mut peer) = host.connect();
        host.submit(Op::Receive(client));
        host.submit(Op::CancelReceive(client));
        host.expect(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
        host.submit(Op::CancelReceive(client));
        peer.write_all(b"held back").unwrap();
        assert_eq!(host.quiet(), None, "nothing is armed");
        host.submit(Op::Receive(client));
        assert_eq!(host.received(client), b"held back");
    });
}

/// 100 clients, 50,000 bytes each, all at once into 4 buffers: receives end for want of buffers all the time, are armed
/// again as some come back, and every byte returns to its owner.
#[test]
fn out_of_buffers_loses_nothing() {
    every(ReactorSizes { receive_buffers: 4, receive_buffer_bytes: 512, ..SIZES }, |mut host| {
        const CLIENTS: usize = 100;
        const LEN: usize = 50_000;
        let pairs: Vec<_> = (0..CLIENTS).map(|_| host.connect()).collect();
        let place: std::collections::HashMap<_, _> = pairs.iter().enumerate().map(|(place, pair)| (pair.0, place)).collect();
        let peers: Vec<_> =
            pairs.into_iter().map(|(client, peer)| (client, std::thread::spawn(|| exchange(peer, LEN)))).collect();
        for (client, _) in &peers {
            host.submit(Op::Receive(*client));
        }
        let (mut ended, mut shortages, mut received) = (VecDeque::new(), 0, vec![0; CLIENTS]);
        while received.iter().sum::<usize>() < CLIENTS * LEN {
            match host.next() {
                Completion::Received { client, buffer } => {
                    let bytes = host.take(buffer);
                    received[place[&client]] += bytes.len();
                    assert_eq!(host.send(client, &bytes), SendOutcome::Sent(bytes.len() as u32));
                }
                Completion::ReceiveEnded { client, reason: ReceiveEnd::Eof } => {
                    assert_eq!(received[place[&client]], LEN, "a peer leaves when it has all of its bytes back");
                }
                Completion::ReceiveEnded { client, reason } => {
                    assert!(matches!(reason, ReceiveEnd::NoBuffers | ReceiveEnd::Ended), "{reason:?}");
                    shortages += usize::from(reason == ReceiveEnd::NoBuffers);
                    ended.push_back(client);
                }
                other => panic!("{other:?}"),
            }
            if host.reactor.buffers_free() > 0
                && let Some(client) = ended.pop_front()
            {
                host.submit(Op::Receive(client));
            }
        }
        // An epoll set does not say so: who found none is next.
        assert!(shortages > 0 || host.way == Way::Epoll, "there were buffers for all");
        for (_, peer) in peers {
            peer.join().unwrap();
        }
    });
}

/// Writes a pattern and expects it back.
fn exchange(mut peer: TcpStream, len: usize) {
    let text = pattern(len);
    let mut writer = peer.try_clone().unwrap();
    let written = text.clone();
    let writing = std::thread::spawn(move || writer.write_all(&written).unwrap());
    let mut read = vec![0; len];
    peer.read_exact(&mut read).unwrap();
    assert!(read == text, "bytes were lost, repeated or reordered");
    writing.join().unwrap();
}

#[test]
fn a_buffer_goes_back_once() {
    mistake("released twice", |mut host| {
        let (client, mut peer) = host.connect();
        host.submit(Op::Receive(client));
        peer.write_all(b"x").unwrap();
        let Completion::Received { buffer, .. } = host.next() else { panic!() };
        host.reactor.release(buffer);
        host.reactor.release(buffer);
    });
}

#[test]
fn a_receive_is_armed_once() {
    mistake("second receive", |mut host| {
        let (client, _peer) = host.connect();
        host.submit(Op::Receive(client));
        host.submit(Op::Receive(client));
    });
}
