//! Listening sockets: bound, or inherited from the gateway before or from the supervisor, and dealt out to the shards.
//!
//! Without: when to accept. Invariant: every inherited socket of an address that is configured has a shard that accepts there, whatever
//! the number of shards was where it comes from: clients wait in its queue.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use super::StartError;
use crate::config::Config;
use crate::reactor::listener::{ListenSettings, Listener};
use crate::takeover::Side;

/// All that the gateway listens on.
pub(super) struct Doors {
    /// Each shard's.
    pub(super) shards: Vec<Vec<Listener>>,
    /// The admin port's, where it is on.
    pub(super) admin: Option<TcpListener>,
    /// Where clients connect, in the configuration's order.
    pub(super) addresses: Vec<SocketAddr>,
}

/// Sockets that listen already.
#[derive(Default)]
pub(super) struct Inherited(Vec<Socket>);

struct Socket {
    /// What it was for, where that is known.
    side: Option<Side>,
    address: SocketAddr,
    socket: OwnedFd,
}

impl Inherited {
    /// Takes one in.
    ///
    /// # Errors
    /// Where it has no internet address.
    pub(super) fn add(&mut self, side: Option<Side>, socket: OwnedFd) -> io::Result<()> {
        // Only to ask it for its address, which is the same for all kinds of sockets.
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        self.0.push(Socket { side, address, socket: listener.into() });
        Ok(())
    }

    /// Those of a configured address. Where it leaves the port to the kernel, that was done before.
    fn take(&mut self, side: Side, configured: SocketAddr) -> Vec<OwnedFd> {
        let is_of = |socket: &Socket| match socket.side {
            Some(known) if known != side => false,
            Some(_) if configured.port() == 0 => socket.address.ip() == configured.ip(),
            _ => socket.address == configured,
        };
        let Some(address) = self.0.iter().find(|socket| is_of(socket)).map(|socket| socket.address) else { return Vec::new() };
        let (taken, left) =
            std::mem::take(&mut self.0).into_iter().partition(|socket| is_of(socket) && socket.address == address);
        self.0 = left;
        let taken: Vec<Socket> = taken;
        taken.into_iter().map(|socket| socket.socket).collect()
    }

    /// What becomes of those of which the configuration knows nothing: the gateway before serves nobody there any more either, and a
    /// supervisor would have people wait.
    ///
    /// # Errors
    /// [`StartError::Unused`].
    pub(super) fn settle(self) -> Result<(), StartError> {
        let mut said = None;
        for Socket { side, address, .. } in self.0 {
            if side.is_none() {
                return Err(StartError::Unused { address });
            }
            if said.replace(address) != Some(address) {
                tracing::warn!(%address, "the gateway before listened here, and this one's configuration does not have it: nobody accepts here any more");
            }
        }
        Ok(())
    }
}

/// Every address of the configuration.
pub(super) fn listen(config: &Config, shards: u16, inherited: &mut Inherited) -> Result<Doors, StartError> {
    let settings = ListenSettings {
        backlog: config.limits.accept_backlog,
        send_unsent_bytes_max: config.limits.send_unsent_bytes_max,
        send_timeout_ms: config.limits.send_timeout_ms,
        nodelay: true,
    };
    let mut doors = Doors { shards: (0..shards).map(|_| Vec::new()).collect(), admin: None, addresses: Vec::new() };
    for (number, listener) in config.listeners.iter().enumerate() {
        let address = listener.address;
        let refused = |error| listen_error("the clients' listener", "--listen", address, error);
        let handed = inherited.take(Side::Clients, address);
        let group = group(handed, address, shards, &settings).map_err(refused)?;
        doors.addresses.push(group[0].address());
        for (place, socket) in group.into_iter().enumerate() {
            doors.shards[place % usize::from(shards)].push(socket.numbered(number as u16));
        }
    }
    if config.admin.enabled {
        doors.admin = Some(admin(config.admin.address, inherited.take(Side::Admin, config.admin.address))?);
    }
    Ok(doors)
}

/// The sockets of an address: all that there are, and at least one for each shard.
fn group(handed: Vec<OwnedFd>, address: SocketAddr, shards: u16, settings: &ListenSettings) -> io::Result<Vec<Listener>> {
    let mut group: Vec<Listener> =
        handed.into_iter().map(|socket| Listener::inherited(socket, settings)).collect::<io::Result<_>>()?;
    let inherited = group.len();
    if group.is_empty() {
        group.push(Listener::bind(address, settings)?);
    }
    while group.len() < usize::from(shards) {
        let sibling = match group[0].sibling() {
            // A supervisor's sockets are its user's, who alone may add to them: shards share what there is.
            Err(_) if inherited > 0 => group[group.len() % inherited].clone(),
            sibling => sibling?,
        };
        group.push(sibling);
    }
    Ok(group)
}

fn admin(address: SocketAddr, handed: Vec<OwnedFd>) -> Result<TcpListener, StartError> {
    let refused = |error| listen_error("the admin port", "--admin", address, error);
    let listener = match handed.into_iter().next() {
        Some(socket) => TcpListener::from(socket),
        None => crate::admin::bind(address).map_err(refused)?,
    };
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(listener)
}

fn listen_error(what: &'static str, flag: &'static str, address: SocketAddr, error: io::Error) -> StartError {
    if error.kind() == io::ErrorKind::AddrInUse {
        StartError::InUse { what, address, flag }
    } else {
        StartError::Listen { what, address, flag, error }
    }
}
