//! Segments as bytes: a header, then records back to back. All numbers are little endian.
//!
//! | header | bytes | |
//! | --- | --- | --- |
//! | magic | 8 | `tidejrnl` |
//! | version | 2 | 1 |
//! | length | 2 | of the whole header |
//! | checksum | 4 | CRC-32 of all that follows in the header |
//! | created | 8 | microseconds since 1970 |
//! | first offset | 8 | that of the first record; what earlier segments hold from there on does not count |
//! | boot | 16 | of the machine's start in which it was written |
//! | epoch, topic | 1 + n each | length and text |
//!
//! | record | bytes | |
//! | --- | --- | --- |
//! | mark | 4 | `TGRC` |
//! | head checksum | 4 | CRC-32 of the head's bytes behind it |
//! | body length, body checksum | 4 + 4 | CRC-32 |
//! | offset, time | 8 + 8 | time of ingest, microseconds since 1970 |
//! | kind | 1 | 0 binary, 1 text, 2 JSON, 3 the end of a segment that was closed in order |
//! | flags | 1 | 1 has a key, 2 removes it, 4 the feed lost messages before it, 8 it is known how many |
//! | key length, 0 | 1 + 1 | |
//! | body | | how many messages were lost (8, where flagged), key, payload |
//!
//! Beside the segments a file `newest` names the newest position that may have been told, so that a segment whose end is missing is found out
//! whatever took it.
//!
//! Without: files. The head has a checksum of its own, so that a length is to be trusted before its bytes are there: a record whose
//! head is right and whose body ends with the file was cut off, all else that is wrong is rot.

use bytes::Bytes;

use crate::hub::{Epoch, Key, Marks, Payload, PayloadKind, Position, Publication, SourceGap, TopicName};

/// What a segment begins with.
pub const MAGIC: [u8; 8] = *b"tidejrnl";
/// The version that is written, and the newest that is read.
pub const VERSION: u16 = 1;
/// Bytes of a header up to its variable part.
const HEADER_FIXED_BYTES: usize = 16;
/// No header is longer.
pub const HEADER_BYTES_MAX: usize = HEADER_FIXED_BYTES + 32 + 1 + 16 + 1 + 255;
/// What a record begins with.
const MARK: [u8; 4] = *b"TGRC";
/// Bytes of a record before its body.
pub const HEAD_BYTES: usize = 36;
/// No body is longer: the largest publication that can be configured, its key, its gap.
const BODY_BYTES_MAX: u32 = (64 << 20) + 1024;

const KIND_BINARY: u8 = 0;
const KIND_TEXT: u8 = 1;
const KIND_JSON: u8 = 2;
const KIND_CLOSED: u8 = 3;

const HAS_KEY: u8 = 1;
const REMOVES: u8 = 2;
const HAS_GAP: u8 = 4;
const GAP_IS_KNOWN: u8 = 8;

/// One start of the machine, as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// Reads `/proc/sys/kernel/random/boot_id`'s text: 32 hexadecimal digits, with hyphens between.
    #[must_use]
    pub fn parse(text: &str) -> Option<BootId> {
        let digits: Vec<u8> = text.trim().bytes().filter(|byte| *byte != b'-').collect();
        let mut id = [0; 16];
        if digits.len() != 32 {
            return None;
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(BootId(id))
    }
}

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose publications it holds.
    pub topic: TopicName,
    /// Of which count.
    pub epoch: Epoch,
    /// Offset of its first record.
    pub first: u64,
    /// When it was begun, microseconds since 1970.
    pub created_us: u64,
    /// In which start of the machine.
    pub boot: BootId,
}

/// Why bytes are no segment, or not one to this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It begins with something else.
    #[error("it is no journal: a journal begins with \"tidejrnl\"")]
    Magic,
    /// Written by a later release.
    #[error("it is of version {0}, and this release reads up to version 1; use the release that wrote it")]
    Version(u16),
    /// The header is damaged.
    #[error("its header is damaged")]
    Header,
    /// No record where one should begin.
    #[error("no record begins here")]
    Mark,
    /// The head is damaged.
    #[error("a record's head does not match its checksum")]
    Head,
    /// The body is damaged.
    #[error("a record's body does not match its checksum")]
    Body,
    /// Checksums are right and what they cover cannot be.
    #[error("a record says what no record can say")]
    Sense,
    /// Records count up one by one.
    #[error("offset {found} stands where {expected} should")]
    Offset {
        /// What should be there.
        expected: u64,
        /// What is.
        found: u64,
    },
    /// Something follows the end.
    #[error("something follows the segment's end")]
    Behind,
}

/// One thing that a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A publication.
    Publication(Publication),
    /// It was closed in order: all before is on disk, and nothing was delivered that it does not hold.
    Closed,
}

/// What the bytes at some place are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// This, in so many bytes.
    Whole(T, usize),
    /// The beginning of it: at least so many bytes are needed, of which some are not there.
    Cut(usize),
}

/// Appends a segment's header.
pub fn put_header(header: &Header, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&header.created_us.to_le_bytes());
    out.extend_from_slice(&header.first.to_le_bytes());
    out.extend_from_slice(&header.boot.0);
    for text in [header.epoch.as_str(), header.topic.as_str()] {
        out.push(u8::try_from(text.len()).expect("epochs and topics are short"));
        out.extend_from_slice(text.as_bytes());
    }
    let length = u16::try_from(out.len() - start).expect("a header is short");
    let checksum = crc32fast::hash(&out[start + HEADER_FIXED_BYTES..]);
    out[start + 10..start + 12].copy_from_slice(&length.to_le_bytes());
    out[start + 12..start + 16].copy_from_slice(&checksum.to_le_bytes());
}

/// Appends a publication's record.
pub fn put_publication(publication: &Publication, out: &mut Vec<u8>) {
    let Publication { offset, unix_us, payload, marks } = publication;
    let mut body = Vec::with_capacity(payload.bytes.len() + 64);
    let mut flags = 0;
    if let Some(SourceGap { messages }) = marks.gap {
        flags |= HAS_GAP | if messages.is_some() { GAP_IS_KNOWN } else { 0 };
        body.extend_from_slice(&messages.unwrap_or_default().to_le_bytes());
    }
    let key = marks.key.as_ref().map_or("", Key::as_str);
    flags |= if key.is_empty() { 0 } else { HAS_KEY } | if marks.removes { REMOVES } else { 0 };
    body.extend_from_slice(key.as_bytes());
    body.extend_from_slice(&payload.bytes);
    let kind = match payload.kind {
        PayloadKind::Binary => KIND_BINARY,
        PayloadKind::Text => KIND_TEXT,
        PayloadKind::Json => KIND_JSON,
    };
    put_record(*offset, *unix_us, [kind, flags, key.len() as u8, 0], &body, out);
}

/// Appends the end of a segment that is closed in order; `newest` is the position that it ends at.
pub fn put_closed(newest: Position, out: &mut Vec<u8>) {
    put_record(newest.offset, 0, [KIND_CLOSED, 0, 0, 0], &[], out);
}

/// Bytes of a topic's newest position, in a file of its own.
pub const NEWEST_BYTES: usize = 32;

/// In place of a newest offset: publications of this epoch were delivered that no segment holds.
pub const UNWRITTEN: u64 = u64::MAX;

/// A topic's newest position: offset, epoch, zeros, CRC-32.
#[must_use]
pub fn newest(position: Position) -> [u8; NEWEST_BYTES] {
    let mut bytes = [0; NEWEST_BYTES];
    let epoch = position.epoch.as_str().as_bytes();
    bytes[..8].copy_from_slice(&position.offset.to_le_bytes());
    bytes[8..8 + epoch.len()].copy_from_slice(epoch);
    let checksum = crc32fast::hash(&bytes[..28]);
    bytes[28..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads what [`newest`] gives; `None` where it is damaged.
#[must_use]
pub fn read_newest(bytes: &[u8]) -> Option<Position> {
    if bytes.len() != NEWEST_BYTES || crc32fast::hash(&bytes[..28]) != u32_at(bytes, 28) {
        return None;
    }
    let epoch = std::str::from_utf8(&bytes[8..24]).ok()?.trim_end_matches('\0');
    Some(Position { epoch: Epoch::parse(epoch)?, offset: u64_at(bytes, 0) })
}

fn put_record(offset: u64, unix_us: u64, about: [u8; 4], body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u32::try_from(body.len()).expect("a publication is far below 4 GiB").to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&unix_us.to_le_bytes());
    out.extend_from_slice(&about);
    let checksum = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(body);
}

/// Reads a header from the first bytes of a file.
///
/// # Errors
/// [`Fault`] where it is none, damaged, or of a newer version.
pub fn header(bytes: &[u8]) -> Result<Parsed<Header>, Fault> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(Fault::Magic);
    }
    if bytes.len() >= 10 {
        let version = u16_at(bytes, 8);
        if version == 0 || version > VERSION {
            return Err(Fault::Version(version));
        }
    }
    if bytes.len() < HEADER_FIXED_BYTES {
        return Ok(Parsed::Cut(HEADER_FIXED_BYTES));
    }
    let length = usize::from(u16_at(bytes, 10));
    if !(HEADER_FIXED_BYTES + 36..=HEADER_BYTES_MAX).contains(&length) {
        return Err(Fault::Header);
    }
    if bytes.len() < length {
        return Ok(Parsed::Cut(length));
    }
    let rest = &bytes[HEADER_FIXED_BYTES..length];
    if crc32fast::hash(rest) != u32_at(bytes, 12) {
        return Err(Fault::Header);
    }
    let text = |from: usize| {
        let length = usize::from(*rest.get(from)?);
        Some((std::str::from_utf8(rest.get(from + 1..from + 1 + length)?).ok()?, from + 1 + length))
    };
    let (epoch, after) = text(32).ok_or(Fault::Header)?;
    let (topic, end) = text(after).ok_or(Fault::Header)?;
    let parsed = Epoch::parse(epoch)
        .zip(TopicName::parse(topic).ok())
        .filter(|_| end == rest.len() && (1..=1 << 53).contains(&u64_at(rest, 8)));
    let (epoch, topic) = parsed.ok_or(Fault::Header)?;
    let boot = BootId(rest[16..32].try_into().expect("they are sixteen"));
    Ok(Parsed::Whole(Header { topic, epoch, first: u64_at(rest, 8), created_us: u64_at(rest, 0), boot }, length))
}

/// Reads the record that begins with these bytes.
///
/// # Errors
/// [`Fault`] where none does.
pub fn record(bytes: &[u8]) -> Result<Parsed<(u64, Entry)>, Fault> {
    let known = bytes.len().min(MARK.len());
    if bytes[..known] != MARK[..known] {
        return Err(Fault::Mark);
    }
    if bytes.len() < HEAD_BYTES {
        return Ok(Parsed::Cut(HEAD_BYTES));
    }
    if crc32fast::hash(&bytes[8..HEAD_BYTES]) != u32_at(bytes, 4) {
        return Err(Fault::Head);
    }
    let length = u32_at(bytes, 8);
    if length > BODY_BYTES_MAX {
        return Err(Fault::Sense);
    }
    let end = HEAD_BYTES + length as usize;
    if bytes.len() < end {
        return Ok(Parsed::Cut(end));
    }
    let body = &bytes[HEAD_BYTES..end];
    if crc32fast::hash(body) != u32_at(bytes, 12) {
        return Err(Fault::Body);
    }
    let offset = u64_at(bytes, 16);
    let entry = match bytes[32] {
        KIND_CLOSED if body.is_empty() => Entry::Closed,
        _ => Entry::Publication(publication(offset, u64_at(bytes, 24), &bytes[32..HEAD_BYTES], body).ok_or(Fault::Sense)?),
    };
    Ok(Parsed::Whole((offset, entry), end))
}

/// `None` where the parts do not fit each other.
fn publication(offset: u64, unix_us: u64, about: &[u8], body: &[u8]) -> Option<Publication> {
    let (flags, key_bytes) = (about[1], usize::from(about[2]));
    let kind = match about[0] {
        KIND_BINARY => PayloadKind::Binary,
        KIND_TEXT => PayloadKind::Text,
        KIND_JSON => PayloadKind::Json,
        _ => return None,
    };
    let (gap, body) = if flags & HAS_GAP > 0 {
        let (messages, body) = body.split_at_checked(8)?;
        let known = flags & GAP_IS_KNOWN > 0;
        (Some(SourceGap { messages: known.then(|| u64_at(messages, 0)) }), body)
    } else {
        (None, body)
    };
    let (key, payload) = body.split_at_checked(key_bytes)?;
    let key = match flags & HAS_KEY > 0 {
        true => Some(Key::parse(std::str::from_utf8(key).ok()?).ok()?),
        false if key_bytes > 0 => return None,
        false => None,
    };
    if kind != PayloadKind::Binary && std::str::from_utf8(payload).is_err() {
        return None;
    }
    let payload = Payload { bytes: Bytes::copy_from_slice(payload), kind };
    Some(Publication { offset, unix_us, payload, marks: Marks { key, removes: flags & REMOVES > 0, gap, begins: None } })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("they are two"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("they are four"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("they are eight"))
}
