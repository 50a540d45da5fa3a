//! A thousand readers that never read.

use std::io::Write;
use std::sync::LazyLock;

use crate::alone;
use crate::common::{Gateway, PUBLISHING, Raw, frame};
use crate::figures::{comes_to, metric, mib, resident_bytes, tcp_bytes};
use crate::members::{Came, Member, Then, join, read_all};

const STALLED: usize = 1_000;
/// Stalled ones that read again once they are given up.
const LATE: usize = 50;
const READERS: usize = 20;
const PAYLOAD_BYTES: usize = 16 << 10;
const RING_BYTES: usize = 1 << 20;
/// Published before readers are waited for: a quarter of the ring, so that who reads never falls.
const BATCH: usize = RING_BYTES / PAYLOAD_BYTES / 4;
/// Two rings, and what the kernel takes: no stalled reader is within the ring after these.
const BATCHES_TO_FALL: usize = 10;
const PUBLICATIONS: usize = 40 * BATCH;
/// `send_unsent_bytes_max`.
const UNSENT_BYTES_MAX: usize = 16 << 10;
/// `SO_RCVBUF` of a stalled reader, of which the kernel makes twice as much: its window and the bookkeeping of what lies in it.
const RECEIVE_BYTES: usize = 32 << 10;
/// The kernel's largest segment on loopback. It looks at the bound before it begins one, so a socket may have one more.
const SEGMENT_BYTES: usize = 64 << 10;

#[test]
fn a_thousand_readers_that_never_read_cost_no_memory_and_no_delivery() {
    let _alone = alone();
    let gateway = Gateway::configured(&format!(
        "{PUBLISHING}[[topic]]\npattern = \">\"\nring_bytes = {RING_BYTES}\n\
         [limits]\nsend_unsent_bytes_max = {UNSENT_BYTES_MAX}\nclose_deadline_ms = 4000\n"
    ));
    let mut publisher = Raw::upgraded(&gateway, "/publish/md.flood");
    let mut readers = join(&gateway, "/ws/md.flood", READERS, None);
    let mut seen = [0; READERS];
    let mut published = 0;
    // The rings of both shards are full before the first measure.
    flood(&mut publisher, &mut readers, &mut seen, &mut published, 8, || ());

    let mut stalled = join(&gateway, "/ws/md.flood", STALLED, Some(RECEIVE_BYTES));
    let first_to_come = published;
    let (resident_before, tcp_before) = (resident_bytes(&gateway), tcp_bytes());
    let (mut resident_most, mut tcp_most) = (0, 0);
    let mut measure = || {
        resident_most = resident_most.max(resident_bytes(&gateway));
        tcp_most = tcp_most.max(tcp_bytes());
    };
    flood(&mut publisher, &mut readers, &mut seen, &mut published, BATCHES_TO_FALL, &mut measure);
    // Who reads again before the deadline is told; the others are reset.
    let codes = read_to_the_end(&mut stalled[..LATE], first_to_come, published);
    assert_eq!(codes, [Some(1013); LATE]);
    flood(&mut publisher, &mut readers, &mut seen, &mut published, PUBLICATIONS / BATCH, &mut measure);

    let resident = resident_most.saturating_sub(resident_before);
    let tcp = tcp_most.saturating_sub(tcp_before);
    // At most the rest of one frame each; what else a stalled reader lacks lies in the ring, once for all.
    let resident_max = (STALLED * PAYLOAD_BYTES + (8 << 20)) as u64;
    // On our side what is unsent, on theirs the window; the kernel counts both. A segment's overhead is within the doubled
    // buffer there, and as large here.
    let tcp_max = (STALLED * (UNSENT_BYTES_MAX + SEGMENT_BYTES + 2 * RECEIVE_BYTES)) as u64;
    println!(
        "{STALLED} stalled readers while {:.0} MiB were published: {:.1} MiB more resident (at most {:.1}), {:.1} MiB more of \
         TCP (at most {:.1}, {} bytes each)",
        mib(((published - first_to_come) * PAYLOAD_BYTES) as u64),
        mib(resident),
        mib(resident_max),
        mib(tcp),
        mib(tcp_max),
        tcp / STALLED as u64
    );
    assert!(resident < resident_max, "{resident} bytes more of resident memory");
    assert!(tcp < tcp_max, "{tcp} bytes more of TCP memory");

    comes_to(&gateway, "closes_total", "class=\"lag\"", STALLED as i64);
    comes_to(&gateway, "connections", "", 1 + READERS as i64);
    read_to_the_end(&mut stalled[LATE..], first_to_come, published);
    flood(&mut publisher, &mut readers, &mut seen, &mut published, 1, || ());
    let copies = metric(&gateway, "torn_copies_total", "");
    println!("{copies} rests of frames were copied");
    assert!((1..=STALLED as i64).contains(&copies), "at most one unfinished frame each, and some stood in one");
}

/// Publishes so many batches, and after each one waits until every reader has it, whole and in order.
fn flood(
    publisher: &mut Raw,
    readers: &mut [Member],
    seen: &mut [usize],
    published: &mut usize,
    batches: usize,
    mut after_each: impl FnMut(),
) {
    for _ in 0..batches {
        let mut bytes = Vec::with_capacity(BATCH * (PAYLOAD_BYTES + 14));
        for _ in 0..BATCH {
            bytes.extend(frame(0x82, payload(*published)));
            *published += 1;
        }
        publisher.stream.write_all(&bytes).expect("a publisher is read");
        read_all(readers, |index, came| match came {
            Came::Frame(0x82, bytes) => {
                assert!(bytes == payload(seen[index]), "reader {index} has publication {} whole and next", seen[index]);
                seen[index] += 1;
                if seen[index] == *published { Then::Stop } else { Then::Read }
            }
            Came::Frame(0x89, _) => Then::Read,
            Came::Frame(first, _) => panic!("reader {index} got a frame {first:#x}"),
            Came::End(_) => panic!("reader {index} lost its connection"),
        });
        after_each();
    }
}

/// Whole frames in order, then perhaps 1013, then the end. A reset may cut a frame.
fn read_to_the_end(stalled: &mut [Member], first: usize, published: usize) -> Vec<Option<u16>> {
    let mut codes = vec![None; stalled.len()];
    let mut next = vec![first; stalled.len()];
    read_all(stalled, |index, came| {
        match came {
            Came::Frame(0x82, bytes) => {
                assert_eq!(codes[index], None, "nothing comes behind a close frame");
                assert!(bytes == payload(next[index]), "stalled reader {index} has publication {} whole", next[index]);
                next[index] += 1;
            }
            Came::Frame(0x88, bytes) => {
                codes[index] = Some(u16::from_be_bytes([bytes[0], bytes[1]]));
                return Then::Stop;
            }
            Came::Frame(first, _) => assert_eq!(first, 0x89),
            Came::End(cut) => assert!(cut.len() < PAYLOAD_BYTES + 4),
        }
        Then::Read
    });
    assert!(next.iter().all(|&next| next < published), "all of them fell out of the ring");
    for (member, code) in stalled.iter_mut().zip(&codes) {
        if code.is_some() {
            member.send(&frame(0x88, &1013u16.to_be_bytes()));
        }
    }
    codes
}

/// A window on a long row of bytes, further on for each publication: no two are alike, and none is made twice.
fn payload(number: usize) -> &'static [u8] {
    static ROW: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mixed = |at: u32| (at.wrapping_mul(0x9E37_79B9) >> 24) as u8;
        (0..(PAYLOAD_BYTES + 16 * PUBLICATIONS) as u32).map(mixed).collect()
    });
    &ROW[7 * number..][..PAYLOAD_BYTES]
}
