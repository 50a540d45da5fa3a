//! How connections end.

use super::*;

/// What the peer reads at the end.
fn end_of(mut peer: TcpStream) -> Result<Vec<u8>, std::io::ErrorKind> {
    let mut read = Vec::new();
    peer.read_to_end(&mut read).map(|_| read).map_err(|error| error.kind())
}

#[test]
fn closing_while_a_receive_and_a_poll_are_armed_sends_fin() {
    every(SIZES, |mut host| {
        let (client, peer) = host.connect();
        host.submit(Op::Receive(client));
        assert_eq!(host.quiet(), None);
        assert_eq!(host.send(client, b"bye"), SendOutcome::Sent(3));
        host.submit(Op::Close { client, reset: false });
        host.expect(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
        host.expect(Completion::Closed(client));
        assert_eq!(end_of(peer).unwrap(), b"bye");
    });
}

#[test]
fn a_close_with_reset_sends_rst_at_once() {
    every(SIZES, |mut host| {
        let (client, peer) = host.connect();
        host.submit(Op::Receive(client));
        let text = pattern(1 << 20);
        while let SendOutcome::Sent(_) = host.send(client, &text) {}
        host.submit(Op::PollOut(client));
        host.submit(Op::Close { client, reset: true });
        host.expect(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
        host.expect(Completion::Closed(client));
        assert_eq!(end_of(peer), Err(std::io::ErrorKind::ConnectionReset));
        assert_eq!(host.quiet(), None, "a poll that was cancelled is not told");
    });
}

#[test]
fn a_shutdown_ends_one_direction() {
    every(SIZES, |mut host| {
        let (client, mut peer) = host.connect();
        host.submit(Op::Receive(client));
        assert_eq!(host.send(client, b"the end"), SendOutcome::Sent(7));
        host.submit(Op::ShutdownSend(client));
        host.turn(&[], Wait::Poll);
        let mut read = Vec::new();
        peer.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"the end");
        peer.write_all(b"understood").unwrap();
        assert_eq!(host.received(client), b"understood");
        host.submit(Op::CancelReceive(client));
        host.expect(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
        host.close(client);
    });
}

#[test]
fn bytes_that_come_while_closing_go_back_unseen() {
    every(SIZES, |mut host| {
        let (client, mut peer) = host.connect();
        host.submit(Op::Receive(client));
        assert_eq!(host.quiet(), None);
        peer.write_all(&pattern(10_000)).unwrap();
        host.submit(Op::Close { client, reset: false });
        host.expect(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
        host.expect(Completion::Closed(client));
        assert_eq!(host.reactor.buffers_free(), 64);
    });
}

#[test]
fn a_slot_is_used_again_by_another_generation() {
    every(ReactorSizes { connections_max: 1, accepts_max: 1, ..SIZES }, |mut host| {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..20 {
            let (client, mut peer) = host.connect();
            assert!(client.slot < 2 && seen.insert(client), "{client:?} came twice");
            host.submit(Op::Receive(client));
            peer.write_all(b"mine").unwrap();
            assert_eq!(host.received(client), b"mine");
            peer.write_all(b"late").unwrap();
            host.submit(Op::Close { client, reset: false });
            loop {
                match host.next() {
                    Completion::Received { client: whose, buffer } => {
                        assert_eq!(whose, client);
                        host.reactor.release(buffer);
                    }
                    Completion::ReceiveEnded { client: whose, .. } => assert_eq!(whose, client),
                    other => break assert_eq!(other, Completion::Closed(client)),
                }
            }
        }
    });
}

#[test]
fn a_closed_client_is_not_sent_to() {
    mistake("which is closed", |mut host| {
        let (client, _peer) = host.connect();
        host.close(client);
        host.send(client, b"x");
    });
}
