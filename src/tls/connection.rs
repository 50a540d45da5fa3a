//! One client's TLS: records opened, bytes sealed.
//!
//! rustls' state machine is asked again after every answer until it wants nothing: what it has to say (handshake, tickets,
//! alerts, answers to key updates) goes to the pending bytes, what it opened to the caller. It is always shown the input
//! that it has not taken yet, also when something is sealed, as it may remember places in it.

use rustls::Error;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};

/// The longest record on the wire, RFC 8446 5.2 and RFC 5246 6.2.3: 2^14 bytes, what a cipher may add, the header.
const RECORD_BYTES_MAX: usize = (1 << 14) + 2048 + 5;

/// What sealing adds to a record at most (RFC 5246: header, explicit nonce, tag; RFC 8446: header, type, tag), and room for
/// an answer to a key update and an update of our own before it.
const RECORD_EXTRA_BYTES_MAX: usize = 64;
const KEY_UPDATES_BYTES_MAX: usize = 128;

/// Why input could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The first byte is that of an HTTP method, not of TLS.
    #[error("plain HTTP was sent to a TLS port")]
    PlainHttp,
    /// The handshake was refused, or the peer broke the protocol; an alert is pending.
    #[error(transparent)]
    Tls(#[from] Error),
    /// More than may be kept of what is not whole.
    #[error("more than {0} bytes of one record or handshake message")]
    TooLong(usize),
}

/// Nothing can be sealed: the handshake is not done, the connection is over, or its keys are used up (TLS 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TLS connection takes no more bytes")]
pub struct SealError;

/// Room that [`Tls::seal`] needs for so many bytes.
#[must_use]
pub const fn sealed_bytes_max(plain_bytes: usize) -> usize {
    plain_bytes + (plain_bytes / (1 << 14) + 1) * RECORD_EXTRA_BYTES_MAX + KEY_UPDATES_BYTES_MAX
}

/// One client's connection.
pub struct Tls {
    connection: UnbufferedServerConnection,
    /// Input that is no whole record or handshake message yet.
    torn: Vec<u8>,
    /// For the peer, before anything else.
    pending: Vec<u8>,
    pending_sent: usize,
    handshake_bytes_max: usize,
    stage: Stage,
    /// The peer said close_notify.
    ended: bool,
    /// We did.
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing came yet.
    Fresh,
    Handshake,
    Open,
    /// Of no use any more but for what is pending.
    Failed,
}

impl Tls {
    pub(super) fn new(connection: UnbufferedServerConnection, handshake_bytes_max: usize) -> Tls {
        let (torn, pending) = (Vec::new(), Vec::new());
        Tls { connection, torn, pending, pending_sent: 0, handshake_bytes_max, stage: Stage::Fresh, ended: false, closed: false }
    }

    /// Takes all of the input: appends what it opens to `plain`, keeps what is not whole. The input is changed.
    ///
    /// # Errors
    /// [`OpenError`]: nothing more can be opened or sealed; what was opened before is in `plain`.
    pub fn open(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<(), OpenError> {
        // RFC 8446 6.1: "Any data received after a closure alert has been received MUST be ignored." After ours nobody is left
        // who would take it.
        if self.ended || self.closed || self.stage == Stage::Failed {
            return Ok(());
        }
        let Some(&first) = input.first() else { return Ok(()) };
        // The type of a TLS record is far below the letters.
        if self.stage == Stage::Fresh && first.is_ascii_uppercase() {
            self.stage = Stage::Failed;
            return Err(OpenError::PlainHttp);
        }
        let opened = self.open_torn(input, plain);
        self.stage = match (&opened, self.connection.is_handshaking()) {
            (Err(_), _) => Stage::Failed,
            (Ok(()), true) => Stage::Handshake,
            (Ok(()), false) => Stage::Open,
        };
        if self.ended || self.stage == Stage::Failed {
            self.torn = Vec::new();
        }
        opened
    }

    fn open_torn(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<(), OpenError> {
        if self.torn.is_empty() {
            let taken = self.process(input, plain)?;
            self.torn.extend_from_slice(&input[taken..]);
        } else {
            let mut torn = std::mem::take(&mut self.torn);
            torn.extend_from_slice(input);
            let taken = self.process(&mut torn, plain)?;
            self.torn = if taken == 0 { torn } else { torn[taken..].to_vec() };
        }
        let max = if self.connection.is_handshaking() { self.handshake_bytes_max } else { RECORD_BYTES_MAX };
        if self.torn.len() > max { Err(OpenError::TooLong(max)) } else { Ok(()) }
    }

    /// Lets rustls take of the input what it can; gives how much that was.
    fn process(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, Error> {
        let mut taken = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut input[taken..]);
            let mut blocked = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.pending),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                // Early data is not taken (`max_early_data_size` is 0), so it never comes to that state.
                Ok(_) => blocked = true,
                Err(error) => {
                    self.take_alert(&mut input[taken + discard..]);
                    return Err(error);
                }
            }
            taken += discard;
            if blocked {
                return Ok(taken);
            }
        }
    }

    /// After an error: what rustls has to say about it. It is not asked further than that, as it would go on with the input.
    fn take_alert(&mut self, input: &mut [u8]) {
        while self.connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(data)) = self.connection.process_tls_records(input).state
        {
            encode(data, &mut self.pending);
        }
    }

    /// Seals bytes for the peer into the front of `out`, which has [`sealed_bytes_max`]; gives how many it took.
    ///
    /// # Errors
    /// [`SealError`]; nothing can be sealed from then on.
    pub fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        if self.stage != Stage::Open || self.closed {
            return Err(SealError);
        }
        let sealed = match self.connection.process_tls_records(&mut self.torn).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.encrypt(plain, out).ok(),
            _ => None,
        };
        if sealed.is_none() {
            self.stage = Stage::Failed;
        }
        sealed.ok_or(SealError)
    }

    /// Says close_notify, behind what is pending: nothing is sealed any more. Once; in the middle of a handshake it just ends.
    pub fn close(&mut self) {
        if self.stage != Stage::Open || std::mem::replace(&mut self.closed, true) {
            self.stage = if self.is_handshaking() { Stage::Failed } else { self.stage };
            return;
        }
        let mut out = [0; RECORD_EXTRA_BYTES_MAX + KEY_UPDATES_BYTES_MAX];
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = self.connection.process_tls_records(&mut self.torn).state
            && let Ok(bytes) = traffic.queue_close_notify(&mut out)
        {
            self.pending.extend_from_slice(&out[..bytes]);
        }
    }

    /// Whether the handshake is under way, or has not begun.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        matches!(self.stage, Stage::Fresh | Stage::Handshake)
    }

    /// Whether bytes can be sealed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open && !self.closed
    }

    /// Whether the peer said that it sends no more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// What must go to the peer before anything that is sealed from now on.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.pending[self.pending_sent..]
    }

    /// So many of the pending bytes went.
    pub fn pending_went(&mut self, bytes: usize) {
        self.pending_sent += bytes;
        if self.pending_sent == self.pending.len() {
            // An idle client holds no buffer.
            self.pending = Vec::new();
            self.pending_sent = 0;
        }
    }

    /// Keeps the end of what was sealed, which the socket did not take.
    pub fn keep(&mut self, sealed: &[u8]) {
        debug_assert!(self.pending.is_empty(), "nothing is sealed while something is pending");
        self.pending.extend_from_slice(sealed);
    }

    /// Bytes that it keeps beside rustls' own.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.torn.capacity() + self.pending.capacity()
    }
}

/// Appends a message of rustls' own.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, pending: &mut Vec<u8>) {
    let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else { return };
    let start = pending.len();
    pending.resize(start + size.required_size, 0);
    data.encode(&mut pending[start..]).expect("it has the room that it asked for");
}
