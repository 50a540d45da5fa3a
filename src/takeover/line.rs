//! A connection between the two gateways.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Blocking;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::message::{Fault, Message, Word};

/// Descriptors that go along with one message.
pub(super) const DESCRIPTORS_MAX: usize = 64;
/// Read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Why nothing more comes of a connection.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The other process is gone.
    #[error("it is gone")]
    Gone,
    /// It does not give its place up.
    #[error("it refuses: {0}")]
    Refused(String),
    /// It says what nobody expects.
    #[error("it sent {0}")]
    Fault(#[from] Fault),
    /// It says nothing.
    #[error("it did not answer within takeover.timeout_ms")]
    Late,
    /// The kernel.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Messages in and out, with descriptors.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    bytes: Vec<u8>,
    start: usize,
    descriptors: VecDeque<OwnedFd>,
}

impl Line {
    /// Over this.
    #[must_use]
    pub fn new(stream: UnixStream) -> Line {
        Line { stream, bytes: Vec::new(), start: 0, descriptors: VecDeque::new() }
    }

    /// Out of the runtime that it was made in.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn into_parts(self) -> io::Result<Parts> {
        let Line { stream, bytes, start, descriptors } = self;
        Ok(Parts { stream: stream.into_std()?, bytes, start, descriptors })
    }

    /// Says something, with descriptors that go along.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn say(&self, word: Word, along: &[BorrowedFd<'_>]) -> Result<(), LineError> {
        assert!(along.len() <= DESCRIPTORS_MAX, "so many go along with one message");
        let mut bytes = Vec::new();
        Message::Word(word).put(&mut bytes);
        let sent = self.stream.async_io(Interest::WRITABLE, || send(self.stream.as_fd(), &bytes, along)).await;
        let sent = sent.map_err(gone)?;
        self.send(&bytes[sent..]).await
    }

    /// Sends bytes of messages.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn send(&self, mut bytes: &[u8]) -> Result<(), LineError> {
        while !bytes.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || send(self.stream.as_fd(), bytes, &[])).await;
            bytes = &bytes[sent.map_err(gone)?..];
        }
        Ok(())
    }

    /// Sends as many of these bytes as it takes now, at least one; may be dropped before without loss.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn send_some(&self, bytes: &[u8]) -> Result<usize, LineError> {
        self.stream.async_io(Interest::WRITABLE, || send(self.stream.as_fd(), bytes, &[])).await.map_err(gone)
    }

    /// The next message; may be dropped before without loss.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn hear(&mut self) -> Result<Message, LineError> {
        loop {
            if let Some(message) = self.heard()? {
                return Ok(message);
            }
            self.receive().await?;
        }
    }

    /// The next message that has come already.
    ///
    /// # Errors
    /// [`LineError::Fault`].
    pub fn heard(&mut self) -> Result<Option<Message>, LineError> {
        let Some((message, length)) = Message::read(&self.bytes[self.start..])? else { return Ok(None) };
        self.start += length;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        Ok(Some(message))
    }

    /// A word, where nothing else may come.
    ///
    /// # Errors
    /// [`LineError`], also where it is a refusal.
    pub async fn word(&mut self) -> Result<Word, LineError> {
        match self.hear().await? {
            Message::Word(Word::Refused { why }) => Err(LineError::Refused(why)),
            Message::Word(word) => Ok(word),
            _ => Err(LineError::Fault(Fault::Form)),
        }
    }

    /// Waits for bytes and takes them in; may be dropped before without loss.
    async fn receive(&mut self) -> Result<(), LineError> {
        let mut piece = vec![0; PIECE_BYTES];
        let (stream, descriptors) = (&self.stream, &mut self.descriptors);
        let came =
            stream.async_io(Interest::READABLE, || receive(stream.as_fd(), &mut piece, descriptors)).await.map_err(gone)?;
        if came == 0 {
            return Err(LineError::Gone);
        }
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(&piece[..came]);
        Ok(())
    }

    /// The next descriptors that came along with what was heard.
    ///
    /// # Errors
    /// [`Fault::Form`] where there are not so many.
    pub fn descriptors(&mut self, count: usize) -> Result<Vec<OwnedFd>, LineError> {
        if self.descriptors.len() < count {
            return Err(Fault::Form.into());
        }
        Ok(self.descriptors.drain(..count).collect())
    }
}

/// A [`Line`] between two runtimes.
#[derive(Debug)]
pub struct Parts {
    stream: Blocking,
    bytes: Vec<u8>,
    start: usize,
    descriptors: VecDeque<OwnedFd>,
}

impl Parts {
    /// Into this runtime.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn into_line(self) -> io::Result<Line> {
        let Parts { stream, bytes, start, descriptors } = self;
        Ok(Line { stream: UnixStream::from_std(stream)?, bytes, start, descriptors })
    }
}

fn gone(error: io::Error) -> LineError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => LineError::Gone,
        _ => LineError::Io(error),
    }
}

fn send(to: BorrowedFd<'_>, bytes: &[u8], along: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !along.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(along));
    }
    Ok(sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

fn receive(from: BorrowedFd<'_>, piece: &mut [u8], descriptors: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let came = recvmsg(from, &mut [IoSliceMut::new(piece)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(came.bytes)
}
