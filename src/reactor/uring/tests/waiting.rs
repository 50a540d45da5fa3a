//! How a turn waits, and who wakes it.

use super::*;

#[test]
fn another_thread_wakes_a_sleeping_shard() {
    let mut host = Host::new(SETTINGS, 1);
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
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let mut host = Host::new(SETTINGS, 1);
    for wait_us in [0, 300, 20_000] {
        let deadline = clock::monotonic_us() + wait_us;
        host.turn(&[], Wait::Until { monotonic_us: deadline });
        assert!(host.now.monotonic_us >= deadline, "awake {} us early", deadline - host.now.monotonic_us);
        assert_eq!(host.out, []);
    }
}

#[test]
fn a_turn_with_sends_does_not_sleep() {
    both(SETTINGS, |mut host| {
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
    both(UringSettings { receive_buffers: 256, ..SETTINGS }, |mut host| {
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
    both(UringSettings { entries: 4, ..SETTINGS }, |mut host| {
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

/// It ends with the last of so many, or with one when the time has come, or at the turn's own deadline.
#[test]
fn a_sleep_may_wait_for_several_completions() {
    both(SETTINGS, |mut host| {
        let mut pairs: Vec<_> = (0..4).map(|_| host.connect()).collect();
        for (client, _) in &pairs {
            host.submit(Op::Receive(*client));
        }
        host.turn(&[], Wait::Poll);
        // Only the count can end this one: the time does not come.
        host.reactor.wake_after(WakeAfter { completions: 4, within_us: PATIENCE_US as u32 });
        if host.reactor.wake_after == WakeAfter::NONE {
            eprintln!("skipped: this kernel cannot wait like that");
            return;
        }
        let others: Vec<_> = pairs.iter().map(|(_, peer)| peer.try_clone().unwrap()).collect();
        let writer = std::thread::spawn(move || {
            for mut peer in others {
                peer.write_all(b"x").unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let deadline = clock::monotonic_us() + PATIENCE_US;
        host.turn(&[], Wait::Until { monotonic_us: deadline });
        assert_eq!(host.out.len(), 4, "{:?}", host.out);
        writer.join().unwrap();
        for (client, _) in &pairs {
            assert_eq!(host.received(*client), b"x");
        }
        // One is too few, so that only the time can end this one.
        host.reactor.wake_after(WakeAfter { completions: 4, within_us: 20_000 });
        pairs[0].1.write_all(b"y").unwrap();
        let start = clock::monotonic_us();
        host.turn(&[], Wait::Until { monotonic_us: start + PATIENCE_US });
        assert!(host.now.monotonic_us - start >= 20_000);
        assert_eq!(host.received(pairs[0].0), b"y");
        // None comes, and after the time one is enough.
        let mut peer = pairs[1].1.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            peer.write_all(b"z").unwrap();
        });
        assert_eq!(host.received(pairs[1].0), b"z");
        writer.join().unwrap();
        let start = clock::monotonic_us();
        host.turn(&[], Wait::Until { monotonic_us: start + 1_000 });
        assert!(host.now.monotonic_us - start < PATIENCE_US && host.out.is_empty());
    });
}
