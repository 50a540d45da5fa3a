//! Keys of topics and of their journals.

use super::super::forms;
use super::super::keys::{Form, Key};
use super::{HOUR_MS, PATTERN, optional, required};

/// In the order in which they are printed.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    required("topic", "pattern", Form::Text(PATTERN, forms::pattern),
        "Which topics: a name, or a pattern with `*` for one whole level and `>` last for one or more."),
    optional("topic", "kind", Form::OneOf(&["log", "state"]),
        "log: every publication counts (trades, book differences). state: each replaces the one before (best prices, \
         whole books). log by default, since thinning out what must be whole would be wrong."),
    optional("topic", "ring_publications", Form::Whole(1, 1 << 24, "publications"),
        "Most publications that the ring holds; a subscriber further behind is closed with 1013. 16,384 are a minute of \
         a busy topic (the recorded ones have 270 a second on average, 2,500 in the worst second)."),
    optional("topic", "ring_bytes", Form::Whole(1024, 1 << 30, "bytes"),
        "Most bytes of frames that one ring holds, for each topic, encoding and shard; the newest publication is held \
         whatever its size. Memory is taken only for what is there. 4 MiB are 16,384 publications of 256 bytes."),
    optional("topic", "ring_age_ms", Form::Whole(0, 30 * 24 * HOUR_MS, "milliseconds"),
        "Publications older than this leave the ring when a newer one comes, so that nobody resumes with what nobody wants \
         any more. The newest stays. 0: only count and bytes matter, which hold whatever the pace."),
    optional("topic", "flush_us", Form::Whole(0, 1_000_000, "microseconds"),
        "The flush window: what is published within so long leaves together, over all topics that have it, so that it takes fewer \
         sends. It is the most latency that this adds, half of it the mean; a window ends early where it holds half a ring. 0: nothing \
         waits, which is the least latency; the sweep gathers what comes during a fan-out all the same."),
    optional("topic", "key", Form::Text("a JSON pointer, like \"/s\"", forms::pointer),
        "Where in a payload its key is, whatever way the publication came in: the newest of each key is kept beside the ring, \
         and `last` gives all of them. Without it, a publication has the key that its publisher names, if any."),
    optional("topic", "keys_max", Form::Whole(1, 1 << 20, "keys"),
        "Most keys of one topic; one more takes the place of the one that has not changed for longest, which is counted. \
         10,000 are every instrument of the largest venues."),
    optional("topic", "slow_default", Form::OneOf(&["close", "drop", "conflate"]),
        "What happens to a subscriber that cannot keep up and did not say: close: 1013, once it is more than a ring behind. drop: \
         the oldest are left out, and a `gap` notice says which. conflate (state topics): it gets the newest of each key, and \
         `culled` notices say how many it did not. close by default: it needs no notice to be understood."),
    optional("topic", "slow_allowed", Form::Texts("close, drop or conflate", forms::slow),
        "What a subscriber may choose with `slow=`. What `slow_default` says, where this is left out."),
    optional("topic", "slow_lag_bytes", Form::Whole(1, 1 << 30, "bytes"),
        "A subscriber of slow=conflate that lacks more than this is slow: from then on it gets the newest of each key, until it \
         lacks nothing. 64 KiB are what an ordinary socket takes at once."),
    optional("topic", "slow_lag_ms", Form::Whole(1, HOUR_MS, "milliseconds"),
        "The same, where the oldest publication that it lacks is older than this. Half a second is more than a fan-out to many \
         takes, and less than what a person calls late."),
    optional("topic", "rates_ms", Form::Wholes(1, HOUR_MS, "milliseconds"),
        "Intervals that `rate=` takes on state topics: each that is asked for costs as a topic of its own that publishes once an \
         interval. Three by default, so that subscribers share them."),
    optional("topic", "journal", Form::Flag,
        "Keeps what is published in files, so that epoch and offsets go on after a restart and `since` works across it. The control \
         thread orders such a topic; nothing is delivered or acknowledged before it is written."),
    optional("topic", "journal_flush", Form::OneOf(&["every_ms", "always"]),
        "every_ms: what is written is made to be on disk (fdatasync) every journal_every_ms, so that a crash of the gateway loses \
         nothing and a power failure at most so much, which the topic's new epoch then says. always: before a publication is delivered or \
         acknowledged, so that nothing acknowledged is ever lost, at the price of the disk's latency."),
    optional("topic", "journal_every_ms", Form::Whole(1, HOUR_MS, "milliseconds"),
        "With every_ms: how often. 100 ms are ten times a second for each topic that something is published on."),
    optional("topic", "journal_segment_bytes", Form::Whole(4096, 1 << 30, "bytes"),
        "From this size on a new file is begun; whole files are what is removed. A start reads the newest one of each topic."),
    optional("topic", "journal_keep_bytes", Form::Whole(8192, 1 << 44, "bytes"),
        "All files of one topic together, looked at when one is begun; the oldest are removed. At least twice journal_segment_bytes."),
    optional("topic", "journal_keep_s", Form::Whole(1, u32::MAX as u64, "seconds"),
        "Files whose last publication is older are removed, looked at when one is begun, which is at least so often while something is \
         published. A day by default."),
    optional("topic", "journal_full", Form::OneOf(&["refuse", "forget", "continue"]),
        "What happens where the journal cannot be written. refuse: publications over HTTP and by PUBLISH are refused, other publishers \
         and feeds wait, until it can be (there is room). forget: where the disk is full the topic's oldest files are removed first. \
         continue: the topic is served without its journal, in a new epoch that its subscribers are told of (the event epoch), and the \
         journal goes on with that epoch once it can be written; what was published meanwhile is in no file. Not with \
         journal_flush = \"always\"."),
    optional("journal", "directory", Form::Text("the path of a directory", forms::filled),
        "Made where it is not there; a relative path begins at the working directory. One gateway has it at a time."),
    optional("journal", "topics_max", Form::Whole(1, 1 << 20, "topics"),
        "Journaled topics that are published on in one run: each keeps a file open. Further ones are refused."),
];
