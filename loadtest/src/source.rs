//! Where connections come from: sockets that connect, from as many addresses of this machine as their number asks for.
//!
//! Without: what becomes of them. Only a server on loopback can be connected to from several addresses: 127.0.0.1, 127.0.0.2, ...
//!
//! An address has some 28,000 ports, and the kernel looks for a free one in steps of two: once half of them are taken a connect
//! looks at thousands of ports (150 us each at 18,000 connections, against 3 us). So no address is used for more than a third.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that one source address is used for.
const CONNECTIONS_PER_SOURCE: u64 = 8_000;

/// How many source addresses so many connections to loopback come from.
pub(crate) fn sources(connections: u64) -> u32 {
    connections.div_ceil(CONNECTIONS_PER_SOURCE).clamp(1, 1 << 16) as u32
}

/// What a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// Connections so far; they take the addresses in turn.
    pub(crate) nth: usize,
    /// Addresses; if there is one it is the kernel's choice.
    pub(crate) of: u32,
    /// `SO_RCVBUF`; the kernel's own choice if none.
    pub(crate) receive_buffer_bytes: Option<u32>,
}

/// A socket that connects.
pub(crate) fn connecting(to: SocketAddr, from: Source) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    // As a client that answers now and then: an acknowledgement waits for the next few segments. Without that each message that is
    // read costs an acknowledgement of its own, a quarter of the generator's time.
    socket.set_tcp_quickack(false)?;
    if let Some(bytes) = from.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    if from.of > 1 && to.is_ipv4() && to.ip().is_loopback() {
        let [a, b, c, d] = (u32::from(Ipv4Addr::LOCALHOST) + from.nth as u32 % from.of).to_be_bytes();
        // The port is chosen with the server's address known, as without a bind; else each would be this socket's alone.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), 0).into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn connections_take_the_addresses_in_turn() {
        let server = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let to = server.local_addr().expect("it listens");
        let came_from = |from: Source| {
            let _socket = connecting(to, from).expect("the server listens");
            server.accept().expect("it came").1.ip()
        };
        let of_two = |nth| came_from(Source { nth, of: 2, receive_buffer_bytes: None });
        assert_eq!([0, 1, 2].map(of_two), [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 1]].map(IpAddr::from));
        assert_eq!(came_from(Source { nth: 1, of: 1, receive_buffer_bytes: Some(4096) }), IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn no_address_has_more_than_a_third_of_its_ports_in_use() {
        assert_eq!([0, 1, 8_000, 8_001, 250_000].map(sources), [1, 1, 1, 2, 32]);
    }
}
