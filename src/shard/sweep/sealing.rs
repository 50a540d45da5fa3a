//! The sweep's visits to TLS clients: what they lack is sealed when it is planned, into the turn's scratch.
//!
//! Invariants:
//! - what was sealed counts as gone: cursors and what is owed move on at once, by all of it. A visit ends where its bytes do,
//!   also inside a frame, so the unfinished frame of a TLS client is one of which a part was sealed;
//! - ciphertext that the socket did not take stays with its client, at most what one visit seals. It goes first and alone,
//!   and while it is there nothing is sealed, so a record is never overtaken;
//! - a record is made of the shared frames where they lie; only several small pieces, or a ring's wrap, are copied first.

use std::ops::Range;

use super::{Load, Loss, Parts, Sweep, Visit};
use crate::hub::{Hub, Span};
use crate::shard::clients::Client;
use crate::shard::topics::Topics;
use crate::tls::sealed_bytes_max;

/// The turn's ciphertext.
pub(super) struct Sealing {
    /// Grows to what the fullest turn took; written from its front in each.
    sealed: Vec<u8>,
    used: usize,
    /// Pieces of one visit, copied together.
    gathered: Vec<u8>,
    pub(super) visit_bytes_max: usize,
}

impl Sealing {
    pub(super) fn new(visit_bytes_max: u32) -> Sealing {
        Sealing { sealed: Vec::new(), used: 0, gathered: Vec::new(), visit_bytes_max: visit_bytes_max as usize }
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        self.used
    }

    pub(super) fn sealed(&self, range: &Range<usize>) -> &[u8] {
        &self.sealed[range.clone()]
    }
}

impl Sweep {
    /// Prepares one send: what is pending, or else what can be sealed now.
    pub(super) fn visit_sealed(&mut self, topics: &mut Topics, client: &mut Client) -> Result<(), Loss> {
        let key = client.key;
        let tls = client.tls.as_deref().expect("only TLS clients are visited so");
        if !tls.pending().is_empty() {
            self.visits.push(Visit { client: key, load: Load::Pending, bytes: tls.pending().len() });
            return Ok(());
        }
        if !tls.is_open() {
            topics.hub.due().unmark(key.slot);
            return Ok(());
        }
        let (owed_bytes, spans_before) = (client.session.owed().len(), self.spans.len());
        let owed_after_rest = owed_bytes > 0 && topics.hub.torn(key.slot).is_some();
        let room = self.sealing.visit_bytes_max.saturating_sub(owed_bytes);
        // Where what is owed fills the visit, publications stay due.
        if owed_after_rest {
            self.take_due(topics, client, 0)?;
        } else if room > 0 {
            self.take_due(topics, client, room)?;
        }
        let (hub, owed_bytes) = (&mut topics.hub, client.session.owed().len());
        let parts = Parts { owed_bytes, owed_after_rest, spans: spans_before..self.spans.len() };
        let all = owed_bytes + self.spans[parts.spans.clone()].iter().map(Span::bytes).sum::<usize>();
        let bytes = all.min(self.sealing.visit_bytes_max);
        if bytes == 0 {
            return Ok(());
        }
        let sealed = self.seal(&parts, bytes, hub, client);
        let went = if sealed.is_some() { bytes } else { 0 };
        let deliveries = parts.move_on(&self.spans, went, hub, client);
        let range = sealed.ok_or(Loss::Broken)?;
        let bytes = range.len();
        self.visits.push(Visit { client: key, load: Load::Sealed { range, deliveries }, bytes });
        Ok(())
    }

    /// Seals the first `bytes` of a visit's parts; none where that cannot be done any more.
    fn seal(&mut self, parts: &Parts, bytes: usize, hub: &Hub, client: &mut Client) -> Option<Range<usize>> {
        let Client { session, tls, .. } = client;
        let Sealing { sealed, used, gathered, .. } = &mut self.sealing;
        let owed = session.owed();
        let spans = &self.spans[parts.spans.clone()];
        let plain = match spans {
            [] => &owed[..bytes],
            [span] if owed.is_empty() && hub.resolve(span).0.len() >= bytes => &hub.resolve(span).0[..bytes],
            _ => {
                gathered.clear();
                let frames = spans.iter().map(|span| hub.resolve(span)).flat_map(|(one, two)| [one, two]);
                let (before, behind) = if parts.owed_after_rest { (&[][..], owed) } else { (owed, &[][..]) };
                for piece in std::iter::once(before).chain(frames).chain([behind]) {
                    let part = piece.len().min(bytes - gathered.len());
                    gathered.extend_from_slice(&piece[..part]);
                }
                &gathered[..]
            }
        };
        let end = *used + sealed_bytes_max(plain.len());
        if sealed.len() < end {
            sealed.resize(end, 0);
        }
        let tls = tls.as_deref_mut().expect("only TLS clients are visited so");
        let start = *used;
        *used += tls.seal(plain, &mut sealed[start..end]).ok()?;
        Some(start..*used)
    }
}
