//! Inflates the messages of one peer, in bounded pieces.
//!
//! Without: frames and masks. Invariants: never more than the message's limit and one byte is inflated, whatever is promised;
//! each byte of text is looked at before the next piece is inflated.

use std::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::{TAIL, WINDOW_BITS_MAX};
use crate::ws::utf8::Utf8;
use crate::ws::{Limits, ProtocolError};

/// Most that is inflated before it is looked at.
const STEP_BYTES_MAX: usize = 16 << 10;

/// Least that room is made for at once.
const STEP_BYTES_MIN: usize = 1 << 10;

/// What a message may inflate to whatever its ratio: a short message of little variety is no bomb, and a context that is
/// taken over lets a message of some bytes stand for the last 32 KiB.
const FREE_OF_RATIO_BYTES: u32 = 64 << 10;

/// RFC 1951 3.2.6: a final block without content.
const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// Inflates one message, or one after the other where their context is taken over.
pub(in crate::ws) struct Inflater {
    stream: Inflate,
    take_over: bool,
    /// A compressed message has begun and not ended.
    inside: bool,
    /// A final block ended with the last byte that came.
    ended: bool,
    /// What was inflated and not yet told of.
    piece: Vec<u8>,
    compressed_bytes: u32,
    inflated_bytes: u32,
}

impl Inflater {
    pub(in crate::ws) fn new(take_over: bool) -> Self {
        Self {
            // The largest window reads what was written with any.
            stream: Inflate::new(false, WINDOW_BITS_MAX),
            take_over,
            inside: false,
            ended: false,
            piece: Vec::new(),
            compressed_bytes: 0,
            inflated_bytes: 0,
        }
    }

    /// Whether a compressed message has begun and not ended.
    pub(in crate::ws) fn is_inside(&self) -> bool {
        self.inside
    }

    /// A message begins.
    pub(in crate::ws) fn begin(&mut self) {
        (self.inside, self.ended, self.compressed_bytes, self.inflated_bytes) = (true, false, 0, 0);
    }

    /// The next bytes of the message as they came; `utf8` where it is text.
    pub(in crate::ws) fn feed(&mut self, bytes: &[u8], limits: &Limits, utf8: Option<&mut Utf8>) -> Result<(), ProtocolError> {
        self.piece.clear();
        self.inflate(bytes, limits, utf8)
    }

    /// The message's last byte was fed; what still comes of it is in the same piece.
    pub(in crate::ws) fn finish(&mut self, limits: &Limits, utf8: Option<&mut Utf8>) -> Result<(), ProtocolError> {
        self.inside = false;
        // RFC 7692 7.2.2: append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message, and
        // decompress. Not behind a final block that nothing follows (7.2.3.4 asks for an octet of 0x00 there, which some
        // leave out), and not to nothing at all.
        if self.compressed_bytes == 0 || self.ended {
            return Ok(());
        }
        self.inflate(&TAIL, limits, utf8)?;
        if self.take_over {
            // A block that the message's end cuts off cannot be told from a whole one without giving up the context. Who
            // cuts one off garbles only its own next message.
            return Ok(());
        }
        // Between two blocks, and only there, a final block without content ends the stream and brings nothing.
        let inflated = self.stream.total_out();
        let ended = self.stream.decompress(&FINAL_BLOCK, &mut [0], InflateFlush::NoFlush) == Ok(Status::StreamEnd);
        if ended && self.stream.total_out() == inflated { Ok(()) } else { Err(ProtocolError::DeflateBroken) }
    }

    /// What was inflated since the message began, or since it was last fed.
    pub(in crate::ws) fn piece(&mut self) -> &mut [u8] {
        &mut self.piece
    }

    /// Gives back the piece's memory.
    pub(in crate::ws) fn forget_piece(&mut self) {
        self.piece = Vec::new();
    }

    fn inflate(&mut self, mut input: &[u8], limits: &Limits, mut utf8: Option<&mut Utf8>) -> Result<(), ProtocolError> {
        loop {
            let room = limits.message_bytes_max.saturating_sub(self.inflated_bytes) as usize;
            // One byte more than may come shows that it would.
            let step = (input.len() * 4).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX).min(room + 1);
            let start = self.piece.len();
            self.piece.resize(start + step, 0);
            let (in_before, out_before) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(input, &mut self.piece[start..], InflateFlush::NoFlush);
            let used = (self.stream.total_in() - in_before) as usize;
            let inflated = (self.stream.total_out() - out_before) as usize;
            self.piece.truncate(start + inflated);
            input = &input[used..];
            self.compressed_bytes = self.compressed_bytes.saturating_add(used as u32);
            self.inflated_bytes = self.inflated_bytes.saturating_add(inflated as u32);
            // What came is judged before the error behind it, so that the answer is the same however the input is torn.
            if let Some(utf8) = &mut utf8 {
                let within = inflated.min(room);
                utf8.feed(&self.piece[start..start + within], false).map_err(|_| ProtocolError::TextNotUtf8)?;
            }
            if inflated > room {
                return Err(ProtocolError::MessageTooLong);
            }
            self.check_ratio(limits)?;
            match status.map_err(|_| ProtocolError::DeflateBroken)? {
                // RFC 1951 3.2.3: a final block ends its stream, up to the byte's end; RFC 7692 7.2.3.4: what follows is a new one.
                Status::StreamEnd => {
                    self.stream.reset(false);
                    self.ended = input.is_empty();
                    if self.ended {
                        return Ok(());
                    }
                }
                Status::Ok | Status::BufError => {
                    self.ended &= used == 0;
                    if input.is_empty() && inflated < step {
                        return Ok(());
                    }
                    if used == 0 && inflated == 0 {
                        return Err(ProtocolError::DeflateBroken);
                    }
                }
            }
        }
    }

    fn check_ratio(&self, limits: &Limits) -> Result<(), ProtocolError> {
        let most = u64::from(self.compressed_bytes) * u64::from(limits.inflate_ratio_max);
        let over = self.inflated_bytes > FREE_OF_RATIO_BYTES && u64::from(self.inflated_bytes) > most;
        if over { Err(ProtocolError::InflateRatio) } else { Ok(()) }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inflater { take_over, inside, compressed_bytes, inflated_bytes, .. } = self;
        write!(f, "Inflater({take_over}, {inside}, {compressed_bytes} to {inflated_bytes} bytes)")
    }
}
