//! Question 1: how near does unmasking come to copying the same bytes, at which sizes, and what would the naive loop cost?
//! Question 2: does one loop that unmasks and looks for ASCII beat unmasking and then checking UTF-8, for ASCII and other
//! text?
//!
//! The key is zero, so that the bytes stay what they are from one pass to the next; no loop takes notice of it. Small
//! payloads lie in a row, each behind its header's 8 bytes, as frames do in a receive buffer: the same one again and again
//! would measure loads that wait for the stores of the pass before.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::ws::mask;
use tidegate::ws::utf8::Utf8;

const SIZES: [usize; 6] = [16, 48, 128, 1 << 10, 16 << 10, 1 << 20];
const HEADER_BYTES: usize = 8;
/// Fits the first-level cache together with what it is copied to.
const ROW_BYTES: usize = 16 << 10;

fn unmask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask");
    for size in SIZES {
        let payloads = (ROW_BYTES / (HEADER_BYTES + size)).max(1);
        group.throughput(Throughput::Bytes((payloads * size) as u64));
        let mut row = vec![b'x'; payloads * (HEADER_BYTES + size)];
        let mut copy = vec![0; size];
        group.bench_function(BenchmarkId::new("memcpy", size), |bencher| {
            bencher.iter(|| {
                for frame in row.chunks(HEADER_BYTES + size) {
                    black_box(&mut copy[..]).copy_from_slice(&frame[HEADER_BYTES..]);
                }
            });
        });
        group.bench_function(BenchmarkId::new("dispatched", size), |bencher| {
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

fn text(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask-text");
    let other = "цена 1234,50 ₽; ".repeat(SIZES[5] / 16);
    for size in &SIZES[2..] {
        group.throughput(Throughput::Bytes(*size as u64));
        let end = (0..=*size).rev().find(|end| other.is_char_boundary(*end)).expect("0 is one");
        for (name, text) in [("ascii", &"x".repeat(*size)[..]), ("other", &other[..end])] {
            let mut buffer = [&[0; HEADER_BYTES], text.as_bytes()].concat();
            let payload = &mut buffer[HEADER_BYTES..];
            group.bench_function(BenchmarkId::new(format!("{name}-fused"), size), |bencher| {
                bencher.iter(|| {
                    let ascii = mask::unmask_ascii(black_box(&mut *payload), black_box([0; 4]));
                    ascii || Utf8::default().feed(payload, true).is_ok()
                });
            });
            group.bench_function(BenchmarkId::new(format!("{name}-two-passes"), size), |bencher| {
                bencher.iter(|| {
                    mask::unmask(black_box(&mut *payload), black_box([0; 4]));
                    simdutf8::basic::from_utf8(payload).is_ok()
                });
            });
        }
    }
}

criterion_group!(benches, unmask, text);
criterion_main!(benches);
