//! Topics on their way from one gateway to the other: a file in memory, of messages.
//!
//! A publication that is both in the ring and the newest of its key goes once.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};

use super::message::{Fault, Message, TopicHead};
use crate::hub::{Epoch, Epochs, Publication, TopicName};
use crate::shard::succession::HandedTopic;

/// The topics as a file in memory, with its length.
///
/// # Errors
/// What the kernel says.
pub fn put_topics(topics: Vec<HandedTopic>) -> io::Result<(OwnedFd, u64)> {
    let mut file = File::from(memfd_create("tidegate-topics", MemfdFlags::CLOEXEC)?);
    let (mut bytes, mut length) = (Vec::new(), 0);
    for topic in topics {
        bytes.clear();
        put_topic(topic, &mut bytes);
        file.write_all(&bytes)?;
        length += bytes.len() as u64;
    }
    file.rewind()?;
    Ok((file.into(), length))
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

/// Reads what [`put_topics`] made.
///
/// # Errors
/// `InvalidData` where it is something else; else what the kernel says.
pub fn read_topics(file: OwnedFd, length: u64) -> io::Result<Vec<HandedTopic>> {
    let mut bytes = Vec::new();
    File::from(file).take(length).read_to_end(&mut bytes)?;
    let wrong = |fault: Fault| io::Error::new(io::ErrorKind::InvalidData, fault);
    let (mut topics, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        topics.push(read_topic(&bytes, &mut at).map_err(wrong)?);
    }
    Ok(topics)
}

/// No number is greater.
const NUMBERS_MAX: u64 = 1 << 53;

fn read_topic(bytes: &[u8], at: &mut usize) -> Result<HandedTopic, Fault> {
    let Message::Topic(head) = next(bytes, at)? else { return Err(Fault::Form) };
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
