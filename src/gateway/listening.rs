//! Listening sockets: bound, or inherited from the gateway before or from the supervisor, and dealt out to the shards.
//!
//! Without: when to accept. Invariant: every inherited socket of an address that is configured has a shard that accepts there, whatever
//! the number of shards was where it comes from: clients wait in its queue.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::StartError;
use crate::config::{self, Address, Config};
use crate::reactor::listener::{ListenSettings, Listener, UnixError, set_mode};
use crate::takeover::Side;

/// All that the gateway listens on.
pub(super) struct Doors {
    /// Each shard's.
    pub(super) shards: Vec<Vec<Listener>>,
    /// The admin port's, where it is on.
    pub(super) admin: Option<TcpListener>,
    /// Where clients connect, in the configuration's order.
    pub(super) addresses: Vec<Address>,
}

/// Sockets that listen already.
#[derive(Default)]
pub(super) struct Inherited(Vec<Socket>);

struct Socket {
    /// What it was for, where that is known.
    side: Option<Side>,
    address: Address,
    socket: OwnedFd,
}

impl Inherited {
    /// Takes one in.
    ///
    /// # Errors
    /// Where it has no address that a listener can have.
    pub(super) fn add(&mut self, side: Option<Side>, socket: OwnedFd) -> io::Result<()> {
        let address = socket2::SockRef::from(&socket).local_addr()?;
        let address = match (address.as_socket(), address.as_pathname()) {
            (Some(address), _) => Address::Ip(address),
            (None, Some(path)) => Address::Unix(path.to_owned()),
            (None, None) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has neither a port nor a path")),
        };
        self.0.push(Socket { side, address, socket });
        Ok(())
    }

    /// Those of a configured address.
    fn take(&mut self, side: Side, configured: &Address) -> Vec<OwnedFd> {
        let is_of = |socket: &Socket| match socket.side {
            Some(known) if known != side => false,
            Some(_) => is_same(configured, &socket.address),
            None => socket.address == *configured,
        };
        let Some(address) = self.0.iter().find(|socket| is_of(socket)).map(|socket| socket.address.clone()) else {
            return Vec::new();
        };
        let (taken, left) =
            std::mem::take(&mut self.0).into_iter().partition(|socket| is_of(socket) && socket.address == address);
        self.0 = left;
        let taken: Vec<Socket> = taken;
        taken.into_iter().map(|socket| socket.socket).collect()
    }

    /// Whether the supervisor made the socket of an address.
    fn is_of_supervisor(&self, configured: &Address) -> bool {
        self.0.iter().any(|socket| socket.side.is_none() && socket.address == *configured)
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
            if said.as_ref() != Some(&address) {
                tracing::warn!(%address, "the gateway before listened here, and this one's configuration does not have it: nobody accepts here any more");
                said = Some(address);
            }
        }
        Ok(())
    }
}

/// Whether a socket that was handed over is that of a configured address. Where it leaves the port to the kernel, that was done before.
fn is_same(configured: &Address, there: &Address) -> bool {
    match (configured, there) {
        (Address::Ip(configured), Address::Ip(there)) if configured.port() == 0 => configured.ip() == there.ip(),
        _ => configured == there,
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
        let group = sockets(listener, shards, &settings, inherited)?;
        doors.addresses.push(group[0].address().map_or_else(|| listener.address.clone(), Address::Ip));
        for (place, socket) in group.into_iter().enumerate() {
            doors.shards[place % usize::from(shards)].push(socket.numbered(number as u16));
        }
    }
    if config.admin.enabled {
        doors.admin = Some(admin(config.admin.address, inherited.take(Side::Admin, &config.admin.address.into()))?);
    }
    Ok(doors)
}

/// The sockets of a listener.
fn sockets(
    listener: &config::Listener,
    shards: u16,
    settings: &ListenSettings,
    inherited: &mut Inherited,
) -> Result<Vec<Listener>, StartError> {
    let of_supervisor = inherited.is_of_supervisor(&listener.address);
    let handed = inherited.take(Side::Clients, &listener.address);
    match &listener.address {
        Address::Ip(address) => {
            let refused = |error| listen_error("the clients' listener", "--listen", *address, error);
            group(handed, *address, shards, settings).map_err(refused)
        }
        Address::Unix(path) => {
            let refused = |error| StartError::Unix { path: path.clone(), remedy: remedy(&error, path), error };
            let mut socket = unix(handed, path, listener.mode.0, of_supervisor, settings).map_err(refused)?;
            Ok((0..shards).map(|_| socket.shared()).collect())
        }
    }
}

/// The one socket of a path: that of the gateway before or of the supervisor, or a new one.
fn unix(
    handed: Vec<OwnedFd>,
    path: &Path,
    mode: u32,
    of_supervisor: bool,
    settings: &ListenSettings,
) -> Result<Listener, UnixError> {
    // What came are copies of one.
    let Some(socket) = handed.into_iter().next() else { return Listener::bind_unix(path, mode, settings) };
    if !of_supervisor && let Err(error) = set_mode(path, mode) {
        tracing::warn!(
            "the file of the socket {} that the gateway before has handed over is not given its mode: {error}",
            path.display()
        );
    }
    Ok(Listener::inherited(socket, settings)?)
}

/// What to do about it.
fn remedy(error: &UnixError, path: &Path) -> String {
    let path = path.display();
    match error {
        UnixError::Live => format!("see who has it (ss -lxp | grep {path}), or let this one take its place with --takeover"),
        UnixError::NoSocket => format!("look what it is (ls -l {path}), and remove it if nobody needs it"),
        UnixError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            "make its directory, or have systemd do it (RuntimeDirectory=tidegate makes /run/tidegate)".into()
        }
        UnixError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "give this user the right to write its directory, or have systemd make one (RuntimeDirectory=tidegate)".into()
        }
        UnixError::Io(_) => "choose another path with --listen".into(),
    }
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
            Err(_) if inherited > 0 => {
                let place = group.len() % inherited;
                group[place].shared()
            }
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
