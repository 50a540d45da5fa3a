//! Shards on one thread, each with its own simulated reactor, joined by one post.

use std::sync::Arc;

use super::super::clients::Client;
use super::super::mail::{Post, Settings};
use super::super::{Shard, ShardContext};
use super::control::Control;
use super::secure;
use super::truth::Truth;
use crate::admission::Readiness;
use crate::config::{Config, Listener, Publish, PublishAllow, Topic};
use crate::metrics::ShardMetrics;
use crate::reactor::Reactor;
use crate::reactor::sim::{Sim, SimNet, SimSettings};
use crate::tls::Acceptors;

/// What a house is made of.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) shards: u16,
    pub(super) sim: SimSettings,
    pub(super) mailbox_places: usize,
    pub(super) config: Config,
}

impl Setting {
    /// Time-outs that never come up, as an idle simulated clock runs fast; all else by default.
    pub(super) fn new(shards: u16, sim: SimSettings) -> Setting {
        const NEVER_MS: u32 = u32::MAX / 2;
        let mut config = Config {
            publish: Publish { allow: PublishAllow::Loopback, topics: vec![">".into()] },
            listeners: vec![Listener { permessage_deflate: true, ..Listener::default() }; usize::from(secure::LISTENER) + 1],
            topics: vec![Topic { ring_publications: 1 << 12, ring_bytes: 1 << 20, ..Topic::default() }],
            ..Config::default()
        };
        let limits = &mut config.limits;
        limits.handshake_timeout_ms = NEVER_MS;
        limits.message_timeout_ms = NEVER_MS;
        limits.idle_ping_ms = NEVER_MS;
        limits.pong_timeout_ms = NEVER_MS;
        limits.close_timeout_ms = NEVER_MS;
        limits.stalled_after_ms = NEVER_MS;
        limits.requests_per_second = 1_000_000;
        limits.requests_burst = 1_000_000;
        // The tests' payloads are short.
        limits.deflate_bytes_min = 40;
        let sim = SimSettings { listeners: secure::LISTENER + 1, ..sim };
        Setting { shards, sim, mailbox_places: 1024, config }
    }
}

/// One shard and the net around it.
pub(super) struct Side {
    pub(super) shard: Shard<Sim>,
    pub(super) net: SimNet,
    pub(super) runs: bool,
}

impl Side {
    pub(super) fn is_empty(&self) -> bool {
        self.shard.core.clients.count() == 0
    }
}

/// All of it.
pub(super) struct House {
    pub(super) sides: Vec<Side>,
    pub(super) control: Control,
    pub(super) truth: Truth,
    pub(super) post: Arc<Post>,
    setting: Setting,
}

impl House {
    pub(super) fn new(setting: &Setting) -> House {
        let post = Post::with_key(setting.shards, setting.mailbox_places, setting.sim.seed);
        let config = Arc::new(setting.config.clone());
        let acceptors: Acceptors = [None, Some(secure::acceptor())].into();
        let readiness = Arc::new(Readiness::new(u32::MAX));
        readiness.serve(true);
        let side = |place: u16| {
            let (sim, net) = Sim::new(SimSettings { seed: setting.sim.seed + u64::from(place), ..setting.sim });
            let context = ShardContext {
                waits: false,
                nonce: 0,
                place,
                config: config.clone(),
                post: post.clone(),
                metrics: Arc::new(ShardMetrics::with_classes(config.topics.iter().map(|topic| topic.pattern.as_str()))),
                readiness: readiness.clone(),
                acceptors: acceptors.clone(),
            };
            let shard = Shard::new(sim, context).expect("the simulator does not fail");
            Side { shard, net, runs: true }
        };
        let sides = (0..setting.shards).map(side).collect();
        let control = Control::new(post.clone(), setting.config.limits.publish_credits);
        House { sides, control, truth: Truth::default(), post, setting: setting.clone() }
    }

    /// Has rings hold so many publications from now on, on all shards.
    pub(super) fn bound_rings(&mut self, publications: u32) {
        let mut config = self.setting.config.clone();
        config.topics[0].ring_publications = publications;
        let acceptors = self.sides[0].shard.core.acceptors.clone();
        self.control.settings(&Settings { config: config.into(), acceptors });
    }

    /// One turn of one shard; what is bounded is within its bound.
    pub(super) fn turn(&mut self, place: usize) {
        let side = &mut self.sides[place];
        if !side.runs {
            return;
        }
        side.runs = side.shard.turn().expect("the simulator does not fail");
        self.truth.observe(place, &side.shard);
        let hub = &side.shard.core.topics.hub;
        assert!(hub.torn_bytes() <= self.setting.config.limits.torn_bytes_max as usize, "rests of frames are within their bound");
    }

    /// One turn of one shard whose publications are all the same.
    pub(super) fn turn_unjudged(&mut self, place: usize) {
        assert!(self.sides[place].shard.turn().expect("the simulator does not fail"), "it runs");
    }

    /// What a shard knows of its clients, for the message of a failed assertion.
    pub(super) fn clients(&self, place: usize) -> String {
        let core = &self.sides[place].shard.core;
        let clients = (0..core.clients.slots()).filter_map(|slot| core.clients.peek(slot));
        let state = |client: &Client| {
            let Client { key, receive, eof, shut, closing, .. } = client;
            let stalled_ms = client.stalled_ms(core.now.monotonic_us);
            let (torn, behind) = (core.topics.hub.torn(key.slot), core.topics.hub.is_behind(key.slot));
            format!("{key:?}: {receive:?}, {eof}, {shut}, {closing}, {stalled_ms}, {torn:?}, {behind}")
        };
        format!("{:?}, {:#?}", core.now, clients.map(state).collect::<Vec<_>>())
    }

    /// After everybody has left: nothing of them is left over.
    pub(super) fn judge_empty(&mut self) {
        let credits = self.setting.config.limits.publish_credits;
        assert!(self.control.has_all_credits(credits), "the control thread has its credits back");
        for (place, side) in self.sides.iter_mut().enumerate() {
            let core = &mut side.shard.core;
            assert_eq!(core.clients.count(), 0, "shard {place}: every slot is free");
            assert_eq!(core.topics.hub.torn_bytes(), 0, "shard {place}: no rest of a frame is kept");
            assert_eq!((core.topics.hub.due_count(), core.topics.hub.blocked_count()), (0, 0), "shard {place}: nobody is due");
            assert!(core.topics.hub.topics().all(|topic| core.topics.hub.members(topic) == 0), "shard {place}: no subscriber");
            assert!(!core.outbox.is_congested() && core.ready.is_empty(), "shard {place}: nothing waits");
            core.exchange.judge_rest(credits);
            assert!(self.post.mailbox(place as u16).is_empty(), "shard {place}: its mailbox is empty");
            assert_eq!(side.shard.reactor.buffers_free(), usize::from(self.setting.sim.receive_buffers), "buffers are back");
            assert_eq!(core.metrics.subscriptions.get(), 0, "shard {place}: subscriptions are counted down");
        }
    }
}
