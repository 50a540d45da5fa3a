//! Keys of the process: its log and its threads.

use super::super::keys::{Form, Key};
use super::optional;

/// In the order in which they are printed.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    optional("log", "format", Form::OneOf(&["text", "json"]),
        "text for people, json for machines (one object a line)."),
    optional("log", "level", Form::OneOf(&["error", "warn", "info", "debug", "trace"]),
        "Least level that is written. info tells of starts, stops and feeds, and of clients that were refused, denied or closed for cause, at most \
         client_lines_per_second."),
    optional("log", "waiting_lines_max", Form::Whole(64, 1 << 24, "lines"),
        "Lines that wait to be written. Where standard error takes nothing (a stopped terminal, a pipe that nobody reads), further ones are \
         lost and counted (log_lines_lost): no client waits for the log."),
    optional("log", "client_lines_per_second", Form::Whole(0, 100_000, "lines a second"),
        "Lines of each kind about clients that were refused, denied or closed for cause, in a shard: a flood of one kind hides no other. Further ones \
         are told in one line, with their number."),
    optional("shards", "count", Form::Whole(1, 1024, "shards"),
        "One per core where it is left out: a shard keeps a core busy, two on one core only take turns."),
    optional("shards", "pin", Form::Flag,
        "Pin each shard to a core: its clients stay in that core's caches. Switch off where other programs need the \
         same cores."),
    optional("shards", "reactor", Form::OneOf(&["auto", "io_uring", "epoll"]),
        "How shards ask the kernel. auto: by io_uring, and where that is not allowed (most containers) or not there, by epoll, \
         with a warning; docs/benchmarks.md has both side by side. io_uring: or the start is refused. epoll: without io_uring \
         anywhere in the process."),
    optional("shards", "sends_per_turn", Form::Whole(1, 8192, "sends"),
        "Sends in one turn, after which pings, new clients and requests are looked at. At about 5 us a send, 64 are 0.3 \
         ms; 32 and 64 measured best, 16 and 256 a little worse. At most a quarter of ring_entries."),
    optional("shards", "turn_us", Form::Whole(10, 1_000_000, "microseconds"),
        "Longest time that a turn goes on to prepare sends; bounds the turn where sends are large."),
    optional("shards", "completions_max", Form::Whole(20, 32_768, "completions"),
        "Completions taken in one turn: against sends_per_turn it decides between those who send and those who are sent \
         to. 256 take in a burst of requests at the price of about one turn of sends."),
    optional("shards", "ring_entries", Form::PowerOfTwo(64, 4096, "entries"),
        "Entries of the submission queue: a turn's sends, and room for receives, accepts, polls and closes."),
    optional("shards", "receive_buffers", Form::PowerOfTwo(16, 32_768, "buffers"),
        "Receive buffers of a shard, shared by its clients; an idle client holds none. 256 of 4 KiB are 1 MiB a shard, as \
         many as completions_max, and stay in the processor's cache; a burst that finds none free waits in its sockets."),
    optional("shards", "receive_buffer_bytes", Form::Whole(512, 1 << 20, "bytes"),
        "Size of each receive buffer: one page holds any ordinary request. From Linux 6.12 on, and by epoll, neighbours are joined to \
         128 KiB and a receive takes of them what came; before, it takes a whole one, and longer messages take several."),
    optional("shards", "accepts_armed", Form::Whole(1, 1024, "accepts"),
        "Accepts kept armed in a shard: as many clients can come between two turns. 64 a turn are far more than a \
         storm brings. At least the number of listeners."),
    optional("shards", "mail_max", Form::Whole(1, 32_768, "pieces of mail"),
        "Mail from other threads taken in one turn, mostly publications. At about 3 us for a thousand subscribers 256 are \
         under a millisecond; more only waits for the next turn."),
    optional("shards", "mailbox_places", Form::Whole(64, 1 << 24, "publications"),
        "Places in a shard's mailbox, where publications from the other threads wait; a full one holds publishers back \
         and loses nothing. At least twice publish_credits; 8,192 are enough for eight publishing threads with all \
         their credits spent."),
];
