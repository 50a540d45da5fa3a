//! Who the client is, before anything it asks is looked at: what a PROXY header says, what a trusted proxy's request says.
//!
//! Without: how many of an address may come; the shard knows, and is asked between the request's head and its answer.

use std::net::SocketAddr;

use super::refusal::Refusal;
use super::{Awaited, Effect, Expiry, Moment, Phase, Rules, Session, jitter};
use crate::admission::proxy::{Progress, Reader};
use crate::admission::{ClientAddress, client_address, is_among};
use crate::config::{Network, ProxyProtocol};
use crate::http::HeadReader;
use crate::metrics::{CloseClass, RefusalReason};

/// A client that was just accepted.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Index of the listener.
    pub listener: u16,
    /// Where its connection comes from.
    pub address: ClientAddress,
    /// Which of its shard's clients it is, counted from the shard's start; only names it.
    pub number: u32,
}

/// What input came to, of a client whose proxy speaks first.
#[derive(Debug, PartialEq, Eq)]
pub enum Introduction {
    /// More is to come, or it was refused; all input is taken.
    Taken,
    /// The client's own bytes begin.
    Over {
        /// Whom the proxy speaks for; none: itself, or somebody without an address.
        client: Option<SocketAddr>,
        /// Bytes of earlier input that are the client's.
        kept: Vec<u8>,
        /// Bytes of this input that were the proxy's.
        consumed: usize,
    },
}

impl Session {
    /// A client that was just accepted.
    #[must_use]
    pub fn new(rules: &Rules, arrival: Arrival, now_us: u64) -> Session {
        let Arrival { listener, address, number } = arrival;
        let gate = &rules.listeners[usize::from(listener)];
        let speaks_first = gate.proxy_protocol != ProxyProtocol::Off && is_among(&gate.trusted_proxies, address);
        let phase = if speaks_first { Phase::Proxy(Box::default()) } else { Phase::head(rules, false, address) };
        let from_loopback = match address.to_canonical() {
            ClientAddress::Ip(address) => address.is_loopback(),
            // Where proxies connect, whoever does is taken for one.
            ClientAddress::Unix => !gate.trusted_proxies.contains(&Network::Unix),
        };
        Session { from_loopback, ..Session::of(phase, rules, listener, number, now_us) }
    }

    /// A client that is told to come later, before anything of it is read: 503 for all, 429 for its address.
    #[must_use]
    pub fn turned_away(rules: &Rules, arrival: Arrival, status: u16, sentence: &str, now_us: u64) -> Session {
        let mut session = Session::of(Phase::Receiving, rules, arrival.listener, arrival.number, now_us);
        session.turn_away(status, sentence, now_us);
        session
    }

    /// Tells the client to come later, some seconds from now: not all of them in the same one.
    pub fn turn_away(&mut self, status: u16, sentence: &str, now_us: u64) {
        let retry_after_s = self.retry_after_s(now_us);
        let reason = if status == 503 { RefusalReason::Full } else { RefusalReason::TooMany };
        self.write_refusal(&Refusal::new(status, reason, sentence).with_retry_after(retry_after_s), now_us);
    }

    /// When a client that is turned away may come again, in seconds: some later than others.
    pub(super) fn retry_after_s(&self, now_us: u64) -> u32 {
        1 + jitter(now_us.wrapping_add(self.number.into()), 5) as u32
    }

    /// Whether its proxy is to speak first.
    #[must_use]
    pub fn awaits_proxy(&self) -> bool {
        matches!(self.phase, Phase::Proxy(_))
    }

    /// Takes what a proxy says before its client's bytes; `proxy` is its own address.
    pub fn receive_proxy(&mut self, input: &[u8], proxy: ClientAddress, rules: &Rules, moment: Moment) -> Introduction {
        let Phase::Proxy(reader) = &mut self.phase else { unreachable!("only called while a proxy is to speak") };
        let is_required = rules.listeners[usize::from(self.listener)].proxy_protocol == ProxyProtocol::Required;
        let refusal = match reader.feed(input, rules.limits.proxy_header_bytes_max as usize) {
            Ok(Progress::Partial) => return Introduction::Taken,
            Ok(Progress::Complete { consumed, client }) => {
                self.phase = Phase::head(rules, false, client.map_or(proxy, |client| client.ip().into()));
                // Whoever it is, a proxy is between.
                self.from_loopback = false;
                return Introduction::Over { client, kept: Vec::new(), consumed };
            }
            Ok(Progress::Absent { kept }) if !is_required => {
                self.phase = Phase::head(rules, false, proxy);
                return Introduction::Over { client: None, kept, consumed: 0 };
            }
            Ok(Progress::Absent { .. }) => {
                "this listener has proxy_protocol = \"required\", and the connection does not begin with a PROXY header: let \
                 the proxy send one, or set proxy_protocol = \"off\""
                    .to_owned()
            }
            Err(error) => error.to_string(),
        };
        self.phase = Phase::Receiving;
        self.refuse(400, RefusalReason::Proxy, &refusal, moment.now_us);
        Introduction::Taken
    }

    /// A proxy that says nothing is reset; whatever it would be told it would pass on.
    pub(super) fn expire_proxy(&mut self) -> Expiry {
        self.refusal = Some(RefusalReason::Timeout);
        self.close_class = Some(CloseClass::Timeout);
        Expiry::Reset
    }

    /// Whose the request in hand is: the answer to [`Effect::Asked`] begins with this.
    #[must_use]
    pub fn address_asked(&self, rules: &Rules) -> ClientAddress {
        let Phase::Head(head) = &self.phase else { unreachable!("it has asked with a head in hand") };
        let gate = &rules.listeners[usize::from(self.listener)];
        match head.reader.request() {
            Ok(request) => client_address(head.peer, &request, gate.forwarded_header, &gate.trusted_proxies),
            // It will be refused.
            Err(_) => head.peer,
        }
    }

    /// Goes on with the request in hand.
    pub fn proceed(&mut self, rules: &Rules, moment: Moment) -> Option<Effect> {
        self.enter(None, rules, moment)
    }

    /// Index of the listener that it came by.
    #[must_use]
    pub fn listener(&self) -> u16 {
        self.listener
    }
}

impl Phase {
    /// A request is awaited, from this address or one that it names.
    pub(super) fn head(rules: &Rules, served: bool, peer: ClientAddress) -> Phase {
        let reader = HeadReader::new(rules.limits.head_bytes_max, rules.limits.headers_max);
        Phase::Head(Box::new(Awaited { reader, served, peer }))
    }
}

/// Where a proxy is to speak.
pub(super) type ProxyReader = Box<Reader>;
