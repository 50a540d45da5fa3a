//! Question: what does one frame cost, from received bytes to its event (whole in the input and torn by it), and written?
//!
//! The key is zero, so that a buffer can be received again; the loops take no notice of it.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::ws::{Connection, Event, Limits, Opcode, Role, frame};

const SIZES: [usize; 4] = [16, 128, 1 << 10, 16 << 10];
const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, fragments_max: 100, inflate_ratio_max: 200 };
/// A receive buffer's worth of frames.
const INPUT_BYTES: usize = 64 << 10;

/// Receives all of it; the payload bytes of the messages that ended.
fn receive(connection: &mut Connection, mut input: &mut [u8]) -> usize {
    let mut received = 0;
    while let Some(event) = connection.next(&LIMITS, &mut input).expect("the frames are good") {
        if let Event::Data { bytes, .. } = event {
            received += black_box(bytes).len();
        }
    }
    received
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive");
    for size in SIZES {
        let mut input = Vec::new();
        let mut frames = 0;
        while input.is_empty() || input.len() + size < INPUT_BYTES {
            frame::write(&mut input, Opcode::Text, &vec![b'x'; size], Some([0; 4]));
            frames += 1;
        }
        group.throughput(Throughput::Elements(frames));
        for (name, input_bytes) in [("whole", input.len()), ("torn-by-1448", 1448)] {
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                let mut connection = Connection::new(Role::Server);
                bencher.iter(|| input.chunks_mut(input_bytes).map(|piece| receive(&mut connection, piece)).sum::<usize>());
            });
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("write");
    group.bench_function("header", |bencher| {
        bencher.iter(|| frame::encode_header(true, Opcode::Text, black_box(128), None));
    });
    for size in SIZES {
        group.throughput(Throughput::Elements(1));
        let payload = vec![b'x'; size];
        let mut out = Vec::new();
        for (name, mask) in [("server", None), ("client", Some([1, 2, 3, 4]))] {
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    frame::write(&mut out, Opcode::Binary, black_box(&payload), mask);
                    black_box(out.len())
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    targets = frames
}
criterion_main!(benches);
