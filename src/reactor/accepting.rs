//! What both of the kernel's reactors do about accepts: which errors make them pause, and whose address a client's is.

use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;

/// How long accepting rests after an error that lasts.
pub(super) const PAUSE_US: u64 = 100_000;

/// Whether the next accept would fail as well. accept(2) names the others: errors of the network, or of a client that left.
pub(super) fn lasts(errno: i32) -> bool {
    !matches!(
        errno,
        libc::ECONNABORTED
            | libc::EINTR
            | libc::EAGAIN
            | libc::ENETDOWN
            | libc::EPROTO
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::EPERM
    )
}

/// Where a client came from; none: by a Unix socket.
pub(super) fn peer(address: &SockAddr) -> Option<SocketAddr> {
    // A listener on `[::]` gives IPv4 clients as mapped addresses; limits and logs want them as they are.
    address.as_socket().map(|peer| SocketAddr::new(IpAddr::to_canonical(&peer.ip()), peer.port()))
}
