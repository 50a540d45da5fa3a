//! Pings of the client: how many are answered, and which pong is owed where not all of them can be.
//!
//! RFC 6455 5.5.3: "If an endpoint receives a Ping frame and has not yet sent Pong frame(s) in response to previous Ping
//! frame(s), the endpoint MAY elect to send a Pong frame for only the most recently processed Ping frame." So what cannot be
//! sent at once, for want of room or of a token, is one pong: the newest ping's.

use super::{Phase, Rules, Session};
use crate::metrics::CloseClass;
use crate::ws::{self, CloseCode, frame};

/// Pongs are put among the owed bytes up to here; beyond, only the newest is owed.
const PONGS_BYTES_MAX: usize = 4096;

/// The newest pong, which could not be owed at once.
#[derive(Debug)]
pub(super) struct LatePong {
    payload: ws::Control,
    /// When there may be a token for it, monotonic, microseconds. None: it has its token and waits for room.
    token_due_us: Option<u64>,
    /// Pings that came without a token since the last one that had one.
    pings: u16,
}

impl Session {
    /// A ping costs a token, as a request does. Without one its pong waits for the next; as many pings without a token in a row
    /// as errors may stand in a row close the connection with 1008.
    pub(super) fn receive_ping(&mut self, payload: ws::Control, rules: &Rules, now_us: u64) {
        let limits = &rules.limits;
        if self.take_from_bucket(rules, now_us) {
            if let Some(owed) = &mut self.owed {
                owed.pong.take_if(|late| late.token_due_us.is_some());
            }
            self.owe_pong(payload);
            return;
        }
        let (pings, due_us) = self.late_pong().map_or((0, None), |late| (late.pings, late.token_due_us));
        if pings >= limits.errors_in_a_row_max {
            self.close(CloseCode::POLICY, "too many pings a second", CloseClass::Policy, now_us);
            return;
        }
        let token_due_us = due_us.or(Some(next_token_us(self.rate(rules).0, now_us)));
        let late = LatePong { payload, token_due_us, pings: pings + 1 };
        self.owed.get_or_insert_default().pong = Some(Box::new(late));
    }

    /// When a late pong is to be looked at.
    pub(super) fn pong_due_us(&self) -> Option<u64> {
        self.late_pong().and_then(|late| late.token_due_us)
    }

    fn late_pong(&self) -> Option<&LatePong> {
        self.owed.as_ref()?.pong.as_deref()
    }

    /// A late pong's time has come: it is owed, if there is a token for it.
    pub(super) fn owe_late_pong(&mut self, rules: &Rules, now_us: u64) {
        let (per_second, burst) = self.rate(rules);
        let Some(pong) = self.owed.as_mut().map(|owed| &mut owed.pong) else { return };
        let Some(late) = pong else { return };
        if self.bucket.take(per_second, burst, now_us) {
            let payload = late.payload;
            *pong = None;
            self.owe_pong(payload);
        } else {
            late.token_due_us = Some(next_token_us(per_second, now_us));
        }
    }

    /// All that was owed is sent: there is room for a pong that waited for some.
    pub(super) fn owe_pong_into_room(&mut self) {
        if let Some(owed) = &mut self.owed
            && let Some(late) = owed.pong.take_if(|late| late.token_due_us.is_none())
        {
            frame::write(&mut owed.bytes, frame::Opcode::Pong, &late.payload, None);
        }
    }

    fn owe_pong(&mut self, payload: ws::Control) {
        debug_assert!(!matches!(self.phase, Phase::Ending), "after a close frame nothing is owed");
        let owed = self.owed.get_or_insert_default();
        if owed.pong.is_none() && owed.bytes.len() <= PONGS_BYTES_MAX {
            frame::write(&mut owed.bytes, frame::Opcode::Pong, &payload, None);
        } else {
            owed.pong = Some(Box::new(LatePong { payload, token_due_us: None, pings: 0 }));
        }
    }
}

fn next_token_us(per_second: u32, now_us: u64) -> u64 {
    now_us + 1_000_000 / u64::from(per_second.max(1))
}
