//! Question: how many instructions does each part take? They can be counted where times cannot be trusted.
//!
//! Run by `scripts/instructions` under callgrind, which counts inside the part's function only: `instructions PART` sets up,
//! calls it and says how many operations that were. Without an argument every part is run once, so that none rots.

mod crowd;

use std::hint::black_box;

use crowd::Crowd;
use tidegate::ws::{Connection, Event, Limits, Opcode, Role, frame};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, fragments_max: 100, inflate_ratio_max: 200 };
const ROUNDS: u64 = 20;
const FRAMES: u64 = 1_000;
const CLIENTS: u32 = 1_000;

/// Runs a part and gives the number of its operations.
type Part = fn() -> u64;

const PARTS: [(&str, Part); 6] = [
    ("receive_16", || receive_frames(16, receive_16)),
    ("receive_128", || receive_frames(128, receive_128)),
    ("write_128", write_frames),
    ("publish_1000", || fan_out(1, ROUNDS)),
    ("visit_1", || fan_out(1, ROUNDS * u64::from(CLIENTS))),
    ("visit_16", || fan_out(16, ROUNDS * u64::from(CLIENTS))),
];

fn main() {
    let part = std::env::args().nth(1).filter(|argument| !argument.starts_with("--"));
    for (name, run) in PARTS {
        if part.as_deref().is_none_or(|part| part == name) {
            println!("{name} {}", run());
        }
    }
}

fn receive_frames(size: usize, receive: fn(&mut Connection, &mut [u8])) -> u64 {
    let mut input = Vec::new();
    for _ in 0..FRAMES {
        frame::write(&mut input, Opcode::Text, &vec![b'x'; size], Some([0; 4]));
    }
    let mut connection = Connection::new(Role::Server);
    for _ in 0..ROUNDS {
        receive(&mut connection, &mut input);
    }
    ROUNDS * FRAMES
}

#[inline(never)]
fn receive_16(connection: &mut Connection, input: &mut [u8]) {
    receive(connection, input);
}

#[inline(never)]
fn receive_128(connection: &mut Connection, input: &mut [u8]) {
    receive(connection, input);
}

fn receive(connection: &mut Connection, mut input: &mut [u8]) {
    while let Some(event) = connection.next(&LIMITS, &mut input).expect("the frames are good") {
        if let Event::Data { bytes, .. } = event {
            black_box(bytes);
        }
    }
}

fn write_frames() -> u64 {
    let (payload, mut out) = ([b'x'; 128], Vec::with_capacity(256));
    for _ in 0..FRAMES {
        out.clear();
        write_128(&mut out, &payload);
    }
    FRAMES
}

#[inline(never)]
fn write_128(out: &mut Vec<u8>, payload: &[u8]) {
    frame::write(out, Opcode::Text, payload, None);
}

/// Publishes and visits in turn.
fn fan_out(publications: usize, operations: u64) -> u64 {
    let mut crowd = Crowd::new(CLIENTS, 1, 1);
    for _ in 0..ROUNDS {
        for _ in 1..publications {
            crowd.publish(0);
        }
        publish_1000(&mut crowd);
        assert_eq!(if publications == 1 { visit_1(&mut crowd) } else { visit_16(&mut crowd) }, u64::from(CLIENTS));
    }
    operations
}

#[inline(never)]
fn publish_1000(crowd: &mut Crowd) {
    crowd.publish(0);
}

#[inline(never)]
fn visit_1(crowd: &mut Crowd) -> u64 {
    crowd.sweep()
}

#[inline(never)]
fn visit_16(crowd: &mut Crowd) -> u64 {
    crowd.sweep()
}
