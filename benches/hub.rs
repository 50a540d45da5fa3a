//! Question: what does fan-out cost a shard without the sends: publishing for each subscriber, and a visit for each client?

mod crowd;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crowd::Crowd;

/// Times one part of a round: `before` and `after` stand outside.
fn timed<P>(crowd: &mut Crowd, rounds: u64, mut before: P, mut part: P, mut after: P) -> Duration
where
    P: FnMut(&mut Crowd, u64),
{
    let mut total = Duration::ZERO;
    for round in 0..rounds {
        before(crowd, round);
        let start = Instant::now();
        part(crowd, round);
        total += start.elapsed();
        after(crowd, round);
    }
    total
}

type Part = Box<dyn FnMut(&mut Crowd, u64)>;

fn nothing() -> Part {
    Box::new(|_, _| {})
}

fn publish(topics: usize) -> Part {
    Box::new(move |crowd, round| crowd.publish(round as usize % topics))
}

fn sweep() -> Part {
    Box::new(|crowd, _| {
        crowd.sweep();
    })
}

fn publishing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    for clients in [1_000, 10_000] {
        let mut crowd = Crowd::new(clients, 1, 1);
        group.throughput(Throughput::Elements(u64::from(clients)));
        group.bench_function(format!("to {clients} caught-up cursors"), |bencher| {
            bencher.iter_custom(|rounds| timed(&mut crowd, rounds, nothing(), publish(1), sweep()));
        });
        group.bench_function(format!("to {clients} noted cursors"), |bencher| {
            bencher.iter_custom(|rounds| timed(&mut crowd, rounds, nothing(), publish(1), nothing()));
        });
    }
    // A million subscriptions: those of one topic lie scattered over 32 MB.
    let mut crowd = Crowd::new(10_000, 1_000, 100);
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("to 1000 caught-up cursors of clients with 100 topics", |bencher| {
        bencher.iter_custom(|rounds| timed(&mut crowd, rounds, nothing(), publish(1_000), sweep()));
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
        let mut crowd = Crowd::new(clients, topics, topics_each);
        group.throughput(Throughput::Elements(u64::from(clients)));
        group.bench_function(format!("{clients} clients, {name}"), |bencher| {
            bencher.iter_custom(|rounds| {
                let fill: Part = Box::new(move |crowd, _| {
                    for number in 0..publications {
                        crowd.publish(number % topics as usize);
                    }
                });
                timed(&mut crowd, rounds, fill, sweep(), nothing())
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    targets = publishing, visiting
}
criterion_main!(benches);
