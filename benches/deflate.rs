//! Question: what does it cost to compress a publication once for all its subscribers, and how small does it get?
//!
//! `TIDEGATE_DATA` names a directory with recorded feeds (docs/benchmarks.md); without it payloads of the shape of the
//! synthetic feed are made. The sizes are printed before the times.

use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flate2::read::GzDecoder;
use tidegate::ws::deflate::Compressor;

/// Lengths of the payloads of one group.
const GROUPS: [(usize, usize); 5] = [(120, 200), (400, 1000), (1000, 2000), (2000, 5000), (5000, 17_000)];
const PAYLOADS_EACH: usize = 400;

/// Payloads of the recorded feed, or made-up ones of all lengths.
fn payloads() -> Vec<Vec<u8>> {
    let Some(directory) = std::env::var_os("TIDEGATE_DATA") else { return (0..2000).map(made_up).collect() };
    let file = std::fs::File::open(Path::new(&directory).join("hft_usdm_btcusdt_20240808.gz")).expect("the recording is there");
    let mut text = Vec::new();
    GzDecoder::new(file).take(20 << 20).read_to_end(&mut text).expect("the recording can be read");
    let message = |line: &[u8]| Some(line[line.iter().position(|byte| *byte == b' ')? + 1..].to_vec());
    text.split(|byte| *byte == b'\n').filter_map(message).step_by(7).collect()
}

fn made_up(number: usize) -> Vec<u8> {
    let level = |level: usize| {
        format!("[\"{}.{}0\",\"{}.{:03}\"]", 61_000 + number * 7 % 900 + level, level % 10, level * 7 % 13, level * 37 % 1000)
    };
    let levels: Vec<String> = (0..number % 700).map(level).collect();
    format!("{{\"e\":\"depth\",\"E\":{},\"s\":\"BTCUSDT\",\"b\":[{}]}}", 1_723_161_255_000_u64 + number as u64, levels.join(","))
        .into()
}

fn deflate(criterion: &mut Criterion) {
    let all = payloads();
    let mut group = criterion.benchmark_group("deflate");
    for (least, most) in GROUPS {
        let chosen: Vec<_> = all.iter().filter(|payload| (least..most).contains(&payload.len())).take(PAYLOADS_EACH).collect();
        if chosen.is_empty() {
            continue;
        }
        let mut compressor = Compressor::new(15, false);
        let mut out = Vec::new();
        chosen.iter().for_each(|payload| compressor.compress(payload, &mut out));
        let bytes: usize = chosen.iter().map(|payload| payload.len()).sum();
        println!(
            "{least}..{most}: {} payloads of {} bytes become {} %",
            chosen.len(),
            bytes / chosen.len(),
            out.len() * 100 / bytes
        );
        group.throughput(Throughput::Elements(chosen.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes / chosen.len()), |bencher| {
            bencher.iter(|| {
                for payload in &chosen {
                    out.clear();
                    compressor.compress(black_box(payload), &mut out);
                    black_box(&out);
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    targets = deflate
}
criterion_main!(benches);
