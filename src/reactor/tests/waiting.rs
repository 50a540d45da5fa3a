//! How a turn waits, and who wakes it.

use super::*;

#[test]
fn another_thread_wakes_a_sleeping_shard() {
    every(SIZES, |mut host| {
        for _ in 0..3 {
            let waker = host.reactor.waker();
            let other = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(10));
                waker.wake();
            });
            host.expect(Completion::Woken);
            other.join().unwrap();
        }
        // Before it sleeps is early enough, and several are one.
        let waker = host.reactor.waker();
        (0..5).for_each(|_| waker.wake());
        host.expect(Completion::Woken);
        assert_eq!(host.quiet(), None);
    });
}

#[test]
fn a_wait_ends_at_its_deadline() {
    every(SIZES, |mut host| {
        for wait_us in [0, 300, 9_999, 20_000] {
            let deadline = clock::monotonic_us() + wait_us;
            host.turn(&[], Wait::Until { monotonic_us: deadline });
            assert!(host.now.monotonic_us >= deadline, "awake {} us early", deadline - host.now.monotonic_us);
            assert_eq!(host.out, []);
        }
    });
}

#[test]
fn a_turn_with_sends_does_not_sleep() {
    every(SIZES, |mut host| {
        let (client, _peer) = host.connect();
        let start = host.now.monotonic_us;
        let send = Send { client, pieces: &[IoSlice::new(b"x")] };
        host.turn(&[send], Wait::Until { monotonic_us: start + PATIENCE_US });
        assert!(host.now.monotonic_us < start + PATIENCE_US);
    });
}

/// More happens at once than a turn takes in: the rest comes with the next turns, without sleep and in order.
#[test]
fn what_a_turn_has_no_room_for_is_kept() {
    every(ReactorSizes { receive_buffers: 256, ..SIZES }, |mut host| {
        let mut pairs: Vec<_> = (0..100).map(|_| host.connect()).collect();
        for (client, _) in &pairs {
            host.submit(Op::Receive(*client));
        }
        host.turn(&[], Wait::Poll);
        for (_, peer) in &mut pairs {
            peer.write_all(b"all at once").unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
        }
        host.completions_max = 7;
        let mut told = std::collections::HashMap::<_, Vec<bool>>::new();
        for _ in 0..200 {
            match host.next() {
                Completion::Received { client, buffer } => {
                    assert_eq!(host.take(buffer), b"all at once");
                    told.entry(client).or_default().push(true);
                }
                Completion::ReceiveEnded { client, reason: ReceiveEnd::Eof } => told.entry(client).or_default().push(false),
                other => panic!("{other:?}"),
            }
        }
        assert!(told.len() == 100 && told.values().all(|order| order == &[true, false]));
        assert_eq!(host.quiet(), None);
    });
}

#[test]
fn more_operations_than_entries_are_handed_over_in_turns() {
    every(ReactorSizes { entries: 4, ..SIZES }, |mut host| {
        let mut pairs: Vec<_> = (0..30).map(|_| host.connect()).collect();
        for (client, _) in &pairs {
            host.submit(Op::Receive(*client));
        }
        for (client, peer) in &mut pairs {
            peer.write_all(b"here").unwrap();
            assert_eq!(host.received(*client), b"here");
        }
        for (client, _) in &pairs {
            host.submit(Op::Close { client: *client, reset: true });
        }
        let mut closed = 0;
        while closed < 30 {
            closed += usize::from(matches!(host.next(), Completion::Closed(_)));
        }
        for (_, mut peer) in pairs {
            assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        }
    });
}
