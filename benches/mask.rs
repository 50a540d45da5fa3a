//! Question: how does unmasking in place compare with copying the same bytes, at which sizes, and what would the naive loop cost?
//!
//! The key is zero, so that the bytes stay what they are from one pass to the next; no loop takes notice of it. Small
//! payloads lie in a row, each behind its header's 8 bytes, as frames do in a receive buffer: the same one again and again
//! would measure loads that wait for the stores of the pass before. They are copied to a second row that is laid out alike.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::ws::mask;

const SIZES: [usize; 7] = [16, 48, 128, 1 << 10, 16 << 10, 64 << 10, 1 << 20];
const HEADER_BYTES: usize = 8;
/// Fits the first-level cache together with what it is copied to.
const ROW_BYTES: usize = 8 << 10;

fn unmask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask");
    for size in SIZES {
        let payloads = (ROW_BYTES / (HEADER_BYTES + size)).max(1);
        group.throughput(Throughput::Bytes((payloads * size) as u64));
        let mut row = vec![b'x'; payloads * (HEADER_BYTES + size)];
        let mut copy = row.clone();
        group.bench_function(BenchmarkId::new("memcpy", size), |bencher| {
            bencher.iter(|| {
                for (to, from) in copy.chunks_mut(HEADER_BYTES + size).zip(row.chunks(HEADER_BYTES + size)) {
                    black_box(&mut to[HEADER_BYTES..]).copy_from_slice(black_box(&from[HEADER_BYTES..]));
                }
            });
        });
        group.bench_function(BenchmarkId::new("unmask", size), |bencher| {
            bencher.iter(|| {
                for frame in row.chunks_mut(HEADER_BYTES + size) {
                    mask::unmask(black_box(&mut frame[HEADER_BYTES..]), black_box([0; 4]));
                }
            });
        });
        for way in mask::present() {
            group.bench_function(BenchmarkId::new(way.name(), size), |bencher| {
                bencher.iter(|| {
                    for frame in row.chunks_mut(HEADER_BYTES + size) {
                        way.unmask_ascii(black_box(&mut frame[HEADER_BYTES..]), black_box([0; 4]));
                    }
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    targets = unmask
}
criterion_main!(benches);
