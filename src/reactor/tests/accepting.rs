//! How clients come.

use super::*;

/// Many connect at once, over several listeners: each comes with its own address and its listener.
#[test]
fn each_client_comes_with_its_own_address() {
    for way in WAYS {
        let mut host = Host::new(way, SIZES, 3);
        host.submit(Op::Accept { armed: 8 });
        let streams: Vec<_> = (0..90).map(|place| (place % 3, TcpStream::connect(host.addresses[place % 3]).unwrap())).collect();
        // Two connections to different ports may come from the same one.
        let mut wanted: std::collections::HashSet<_> =
            streams.iter().map(|(listener, stream)| (stream.local_addr().ok(), *listener)).collect();
        let mut slots = std::collections::HashSet::new();
        while !wanted.is_empty() {
            match host.next() {
                Completion::Accepted { client, peer, listener } => {
                    assert!(wanted.remove(&(peer, usize::from(listener))), "{peer:?} at {listener} came from nowhere");
                    assert!(slots.insert(client.slot), "slot {} was given twice", client.slot);
                    host.submit(Op::Accept { armed: 8 });
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// However many come and leave: what is kept for each slot that was ever taken stays as much as the most at once need.
#[test]
fn clients_that_come_and_leave_have_low_slots() {
    every(SIZES, |mut host| {
        for round in 0..40 {
            let clients: Vec<_> = (0..3).map(|_| host.connect()).collect();
            for (client, _stream) in clients {
                assert!(client.slot < 6, "slot {} in round {round}, with three clients at a time", client.slot);
                host.submit(Op::Close { client, reset: true });
                assert_eq!(host.next(), Completion::Closed(client));
            }
        }
    });
}

#[test]
fn internet_addresses_of_both_kinds_are_told() {
    for way in WAYS {
        let listen = ListenSettings { backlog: 16, send_unsent_bytes_max: 0, send_timeout_ms: 0, nodelay: true };
        let address = SocketAddr::from(([0_u16; 8], 0));
        let Ok(listener) = Listener::bind(address, &listen) else {
            eprintln!("skipped: this machine has no IPv6");
            return;
        };
        let port = listener.address().unwrap().port();
        let mut reactor = Kernel::new(way, SIZES, vec![listener]).unwrap();
        for target in [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 1], port))] {
            reactor.submit(Op::Accept { armed: 1 }).unwrap();
            let stream = TcpStream::connect(target).unwrap();
            let mut out = Vec::new();
            let deadline = clock::monotonic_us() + PATIENCE_US;
            reactor.turn(&[], Wait::Until { monotonic_us: deadline }, 8, &mut out).unwrap();
            let [Completion::Accepted { peer, .. }] = out[..] else { panic!("{out:?}") };
            assert_eq!(peer, Some(stream.local_addr().unwrap()));
        }
    }
}

/// A socket that another reactor has, be it of the other kind, as it is between two gateways: whoever is still armed when the other
/// has taken the client goes on waiting, and the one that is left gets all.
#[test]
fn two_reactors_accept_at_one_socket_until_one_gives_it_up() {
    for (one, other) in [(NEWER, Way::Epoll), (Way::Epoll, NEWER), (OLDER, NEWER), (Way::Epoll, Way::Epoll)] {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), &LISTEN).unwrap();
        let address = listener.address().unwrap();
        let copy = listener.as_fd().try_clone_to_owned().unwrap();
        let mut leaving = Kernel::new(one, SIZES, vec![listener]).unwrap();
        let mut out = Vec::new();
        let mut turn = |reactor: &mut Kernel| {
            out.clear();
            reactor.turn(&[], Wait::Until { monotonic_us: clock::monotonic_us() + 20_000 }, 8, &mut out).unwrap();
            let accepted = out.iter().filter(|completion| matches!(completion, Completion::Accepted { .. })).count();
            assert_eq!(accepted, out.len(), "{one:?}, {other:?}: {out:?}");
            accepted
        };
        leaving.submit(Op::Accept { armed: 2 }).unwrap();
        assert_eq!(turn(&mut leaving), 0);
        let mut coming = Kernel::new(other, SIZES, vec![Listener::inherited(copy, &LISTEN).unwrap()]).unwrap();
        coming.submit(Op::Accept { armed: 8 }).unwrap();
        let mut streams = Vec::new();
        let mut taken = 0;
        for _ in 0..4 {
            streams.push(TcpStream::connect(address).unwrap());
            taken += turn(&mut coming) + turn(&mut leaving);
        }
        leaving.submit(Op::Accept { armed: 0 }).unwrap();
        for _ in 0..3 {
            coming.submit(Op::Accept { armed: 8 }).unwrap();
            taken += turn(&mut leaving) + turn(&mut coming);
        }
        drop(leaving);
        streams.push(TcpStream::connect(address).unwrap());
        while taken < streams.len() {
            taken += turn(&mut coming);
        }
        assert_eq!(taken, streams.len());
    }
}

/// A client comes between two turns of the one who gives its socket up: its accept was woken for it, alone, and is cancelled before it
/// has looked. Nobody else would be woken before the next client.
#[test]
fn who_comes_while_an_accept_is_cancelled_is_not_left_waiting() {
    for (one, other) in [(NEWER, NEWER), (OLDER, NEWER), (NEWER, Way::Epoll), (Way::Epoll, NEWER)] {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), &LISTEN).unwrap();
        let address = listener.address().unwrap();
        let copy = listener.as_fd().try_clone_to_owned().unwrap();
        let mut leaving = Kernel::new(one, SIZES, vec![listener]).unwrap();
        let mut out = Vec::new();
        let mut turn = |reactor: &mut Kernel| {
            out.clear();
            reactor.turn(&[], Wait::Until { monotonic_us: clock::monotonic_us() + 20_000 }, 8, &mut out).unwrap();
            assert!(
                out.iter().all(|completion| matches!(completion, Completion::Accepted { .. })),
                "{one:?}, {other:?}: {out:?}"
            );
            out.len()
        };
        leaving.submit(Op::Accept { armed: 2 }).unwrap();
        assert_eq!(turn(&mut leaving), 0);
        let mut coming = Kernel::new(other, SIZES, vec![Listener::inherited(copy, &LISTEN).unwrap()]).unwrap();
        coming.submit(Op::Accept { armed: 4 }).unwrap();
        assert_eq!(turn(&mut coming), 0);
        let _streams = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        leaving.submit(Op::Accept { armed: 0 }).unwrap();
        let taken: usize = (0..3).map(|_| turn(&mut leaving) + turn(&mut coming)).sum();
        assert_eq!(taken, 2, "{one:?}, {other:?}");
    }
}

#[test]
fn no_accept_is_armed_after_zero() {
    every(SIZES, |mut host| {
        host.submit(Op::Accept { armed: 8 });
        host.turn(&[], Wait::Poll);
        host.submit(Op::Accept { armed: 0 });
        assert_eq!(host.quiet(), None);
        let stream = TcpStream::connect(host.addresses[0]).unwrap();
        assert_eq!(host.quiet(), None, "nobody accepts");
        host.submit(Op::Accept { armed: 2 });
        assert!(matches!(host.next(), Completion::Accepted { peer, .. } if peer == stream.local_addr().ok()));
        // Cancelled and wanted again in one turn.
        host.submit(Op::Accept { armed: 0 });
        host.submit(Op::Accept { armed: 2 });
        let stream = TcpStream::connect(host.addresses[0]).unwrap();
        assert!(matches!(host.next(), Completion::Accepted { peer, .. } if peer == stream.local_addr().ok()));
    });
}

/// Clients in the queue are taken as fast as accepts are armed, so one that armed itself again would be one too many.
#[test]
fn no_more_clients_come_than_accepts_were_wanted() {
    every(SIZES, |mut host| {
        let _streams: Vec<_> = (0..20).map(|_| TcpStream::connect(host.addresses[0]).unwrap()).collect();
        for armed in [3, 1, 8] {
            host.submit(Op::Accept { armed });
            for _ in 0..armed {
                assert!(matches!(host.next(), Completion::Accepted { .. }));
            }
            assert_eq!(host.quiet(), None, "{armed} were wanted");
        }
    });
}

#[test]
fn a_full_table_fails_the_accept_and_goes_on_later() {
    every(ReactorSizes { connections_max: 2, accepts_max: 1, ..SIZES }, |mut host| {
        let pairs: Vec<_> = (0..3).map(|_| host.connect()).collect();
        let refused = TcpStream::connect(host.addresses[0]).unwrap();
        host.submit(Op::Accept { armed: 1 });
        host.expect(Completion::AcceptFailed { errno: libc::ENFILE });
        drop(refused);
        host.close(pairs[0].0);
        host.connect();
    });
}

#[test]
fn settings_out_of_range_are_refused_with_a_sentence() {
    for way in WAYS {
        let listener = || Listener::bind(([127, 0, 0, 1], 0).into(), &LISTEN).unwrap();
        let refused = |sizes| Kernel::new(way, sizes, vec![listener()]).err().expect("refused").to_string();
        assert!(refused(ReactorSizes { entries: 100, ..SIZES }).contains("a power of two up to 4096"));
        assert!(refused(ReactorSizes { receive_buffers: 3, ..SIZES }).contains("a power of two up to 32768"));
        assert!(refused(ReactorSizes { receive_buffer_bytes: 0, ..SIZES }).contains("between 1 byte and 1 GiB"));
        assert!(refused(ReactorSizes { accepts_max: 0, ..SIZES }).contains("at least one each"));
        assert!(refused(ReactorSizes { connections_max: 0, ..SIZES }).contains("between 1 and"));
    }
}

/// Runs in a process of its own, since the limit is the process's.
#[test]
fn a_process_out_of_descriptors_accepts_again_later() {
    const CHILD: &str = "TIDEGATE_TEST_EMFILE";
    if std::env::var_os(CHILD).is_none() {
        let name = "reactor::tests::accepting::a_process_out_of_descriptors_accepts_again_later";
        let child = std::process::Command::new(std::env::current_exe().unwrap()).args(["--exact", name]).env(CHILD, "1").output();
        let child = child.unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        return;
    }
    // Direct descriptors do not count.
    for way in [OLDER, Way::Epoll] {
        let mut host = Host::new(way, SIZES, 1);
        let stream = TcpStream::connect(host.addresses[0]).unwrap();
        let resource = rustix::process::Resource::Nofile;
        let before = rustix::process::getrlimit(resource);
        let next = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
        rustix::process::setrlimit(resource, rustix::process::Rlimit { current: Some(next), ..before }).unwrap();
        host.submit(Op::Accept { armed: 1 });
        host.expect(Completion::AcceptFailed { errno: libc::EMFILE });
        host.expect(Completion::AcceptFailed { errno: libc::EMFILE });
        rustix::process::setrlimit(resource, before).unwrap();
        assert!(matches!(host.next(), Completion::Accepted { peer, .. } if peer == stream.local_addr().ok()));
    }
}
