//! Sockets of our own that become clients: the ring as the side that connects.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use super::*;

/// A ring without listeners, with room for two clients.
fn both_without_listeners(check: fn(Host)) {
    for direct in [true, false] {
        let sizes = ReactorSizes { connections_max: 2, accepts_max: 0, ..SIZES };
        check(Host::new(Way::Uring { direct, incremental: direct }, sizes, 0));
    }
}

fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).unwrap()
}

/// A socket whose connect may not have ended; a client of it.
fn connecting(host: &mut Host, address: SocketAddr) -> std::io::Result<ClientKey> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => panic!("{error}"),
        _ => host.ring().adopt(OwnedFd::from(socket)),
    }
}

#[test]
fn an_adopted_socket_sends_receives_and_closes() {
    both_without_listeners(|mut host| {
        let listener = listener();
        // One slot after the other is used again, with a generation of its own.
        for _ in 0..5 {
            let client = connecting(&mut host, listener.local_addr().unwrap()).unwrap();
            host.submit(Op::PollOut(client));
            host.expect(Completion::Writable(client));
            let mut peer = listener.accept().unwrap().0;
            host.submit(Op::Receive(client));
            assert_eq!(host.send(client, b"question"), SendOutcome::Sent(8));
            let mut read = [0; 8];
            peer.read_exact(&mut read).unwrap();
            peer.write_all(b"answer").unwrap();
            assert_eq!((&read, &host.received(client)[..]), (b"question", &b"answer"[..]));
            host.submit(Op::Close { client, reset: false });
            host.expect(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
            host.expect(Completion::Closed(client));
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        }
    });
}

#[test]
fn a_connect_that_fails_is_told_by_the_first_send() {
    both_without_listeners(|mut host| {
        let address = listener().local_addr().unwrap();
        let client = connecting(&mut host, address).unwrap();
        host.submit(Op::PollOut(client));
        host.expect(Completion::Writable(client));
        assert_eq!(host.send(client, b"x"), SendOutcome::Failed(libc::ECONNREFUSED));
        host.close(client);
    });
}

#[test]
fn a_ring_adopts_no_more_than_it_has_room_for() {
    both_without_listeners(|mut host| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let first = connecting(&mut host, address).unwrap();
        let second = connecting(&mut host, address).unwrap();
        assert_eq!(connecting(&mut host, address).unwrap_err().raw_os_error(), Some(libc::ENFILE));
        host.close(first);
        let third = connecting(&mut host, address).unwrap();
        assert!(third.slot == first.slot && third != first && third != second);
    });
}

/// The table's file is not the process's.
#[test]
fn direct_descriptors_do_not_count_against_the_process() {
    let mut host = Host::new(NEWER, ReactorSizes { connections_max: 1, accepts_max: 0, ..SIZES }, 0);
    let listener = listener();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let descriptor = socket.as_raw_fd();
    socket.connect(&listener.local_addr().unwrap().into()).unwrap();
    let inode = |descriptor| std::fs::read_link(format!("/proc/self/fd/{descriptor}")).ok();
    let before = inode(descriptor);
    host.ring().adopt(OwnedFd::from(socket)).unwrap();
    // Another test's descriptor may have the number by now.
    assert!(before.is_some() && inode(descriptor) != before);
}

#[test]
#[should_panic(expected = "the kernel chooses its slots")]
fn a_ring_that_accepts_direct_descriptors_adopts_none() {
    let mut host = Host::new(NEWER, SIZES, 1);
    let _ = connecting(&mut host, listener().local_addr().unwrap());
}
