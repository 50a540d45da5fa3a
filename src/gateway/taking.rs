//! How this gateway takes the place of the one that runs: its listening sockets first, then, once everything is made, its topics; from then
//! on this one gives offsets, and says when it accepts.
//!
//! Invariants: until `Taken` is said nothing here has an effect on anybody, so the other one goes on if this one ends; should the other one
//! end, this one goes on with what it has.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use super::StartError;
use super::listening::Inherited;
use crate::broker::Handle;
use crate::config::Takeover;
use crate::source::Standings;
use crate::takeover::{Fault, Known, Line, LineError, Parts, VERSION, Word, connect, read_known};

/// The gateway whose place is taken.
pub(super) struct Predecessor {
    line: Parts,
    socket: PathBuf,
    timeout: Duration,
}

/// What came along.
pub(super) struct State {
    pub(super) known: Known,
    /// Of the journal.
    pub(super) lock: Option<OwnedFd>,
}

/// Asks whoever listens on the takeover socket for the listening sockets; none where nobody does, or no such socket is configured.
///
/// # Errors
/// [`StartError::Takeover`]: it does not give its place up.
pub(super) fn ask(settings: &Takeover, inherited: &mut Inherited) -> Result<Option<Predecessor>, StartError> {
    let Some(socket) = settings.socket.clone() else { return Ok(None) };
    let timeout = Duration::from_millis(settings.timeout_ms.into());
    let asked = async {
        let Some(stream) = connect(&socket).await? else { return Ok(None) };
        let mut line = Line::new(stream);
        match sockets(&mut line, timeout, inherited).await {
            Ok(()) => {
                let line = line.into_parts().map_err(LineError::from).map_err(|error| refused(&socket, error))?;
                Ok(Some(Predecessor { line, socket: socket.clone(), timeout }))
            }
            Err(LineError::Gone) => {
                tracing::info!("the gateway whose place was to be taken ended before it had given anything");
                Ok(None)
            }
            Err(error) => Err(refused(&socket, error)),
        }
    };
    meanwhile(asked)?
}

async fn sockets(line: &mut Line, timeout: Duration, inherited: &mut Inherited) -> Result<(), LineError> {
    line.say(Word::Hello { version: VERSION }, &[]).await?;
    loop {
        let Word::Sockets { sides, more } = within(timeout, line.word()).await? else { return Err(Fault::Form.into()) };
        let sockets = line.descriptors(sides.len())?;
        for (side, socket) in sides.into_iter().zip(sockets) {
            inherited.add(Some(side), socket)?;
        }
        if !more {
            return Ok(());
        }
    }
}

impl Predecessor {
    /// Everything is made: asks for what the other one knows. It holds its publishers back from now on.
    ///
    /// # Errors
    /// [`StartError::Takeover`]: it goes on.
    pub(super) fn state(self) -> Result<Option<(Predecessor, State)>, StartError> {
        let Predecessor { line, socket, timeout } = self;
        let asked = async {
            let mut line = line.into_line()?;
            line.say(Word::Ready, &[]).await?;
            let Word::State { bytes, lock } = within(timeout, line.word()).await? else { return Err(Fault::Form.into()) };
            let file = line.descriptors(1)?.remove(0);
            let lock = if lock { line.descriptors(1)?.pop() } else { None };
            Ok((line.into_parts()?, State { known: read_known(file, bytes)?, lock }))
        };
        match meanwhile(asked)? {
            Ok((line, state)) => Ok(Some((Predecessor { line, socket, timeout }, state))),
            Err(LineError::Gone) => {
                tracing::warn!("the gateway whose place is taken ended before it had told of its topics: they begin new epochs");
                Ok(None)
            }
            Err(error) => Err(refused(&socket, error)),
        }
    }

    /// The moment: this one gives offsets from now on, and accepts; the other one is told of all that is published. Nobody comes in before
    /// what was revoked is so here, too, and what was stale is.
    ///
    /// # Errors
    /// Where the other one is gone; this one goes on alone.
    pub(super) async fn take(
        self,
        broker: &Handle,
        Known { topics, revocations, feeds }: Known,
        standings: &Standings,
        bytes_max: u64,
    ) -> Result<(), LineError> {
        let line = self.line.into_line()?;
        // An error means that the gateway stops already.
        broker.adopt(topics, revocations, bytes_max).await.ok();
        for (topics, since_ms) in standings.adopt(feeds) {
            broker.feed(topics, Some(since_ms)).await.ok();
        }
        let said = line.say(Word::Taken, &[]).await;
        broker.accept().await;
        said?;
        line.say(Word::Accepting, &[]).await?;
        broker.feed_gateway(line).await.ok();
        Ok(())
    }
}

/// On a runtime of its own, as the control thread's is not there yet.
fn meanwhile<T>(work: impl Future<Output = T>) -> Result<T, StartError> {
    let failed = |error| StartError::Thread { what: "the runtime for the takeover".into(), error };
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?.block_on(work))
}

fn refused(socket: &std::path::Path, error: LineError) -> StartError {
    StartError::Takeover { socket: socket.to_owned(), error }
}

async fn within<T>(timeout: Duration, answer: impl Future<Output = Result<T, LineError>>) -> Result<T, LineError> {
    tokio::time::timeout(timeout, answer).await.map_err(|_| LineError::Late)?
}
