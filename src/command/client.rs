//! One blocking connection to a gateway, on the library's own client role.
//!
//! Pings are answered here; a close by the gateway is answered and told as the reason why the connection is over.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::ControlFlow;
use std::time::Duration;

use serde::Deserialize;

use super::endpoint::Endpoint;
use super::socket::Socket;
use super::token::TokenFault;
use crate::http;
use crate::ws::handshake::ClientRequest;
use crate::ws::opening::{Answer, Opening};
use crate::ws::{Assembler, CloseCode, Connection, Event, Limits, Message, Opcode, ProtocolError, Role, frame};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A refusal's body is a sentence.
const BODY_BYTES_MAX: usize = 64 << 10;

/// One read from the socket.
const BUFFER_BYTES: usize = 64 << 10;

/// The longest publication that can be configured, written as a JSON string with each byte escaped, and its envelope.
const LIMITS: Limits = Limits { message_bytes_max: (64 << 20) * 6 + (64 << 10), fragments_max: u32::MAX, inflate_ratio_max: 200 };

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// No answer, or none that opens a WebSocket.
    Unreachable(String),
    /// The gateway said no; what can be done, where that is known.
    Refused { status: u16, sentence: String, advice: &'static str },
    /// There is no token to show.
    Token(TokenFault),
}

impl ConnectError {
    /// Whether trying again later can help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            // A file may be written anew.
            ConnectError::Unreachable(_) | ConnectError::Token(_) => true,
            // RFC 9110 15.5.9: too slow a request; RFC 6585 4: too many of them; RFC 9110 15.6: the server's own troubles.
            ConnectError::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Unreachable(sentence) => f.write_str(sentence),
            ConnectError::Refused { status, sentence, advice } => write!(f, "the gateway refuses ({status}): {sentence}{advice}"),
            ConnectError::Token(fault) => fault.fmt(f),
        }
    }
}

/// Why an open connection is over.
#[derive(Debug)]
pub(super) enum Lost {
    /// The gateway closed it.
    Closed(CloseCode, String),
    /// It ended without a close frame.
    Ended,
    /// Nothing came for twice as long as allowed, not even a pong.
    Silent,
    /// The machine's or the network's fault.
    Socket(io::Error),
    /// The gateway broke the protocol.
    Protocol(ProtocolError),
}

impl Lost {
    /// Whether connecting again can help: not where the gateway says that this client is at fault.
    pub(super) fn is_passing(&self) -> bool {
        use CloseCode as Code;
        match self {
            Lost::Closed(code, _) => {
                !matches!(*code, Code::PROTOCOL | Code::UNSUPPORTED | Code::INVALID_PAYLOAD | Code::POLICY | Code::TOO_BIG)
            }
            Lost::Ended | Lost::Silent | Lost::Socket(_) => true,
            Lost::Protocol(_) => false,
        }
    }
}

impl Lost {
    /// What the gateway closed it with.
    pub(super) fn code(&self) -> Option<CloseCode> {
        if let Lost::Closed(code, _) = self { Some(*code) } else { None }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Closed(code, reason) if reason.is_empty() => write!(f, "the gateway closed the connection ({code})"),
            Lost::Closed(code, reason) => write!(f, "the gateway closed the connection ({code}: {reason})"),
            Lost::Ended => f.write_str("the connection ended"),
            Lost::Silent => f.write_str("the gateway fell silent"),
            Lost::Socket(error) => write!(f, "the connection broke ({error})"),
            Lost::Protocol(error) => write!(f, "the gateway sent what is no WebSocket ({error})"),
        }
    }
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Lost {
        Lost::Socket(error)
    }
}

/// The sending half; its clones may send from several threads.
#[derive(Clone)]
pub(super) struct Sender(Socket);

impl Sender {
    /// Sends one frame.
    pub(super) fn send(&self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(payload.len() + frame::HEADER_BYTES_MAX);
        frame::write(&mut bytes, opcode, payload, Some(rand::random()));
        self.send_frames(&bytes)
    }

    /// Sends a close frame.
    pub(super) fn close(&self) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame::write_close(&mut bytes, CloseCode::NORMAL, "", Some(rand::random()));
        self.send_frames(&bytes)
    }

    /// Sends frames that are written already.
    pub(super) fn send_frames(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
}

/// An open connection.
pub(super) struct Client {
    sender: Sender,
    socket: Socket,
    connection: Connection,
    assembler: Assembler,
    buffer: Vec<u8>,
    /// Bytes at the buffer's start that came with the handshake's head.
    early: usize,
    pinged: bool,
}

impl Client {
    /// Connects and asks for `path`. With `silence`, a gateway that sends nothing for that long is pinged, and lost after
    /// as long again.
    pub(super) fn connect(endpoint: &Endpoint, path: &str, silence: Option<Duration>) -> Result<Client, ConnectError> {
        let socket = open(endpoint)?;
        let broken = |error: io::Error| ConnectError::Unreachable(format!("{endpoint} does not answer as a gateway ({error})"));
        socket.set_nodelay().and_then(|()| socket.set_read_timeout(Some(HANDSHAKE_TIMEOUT))).map_err(broken)?;
        let (buffer, early) = shake_hands(endpoint, path, &socket)?;
        socket.set_read_timeout(silence).map_err(broken)?;
        let sender = Sender(socket.clone());
        let (connection, assembler) = (Connection::new(Role::Client), Assembler::default());
        Ok(Client { sender, socket, connection, assembler, buffer, early, pinged: false })
    }

    /// The sending half.
    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Waits for bytes once and hands over each message that they end, until `handle` breaks.
    pub(super) fn receive<B>(&mut self, mut handle: impl FnMut(Message<'_>) -> ControlFlow<B>) -> Result<ControlFlow<B>, Lost> {
        let count = match std::mem::take(&mut self.early) {
            0 => self.read()?,
            early => early,
        };
        let mut input = &mut self.buffer[..count];
        while let Some(event) = self.connection.next(&LIMITS, &mut input).map_err(Lost::Protocol)? {
            match event {
                Event::Data { kind, bytes, first, last } => {
                    if let Some(message) = self.assembler.add(kind, bytes, first, last)
                        && let ControlFlow::Break(value) = handle(message)
                    {
                        return Ok(ControlFlow::Break(value));
                    }
                }
                Event::Ping(payload) => self.sender.send(Opcode::Pong, &payload)?,
                Event::Pong(_) => {}
                Event::Close(close) => return Err(self.closed(close)),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Some bytes, or none where a silence was met with a ping.
    fn read(&mut self) -> Result<usize, Lost> {
        match self.socket.read(&mut self.buffer) {
            Ok(0) => Err(Lost::Ended),
            Ok(count) => {
                self.pinged = false;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if std::mem::replace(&mut self.pinged, true) {
                    return Err(Lost::Silent);
                }
                self.sender.send(Opcode::Ping, b"")?;
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn closed(&self, close: Option<(CloseCode, crate::ws::Control)>) -> Lost {
        // RFC 6455 5.5.1: an endpoint that receives a close frame and did not send one MUST send one. If it did, or the
        // gateway is gone already, this one is not read, which does no harm.
        let _ = self.sender.close();
        match close {
            Some((code, reason)) => Lost::Closed(code, String::from_utf8_lossy(&reason).into_owned()),
            None => Lost::Closed(CloseCode::NONE_RECEIVED, String::new()),
        }
    }
}

fn open(endpoint: &Endpoint) -> Result<Socket, ConnectError> {
    let unreachable = |error: &dyn fmt::Display| {
        ConnectError::Unreachable(format!(
            "{endpoint} cannot be reached ({error}); is the gateway running there? `tidegate` starts one"
        ))
    };
    let addresses = endpoint.address.to_socket_addrs().map_err(|error| unreachable(&error))?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return shake_tls_hands(endpoint, stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| unreachable(&"the name has no address"), |error| unreachable(&error)))
}

/// TLS, where the URL asks for it.
fn shake_tls_hands(endpoint: &Endpoint, stream: TcpStream) -> Result<Socket, ConnectError> {
    if !endpoint.is_secure() {
        return Ok(Socket::plain(stream));
    }
    let strange = |error: String| ConnectError::Unreachable(format!("{endpoint} cannot be spoken to with TLS ({error})"));
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT)).map_err(|error| strange(error.to_string()))?;
    Socket::secure(stream, endpoint.name(), endpoint.authority.as_deref()).map_err(strange)
}

/// Sends the request and reads the answer; what came behind its head is at the start of the buffer.
fn shake_hands(endpoint: &Endpoint, path: &str, socket: &Socket) -> Result<(Vec<u8>, usize), ConnectError> {
    let strange =
        |error: &dyn fmt::Display| ConnectError::Unreachable(format!("{endpoint} does not answer as a gateway ({error})"));
    let target = endpoint.target(path);
    let bearer = endpoint.token.read().map_err(ConnectError::Token)?.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
    let request = ClientRequest {
        host: &endpoint.host,
        target: &target,
        nonce: rand::random(),
        protocols: &[],
        deflate: None,
        headers: &headers,
    };
    let mut bytes = Vec::new();
    let mut opening = Opening::begin(request, &mut bytes);
    socket.write_all(&bytes).map_err(|error| strange(&error))?;

    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match socket.read(&mut buffer) {
            Ok(0) => return Err(strange(&"it hung up")),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(strange(&error)),
        };
        match opening.feed(&buffer[..count]).map_err(|error| strange(&error))? {
            Answer::Partial => {}
            Answer::Open { consumed } => {
                buffer.copy_within(consumed..count, 0);
                return Ok((buffer, count - consumed));
            }
            Answer::Refused { status, consumed, body_bytes } => {
                let body = body(buffer[consumed..count].to_vec(), body_bytes.unwrap_or(BODY_BYTES_MAX), socket);
                let advice = advice(status, bearer.is_some());
                return Err(ConnectError::Refused { status, sentence: refusal(status, &body), advice });
            }
        }
    }
}

/// What can be done where the gateway wants to know who asks; it never says what is wrong with a token.
fn advice(status: u16, has_shown_token: bool) -> &'static str {
    match (status, has_shown_token) {
        (401, false) => "; show one with --token-file FILE, or by TIDEGATE_TOKEN in the environment",
        (401, true) => "; the gateway's log says what is wrong with it (\"a client was refused\")",
        (403, false) => "; if the gateway takes tokens, one that grants this helps: --token-file FILE, or TIDEGATE_TOKEN",
        (403, true) => "; the token does not grant it: see its claims `subscribe` and `publish`, and the gateway's log",
        _ => "",
    }
}

/// The rest of a refusal, as far as it comes: it only explains.
fn body(mut bytes: Vec<u8>, length: usize, socket: &Socket) -> Vec<u8> {
    let length = length.min(BODY_BYTES_MAX);
    let mut piece = [0; 4096];
    while bytes.len() < length {
        match socket.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
    bytes.truncate(length);
    bytes
}

#[derive(Deserialize)]
struct Refusal {
    error: ErrorBody,
}

/// An error as the protocol words it.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) code: u32,
    pub(super) msg: String,
}

/// What a refusal's body says: the message of an error, else its first line, else what its status means.
fn refusal(status: u16, body: &[u8]) -> String {
    if let Ok(Refusal { error }) = serde_json::from_slice(body) {
        return error.msg;
    }
    let text = String::from_utf8_lossy(body);
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => line.chars().take(300).collect(),
        None => http::reason(status).to_owned(),
    }
}
