//! One WebSocket connection of the generator, as a small state machine: received bytes in, messages out to a [`Handler`]; what
//! the handler answers becomes bytes to send.
//!
//! Without: its socket, which is the engine's, and any opinion on messages.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate::http::{HeadReader, Progress};
use tidegate::reactor::ClientKey;
use tidegate::ws::deflate::{Agreement, Compressor, Offer};
use tidegate::ws::handshake::{self, ClientRequest};
use tidegate::ws::{Assembler, CloseCode, Connection, Event, Limits, MessageKind, Opcode, Role, frame};

use crate::inflated::Inflated;
use crate::keys::Keys;
use crate::secure::Tls;
use crate::url::Url;

/// What a server may send in one message.
const LIMITS: Limits = Limits { message_bytes_max: 64 << 20, fragments_max: 1 << 16, inflate_ratio_max: 1032 };

/// Where connections go and how they open; the same for many.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) address: SocketAddr,
    pub(crate) url: Url,
    /// permessage-deflate, if it is offered.
    pub(crate) deflate: Option<Offer>,
    /// Subprotocols offered.
    pub(crate) protocols: Vec<&'static str>,
    /// `SO_RCVBUF`; the kernel's own choice if none.
    pub(crate) receive_buffer_bytes: Option<u32>,
}

impl Route {
    pub(crate) fn new(url: Url, deflate: Option<Offer>) -> io::Result<Route> {
        Ok(Route { address: url.address()?, url, deflate, protocols: Vec::new(), receive_buffer_bytes: None })
    }

    fn request(&self, nonce: [u8; 16]) -> ClientRequest<'_> {
        let Url { authority: host, target, .. } = &self.url;
        ClientRequest { host, target, nonce, protocols: &self.protocols, deflate: self.deflate, headers: &[] }
    }
}

/// What all connections of a worker use.
pub(crate) struct Kit {
    pub(crate) keys: Keys,
    pub(crate) inflated: Inflated,
}

/// Who is told what happens on connections. An error ends the run; its text is the sentence that the user reads.
pub(crate) trait Handler {
    /// The handshake is done.
    fn opened(&mut self, out: &mut Outgoing<'_>, now_ns: u64) -> io::Result<()>;

    /// A whole message came.
    fn message(&mut self, out: &mut Outgoing<'_>, kind: MessageKind, message: &[u8], now_ns: u64) -> io::Result<()>;

    /// Takes of what came, at a border of frames, those at the front that are just what was checked before; how many bytes that
    /// was. `is_deflating`: permessage-deflate was agreed, each message by itself. Who remembers nothing takes nothing.
    fn take_known(&mut self, _client: usize, _is_deflating: bool, _bytes: &[u8], _now_ns: u64) -> usize {
        0
    }

    /// The latest message was right, and `write` appends a frame that means the same.
    fn remember(&mut self, _is_deflating: bool, _write: impl FnOnce(&mut Vec<u8>)) {}

    /// A ping was answered.
    fn pong(&mut self, _client: usize, _now_ns: u64) {}

    /// The connection is over: refused, closed by the server, or broken. Not told of those that were closed here.
    fn ended(&mut self, client: usize, why: io::Error, _now_ns: u64) -> io::Result<()> {
        Err(io::Error::new(why.kind(), format!("connection {client}: {why}")))
    }
}

/// Why a connection is read no further.
pub(crate) enum Trouble {
    /// The connection is over; its handler is to be told.
    Lost(io::Error),
    /// The handler ends the run.
    Verdict(io::Error),
}

impl Trouble {
    pub(crate) fn lost(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Trouble {
        Trouble::Lost(io::Error::other(error))
    }
}

/// What may be said on a connection.
pub(crate) struct Outgoing<'a> {
    /// The connection's number on its worker.
    pub(crate) client: usize,
    bytes: &'a mut Vec<u8>,
    keys: &'a mut Keys,
    compression: &'a mut Compression,
}

/// What permessage-deflate came to.
#[derive(Default)]
struct Compression {
    agreed: Option<Agreement>,
    /// Made with the first message: most connections send none, and it is large.
    compressor: Option<Box<Compressor>>,
}

impl Compression {
    fn compressor(&mut self) -> Option<&mut Compressor> {
        let agreed = self.agreed?;
        let make = || Box::new(Compressor::new(agreed.window_bits(Role::Client), agreed.takes_over(Role::Client)));
        Some(self.compressor.get_or_insert_with(make))
    }
}

impl Outgoing<'_> {
    pub(crate) fn text(&mut self, payload: &[u8]) {
        self.message(Opcode::Text, payload);
    }

    pub(crate) fn binary(&mut self, payload: &[u8]) {
        self.message(Opcode::Binary, payload);
    }

    pub(crate) fn ping(&mut self, payload: &[u8]) {
        frame::write(self.bytes, Opcode::Ping, payload, Some(self.keys.next()));
    }

    /// Bytes that wait to be sent.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn message(&mut self, opcode: Opcode, payload: &[u8]) {
        let key = Some(self.keys.next());
        match self.compression.compressor() {
            None => frame::write(self.bytes, opcode, payload, key),
            Some(compressor) => {
                let mut compressed = Vec::new();
                compressor.compress(payload, &mut compressed);
                frame::write_compressed(self.bytes, opcode, &compressed, key);
            }
        }
    }
}

/// How far a connection has come.
#[derive(Debug)]
enum Stage {
    /// The socket connects.
    Connecting,
    /// The handshake is under way.
    Opening(Box<Opening>),
    Open,
    /// Of no more use: nothing that comes is looked at.
    Over,
}

#[derive(Debug)]
struct Opening {
    route: Arc<Route>,
    accept: handshake::Accept,
    nonce: [u8; 16],
    head: HeadReader,
}

pub(crate) struct Link {
    /// Its place in the ring.
    pub(crate) key: ClientKey,
    stage: Stage,
    route: Arc<Route>,
    websocket: Connection,
    assembler: Assembler,
    compression: Compression,
    tls: Option<Box<Tls>>,
    /// Frames to be sent; with TLS to be sealed first.
    plain: Vec<u8>,
    /// It stands in the engine's list of those who have something to send.
    pub(crate) is_queued: bool,
    /// Its socket is full, or connects.
    pub(crate) is_blocked: bool,
    /// A receive is armed, or about to be.
    pub(crate) is_reading: bool,
    /// Nothing is to be read for now.
    pub(crate) is_stalled: bool,
}

impl Link {
    /// A connection whose socket connects.
    pub(crate) fn new(key: ClientKey, route: Arc<Route>) -> io::Result<Link> {
        let tls = if route.url.secure { Some(Box::new(Tls::new(&route.url.authority)?)) } else { None };
        Ok(Link {
            key,
            stage: Stage::Connecting,
            route,
            websocket: Connection::new(Role::Client),
            assembler: Assembler::default(),
            compression: Compression::default(),
            tls,
            plain: Vec::new(),
            is_queued: false,
            is_blocked: true,
            is_reading: false,
            is_stalled: false,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting)
    }

    pub(crate) fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Connecting | Stage::Opening(_))
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// The socket is connected: asks for a WebSocket.
    pub(crate) fn begin(&mut self, keys: &mut Keys) {
        let nonce = keys.nonce();
        let accept = handshake::write_request(&mut self.plain, &self.route.request(nonce));
        let (route, head) = (self.route.clone(), HeadReader::new(16 << 10, 64));
        self.stage = Stage::Opening(Box::new(Opening { route, accept, nonce, head }));
        self.is_blocked = false;
    }

    /// Nothing more is looked at or said.
    pub(crate) fn end(&mut self) {
        self.stage = Stage::Over;
        (self.plain, self.tls, self.assembler, self.compression) = Default::default();
    }

    pub(crate) fn outgoing<'a>(&'a mut self, client: usize, keys: &'a mut Keys) -> Outgoing<'a> {
        Outgoing { client, bytes: &mut self.plain, keys, compression: &mut self.compression }
    }

    /// Whether there is something to send and a socket that takes it.
    pub(crate) fn is_due(&self) -> bool {
        let has_plain = !self.plain.is_empty();
        !self.is_blocked && self.tls.as_ref().map_or(has_plain, |tls| tls.has_to_send(has_plain))
    }

    /// Makes ready what [`wire`](Self::wire) shows.
    pub(crate) fn seal(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.seal(&mut self.plain))
    }

    /// What goes to the socket next.
    pub(crate) fn wire(&self) -> &[u8] {
        self.tls.as_ref().map_or(&self.plain, |tls| tls.wire())
    }

    /// So many bytes of it went.
    pub(crate) fn went(&mut self, bytes: usize) {
        match &mut self.tls {
            None => drop(self.plain.drain(..bytes)),
            Some(tls) => tls.went(bytes),
        }
    }

    /// Takes what came from the socket.
    pub(crate) fn receive<H: Handler>(
        &mut self,
        client: usize,
        bytes: &mut [u8],
        kit: &mut Kit,
        now_ns: u64,
        handler: &mut H,
    ) -> Result<(), Trouble> {
        let Some(mut tls) = self.tls.take() else { return self.receive_plain(client, bytes, kit, now_ns, handler) };
        let taken = tls.open(bytes, |plain| self.receive_plain(client, plain, kit, now_ns, handler));
        self.tls = Some(tls);
        taken
    }

    fn receive_plain<H: Handler>(
        &mut self,
        client: usize,
        mut bytes: &mut [u8],
        kit: &mut Kit,
        now_ns: u64,
        handler: &mut H,
    ) -> Result<(), Trouble> {
        match &mut self.stage {
            Stage::Open => {}
            Stage::Opening(opening) => match opening.head.feed(bytes).map_err(Trouble::lost)? {
                Progress::Partial => return Ok(()),
                Progress::Complete { consumed } => {
                    bytes = &mut bytes[consumed..];
                    self.open().map_err(Trouble::Lost)?;
                    handler.opened(&mut self.outgoing(client, &mut kit.keys), now_ns).map_err(Trouble::Verdict)?;
                }
            },
            Stage::Connecting | Stage::Over => return Ok(()),
        }
        loop {
            if let Some(is_deflating) = self.is_between_messages() {
                let taken = handler.take_known(client, is_deflating, bytes, now_ns);
                bytes = &mut bytes[taken..];
            }
            let Some((kind, header_bytes, frame_bytes)) = self.compressed_by_itself(bytes) else {
                match self.take_event(client, &mut bytes, None, kit, now_ns, handler)? {
                    true => continue,
                    false => return Ok(()),
                }
            };
            let mut frame;
            (frame, bytes) = bytes.split_at_mut(frame_bytes);
            let compressed = &frame[header_bytes..];
            let Some(message) = kit.inflated.get(kind, compressed) else {
                let compressed = compressed.to_vec();
                while self.take_event(client, &mut frame, Some(&compressed), kit, now_ns, handler)? {}
                continue;
            };
            let (bytes, keys, compression) = (&mut self.plain, &mut kit.keys, &mut self.compression);
            let mut out = Outgoing { client, bytes, keys, compression };
            handler.message(&mut out, kind, message, now_ns).map_err(Trouble::Verdict)?;
            handler.remember(true, |frame| frame::write_compressed(frame, opcode(kind), compressed, None));
        }
    }

    /// Whether permessage-deflate was agreed, where a frame that begins here means the same as on other such connections: no
    /// message has begun, and none takes over what was before.
    fn is_between_messages(&self) -> Option<bool> {
        let agreed = self.compression.agreed;
        let takes_over = agreed.is_some_and(|agreed| agreed.takes_over(Role::Server));
        (!takes_over && !self.websocket.inside_message()).then_some(agreed.is_some())
    }

    /// Kind, and bytes of the header and of the whole, of the frame at the front, if it is a whole message that was compressed by
    /// itself.
    fn compressed_by_itself(&self, bytes: &[u8]) -> Option<(MessageKind, usize, usize)> {
        self.is_between_messages().filter(|is_deflating| *is_deflating)?;
        let (header, header_bytes) = frame::decode(Role::Client, true, bytes).ok()??;
        let frame_bytes = header_bytes + usize::try_from(header.length).ok()?;
        let kind = match header.opcode {
            Opcode::Text => MessageKind::Text,
            Opcode::Binary => MessageKind::Binary,
            _ => return None,
        };
        (header.fin && header.compressed && frame_bytes <= bytes.len()).then_some((kind, header_bytes, frame_bytes))
    }

    /// Lets the protocol core have what came, up to its next event; false where it has none left. `compressed`: this is one message
    /// with this payload, which is to be remembered.
    fn take_event<H: Handler>(
        &mut self,
        client: usize,
        bytes: &mut &mut [u8],
        compressed: Option<&[u8]>,
        kit: &mut Kit,
        now_ns: u64,
        handler: &mut H,
    ) -> Result<bool, Trouble> {
        let Some(event) = self.websocket.next(&LIMITS, bytes).map_err(Trouble::lost)? else { return Ok(false) };
        match event {
            Event::Data { kind, bytes, first, last } => {
                if let Some(whole) = self.assembler.add(kind, bytes, first, last) {
                    if let Some(compressed) = compressed {
                        kit.inflated.keep(kind, compressed, &whole.bytes);
                    }
                    let is_deflating = self.compression.agreed.is_some();
                    let (bytes, keys, compression) = (&mut self.plain, &mut kit.keys, &mut self.compression);
                    let mut out = Outgoing { client, bytes, keys, compression };
                    handler.message(&mut out, kind, &whole.bytes, now_ns).map_err(Trouble::Verdict)?;
                    match compressed {
                        Some(bytes) => handler.remember(true, |frame| frame::write_compressed(frame, opcode(kind), bytes, None)),
                        None if is_deflating => {}
                        None => handler.remember(false, |frame| frame::write(frame, opcode(kind), &whole.bytes, None)),
                    }
                }
            }
            Event::Ping(payload) => frame::write(&mut self.plain, Opcode::Pong, &payload, Some(kit.keys.next())),
            Event::Pong(_) => handler.pong(client, now_ns),
            Event::Close(why) => {
                let closed = ClosedByServer(why.map(|(code, reason)| (code, reason.to_vec())));
                return Err(Trouble::Lost(io::Error::other(closed)));
            }
        }
        Ok(true)
    }

    /// The server's answer is whole: is it the right one?
    fn open(&mut self) -> io::Result<()> {
        let Stage::Opening(opening) = std::mem::replace(&mut self.stage, Stage::Open) else {
            unreachable!("only who waits for an answer gets one")
        };
        let response = opening.head.response().map_err(io::Error::other)?;
        let request = opening.route.request(opening.nonce);
        let chosen = handshake::check_response(&response, &opening.accept, &request).map_err(io::Error::other)?;
        if let Some(agreed) = &chosen.deflate {
            self.websocket = Connection::with_deflate(Role::Client, agreed);
            self.compression.agreed = Some(*agreed);
        }
        Ok(())
    }
}

/// What a message of this kind begins with.
fn opcode(kind: MessageKind) -> Opcode {
    match kind {
        MessageKind::Text => Opcode::Text,
        MessageKind::Binary => Opcode::Binary,
    }
}

/// The server's close frame, within an [`io::Error`].
#[derive(Debug)]
struct ClosedByServer(Option<(CloseCode, Vec<u8>)>);

impl fmt::Display for ClosedByServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => write!(f, "the server closed it without a code"),
            Some((code, reason)) if reason.is_empty() => write!(f, "the server closed it with {}", code.0),
            Some((code, reason)) => write!(f, "the server closed it with {} {}", code.0, reason.escape_ascii()),
        }
    }
}

impl std::error::Error for ClosedByServer {}

/// The code of the close frame that ended a connection, if one did and bore one.
pub(crate) fn close_code(why: &io::Error) -> Option<u16> {
    let closed: &ClosedByServer = why.get_ref()?.downcast_ref()?;
    closed.0.as_ref().map(|(code, _)| code.0)
}
