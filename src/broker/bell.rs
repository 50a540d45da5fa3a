//! The control thread's bell: a socket pair that shards ring when there is mail and the thread sleeps.
//!
//! A pair of sockets rather than an eventfd, as the runtime takes those without `unsafe`; it is rung at most once a sleep.

use std::io::{self, Write};
use std::os::unix::net::UnixStream as Ringing;
use std::sync::Arc;

use tokio::net::UnixStream;

use crate::reactor::Waker;

/// The end that rings.
struct Ringer(Ringing);

impl Waker for Ringer {
    fn wake(&self) {
        // It fails only where so many bytes wait that the bell rings already.
        (&self.0).write_all(&[1]).ok();
    }
}

/// The end that listens, on the control runtime.
pub(super) struct Bell(UnixStream);

impl Bell {
    /// # Errors
    /// Where the process has no descriptor left.
    pub(super) fn new() -> io::Result<(Bell, Arc<dyn Waker>)> {
        let (ringing, listening) = Ringing::pair()?;
        ringing.set_nonblocking(true)?;
        listening.set_nonblocking(true)?;
        Ok((Bell(UnixStream::from_std(listening)?), Arc::new(Ringer(ringing))))
    }

    /// Returns when the bell was rung since the last time; may be dropped before without loss.
    pub(super) async fn rung(&self) -> io::Result<()> {
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut [0; 64]) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
