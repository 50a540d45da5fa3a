//! What the hub and its twin are given: publications, their encoding, topics and visits in their plainest form.

use std::sync::Arc;

use bytes::Bytes;

use super::super::*;

/// Raw: header and payload. Combined: header and an envelope with the position, and the payload as it stands. What is "compressed" has a mark,
/// and is shorter than that where it is long.
pub(in super::super) struct TestEncoder;

impl Encoder for TestEncoder {
    fn encode(&mut self, encoding: Encoding, topic: &str, position: Position, publication: &Publication, out: &mut Vec<u8>) {
        let Publication { unix_us, payload: Payload { bytes: payload, kind }, marks, .. } = publication;
        let Position { epoch, offset } = position;
        let mut body = payload.to_vec();
        if !matches!(encoding, Encoding::Raw | Encoding::RawDeflate) {
            let begins = if marks.begins.is_some() { "begins " } else { "" };
            body = format!("{begins}{topic} {epoch}:{offset} {unix_us} {kind:?} ").into_bytes();
            body.extend_from_slice(payload);
        }
        if matches!(encoding, Encoding::Timed | Encoding::TimedDeflate) {
            body.insert(0, b't');
        }
        if matches!(encoding, Encoding::RawDeflate | Encoding::CombinedDeflate | Encoding::TimedDeflate) {
            body.truncate(150);
            body.insert(0, b'~');
        }
        out.push(if *kind == PayloadKind::Binary { 0x82 } else { 0x81 });
        match body.len() {
            short @ 0..126 => out.push(short as u8),
            middle @ 126..65536 => {
                out.push(126);
                out.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                out.push(127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&body);
    }
}

pub(in super::super) fn publication(offset: u64, kind: PayloadKind, bytes: &[u8]) -> Publication {
    Publication {
        offset,
        unix_us: 1_000 + offset,
        payload: Payload { bytes: Bytes::copy_from_slice(bytes), kind },
        marks: Marks::default(),
    }
}

pub(in super::super) fn settings(ring: RingLimits) -> Arc<TopicSettings> {
    Arc::new(TopicSettings { ring, slow_lag_bytes: 1, slow_lag_ms: 1, slow_default: Slow::Close, keyed: false, keys_max: 1 })
}

pub(in super::super) fn name(text: &str) -> TopicName {
    TopicName::parse(text).expect("a valid name")
}

pub(in super::super) fn open(hub: &mut Hub, text: &str, limits: RingLimits, offset: u64) -> TopicId {
    hub.open(name(text), settings(limits), Position { epoch: Epoch::from_number(7), offset })
}

pub(in super::super) fn visiting(bytes_max: usize) -> Visiting {
    Visiting { bytes_max, unix_us: 0, tells: true }
}
