//! Random lives of peers that choose how they hear topics and come back with their positions, on two shards with small rings.

use super::super::chooser::{Chooser, KINDS, Met, PATTERN, Published};
use super::super::dice::Dice;
use super::super::house::{House, Setting};
use super::{SEEDS, Told, asked_for};
use crate::config::{Slow, Topic, TopicKind};
use crate::hub::{NewPublication, Payload, PayloadKind, TopicName};
use crate::reactor::sim::{SimNet, SimSettings};

const PEERS: usize = 5;
const STEPS: usize = 600;
/// Keys that publications have.
const KEYS: usize = 4;

/// One run.
struct Run {
    dice: Dice,
    house: House,
    peers: Vec<Chooser>,
    published: Published,
    ring: u64,
    met: Met,
}

fn setting(seed: u64, ring: u64) -> Setting {
    let sim = SimSettings { seed, incremental: seed.is_multiple_of(2), window_bytes: 512, ..SimSettings::ROUGH };
    let mut setting = Setting::new(2, sim);
    setting.config.limits.visit_bytes_max = [200, 4096][(seed / 2 % 2) as usize];
    setting.config.limits.replica_linger_ms = 1;
    let topic = |kind: &super::super::chooser::Kind| Topic {
        pattern: kind.name.into(),
        kind: if kind.state { TopicKind::State } else { TopicKind::Log },
        key: kind.keyed.then(|| "/k".into()),
        slow_allowed: [Slow::Close, Slow::Drop, Slow::Conflate][..if kind.state { 3 } else { 2 }].into(),
        slow_lag_bytes: 1024,
        slow_lag_ms: 5,
        ring_publications: ring as u32,
        ..Topic::default()
    };
    // A pattern has a rate where all has it that could ever match.
    let others = Topic { pattern: PATTERN.into(), kind: TopicKind::State, ..Topic::default() };
    setting.config.topics = KINDS.iter().map(topic).chain([others]).collect();
    setting
}

impl Run {
    fn new(seed: u64) -> Run {
        let ring = 8 + seed % 24;
        let house = House::new(&setting(seed, ring));
        Run { dice: Dice::new(seed), house, peers: Vec::new(), published: Published::default(), ring, met: Met::default() }
    }

    /// A shard, whichever.
    fn side(&mut self) -> (usize, SimNet) {
        let place = self.dice.below(self.house.sides.len());
        (place, self.house.sides[place].net.clone())
    }

    fn step(&mut self) {
        match self.dice.below(24) {
            0..=9 => {
                let (place, _) = self.side();
                self.house.turn_unjudged(place);
            }
            10 => {
                let (_, net) = self.side();
                net.advance(self.dice.below(30_000) as u64);
            }
            11 if self.peers.len() < PEERS => {
                let side = self.side();
                self.peers.push(Chooser::connect(self.peers.len(), side, self.ring, &mut self.dice));
            }
            11 => drop(self.house.control.take_mail(&self.house.truth)),
            12..=16 => self.publish(),
            _ if self.peers.is_empty() => {}
            _ => {
                let place = self.dice.below(self.peers.len());
                self.act(place);
            }
        }
    }

    fn publish(&mut self) {
        let (kind, key) = (&KINDS[self.dice.below(KINDS.len())], self.dice.below(KEYS));
        let filler = "y".repeat(if self.dice.once_in(6) { 200 } else { self.dice.below(20) });
        let payload = format!("{{\"k\":\"{key}\",\"n\":{},\"x\":\"{filler}\"}}", self.published.count());
        let topic = TopicName::parse(kind.name).expect("a topic of the tests is one");
        let publication =
            NewPublication::new(topic, Payload { bytes: payload.clone().into_bytes().into(), kind: PayloadKind::Json });
        // Without a credit it is not taken.
        if self.house.control.publish(publication) {
            self.published.add(kind.name, key, payload);
        }
    }

    fn act(&mut self, place: usize) {
        let away = self.peers[place].is_away();
        match self.dice.below(40) {
            _ if away => {
                let side = self.side();
                self.peers[place].come_back(side, &mut self.dice);
            }
            0 | 1 => self.peers[place].cut(),
            2..=6 => self.peers[place].window(0),
            7..=20 => self.peers[place].window(self.dice.below(2048)),
            _ => self.peers[place].read(&self.published, &mut self.met),
        }
    }

    /// Everybody is there and reads, until nobody lacks anything; and then for a while nothing more comes.
    fn come_to_rest(&mut self) {
        const QUIET_ROUNDS: usize = 30;
        let (mut quiet, mut lacking) = (0, None);
        for _ in 0..3_000 {
            for place in 0..self.house.sides.len() {
                self.house.sides[place].net.advance(5_000);
                self.house.turn_unjudged(place);
            }
            self.house.control.take_mail(&self.house.truth);
            for place in 0..self.peers.len() {
                if self.peers[place].is_away() {
                    let side = self.side();
                    self.peers[place].come_back(side, &mut self.dice);
                }
                self.peers[place].window(1 << 16);
                self.peers[place].read(&self.published, &mut self.met);
            }
            lacking = self.peers.iter().find_map(|peer| peer.lacks(&self.published));
            quiet = if lacking.is_none() { quiet + 1 } else { 0 };
            if quiet == QUIET_ROUNDS {
                break;
            }
        }
        assert_eq!(lacking, None, "it comes to rest");
        self.met.thinned += self.peers.iter().map(Chooser::thinned).sum::<u64>();
    }
}

#[test]
fn what_a_subscriber_chose_is_what_it_gets_and_each_loss_is_told() {
    let seeds = asked_for("SEEDS").unwrap_or(SEEDS);
    let alone = asked_for("SEED");
    let mut met = Met::default();
    for seed in alone.map_or(50_001..50_001 + seeds, |seed| seed..seed + 1) {
        let told = Told(seed);
        let mut run = Run::new(seed);
        run.met = met;
        (0..STEPS).for_each(|_| run.step());
        run.come_to_rest();
        met = run.met;
        std::mem::forget(told);
    }
    println!("{met:?}");
    let Met { given, heard, resumed, lost, gaps, culled, thinned, snapshots, closed } = met;
    let all = [given, heard, resumed, lost, gaps, culled, thinned, snapshots, closed];
    assert!(alone.is_some() || seeds < SEEDS || all.iter().all(|count| *count > 0), "all of it happened");
}
