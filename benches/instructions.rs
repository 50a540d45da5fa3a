//! Question: how many instructions does each part take? They can be counted where times cannot be trusted.
//!
//! Run by `scripts/instructions` under callgrind, which counts inside the part's function only: `instructions PART` sets up,
//! calls it, and says what to count and how many operations that were. Without an argument every part is run once, so that none rots.

mod crowd;

use std::hint::black_box;

use crowd::Crowd;
use tidegate::ws::{Connection, Event, Limits, Opcode, Role, frame};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, fragments_max: 100, inflate_ratio_max: 200 };
const ROUNDS: u64 = 20;
const FRAMES: u64 = 1_000;
const CLIENTS: u64 = 1_000;

/// A part: its name, the function that is counted, and what runs it and gives the number of its operations.
struct Part {
    name: &'static str,
    counted: &'static str,
    run: fn() -> u64,
}

const PARTS: [Part; 7] = [
    Part { name: "receive-16", counted: "receive", run: || receive_frames(16) },
    Part { name: "receive-128", counted: "receive", run: || receive_frames(128) },
    Part { name: "write-128", counted: "write", run: write_frames },
    Part { name: "publish-to-1000", counted: "publish", run: || fan_out(1, 1) },
    Part { name: "publish-to-1000-noted", counted: "publish_again", run: || fan_out(2, 1) },
    Part { name: "visit-1", counted: "visit", run: || fan_out(1, CLIENTS) },
    Part { name: "visit-16", counted: "visit", run: || fan_out(16, CLIENTS) },
];

fn main() {
    let chosen = std::env::args().nth(1).filter(|argument| !argument.starts_with("--"));
    for Part { name, counted, run } in PARTS {
        if chosen.as_deref().is_none_or(|chosen| chosen == name) {
            println!("{name} {counted} {}", run());
        }
    }
}

fn receive_frames(size: usize) -> u64 {
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
        write(&mut out, &payload);
    }
    FRAMES
}

#[inline(never)]
fn write(out: &mut Vec<u8>, payload: &[u8]) {
    frame::write(out, Opcode::Text, payload, None);
}

/// Publishes and visits in turn; each publication after the first finds all subscribers noted.
fn fan_out(publications: usize, operations_a_round: u64) -> u64 {
    let mut crowd = Crowd::new(CLIENTS as u32, 1, 1);
    for _ in 0..ROUNDS {
        publish(&mut crowd);
        for _ in 1..publications {
            publish_again(&mut crowd);
        }
        assert_eq!(visit(&mut crowd), CLIENTS);
    }
    ROUNDS * operations_a_round
}

#[inline(never)]
fn publish(crowd: &mut Crowd) {
    crowd.publish(0);
}

#[inline(never)]
fn publish_again(crowd: &mut Crowd) {
    crowd.publish(black_box(0));
}

#[inline(never)]
fn visit(crowd: &mut Crowd) -> u64 {
    crowd.sweep()
}
