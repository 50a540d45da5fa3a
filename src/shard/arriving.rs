//! How a client comes: accepted, introduced by its proxy, counted with its address, or told to come later.
//!
//! A trusted proxy is not counted; whom it speaks for is, once it has said so: before the client's bytes, or in its request.

use std::net::SocketAddr;

use super::ageing::tick;
use super::clients::{Client, Counted};
use super::core::Core;
use super::share;
use super::stopping::Stop;
use crate::admission::arrivals::{Arrivals, TurnedAway};
use crate::admission::{ClientAddress, is_among};
use crate::config::{self, Config, ProxyProtocol};
use crate::metrics::{CloseClass, RefusalReason};
use crate::reactor::{ClientKey, Op};
use crate::session::{Arrival, Introduction, Session};

/// Least time between two lines of the log about accepts.
const WARNING_US: u64 = 1_000_000;

/// Who came, by listener.
pub(super) struct Counts {
    common: Arrivals,
    /// Of those whose clients are counted by themselves.
    own: Vec<Option<Arrivals>>,
}

impl Counts {
    pub(super) fn new(config: &Config, shards: u16, now_us: u64) -> Counts {
        let half_open_max = share(config.limits.half_open_per_address_max, shards);
        let made = |settings: &config::Arrivals| Arrivals::new(shard_of(settings, shards), half_open_max, now_us);
        let own = config.listeners.iter().map(|listener| listener.arrivals.as_ref().map(made));
        Counts { common: made(&config.arrivals), own: own.collect() }
    }

    /// Other bounds hold from now on.
    pub(super) fn go_by(&mut self, config: &Config, shards: u16, now_us: u64) {
        let half_open_max = share(config.limits.half_open_per_address_max, shards);
        self.common.go_by(shard_of(&config.arrivals, shards), half_open_max, now_us);
        for (own, listener) in self.own.iter_mut().zip(&config.listeners) {
            if let (Some(own), Some(settings)) = (own, &listener.arrivals) {
                own.go_by(shard_of(settings, shards), half_open_max, now_us);
            }
        }
    }

    /// Those among whom a listener's clients are counted.
    fn at(&mut self, listener: u16) -> &mut Arrivals {
        self.own.get_mut(usize::from(listener)).and_then(Option::as_mut).unwrap_or(&mut self.common)
    }

    fn all(&self) -> impl Iterator<Item = &Arrivals> {
        self.own.iter().flatten().chain([&self.common])
    }

    pub(super) fn remembers(&self) -> bool {
        self.all().any(Arrivals::remembers)
    }

    pub(super) fn forget_quiet(&mut self, now_us: u64) {
        self.own.iter_mut().flatten().chain([&mut self.common]).for_each(|counts| counts.forget_quiet(now_us));
    }
}

/// One shard's share of who may come.
fn shard_of(settings: &config::Arrivals, shards: u16) -> config::Arrivals {
    let config::Arrivals { per_second, burst, per_address_per_second, per_address_burst, per_address_max, exempt } =
        settings.clone();
    config::Arrivals {
        per_second: share(per_second, shards),
        burst: share(burst, shards),
        per_address_per_second: share(per_address_per_second, shards),
        per_address_burst: share(per_address_burst, shards),
        per_address_max: share(per_address_max, shards),
        exempt,
    }
}

impl Core {
    pub(super) fn accepted(&mut self, key: ClientKey, peer: Option<SocketAddr>, listener: u16) {
        let now_us = self.now.monotonic_us;
        let address = peer.map_or(ClientAddress::Unix, |peer| peer.ip().to_canonical().into());
        let from = (address, peer.map_or(0, |peer| peer.port()));
        self.came = self.came.wrapping_add(1);
        let arrival = Arrival { listener, address, number: self.came };
        let turned_away = if self.arrivals.at(listener).take_place(now_us) { None } else { Some(TurnedAway::Storm) };
        let session = match turned_away.filter(|_| self.speaks_plainly(listener)) {
            Some(reason) => Session::turned_away(&self.rules, arrival, status(reason), sentence(reason), now_us),
            None => Session::new(&self.rules, arrival, now_us),
        };
        self.clients.insert(Client::new(key, session, now_us), from, tick(now_us));
        self.set_age(key, arrival.number);
        self.topics.hub.due().reserve(key.slot);
        self.metrics.accepts.add(1);
        self.metrics.connections.set(self.clients.count() as i64);
        self.ops.push_back(Op::Receive(key));
        self.accepts_armed = self.accepts_armed.saturating_sub(1);
        match self.stop {
            Stop::Running => {}
            // It was accepted before that began.
            Stop::Warning { .. } | Stop::Draining => self.came_late(key),
            _ => return self.close(key, CloseClass::GoingAway, false),
        }
        if let Some(reason) = turned_away {
            return self.turn_away(key, reason);
        }
        let gate = &self.rules.listeners[usize::from(listener)];
        let is_proxy = is_among(&gate.trusted_proxies, address);
        if !is_proxy && gate.proxy_protocol == ProxyProtocol::Required {
            return self.refuse_stranger(key);
        }
        if !is_proxy && !self.count(key) {
            return;
        }
        if !self.session_mut(key).awaits_proxy() {
            self.begin_tls(key, listener);
        }
        self.settle(key);
    }

    /// What a proxy says before its client's bytes.
    pub(super) fn introduce(&mut self, key: ClientKey, bytes: &mut [u8]) {
        let (moment, proxy) = (self.moment(), self.clients.address(key.slot));
        let Some(client) = self.clients.get(key) else { return };
        let listener = client.session.listener();
        let Introduction::Over { client: named, mut kept, consumed } =
            client.session.receive_proxy(bytes, proxy, &self.rules, moment)
        else {
            return self.settle(key);
        };
        if let Some(named) = named {
            self.clients.set_address(key.slot, named.ip().into(), named.port());
            if !self.count(key) {
                return;
            }
        }
        self.begin_tls(key, listener);
        let rest = &mut bytes[consumed..];
        if kept.is_empty() {
            self.open(key, rest);
        } else {
            kept.extend_from_slice(rest);
            self.open(key, &mut kept);
        }
        self.settle(key);
    }

    /// A request came by a listener with trusted proxies: it may be somebody else's than the connection's other end, and on the next
    /// one it may be somebody else's again.
    pub(super) fn asked(&mut self, key: ClientKey) {
        let moment = self.moment();
        let Some(client) = self.clients.get(key) else { return };
        let (listener, address) = (client.session.listener(), client.session.address_asked(&self.rules));
        if address != self.clients.address(key.slot) {
            self.uncount(key);
            self.clients.set_address(key.slot, address, 0);
            let gate = &self.rules.listeners[usize::from(listener)];
            let is_proxy = is_among(&gate.trusted_proxies, address);
            if !is_proxy && !self.count(key) {
                return;
            }
        }
        let Some(client) = self.clients.get(key) else { return };
        if let Some(effect) = client.session.proceed(&self.rules, moment) {
            self.execute(key, effect);
        }
    }

    /// Counts the client with its address; false where it is turned away.
    fn count(&mut self, key: ClientKey) -> bool {
        let (now_us, address) = (self.now.monotonic_us, self.clients.address(key.slot));
        let Some(listener) = self.clients.get(key).map(|client| client.session.listener()) else { return false };
        let counts = self.arrivals.at(listener);
        if let Err(reason) = counts.enter(address, counts.is_exempt(address), now_us) {
            self.turn_away(key, reason);
            return false;
        }
        if let Some(client) = self.clients.get(key) {
            client.counted = Counted::HalfOpen;
        }
        true
    }

    /// The client is gone, or another address's.
    pub(super) fn uncount(&mut self, key: ClientKey) {
        let (now_us, address) = (self.now.monotonic_us, self.clients.address(key.slot));
        let Some(client) = self.clients.get(key) else { return };
        let listener = client.session.listener();
        match std::mem::replace(&mut client.counted, Counted::No) {
            Counted::No | Counted::OpenProxy => {}
            counted => self.arrivals.at(listener).leave(address, counted == Counted::HalfOpen, now_us),
        }
    }

    /// Counts a client as a WebSocket, once it is one.
    pub(super) fn count_opened(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get(key) else { return };
        if !matches!(client.counted, Counted::No | Counted::HalfOpen) || !client.session.is_open() {
            return;
        }
        if client.counted == Counted::No {
            client.counted = Counted::OpenProxy;
        } else {
            client.counted = Counted::Open;
            let listener = client.session.listener();
            self.arrivals.at(listener).opened(self.clients.address(key.slot));
        }
        self.opened(key);
    }

    /// Whether plain bytes can be answered on the listener: with TLS nothing can be said before the handshake.
    fn speaks_plainly(&self, listener: u16) -> bool {
        self.acceptors.get(usize::from(listener)).is_none_or(Option::is_none)
    }

    /// Tells the client to come later, where that can be said; else, and where an answer would keep the place that is not to be had,
    /// it is reset.
    fn turn_away(&mut self, key: ClientKey, reason: TurnedAway) {
        let now_us = self.now.monotonic_us;
        let Some(client) = self.clients.get(key) else { return };
        let is_inside_tls = client.tls.is_some();
        let listener = client.session.listener();
        if reason == TurnedAway::HalfOpen || !is_inside_tls && !self.speaks_plainly(listener) {
            self.session_mut(key).tell_cause(reason.setting());
            self.refused(key, RefusalReason::TooMany);
            return self.close(key, CloseClass::Policy, true);
        }
        let session = self.session_mut(key);
        session.turn_away(status(reason), sentence(reason), now_us);
        session.tell_cause(reason.setting());
        self.settle(key);
    }

    /// Somebody else than a proxy connects where only they may.
    fn refuse_stranger(&mut self, key: ClientKey) {
        let cause = "listener.proxy_protocol = \"required\", and the address is not in trusted_proxies";
        self.session_mut(key).tell_cause(cause);
        self.refused(key, RefusalReason::Proxy);
        self.close(key, CloseClass::Policy, true);
    }

    pub(super) fn accept_failed(&mut self, errno: i32) {
        self.metrics.accept_failures.add(1);
        // All that are armed fail at once, and again after each pause: one line a second says it.
        if self.now.monotonic_us >= self.accept_warning_us {
            self.accept_warning_us = self.now.monotonic_us + WARNING_US;
            tracing::warn!(error = %std::io::Error::from_raw_os_error(errno), "clients could not be accepted");
        }
    }
}

fn status(reason: TurnedAway) -> u16 {
    if reason == TurnedAway::Storm { 503 } else { 429 }
}

fn sentence(reason: TurnedAway) -> &'static str {
    match reason {
        TurnedAway::Storm => "more clients come than are let in at once; come back after Retry-After",
        TurnedAway::AddressTooFast => "more clients come from this address than are let in at once; come back after Retry-After",
        TurnedAway::AddressFull | TurnedAway::HalfOpen => "this address has as many clients here as it may",
    }
}
