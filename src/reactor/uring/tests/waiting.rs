//! Sleeps that wait for several completions.

use std::time::Duration;

use super::*;

/// It ends with the last of so many, or with one when the time has come, or at the turn's own deadline.
#[test]
fn a_sleep_may_wait_for_several_completions() {
    for incremental in [true, false] {
        let mut host = Host::new(Way::Uring { direct: incremental, incremental }, SIZES, 1);
        let mut pairs: Vec<_> = (0..4).map(|_| host.connect()).collect();
        for (client, _) in &pairs {
            host.submit(Op::Receive(*client));
        }
        host.turn(&[], Wait::Poll);
        // Only the count can end this one: the time does not come.
        host.ring().wake_after(WakeAfter { completions: 4, within_us: PATIENCE_US as u32 });
        if host.ring().wake_after == WakeAfter::NONE {
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
        host.ring().wake_after(WakeAfter { completions: 4, within_us: 20_000 });
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
    }
}
