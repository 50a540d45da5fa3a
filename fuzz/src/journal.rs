//! Any bytes as a segment of a journal, read in pieces by the gateway and at once by a naive twin.

use tidegate::journal::records::{Ending, Records};

/// What the twin makes of a file: bytes of each whole record's payload, and whether there is a fault.
struct Twin {
    payloads: Vec<(u64, Vec<u8>)>,
    is_closed: bool,
    /// Where it stops before the end: a fault, or a record that is cut off.
    stop: Option<(usize, bool)>,
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The header's length, and the first offset.
fn header(bytes: &[u8]) -> Result<Option<(usize, u64)>, ()> {
    let known = bytes.len().min(8);
    if bytes[..known] != b"tidejrnl"[..known] || (bytes.len() >= 10 && number(&bytes[8..10]) != 1) {
        return Err(());
    }
    if bytes.len() < 16 {
        return Ok(None);
    }
    let length = number(&bytes[10..12]) as usize;
    if !(52..=321).contains(&length) {
        return Err(());
    }
    if bytes.len() < length {
        return Ok(None);
    }
    let rest = &bytes[16..length];
    if u64::from(checksum(rest)) != number(&bytes[12..16]) {
        return Err(());
    }
    let epoch_bytes = usize::from(rest[32]);
    let epoch = rest.get(33..33 + epoch_bytes).ok_or(())?;
    let topic_bytes = usize::from(*rest.get(33 + epoch_bytes).ok_or(())?);
    let topic = rest.get(34 + epoch_bytes..34 + epoch_bytes + topic_bytes).ok_or(())?;
    let topic = std::str::from_utf8(topic).map_err(|_| ())?;
    let right = (1..=16).contains(&epoch_bytes)
        && epoch.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
        && tidegate::hub::TopicName::parse(topic).is_ok()
        && 34 + epoch_bytes + topic_bytes == rest.len()
        && (1..=1 << 53).contains(&number(&rest[8..16]));
    if right { Ok(Some((length, number(&rest[8..16])))) } else { Err(()) }
}

fn twin(bytes: &[u8]) -> Twin {
    let mut found = Twin { payloads: Vec::new(), is_closed: false, stop: None };
    let (mut at, mut next) = match header(bytes) {
        Ok(Some((length, first))) => (length, first),
        Ok(None) => return Twin { stop: Some((0, false)), ..found },
        Err(()) => return Twin { stop: Some((0, true)), ..found },
    };
    while at < bytes.len() {
        let rest = &bytes[at..];
        let known = rest.len().min(4);
        if found.is_closed || rest[..known] != b"TGRC"[..known] {
            return Twin { stop: Some((at, true)), ..found };
        }
        if rest.len() < 36 {
            return Twin { stop: Some((at, false)), ..found };
        }
        let length = number(&rest[8..12]) as usize;
        if u64::from(checksum(&rest[8..36])) != number(&rest[4..8]) || length > (64 << 20) + 1024 {
            return Twin { stop: Some((at, true)), ..found };
        }
        let Some(body) = rest[36..].get(..length) else { return Twin { stop: Some((at, false)), ..found } };
        let (offset, kind, flags, key_bytes) = (number(&rest[16..24]), rest[32], rest[33], usize::from(rest[34]));
        let gap_bytes = if flags & 4 > 0 { 8 } else { 0 };
        let is_end = kind == 3 && body.is_empty();
        let payload = body.get(gap_bytes + key_bytes..);
        let key = body.get(gap_bytes..gap_bytes + key_bytes);
        let sense = is_end
            || kind < 3
                && (flags & 1 > 0) == (key_bytes > 0)
                && key.is_some_and(|key| std::str::from_utf8(key).is_ok())
                && payload.is_some_and(|payload| kind == 0 || std::str::from_utf8(payload).is_ok());
        if u64::from(checksum(body)) != number(&rest[12..16]) || !sense || offset != next - u64::from(is_end) {
            return Twin { stop: Some((at, true)), ..found };
        }
        if is_end {
            found.is_closed = true;
        } else {
            found.payloads.push((offset, payload.expect("it was looked at above").to_vec()));
            next += 1;
        }
        at += 36 + length;
    }
    found
}

/// Checks any bytes.
pub fn check(data: &[u8]) {
    let twin = twin(data);
    for piece in [1, 7, data.len().max(1)] {
        let mut records = Records::default();
        let mut found = Vec::new();
        let mut fault = None;
        for piece in data.chunks(piece) {
            records.buffer().extend_from_slice(piece);
            loop {
                match records.next_publication() {
                    Ok(Some(publication)) => found.push((publication.offset, publication.payload.bytes.to_vec())),
                    Ok(None) => break,
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        fault = Some(records.at() as usize);
                        break;
                    }
                }
            }
            if fault.is_some() {
                break;
            }
        }
        assert_eq!(found, twin.payloads);
        match (twin.stop, fault, records.ending()) {
            (Some((at, true)), Some(found), _) => assert_eq!(found, at),
            (Some((at, false)), None, Ending::Cut { at: found }) => assert_eq!(found, at as u64),
            (None, None, ending) => {
                let (closed, open) = (ending == Ending::Closed, ending == Ending::Open);
                assert!(if twin.is_closed { closed } else { open }, "{ending:?}");
            }
            (stop, fault, ending) => panic!("the twin stops at {stop:?}, the reader at {fault:?}, {ending:?}"),
        }
    }
}
