//! The socket on which a gateway is asked for its place.

use std::fs::Permissions;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

/// Where the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Made, or asked.
    #[error("the takeover socket {} cannot be used: {error}. Give it a short path in a directory of this user's, with --takeover", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another user's process is there.
    #[error(
        "at the takeover socket {} is a process of user {uid}, and nothing is taken from another user; run both gateways as one user",
        path.display()
    )]
    Stranger {
        /// Where.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
}

impl DoorError {
    fn io(path: &Path) -> impl Fn(io::Error) -> DoorError {
        let path = path.to_owned();
        move |error| DoorError::Io { path: path.clone(), error }
    }
}

/// A listening socket with a name, which goes with it unless it is another's by then.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode.
    is: (u64, u64),
}

impl Door {
    /// Makes it, readable and writable by this user alone, and puts it in the place of whatever has the name. To be called within a
    /// runtime.
    ///
    /// # Errors
    /// [`DoorError::Io`].
    pub fn open(path: &Path) -> Result<Door, DoorError> {
        let failed = DoorError::io(path);
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(name);
        // A process of this number that was killed in the middle of it.
        std::fs::remove_file(&new).ok();
        let made = listen(&new).and_then(|listener| {
            let about = std::fs::symlink_metadata(&new)?;
            std::fs::rename(&new, path)?;
            Ok(Door { listener, path: path.to_owned(), is: (about.st_dev(), about.st_ino()) })
        });
        made.inspect_err(|_| drop(std::fs::remove_file(&new))).map_err(failed)
    }

    /// The next one who asks, of the same user; others are turned away unheard.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn next(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            if uid == rustix::process::geteuid().as_raw() {
                return Ok(stream);
            }
            tracing::warn!(uid, "another user's process asked for this gateway's place and was turned away");
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let is_own = |about: std::fs::Metadata| (about.st_dev(), about.st_ino()) == self.is;
        if std::fs::symlink_metadata(&self.path).is_ok_and(is_own) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Nobody can connect before it listens, and then it has its permissions.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(1)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

/// The gateway that listens there; none where there is no such socket, or nobody behind it. To be called within a runtime.
///
/// # Errors
/// [`DoorError`].
pub async fn connect(path: &Path) -> Result<Option<UnixStream>, DoorError> {
    let failed = DoorError::io(path);
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let uid = stream.peer_cred().map_err(&failed)?.uid();
    if uid != rustix::process::geteuid().as_raw() {
        return Err(DoorError::Stranger { path: path.to_owned(), uid });
    }
    Ok(Some(stream))
}
