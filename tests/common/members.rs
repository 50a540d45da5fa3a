//! Many connections that one thread opens, reads and writes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Gateway, PATIENCE, parse_in_place};

/// Connections that are opened before the first answer is read; below the 4,096 that wait at a listener.
const AT_ONCE: usize = 500;

/// Addresses that connections come from in turn: one has 28,000 ports, and those of closed connections rest for a minute.
const SOURCES: usize = 16;

/// One connection and the bytes that came and were not looked at.
pub(crate) struct Member {
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
}

/// What comes from the gateway.
pub(crate) enum Came<'a> {
    /// First byte and payload.
    Frame(u8, &'a [u8]),
    /// The connection's end, or its reset, and the bytes of the frame in which that came.
    End(&'a [u8]),
}

/// What a member's reader decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Read,
    /// What else comes stays for later.
    Stop,
}

/// A connection from one of several addresses; `receive_bytes` bounds what the kernel takes for whoever does not read.
pub(crate) fn connect(to: SocketAddr, number: usize, receive_bytes: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a process has descriptors left");
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes).expect("a socket takes SO_RCVBUF");
    }
    let source = Ipv4Addr::new(127, 0, 0, 1 + (number % SOURCES) as u8);
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("all of 127.0.0.0/8 is this machine");
    socket.connect(&to.into()).expect("the gateway listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
    socket.set_tcp_nodelay(true).expect("a socket takes TCP_NODELAY");
    socket.into()
}

/// A right handshake's request.
pub(crate) fn request(gateway: &Gateway, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        gateway.clients
    )
}

/// So many WebSockets.
pub(crate) fn join(gateway: &Gateway, path: &str, count: usize, receive_bytes: Option<usize>) -> Vec<Member> {
    let request = request(gateway, path);
    let mut members = Vec::with_capacity(count);
    while members.len() < count {
        let first = members.len();
        for number in first..count.min(first + AT_ONCE) {
            let mut stream = connect(gateway.clients, number, receive_bytes);
            stream.write_all(request.as_bytes()).expect("a new connection takes a request");
            members.push(Member { stream, input: Vec::new() });
        }
        members[first..].iter_mut().for_each(Member::upgraded);
    }
    members
}

impl Member {
    /// One connection, upgraded.
    pub(crate) fn join(gateway: &Gateway, path: &str, receive_bytes: Option<usize>) -> Member {
        join(gateway, path, 1, receive_bytes).pop().expect("one was asked for")
    }

    /// Writes a few bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("an open connection takes a few bytes");
    }

    /// Reads the 101; from then on reading does not block.
    fn upgraded(&mut self) {
        let mut bytes = [0; 4096];
        let end = loop {
            if let Some(at) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            let length = self.stream.read(&mut bytes).expect("an answer comes in time");
            assert!(length > 0, "closed instead of a 101");
            self.input.extend_from_slice(&bytes[..length]);
        };
        assert!(self.input.starts_with(b"HTTP/1.1 101 "), "{:?}", String::from_utf8_lossy(&self.input));
        self.input.drain(..end);
        self.stream.set_nonblocking(true).expect("a socket can be made non-blocking");
    }

    /// Shows the frames that are here; false once the reader has had enough.
    fn show(&mut self, look: &mut impl FnMut(Came<'_>) -> Then) -> bool {
        let mut at = 0;
        let mut goes_on = true;
        while goes_on && let Some((first, payload)) = parse_in_place(&self.input[at..]) {
            goes_on = look(Came::Frame(first, &self.input[at..][payload.clone()])) == Then::Read;
            at += payload.end;
        }
        self.input.drain(..at);
        if self.input.is_empty() {
            self.input.shrink_to(64 << 10);
        }
        goes_on
    }

    /// Reads what is here, at most as much as `buffer` holds; false once the reader has had enough, or at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8], look: &mut impl FnMut(Came<'_>) -> Then) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => {}
            Ok(length) => {
                self.input.extend_from_slice(&buffer[..length]);
                return self.show(look);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        look(Came::End(&self.input));
        false
    }
}

/// Reads all members, as bytes come, until each one's reader has had enough or its connection has ended.
pub(crate) fn read_all(members: &mut [Member], mut look: impl FnMut(usize, Came<'_>) -> Then) {
    let poller: OwnedFd = epoll::create(CreateFlags::CLOEXEC).expect("a poller can be made");
    let patience = Timespec::try_from(PATIENCE).expect("some seconds fit");
    let mut buffer = vec![0; 256 << 10];
    let mut ready = Vec::with_capacity(1024);
    let mut open = 0;
    for (index, member) in members.iter_mut().enumerate() {
        if member.show(&mut |came| look(index, came)) {
            epoll::add(&poller, &member.stream, EventData::new_u64(index as u64), EventFlags::IN)
                .expect("a socket can be watched");
            open += 1;
        }
    }
    while open > 0 {
        ready.clear();
        epoll::wait(&poller, rustix::buffer::spare_capacity(&mut ready), Some(&patience)).expect("a poller can be waited for");
        assert!(!ready.is_empty(), "nothing came for {PATIENCE:?}, and {open} of {} still wait", members.len());
        for event in &ready {
            let index = usize::try_from(event.data.u64()).expect("it is an index");
            if !members[index].read(&mut buffer, &mut |came| look(index, came)) {
                epoll::delete(&poller, &members[index].stream).expect("it was added above");
                open -= 1;
            }
        }
    }
}
