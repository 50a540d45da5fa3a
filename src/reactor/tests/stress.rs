//! Many peers at once.

use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::reactor::echo::Echo;

/// Peers that behave and peers that do not, all at once, over few buffers and short turns. Who behaves gets every byte back.
#[test]
fn a_crowd_is_served_to_the_byte() {
    let mixed = [Way::Uring { direct: true, incremental: false }, Way::Uring { direct: false, incremental: true }];
    for way in WAYS.into_iter().chain(mixed) {
        let sizes = ReactorSizes { entries: 32, receive_buffers: 4, receive_buffer_bytes: 512, ..SIZES };
        let host = Host::new(way, sizes, 1);
        let address = host.addresses[0];
        let mut echo = Echo::new(host.reactor);
        let left = Arc::new(AtomicUsize::new(0));
        let peers: Vec<_> = (0..60)
            .map(|place| {
                let left = left.clone();
                std::thread::spawn(move || {
                    // Counted also if it panics: the loop below ends, and the join tells.
                    let _gone = Gone(left);
                    for round in 0..3 {
                        behave(place + round, TcpStream::connect(address).unwrap());
                    }
                })
            })
            .collect();
        while left.load(Ordering::Acquire) < peers.len() || !echo.clients.is_empty() {
            echo.turn(clock::monotonic_us() + 10_000);
        }
        peers.into_iter().for_each(|peer| peer.join().unwrap());
        assert_eq!(echo.reactor.buffers_free(), 4);
        assert_eq!(echo.reactor.overflows(), 0);
    }
}

struct Gone(Arc<AtomicUsize>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

fn behave(manner: usize, mut peer: TcpStream) {
    peer.set_read_timeout(Some(Duration::from_micros(PATIENCE_US))).unwrap();
    match manner % 6 {
        0 => {}
        1 => peer.shutdown(Shutdown::Write).unwrap(),
        2 => {
            let _may_be_too_late = peer.write(&pattern(5_000));
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        }
        3 => {
            let _may_be_too_late = peer.write(&pattern(3_000));
        }
        _ => {
            let text = pattern(100_000);
            let mut writer = peer.try_clone().unwrap();
            let written = text.clone();
            let writing = std::thread::spawn(move || {
                for chunk in written.chunks(7_777) {
                    writer.write_all(chunk).unwrap();
                }
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut read = Vec::new();
            peer.read_to_end(&mut read).unwrap();
            writing.join().unwrap();
            assert!(read == text, "bytes were lost, repeated or reordered");
        }
    }
}
