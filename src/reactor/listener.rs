//! Listening sockets: one per shard and address, all of an address in one `SO_REUSEPORT` group, so that the kernel deals
//! new clients out to the shards.
//!
//! Unix sockets know no such group: all shards have one and the same.
//!
//! A socket may also come from elsewhere: from the gateway whose place this one takes, or from the supervisor. Copies of a socket share
//! one queue, across threads and processes, so while anybody has one, who waits there is not lost.
//!
//! Without: when to accept. That is the reactor's.
//!
//! Invariant: a group has one owner. `SO_REUSEPORT` alone would let a second gateway of the same user join silently and
//! take every other client, so the first socket of a group binds *and listens* without it (which fails with
//! `EADDRINUSE` while anyone else has the port, group or not) and gets it only then; the kernel makes the group when the
//! first sibling listens.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::accepting;

mod unix;

pub use unix::{UnixError, set_mode};

/// What accepted sockets inherit from their listener. Set here once, not for each client. Of these a Unix socket has the backlog only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// Clients that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// `TCP_NOTSENT_LOWAT`: bytes that the kernel takes for a client beyond what is on the wire. 0: the kernel's default.
    pub send_unsent_bytes_max: u32,
    /// `TCP_USER_TIMEOUT`: unacknowledged bytes older than this end the connection. 0: the kernel's default.
    pub send_timeout_ms: u32,
    /// `TCP_NODELAY`: a short send leaves at once.
    pub nodelay: bool,
}

/// A listening socket; a clone is the same socket.
#[derive(Clone, Debug)]
pub struct Listener {
    socket: Arc<Socket>,
    /// None: a Unix socket.
    address: Option<SocketAddr>,
    settings: ListenSettings,
    number: u16,
    /// Other shards accept from it, too.
    shared: bool,
}

impl Listener {
    /// The first socket of an address. Port 0 lets the kernel choose; [`Listener::address`] tells.
    ///
    /// # Errors
    /// `AddrInUse` if any other process has the port, be it with `SO_REUSEPORT`; `AddrNotAvailable`, `PermissionDenied`
    /// and what else the kernel says.
    pub fn bind(address: SocketAddr, settings: &ListenSettings) -> io::Result<Self> {
        let socket = socket_with(address, settings)?;
        socket.bind(&address.into())?;
        socket.listen(backlog(settings))?;
        socket.set_reuse_port(true)?;
        Self::of(socket, *settings)
    }

    /// The socket of a path, whose file has this mode.
    ///
    /// # Errors
    /// [`UnixError`].
    pub fn bind_unix(path: &Path, mode: u32, settings: &ListenSettings) -> Result<Self, UnixError> {
        let socket = unix::bind(path, mode)?;
        socket.listen(backlog(settings))?;
        Ok(Self::of(socket, *settings)?)
    }

    /// A socket that listens already. What is waiting there stays.
    ///
    /// # Errors
    /// `InvalidInput` where it is no listening socket of a kind that is bound here; else what the kernel says.
    pub fn inherited(socket: OwnedFd, settings: &ListenSettings) -> io::Result<Self> {
        let socket = Socket::from(socket);
        let is_known = socket.domain().is_ok_and(|domain| [Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain));
        let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
        if !is_known || !is_stream || !socket.is_listener().unwrap_or(false) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no listening TCP or Unix socket"));
        }
        set(&socket, settings)?;
        // The length of the queue is what the newest call says.
        socket.listen(backlog(settings))?;
        Self::of(socket, *settings)
    }

    /// Another socket of the same group: the next shard's. An inherited one may be of another user, who alone could add to its group.
    ///
    /// # Errors
    /// What the kernel says; `Unsupported` of a Unix socket, which has no group.
    pub fn sibling(&self) -> io::Result<Self> {
        let Some(address) = self.address else { return Err(io::ErrorKind::Unsupported.into()) };
        // An inherited one may have been alone so far.
        self.socket.set_reuse_port(true)?;
        let socket = socket_with(address, &self.settings)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog(&self.settings))?;
        Ok(Self { number: self.number, ..Self::of(socket, self.settings)? })
    }

    /// The same socket for another shard.
    #[must_use]
    pub fn shared(&mut self) -> Self {
        self.shared = true;
        self.clone()
    }

    /// Whether other shards accept from it, too: then none of them is to take more than one client at a time, or it would have all of them.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Which of the configuration's listeners it is, which is what its clients come with; at first the first.
    #[must_use]
    pub fn numbered(self, number: u16) -> Self {
        Self { number, ..self }
    }

    /// Which of the configuration's listeners it is.
    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// Where it listens, with the port that was chosen; none: a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// From now on [`Listener::accept`] does not wait, here and wherever else this socket is. A ring waits by itself.
    pub(super) fn never_wait(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// A client, and where it came from; `EAGAIN` if nobody waits.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        let (client, address) = self.socket.accept()?;
        Ok((client.into(), accepting::peer(&address)))
    }

    fn of(socket: Socket, settings: ListenSettings) -> io::Result<Self> {
        let address = socket.local_addr()?.as_socket();
        Ok(Self { socket: Arc::new(socket), address, settings, number: 0, shared: false })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// A socket with what accepted ones inherit. Whether it blocks is all one to io_uring, which waits by itself.
fn socket_with(address: SocketAddr, settings: &ListenSettings) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a gateway that stopped a moment ago may linger in TIME_WAIT; they do not keep the next one out.
    socket.set_reuse_address(true)?;
    set(&socket, settings)?;
    Ok(socket)
}

/// What accepted sockets inherit.
fn set(socket: &Socket, settings: &ListenSettings) -> io::Result<()> {
    if socket.domain()? == Domain::UNIX {
        return Ok(());
    }
    socket.set_tcp_nodelay(settings.nodelay)?;
    if settings.send_timeout_ms > 0 {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(settings.send_timeout_ms.into())))?;
    }
    if settings.send_unsent_bytes_max > 0 {
        socket.set_tcp_notsent_lowat(settings.send_unsent_bytes_max)?;
    }
    Ok(())
}

fn backlog(settings: &ListenSettings) -> i32 {
    i32::try_from(settings.backlog).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const SETTINGS: ListenSettings =
        ListenSettings { backlog: 64, send_unsent_bytes_max: 16_384, send_timeout_ms: 30_000, nodelay: true };

    fn loopback(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn siblings_share_a_port_and_its_clients() {
        let first = Listener::bind(loopback(0), &SETTINGS).unwrap();
        let group = [first.sibling().unwrap(), first];
        let port = group[0].address().unwrap().port();
        assert!(port != 0 && group[1].address() == group[0].address());
        let streams: Vec<_> = (0..64).map(|_| TcpStream::connect(loopback(port)).unwrap()).collect();
        let mut met = HashSet::new();
        for listener in &group {
            listener.socket.set_nonblocking(true).unwrap();
            let before = met.len();
            while let Ok((_, address)) = listener.socket.accept() {
                met.insert(address.as_socket().unwrap());
            }
            assert!(met.len() > before, "a listener of the group was left out");
        }
        assert_eq!(met, streams.iter().map(|stream| stream.local_addr().unwrap()).collect());
    }

    /// With a group of its own, as a second gateway would.
    #[test]
    fn a_port_has_one_gateway() {
        let first = Listener::bind(loopback(0), &SETTINGS).unwrap();
        let refused = |address| Listener::bind(address, &SETTINGS).unwrap_err().kind();
        assert_eq!(refused(first.address().unwrap()), io::ErrorKind::AddrInUse);
        let group = [first.sibling().unwrap(), first];
        assert_eq!(refused(group[0].address().unwrap()), io::ErrorKind::AddrInUse);
        let foreign = TcpListener::bind(loopback(0)).unwrap();
        assert_eq!(refused(foreign.local_addr().unwrap()), io::ErrorKind::AddrInUse);
        let address = group[0].address().unwrap();
        drop(group);
        Listener::bind(address, &SETTINGS).unwrap();
    }

    /// Clients that we closed first stay in TIME_WAIT; the next gateway starts all the same.
    #[test]
    fn a_port_is_free_again_after_a_stop() {
        let first = Listener::bind(loopback(0), &SETTINGS).unwrap();
        let address = first.address().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        drop(first.socket.accept().unwrap());
        io::Read::read_to_end(&mut stream, &mut Vec::new()).unwrap();
        drop((stream, first));
        Listener::bind(address, &SETTINGS).unwrap().sibling().unwrap();
    }

    #[test]
    fn clients_inherit_the_settings() {
        let first = Listener::bind(loopback(0), &SETTINGS).unwrap();
        let sibling = first.sibling().unwrap();
        drop(first);
        for listener in [sibling, Listener::bind(loopback(0), &SETTINGS).unwrap()] {
            let _stream = TcpStream::connect(listener.address().unwrap()).unwrap();
            let (client, _) = listener.socket.accept().unwrap();
            assert!(client.tcp_nodelay().unwrap());
            assert_eq!(client.tcp_notsent_lowat().unwrap(), 16_384);
            assert_eq!(client.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
        }
    }
}
