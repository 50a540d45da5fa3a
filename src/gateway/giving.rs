//! How this gateway gives its place up to one that is started anew: see `taking` for the other side.
//!
//! Invariant: until the other one has said `Taken`, whatever becomes of it changes nothing here.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::listening::Doors;
use crate::broker::{Handed, Handle, Taken};
use crate::config::Takeover;
use crate::metrics::{ControlMetrics, TakeoverOutcome};
use crate::reactor::listener::Listener;
use crate::source::Standings;
use crate::takeover::{Door, DoorError, Fault, Known, Line, LineError, Side, VERSION, Word, connect, put_known};

/// Descriptors that go along with one message.
const AT_ONCE: usize = 64;
/// How often, and how long after the other, it is looked whether a gateway is gone.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(50);

/// What is given, and where one asks for it.
pub(super) struct Place {
    sockets: Sockets,
    socket: PathBuf,
    timeout: Duration,
    bytes_max: u64,
}

/// All listening sockets, beside those who accept there.
struct Sockets {
    clients: Vec<Listener>,
    admin: Option<OwnedFd>,
}

impl Place {
    /// Of these doors; none where there is no socket on which one could ask for it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn new(doors: &Doors, settings: &Takeover) -> std::io::Result<Option<Place>> {
        let Some(socket) = settings.socket.clone() else { return Ok(None) };
        let admin = doors.admin.as_ref().map(TcpListener::try_clone).transpose()?.map(OwnedFd::from);
        let sockets = Sockets { clients: doors.shards.iter().flatten().cloned().collect(), admin };
        Ok(Some(Place {
            sockets,
            socket,
            timeout: Duration::from_millis(settings.timeout_ms.into()),
            bytes_max: settings.handover_bytes_max,
        }))
    }

    /// The socket on which one asks for it.
    ///
    /// # Errors
    /// [`DoorError`].
    pub(super) fn door(&self) -> Result<Door, DoorError> {
        Door::open(&self.socket)
    }

    /// Returns once another gateway has taken the place, with who is told when that one is lost. One at a time may ask.
    pub(super) async fn give(
        &self,
        door: Door,
        broker: Handle,
        standings: Standings,
        metrics: Arc<ControlMetrics>,
    ) -> oneshot::Receiver<()> {
        loop {
            let mut line = match door.next().await {
                Ok(stream) => Line::new(stream),
                Err(error) => {
                    tracing::warn!("the takeover socket: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let given = match self.greeted(&mut line).await {
                // It has only looked whether somebody is here.
                Err(LineError::Gone) => continue,
                Err(error) => Err(error),
                Ok(()) => self.give_to(line, &broker, &standings).await,
            };
            match given {
                Ok(lost) => return lost,
                Err(error) => {
                    metrics.takeovers.add(TakeoverOutcome::Failed, 1);
                    tracing::warn!("the other gateway did not take this one's place, which goes on: {error}");
                }
            }
        }
    }

    /// Whoever asks is one that this gateway understands.
    async fn greeted(&self, line: &mut Line) -> Result<(), LineError> {
        let Word::Hello { version } = self.within(line.word()).await? else { return Err(Fault::Form.into()) };
        if version != VERSION {
            let why = format!("it speaks version {VERSION} of the takeover, not {version}; stop it and start the new one then");
            line.say(Word::Refused { why: why.clone() }, &[]).await?;
            return Err(LineError::Refused(why));
        }
        Ok(())
    }

    async fn give_to(&self, mut line: Line, broker: &Handle, standings: &Standings) -> Result<oneshot::Receiver<()>, LineError> {
        tracing::info!("another gateway asks for this one's place");
        self.send_sockets(&line).await?;
        let Word::Ready = self.within(line.word()).await? else { return Err(Fault::Form.into()) };
        let handed = tokio::time::timeout(self.timeout, broker.hand_over(self.bytes_max)).await;
        let (Handed { topics, revocations, lock }, verdict) =
            handed.map_err(|_| LineError::Late)?.map_err(|_| LineError::Gone)?;
        let count = topics.len();
        let (file, bytes) = put_known(Known { topics, revocations, feeds: standings.hand_over() })?;
        let along: Vec<BorrowedFd<'_>> = std::iter::once(&file).chain(&lock).map(OwnedFd::as_fd).collect();
        line.say(Word::State { bytes, lock: lock.is_some() }, &along).await?;
        let Word::Taken = self.within(line.word()).await? else { return Err(Fault::Form.into()) };
        tracing::info!(topics = count, bytes, "another gateway gives the offsets now");
        // It has the place. That it accepts is a matter of a moment; should it end instead, nobody is served by waiting.
        let line = match self.within(line.word()).await {
            Ok(Word::Accepting) => Some(line),
            Ok(_) => None,
            Err(error) => {
                tracing::error!("the gateway that took this one's place: {error}");
                None
            }
        };
        // The broker may be stopping by now.
        let (lost, is_lost) = oneshot::channel();
        verdict.send(Taken { line, lost }).ok();
        Ok(is_lost)
    }

    /// Whether somebody has the place who could take clients. A process that is killed may take a moment to let go of its socket.
    pub(super) async fn is_taken(&self) -> bool {
        for _ in 0..LOOKS {
            if !matches!(connect(&self.socket).await, Ok(Some(_))) {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// The admin port's socket, where there is one.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn admin(&self) -> std::io::Result<Option<TcpListener>> {
        self.sockets.admin.as_ref().map(OwnedFd::try_clone).transpose().map(|socket| socket.map(TcpListener::from))
    }

    async fn send_sockets(&self, line: &Line) -> Result<(), LineError> {
        let clients = self.sockets.clients.iter().map(|listener| (Side::Clients, listener.as_fd()));
        let admin = self.sockets.admin.iter().map(|socket| (Side::Admin, socket.as_fd()));
        let all: Vec<(Side, BorrowedFd<'_>)> = clients.chain(admin).collect();
        let mut left = all.len();
        for some in all.chunks(AT_ONCE) {
            left -= some.len();
            let (sides, sockets): (Vec<Side>, Vec<BorrowedFd<'_>>) = some.iter().copied().unzip();
            line.say(Word::Sockets { sides, more: left > 0 }, &sockets).await?;
        }
        Ok(())
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, LineError>>) -> Result<T, LineError> {
        tokio::time::timeout(self.timeout, answer).await.map_err(|_| LineError::Late)?
    }
}
