//! A shard without its reactor: what completions do to clients, and what the kernel is asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ShardContext;
use super::clients::{Client, Clients, Receive, Wait as Awaiting};
use super::exchange::Exchange;
use super::history::Histories;
use super::inspection::Inspection;
use super::mail::Outbox;
use super::renewing::Revoking;
use super::stopping::{Leavers, Stop};
use super::sweep::{Loss, Sweep, Told, Visited};
use super::telling::Tellings;
use super::timer::{TICK_US, Wheel};
use super::topics::Topics;
use super::unanswered::Unanswered;
use crate::admission::Readiness;
use crate::admission::arrivals::Arrivals;
use crate::config::Config;
use crate::dialect::stream::Compressions;
use crate::hub::{Held, LeftOut};
use crate::metrics::{CloseClass, ShardMetrics, TopicClass};
use crate::reactor::{ClientKey, Now, Op, SendOutcome};
use crate::session::{Expiry, Moment, Rules};
use crate::tls::Acceptors;
use crate::ws::CloseCode;

/// Topics of which a client that asked for `last` of a pattern is given the newest publication at once, before the next ones.
const TOUR_ROWS: u32 = 64;

/// Everything between two calls of the kernel.
pub(super) struct Core {
    pub(super) config: Arc<Config>,
    pub(super) rules: Rules,
    pub(super) metrics: Arc<ShardMetrics>,
    /// The metrics' own, by the numbers that topics have.
    pub(super) classes: Arc<[Arc<TopicClass>]>,
    pub(super) clients: Clients,
    pub(super) topics: Topics,
    pub(super) outbox: Outbox,
    pub(super) exchange: Exchange,
    pub(super) sweep: Sweep,
    pub(super) now: Now,
    /// For the kernel, in order.
    pub(super) ops: VecDeque<Op>,
    /// Clients that may go on: what they waited for is there.
    pub(super) ready: Vec<ClientKey>,
    /// Waits for replicas so far; each has its number.
    pub(super) waits: u64,
    pub(super) stop: Stop,
    pub(super) leavers: Leavers,
    pub(super) revoking: Revoking,
    /// When the control thread may be told once more of a key that nobody knows.
    pub(super) key_due_us: u64,
    pub(super) unanswered: Unanswered,
    pub(super) histories: Histories,
    /// What those who watch over the gateway asked and was not answered yet.
    pub(super) inspections: VecDeque<Inspection>,
    /// By listener; newer ones come by mail.
    pub(super) acceptors: Acceptors,
    /// What a TLS client's bytes are opened into; empty between two of them.
    pub(super) opened: Vec<u8>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) wheel: Wheel,
    /// Slots of clients whose deadlines came up.
    due: Vec<u32>,
    lost: Vec<(ClientKey, Loss)>,
    /// Receives that found no buffer, oldest first.
    pub(super) unarmed: VecDeque<ClientKey>,
    /// Input that is held back, over all clients.
    pub(super) held_bytes: usize,
    /// Clients whose socket says that it takes bytes and takes none; asked again at the next tick.
    pub(super) backing_off: Vec<ClientKey>,
    pub(super) arrivals: Arrivals,
    /// Clients that came, for their names.
    pub(super) came: u32,
    pub(super) connections_max: usize,
    /// Clients that are WebSockets or streams of events.
    pub(super) let_in: usize,
    /// As many clients and who is told that there are so many already.
    pub(super) places: usize,
    /// The next slot whose deadline is filed again, as other limits hold.
    pub(super) filing_again: Option<u32>,
    pub(super) accepts_armed: u16,
    housekeeping_us: u64,
    /// When clients are next counted by how far they are behind, and whether any was.
    pub(super) lags_us: u64,
    pub(super) lagging: bool,
    /// When the next failed accept is worth a line in the log.
    pub(super) accept_warning_us: u64,
    pub(super) tellings: Tellings,
}

impl Core {
    pub(super) fn new(context: ShardContext, now: Now) -> Core {
        let ShardContext { place, config, post, metrics, readiness, nonce, acceptors, keys, waits } = context;
        let shards = post.shards();
        let (arrivals, half_open_max) = super::arriving::arrivals(&config, shards);
        let mut rules = Rules { nonce, ..Rules::new(&config) };
        if let Some(tokens) = &mut rules.tokens {
            tokens.keys = keys;
        }
        let mut core = Core {
            rules,
            clients: Clients::default(),
            classes: metrics.classes.get(),
            metrics,
            topics: Topics::new(place, &config, shards),
            outbox: Outbox::new(post),
            exchange: Exchange::new(place, shards, config.limits.publish_credits),
            sweep: Sweep::new(&config.shards, &config.limits),
            now,
            ops: VecDeque::new(),
            ready: Vec::new(),
            waits: 0,
            stop: if waits { Stop::Waiting } else { Stop::Running },
            leavers: Leavers::default(),
            revoking: Revoking::default(),
            key_due_us: 0,
            unanswered: Unanswered::default(),
            histories: Histories::default(),
            inspections: VecDeque::new(),
            acceptors,
            opened: Vec::new(),
            readiness,
            wheel: Wheel::new(now.monotonic_us),
            due: Vec::new(),
            lost: Vec::new(),
            unarmed: VecDeque::new(),
            held_bytes: 0,
            backing_off: Vec::new(),
            arrivals: Arrivals::new(arrivals, half_open_max, now.monotonic_us),
            came: 0,
            connections_max: super::connections_max(&config, shards) as usize,
            let_in: 0,
            filing_again: None,
            places: super::places(&config, shards) as usize,
            accepts_armed: 0,
            housekeeping_us: now.monotonic_us,
            lags_us: now.monotonic_us,
            lagging: false,
            accept_warning_us: 0,
            tellings: Tellings::default(),
            config,
        };
        core.arm_accepts();
        core
    }

    pub(super) fn moment(&self) -> Moment {
        let full = self.let_in >= self.connections_max || self.readiness.is_full();
        let ready = self.stop == Stop::Running && self.readiness.serves() && !full;
        Moment { now_us: self.now.monotonic_us, unix_us: self.now.unix_us, ready, full }
    }

    // --- the turn's parts, in their order ---

    pub(super) fn plan(&mut self) {
        // Counted before anyone has them.
        let Compressions { publications, bytes_before, bytes_after } = self.topics.encoder.take_compressions();
        self.metrics.compressions.add(publications);
        self.metrics.compression_bytes_in.add(bytes_before);
        self.metrics.compression_bytes_out.add(bytes_after);
        for told in self.topics.told.drain(..) {
            self.sweep.watch(told);
        }
        // Before anything is sent to them: they are inside a frame whose rest is gone.
        self.reset_overflowed();
        self.topics.hub.tour(TOUR_ROWS, &mut self.topics.encoder);
        for (slot, bytes) in self.topics.hub.take_toured().collect::<Vec<_>>() {
            self.charge_history(slot, bytes);
        }
        self.sweep.plan(&mut self.topics, &mut self.clients, self.now.unix_us, &mut self.lost);
        for (client, loss) in std::mem::take(&mut self.lost) {
            match loss {
                Loss::Fallen => self.close_fallen(client),
                Loss::Broken => self.close(client, CloseClass::Internal, true),
            }
        }
    }

    pub(super) fn begin(&mut self, now: Now) {
        self.now = now;
        self.exchange.mailbox(&self.outbox).wake_up();
        self.metrics.turns.add(1);
    }

    pub(super) fn sent(&mut self, number: usize, outcome: SendOutcome) {
        let (key, visited, progress) = self.sweep.sent(number, outcome, &mut self.topics.hub, &mut self.clients);
        self.metrics.sends.add(1);
        self.metrics.bytes_out.add(progress.bytes);
        self.clients.count_sent(key.slot, progress.bytes);
        self.metrics.deliveries.add(progress.deliveries);
        self.metrics.messages_out.add(progress.deliveries);
        let now_us = self.now.monotonic_us;
        self.unanswered.sent(key.slot, progress.bytes);
        match visited {
            Visited::Failed => self.close(key, CloseClass::Reset, true),
            Visited::Whole => {
                let client = self.client(key);
                client.woke_full = false;
                // Publications that went move no session, but one that ends behind them.
                if !progress.shared || client.session.is_ending() {
                    self.settle(key);
                }
            }
            Visited::Full => {
                self.metrics.sends_short.add(1);
                let client = self.client(key);
                // Before it was not blocked: an idle client's last progress may be long ago.
                client.progressed(now_us);
                if progress.bytes > 0 {
                    client.session.took_bytes(now_us);
                }
                // POLLOUT said yes and the send took nothing: asking at once again would spin.
                let spinning = progress.bytes == 0 && std::mem::replace(&mut client.woke_full, false);
                self.topics.hub.due().block(key.slot);
                if spinning {
                    self.backing_off.push(key);
                } else {
                    self.ops.push_back(Op::PollOut(key));
                }
                self.settle(key);
            }
        }
    }

    /// After the turn's completions: what the sweep has completed, for the histogram.
    pub(super) fn swept(&mut self, completions: usize) {
        self.metrics.completions.add(completions as u64);
        let nobody_due = self.topics.hub.due_count() == 0;
        for Told { unix_us, class } in self.sweep.completed(nobody_due) {
            let class = &self.classes[usize::from(class)];
            class.publish_to_submit.record(self.now.unix_us.saturating_sub(unix_us));
        }
        self.metrics.pattern_rows.set(self.topics.hub.pattern_rows().into());
        self.metrics.torn_copies.add(self.topics.hub.take_torn_copies());
        let LeftOut { dropped, culled, conflations } = self.topics.hub.take_left_out();
        self.metrics.dropped.add(dropped);
        self.metrics.culled.add(culled);
        self.metrics.conflations.add(conflations);
        self.metrics.keys_evicted.add(self.topics.hub.take_evicted_keys());
    }

    fn reset_overflowed(&mut self) {
        for slot in self.topics.hub.take_overflowed().collect::<Vec<_>>() {
            if let Some(client) = self.clients.at(slot) {
                let key = client.key;
                self.metrics.overflows.add(1);
                self.close(key, CloseClass::Lag, true);
            }
        }
    }

    pub(super) fn writable(&mut self, key: ClientKey) {
        let now_us = self.now.monotonic_us;
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        client.woke_full = true;
        client.progressed(now_us);
        client.session.took_bytes(now_us);
        self.topics.hub.due().unblock(key.slot);
    }

    pub(super) fn closed(&mut self, key: ClientKey) {
        self.clients.remove(key).expect("a descriptor is closed once");
        self.unanswered.left(key.slot);
        self.histories.left(key.slot);
        self.metrics.connections.set(self.clients.count() as i64);
    }

    pub(super) fn woken(&mut self) {
        self.metrics.wakes.add(1);
    }

    /// Deadlines that came up, and what is looked at once a tick.
    pub(super) fn expire(&mut self) {
        self.topics.flush_until(self.now.monotonic_us);
        self.topics.close_unheard();
        self.beat();
        self.file_again();
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(self.now.monotonic_us, &mut self.clients, &mut due);
        let moment = self.moment();
        for slot in due.drain(..) {
            let Some(key) = self.clients.at(slot).filter(|client| !client.closing).map(|client| client.key) else { continue };
            if self.is_late_with_tls(key) {
                continue;
            }
            let Some(client) = self.clients.get(key) else { continue };
            if self.topics.hub.due().is_blocked(key.slot) {
                client.session.postpone_pong(moment.now_us);
            }
            match client.session.expire(&self.rules, moment) {
                Expiry::NotYet { due_us } | Expiry::Owes { due_us } => {
                    self.wheel.file(slot, due_us, &mut self.clients);
                    self.settle(key);
                    self.let_go(key);
                }
                Expiry::Asks { due_us, first } => {
                    self.wheel.file(slot, due_us, &mut self.clients);
                    self.ask_of_ping(key, first);
                }
                Expiry::Reset => self.close(key, CloseClass::Timeout, true),
            }
        }
        self.due = due;
        if self.now.monotonic_us >= self.housekeeping_us {
            self.housekeeping_us = self.now.monotonic_us + TICK_US;
            self.keep_house();
        }
    }

    /// Arms receives that found no buffer, as many as there are buffers again, and accepts for the clients that there is room
    /// for.
    pub(super) fn arm_again(&mut self, buffers_free: usize) {
        for _ in 0..buffers_free.min(self.unarmed.len()) {
            let Some(key) = self.unarmed.pop_front() else { break };
            let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { continue };
            if client.receive == Receive::Queued {
                client.receive = Receive::Armed;
                self.ops.push_back(Op::Receive(key));
            }
        }
        self.walk_to_stop();
        self.arm_accepts();
    }

    pub(super) fn file(&mut self, slot: u32, due_us: u64) {
        self.wheel.file(slot, due_us, &mut self.clients);
    }

    // --- what happens to one client ---

    fn client(&mut self, key: ClientKey) -> &mut Client {
        self.clients.get(key).expect("a client stays until its close is confirmed")
    }

    /// After anything that moved a session: marks it due, shuts or closes what is over, files its deadline.
    pub(super) fn settle(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        if client.session.is_closing() {
            self.give_up_waiting(key);
        }
        let Some(client) = self.clients.get(key) else { return };
        // What is held back was sent before the end, and is answered before the end counts.
        if client.eof && client.pending.is_none() {
            client.session.ended_by_peer(self.now.monotonic_us);
        }
        // Whoever is ending gets no further publications.
        if client.session.is_ending() && client.subscribed {
            self.forget_subscriptions(key);
        }
        self.count_opened(key);
        self.want_key(key);
        self.tell_of_denial(key);
        if self.stop == Stop::Draining {
            self.leave_late(key);
        }
        let Some(client) = self.clients.get(key) else { return };
        let session = &mut client.session;
        session.acknowledge(self.now.monotonic_us);
        self.metrics.messages_in.add(u64::from(session.take_messages_in()));
        self.metrics.messages_out.add(u64::from(session.take_messages_out()));
        let (refusal, request_id) = (session.take_refusal(), session.take_request_id());
        if let Some(id) = request_id {
            self.clients.keep_request_id(key.slot, id);
        }
        if let Some(reason) = refusal {
            self.refused(key, reason);
        }
        let Some(client) = self.clients.get(key) else { return };
        let session = &client.session;
        let is_over = session.is_ending() && !client.owes() && (client.is_broken() || self.topics.hub.torn(key.slot).is_none());
        // close_notify is the last of a TLS client's bytes.
        if is_over && let Some(tls) = &mut client.tls {
            tls.close();
        }
        let owes = client.owes();
        if owes {
            self.topics.hub.due().mark(key.slot);
            if !std::mem::replace(&mut client.owing, true) {
                self.sweep.owe(key);
            }
        }
        if is_over && !owes {
            if client.eof {
                let class = client.session.close_class().unwrap_or(CloseClass::Reset);
                self.close(key, class, false);
                return;
            }
            if !client.shut {
                client.shut = true;
                self.ops.push_back(Op::ShutdownSend(key));
            }
        }
        let Some(client) = self.clients.get(key) else { return };
        let waits_for_owed = client.pending.as_ref().is_some_and(|pending| matches!(pending.wait, Awaiting::Owed));
        if waits_for_owed && !client.session.is_congested(&self.rules) {
            self.ready.push(key);
        }
        let due_us = client.session.deadline_us(&self.rules);
        self.wheel.file(key.slot, due_us, &mut self.clients);
    }

    /// A subscriber is more than the ring behind: closed with 1013, after the rest of its unfinished frame.
    pub(super) fn close_fallen(&mut self, key: ClientKey) {
        let now_us = self.now.monotonic_us;
        let reason = "too slow: fell behind by more than the topic's ring holds";
        self.client(key).session.close(CloseCode::TRY_AGAIN_LATER, reason, CloseClass::Lag, now_us);
        self.settle(key);
    }

    /// Ends all subscriptions of a client.
    pub(super) fn forget_subscriptions(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get(key) {
            client.subscribed = false;
        }
        let (mut topics, mut patterns) = (Vec::new(), Vec::new());
        for held in self.topics.hub.subscribed_to(key.slot) {
            match held {
                Held::Topic(topic, _) => topics.push(topic),
                Held::Pattern(pattern, ..) => patterns.push(pattern.clone()),
            }
        }
        self.metrics.subscriptions.add(-((topics.len() + patterns.len()) as i64));
        self.topics.hub.unsubscribe_all(key.slot);
        self.topics.heartbeats.left(key.slot);
        for topic in topics {
            let named = self.topics.hub.variant_of(topic).map_or(topic, |(parent, _)| parent);
            self.topics.staleness.left(key.slot, named);
            self.topics.left(topic, self.now);
        }
        if !patterns.is_empty() {
            self.topics.staleness.left_pattern(key.slot, |_| false);
        }
        for pattern in patterns {
            self.topics.left_pattern(&pattern, self.now);
        }
    }

    /// Closes the descriptor; the client is gone but for its slot.
    pub(super) fn close(&mut self, key: ClientKey, class: CloseClass, reset: bool) {
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        client.closing = true;
        if let Some(pending) = client.pending.take() {
            self.held_bytes -= pending.held.len();
        }
        self.uncount(key);
        let Some(client) = self.clients.get(key) else { return };
        let class = client.session.close_class().unwrap_or(class);
        if let Some(reason) = client.session.take_refusal() {
            self.refused(key, reason);
        }
        self.metrics.closes.add(class, 1);
        self.tell_of_close(key, class);
        self.wheel.remove(key.slot, &mut self.clients);
        self.forget_subscriptions(key);
        self.topics.hub.leave(key.slot);
        self.topics.hub.due().unmark(key.slot);
        self.topics.hub.due().unblock(key.slot);
        self.ops.push_back(Op::Close { client: key, reset });
    }

    pub(super) fn arm_accepts(&mut self) {
        let room = self.places.saturating_sub(self.clients.count());
        let armed = if self.stop == Stop::Running { room.min(usize::from(self.config.shards.accepts_armed)) as u16 } else { 0 };
        if armed != self.accepts_armed {
            self.accepts_armed = armed;
            self.ops.push_back(Op::Accept { armed });
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        // The other shards may have ended and take no mail any more; the control thread takes it to the end.
        self.stop == Stop::Ended && !self.outbox.is_waiting(self.outbox.post().control())
    }
}
