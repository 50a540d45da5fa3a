//! The scene of an attack: a gateway, bystanders whose every publication is checked while the attack lasts, and what it
//! cost the gateway in memory of its own and of the kernel's.
//!
//! Without: timings. The bystanders' loop is closed (all of them have a batch before the next is published), so whatever the
//! attack does to the machine, they wait, and fail only where something is lost, changed or never comes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use crate::common::figures::{kernel_bytes, metric, mib, resident_bytes};
use crate::common::{Gateway, PUBLISHING, Raw, frame, http};

/// Resident memory that a client may take beside what a limit allows it: its slot, its session, nothing else. The crowd's
/// tests hold ten thousand idle clients to the same.
pub(crate) const CLIENT_BYTES: u64 = 4096;

/// What any attack may cost once, however small it is: the allocator takes 64 KiB for the first thing of each size on each
/// thread (two shards and the control thread, some sixteen sizes), and code and stacks are touched for the first time.
const FIRST_USE_BYTES: u64 = (3 * 16 * 64 + 1024) << 10;

/// What the kernel may hold for the bystanders: a batch each.
const BYSTANDERS_KERNEL_BYTES: u64 = 1 << 20;

/// Publications before the bystanders are waited for.
const BATCH: usize = 8;
/// Batches before the first measure: more than the ring holds.
const WARM_UP: usize = 40;
const LETTERS_MAX: usize = 3000;

/// The attackers' and the bystanders' gateway.
pub(crate) struct Scene {
    /// The gateway.
    pub(crate) gateway: Gateway,
    bystanders: Bystanders,
}

/// What an attack may take at its worst beyond what was taken before it, computed from the limits in force.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// Resident memory of the gateway, bytes.
    pub(crate) resident_bytes: u64,
    /// Bytes that lie in the kernel for the gateway's sockets, sent and not yet acknowledged or received and not yet read.
    pub(crate) kernel_bytes: u64,
}

impl Cost {
    /// So many clients, each with so much of the gateway's memory beside its own, none of them slow to read.
    pub(crate) fn clients(count: usize, bytes_each: u64) -> Cost {
        let count = count as u64;
        Cost { resident_bytes: count * (CLIENT_BYTES + bytes_each), kernel_bytes: count * (64 << 10) }
    }
}

impl Scene {
    /// Publishing from this machine is allowed; `toml` is added to the configuration (but no `[shards]`).
    pub(crate) fn new(toml: &str) -> Scene {
        Scene::with("", "", toml)
    }

    /// The same, with more keys for the listener.
    pub(crate) fn with_listener(keys: &str, toml: &str) -> Scene {
        Scene::with(keys, "", toml)
    }

    /// The same, with more keys for the admin port.
    pub(crate) fn with_admin(keys: &str) -> Scene {
        Scene::with("", keys, "")
    }

    fn with(listener: &str, admin: &str, toml: &str) -> Scene {
        // Few receive buffers, so that the warm-up touches all of them, and small ones: what comes at once comes in pieces.
        let small =
            "[shards]\nreceive_buffers = 64\nreceive_buffer_bytes = 1024\n[[topic]]\npattern = \"calm\"\nring_bytes = 65536\n";
        // Without huge pages, which would round every measure up to 2 MiB for each thread, and what is free is given back at once.
        let exact = [("MIMALLOC_ALLOW_THP", "0"), ("MIMALLOC_PURGE_DELAY", "0")];
        let gateway = Gateway::configured_with(listener, &format!("{admin}{PUBLISHING}{small}{toml}"), &exact);
        let mut bystanders = Bystanders::join(&gateway);
        (0..WARM_UP).for_each(|_| bystanders.hear_a_batch());
        // What any client may do is done once.
        http(gateway.clients, "GET", "/nothing", &[], b"");
        let mut raw = Raw::upgraded(&gateway, "/ws");
        raw.send_text("{\"method\":\"SUBSCRIBE\",\"params\":[\"warm\"],\"id\":1}");
        raw.text();
        raw.send(frame(0x88, &1000u16.to_be_bytes()));
        raw.frame();
        for _ in 0..200 {
            drop(Raw::open(gateway.clients).handshake("/ws", &[]));
        }
        Scene { gateway, bystanders }
    }

    /// Attacks while the bystanders hear their topic, and holds the gateway to the attack's cost. Clients that the attack returns
    /// are still there at the last measure.
    pub(crate) fn attack<T>(&mut self, cost: Cost, attack: impl FnOnce(&Gateway) -> T) -> T {
        let Scene { gateway, bystanders } = self;
        let before = Memory::of(gateway);
        let over = AtomicBool::new(false);
        let first = bystanders.heard;
        let (result, most) = std::thread::scope(|scope| {
            let (hears, begins) = mpsc::sync_channel(1);
            let watch = scope.spawn(|| watch(gateway, bystanders, hears, &over));
            begins.recv().expect("the bystanders hear their topic");
            // Also where the attack's own checks fail.
            let ends = EndsAtDrop(&over);
            let result = attack(gateway);
            drop(ends);
            (result, watch.join().expect("the bystanders see nothing of the attack"))
        });
        let heard = bystanders.heard - first;
        let resident = most.resident.saturating_sub(before.resident);
        let resident_max = cost.resident_bytes + FIRST_USE_BYTES;
        let kernel_max = cost.kernel_bytes + BYSTANDERS_KERNEL_BYTES;
        println!(
            "bystanders heard {heard} publications each; {:.2} MiB more resident (at most {:.2}), {:.2} MiB in the kernel (at \
             most {:.2})",
            mib(resident),
            mib(resident_max),
            mib(most.kernel),
            mib(kernel_max)
        );
        assert!(heard > BATCH, "the bystanders heard nothing meanwhile");
        assert!(resident <= resident_max, "{resident} bytes more of resident memory");
        assert!(most.kernel <= kernel_max, "{} bytes in the kernel", most.kernel);
        result
    }
}

/// Hears and measures until the attack is over, and once more.
fn watch(gateway: &Gateway, bystanders: &mut Bystanders, hears: SyncSender<()>, over: &AtomicBool) -> Memory {
    let mut most = Memory::of(gateway);
    bystanders.hear_a_batch();
    hears.send(()).expect("the attack waits for this");
    loop {
        let last = over.load(Ordering::Acquire);
        bystanders.hear_a_batch();
        let now = Memory::of(gateway);
        most = Memory { resident: most.resident.max(now.resident), kernel: most.kernel.max(now.kernel) };
        if last {
            return most;
        }
        // The attack is to have most of the machine.
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[derive(Clone, Copy)]
struct Memory {
    resident: u64,
    kernel: u64,
}

impl Memory {
    fn of(gateway: &Gateway) -> Memory {
        Memory { resident: resident_bytes(gateway), kernel: kernel_bytes(gateway) }
    }
}

struct EndsAtDrop<'o>(&'o AtomicBool);

impl Drop for EndsAtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Subscribers of one topic, on both shards, raw and combined, and its publisher.
struct Bystanders {
    publisher: Raw,
    /// With whether it is combined.
    subscribers: Vec<(Raw, bool)>,
    /// Publications that each of them has.
    heard: usize,
}

impl Bystanders {
    fn join(gateway: &Gateway) -> Bystanders {
        let of = |path| on_both_shards(gateway, path).into_iter();
        let subscribers =
            of("/ws/calm").map(|raw| (raw, false)).chain(of("/stream?streams=calm").map(|raw| (raw, true))).collect();
        Bystanders { publisher: Raw::upgraded(gateway, "/publish/calm"), subscribers, heard: 0 }
    }

    /// Publishes a few and insists that everyone gets them: next, whole, and nothing else.
    fn hear_a_batch(&mut self) {
        let batch = self.heard..self.heard + BATCH;
        let frames: Vec<u8> = batch.clone().flat_map(|number| frame(0x81, payload(number).as_bytes())).collect();
        self.publisher.send(frames);
        for (index, (subscriber, combined)) in self.subscribers.iter_mut().enumerate() {
            for number in batch.clone() {
                let frame = loop {
                    let frame = subscriber.frame().unwrap_or_else(|| panic!("bystander {index} lost its connection"));
                    match frame.first {
                        0x89 => subscriber.send(crate::common::frame(0x8A, &frame.payload)),
                        _ => break frame,
                    }
                };
                let (data, offset) = (payload(number), number + 1);
                let wanted = if *combined { format!("{{\"stream\":\"calm\",\"o\":{offset},\"data\":{data}}}") } else { data };
                assert!(
                    frame.first == 0x81 && frame.payload == wanted.as_bytes(),
                    "bystander {index} has publication {number} next and whole, not {frame:?}"
                );
            }
        }
        self.heard = batch.end;
    }
}

/// Subscribers at a path, as many as it takes to have one on each shard: the kernel deals clients out as it likes.
pub(crate) fn on_both_shards(gateway: &Gateway, path: &str) -> Vec<Raw> {
    let counts = || [0, 1].map(|shard| metric(gateway, "subscriptions", &format!("shard=\"{shard}\"")));
    let before = counts();
    let mut subscribers = Vec::new();
    while before.iter().zip(counts()).any(|(before, now)| now == *before) {
        subscribers.push(Raw::upgraded(gateway, path));
    }
    subscribers
}

/// A JSON string that no other publication has.
fn payload(number: usize) -> String {
    let letter = char::from(b'a' + (number % 26) as u8);
    format!("\"{number} {}\"", letter.to_string().repeat(number * 7919 % LETTERS_MAX))
}
