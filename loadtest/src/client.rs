//! One WebSocket connection over a socket that blocks: for Autobahn's cases and for the pings beside a run, which are to share
//! nothing with the engine.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustls::ClientConnection;
use tidegate::http::{HeadReader, Progress};
use tidegate::ws::deflate::{Agreement, Offer};
use tidegate::ws::handshake::{self, ClientRequest};
use tidegate::ws::{Assembler, Connection, Event, Limits, Opcode, Role, frame};

use crate::keys::Keys;
use crate::secure;
use crate::url::Url;

/// What a server may send in one message.
const LIMITS: Limits = Limits { message_bytes_max: 16 << 20, fragments_max: 1024, inflate_ratio_max: 200 };

/// How long connecting and a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection after its handshake; its socket does not block.
pub(crate) struct Client {
    /// The socket, for the poller.
    pub(crate) stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    connection: Connection,
    assembler: Assembler,
    /// What came behind the handshake's answer.
    early: Vec<u8>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
    pongs: u64,
}

impl Client {
    /// Connects and becomes a WebSocket.
    pub(crate) fn connect(url: &Url, keys: &mut Keys) -> io::Result<Client> {
        let Opened { stream, tls, early, .. } = open(url, None, keys)?;
        stream.set_nonblocking(true)?;
        let connection = Connection::new(Role::Client);
        Ok(Client { stream, tls, connection, assembler: Assembler::default(), early, unsent: Vec::new(), pongs: 0 })
    }

    /// Sends an empty ping.
    pub(crate) fn send_ping(&mut self, keys: &mut Keys) -> io::Result<()> {
        frame::write(&mut self.unsent, Opcode::Ping, &[], Some(keys.next()));
        self.flush().map(drop)
    }

    /// How many pings were answered.
    pub(crate) fn pongs(&self) -> u64 {
        self.pongs
    }

    /// Sends what waits; true when nothing is left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            let written = match self.tls.as_deref_mut() {
                None => self.stream.write(&self.unsent),
                Some(tls) => rustls::Stream::new(tls, &mut self.stream).write(&self.unsent),
            };
            match written {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) {
            match tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.tls.as_deref_mut() {
            None => self.stream.read(buffer),
            Some(tls) => rustls::Stream::new(tls, &mut self.stream).read(buffer),
        }
    }

    /// Reads once and hands over every message that is whole. Pings are answered.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], keys: &mut Keys, mut message: impl FnMut(&[u8])) -> io::Result<()> {
        if !self.early.is_empty() {
            let mut early = std::mem::take(&mut self.early);
            self.take(&mut early, keys, &mut message)?;
        }
        match self.read(buffer) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed a connection")),
            Ok(length) => self.take(&mut buffer[..length], keys, &mut message),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, mut input: &mut [u8], keys: &mut Keys, message: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while let Some(event) = self.connection.next(&LIMITS, &mut input).map_err(io::Error::other)? {
            match event {
                Event::Data { kind, bytes, first, last } => {
                    if let Some(whole) = self.assembler.add(kind, bytes, first, last) {
                        message(&whole.bytes);
                    }
                }
                Event::Ping(payload) => {
                    frame::write(&mut self.unsent, Opcode::Pong, &payload, Some(keys.next()));
                    self.flush()?;
                }
                Event::Pong(_) => self.pongs += 1,
                Event::Close(why) => {
                    let why =
                        why.map_or(String::from("no code"), |(code, reason)| format!("{} {}", code.0, reason.escape_ascii()));
                    return Err(io::Error::other(format!("the server closed a connection: {why}")));
                }
            }
        }
        Ok(())
    }
}

/// A connection right after its handshake.
pub(crate) struct Opened {
    /// The socket, which blocks.
    pub(crate) stream: TcpStream,
    /// TLS over it, where the URL asks for it.
    pub(crate) tls: Option<Box<ClientConnection>>,
    /// What came behind the handshake's answer.
    pub(crate) early: Vec<u8>,
    /// What permessage-deflate came to.
    pub(crate) deflate: Option<Agreement>,
}

/// Connects and does the handshake.
pub(crate) fn open(url: &Url, deflate: Option<Offer>, keys: &mut Keys) -> io::Result<Opened> {
    let address = url.authority.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the host has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, HANDSHAKE_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let mut request = Vec::new();
    let nonce: [u8; 16] = std::array::from_fn(|_| keys.next()[0]);
    let upgrade = ClientRequest { host: &url.authority, target: &url.target, nonce, protocols: &[], deflate, headers: &[] };
    let expected = handshake::write_request(&mut request, &upgrade);
    let mut tls = if url.secure { Some(Box::new(secure::connection(&url.authority)?)) } else { None };
    match tls.as_deref_mut() {
        None => stream.write_all(&request)?,
        Some(tls) => rustls::Stream::new(tls, &mut stream).write_all(&request)?,
    }
    let mut head = HeadReader::new(16 << 10, 64);
    let mut bytes = [0; 4096];
    let early = loop {
        let length = match tls.as_deref_mut() {
            None => stream.read(&mut bytes)?,
            Some(tls) => rustls::Stream::new(tls, &mut stream).read(&mut bytes)?,
        };
        if length == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed during the handshake"));
        }
        if let Progress::Complete { consumed } = head.feed(&bytes[..length]).map_err(io::Error::other)? {
            break bytes[consumed..length].to_vec();
        }
    };
    let response = head.response().map_err(io::Error::other)?;
    let chosen = handshake::check_response(&response, &expected, &upgrade).map_err(io::Error::other)?;
    Ok(Opened { stream, tls, early, deflate: chosen.deflate })
}
