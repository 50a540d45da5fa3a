//! What goes over comes as it was; what is damaged is refused and never believed.

use std::fs::File;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::net::UnixStream;

use super::*;
use crate::admission::Revocation;
use crate::hub::{Epoch, Epochs, Key, Marks, NewPublication, Payload, PayloadKind, Publication, SourceGap, TopicName};
use crate::shard::mail::NotPublished;
use crate::shard::succession::HandedTopic;

fn publication(offset: u64) -> Publication {
    let kind = [PayloadKind::Json, PayloadKind::Text, PayloadKind::Binary][(offset % 3) as usize];
    let key = offset.is_multiple_of(2).then(|| Key::parse(&format!("k{offset}")).expect("a key"));
    let gap = offset.is_multiple_of(5).then_some(SourceGap { messages: Some(offset) });
    let marks = Marks { key, removes: offset.is_multiple_of(4), gap, begins: None };
    let payload = Payload { bytes: Bytes::from(format!("\"{offset}\"")), kind };
    Publication { offset, unix_us: 1_700_000_000_000_000 + offset, payload, marks }
}

/// Of the ring from the one number to the other there is all, or nothing where they are the wrong way round.
fn topic(name: &str, kept: &[u64], (first, newest): (u64, u64), in_log: &[u64]) -> HandedTopic {
    let begun = [(Epoch::from_number(7), 0), (Epoch::from_number(8), 3)];
    HandedTopic {
        name: TopicName::parse(name).expect("a name"),
        epochs: Epochs::of(&begun, true).expect("in order"),
        newest,
        state: kept.iter().chain(in_log).copied().map(publication).collect(),
        log: (first..=newest).map(publication).collect(),
    }
}

/// All that a topic is, to be compared.
fn parts(topic: &HandedTopic) -> impl PartialEq + std::fmt::Debug + use<> {
    let HandedTopic { name, epochs, newest, state, log } = topic.clone();
    (name, epochs.begun(), newest, state, log)
}

fn handed() -> Vec<HandedTopic> {
    vec![topic("a.b", &[1, 4], (10, 20), &[11, 20]), topic("c", &[], (5, 5), &[5]), topic("empty", &[2], (10, 9), &[])]
}

fn known() -> Known {
    let revoked = |subject: Option<&str>, id: Option<&str>, until_unix_s| Revocation {
        subject: subject.map(Box::from),
        id: id.map(Box::from),
        until_unix_s,
    };
    // More than go in one message.
    let many = (0..2_500).map(|number| TopicName::parse(&format!("md.{number}")).expect("a name"));
    let feed = |name: &str, topics, gone| HandedFeed { name: name.into(), topics, heard_ms: 1_700_000_000_000, gone };
    Known {
        topics: handed(),
        revocations: vec![revoked(Some("alice"), None, 7), revoked(None, Some("1"), 8), revoked(Some("b"), Some("2"), 9)],
        feeds: vec![feed("upstream a", many.collect(), true), feed("upstream b", vec![handed()[0].name.clone()], false)],
    }
}

fn bytes_of(topics: Vec<HandedTopic>) -> Vec<u8> {
    bytes_of_all(Known { topics, ..Known::default() })
}

fn bytes_of_all(known: Known) -> Vec<u8> {
    let (file, length) = put_known(known).expect("there is memory");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut File::from(file), &mut bytes).expect("it can be read");
    assert_eq!(bytes.len() as u64, length);
    bytes
}

fn read(bytes: &[u8]) -> std::io::Result<Vec<HandedTopic>> {
    read_all(bytes).map(|known| known.topics)
}

fn read_all(bytes: &[u8]) -> std::io::Result<Known> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    std::io::Write::write_all(&mut file, bytes).and_then(|()| std::io::Seek::rewind(&mut file)).expect("it can be written");
    read_known(file.into(), bytes.len() as u64)
}

#[test]
fn what_is_known_comes_as_it_went() {
    let Known { topics, revocations, feeds } = read_all(&bytes_of_all(known())).expect("nothing is wrong");
    assert_eq!(topics.iter().map(parts).collect::<Vec<_>>(), handed().iter().map(parts).collect::<Vec<_>>());
    assert_eq!((revocations, feeds), (known().revocations, known().feeds));
    let mut wrong = Vec::new();
    let head = FeedHead { name: "upstream a".into(), topics: vec!["a..b".into()], heard_ms: 1, gone: true };
    Message::Word(Word::Feed(head)).put(&mut wrong);
    assert!(read_all(&wrong).is_err(), "no topic has that name");
    wrong.clear();
    Message::Word(Word::Taken).put(&mut wrong);
    assert!(read_all(&wrong).is_err(), "no word for a file");
}

#[test]
fn a_topic_whose_parts_do_not_fit_is_refused() {
    let bytes = bytes_of(handed());
    assert!(read(&bytes[..bytes.len() - 1]).is_err(), "cut off");
    let head =
        TopicHead { name: "a".into(), epochs: vec![("7".into(), 0)], cut: false, newest: 5, kept: 0, state: vec![5], log: 1 };
    let with = |head: TopicHead| {
        let mut bytes = Vec::new();
        Message::Topic(head).put(&mut bytes);
        Message::Publication(publication(5)).put(&mut bytes);
        read(&bytes)
    };
    assert!(with(head.clone()).is_ok());
    for wrong in [
        TopicHead { name: "a..b".into(), ..head.clone() },
        TopicHead { epochs: Vec::new(), ..head.clone() },
        TopicHead { newest: 6, ..head.clone() },
        TopicHead { newest: u64::MAX, ..head.clone() },
        TopicHead { newest: 0, ..head.clone() },
        TopicHead { state: vec![4], ..head.clone() },
        TopicHead { state: vec![5, 5], ..head.clone() },
        TopicHead { kept: 1, log: 0, ..head.clone() },
        TopicHead { log: 2, ..head.clone() },
    ] {
        assert!(with(wrong.clone()).is_err(), "{wrong:?}");
    }
}

fn messages() -> Vec<Message> {
    let name = || TopicName::parse("md.a").expect("a name");
    let Publication { payload, marks, .. } = publication(4);
    vec![
        Message::Word(Word::Hello { version: VERSION }),
        Message::Word(Word::Sockets { sides: vec![Side::Clients, Side::Admin], more: true }),
        Message::Word(Word::State { bytes: 7, lock: true }),
        Message::Word(Word::answer(3, Ok(crate::hub::Position { epoch: Epoch::from_number(9), offset: 2 }))),
        Message::Word(Word::answer(4, Err(NotPublished::Journal))),
        Message::Word(Word::Revoked(known().revocations[0].clone())),
        Message::Word(Word::Stale { topics: vec!["md.a".into()], since_ms: Some(3) }),
        Message::Forward { id: 9, publication: NewPublication { topic: name(), payload, marks } },
        Message::Told { topic: name(), epoch: Epoch::from_number(9), publication: publication(3) },
    ]
}

#[test]
fn messages_come_as_they_went_however_they_are_cut() {
    let mut bytes = Vec::new();
    messages().iter().for_each(|message| message.put(&mut bytes));
    let (mut read, mut at) = (Vec::new(), 0);
    for end in 0..=bytes.len() {
        while let Some((message, length)) = Message::read(&bytes[at..end]).expect("nothing is wrong") {
            read.push(message);
            at += length;
        }
    }
    assert_eq!(read, messages());
    assert!(matches!(Message::read(&[0xff; 8]), Err(Fault::Length(_))));
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let length = u32::try_from(bytes.len()).expect("it is short");
        for kind in 0..6 {
            let message = [&(length + 1).to_le_bytes()[..], &[kind], &bytes].concat();
            Message::read(&message).ok();
        }
        read(&bytes).ok();
    }

    #[test]
    fn a_file_of_which_a_byte_is_wrong_is_refused_or_another_one(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut bytes = bytes_of(handed());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(topics) = read(&bytes) {
            prop_assert!(topics.iter().map(parts).ne(handed().iter().map(parts)));
        }
    }
}

/// More than the kernel takes at once, both ways, with descriptors in front.
#[test]
fn a_line_carries_words_descriptors_and_whatever_comes_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let (one, other) = UnixStream::pair().expect("a pair");
        let (one, mut other) = (Line::new(one), Line::new(other));
        let file: OwnedFd = tempfile::tempfile().expect("a temporary file").into();
        let along = vec![std::os::fd::AsFd::as_fd(&file); 64];
        one.say(Word::Sockets { sides: vec![Side::Clients; 64], more: false }, &along).await.expect("it is said");
        let Ok(Word::Sockets { sides, .. }) = other.word().await else { panic!("it is heard") };
        assert_eq!(other.descriptors(sides.len()).expect("they came along").len(), 64);
        assert!(other.descriptors(1).is_err(), "nobody sent more");
        let (mut one, mut other) = (Pipe::new(one), Pipe::new(other));
        const COUNT: u64 = 20_000;
        let told = |offset| {
            let publication = publication(offset);
            Message::Told { topic: TopicName::parse("md.a").expect("a name"), epoch: Epoch::from_number(1), publication }
        };
        (1..=COUNT).for_each(|offset| {
            one.put(&told(offset));
            other.put(&told(offset));
        });
        let mut heard = [0, 0];
        while heard != [COUNT; 2] {
            tokio::select! {
                moved = one.moved(true) => moved.expect("the other one is there"),
                moved = other.moved(true) => moved.expect("the one is there"),
            }
            for (pipe, heard) in [&mut one, &mut other].into_iter().zip(&mut heard) {
                while let Some(message) = pipe.heard().expect("nothing is wrong") {
                    *heard += 1;
                    assert_eq!(message, told(*heard));
                }
            }
        }
        assert_eq!((one.waiting_bytes(), other.waiting_bytes()), (0, 0));
        drop(other);
        assert!(matches!(one.moved(true).await, Err(LineError::Gone)));
    });
}
