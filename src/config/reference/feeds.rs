//! Keys of feeds.

use super::super::forms;
use super::super::keys::{Form, Key};
use super::{HOUR_MS, PATTERN, PEM_FILE, TEMPLATE, WS_URL, optional, required};

/// In the order in which they are printed.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    required("source", "kind", Form::OneOf(&["synthetic", "replay", "upstream"]),
        "synthetic: a made-up market of some twenty instruments, each payload marked as such. replay: a recording \
         played again. upstream: another server's feed over WebSocket, such as an exchange's."),
    optional("source", "prefix", Form::Text("a topic's first level or levels, like \"demo\"", forms::topic),
        "synthetic: topics are `<prefix>.bbo.<instrument>` and `<prefix>.trades.<instrument>`."),
    optional("source", "publications_per_second", Form::Whole(1, 1_000_000, "publications a second"),
        "synthetic: over all instruments. 500 are lively to look at and cost next to nothing."),
    optional("source", "seed", Form::Whole(0, i64::MAX as u64, "any"),
        "synthetic: the same seed gives the same bytes, so that tests can be repeated."),
    optional("source", "file", Form::Text("the path of a recording", forms::filled),
        "replay, required: the recording, plain or gzip, or a journal (its directory or a file of it, which names its own topic); a relative path begins at the working directory. Lines are \
         `<time> <message>`, `<time>: <message>` or JSON alone; others are counted and skipped."),
    optional("source", "topic", Form::Text(TEMPLATE, forms::template),
        "replay, upstream: the topic of a message. The default fits combined streams; a message without one of the \
         pointers is counted and skipped."),
    optional("source", "payload", Form::Text("a JSON pointer, like \"/data\"", forms::pointer),
        "replay, upstream: what of a message is published. \"/data\" where `topic` is left out, the whole message (\"\") where it \
         is set."),
    optional("source", "speed", Form::Speed,
        "replay: as a multiple of the recorded pace. \"max\": as fast as subscribers keep up, for tests and benchmarks."),
    optional("source", "loop", Form::Flag,
        "replay: begin again at the end. Off by default: a recording that repeats looks like a live feed and is none."),
    optional("source", "urls", Form::Texts(WS_URL, forms::websocket_url),
        "upstream, required: where the feed is. Of several, which give the same feed, each message is taken once, from whichever \
         is first (those without a number from one of them); any but the last may be lost without a gap."),
    optional("source", "ca", Form::Text(PEM_FILE, forms::filled),
        "upstream: file with authorities, PEM, that are trusted besides the machine's own."),
    optional("source", "subscribe", Form::Texts("a text to send", forms::filled),
        "upstream: messages sent when a connection is open, in order; mostly the feed's way to subscribe."),
    optional("source", "key", Form::Text("a JSON pointer, like \"/data/s\"", forms::pointer),
        "upstream: the key of a publication, a string or a number of the message. A [[topic]]'s own key holds in its place."),
    optional("source", "binary_topic", Form::Text("a topic, like \"feed.binary\"", forms::topic),
        "upstream: where binary messages go. Without it they go to `topic` where that has no pointers, else they are counted and \
         skipped."),
    optional("source", "silent_timeout_ms", Form::Whole(100, HOUR_MS, "milliseconds"),
        "upstream: a connection on which not one byte came for so long is ended. After half of it a ping is sent, so a quiet feed \
         whose server answers stays. 30 s bear the pauses of quiet markets and of most exchanges' own pings."),
    optional("source", "connect_timeout_ms", Form::Whole(100, HOUR_MS, "milliseconds"),
        "upstream: for the name, the connection, TLS and the handshake together. 10 s bear a lost packet or two in each."),
    optional("source", "backoff_min_ms", Form::Whole(1, HOUR_MS, "milliseconds"),
        "upstream: before connecting again it waits a random time up to this, doubled after each try that failed. 500 ms keep the \
         loss small where only a connection broke."),
    optional("source", "backoff_max_ms", Form::Whole(1, HOUR_MS, "milliseconds"),
        "upstream: the doubling ends here. Exchanges ban addresses that connect too often; Binance allows 300 tries in five minutes."),
    optional("source", "arbitration_wait_ms", Form::Whole(0, 60_000, "milliseconds"),
        "upstream, with several urls: what comes behind a missing message waits for it so long, as another connection may still \
         bring it; then the gap is told. 250 ms are more than lines differ by."),
    optional("source", "arbitration_bytes_max", Form::Whole(0, 1 << 30, "bytes"),
        "upstream, with several urls: what waits so, of all topics; beyond it the gap is told at once. 16 MiB are 250 ms of \
         60 MB a second."),
    optional("source", "topics_max", Form::Whole(1, 1_000_000, "topics"),
        "upstream: topics that it may make, as names come from its messages; messages for more are refused and counted. 10,000 \
         hold the streams of an exchange."),
    optional("source.sequence", "topics", Form::Text(PATTERN, forms::pattern),
        "Which topics. All by default."),
    required("source.sequence", "number", Form::Text("a JSON pointer, like \"/data/u\"", forms::pointer),
        "Where a message's number is, a number or a string of digits. A message without it goes to the next [[source.sequence]]."),
    required("source.sequence", "rule", Form::OneOf(&["plus_one", "chain", "rising"]),
        "plus_one: each number is one more, so a hole is told with its size. chain: each message names the one before it. rising: \
         each is higher, by any step; a hole is not seen, so a gap is told where no connection saw both sides."),
    optional("source.sequence", "previous", Form::Text("a JSON pointer, like \"/data/pu\"", forms::pointer),
        "chain, required: where the number of the message before it is."),
    optional("source.sequence", "window", Form::Whole(1, 1 << 53, "numbers"),
        "A number lower by at most this is a repeat and is left out; one that is lower by more is a new beginning of the feed, \
         told as a gap. 10,000 bear what an exchange repeats after a subscription."),
];
