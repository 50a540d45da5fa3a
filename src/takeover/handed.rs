//! What one gateway knows and the other one needs, on its way: a file in memory, of messages. Topics first, then revocations and feeds.
//!
//! A publication that is both in the ring and the newest of its key goes once.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};

use super::message::{Fault, FeedHead, Message, TopicHead, Word};
use crate::admission::Revocation;
use crate::hub::{Epoch, Epochs, Publication, TopicName};
use crate::shard::succession::HandedTopic;

/// Topics of a feed in one message.
const TOPICS_AT_ONCE: usize = 1000;

/// What a gateway knows, but for its sockets and its journals.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Topics without a journal.
    pub topics: Vec<HandedTopic>,
    /// Tokens that are good no more.
    pub revocations: Vec<Revocation>,
    /// Its feeds.
    pub feeds: Vec<HandedFeed>,
}

/// A feed on its way to another gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedFeed {
    /// What it is called: no two are called the same.
    pub name: String,
    /// Topics that it brought something of.
    pub topics: Vec<TopicName>,
    /// When it brought something last, milliseconds since 1970.
    pub heard_ms: u64,
    /// Its subscribers were told that it is gone.
    pub gone: bool,
}

/// A file in memory, with its length.
///
/// # Errors
/// What the kernel says.
pub fn put_known(known: Known) -> io::Result<(OwnedFd, u64)> {
    let Known { topics, revocations, feeds } = known;
    let file = File::from(memfd_create("tidegate-known", MemfdFlags::CLOEXEC)?);
    let mut writing = Writing { file, length: 0 };
    topics.into_iter().try_for_each(|topic| writing.write(|out| put_topic(topic, out)))?;
    revocations.into_iter().try_for_each(|one| writing.write(|out| Message::Word(Word::Revoked(one)).put(out)))?;
    feeds.iter().try_for_each(|feed| writing.write(|out| put_feed(feed, out)))?;
    writing.file.rewind()?;
    Ok((writing.file.into(), writing.length))
}

struct Writing {
    file: File,
    length: u64,
}

impl Writing {
    fn write(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut bytes = Vec::new();
        put(&mut bytes);
        self.length += bytes.len() as u64;
        self.file.write_all(&bytes)
    }
}

fn put_feed(feed: &HandedFeed, out: &mut Vec<u8>) {
    for topics in feed.topics.chunks(TOPICS_AT_ONCE) {
        let topics = topics.iter().map(|topic| topic.as_str().to_owned()).collect();
        let head = FeedHead { name: feed.name.clone(), topics, heard_ms: feed.heard_ms, gone: feed.gone };
        Message::Word(Word::Feed(head)).put(out);
    }
}

fn put_topic(topic: HandedTopic, out: &mut Vec<u8>) {
    let HandedTopic { name, epochs, newest, state, log } = topic;
    let first = newest + 1 - log.len() as u64;
    let (begun, cut) = epochs.begun();
    let (kept, in_log): (Vec<Publication>, Vec<Publication>) =
        state.into_iter().partition(|publication| publication.offset < first);
    let head = TopicHead {
        name: name.as_str().to_owned(),
        epochs: begun.into_iter().map(|(epoch, before)| (epoch.as_str().to_owned(), before)).collect(),
        cut,
        newest,
        kept: kept.len() as u64,
        state: in_log.into_iter().map(|publication| publication.offset).collect(),
        log: log.len() as u64,
    };
    Message::Topic(head).put(out);
    kept.into_iter().chain(log).for_each(|publication| Message::Publication(publication).put(out));
}

/// Reads what [`put_known`] made.
///
/// # Errors
/// `InvalidData` where it is something else; else what the kernel says.
pub fn read_known(file: OwnedFd, length: u64) -> io::Result<Known> {
    let mut bytes = Vec::new();
    File::from(file).take(length).read_to_end(&mut bytes)?;
    let wrong = |fault: Fault| io::Error::new(io::ErrorKind::InvalidData, fault);
    let (mut known, mut at) = (Known::default(), 0);
    while at < bytes.len() {
        known.read_next(&bytes, &mut at).map_err(wrong)?;
    }
    Ok(known)
}

impl Known {
    fn read_next(&mut self, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        match next(bytes, at)? {
            Message::Topic(head) => self.topics.push(read_topic(head, bytes, at)?),
            Message::Word(Word::Revoked(revocation)) => self.revocations.push(revocation),
            Message::Word(Word::Feed(FeedHead { name, topics, heard_ms, gone })) => {
                let topics: Result<Vec<TopicName>, _> = topics.iter().map(|topic| TopicName::parse(topic)).collect();
                let topics = topics.map_err(|_| Fault::Form)?;
                match self.feeds.last_mut().filter(|last| last.name == name) {
                    Some(last) => last.topics.extend(topics),
                    None => self.feeds.push(HandedFeed { name, topics, heard_ms, gone }),
                }
            }
            _ => return Err(Fault::Form),
        }
        Ok(())
    }
}

/// No number is greater.
const NUMBERS_MAX: u64 = 1 << 53;

fn read_topic(head: TopicHead, bytes: &[u8], at: &mut usize) -> Result<HandedTopic, Fault> {
    let name = TopicName::parse(&head.name).map_err(|_| Fault::Form)?;
    let begun: Option<Vec<(Epoch, u64)>> =
        head.epochs.iter().map(|(epoch, before)| Some((Epoch::parse(epoch)?, *before))).collect();
    let epochs = begun.and_then(|begun| Epochs::of(&begun, head.cut)).ok_or(Fault::Form)?;
    let mut state = publications(bytes, at, head.kept)?;
    let log = publications(bytes, at, head.log)?;
    if !(1..=NUMBERS_MAX).contains(&head.newest) {
        return Err(Fault::Form);
    }
    let first = (head.newest + 1).checked_sub(head.log).ok_or(Fault::Form)?;
    let is_kept = state.last().is_none_or(|newest| newest.offset < first);
    let is_in_order = (first..).zip(&log).all(|(offset, publication)| publication.offset == offset);
    for number in head.state {
        let place = number.checked_sub(first).ok_or(Fault::Form)?;
        state.push(log.get(place as usize).ok_or(Fault::Form)?.clone());
    }
    if !is_kept || !is_in_order || !state.is_sorted_by(|one, next| one.offset < next.offset) {
        return Err(Fault::Form);
    }
    Ok(HandedTopic { name, epochs, newest: head.newest, state, log })
}

fn publications(bytes: &[u8], at: &mut usize, count: u64) -> Result<Vec<Publication>, Fault> {
    let one = |_| match next(bytes, at)? {
        Message::Publication(publication) => Ok(publication),
        _ => Err(Fault::Form),
    };
    (0..count).map(one).collect()
}

fn next(bytes: &[u8], at: &mut usize) -> Result<Message, Fault> {
    let (message, length) = Message::read(&bytes[*at..])?.ok_or(Fault::Form)?;
    *at += length;
    Ok(message)
}
