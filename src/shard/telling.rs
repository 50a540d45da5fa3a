//! What the log is told of single clients: who was refused, who was denied something and stays, who was closed for cause. One line for
//! each of these, at a bounded rate.
//!
//! Each kind of line has its own bound (`client_lines_per_second`), so that a flood of one hides no other; what is left out is counted and
//! told once its second is over. Each line names the connection, the request, the client's address and, where it has shown a token, its
//! subject. What a client sent stands in fields, which are escaped; of a request's query nothing does. Without: who comes and goes as it
//! should, health probes among them.

use std::net::SocketAddr;

use super::core::Core;
use super::inquiry::ConnectionId;
use crate::metrics::{ClientRole, CloseClass, Label, RefusalReason};
use crate::reactor::ClientKey;
use crate::session::Standing;

const SECOND_US: u64 = 1_000_000;
const REFUSALS: usize = <RefusalReason as Label>::ALL.len();
const CLOSES: usize = <CloseClass as Label>::ALL.len();
const DENIAL: usize = REFUSALS + CLOSES;
const KINDS: usize = DENIAL + 1;
/// So much of a client's subject stands in a line: a token may hold kibibytes.
const SUBJECT_BYTES_MAX: usize = 200;

/// How much was written of each kind: refusals by their reason, then ends by their class, then denials.
#[derive(Debug)]
pub(super) struct Tellings {
    kinds: [Kind; KINDS],
    /// Of these, how many have left something out.
    leaving_out: usize,
}

impl Default for Tellings {
    fn default() -> Tellings {
        Tellings { kinds: [Kind::default(); KINDS], leaving_out: 0 }
    }
}

/// One kind of line.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// When the first line of the second under way was written.
    began_us: u64,
    written: u32,
    left_out: u64,
}

impl Tellings {
    /// Whether one more line of the kind may be written; else it is counted.
    fn admit(&mut self, kind: usize, now_us: u64, lines_per_second: u32) -> bool {
        let of_kind = &mut self.kinds[kind];
        // What a second left out is told before the next one begins.
        if of_kind.left_out == 0 && now_us >= of_kind.began_us + SECOND_US {
            (of_kind.began_us, of_kind.written) = (now_us, 0);
        }
        if of_kind.left_out == 0 && of_kind.written < lines_per_second {
            of_kind.written += 1;
            return true;
        }
        self.leave_out(kind, 1);
        false
    }

    /// Counts what is told of in no line of its own.
    fn leave_out(&mut self, kind: usize, count: u64) {
        let left_out = &mut self.kinds[kind].left_out;
        self.leaving_out += usize::from(*left_out == 0 && count > 0);
        *left_out += count;
    }

    /// Whether something was left out and is not told yet.
    pub(super) fn has_left_out(&self) -> bool {
        self.leaving_out > 0
    }

    /// What was left out of kinds whose second is over.
    fn take_left_out(&mut self, now_us: u64) -> Vec<(usize, u64)> {
        let over = |(_, kind): &(usize, &mut Kind)| kind.left_out > 0 && now_us >= kind.began_us + SECOND_US;
        let told: Vec<(usize, u64)> = (0..)
            .zip(&mut self.kinds)
            .filter(over)
            .map(|(number, kind)| (number, std::mem::replace(kind, Kind { began_us: now_us, ..Kind::default() }).left_out))
            .collect();
        self.leaving_out -= told.len();
        told
    }
}

/// One client, as each line about it names it.
struct Named {
    connection: ConnectionId,
    request_id: String,
    client: String,
    subject: Option<String>,
}

/// Writes a line about a client, with these fields between who it is and why.
macro_rules! tell {
    ($named:expr, $cause:expr, $message:literal $(, $field:ident)*) => {{
        let Named { connection, request_id, client, subject } = $named;
        let (request_id, client, sub, cause): (&str, &str, Option<&str>, &str) = (&request_id, &client, subject.as_deref(), $cause);
        tracing::info!(%connection, request_id, client, sub, $($field,)* cause, $message);
    }};
}

impl Core {
    /// Counts a refusal, and tells the log of it.
    pub(super) fn refused(&mut self, key: ClientKey, reason: RefusalReason) {
        self.metrics.refusals.add(reason, 1);
        let Some(client) = self.clients.get(key) else { return };
        let cause = client.session.take_cause().unwrap_or_default();
        if self.may_tell(reason.index()) {
            let reason = reason.name();
            tell!(self.naming(key.slot), &cause, "a client was refused", reason);
        }
    }

    /// A client that stays was denied what it asked for: its answer does not say all of why.
    pub(super) fn tell_of_denial(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get(key) else { return };
        let Some(denied) = client.session.take_denied() else { return };
        self.metrics.denials.add(denied.count.into());
        if self.may_tell(DENIAL) {
            tell!(self.naming(key.slot), &denied.cause, "a client was denied");
        }
        self.tellings.leave_out(DENIAL, u64::from(denied.count) - 1);
    }

    /// A client became a WebSocket, or a stream of events.
    pub(super) fn opened(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get(key) else { return };
        let role = match client.session.standing() {
            Standing::Subscriber => ClientRole::Subscriber,
            Standing::Publisher => ClientRole::Publisher,
            Standing::Events => ClientRole::Events,
            Standing::Echo => ClientRole::Echo,
            Standing::Arriving | Standing::Leaving => return,
        };
        self.clients.set_role(key.slot, role);
        self.metrics.clients.add(role, 1);
        self.let_in += 1;
        self.readiness.came();
    }

    /// A client's descriptor is about to be closed. Who never came in was refused, if there was a reason.
    pub(super) fn tell_of_close(&mut self, key: ClientKey, class: CloseClass) {
        let Some(role) = self.clients.take_role(key.slot) else { return };
        self.metrics.clients.add(role, -1);
        self.let_in -= 1;
        self.readiness.left();
        if !class.is_for_cause() || !self.may_tell(REFUSALS + class.index()) {
            return;
        }
        let Some(client) = self.clients.get(key) else { return };
        let cause = client.session.take_cause().unwrap_or_default();
        let (role, class) = (role.name(), class.name());
        tell!(self.naming(key.slot), &cause, "a client was closed", role, class);
    }

    /// An operator ended a client.
    pub(super) fn tell_of_disconnect(&self, key: ClientKey, code: u16, reason: &str) {
        tell!(self.naming(key.slot), reason, "the operator disconnects a client", code);
    }

    /// Tells how many lines were left out, once their second is over.
    pub(super) fn tell_left_out(&mut self) {
        if !self.tellings.has_left_out() {
            return;
        }
        let shard = self.exchange.place();
        for (kind, count) in self.tellings.take_left_out(self.now.monotonic_us) {
            if let Some(reason) = RefusalReason::ALL.get(kind) {
                tracing::info!(shard, reason = reason.name(), count, "further clients were refused in this second");
            } else if let Some(class) = CloseClass::ALL.get(kind - REFUSALS) {
                tracing::info!(shard, class = class.name(), count, "further clients were closed in this second");
            } else {
                tracing::info!(shard, count, "further clients were denied something in this second");
            }
        }
    }

    fn may_tell(&mut self, kind: usize) -> bool {
        self.tellings.admit(kind, self.now.monotonic_us, self.config.log.client_lines_per_second)
    }

    fn naming(&self, slot: u32) -> Named {
        let subject = self.clients.peek(slot).and_then(|client| client.session.subject());
        Named {
            connection: self.connection_id(slot),
            request_id: self.request_id(slot),
            client: self.client_address(slot),
            subject: subject.map(|subject| subject[..subject.floor_char_boundary(SUBJECT_BYTES_MAX)].to_owned()),
        }
    }

    /// Where a client comes from, with its port where that is known.
    fn client_address(&self, slot: u32) -> String {
        let address = self.clients.address(slot);
        self.clients.port(slot).map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_counted_and_hides_no_other() {
        let mut tellings = Tellings::default();
        let flood = (0..1000).filter(|number| tellings.admit(3, 5_000_000 + number, 10)).count();
        assert_eq!((flood, tellings.has_left_out()), (10, true));
        assert!(tellings.admit(4, 5_000_500, 10), "another kind");
        assert_eq!(tellings.take_left_out(5_900_000), [], "its second is not over");
        assert!(!tellings.admit(3, 6_100_000, 10), "what was left out is told first");
        assert_eq!(tellings.take_left_out(6_100_001), [(3, 991)]);
        assert!(!tellings.has_left_out() && tellings.admit(3, 6_100_002, 10));
        assert!(!tellings.admit(5, 6_100_002, 0), "none are wanted");
        assert_eq!(tellings.take_left_out(9_000_000), [(5, 1)]);
    }
}
