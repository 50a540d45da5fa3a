//! Clients by Unix sockets: what is other than with TCP, and that one socket serves all shards.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

/// A socket's path.
fn path(directory: &TempDir) -> PathBuf {
    directory.path().join("clients")
}

fn accepted(reactor: &mut Kernel) -> Vec<Completion> {
    let mut out = Vec::new();
    reactor.turn(&[], Wait::Until { monotonic_us: clock::monotonic_us() + 20_000 }, 8, &mut out).unwrap();
    assert!(out.iter().all(|completion| matches!(completion, Completion::Accepted { peer: None, .. })), "{out:?}");
    out
}

#[test]
fn a_client_by_a_unix_socket_has_no_address_and_no_tcp() {
    for way in WAYS {
        let directory = TempDir::new().unwrap();
        let listener = Listener::bind_unix(&path(&directory), 0o600, &LISTEN).unwrap();
        let mut host = Host { reactor: Kernel::new(way, SIZES, vec![listener]).unwrap(), ..Host::new(way, SIZES, 1) };
        host.submit(Op::Accept { armed: 2 });
        let mut peer = UnixStream::connect(path(&directory)).unwrap();
        peer.set_read_timeout(Some(Duration::from_micros(PATIENCE_US))).unwrap();
        let Completion::Accepted { client, peer: None, listener: 0 } = host.next() else { panic!("it has an address") };
        host.submit(Op::Receive(client));
        host.submit(Op::BoundSend(client));
        peer.write_all(b"question").unwrap();
        assert_eq!(host.received(client), b"question");
        assert_eq!(host.send(client, b"answer"), SendOutcome::Sent(6));
        let mut read = [0; 6];
        peer.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"answer");
        // Who reads nothing fills its socket, and is heard of when it has read.
        let chunk = [7; 4096];
        let mut taken = 0;
        while let SendOutcome::Sent(count) = host.send(client, &chunk) {
            taken += count as usize;
        }
        assert!((1..256 << 10).contains(&taken), "{taken}");
        host.submit(Op::PollOut(client));
        assert_eq!(host.quiet(), None);
        peer.read_exact(&mut vec![0; taken]).unwrap();
        host.expect(Completion::Writable(client));
        host.submit(Op::Close { client, reset: true });
        host.expect(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
        host.expect(Completion::Closed(client));
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
}

/// However many wait, and however many a shard would take: the next one is the other shard's.
#[test]
fn clients_of_one_socket_are_dealt_out() {
    for way in WAYS {
        let directory = TempDir::new().unwrap();
        let mut listener = Listener::bind_unix(&path(&directory), 0o600, &LISTEN).unwrap();
        let mut reactors = [(); 2].map(|()| Kernel::new(way, SIZES, vec![listener.shared()]).unwrap());
        reactors.iter_mut().for_each(|reactor| reactor.submit(Op::Accept { armed: 8 }).unwrap());
        reactors.iter_mut().for_each(|reactor| assert_eq!(accepted(reactor).len(), 0));
        let _peers: Vec<_> = (0..8).map(|_| UnixStream::connect(path(&directory)).unwrap()).collect();
        for _ in 0..4 {
            let came = [0, 1].map(|number| accepted(&mut reactors[number]).len());
            assert_eq!(came, [1, 1], "{way:?}");
            reactors.iter_mut().for_each(|reactor| reactor.submit(Op::Accept { armed: 8 }).unwrap());
        }
    }
}

/// A shard that takes no more leaves nobody waiting for it.
#[test]
fn who_waits_for_a_shard_that_takes_no_more_is_the_others() {
    for way in WAYS {
        let directory = TempDir::new().unwrap();
        let mut listener = Listener::bind_unix(&path(&directory), 0o600, &LISTEN).unwrap();
        let [mut leaving, mut staying] = [(); 2].map(|()| Kernel::new(way, SIZES, vec![listener.shared()]).unwrap());
        for reactor in [&mut leaving, &mut staying] {
            reactor.submit(Op::Accept { armed: 8 }).unwrap();
            assert_eq!(accepted(reactor).len(), 0);
        }
        leaving.submit(Op::Accept { armed: 0 }).unwrap();
        let mut taken = accepted(&mut leaving).len();
        let _peers: Vec<_> = (0..8).map(|_| UnixStream::connect(path(&directory)).unwrap()).collect();
        while taken < 8 {
            let came = accepted(&mut staying).len();
            assert!(came > 0, "{way:?}: {taken} of 8");
            taken += came;
            staying.submit(Op::Accept { armed: 8 }).unwrap();
        }
        assert_eq!(accepted(&mut leaving).len(), 0);
    }
}
