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

    /// Sends of these bytes what the other one takes, and takes in what has come where that is wanted, once something of either can be
    /// done; returns how many went. May be dropped before without loss.
    async fn exchange(&mut self, out: &[u8], reads: bool) -> Result<usize, LineError> {
        let interest = match (out.is_empty(), reads) {
            (true, false) => return std::future::pending().await,
            (true, true) => Interest::READABLE,
            (false, false) => Interest::WRITABLE,
            (false, true) => Interest::READABLE | Interest::WRITABLE,
        };
        loop {
            let ready = self.stream.ready(interest).await?;
            let mut moved = None;
            if ready.is_writable() && !out.is_empty() {
                moved = tried(self.stream.try_io(Interest::WRITABLE, || send(self.stream.as_fd(), out, &[])))?;
            }
            if ready.is_readable() && reads && self.take_in()? {
                moved = moved.or(Some(0));
            }
            if let Some(sent) = moved {
                return Ok(sent);
            }
        }
    }

    /// Takes in what has come; false where that is nothing.
    fn take_in(&mut self) -> Result<bool, LineError> {
        let mut piece = vec![0; PIECE_BYTES];
        let (stream, descriptors) = (&self.stream, &mut self.descriptors);
        match tried(stream.try_io(Interest::READABLE, || receive(stream.as_fd(), &mut piece, descriptors)))? {
            None => Ok(false),
            Some(0) => Err(LineError::Gone),
            Some(came) => {
                self.keep(&piece[..came]);
                Ok(true)
            }
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(piece);
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
        self.keep(&piece[..came]);
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

/// A [`Line`], and what is still to be sent over it.
#[derive(Debug)]
pub struct Pipe {
    line: Line,
    out: Vec<u8>,
    sent: usize,
}

impl Pipe {
    /// Over this.
    #[must_use]
    pub fn new(line: Line) -> Pipe {
        Pipe { line, out: Vec::new(), sent: 0 }
    }

    /// To be sent by the next [`Pipe::moved`].
    pub fn put(&mut self, message: &Message) {
        message.put(&mut self.out);
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        (self.out.len() - self.sent) as u64
    }

    /// Returns once something went or came; may be dropped before without loss.
    ///
    /// # Errors
    /// [`LineError`].
    pub async fn moved(&mut self, reads: bool) -> Result<(), LineError> {
        self.sent += self.line.exchange(&self.out[self.sent..], reads).await?;
        // Half of it is moved at most once for each of its bytes.
        if self.sent * 2 >= self.out.len() {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// The next message that has come.
    ///
    /// # Errors
    /// [`LineError::Fault`].
    pub fn heard(&mut self) -> Result<Option<Message>, LineError> {
        self.line.heard()
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

/// None where it would have to wait.
fn tried(result: io::Result<usize>) -> Result<Option<usize>, LineError> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(gone(error)),
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
