//! Question: does one loop that unmasks and looks for ASCII beat unmasking and then checking UTF-8, for ASCII and other text?
//!
//! The key is zero, and payloads lie in a row, as in the bench of unmasking alone. Cyrillic is text of which hardly a block is
//! ASCII; "late" is ASCII but for its last character, the worst that can befall the one loop.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::ws::mask;
use tidegate::ws::utf8::Utf8;

const SIZES: [usize; 6] = [16, 128, 1 << 10, 16 << 10, 64 << 10, 1 << 20];
const HEADER_BYTES: usize = 8;
const ROW_BYTES: usize = 8 << 10;

fn text_of(kind: &str, size: usize) -> Vec<u8> {
    let mut text = match kind {
        "ascii" => "x".repeat(size),
        "late" => "x".repeat(size - 2) + "é",
        _ => "цена 1234,50 ₽; ".repeat(size / 16),
    };
    text.truncate((0..=size).rev().find(|end| text.is_char_boundary(*end)).expect("0 is one"));
    let mut bytes = text.into_bytes();
    bytes.resize(size, b' ');
    bytes
}

fn text(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("text");
    for size in SIZES {
        for kind in ["ascii", "cyrillic", "late"] {
            let payloads = (ROW_BYTES / (HEADER_BYTES + size)).max(1);
            group.throughput(Throughput::Bytes((payloads * size) as u64));
            let mut row = [vec![0; HEADER_BYTES], text_of(kind, size)].concat().repeat(payloads);
            group.bench_function(BenchmarkId::new(format!("{kind}-fused"), size), |bencher| {
                bencher.iter(|| {
                    for frame in row.chunks_mut(HEADER_BYTES + size) {
                        let payload = black_box(&mut frame[HEADER_BYTES..]);
                        assert!(Utf8::default().unmask(payload, black_box([0; 4]), true).is_ok());
                    }
                });
            });
            group.bench_function(BenchmarkId::new(format!("{kind}-one-after-the-other"), size), |bencher| {
                bencher.iter(|| {
                    for frame in row.chunks_mut(HEADER_BYTES + size) {
                        let payload = black_box(&mut frame[HEADER_BYTES..]);
                        mask::unmask(payload, black_box([0; 4]));
                        assert!(simdutf8::basic::from_utf8(payload).is_ok());
                    }
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    targets = text
}
criterion_main!(benches);
