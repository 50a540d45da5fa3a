//! A command's connection to a gateway: plain, or with TLS where the URL says wss://.
//!
//! One thread reads and others write at the same time: with TLS they share its state behind a lock, which is never held
//! while a read waits for bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConnection;

use crate::tls::{client_config, explained, server_name};

/// So few bytes are given to TLS at once that what they open is always taken before the next.
const READ_BYTES: usize = 4096;

/// A connected socket; its clones are the same one.
#[derive(Clone)]
pub(super) struct Socket(Arc<Shared>);

struct Shared {
    stream: TcpStream,
    tls: Option<Mutex<ClientConnection>>,
    /// Frames of two threads do not mix.
    writing: Mutex<()>,
}

impl Socket {
    /// Without TLS.
    pub(super) fn plain(stream: TcpStream) -> Socket {
        Socket(Arc::new(Shared { stream, tls: None, writing: Mutex::default() }))
    }

    /// Shakes hands with the gateway of this name, whose certificate the machine's authorities or those in `authority` signed.
    ///
    /// # Errors
    /// In a few words what is wrong.
    pub(super) fn secure(stream: TcpStream, host: &str, authority: Option<&Path>) -> Result<Socket, String> {
        let name = server_name(host)?;
        let mut tls = ClientConnection::new(client_config(authority)?, name).map_err(|error| error.to_string())?;
        while tls.is_handshaking() {
            let remedy = "name the authority that signed it with --ca FILE";
            tls.complete_io(&mut &stream).map_err(|error| explained(&error, remedy))?;
        }
        Ok(Socket(Arc::new(Shared { stream, tls: Some(Mutex::new(tls)), writing: Mutex::default() })))
    }

    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        self.0.stream.set_nodelay(true)
    }

    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.stream.set_read_timeout(timeout)
    }

    /// Waits for bytes; 0 at the end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = &self.0.stream;
        let Some(tls) = &self.0.tls else { return stream.read(buffer) };
        let mut bytes = [0; READ_BYTES];
        loop {
            match locked(tls).reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            let count = stream.read(&mut bytes)?;
            if count == 0 {
                return Ok(0);
            }
            let mut tls = locked(tls);
            let mut rest = &bytes[..count];
            while !rest.is_empty() {
                tls.read_tls(&mut rest)?;
                tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            }
            send_sealed(&mut tls, stream)?;
        }
    }

    /// Writes all of it.
    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = &self.0.stream;
        // A thread that panicked while it wrote has ended the process' work anyway; the bytes would be cut, not mixed.
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tls) = &self.0.tls else { return stream.write_all(bytes) };
        let mut tls = locked(tls);
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = tls.writer().write(rest)?;
            rest = &rest[taken..];
            send_sealed(&mut tls, stream)?;
        }
        Ok(())
    }
}

fn locked(tls: &Mutex<ClientConnection>) -> MutexGuard<'_, ClientConnection> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send_sealed(tls: &mut ClientConnection, mut stream: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(&mut stream)?;
    }
    Ok(())
}
