//! Unix sockets as listening sockets: files of this machine.
//!
//! Invariants: nobody connects before the file has its mode; a file that is no socket, or at which somebody listens, stays what it is.
//! The file is left there when the gateway ends: another one may have the socket by then, and where nobody has, the next start replaces it.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// How often, and how long after the other, it is looked whether somebody listens: the kernel takes a moment to close the rings of a process
/// that was killed, and with them its sockets.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(50);

/// Why there is no socket at a path.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// Somebody has it.
    #[error("somebody listens there already")]
    Live,
    /// Something else has the name.
    #[error("there is a file that is no socket")]
    NoSocket,
    /// What the kernel says.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A socket with that name and mode, which does not listen yet.
pub(super) fn bind(path: &Path, mode: u32) -> Result<Socket, UnixError> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != ErrorKind::AddrInUse {
            return Err(error.into());
        }
        clear(path, &address)?;
        socket.bind(&address)?;
    }
    // Until it listens whoever connects is refused.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(socket)
}

/// Removes the socket of a gateway that is gone.
fn clear(path: &Path, address: &SockAddr) -> Result<(), UnixError> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(UnixError::NoSocket);
    }
    for _ in 0..LOOKS {
        if !is_live(address)? {
            return Ok(fs::remove_file(path)?);
        }
        thread::sleep(LOOK);
    }
    Err(UnixError::Live)
}

fn is_live(address: &SockAddr) -> io::Result<bool> {
    let question = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Where its queue is full somebody is there as well, and is not waited for.
    question.set_nonblocking(true)?;
    Ok(!matches!(question.connect(address), Err(error) if error.kind() == ErrorKind::ConnectionRefused))
}

/// Gives the file of a socket that listens already its mode.
///
/// # Errors
/// What the kernel says; `InvalidInput` where the file is no socket.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let about = fs::symlink_metadata(path)?;
    if !about.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::InvalidInput, UnixError::NoSocket));
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use tempfile::TempDir;

    use super::*;
    use crate::reactor::listener::{ListenSettings, Listener};

    const SETTINGS: ListenSettings =
        ListenSettings { backlog: 64, send_unsent_bytes_max: 16_384, send_timeout_ms: 30_000, nodelay: true };

    #[test]
    fn what_a_gateway_left_is_replaced_and_nothing_else_is() {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let path = directory.path().join("clients");
        let listen = || Listener::bind_unix(&path, 0o640, &SETTINGS);
        let first = listen().expect("nothing is there");
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777, 0o640);
        assert!(matches!(listen(), Err(UnixError::Live)));
        let _client = UnixStream::connect(&path).expect("it listens");
        drop(first);
        assert!(UnixStream::connect(&path).is_err() && path.exists(), "it is left there");
        drop(listen().expect("the next one replaces it"));
        for make in [
            |path: &Path| fs::write(path, "mine").map(drop),
            |path: &Path| fs::create_dir(path),
            |path: &Path| std::os::unix::fs::symlink("elsewhere", path),
        ] {
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).expect("it is there");
            make(&path).expect("it can be made");
            assert!(matches!(listen(), Err(UnixError::NoSocket)));
            assert!(path.symlink_metadata().is_ok(), "it stays");
        }
        fs::remove_file(&path).expect("it is there");
        let _other = UnixDatagram::bind(&path).expect("nothing is there");
        assert!(matches!(listen(), Err(UnixError::Live)), "it has somebody, be it of another kind");
    }

    #[test]
    fn a_full_queue_is_somebodys() {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let path = directory.path().join("clients");
        let busy = UnixListener::bind(&path).expect("nothing is there");
        let mut waiting = Vec::new();
        loop {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket can be made");
            socket.set_nonblocking(true).expect("it can be made so");
            match socket.connect(&SockAddr::unix(&path).expect("a short path")) {
                Ok(()) => waiting.push(socket),
                Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(matches!(Listener::bind_unix(&path, 0o600, &SETTINGS), Err(UnixError::Live)));
        drop((busy, waiting));
    }
}
