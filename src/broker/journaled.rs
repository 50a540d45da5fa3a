//! The home of journaled topics, on the control thread: what is published is written first, then gets its position told.
//!
//! Each topic has at most one write under way; what comes meanwhile is the next batch (group commit). Without: files' bytes
//! ([`journal`](crate::journal)), rings and replicas (`Topics`, the same as a shard's).
//!
//! Invariants: an offset is given when its batch is made and told when that is written or gone on without: no hole, and for
//! what is neither no position. A publication whose position is awaited is refused where it cannot be written; others, and those that a
//! publisher's connection counts, wait, which takes the credits from whoever publishes. What waits is bounded by the credits given out.

mod log;
mod writing;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::Instant;

use self::log::{Log, Unwritten};
use crate::config::{self, Config, TopicKind};
use crate::disk::File;
use crate::hub::topic::Pattern;
use crate::hub::{Epoch, Position, TopicName};
use crate::journal::JournalError;
use crate::journal::directory::{Directory, Wanted};
use crate::journal::format::BootId;
use crate::journal::segment;
use crate::journal::writer::Writer;
use crate::metrics::ControlMetrics;
use crate::reactor::Now;
use crate::shard::inquiry::{Finding, Inquiry, TopicPart};
use crate::shard::mail::{Mail, NotPublished, Outbox, Place, TopicsMax};
use crate::shard::succession::Succession;
use crate::shard::topics::Topics;

/// Where the kernel names this start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Bytes after which a batch takes no further publication.
const BATCH_BYTES: usize = 1 << 20;
/// After a write that failed: how soon the next is tried.
const RETRY: Duration = Duration::from_millis(250);
/// Least time between two lines of the log about writes that fail.
const COMPLAIN: Duration = Duration::from_secs(5);

/// The home.
pub struct Journaled {
    topics: Topics,
    place: Place,
    directory: Directory,
    settings: Box<[(Pattern, config::Topic)]>,
    topics_max: usize,
    logs: HashMap<TopicName, Log>,
    /// Topics with something to write and no write under way.
    ready: VecDeque<TopicName>,
    work: JoinSet<Done>,
    /// When which topic is to be on disk.
    syncs: BTreeSet<(Instant, TopicName)>,
    /// Publications taken so far.
    accepted: u64,
    /// Barriers, each with the count of publications that it stands behind.
    barriers: VecDeque<(u64, u64)>,
    /// Feeds that are gone or back, each with the count of publications that it stands behind.
    feeds: VecDeque<(Vec<TopicName>, Option<u64>, u64)>,
    /// Threads that publish no more, by the attempt of another gateway to take this one's place.
    quiet: HashMap<u64, u16>,
    /// By place: credits to be given back.
    taken: Box<[u32]>,
    /// Publications of sources that were passed on, or refused.
    handed_over: usize,
    metrics: Arc<ControlMetrics>,
    started: Instant,
    /// When that writes fail was last said, and that they do not any more.
    complained: Option<Instant>,
    healed: Option<Instant>,
}

/// Work that was under way.
pub(super) enum Done {
    Written { topic: TopicName, writer: Box<Writer>, outcome: Outcome },
    Synced { topic: TopicName, file: File, result: io::Result<()> },
}

/// What became of a batch.
pub(super) enum Outcome {
    Written,
    /// Nothing of it counts.
    Failed(io::Error),
    /// Neither, and its topic goes on without its journal, in this epoch.
    Left(io::Error, Epoch),
}

impl Journaled {
    /// Takes the directory, and goes on with the topics that it holds. The lock may come from the gateway before.
    ///
    /// # Errors
    /// [`JournalError`]: nothing was changed but for a record that was cut off.
    pub fn open(
        config: &Config,
        place: Place,
        metrics: Arc<ControlMetrics>,
        lock: Option<OwnedFd>,
    ) -> Result<Journaled, JournalError> {
        let path = Path::new(BOOT_ID);
        let io = |error| JournalError::Io { path: path.to_owned(), error };
        let boot = std::fs::read_to_string(path).map_err(io)?;
        let boot = BootId::parse(&boot).ok_or_else(|| io(io::ErrorKind::InvalidData.into()))?;
        let mut journaled = Journaled {
            topics: Topics::new(place, config, 1),
            place,
            directory: Directory::open_with(&config.journal.directory, boot, lock)?,
            settings: settings(config),
            topics_max: config.journal.topics_max as usize,
            logs: HashMap::new(),
            ready: VecDeque::new(),
            work: JoinSet::new(),
            syncs: BTreeSet::new(),
            accepted: 0,
            barriers: VecDeque::new(),
            feeds: VecDeque::new(),
            quiet: HashMap::new(),
            taken: vec![0; usize::from(place) + 1].into(),
            handed_over: 0,
            metrics,
            started: Instant::now(),
            complained: None,
            healed: None,
        };
        for topic in journaled.directory.topics()? {
            journaled.go_on_with(topic)?;
        }
        Ok(journaled)
    }

    /// Other settings of topics hold from now on. Which topics have journals, and how those are kept, is as it was at start.
    pub(super) fn go_by(&mut self, config: &Config) {
        self.topics.go_by(config, 1);
        self.settings = settings(config);
    }

    fn go_on_with(&mut self, topic: TopicName) -> Result<(), JournalError> {
        let settings = self.settings.iter().find(|(pattern, _)| pattern.matches(topic.as_str())).map(|(_, topic)| topic);
        let Some((settings, journal)) = settings.and_then(|settings| Some((settings, settings.journal?))) else {
            tracing::info!(
                topic = topic.as_str(),
                "the topic has a journal and is not configured to have one; its files stay as they are"
            );
            return Ok(());
        };
        // The newest of a key may be older than the ring.
        let wanted = match settings.kind == TopicKind::State || settings.key.is_some() {
            true => Wanted { publications: u64::MAX, bytes: u64::MAX },
            false => Wanted { publications: settings.ring_publications.into(), bytes: settings.ring_bytes.into() },
        };
        let found = self.directory.find(&topic, wanted)?;
        if let Some(position) = found.position {
            self.topics.reopen(topic.clone(), Position { offset: found.before(), ..position }, self.now());
            found.past(|publication| self.topics.restore(&topic, &publication))?;
        }
        let directory = self.directory.of_topic(&topic);
        let writer = Writer::new(topic.clone(), directory, self.directory.boot(), journal, found.files, found.next_number);
        self.logs.insert(topic, Log::new(journal, writer));
        Ok(())
    }

    fn now(&self) -> Now {
        let unix_us = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        Now { monotonic_us: self.started.elapsed().as_micros() as u64, unix_us }
    }

    // --- mail ---

    /// Takes mail that is for a topic's home.
    pub(super) fn take(&mut self, mail: Mail, outbox: &mut Outbox) {
        match mail {
            Mail::Publish { from, ticket, answer, publication } => {
                self.accepted += 1;
                let unix_us = self.now().unix_us;
                self.accept(Unwritten { number: self.accepted, from, ticket, answer, unix_us, publication }, outbox);
            }
            Mail::Attach { from, topic } => self.topics.attach_asked(from, &topic, self.now(), outbox),
            Mail::Recall { from, number } => self.topics.recall_asked(from, number, outbox),
            Mail::CatchUp { from, client, number } => outbox.send(from, Mail::CaughtUp { client, number }),
            Mail::Detach { from, number } => self.topics.detach_asked(from, number, outbox),
            Mail::Watch { from, pattern } => self.topics.watch_asked(from, pattern),
            Mail::Unwatch { from, pattern } => self.topics.unwatch_asked(from, &pattern),
            Mail::Succession(Succession::Quiet { attempt }) => *self.quiet.entry(attempt).or_insert(0) += 1,
            Mail::Succession(Succession::Told { topic, epoch, publication }) => {
                self.topics.follow(&topic, epoch, publication, self.now(), outbox);
                self.taken[usize::from(self.place)] += 1;
            }
            Mail::Barrier { token } => {
                self.barriers.push_back((token, self.accepted));
                self.pass_barriers(outbox);
            }
            Mail::Feed { topics, since_ms } => {
                self.feeds.push_back((topics, since_ms, self.accepted));
                self.tell_of_feeds(outbox);
            }
            Mail::Report { token } => {
                let (topics, _) = self.topics.report(0, usize::MAX, self.now());
                outbox.send(self.place, Mail::Reported { token, topics, last: true });
            }
            // Each by name: what a shard is sent as a home comes here too, and must be known here.
            Mail::Published { .. }
            | Mail::Taken { .. }
            | Mail::Attached { .. }
            | Mail::ReplicaFeed { .. }
            | Mail::AttachRefused { .. }
            | Mail::Append { .. }
            | Mail::Recalled { .. }
            | Mail::CaughtUp { .. }
            | Mail::Detached { .. }
            | Mail::Kept { .. }
            | Mail::Watched { .. }
            | Mail::BarrierPassed { .. }
            | Mail::Drained { .. }
            | Mail::Reported { .. }
            | Mail::Inquire { .. }
            | Mail::Found { .. }
            | Mail::TopicsWanted { .. }
            | Mail::TopicsAnswer { .. }
            | Mail::Succession(_)
            | Mail::Settings(_)
            | Mail::Keys(_)
            | Mail::KeyWanted
            | Mail::Callout { .. }
            | Mail::Verdict { .. }
            | Mail::Revoke(_)
            | Mail::Accept
            | Mail::Accepts
            | Mail::Drain { .. }
            | Mail::Pause
            | Mail::Finish
            | Mail::Finished => unreachable!("this mail is not for a home: {mail:?}"),
        }
    }

    /// Answers an inquiry: what is known of a topic whose home this is, and of its journal.
    pub(super) fn find(&mut self, inquiry: &Inquiry) -> Finding {
        let Inquiry::Topic(name) = inquiry else { unreachable!("there are no clients here: {inquiry:?}") };
        let now = self.now();
        let journal = self.logs.get(name).map(Log::state);
        Finding::Topic(self.topics.part(name, now).map(|part| Box::new(TopicPart { journal, ..part })))
    }

    /// Whether somebody who watches a pattern waits to be attached to what there is.
    pub(super) fn is_walking(&self) -> bool {
        self.topics.is_walking()
    }

    /// Attaches those, some topics at a time.
    pub(super) fn walk(&mut self, outbox: &mut Outbox) {
        self.topics.walk(outbox);
    }

    fn accept(&mut self, mut unwritten: Unwritten, outbox: &mut Outbox) {
        let topic = unwritten.publication.topic.clone();
        match self.topics.key(&unwritten.publication) {
            Ok(key) => unwritten.publication.marks.key = key,
            Err(refusal) => return self.refuse(&unwritten, refusal, outbox),
        }
        if let Err(TopicsMax) = self.open_log(&topic) {
            return self.refuse(&unwritten, NotPublished::TopicsMax, outbox);
        }
        let log = self.logs.get_mut(&topic).expect("it is open");
        if unwritten.is_impatient() && log.refuses(Instant::now()) {
            return self.refuse(&unwritten, NotPublished::Journal, outbox);
        }
        log.waiting.push_back(unwritten);
        self.note_ready(&topic);
    }

    /// The gateway that went on with the journal is gone: this one does again, behind whatever that one has written, each topic in a new
    /// epoch. False where somebody else has the journal.
    pub(super) fn resume(&mut self) -> bool {
        if let Err(error) = self.go_on_again() {
            tracing::error!("the journal cannot be gone on with: {error}");
            return false;
        }
        true
    }

    fn go_on_again(&mut self) -> Result<(), JournalError> {
        self.directory.lock_again()?;
        let mut topics: BTreeSet<TopicName> = self.directory.topics()?.into_iter().collect();
        topics.extend(self.logs.keys().cloned());
        for topic in topics {
            let settings = self.settings.iter().find(|(pattern, _)| pattern.matches(topic.as_str()));
            let Some(journal) = settings.and_then(|(_, settings)| settings.journal) else { continue };
            let directory = self.directory.of_topic(&topic);
            let segments = if directory.is_dir() { segment::list(&directory)? } else { Vec::new() };
            let next_number = segments.last().map_or(1, |(number, _)| number + 1);
            let files = segments.into_iter().map(|(_, path)| path).collect();
            let writer = Writer::new(topic.clone(), directory, self.directory.boot(), journal, files, next_number);
            let begins = Some(self.topics.new_epoch(self.now()));
            let log = self.logs.remove(&topic);
            let is_open = log.is_some_and(|log| log.is_open);
            self.logs.insert(topic, Log { is_open, begins, ..Log::new(journal, writer) });
        }
        Ok(())
    }

    fn open_log(&mut self, topic: &TopicName) -> Result<(), TopicsMax> {
        if self.logs.get(topic).is_some_and(|log| log.is_open) {
            return Ok(());
        }
        if self.logs.values().filter(|log| log.is_open).count() >= self.topics_max {
            return Err(TopicsMax);
        }
        self.topics.keep(topic, self.now())?;
        if !self.logs.contains_key(topic) {
            let settings = self.settings.iter().find(|(pattern, _)| pattern.matches(topic.as_str()));
            let journal =
                settings.and_then(|(_, settings)| settings.journal).expect("only journaled topics have their home here");
            let directory = self.directory.of_topic(topic);
            let writer = Writer::new(topic.clone(), directory, self.directory.boot(), journal, Vec::new(), 1);
            self.logs.insert(topic.clone(), Log::new(journal, writer));
        }
        self.logs.get_mut(topic).expect("it was just put in").is_open = true;
        Ok(())
    }

    fn refuse(&mut self, unwritten: &Unwritten, why: NotPublished, outbox: &mut Outbox) {
        self.metrics.journal_refused.add(1);
        self.give_back(unwritten);
        outbox.send(unwritten.from, Mail::Published { ticket: unwritten.ticket, result: Err(why) });
    }

    fn give_back(&mut self, unwritten: &Unwritten) {
        self.taken[usize::from(unwritten.from)] += 1;
        self.handed_over += usize::from(unwritten.from == self.place && !unwritten.answer);
    }

    /// How many publications of sources were passed on, or refused, since last asked.
    pub(super) fn take_handed_over(&mut self) -> usize {
        std::mem::take(&mut self.handed_over)
    }

    fn note_ready(&mut self, topic: &TopicName) {
        let log = self.logs.get_mut(topic).expect("only open topics have something to write");
        if !log.is_ready && log.writer.is_some() && !log.waiting.is_empty() {
            log.is_ready = true;
            self.ready.push_back(topic.clone());
        }
    }

    /// Lets barriers through behind which everything was passed on.
    fn pass_barriers(&mut self, outbox: &mut Outbox) {
        if self.barriers.is_empty() {
            return;
        }
        let oldest = self.logs.values().filter_map(Log::oldest).min().unwrap_or(u64::MAX);
        while let Some((token, _)) = self.barriers.pop_front_if(|(_, behind)| *behind < oldest) {
            (0..outbox.post().shards()).for_each(|shard| outbox.send(shard, Mail::BarrierPassed { token }));
        }
    }

    /// Tells of feeds whose own publications were passed on, or wait for a journal that cannot be written.
    fn tell_of_feeds(&mut self, outbox: &mut Outbox) {
        let logs = &self.logs;
        let waits = |topic: &TopicName, behind: u64| {
            logs.get(topic)
                .is_some_and(|log| (log.retry_at.is_none() || log.is_left) && log.oldest().is_some_and(|oldest| oldest <= behind))
        };
        let is_next = |(topics, _, behind): &mut (Vec<TopicName>, _, u64)| !topics.iter().any(|topic| waits(topic, *behind));
        while let Some((topics, since_ms, _)) = self.feeds.pop_front_if(is_next) {
            self.topics.feed_changed(&topics, since_ms, outbox);
        }
    }
}

/// What the configuration says of topics, by pattern.
fn settings(config: &Config) -> Box<[(Pattern, config::Topic)]> {
    let pattern = |topic: &config::Topic| Pattern::parse(&topic.pattern).expect("the configuration was validated");
    config.topics.iter().map(|topic| (pattern(topic), topic.clone())).collect()
}
