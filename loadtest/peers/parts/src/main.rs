//! The gateway's parts beside the same parts of other crates, in memory and on one core: unmasking, the check of UTF-8, both
//! together, and frames received. Prints Markdown: nanoseconds, and the gateway's as a ratio to the best of the others.
//!
//! Payloads lie in a row, each behind its header's eight bytes, as in a receive buffer; rows of 8 KiB, so small payloads
//! are in the first-level cache and large ones where they fit.

mod race;
mod receivers;

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;

use race::Race;
use receivers::{Fastwebsockets, Sockudo, Tidegate, TokioWebsockets};
use tidegate::ws::utf8::Utf8;
use tidegate::ws::{Opcode, frame, mask};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 9] = [16, 48, 128, 512, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20];
const HEADER_BYTES: usize = 8;
const ROW_BYTES: usize = 8 << 10;
const PAGE_BYTES: usize = 4 << 10;
/// Rows do not begin with a page: the end of a payload of 4 KiB, just stored, would stand in the way of its beginning, loaded
/// next in the following pass (they differ in the address bits above the page only), which befalls no payload but once.
const OFF_PAGE_BYTES: usize = 192;
/// Leaves payloads what they are, so that they can be unmasked again; no loop takes notice of it.
const KEY: [u8; 4] = [0; 4];
/// The naive contestants, which the ratio leaves out.
const YARDSTICKS: [&str; 2] = ["memcpy", "one after the other"];

const TEXTS: [(&str, &str); 3] =
    [("ASCII", "price 1234.50 $;"), ("Cyrillic", "цена 1234,50 ₽; "), ("CJK", "価格は千二百三十四円。")];

fn main() {
    heading("Unmasking", &["payload", "memcpy", "tidegate", "sockudo-ws", "fastwebsockets"]);
    SIZES.iter().for_each(|size| unmasking(*size));
    heading("Checking UTF-8", &["text", "tidegate", "simdutf8", "sockudo-ws"]);
    texts(checking);
    heading("Unmasking and checking", &["text", "one after the other", "tidegate", "sockudo-ws", "fastwebsockets"]);
    texts(both);
    heading("Receiving frames of text", &["payload", "tidegate", "sockudo-ws", "tokio-websockets", "fastwebsockets"]);
    SIZES.iter().for_each(|size| receiving(*size));
}

fn texts(measure: fn(&str, &[u8])) {
    for size in SIZES {
        for (name, unit) in TEXTS {
            let mut text = unit.repeat(size / unit.len() + 1);
            text.truncate((0..=size).rev().find(|end| text.is_char_boundary(*end)).expect("0 is one"));
            let mut text = text.into_bytes();
            text.resize(size, b' ');
            measure(&format!("{name}, {size}"), &text);
        }
    }
}

fn unmasking(size: usize) {
    let row = Row::new(&vec![b'x'; size]);
    let copy = Row::new(&vec![b'x'; size]);
    let mut race = Race::default();
    race.enter("memcpy", || {
        let mut bytes = copy.bytes.borrow_mut();
        row.each(|payload, at| bytes[copy.start + at..][..size].copy_from_slice(payload));
    });
    race.enter("tidegate", || row.each(|payload, _| mask::unmask(payload, black_box(KEY))));
    race.enter("sockudo-ws", || row.each(|payload, _| sockudo_ws::simd::apply_mask(payload, black_box(KEY))));
    race.enter("fastwebsockets", || row.each(|payload, _| fastwebsockets::unmask(payload, black_box(KEY))));
    tell(&size.to_string(), row.payloads, race);
}

fn checking(name: &str, text: &[u8]) {
    let row = Row::new(text);
    let mut race = Race::default();
    race.enter("tidegate", || row.each(|payload, _| assert!(Utf8::default().feed(payload, true).is_ok())));
    race.enter("simdutf8", || row.each(|payload, _| assert!(simdutf8::basic::from_utf8(payload).is_ok())));
    race.enter("sockudo-ws", || row.each(|payload, _| assert!(sockudo_ws::utf8::validate_utf8(payload))));
    tell(name, row.payloads, race);
}

fn both(name: &str, text: &[u8]) {
    let row = Row::new(text);
    let mut race = Race::default();
    race.enter("one after the other", || {
        row.each(|payload, _| {
            mask::unmask(payload, black_box(KEY));
            assert!(simdutf8::basic::from_utf8(payload).is_ok());
        });
    });
    race.enter("tidegate", || row.each(|payload, _| assert!(Utf8::default().unmask(payload, black_box(KEY), true).is_ok())));
    race.enter("sockudo-ws", || {
        row.each(|payload, _| {
            sockudo_ws::simd::apply_mask(payload, black_box(KEY));
            assert!(sockudo_ws::utf8::validate_utf8(payload));
        });
    });
    race.enter("fastwebsockets", || {
        row.each(|payload, _| {
            fastwebsockets::unmask(payload, black_box(KEY));
            assert!(simdutf8::basic::from_utf8(payload).is_ok());
        });
    });
    tell(name, row.payloads, race);
}

fn receiving(size: usize) {
    let mut input = Vec::new();
    let mut frames = 0;
    while input.is_empty() || input.len() + size < ROW_BYTES {
        frame::write(&mut input, Opcode::Text, &vec![b'x'; size], Some([1, 2, 3, 4]));
        frames += 1;
    }
    let input: Rc<[u8]> = input.into();
    let (mut tidegate, mut sockudo) = (Tidegate::new(), Sockudo::new());
    let mut tokio_websockets = TokioWebsockets::new(Rc::clone(&input));
    let mut fastwebsockets = Fastwebsockets::new(Rc::clone(&input));
    let whole = frames * size;
    let mut race = Race::default();
    race.enter("tidegate", || assert_eq!(tidegate.receive(&input), whole));
    race.enter("sockudo-ws", || assert_eq!(sockudo.receive(&input), whole));
    race.enter("tokio-websockets", || assert_eq!(tokio_websockets.receive(), whole));
    race.enter("fastwebsockets", || assert_eq!(fastwebsockets.receive(), whole));
    tell(&size.to_string(), frames, race);
}

/// The same payload many times, each behind a header.
struct Row {
    bytes: RefCell<Vec<u8>>,
    start: usize,
    stride: usize,
    payloads: usize,
}

impl Row {
    fn new(payload: &[u8]) -> Row {
        let stride = HEADER_BYTES + payload.len();
        let payloads = (ROW_BYTES / stride).max(1);
        let mut bytes = vec![0; PAGE_BYTES + OFF_PAGE_BYTES + payloads * stride];
        let start = bytes.as_ptr().align_offset(PAGE_BYTES) + OFF_PAGE_BYTES;
        for place in bytes[start..start + payloads * stride].chunks_mut(stride) {
            place[HEADER_BYTES..].copy_from_slice(payload);
        }
        Row { bytes: RefCell::new(bytes), start, stride, payloads }
    }

    /// Each payload, and where in the row it lies.
    fn each(&self, mut with: impl FnMut(&mut [u8], usize)) {
        let mut bytes = self.bytes.borrow_mut();
        let mut at = 0;
        for place in bytes[self.start..].chunks_exact_mut(self.stride).take(self.payloads) {
            with(black_box(&mut place[HEADER_BYTES..]), at + HEADER_BYTES);
            at += self.stride;
        }
    }
}

fn heading(title: &str, columns: &[&str]) {
    println!("\n{title}:\n\n| {} | ratio |\n|{}", columns.join(" | "), " --- |".repeat(columns.len() + 1));
}

/// Runs the race and prints its row.
fn tell(name: &str, items: usize, race: Race<'_>) {
    let times: Vec<(&str, f64)> = race.run().into_iter().map(|(name, ns)| (name, ns / items as f64)).collect();
    let ours = times.iter().find(|(name, _)| *name == "tidegate").expect("it takes part").1;
    let others = times.iter().filter(|(name, _)| *name != "tidegate" && !YARDSTICKS.contains(name));
    let best = others.map(|(_, ns)| *ns).fold(f64::INFINITY, f64::min);
    let cells: Vec<String> =
        times.iter().map(|(_, ns)| if *ns < 100.0 { format!("{ns:.1}") } else { format!("{ns:.0}") }).collect();
    println!("| {name} | {} | {:.2} |", cells.join(" | "), ours / best);
}
