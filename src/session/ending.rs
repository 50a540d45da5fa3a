//! How a session ends, and what it is late with.
//!
//! Whoever ends first, the socket is closed only after our last bytes went and the peer ended too, or a deadline passed:
//! closing with unread input would make the kernel send a reset that may overtake our close frame.

use super::sse::COMMENT_MS;
use super::{Moment, Open, Phase, Ping, Role, Rules, Session, jitter};
use crate::metrics::{CloseClass, RefusalReason};
use crate::ws::{CloseCode, frame};

/// How often it is looked whether a ping's bytes were acknowledged.
const PING_LOOK_MS: u32 = 1000;

/// What a deadline that came up means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Nothing is late; look again at this moment.
    NotYet {
        /// Monotonic, microseconds.
        due_us: u64,
    },
    /// The session owes something new (a ping, a close frame); look again at this moment.
    Owes {
        /// Monotonic, microseconds.
        due_us: u64,
    },
    /// A ping is unanswered: find out whether its bytes were acknowledged, and tell by [`Session::ping_acknowledged`] where they
    /// were. Look again at this moment.
    Asks {
        /// Monotonic, microseconds.
        due_us: u64,
        /// Of this ping for the first time: what was sent so far is what must be acknowledged.
        first: bool,
    },
    /// The peer had its time: reset it.
    Reset,
}

impl Session {
    /// Sends a close frame after what is owed, and ends. Where the handshake is not done, and over HTTP, just ends. Where a
    /// close frame waits already, that one is sent.
    pub fn close(&mut self, code: CloseCode, reason: &str, class: CloseClass, now_us: u64) {
        match self.phase {
            Phase::Closing(_) => {}
            // A stream of events just ends.
            Phase::Open(_) | Phase::Receiving if !self.is_sse() => {
                let mut close = Vec::new();
                frame::write_close(&mut close, code, reason, None);
                if class.is_for_cause() {
                    self.tell_cause(reason);
                }
                self.end_with(close, class, now_us);
            }
            _ => self.end(class, now_us),
        }
    }

    /// Ends without a close frame: nothing more is owed than what stands there.
    pub fn end(&mut self, class: CloseClass, now_us: u64) {
        if matches!(self.phase, Phase::Ending) {
            return;
        }
        self.phase = Phase::Ending;
        if let Some(owed) = &mut self.owed {
            (owed.pong, owed.acks) = (None, None);
        }
        self.began_us = now_us;
        self.close_class = Some(class);
    }

    /// The peer sends no more. Between two requests that is how a connection ends; elsewhere it broke.
    pub fn ended_by_peer(&mut self, now_us: u64) {
        // It said so by a close frame; what it is owed is not all known.
        if self.is_closing() {
            return;
        }
        let class = match &self.phase {
            // Between two requests, or a balancer that looks whether the port answers.
            Phase::Head(head) if head.served || head.reader.is_empty() => CloseClass::Normal,
            Phase::Proxy(reader) if reader.is_empty() => CloseClass::Normal,
            _ => CloseClass::Reset,
        };
        self.end(class, now_us);
    }

    /// Whether all is said; once the owed bytes are sent the sending side is shut.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending)
    }

    /// How the session ended, for the counters; a connection that broke counts as reset.
    #[must_use]
    pub fn close_class(&self) -> Option<CloseClass> {
        self.close_class
    }

    /// When the session has to be looked at again.
    #[must_use]
    pub fn deadline_us(&self, rules: &Rules) -> u64 {
        let limits = &rules.limits;
        let after = |from_us: u64, ms: u32| from_us + u64::from(ms) * 1000;
        let due_us = match &self.phase {
            Phase::Receiving => unreachable!("deadlines are looked at between receives"),
            Phase::Proxy(_) => after(self.began_us, limits.proxy_timeout_ms),
            Phase::Head(_) | Phase::Entering(_) => after(self.began_us, limits.handshake_timeout_ms),
            Phase::Ending if self.close_class == Some(CloseClass::Lag) => after(self.began_us, limits.close_deadline_ms),
            Phase::Closing(_) | Phase::Ending => after(self.began_us, limits.close_timeout_ms),
            Phase::Open(_) if self.ping == Ping::Acknowledged => after(self.began_us, limits.pong_timeout_ms),
            Phase::Open(_) if self.ping != Ping::None => after(self.began_us, limits.pong_timeout_ms.min(PING_LOOK_MS)),
            Phase::Open(Open { role: Role::Sse { .. }, .. }) => after(self.began_us, COMMENT_MS),
            Phase::Open(open) => {
                let idle_us = self.idle_due_us(limits.idle_ping_ms);
                match open.message_began_us() {
                    Some(began_us) => idle_us.min(after(began_us, limits.message_timeout_ms)),
                    None => idle_us,
                }
            }
        };
        [self.pong_due_us(), self.count_due_us(), self.token_due_us()].into_iter().flatten().fold(due_us, u64::min)
    }

    /// A deadline came up; perhaps an old one.
    pub fn expire(&mut self, rules: &Rules, moment: Moment) -> Expiry {
        self.follow_clock(rules, moment);
        let due_us = self.deadline_us(rules);
        if due_us > moment.now_us {
            return Expiry::NotYet { due_us };
        }
        if self.pong_due_us().is_some_and(|pong_due_us| pong_due_us <= moment.now_us) {
            self.owe_late_pong(rules, moment.now_us);
            return Expiry::Owes { due_us: self.deadline_us(rules) };
        }
        if self.count_due_us().is_some_and(|count_due_us| count_due_us <= moment.now_us) {
            self.acknowledge(moment.now_us);
            return Expiry::Owes { due_us: self.deadline_us(rules) };
        }
        if self.token_due_us().is_some_and(|token_due_us| token_due_us <= moment.now_us) {
            self.close(CloseCode::POLICY, "the token has expired", CloseClass::Policy, moment.now_us);
            return Expiry::Owes { due_us: self.deadline_us(rules) };
        }
        match &self.phase {
            Phase::Receiving => unreachable!("deadlines are looked at between receives"),
            Phase::Proxy(_) => return self.expire_proxy(),
            Phase::Head(head) if head.served => self.end(CloseClass::Normal, moment.now_us),
            Phase::Head(_) | Phase::Entering(_) => {
                self.refuse(408, RefusalReason::Timeout, "the handshake took longer than handshake_timeout_ms", moment.now_us);
            }
            // What became of the rest is not known in time.
            Phase::Closing(_) => self.conclude(moment.now_us),
            Phase::Ending => return Expiry::Reset,
            Phase::Open(_) if matches!(self.ping, Ping::Out | Ping::Asked) => return self.ask_of_ping(rules, moment.now_us),
            Phase::Open(_) if self.ping == Ping::Acknowledged => {
                self.close_class = Some(CloseClass::Timeout);
                return Expiry::Reset;
            }
            Phase::Open(open) if open.message_is_late(rules, moment.now_us) => {
                let reason = "the message took longer than message_timeout_ms";
                self.close(CloseCode::POLICY, reason, CloseClass::Timeout, moment.now_us);
            }
            Phase::Open(Open { role: Role::Sse { .. }, .. }) => self.owe_comment(moment.now_us),
            // RFC 6455 5.5.2: a Ping "may serve either as a keepalive or as a means to verify that the remote endpoint
            // is still responsive".
            Phase::Open(_) => {
                frame::write(self.owe(), frame::Opcode::Ping, &[], None);
                self.ping = Ping::Out;
                self.began_us = moment.now_us;
            }
        }
        Expiry::Owes { due_us: self.deadline_us(rules) }
    }

    /// The pong of a ping that nobody answered yet may be due: who has the socket is to ask how much is unacknowledged.
    fn ask_of_ping(&mut self, rules: &Rules, now_us: u64) -> Expiry {
        self.began_us = now_us;
        let due_us = self.deadline_us(rules);
        if !self.owed().is_empty() {
            return Expiry::NotYet { due_us };
        }
        let first = std::mem::replace(&mut self.ping, Ping::Asked) == Ping::Out;
        Expiry::Asks { due_us, first }
    }

    /// Whether what is sent to the client is counted, since the kernel was asked how much of it is acknowledged.
    #[must_use]
    pub fn is_asked_of_ping(&self) -> bool {
        self.ping == Ping::Asked && self.is_open()
    }

    /// The ping's bytes have arrived at the client's TCP: from now on its pong is due.
    pub fn ping_acknowledged(&mut self, now_us: u64) {
        if self.is_asked_of_ping() {
            (self.ping, self.began_us) = (Ping::Acknowledged, now_us);
        }
    }

    /// The client's socket is full, so the ping may not have reached it: the pong's time begins anew. A client that takes
    /// nothing at all is ended by `TCP_USER_TIMEOUT`.
    pub fn postpone_pong(&mut self, now_us: u64) {
        if self.ping != Ping::None && self.is_open() {
            self.began_us = now_us;
        }
    }

    /// The client's TCP took bytes of a backlog: it lives, whatever it says.
    pub fn took_bytes(&mut self, now_us: u64) {
        if self.is_open() {
            self.began_us = now_us;
        }
    }

    /// A fifth of the idle time either way, so that a thousand clients that came at once are not pinged at once. Taken
    /// from the moment of the last byte: as good as random, and the same whenever it is asked.
    fn idle_due_us(&self, idle_ping_ms: u32) -> u64 {
        let least_us = u64::from(idle_ping_ms) * 800;
        self.began_us + least_us + jitter(self.began_us, (least_us / 2).max(1))
    }
}

impl Open {
    /// When the message began that is not whole yet.
    fn message_began_us(&self) -> Option<u64> {
        self.unfinished.as_ref().filter(|unfinished| unfinished.connection.inside_message()).map(|unfinished| unfinished.began_us)
    }

    fn message_is_late(&self, rules: &Rules, now_us: u64) -> bool {
        let timeout_us = u64::from(rules.limits.message_timeout_ms) * 1000;
        self.message_began_us().is_some_and(|began_us| began_us + timeout_us <= now_us)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config::Config;
    use crate::dialect::stream::RequestId;
    use crate::session::Arrival;

    fn asked(rules: &Rules, head: &str) -> Session {
        let arrival = Arrival { listener: 0, address: IpAddr::from(Ipv4Addr::LOCALHOST).into(), number: 0 };
        let mut session = Session::new(rules, arrival, 0);
        let mut bytes = head.as_bytes().to_vec();
        let moment = Moment { now_us: 4_000_000, unix_us: 0, ready: true, full: false };
        assert!(session.receive(&mut &mut bytes[..], rules, moment).is_none(), "the session answers by itself");
        session
    }

    fn rules() -> Rules {
        Rules::new(&Config { listeners: vec![crate::config::Listener::default()], ..Config::default() })
    }

    #[test]
    fn an_http_answer_ends_its_connection_as_normal_and_with_its_own_time() {
        let rules = rules();
        for path in ["/nothing", "/health/live"] {
            let session = asked(&rules, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
            assert!(session.is_ending());
            assert_eq!(session.close_class(), Some(CloseClass::Normal));
            assert_eq!(session.deadline_us(&rules), 4_000_000 + u64::from(rules.limits.close_timeout_ms) * 1000);
        }
    }

    #[test]
    fn head_has_the_length_of_get_and_no_body() {
        let rules = rules();
        for path in ["/nothing", "/health/live"] {
            let answer = |method: &str| {
                let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                String::from_utf8(asked(&rules, &head).owed().to_vec()).expect("these answers are text")
            };
            let (get, head) = (answer("GET"), answer("HEAD"));
            assert!(head.ends_with("\r\n\r\n") && get.len() > head.len() && get.starts_with(&head), "{get}\n{head}");
        }
    }

    #[test]
    fn after_a_close_frame_nothing_more_is_owed() {
        let rules = rules();
        let upgrade = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut session = asked(&rules, upgrade);
        session.close(CloseCode::GOING_AWAY, "", CloseClass::GoingAway, 5_000_000);
        let owed = session.owed().to_vec();
        session.done(&RequestId::NULL);
        session.refuse(503, RefusalReason::Full, "too late", 6_000_000);
        assert_eq!((session.owed(), session.close_class()), (&owed[..], Some(CloseClass::GoingAway)));
    }
}
