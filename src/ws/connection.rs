//! Pulls events out of received bytes: frames in order, unmasked in place, text checked as it comes in.
//!
//! Without: memory per message. Payloads are handed out as pieces of the input they came in; only a control frame that
//! the input tears is kept, in a box, until its rest is there. An inflater, in a box too, exists inside of a compressed message
//! only, or as long as its context is taken over; it owns the pieces that it inflates. Without the close handshake and pongs,
//! too: the events say that they are due.
//!
//! Invariants: a length is refused when its header is read, before anything is kept for it. What the events say does not
//! depend on how the input is torn, only into how many pieces a message falls.

use std::mem;
use std::ops::Deref;

use super::deflate::{Agreement, Inflater};
use super::frame::{self, CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode};
use super::utf8::Utf8;
use super::{CloseCode, ProtocolError, close, mask};

/// Which side of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We accepted it: what comes in is masked, what goes out is not.
    Server,
    /// We opened it: what goes out is masked, what comes in is not.
    Client,
}

/// Bounds on one message; the same for many clients, so they are lent to each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message, all its fragments together, inflated.
    pub message_bytes_max: u32,
    /// Most fragments of one message; a message in one frame has one.
    pub fragments_max: u32,
    /// How many times its own bytes a compressed message may inflate to, beyond the first 64 KiB.
    pub inflate_ratio_max: u32,
}

impl Limits {
    /// Longest compressed message as it comes. Where DEFLATE gains nothing it adds to a message, at the worst settings of
    /// zlib less than a sixth, and five bytes for each flush.
    fn compressed_bytes_max(&self) -> u32 {
        self.message_bytes_max.saturating_add(self.message_bytes_max / 4).saturating_add(1024)
    }
}

/// The two kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// The next piece of a message. A message that lies whole in the input is one piece.
    Data {
        /// Text or binary, the same for all pieces of a message.
        kind: MessageKind,
        /// The payload, unmasked. Text is UTF-8 so far; a piece may end inside of a code point.
        bytes: &'b mut [u8],
        /// The message begins here.
        first: bool,
        /// The message ends here.
        last: bool,
    },
    /// A pong with the same payload is owed.
    Ping(Control),
    /// The answer to a ping, or unasked for.
    Pong(Control),
    /// The peer closes: its code and reason (UTF-8), if it gave them. A close frame is owed, unless it answers ours.
    /// RFC 6455 1.4: what follows is discarded, so nothing more is read.
    Close(Option<(CloseCode, Control)>),
}

/// The payload of a control frame, by value: at most 125 bytes.
#[derive(Clone, Copy)]
pub struct Control {
    length: u8,
    bytes: [u8; CONTROL_BYTES_MAX],
}

impl Control {
    /// A payload of at most 125 bytes; more is a mistake of the caller.
    pub fn new(bytes: &[u8]) -> Self {
        let mut control = Self { length: 0, bytes: [0; CONTROL_BYTES_MAX] };
        control.extend(bytes);
        control
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let start = usize::from(self.length);
        let end = start + bytes.len();
        self.bytes[start..end].copy_from_slice(bytes);
        self.length = end as u8;
    }
}

impl Deref for Control {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl PartialEq for Control {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Control {}

impl std::fmt::Debug for Control {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Control(\"{}\")", self.escape_ascii())
    }
}

/// The receiving half of a connection: where its stream of frames stands.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    compression: Compression,
    /// The kind of the message that has begun and not ended.
    message: Option<MessageKind>,
    /// No piece of it has been handed out.
    first: bool,
    /// The torn code point of a text.
    utf8: Utf8,
    /// Bytes of the message, as far as headers announced them.
    message_bytes: u32,
    fragments: u32,
    frame: Frame,
    inflater: Option<Box<Inflater>>,
}

// One per client, hundreds of thousands of them.
const _: () = assert!(size_of::<Connection>() <= 48);

/// What was agreed on the peer's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Never,
    EachByItself,
    TakenOver,
}

/// Where the stream stands inside of a frame.
#[derive(Debug)]
enum Frame {
    /// Before or inside of a header, of which so much has come.
    Header { torn: [u8; HEADER_BYTES_MAX - 1], length: u8 },
    /// Inside of a data frame's payload.
    Data(DataRest),
    /// Inside of a control frame's payload.
    Control { opcode: Opcode, remaining: u8, key: Option<[u8; 4]>, torn: Box<Control> },
}

impl Frame {
    const START: Self = Self::Header { torn: [0; HEADER_BYTES_MAX - 1], length: 0 };
}

/// What is still to come of a data frame's payload.
#[derive(Clone, Copy, Debug)]
struct DataRest {
    remaining: u32,
    /// As it stands at the first byte that is to come.
    key: Option<[u8; 4]>,
    fin: bool,
}

/// What a look at a data frame's payload came to.
enum Step<'b> {
    /// There is nothing to tell yet.
    More,
    /// A piece of the message, in the input.
    Piece { bytes: &'b mut [u8], last: bool },
    /// The inflater has a piece.
    Inflated { last: bool },
}

impl Connection {
    /// A connection whose handshake is done; `role` is ours.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            compression: Compression::Never,
            message: None,
            first: false,
            utf8: Utf8::default(),
            message_bytes: 0,
            fragments: 0,
            frame: Frame::START,
            inflater: None,
        }
    }

    /// The same, with permessage-deflate as agreed in the handshake.
    pub fn with_deflate(role: Role, agreed: &Agreement) -> Self {
        let peer = match role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        let compression = if agreed.takes_over(peer) { Compression::TakenOver } else { Compression::EachByItself };
        Self { compression, ..Self::new(role) }
    }

    /// The next event of the input, unmasked in place; `input` advances past what was used. None: the input is used up.
    /// After an error the stream has no meaning any more and nothing must be read.
    pub fn next<'s, 'b: 's>(&'s mut self, limits: &Limits, input: &mut &'b mut [u8]) -> Result<Option<Event<'s>>, ProtocolError> {
        self.forget_piece();
        let last = loop {
            let rest = match &self.frame {
                Frame::Header { .. } => {
                    let Some(header) = self.read_header(input)? else { return Ok(None) };
                    if header.opcode.is_control() {
                        return self.begin_control(header, input);
                    }
                    self.begin_data(limits, header)?
                }
                _ if input.is_empty() => return Ok(None),
                Frame::Data(rest) => {
                    let rest = *rest;
                    self.frame = Frame::START;
                    rest
                }
                Frame::Control { .. } => return self.read_control(input),
            };
            match self.read_data(limits, rest, input)? {
                Step::More => {}
                Step::Piece { bytes, last } => {
                    let (kind, first) = self.end_piece(last)?;
                    return Ok(Some(Event::Data { kind, bytes, first, last }));
                }
                Step::Inflated { last } => break last,
            }
        };
        let (kind, first) = self.end_piece(last)?;
        let inflater = self.inflater.as_mut().expect("what was inflated is with the inflater");
        Ok(Some(Event::Data { kind, bytes: inflater.piece(), first, last }))
    }

    /// Gives back the memory of the last event, if it was inflated; [`next`](Self::next) does it too. For who may not come
    /// back for long.
    pub fn forget_piece(&mut self) {
        let Some(inflater) = self.inflater.as_mut().filter(|inflater| !inflater.is_inside()) else { return };
        match self.compression {
            Compression::TakenOver => inflater.forget_piece(),
            Compression::EachByItself | Compression::Never => self.inflater = None,
        }
    }

    /// True from the first byte of a frame, or of a message, to the end of the message: something is unfinished, and a
    /// deadline should run.
    pub fn inside_message(&self) -> bool {
        self.message.is_some() || !matches!(self.frame, Frame::Header { length: 0, .. })
    }

    /// Whether nothing is left of what came: a new connection would take what follows in the same way.
    pub fn is_fresh(&self) -> bool {
        !self.inside_message() && self.inflater.is_none()
    }

    /// A whole header, or none and the input is used up.
    fn read_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, ProtocolError> {
        if let Frame::Header { length: 0, .. } = self.frame
            && let Some((header, header_bytes)) = frame::decode(self.role, self.compression != Compression::Never, input)?
        {
            take(input, header_bytes);
            return Ok(Some(header));
        }
        self.read_torn_header(input)
    }

    /// The same where the input tears it.
    #[cold]
    fn read_torn_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, ProtocolError> {
        let deflate = self.compression != Compression::Never;
        let Frame::Header { torn, length } = &mut self.frame else { unreachable!("read only before a header's end") };
        let before = usize::from(*length);
        let mut joined = [0; HEADER_BYTES_MAX];
        joined[..before].copy_from_slice(&torn[..before]);
        let added = input.len().min(HEADER_BYTES_MAX - before);
        joined[before..before + added].copy_from_slice(&input[..added]);
        let decoded = frame::decode(self.role, deflate, &joined[..before + added])?;
        let (header, used) = match decoded {
            Some((header, header_bytes)) => {
                *length = 0;
                (Some(header), header_bytes - before)
            }
            None => {
                *length = (before + added) as u8;
                *torn = *joined.first_chunk().expect("a torn header is shorter than the longest one");
                (None, added)
            }
        };
        take(input, used);
        Ok(header)
    }

    /// Checks a data frame against its message.
    fn begin_data(&mut self, limits: &Limits, header: Header) -> Result<DataRest, ProtocolError> {
        match (header.opcode, self.message) {
            // RFC 6455 5.4: a fragmented message consists of a frame with an opcode other than 0, followed by zero or more
            // frames with the opcode set to 0; the fragments MUST NOT be interleaved with those of another message.
            (Opcode::Continuation, Some(_)) => {}
            (Opcode::Continuation, None) => return Err(ProtocolError::ContinuationUnexpected),
            (_, Some(_)) => return Err(ProtocolError::MessageInterleaved),
            (Opcode::Text, None) => self.begin_message(MessageKind::Text, header.compressed),
            (_, None) => self.begin_message(MessageKind::Binary, header.compressed),
        }
        self.fragments += 1;
        if self.fragments > limits.fragments_max {
            return Err(ProtocolError::TooManyFragments);
        }
        // Compared before it is added, so that no length overflows.
        let most = if self.is_inflating() { limits.compressed_bytes_max() } else { limits.message_bytes_max };
        let room = most.saturating_sub(self.message_bytes);
        if header.length > u64::from(room) {
            return Err(ProtocolError::MessageTooLong);
        }
        let length = u32::try_from(header.length).expect("a length within message_bytes_max, which is a u32");
        self.message_bytes += length;
        Ok(DataRest { remaining: length, key: header.mask, fin: header.fin })
    }

    fn begin_message(&mut self, kind: MessageKind, compressed: bool) {
        (self.message, self.first, self.message_bytes, self.fragments) = (Some(kind), true, 0, 0);
        if compressed {
            let take_over = self.compression == Compression::TakenOver;
            self.inflater.get_or_insert_with(|| Box::new(Inflater::new(take_over))).begin();
        }
    }

    /// Whether the message is compressed.
    fn is_inflating(&self) -> bool {
        self.inflater.as_ref().is_some_and(|inflater| inflater.is_inside())
    }

    /// What is there of a data frame's payload.
    fn read_data<'b>(&mut self, limits: &Limits, rest: DataRest, input: &mut &'b mut [u8]) -> Result<Step<'b>, ProtocolError> {
        let DataRest { remaining, key, fin } = rest;
        let available = input.len().min(remaining as usize);
        let bytes = take(input, available);
        let behind = remaining - available as u32;
        if behind > 0 {
            let key = key.map(|key| mask::rotate(key, available));
            self.frame = Frame::Data(DataRest { remaining: behind, key, fin });
        }
        let last = fin && behind == 0;
        if bytes.is_empty() && !last {
            return Ok(Step::More);
        }
        if self.is_inflating() {
            return self.inflate(limits, bytes, key, last);
        }
        match (self.message, key) {
            // RFC 6455 8.1: text that is not UTF-8 fails the connection; here at its first bad byte, also mid-message.
            (Some(MessageKind::Text), Some(key)) => self.utf8.unmask(bytes, key, last).map_err(|_| ProtocolError::TextNotUtf8)?,
            (Some(MessageKind::Text), None) => self.utf8.feed(bytes, last).map_err(|_| ProtocolError::TextNotUtf8)?,
            (_, Some(key)) => mask::unmask(bytes, key),
            (_, None) => {}
        }
        Ok(Step::Piece { bytes, last })
    }

    /// Unmasks and inflates a piece of the message. RFC 7692 6: text is UTF-8 once it is inflated.
    #[inline(never)]
    fn inflate<'b>(
        &mut self,
        limits: &Limits,
        bytes: &mut [u8],
        key: Option<[u8; 4]>,
        last: bool,
    ) -> Result<Step<'b>, ProtocolError> {
        if let Some(key) = key {
            mask::unmask(bytes, key);
        }
        let is_text = self.message == Some(MessageKind::Text);
        let inflater = self.inflater.as_mut().expect("a compressed message has its inflater");
        inflater.feed(bytes, limits, is_text.then_some(&mut self.utf8))?;
        if last {
            inflater.finish(limits, is_text.then_some(&mut self.utf8))?;
        }
        if last || !inflater.piece().is_empty() { Ok(Step::Inflated { last }) } else { Ok(Step::More) }
    }

    /// Kind of the message, and whether this was its first piece.
    fn end_piece(&mut self, last: bool) -> Result<(MessageKind, bool), ProtocolError> {
        let kind = self.message.expect("a piece belongs to a message");
        let first = mem::replace(&mut self.first, false);
        if last {
            self.message = None;
            self.utf8.finish().map_err(|_| ProtocolError::TextNotUtf8)?;
        }
        Ok((kind, first))
    }

    /// Reads a control frame at once if it lies whole in the input.
    fn begin_control<'b>(&mut self, header: Header, input: &mut &mut [u8]) -> Result<Option<Event<'b>>, ProtocolError> {
        let length = u8::try_from(header.length).expect("a control frame has at most 125 bytes");
        let Header { opcode, mask: key, .. } = header;
        if usize::from(length) <= input.len() {
            let payload = take(input, usize::from(length));
            if let Some(key) = key {
                mask::unmask(payload, key);
            }
            return control_event(opcode, payload).map(Some);
        }
        self.frame = Frame::Control { opcode, remaining: length, key, torn: Box::new(Control::new(&[])) };
        self.read_control(input)
    }

    /// The rest of a control frame that the input tore.
    fn read_control<'b>(&mut self, input: &mut &mut [u8]) -> Result<Option<Event<'b>>, ProtocolError> {
        let Frame::Control { opcode, remaining, key, torn } = &mut self.frame else {
            unreachable!("read only inside of a control frame")
        };
        let available = input.len().min(usize::from(*remaining));
        let bytes = take(input, available);
        *remaining -= available as u8;
        if let Some(key) = key {
            mask::unmask(bytes, *key);
            *key = mask::rotate(*key, available);
        }
        torn.extend(bytes);
        if *remaining > 0 {
            return Ok(None);
        }
        let event = control_event(*opcode, torn)?;
        self.frame = Frame::START;
        Ok(Some(event))
    }
}

fn control_event<'b>(opcode: Opcode, payload: &[u8]) -> Result<Event<'b>, ProtocolError> {
    Ok(match opcode {
        Opcode::Ping => Event::Ping(Control::new(payload)),
        Opcode::Pong => Event::Pong(Control::new(payload)),
        Opcode::Close => Event::Close(close::parse(payload)?),
        Opcode::Continuation | Opcode::Text | Opcode::Binary => unreachable!("data frames have their own path"),
    })
}

/// Cuts the first `length` bytes off the input.
fn take<'b>(input: &mut &'b mut [u8], length: usize) -> &'b mut [u8] {
    let (taken, rest) = mem::take(input).split_at_mut(length);
    *input = rest;
    taken
}

#[cfg(test)]
mod tests;
