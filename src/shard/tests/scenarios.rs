//! Random lives of a dozen peers on two or three shards, in kinds of misfortune.

mod choosing;

use super::dice::Dice;
use super::house::{House, Setting};
use super::peer::{Expecting, Peer, Phase, Role, TOPICS, payload, topic};
use crate::hub::{NewPublication, Payload, PayloadKind, TopicName};
use crate::reactor::sim::{PeerEnd, SimSettings};
use crate::shard::timer::TICK_US;
use crate::ws::frame::Opcode;

/// A kind of misfortune.
#[derive(Clone, Debug)]
struct Scenario {
    setting: Setting,
    peers: usize,
    steps: usize,
    /// Peers close their windows.
    stalls: bool,
    /// Peers break off.
    breaks: bool,
    /// Rings are so small that peers fall behind.
    lags: bool,
}

/// What happened over all seeds of a scenario; a scenario in which what it is for never happens shows nothing.
#[derive(Debug, Default)]
struct Happened {
    publications: usize,
    heard: usize,
    replicated: u64,
    sends_short: u64,
    tls_handshakes: u64,
    receives_ended: u64,
    buffer_shortages: u64,
    publisher_pauses: u64,
    mailbox_full: u64,
    compressions: u64,
    lagged: usize,
    lost: usize,
}

impl Happened {
    fn add(&mut self, run: &Run) {
        self.publications += run.house.truth.count();
        self.heard += run.peers.iter().map(|peer| peer.heard_count).sum::<usize>();
        for side in &run.house.sides {
            let metrics = &side.shard.core.metrics;
            self.replicated += metrics.publications_replicated.get();
            self.sends_short += metrics.sends_short.get();
            self.tls_handshakes += metrics.tls_handshakes.get();
            self.receives_ended += metrics.receives_ended.get();
            self.buffer_shortages += metrics.buffer_shortages.get();
            self.publisher_pauses += metrics.publisher_pauses.get();
            self.mailbox_full += metrics.mailbox_full.get();
            self.compressions += metrics.compressions.get();
        }
        self.lagged += run.peers.iter().filter(|peer| peer.phase == Phase::Closed(1013)).count();
        self.lost += run.peers.iter().filter(|peer| peer.end() == Some(PeerEnd::Lost)).count();
    }
}

/// One run.
struct Run {
    scenario: Scenario,
    dice: Dice,
    house: House,
    peers: Vec<Peer>,
    controls: usize,
    stopping: bool,
    stops: bool,
}

/// The least that a small ring holds; how much it holds changes as it is used.
const RING_MIN: u32 = 2;

/// Seeds of each scenario, where the environment names no other number; so many that CI has time for them.
const SEEDS: u64 = 1_000;

/// A number from the environment.
fn asked_for(name: &str) -> Option<u64> {
    let number = std::env::var(name).ok()?;
    Some(number.parse().unwrap_or_else(|_| panic!("{name} is a number, not {number:?}")))
}

/// Runs a scenario under as many seeds as `SEEDS` says, or under the one that `SEED` names.
fn check(first: u64, scenario: impl Fn(u64) -> Scenario) -> Option<Happened> {
    let seeds = asked_for("SEEDS").unwrap_or(SEEDS);
    let alone = asked_for("SEED");
    let mut happened = Happened::default();
    for seed in alone.map_or(first..first + seeds, |seed| seed..seed + 1) {
        let told = Told(seed);
        let mut run = Run::new(seed, scenario(seed));
        run.live();
        happened.add(&run);
        std::mem::forget(told);
    }
    println!("{happened:?}");
    (alone.is_none() && seeds >= SEEDS).then_some(happened)
}

/// Names the seed where a run fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("this was SEED={}", self.0);
    }
}

impl Run {
    fn new(seed: u64, scenario: Scenario) -> Run {
        let mut dice = Dice::new(seed);
        let stops = dice.once_in(3);
        let mut setting = Setting {
            sim: SimSettings { seed, incremental: seed.is_multiple_of(2), ..scenario.setting.sim },
            ..scenario.setting.clone()
        };
        // One piece of a frame a record, some frames, all that a visit would take.
        setting.config.limits.tls_visit_bytes_max = [40, 300, 16 << 10][(seed % 3) as usize];
        if stops {
            setting.config.limits.stalled_after_ms = 1_000;
        }
        Run { house: House::new(&setting), scenario, dice, peers: Vec::new(), controls: 0, stopping: false, stops }
    }

    fn live(&mut self) {
        for _ in 0..self.scenario.steps {
            self.step();
        }
        if self.stops {
            self.stop();
        } else {
            self.come_to_rest();
            self.leave();
        }
        // A stop does not wait for ever; what is left of it is the kernel's to close.
        let judged = self.peers.iter().filter(|peer| !self.stops || peer.end().is_some());
        judged.for_each(|peer| peer.judge_end(self.scenario.lags || (self.stops && peer.stalled)));
    }

    fn expecting(&self) -> Expecting {
        Expecting { stop: self.stopping, ring: self.scenario.lags.then_some(RING_MIN.into()) }
    }

    fn step(&mut self) {
        let (dice, shards) = (&mut self.dice, self.house.sides.len());
        match dice.below(20) {
            0..=9 => self.turn(),
            10 => {
                let place = self.dice.below(shards);
                self.house.sides[place].net.advance(self.dice.below(2_000) as u64);
            }
            11 if self.peers.len() < self.scenario.peers => {
                let place = dice.below(shards);
                let role = match dice.below(7) {
                    0 => Role::PublisherOne(dice.below(TOPICS)),
                    1 => Role::PublisherMany,
                    _ => Role::Subscriber,
                };
                let net = self.house.sides[place].net.clone();
                self.peers.push(Peer::connect(self.peers.len(), place, net, role, dice));
            }
            11 | 12 => self.control(),
            _ if self.peers.is_empty() => {}
            _ => {
                let place = self.dice.below(self.peers.len());
                self.act(place);
            }
        }
    }

    fn turn(&mut self) {
        let place = self.dice.below(self.house.sides.len());
        self.house.turn(place);
    }

    fn act(&mut self, place: usize) {
        let (peer, dice) = (&mut self.peers[place], &mut self.dice);
        match dice.below(60) {
            0 if peer.can_speak() => peer.close(),
            1 if dice.once_in(3) => peer.finish(),
            2 if self.scenario.breaks && !peer.reset && peer.end().is_none() => peer.break_off(),
            3..=5 if self.scenario.stalls => peer.window(0),
            6..=8 => peer.window(dice.below(4096)),
            9..=25 if peer.can_speak() => peer.speak(dice),
            9..=34 => peer.write(1 + dice.below(100)),
            35..=39 => peer.write(usize::MAX),
            _ => self.read(place),
        }
    }

    fn read(&mut self, place: usize) {
        let expecting = self.expecting();
        self.peers[place].read(&self.house.truth, expecting);
    }

    fn control(&mut self) {
        match self.dice.below(6) {
            0 => self.house.control.barrier(),
            1 if self.scenario.lags && self.dice.once_in(2) => {
                let publications = RING_MIN + self.dice.below(5) as u32;
                self.house.bound_rings(publications);
            }
            1 => self.house.control.report(),
            2 | 3 => {
                let (opcode, bytes) = payload(&mut self.dice, 200, self.controls);
                let kind = match opcode {
                    Opcode::Binary => PayloadKind::Binary,
                    _ if bytes[0] == b'{' => PayloadKind::Json,
                    _ => PayloadKind::Text,
                };
                let topic = TopicName::parse(&topic(self.dice.below(TOPICS))).expect("a topic of the tests is one");
                self.house.control.publish(NewPublication::new(topic, Payload { bytes: bytes.into(), kind }));
                self.controls += 1;
            }
            _ => self.control_mail(),
        }
    }

    /// A barrier that all have confirmed: whoever is subscribed and takes bytes has all that was published before.
    fn control_mail(&mut self) {
        let passed = self.house.control.take_mail(&self.house.truth);
        let Some(before) = passed.filter(|_| !self.stops && !self.scenario.lags) else { return };
        (0..self.peers.len()).for_each(|place| self.read(place));
        for peer in self.peers.iter().filter(|peer| peer.can_speak()) {
            for (_, topic, offset) in self.house.control.positions.iter().filter(|(ticket, ..)| *ticket <= before) {
                assert!(
                    peer.has(topic, *offset),
                    "a barrier was confirmed, and {} lacks {topic} {offset}: {}",
                    peer.state(),
                    self.house.clients(peer.place)
                );
            }
        }
    }

    /// Everybody reads; runs until nothing more happens, which must be when everybody has everything.
    fn come_to_rest(&mut self) {
        self.peers.iter_mut().filter(|peer| !peer.reset).for_each(|peer| peer.window(1 << 16));
        // Long enough for what is late, and for messages that nobody answers.
        const QUIET_ROUNDS: usize = 40;
        let (mut quiet, mut lacking) = (0, None);
        for _ in 0..3_000 {
            self.round();
            lacking = self.lacking();
            quiet = if lacking.is_none() { quiet + 1 } else { 0 };
            if quiet == QUIET_ROUNDS {
                break;
            }
        }
        assert_eq!(lacking, None, "it comes to rest");
        for peer in &self.peers {
            let in_order = peer.phase == Phase::Closed(1000) && peer.has_published_all() && !peer.reset;
            peer.judge_published(&self.house.truth, peer.can_speak() || in_order);
        }
    }

    /// One turn of everybody.
    fn round(&mut self) {
        for place in 0..self.house.sides.len() {
            self.house.sides[place].net.advance(200);
            self.house.turn(place);
        }
        self.control_mail();
        for place in 0..self.peers.len() {
            self.peers[place].write(usize::MAX);
            self.read(place);
            let peer = &mut self.peers[place];
            if matches!(peer.phase, Phase::Closed(_)) {
                peer.finish();
            }
        }
    }

    fn lacking(&self) -> Option<String> {
        if !self.house.control.is_quiet() {
            return Some("the control thread waits".into());
        }
        let speaking = self.peers.iter().filter(|peer| peer.can_speak());
        speaking.enumerate().find_map(|(place, peer)| Some(format!("peer {place}: {}", peer.lacks(&self.house.truth)?)))
    }

    /// Everybody leaves; nothing is left over.
    fn leave(&mut self) {
        for place in 0..self.peers.len() {
            if self.peers[place].can_speak() && self.dice.once_in(2) {
                self.peers[place].close();
            } else if self.peers[place].can_speak() {
                self.peers[place].finish();
            }
        }
        for _ in 0..3_000 {
            self.round();
            if self.peers.iter().all(|peer| peer.end().is_some()) && self.house.sides.iter().all(|side| side.is_empty()) {
                break;
            }
            self.peers.iter_mut().filter(|peer| peer.said_close && peer.end().is_none()).for_each(|peer| {
                peer.write(usize::MAX);
            });
        }
        // Credits come home.
        (0..50).for_each(|_| self.round());
        self.house.judge_empty();
    }

    /// The gateway stops: all that was published is delivered, then everybody who listens is told, and closed.
    fn stop(&mut self) {
        let staying: Vec<bool> = self.peers.iter().map(|peer| !peer.stalled).collect();
        for (peer, staying) in self.peers.iter_mut().zip(&staying) {
            if *staying && !peer.reset {
                peer.window(1 << 16);
            }
        }
        // Whoever reads again has said so before it is looked at; whom the sweep backs off from is asked once a tick.
        for _ in 0..50 {
            self.house.sides.iter().for_each(|side| side.net.advance(TICK_US));
            self.round();
        }
        self.stopping = true;
        let answered: Vec<bool> = self.peers.iter().map(Peer::is_answered).collect();
        self.house.control.pause();
        // Two: behind the first, no shard takes publications any more; behind the second, all that were taken are out.
        for _ in 0..2 {
            self.house.control.barrier();
            let mut rounds = 0..2_000;
            while !self.house.control.is_quiet() && rounds.next().is_some() {
                self.round();
            }
            assert!(self.house.control.is_quiet(), "a barrier of the stop is confirmed though some take no bytes");
        }
        let open: Vec<usize> = (0..self.peers.len())
            .filter(|&place| staying[place] && self.peers[place].phase == Phase::Open && self.peers[place].can_speak())
            .collect();
        for &place in &open {
            self.read(place);
            // Who asked until now may be given `last` of a subscription that is younger than the barriers.
            let lacks = answered[place].then(|| self.peers[place].lacks_publications(&self.house.truth)).flatten();
            assert_eq!(lacks, None, "all is out before the close");
        }
        self.house.control.finish();
        for _ in 0..3_000 {
            self.house.sides.iter().for_each(|side| side.net.advance(2_000));
            self.round();
            if self.house.control.finished as usize == self.house.sides.len() {
                break;
            }
        }
        for (place, side) in self.house.sides.iter().enumerate() {
            let core = &side.shard.core;
            let (stop, clients) = (core.stop, core.clients.count());
            assert!(!side.runs, "shard {place} ends within its time-out: {stop:?} with {clients} clients at {:?}", core.now);
        }
        for place in open {
            self.read(place);
            let peer = &self.peers[place];
            // Its close for falling behind may have been under way.
            let fallen = self.scenario.lags && peer.phase == Phase::Closed(1013);
            let lost = fallen || peer.end() == Some(PeerEnd::Lost);
            assert!(lost || peer.phase == Phase::Closed(1001), "peer {place}: {:?}", peer.phase);
            let (combined, told) = peer.shutdowns_told();
            // A request may still have changed `combined` after the announcement.
            assert!(lost || !answered[place] || told == u32::from(combined), "peer {place} is told of the stop: {told}");
        }
    }
}

/// What a run came to, as far as it must be the same again.
fn trace(seed: u64, scenario: Scenario) -> Vec<[u64; 6]> {
    let mut run = Run::new(seed, scenario);
    run.live();
    let counted = run.house.sides.iter().map(|side| {
        let metrics = &side.shard.core.metrics;
        let (sends, short) = (metrics.sends.get(), metrics.sends_short.get());
        [metrics.turns.get(), metrics.completions.get(), sends, short, metrics.bytes_in.get(), metrics.bytes_out.get()]
    });
    counted.collect()
}

#[test]
fn a_seed_replays_exactly() {
    let scenario = || Scenario {
        setting: Setting::new(2, SimSettings::ROUGH),
        peers: 9,
        steps: 500,
        stalls: true,
        breaks: true,
        lags: false,
    };
    for seed in 40_001..40_030 {
        let (first, second) = (trace(seed, scenario()), trace(seed, scenario()));
        println!("{seed}: {first:?}");
        assert_eq!(first, second, "SEED={seed}");
    }
}

/// Half of the seeds have no flush window, a quarter a short and a quarter a long one.
fn flush_us(seed: u64) -> u32 {
    [0, 300, 0, 50_000][(seed % 4) as usize]
}

#[test]
fn every_subscriber_gets_every_publication_once_and_in_order() {
    let happened = check(1, |seed| {
        let mut setting = Setting::new(2, SimSettings::ROUGH);
        setting.config.topics[0].flush_us = flush_us(seed);
        Scenario { setting, peers: 9, steps: 500, stalls: true, breaks: false, lags: false }
    });
    assert!(happened.is_none_or(|happened| happened.replicated > 0
        && happened.heard > 0
        && happened.sends_short > 0
        && happened.tls_handshakes > 0
        && happened.receives_ended > 0
        && happened.buffer_shortages > 0
        && happened.compressions > 0));
}

#[test]
fn small_mailboxes_hold_publishers_back_and_lose_nothing() {
    let happened = check(10_001, |seed| {
        let mut setting = Setting::new(3, SimSettings::ROUGH);
        setting.mailbox_places = 1 + (seed % 4) as usize;
        setting.config.limits.publish_credits = 1 + (seed % 3) as u32;
        setting.config.limits.replica_linger_ms = 1;
        setting.config.limits.reply_bytes_max = 64;
        setting.config.topics[0].flush_us = flush_us(seed);
        Scenario { setting, peers: 9, steps: 500, stalls: true, breaks: false, lags: false }
    });
    assert!(happened.is_none_or(|happened| happened.publisher_pauses > 0 && happened.mailbox_full > 0));
}

#[test]
fn whoever_falls_out_of_a_small_ring_is_closed_and_had_the_right_bytes_up_to_there() {
    let happened = check(20_001, |seed| {
        let mut setting = Setting::new(2, SimSettings { window_bytes: 512, ..SimSettings::ROUGH });
        setting.config.topics[0].ring_publications = RING_MIN + (seed % 5) as u32;
        setting.config.topics[0].flush_us = flush_us(seed / 5);
        setting.config.limits.torn_bytes_max = [100, 1_000, 1 << 20][(seed % 3) as usize];
        setting.config.limits.close_deadline_ms = 1_000;
        setting.config.limits.visit_bytes_max = 200;
        Scenario { setting, peers: 10, steps: 500, stalls: true, breaks: false, lags: true }
    });
    assert!(happened.is_none_or(|happened| happened.lagged > 0));
}

#[test]
fn broken_connections_harm_nobody_else() {
    let happened = check(30_001, |seed| {
        let mut setting = Setting::new(2 + (seed % 2) as u16, SimSettings { reset: 3, aborted: 50, ..SimSettings::ROUGH });
        setting.config.limits.publish_credits = 4;
        setting.mailbox_places = 8;
        setting.config.limits.replica_linger_ms = 1;
        setting.config.limits.subscriptions_max = 7;
        setting.config.shards.sends_per_turn = 2;
        setting.config.shards.completions_max = 8;
        setting.config.topics[0].flush_us = flush_us(seed);
        Scenario { setting, peers: 12, steps: 500, stalls: true, breaks: true, lags: false }
    });
    assert!(happened.is_none_or(|happened| happened.lost > 0));
}
