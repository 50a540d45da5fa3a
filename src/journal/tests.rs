use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::directory::{Directory, Found, Wanted};
use super::format::{self, BootId, Fault, Header};
use super::records::{Ending, Records};
use super::segment::Segment;
use super::writer::{Batch, Writer};
use crate::config::{JournalFlush, JournalFull, TopicJournal};
use crate::disk::{Disk, start};
use crate::hub::{Epoch, Key, Marks, Payload, PayloadKind, Position, Publication, SourceGap, TopicName};

const BOOT: BootId = BootId([7; 16]);
const ALL: Wanted = Wanted { publications: u64::MAX, bytes: u64::MAX };

fn topic() -> TopicName {
    TopicName::parse("md.trades").expect("it is a name")
}

fn epoch() -> Epoch {
    Epoch::from_number(77)
}

fn publication(offset: u64, text: &str, marks: Marks) -> Publication {
    let payload = Payload { bytes: Bytes::copy_from_slice(text.as_bytes()), kind: PayloadKind::Json };
    Publication { offset, unix_us: 1_000 + offset, payload, marks }
}

fn plain(offset: u64) -> Publication {
    publication(offset, &format!("{{\"n\":{offset}}}"), Marks::default())
}

fn segment(first: u64, boot: BootId, publications: &[Publication], closed: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    format::put_header(&Header { topic: topic(), epoch: epoch(), first, created_us: 5, boot }, &mut bytes);
    publications.iter().for_each(|publication| format::put_publication(publication, &mut bytes));
    if closed {
        let offset = publications.last().map_or(first - 1, |publication| publication.offset);
        format::put_closed(Position { epoch: epoch(), offset }, &mut bytes);
    }
    bytes
}

/// All that is read of a file that comes in pieces, and how it ends.
fn read(bytes: &[u8], piece: usize) -> (Vec<Publication>, Result<Ending, (u64, Fault)>) {
    let mut records = Records::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        records.buffer().extend_from_slice(piece);
        loop {
            match records.next_publication() {
                Ok(Some(publication)) => found.push(publication),
                Ok(None) => break,
                Err(fault) => return (found, Err((records.at(), fault))),
            }
        }
    }
    (found, Ok(records.ending()))
}

prop_compose! {
    fn marks()(
        key in prop::option::of("[a-zA-Z\u{e9}]{1,9}"),
        removes in any::<bool>(),
        gap in prop::option::of(prop::option::of(any::<u64>())),
    ) -> Marks {
        let key = key.map(|key| Key::parse(&key).expect("it is one"));
        Marks { key, removes, gap: gap.map(|messages| SourceGap { messages }), begins: None }
    }
}

prop_compose! {
    fn publications()(all in prop::collection::vec((marks(), prop::collection::vec(any::<u8>(), 0..40), 0..3_u8, any::<u64>()), 0..9))
        -> Vec<Publication> {
        let made = |(index, (marks, bytes, kind, unix_us)): (usize, (Marks, Vec<u8>, u8, u64))| {
            let kind = match (kind, std::str::from_utf8(&bytes)) {
                (0, _) | (_, Err(_)) => PayloadKind::Binary,
                (1, Ok(_)) => PayloadKind::Text,
                (_, Ok(_)) => PayloadKind::Json,
            };
            Publication { offset: 41 + index as u64, unix_us, payload: Payload { bytes: bytes.into(), kind }, marks }
        };
        all.into_iter().enumerate().map(made).collect()
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(all in publications(), piece in 1..99_usize, closed in any::<bool>()) {
        let bytes = segment(41, BOOT, &all, closed);
        let (found, ending) = read(&bytes, piece);
        prop_assert_eq!(found, all);
        prop_assert_eq!(ending, Ok(if closed { Ending::Closed } else { Ending::Open }));
    }

    /// A file that ends early is a file whose last record is cut, and nothing before that is lost.
    #[test]
    fn a_cut_end_is_told_and_only_that_is_missing(all in publications(), end in any::<prop::sample::Index>()) {
        let ends: Vec<usize> = (0..=all.len()).map(|count| segment(41, BOOT, &all[..count], false).len()).collect();
        let bytes = segment(41, BOOT, &all, false);
        let bytes = &bytes[..end.index(bytes.len())];
        let whole = ends.iter().filter(|end| **end <= bytes.len()).count();
        let (found, ending) = read(bytes, 64);
        prop_assert_eq!(&found[..], &all[..whole.saturating_sub(1)]);
        let boundary = if whole == 0 { 0 } else { ends[whole - 1] };
        let expected = if boundary == bytes.len() && whole > 0 { Ending::Open } else { Ending::Cut { at: boundary as u64 } };
        prop_assert_eq!(ending, Ok(expected));
    }

    /// No bit can turn without being found, and what stands before it is right.
    #[test]
    fn a_turned_bit_is_found(all in publications(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = segment(41, BOOT, &all, true);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let (found, ending) = read(&bytes, 64);
        prop_assert!(all.starts_with(&found) && found.len() <= all.len());
        prop_assert!(!matches!(ending, Ok(Ending::Closed | Ending::Open)), "{ending:?} with byte {at} wrong");
    }
}

#[test]
fn what_is_no_segment_says_so_and_where() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("a");
    let mut newer = segment(1, BOOT, &[], false);
    newer[8] = 2;
    let mut rotten = segment(1, BOOT, &[], false);
    rotten[20] ^= 1;
    for (bytes, parts) in [
        (&b"{\"a\":1}\n"[..], ["at byte 0: it is no journal", "move it away"]),
        (&newer, ["of version 2", "reads up to version 1; use the release that wrote it"]),
        (&rotten, ["at byte 0: its header is damaged", "sound"]),
    ] {
        fs::write(&path, bytes).expect("it can be written");
        let error = Segment::open(&path).expect_err("it is refused").to_string();
        assert!(error.contains("/a\"") && parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

// --- what a start makes of it ---

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { directory: TempDir::new().expect("a directory can be made") }
    }

    fn of_topic(&self) -> PathBuf {
        self.directory.path().join("topics").join(topic().as_str())
    }

    fn put(&self, number: u64, bytes: &[u8]) -> PathBuf {
        fs::create_dir_all(self.of_topic()).expect("a directory can be made");
        let path = self.of_topic().join(super::segment::file_name(number));
        fs::write(&path, bytes).expect("it can be written");
        path
    }

    fn find(&self, boot: BootId, wanted: Wanted) -> Found {
        let directory = Directory::open(self.directory.path(), boot).expect("it is free");
        directory.find(&topic(), wanted).expect("nothing of it is foreign")
    }

    #[track_caller]
    fn check(&self, boot: BootId, newest: Option<u64>, past: &[u64]) {
        let found = self.find(boot, ALL);
        assert_eq!(found.position, newest.map(|offset| Position { epoch: epoch(), offset }));
        assert_eq!(offsets(&found), past);
        assert_eq!(found.before(), past.first().map_or(newest.unwrap_or(0), |first| first - 1));
    }
}

fn offsets(found: &Found) -> Vec<u64> {
    let mut offsets = Vec::new();
    found.past(|publication| offsets.push(publication.offset)).expect("it was read a moment ago");
    offsets
}

fn run(from: u64, to: u64) -> Vec<Publication> {
    (from..=to).map(plain).collect()
}

const OTHER: BootId = BootId([8; 16]);

#[test]
fn a_closed_segment_is_gone_on_with_also_after_a_new_start_of_the_machine() {
    let place = Place::new();
    place.put(1, &segment(1, BOOT, &run(1, 3), true));
    place.check(BOOT, Some(3), &[1, 2, 3]);
    place.check(OTHER, Some(3), &[1, 2, 3]);
}

#[test]
fn after_a_kill_what_was_cut_off_is_removed_and_the_rest_gone_on_with() {
    let whole = segment(1, BOOT, &run(1, 3), false);
    let two = segment(1, BOOT, &run(1, 2), false);
    for end in two.len()..whole.len() {
        let place = Place::new();
        let path = place.put(1, &whole[..end]);
        place.check(BOOT, Some(2), &[1, 2]);
        assert_eq!(fs::read(&path).expect("it is there"), segment(1, BOOT, &run(1, 2), true), "it is closed from then on");
        place.check(OTHER, Some(2), &[1, 2]);
    }
}

#[test]
fn where_the_tail_may_be_lost_a_new_count_begins() {
    let place = Place::new();
    place.put(1, &segment(1, BOOT, &run(1, 3), false));
    place.check(OTHER, None, &[]);
    place.check(OTHER, None, &[]);
    // A head that is not right is no record that was cut off: it may have been delivered.
    let two = segment(1, BOOT, &run(1, 2), false).len();
    for at in two..segment(1, BOOT, &run(1, 3), false).len() {
        let mut rotten = segment(1, BOOT, &run(1, 3), false);
        rotten[at] ^= 0x10;
        place.put(1, &rotten);
        place.check(BOOT, None, &[]);
    }
    let mut behind = segment(1, BOOT, &run(1, 3), true);
    behind.extend_from_slice(&segment(1, BOOT, &run(1, 1), false)[..9]);
    place.put(1, &behind);
    place.check(BOOT, None, &[]);
}

/// Whatever took the end of a file, in the same start of the machine too.
#[test]
fn a_position_that_was_told_and_is_missing_is_found_out() {
    let place = Place::new();
    let told = |epoch, offset| fs::write(place.of_topic().join("newest"), format::newest(Position { epoch, offset }));
    for closed in [true, false] {
        place.put(1, &segment(1, BOOT, &run(1, 3), closed));
        for (offset, newest) in [(2, Some(3)), (3, Some(3)), (4, None)] {
            told(epoch(), offset).expect("it can be written");
            place.check(BOOT, newest, if newest.is_some() { &[1, 2, 3] } else { &[] });
        }
        told(Epoch::from_number(78), 1).expect("it can be written");
        place.check(BOOT, None, &[]);
        // What cannot be read says nothing.
        fs::write(place.of_topic().join("newest"), [0; 32]).expect("it can be written");
        place.check(BOOT, Some(3), &[1, 2, 3]);
    }
}

#[test]
fn a_segment_ends_where_the_next_begins() {
    let place = Place::new();
    place.put(1, &segment(1, BOOT, &run(1, 5), false));
    place.put(2, &segment(4, BOOT, &run(4, 6), false));
    place.check(BOOT, Some(6), &[1, 2, 3, 4, 5, 6]);
    let mut rotten = segment(1, BOOT, &run(1, 5), false);
    let length = rotten.len();
    rotten[length - 1] ^= 1;
    place.put(1, &rotten);
    place.check(BOOT, Some(6), &[1, 2, 3, 4, 5, 6]);
    // A hole: what is older is not gone on with, the newest position is.
    place.put(2, &segment(6, BOOT, &run(6, 7), true));
    place.check(BOOT, Some(7), &[6, 7]);
    // Only as much as is wanted is looked for, segment by segment.
    place.put(1, &segment(1, BOOT, &run(1, 5), false));
    let few = place.find(BOOT, Wanted { publications: 2, bytes: u64::MAX });
    assert_eq!(offsets(&few), [6, 7]);
    let more = place.find(BOOT, Wanted { publications: 3, bytes: u64::MAX });
    assert_eq!(offsets(&more), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_file_that_ends_within_its_header_was_never_delivered_from() {
    let place = Place::new();
    place.put(1, &segment(1, BOOT, &run(1, 3), true));
    let begun = place.put(2, &segment(4, BOOT, &[], false)[..30]);
    place.check(OTHER, Some(3), &[1, 2, 3]);
    assert!(!begun.exists());
}

#[test]
fn a_directory_has_one_owner_and_its_topics_their_own_files() {
    let place = Place::new();
    let owner = Directory::open(place.directory.path(), BOOT).expect("it is free");
    let error = Directory::open(place.directory.path(), BOOT).expect_err("it is taken").to_string();
    assert!(error.contains("is in use by another gateway"), "{error}");
    place.put(1, &segment(1, BOOT, &[], false));
    let other = TopicName::parse("md.books").expect("it is a name");
    fs::rename(place.of_topic(), owner.of_topic(&other)).expect("it can be moved");
    let error = owner.find(&other, ALL).expect_err("it is another's").to_string();
    assert!(error.contains("is of the topic \"md.trades\""), "{error}");
    assert_eq!(owner.topics().expect("it can be read"), [other]);
}

// --- writing ---

const SETTINGS: TopicJournal = TopicJournal {
    flush: JournalFlush::Always,
    segment_bytes: 4096,
    keep_bytes: 20_000,
    keep_s: 3600,
    full: JournalFull::Refuse,
};

fn writer(place: &Place, settings: TopicJournal, found: Found) -> Writer {
    Writer::new(topic(), place.of_topic(), BOOT, settings, found.files, found.next_number)
}

/// Appends so many publications, some at a time.
async fn append(writer: &mut Writer, offset: &mut u64, count: u64) {
    append_in(epoch(), writer, offset, count).await;
}

async fn append_in(epoch: Epoch, writer: &mut Writer, offset: &mut u64, count: u64) {
    let mut left = count;
    while left > 0 {
        let some = left.min(7);
        let mut records = Vec::new();
        let before = Position { epoch, offset: *offset };
        let last = *offset + some;
        for _ in 0..some {
            *offset += 1;
            format::put_publication(&plain(*offset), &mut records);
        }
        writer.append(Batch { before, last, records, unix_us: 9 }).await.expect("there is room");
        left -= some;
    }
}

fn held_bytes(directory: &Path) -> u64 {
    let sizes = fs::read_dir(directory).expect("it is there").map(|entry| entry.and_then(|entry| entry.metadata()));
    sizes.map(|about| about.expect("it can be looked at").len()).sum()
}

#[test]
fn segments_are_rotated_and_only_so_many_kept() {
    [Disk::Ring, Disk::Pool].into_iter().for_each(check_rotation);
}

fn check_rotation(disk: Disk) {
    let place = Place::new();
    fs::create_dir_all(place.of_topic()).expect("a directory can be made");
    start(disk, async {
        let mut offset = 0;
        for _ in 0..3 {
            let found = place.find(OTHER, ALL);
            assert_eq!(found.position.map_or(0, |position| position.offset), offset, "it goes on where it ended");
            let mut writer = writer(&place, SETTINGS, found);
            append(&mut writer, &mut offset, 500).await;
            assert!(held_bytes(&place.of_topic()) <= SETTINGS.keep_bytes, "{} bytes", held_bytes(&place.of_topic()));
            writer.close(Position { epoch: epoch(), offset }).await.expect("it can be closed");
        }
        let newest = fs::read(place.of_topic().join("newest")).expect("it is there");
        assert_eq!(format::read_newest(&newest), Some(Position { epoch: epoch(), offset: 1500 }));
        let found = place.find(OTHER, ALL);
        let held = offsets(&found);
        assert!(held.len() > 100, "{held:?}");
        assert_eq!(held, (held[0]..=1500).collect::<Vec<_>>(), "without a hole, to the newest");
    })
    .unwrap();
}

#[test]
fn what_is_too_old_is_removed() {
    let place = Place::new();
    place.put(1, &segment(1, BOOT, &run(1, 3), true));
    place.put(2, &segment(4, BOOT, &run(4, 4), true));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    let file = fs::OpenOptions::new().append(true).open(place.of_topic().join(super::segment::file_name(1)));
    file.and_then(|file| file.set_modified(old)).expect("its time can be set");
    start(Disk::Pool, async {
        let mut writer = writer(&place, SETTINGS, place.find(BOOT, ALL));
        append(&mut writer, &mut 4, 1).await;
    })
    .unwrap();
    place.check(BOOT, Some(5), &[4, 5]);
}

/// A topic that is seldom published on would keep its one segment for ever.
#[test]
fn a_segment_that_was_begun_too_long_ago_is_ended() {
    let place = Place::new();
    fs::create_dir_all(place.of_topic()).expect("a directory can be made");
    start(Disk::Ring, async {
        let mut offset = 0;
        let mut writer = writer(&place, TopicJournal { keep_s: 0, ..SETTINGS }, place.find(BOOT, ALL));
        for _ in 0..4 {
            append(&mut writer, &mut offset, 1).await;
        }
    })
    .unwrap();
    place.check(BOOT, Some(4), &[4]);
}

/// After each step a start is judged as it would find the files.
#[test]
fn what_is_left_is_not_gone_on_with_until_there_is_more_and_nothing_is_recovered_across_it() {
    let place = Place::new();
    fs::create_dir_all(place.of_topic()).expect("a directory can be made");
    let (second, third) = (Epoch::from_number(500), Epoch::from_number(501));
    let position = || place.find(BOOT, ALL).position;
    start(Disk::Pool, async {
        let found = place.find(BOOT, ALL);
        let mut first_run = writer(&place, SETTINGS, found);
        first_run.leave(second).await.expect("there is nothing that a start could go on with");
        assert!(!place.of_topic().join("newest").exists());
        append(&mut first_run, &mut 0, 10).await;
        first_run.close(Position { epoch: epoch(), offset: 10 }).await.expect("it can be closed");
        assert_eq!(position(), Some(Position { epoch: epoch(), offset: 10 }));

        let found = place.find(BOOT, ALL);
        let mut writer = writer(&place, SETTINGS, found);
        writer.leave(second).await.expect("it is written over what is there");
        assert_eq!(position(), None, "also though the segment was closed");
        assert_eq!(place.find(OTHER, ALL).position, None);
        // A batch that was written in vain, however far.
        append_in(second, &mut writer, &mut 40, 3).await;
        writer.leave(second).await.expect("it is written over what is there");
        assert_eq!(position(), None);
        append_in(second, &mut writer, &mut 60, 8).await;
        let found = place.find(BOOT, ALL);
        assert_eq!(found.position, Some(Position { epoch: second, offset: 68 }));
        assert_eq!(offsets(&found), (61..=68).collect::<Vec<_>>(), "nothing from before the hole");
        writer.leave(third).await.expect("it is written over what is there");
        assert_eq!(position(), None);
    })
    .unwrap();
}
