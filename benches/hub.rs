//! What publishing costs a shard for each subscriber, and a visit for each client, without the sends.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::hub::{
    Encoder, Encoding, Epoch, Hub, Payload, PayloadKind, Position, Publication, RingLimits, Span, Start, TopicId, TopicName,
};

/// Header and payload in every encoding: what the envelope costs is the dialect's to measure.
struct HeaderOnly;

impl Encoder for HeaderOnly {
    fn encode(&mut self, _: Encoding, _: &str, _: u64, _: u64, _: PayloadKind, payload: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&[0x81, 126]);
        out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        out.extend_from_slice(payload);
    }
}

/// A shard whose clients each hold `topics_each` of the topics, as if each had chosen them itself.
struct Shard {
    hub: Hub,
    topics: Vec<TopicId>,
    clients: u32,
    publication: Publication,
    spans: Vec<Span>,
}

impl Shard {
    fn new(clients: u32, topics: u32, topics_each: u32) -> Shard {
        let mut hub = Hub::new(1 << 20);
        let limits = RingLimits { publications: 4096, bytes: 1 << 20 };
        let position = Position { epoch: Epoch::from_number(1), offset: 0 };
        let name = |number: u32| TopicName::parse(&format!("topic.{number}")).expect("a valid name");
        let topics: Vec<TopicId> = (0..topics).map(|number| hub.open(name(number), limits, position)).collect();
        for client in 0..clients {
            for choice in 0..topics_each {
                // Multiplying by an odd number spreads the choices without repeating one.
                let topic = topics[(client.wrapping_mul(2_654_435_761) as usize + choice as usize) % topics.len()];
                hub.subscribe(client, topic, Encoding::Raw, Start::Live, &mut HeaderOnly).expect("a first subscription");
            }
        }
        let payload = Payload { bytes: Bytes::from_static(&[b'x'; 128]), kind: PayloadKind::Text };
        Shard { hub, topics, clients, publication: Publication { offset: 0, unix_us: 1, payload }, spans: Vec::new() }
    }

    fn publish(&mut self, topic: usize) {
        let topic = self.topics[topic];
        self.publication.offset = self.hub.position(topic).offset + 1;
        self.hub.publish(topic, &self.publication, &mut HeaderOnly);
    }

    /// Visits all who are due, in slot order; gives how many.
    fn sweep(&mut self) -> u64 {
        let (mut visits, mut slot) = (0, 0);
        while let Some(due) = self.hub.due().next_from(slot) {
            self.hub.take_due(due, 1 << 16, &mut self.spans).expect("no one lags");
            for span in self.spans.drain(..) {
                black_box(self.hub.resolve(&span));
                self.hub.advance(due, &span, span.bytes());
            }
            visits += 1;
            slot = due + 1;
        }
        visits
    }
}

/// Times one part of a round: `before` and `after` stand outside.
fn timed<P>(shard: &mut Shard, rounds: u64, mut before: P, mut part: P, mut after: P) -> Duration
where
    P: FnMut(&mut Shard, u64),
{
    let mut total = Duration::ZERO;
    for round in 0..rounds {
        before(shard, round);
        let start = Instant::now();
        part(shard, round);
        total += start.elapsed();
        after(shard, round);
    }
    total
}

type Part = Box<dyn FnMut(&mut Shard, u64)>;

fn nothing() -> Part {
    Box::new(|_, _| {})
}

fn publish(topics: usize) -> Part {
    Box::new(move |shard, round| shard.publish(round as usize % topics))
}

fn sweep() -> Part {
    Box::new(|shard, _| {
        shard.sweep();
    })
}

fn publishing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    for clients in [1_000, 10_000] {
        let mut shard = Shard::new(clients, 1, 1);
        group.throughput(Throughput::Elements(u64::from(clients)));
        group.bench_function(format!("to {clients} caught-up cursors"), |bencher| {
            bencher.iter_custom(|rounds| timed(&mut shard, rounds, nothing(), publish(1), sweep()));
        });
        group.bench_function(format!("to {clients} noted cursors"), |bencher| {
            bencher.iter_custom(|rounds| timed(&mut shard, rounds, nothing(), publish(1), nothing()));
        });
    }
    // A million subscriptions: those of one topic lie scattered over 32 MB.
    let mut shard = Shard::new(10_000, 1_000, 100);
    group.throughput(Throughput::Elements(u64::from(shard.clients) / 10));
    group.bench_function("to 1000 caught-up cursors of clients with 100 topics", |bencher| {
        bencher.iter_custom(|rounds| timed(&mut shard, rounds, nothing(), publish(1_000), sweep()));
    });
    group.finish();
}

fn visiting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("visit");
    let cases = [
        ("one topic, one publication", 1_000, 1, 1, 1),
        ("one topic, 16 publications", 1_000, 1, 1, 16),
        ("100 topics", 100, 100, 100, 100),
    ];
    for (name, clients, topics, topics_each, publications) in cases {
        let mut shard = Shard::new(clients, topics, topics_each);
        group.throughput(Throughput::Elements(u64::from(clients)));
        group.bench_function(format!("{clients} clients, {name}"), |bencher| {
            bencher.iter_custom(|rounds| {
                let fill: Part = Box::new(move |shard, _| {
                    for number in 0..publications {
                        shard.publish(number % topics as usize);
                    }
                });
                timed(&mut shard, rounds, fill, sweep(), nothing())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, publishing, visiting);
criterion_main!(benches);
