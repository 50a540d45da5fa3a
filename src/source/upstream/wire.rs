//! An open connection to an upstream: name, socket, TLS and handshake; then bytes in, messages out.
//!
//! Pings are answered here. Without: what messages mean, and when to connect again.
//!
//! Invariant: of a message that is longer than `message_bytes_max` nothing is kept; what follows it is read on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::WebSocketUrl;
use crate::http;
use crate::tls::{explained, server_name};
use crate::ws::handshake::ClientRequest;
use crate::ws::opening::{Answer, Opening, OpeningError};
use crate::ws::{CloseCode, Connection, Event, Limits, MessageKind, Opcode, ProtocolError, Role, frame};

/// One read from the socket.
const BUFFER_BYTES: usize = 64 << 10;

/// The wire's own bound is on what is kept, so that a message that is too long does not end the connection.
const LIMITS: Limits = Limits { message_bytes_max: u32::MAX, fragments_max: u32::MAX, inflate_ratio_max: 1 };

/// Why there is no connection, or no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("it cannot be reached ({0})")]
    Unreachable(io::Error),
    #[error("it cannot be spoken to with TLS ({0})")]
    Tls(String),
    #[error("it refuses with HTTP status {0} ({reason})", reason = http::reason(*.0))]
    Refused(u16),
    #[error("it does not answer as a WebSocket ({0})")]
    Answer(#[from] OpeningError),
    #[error("it did not answer within connect_timeout_ms")]
    TimedOut,
    #[error("it closed the connection ({0}{1})")]
    Closed(CloseCode, String),
    #[error("the connection ended without a close frame")]
    Ended,
    #[error("it was silent for silent_timeout_ms")]
    Silent,
    #[error("the connection broke ({0})")]
    Broken(#[from] io::Error),
    #[error("it broke the WebSocket protocol ({0})")]
    Protocol(#[from] ProtocolError),
}

/// A message, or what is left of one.
#[derive(Debug)]
pub(super) enum Received<'m> {
    Text(&'m str),
    Binary(&'m [u8]),
    /// It was too long and is gone.
    TooLong,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// An open connection.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    connection: Connection,
    buffer: Vec<u8>,
    /// Bytes at the buffer's start that came with the handshake's head.
    early: usize,
    message: Unfinished,
    owed: Vec<u8>,
    pinged: bool,
}

/// What has come of a message that is torn.
struct Unfinished {
    pieces: Vec<u8>,
    too_long: bool,
    bytes_max: usize,
}

impl Wire {
    /// Connects to `url`, which takes as long as it takes.
    pub(super) async fn connect(
        url: &WebSocketUrl,
        trust: &Arc<ClientConfig>,
        message_bytes_max: usize,
    ) -> Result<Wire, WireError> {
        let socket = reach(&url.address).await.map_err(WireError::Unreachable)?;
        socket.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match url.secure {
            false => Box::new(socket),
            true => {
                let name = server_name(url.name()).map_err(WireError::Tls)?;
                let refused = |error: io::Error| WireError::Tls(explained(&error, "name the authority that signed it with `ca`"));
                Box::new(TlsConnector::from(Arc::clone(trust)).connect(name, socket).await.map_err(refused)?)
            }
        };
        let (buffer, early) = shake_hands(url, &mut stream).await?;
        Ok(Wire {
            stream,
            connection: Connection::new(Role::Client),
            buffer,
            early,
            message: Unfinished { pieces: Vec::new(), too_long: false, bytes_max: message_bytes_max },
            owed: Vec::new(),
            pinged: false,
        })
    }

    /// Sends one text message.
    pub(super) async fn send(&mut self, text: &str) -> Result<(), WireError> {
        frame::write(&mut self.owed, Opcode::Text, text.as_bytes(), Some(rand::random()));
        self.pay().await
    }

    /// Waits for bytes once and hands over the messages that they end. After half of `silence` without a byte a ping goes out.
    ///
    /// # Errors
    /// [`WireError`] where the connection is over.
    pub(super) async fn receive(&mut self, silence: Duration, mut handle: impl FnMut(Received<'_>)) -> Result<(), WireError> {
        let count = match std::mem::take(&mut self.early) {
            0 => match tokio::time::timeout(silence / 2, self.stream.read(&mut self.buffer)).await {
                Ok(Ok(0)) => return Err(WireError::Ended),
                Ok(count) => count?,
                Err(_) if std::mem::replace(&mut self.pinged, true) => return Err(WireError::Silent),
                Err(_) => {
                    frame::write(&mut self.owed, Opcode::Ping, b"", Some(rand::random()));
                    return self.pay_within(silence / 2).await;
                }
            },
            early => early,
        };
        self.pinged = false;
        let mut input = &mut self.buffer[..count];
        while let Some(event) = self.connection.next(&LIMITS, &mut input)? {
            match event {
                Event::Data { kind, bytes, first, last } => {
                    if let Some(message) = self.message.add(bytes, first, last) {
                        handle(received(kind, message));
                    }
                    if last {
                        self.message.clear();
                    }
                }
                // Whoever floods with pings is not read on before the pongs went.
                Event::Ping(payload) => frame::write(&mut self.owed, Opcode::Pong, &payload, Some(rand::random())),
                Event::Pong(_) => {}
                Event::Close(close) => {
                    let (code, reason) = close.map_or((CloseCode::NONE_RECEIVED, String::new()), |(code, reason)| {
                        (code, String::from_utf8_lossy(&reason).into_owned())
                    });
                    frame::write_close(&mut self.owed, CloseCode::NORMAL, "", Some(rand::random()));
                    // RFC 6455 5.5.1 asks for this answer; if it is not read that does no harm.
                    self.pay_within(silence).await.ok();
                    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
                    return Err(WireError::Closed(code, reason));
                }
            }
        }
        self.pay_within(silence).await
    }

    /// A server that does not take even a pong is as dead as one that says nothing.
    async fn pay_within(&mut self, silence: Duration) -> Result<(), WireError> {
        if self.owed.is_empty() {
            return Ok(());
        }
        tokio::time::timeout(silence, self.pay()).await.map_err(|_| WireError::Silent)?
    }

    async fn pay(&mut self) -> Result<(), WireError> {
        self.stream.write_all(&self.owed).await?;
        self.stream.flush().await?;
        self.owed.clear();
        Ok(())
    }
}

impl Unfinished {
    /// Takes a piece; gives the message at its last, `Err` where it was too long.
    fn add<'m>(&'m mut self, bytes: &'m [u8], first: bool, last: bool) -> Option<Result<&'m [u8], ()>> {
        self.too_long |= self.pieces.len() + bytes.len() > self.bytes_max;
        if self.too_long {
            self.pieces.clear();
            return last.then_some(Err(()));
        }
        if first && last {
            return Some(Ok(bytes));
        }
        self.pieces.extend_from_slice(bytes);
        last.then_some(Ok(&self.pieces))
    }

    /// An idle connection holds no memory of the messages that it had.
    fn clear(&mut self) {
        (self.pieces, self.too_long) = (Vec::new(), false);
    }
}

fn received(kind: MessageKind, message: Result<&[u8], ()>) -> Received<'_> {
    match (kind, message) {
        (_, Err(())) => Received::TooLong,
        (MessageKind::Text, Ok(text)) => Received::Text(std::str::from_utf8(text).expect("the connection has checked it")),
        (MessageKind::Binary, Ok(bytes)) => Received::Binary(bytes),
    }
}

/// Each of the name's addresses in turn.
async fn reach(address: &str) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
    let mut outcome = Err(io::Error::other("the name has no address"));
    for address in addresses {
        outcome = TcpStream::connect(address).await;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Sends the request and reads the answer; what came behind its head is at the start of the buffer.
async fn shake_hands(url: &WebSocketUrl, stream: &mut Box<dyn Stream>) -> Result<(Vec<u8>, usize), WireError> {
    let agent = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
    let request = ClientRequest {
        host: &url.host,
        target: &url.target,
        nonce: rand::random(),
        protocols: &[],
        deflate: None,
        headers: &[("User-Agent", agent)],
    };
    let mut bytes = Vec::new();
    let mut opening = Opening::begin(request, &mut bytes);
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match stream.read(&mut buffer).await? {
            0 => return Err(WireError::Ended),
            count => count,
        };
        match opening.feed(&buffer[..count])? {
            Answer::Partial => {}
            Answer::Open { consumed } => {
                buffer.copy_within(consumed..count, 0);
                return Ok((buffer, count - consumed));
            }
            Answer::Refused { status, .. } => return Err(WireError::Refused(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_too_long_is_forgotten_and_the_next_one_is_whole() {
        let mut unfinished = Unfinished { pieces: Vec::new(), too_long: false, bytes_max: 4 };
        let mut said = Vec::new();
        for (bytes, first, last) in [
            ("abcd", true, true),
            ("abcde", true, true),
            ("ab", true, false),
            ("cd", false, true),
            ("ab", true, false),
            ("cde", false, false),
            ("f", false, true),
            ("g", true, true),
        ] {
            if let Some(message) = unfinished.add(bytes.as_bytes(), first, last) {
                said.push(message.map(<[u8]>::to_vec));
            }
            assert!(unfinished.pieces.len() <= 4);
            if last {
                unfinished.clear();
            }
        }
        assert_eq!(said, [Ok(b"abcd".to_vec()), Err(()), Ok(b"abcd".to_vec()), Err(()), Ok(b"g".to_vec())]);
    }
}
