//! Question: what does checking UTF-8 as it comes in cost beside checking it whole, with `simdutf8` and with std, and how
//! much do pieces as small as a TCP segment add, each of which may tear a code point?

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::ws::utf8::Utf8;

/// The payload of a TCP segment on Ethernet.
const SEGMENT_BYTES: usize = 1448;

fn utf8(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for (name, unit) in [("ascii", "price 1234.50 $;"), ("cyrillic", "цена 1234,50 ₽; "), ("cjk", "価格は千二百三十四円。")]
    {
        for size in [128, 16 << 10] {
            let text = unit.repeat(size / unit.len());
            let bytes = text.as_bytes();
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            let id = |what: &str| BenchmarkId::new(format!("{name}-{what}"), size);
            group.bench_function(id("incremental-whole"), |bencher| {
                bencher.iter(|| Utf8::default().feed(black_box(bytes), true).is_ok());
            });
            group.bench_function(id("incremental-segments"), |bencher| {
                bencher.iter(|| {
                    let mut utf8 = Utf8::default();
                    let fed = black_box(bytes).chunks(SEGMENT_BYTES).try_for_each(|piece| utf8.feed(piece, false));
                    fed.is_ok() && utf8.finish().is_ok()
                });
            });
            group.bench_function(id("simdutf8"), |bencher| {
                bencher.iter(|| simdutf8::basic::from_utf8(black_box(bytes)).is_ok());
            });
            group.bench_function(id("std"), |bencher| bencher.iter(|| std::str::from_utf8(black_box(bytes)).is_ok()));
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    targets = utf8
}
criterion_main!(benches);
