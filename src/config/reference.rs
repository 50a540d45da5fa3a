//! Every key of the configuration file: what it takes, its unit, its meaning and the reason for its default.
//!
//! From these the file is checked, the default configuration is printed and docs/configuration.md is made, so the three
//! cannot disagree.

use super::forms;
use super::keys::{Form, Key, Table};

const fn optional(table: &'static str, name: &'static str, form: Form, meaning: &'static str) -> Key {
    Key { table, name, form, required: false, meaning }
}

const fn required(table: &'static str, name: &'static str, form: Form, meaning: &'static str) -> Key {
    Key { table, name, form, required: true, meaning }
}

const fn limit(name: &'static str, least: u64, most: u64, unit: &'static str, meaning: &'static str) -> Key {
    optional("limits", name, Form::Whole(least, most, unit), meaning)
}

const ADDRESS: &str = "an IP address with a port, like \"127.0.0.1:8080\" or \"[::1]:8080\"";
const LOOPBACK_ADDRESS: &str = "a loopback address with a port, like \"127.0.0.1:8081\"";
const HOST: &str = "a host without scheme and port, like \"feed.example.com\"";
const ORIGIN: &str = "an origin, like \"https://app.example.com\" or \"http://localhost:3000\"";
const PATTERN: &str = "a topic or a pattern, like \"md.trades.*\" or \"md.>\"";
const TEMPLATE: &str = "a topic with JSON pointers in braces, like \"cb.{/type}.{/product_id}\"";
const NETWORK: &str = "an address or a network, like \"10.0.0.7\" or \"10.0.0.0/8\"";
const PREFIX: &str = "a path, like \"/md\", or nothing";
const WS_URL: &str = "a URL, like \"wss://feed.example.com/stream\"";
const PEM_FILE: &str = "the path of a PEM file";
const HOUR_MS: u64 = 3_600_000;

/// The tables, in the order in which they are printed.
#[rustfmt::skip]
pub(super) const TABLES: &[Table] = &[
    Table { name: "listener", many: true, meaning:
        "Where clients connect. At least one." },
    Table { name: "listener.tls", many: false, meaning:
        "TLS on the [[listener]] above it: https:// and wss:// in place of http:// and ws://, TLS 1.2 and 1.3. SIGHUP has \
         the files of all listeners read again; where one cannot be used, what was in force stays." },
    Table { name: "listener.tls.sni", many: true, meaning:
        "A further certificate of the [listener.tls] above it, for clients that name one of its hosts (its subject \
         alternative names; `*.` stands for one level). Who names none, or an unknown one, is shown the first." },
    Table { name: "admin", many: false, meaning:
        "The admin port: publish API, health and metrics. Off unless this table is there. It carries no authentication \
         yet, so only loopback addresses are taken." },
    Table { name: "topic", many: true, meaning:
        "Settings of the topics that match a pattern. The first match wins; topics that match none have the defaults." },
    Table { name: "journal", many: false, meaning:
        "Where the publications of topics with journal = true are kept." },
    Table { name: "source", many: true, meaning:
        "A feed that the gateway plays or takes in. Without one, only publishers bring something." },
    Table { name: "source.sequence", many: true, meaning:
        "How messages of the [[source]] above it (kind = \"upstream\") are numbered, so that a loss is told. The first whose \
         topics and pointers fit a message holds. What has no number is told to have a gap whenever the connection was lost." },
    Table { name: "publish", many: false, meaning:
        "Publishing by clients over WebSocket: PUBLISH, /publish and /publish/<topic>. Off by default." },
    Table { name: "echo", many: false, meaning:
        "The endpoint /echo, which sends every message back; for tests. Off by default." },
    Table { name: "page", many: false, meaning:
        "The page at / and the list of topics at /topics, on the clients' port. Off by default." },
    Table { name: "log", many: false, meaning:
        "The log, on standard error." },
    Table { name: "shards", many: false, meaning:
        "Threads and turns. A shard is one thread with one io_uring, or one epoll set, and all the clients that it accepted." },
    Table { name: "arrivals", many: false, meaning:
        "How many clients may come how fast. Who comes above it is answered 429 (for its address) or 503 with Retry-After before \
         its request is read, on a TLS listener cut off before its handshake. Clients of trusted_proxies are counted by the address \
         that those tell." },
    Table { name: "drain", many: false, meaning:
        "How SIGTERM drains the gateway, so that its clients do not all come back to the others at once. SIGINT, and a second SIGTERM, \
         do not wait for it." },
    Table { name: "limits", many: false, meaning:
        "Every bound of the gateway. None can be switched off; what goes over one is refused, told and counted." },
];

/// All keys, in the order in which they are printed.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    required("listener", "address", Form::Text(ADDRESS, forms::address),
        "Address and port that clients connect to; port 0 lets the kernel choose, and the choice is printed at start. \
         Loopback by default in `tidegate config`: whoever wants to be reached says so."),
    optional("listener", "kind", Form::OneOf(&["tcp"]),
        "What carries it. TLS over it is a table of its own, [listener.tls]."),
    optional("listener", "hosts", Form::Texts(HOST, forms::host),
        "Hosts that a request may name besides localhost and loopback addresses when the address is loopback (421 \
         else): without this check a foreign web page whose name resolves to this machine could speak to it. Not looked \
         at on other addresses."),
    optional("listener", "origins", Form::Texts(ORIGIN, forms::origin),
        "Origins of web pages that may connect besides those of the same host; compared exactly, 403 else. Clients that \
         are not browsers send none and are let in."),
    optional("listener", "permessage_deflate", Form::Flag,
        "Compresses for clients that offer permessage-deflate (RFC 7692), once for all of them. Off by default: it costs \
         the gateway and every client time to save bytes, which pays on the open internet and not within a data centre. On \
         in demo mode."),
    optional("listener", "trusted_proxies", Form::Texts(NETWORK, forms::network),
        "Proxies and balancers in front of the gateway: their word on whom they speak for is taken, in a PROXY header or in a \
         field of the request. Nobody else's is."),
    optional("listener", "proxy_protocol", Form::OneOf(&["off", "optional", "required"]),
        "Whether connections begin with a PROXY header, version 1 or 2, before TLS and HTTP (HAProxy's send-proxy-v2, a network \
         balancer's option). optional: those of trusted_proxies may. required: only trusted_proxies may connect, and each begins \
         with one. Off by default: a header from whoever likes could name any address."),
    optional("listener", "forwarded_header", Form::OneOf(&["x-forwarded-for", "forwarded"]),
        "Which field of a request from trusted_proxies names the client: X-Forwarded-For, or Forwarded (RFC 7239). Read from the \
         right, the first address that is none of trusted_proxies counts. Only one is believed: a proxy that writes the one passes \
         on the other as the client sent it."),
    optional("listener", "path_prefix", Form::Text(PREFIX, forms::path_prefix),
        "What stands before every path where a proxy passes it on: with \"/md\" streams are at /md/stream. Health checks are \
         answered with it and without."),
    required("listener.tls", "certificate", Form::Text(PEM_FILE, forms::filled),
        "File with the certificate chain, PEM, the server's own first; a relative path begins at the working directory. \
         Refused where it is expired, not yet valid, or not that of the key."),
    required("listener.tls", "key", Form::Text(PEM_FILE, forms::filled),
        "File with its private key, PEM, not encrypted; keep it readable by the gateway's user alone."),
    optional("listener.tls", "client_ca", Form::Text(PEM_FILE, forms::filled),
        "File with the authorities, PEM, whose certificates clients show; without it clients are not asked for one."),
    optional("listener.tls", "client_certificates", Form::OneOf(&["required", "optional"]),
        "With client_ca. required: who shows no certificate is refused. optional: who shows none is let in, who shows a \
         wrong one is refused. required by default: whoever names an authority means it."),
    required("listener.tls.sni", "certificate", Form::Text(PEM_FILE, forms::filled),
        "As in [listener.tls]."),
    required("listener.tls.sni", "key", Form::Text(PEM_FILE, forms::filled),
        "As in [listener.tls]."),
    optional("admin", "address", Form::Text(LOOPBACK_ADDRESS, forms::loopback_address),
        "Address and port, beside the clients' 8080."),
    optional("admin", "hosts", Form::Texts(HOST, forms::host),
        "Hosts that a request may name besides localhost and loopback addresses (421 else)."),
    optional("admin", "body_bytes_max", Form::Whole(1024, 1 << 30, "bytes"),
        "Largest body of a request: one batch of publications, which lies in memory whole. 8 MiB hold eight of the \
         largest publications or some fifty thousand ordinary ones."),
    optional("admin", "open_connections_max", Form::Whole(1, 16_384, "connections"),
        "Connections at a time; further ones wait until there is room. With a body each, 64 are at most 512 MiB."),
    optional("admin", "head_timeout_ms", Form::Whole(100, HOUR_MS, "milliseconds"),
        "For the head of a request, and how long a connection may stay without one; then it is closed. 30 s let a publisher keep \
         its connection from one batch to the next."),
    optional("admin", "body_timeout_ms", Form::Whole(100, HOUR_MS, "milliseconds"),
        "For the body of a request; then 408. On this machine the largest takes milliseconds."),
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
    optional("publish", "allow", Form::OneOf(&["nobody", "loopback"]),
        "Who may. loopback: connections from this machine without Origin, Forwarded, X-Forwarded-* or PROXY header. \
         nobody by default: what is published reaches every subscriber."),
    optional("publish", "topics", Form::Texts(PATTERN, forms::pattern),
        "Topics that clients may publish to, names or patterns; required where somebody may publish, so that no client \
         speaks for a feed by accident."),
    required("echo", "enabled", Form::Flag,
        "Off by default: it serves whoever connects and publishes nothing. Where permessage_deflate is on, a client of it that \
         takes contexts over costs about 400 KiB."),
    required("page", "enabled", Form::Flag,
        "Off by default: it tells every visitor which topics there are (the first 1,000 names and positions)."),
    optional("log", "format", Form::OneOf(&["text", "json"]),
        "text for people, json for machines (one object a line)."),
    optional("log", "level", Form::OneOf(&["error", "warn", "info", "debug", "trace"]),
        "Least level that is written. info tells of starts, stops and feeds, never of single clients."),
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
    optional("arrivals", "per_second", Form::Whole(1, 1_000_000, "clients a second"),
        "Clients a second, in the long run, divided among the shards as connections_max is; above it 503 and Retry-After. A \
         handshake costs some 60 us: 10,000 keep half a core busy."),
    optional("arrivals", "burst", Form::Whole(1, 1_000_000, "clients"),
        "How many of them may come at once: all that the gateway serves by default."),
    optional("arrivals", "per_address_per_second", Form::Whole(1, 1_000_000, "clients a second"),
        "Clients of one address (of one /64 of IPv6) a second, in the long run, divided likewise; above it 429 and Retry-After. A \
         hundred are a client that has lost its way, or a large office behind one address."),
    optional("arrivals", "per_address_burst", Form::Whole(1, 1_000_000, "clients"),
        "How many of them may come at once, as an office does when its line is back."),
    optional("arrivals", "per_address_max", Form::Whole(1, 1 << 20, "clients"),
        "Clients of one address at a time, divided likewise; above it 429. 4,096 are a quarter of all places."),
    optional("arrivals", "exempt", Form::Texts(NETWORK, forms::network),
        "Addresses that the three bounds per address are not for, beside trusted_proxies: this machine's own, by default."),
    optional("drain", "delay_ms", Form::Whole(0, HOUR_MS, "milliseconds"),
        "How long clients are still taken and served while /health/ready says 503 already: as long as the balancer needs to notice, \
         the interval of its checks times how many must fail. 0 by default: whoever has no balancer waits for nothing."),
    optional("drain", "window_ms", Form::Whole(0, HOUR_MS, "milliseconds"),
        "Over how long the clients are closed then, one after the other in random order, each with 1012 and told before; feeds go on \
         meanwhile. Below what the supervisor waits before it kills, with delay_ms and stop_timeout_ms. 0 by default: all are closed \
         at once by the stop."),
    limit("connections_max", 1, 1 << 20, "clients",
        "Clients of the whole process, divided among the shards. 16,384 take about 75 MB of kernel memory for their \
         sockets and fit a descriptor limit of 20,000."),
    limit("half_open_per_address_max", 1, 1 << 20, "clients",
        "Clients of one address (of one /64 of IPv6) that are not yet WebSockets, divided among the shards as \
         connections_max is; further ones are reset at once. 4,096 are a quarter of all places. Trusted proxies are not \
         counted, whom they speak for is."),
    limit("message_bytes_max", 125, 16 << 20, "bytes",
        "A request, or a message to /echo; above it close 1009. 64 KiB hold a SUBSCRIBE with two thousand names."),
    limit("fragments_max", 1, 1 << 20, "fragments",
        "Fragments of one message: a flood of tiny ones costs work and carries nothing. 1,024 are 64 bytes each for the \
         longest message."),
    limit("inflate_ratio_max", 1, 1032, "times",
        "How many times its own bytes a client's compressed message may inflate to, beyond its first 64 KiB; above it \
         close 1009. JSON seldom reaches 30; 1,032 is the most that DEFLATE can do. Whatever the ratio, the bound on the \
         message's bytes holds for what was inflated."),
    limit("publication_bytes_max", 1, 64 << 20, "bytes",
        "One publication, from whatever door; above it 413 or close 1009. 1 MiB is 25 times the largest message of the \
         recorded feeds, and each stalled client may make us keep one unfinished frame of it."),
    limit("deflate_bytes_min", 0, 64 << 20, "bytes",
        "Messages below this are sent as they are to clients that agreed on compression. At 128 bytes compressing saves some \
         30, less than the headers of the packet that carries them."),
    limit("head_bytes_max", 512, 64 << 10, "bytes",
        "The head of the handshake, all that a stranger can make us keep; above it 431. 8 KiB is what common servers \
         and balancers allow."),
    limit("headers_max", 8, 256, "header fields",
        "Header fields in a head; above it 431. A browser behind a balancer sends about 20."),
    limit("handshake_timeout_ms", 100, HOUR_MS, "milliseconds",
        "The whole handshake, from accept to its last byte. 5 s bear a lost packet or two on a slow line, and bound \
         what slow strangers hold."),
    limit("proxy_header_bytes_max", 107, 65_551, "bytes",
        "A PROXY header of version 2, with all that follows its addresses; above it 400. One with addresses only has 28 or 52, those \
         of cloud balancers some hundred; one of version 1 has 107 at the most."),
    limit("proxy_timeout_ms", 100, HOUR_MS, "milliseconds",
        "For a PROXY header, from accept to its last byte: a proxy sends it with the connection's first packet."),
    limit("message_timeout_ms", 100, HOUR_MS, "milliseconds",
        "A message that began must have ended after this. 30 s for 64 KiB are 2 KB a second, slower than any line in \
         use."),
    limit("idle_ping_ms", 1000, HOUR_MS, "milliseconds",
        "Without a byte from the client for this long (each client 20 % earlier or later, at random): a ping. Common \
         balancers cut after 60 s of silence; 25 s leave room for one lost ping."),
    limit("pong_timeout_ms", 100, HOUR_MS, "milliseconds",
        "The pong is due this long after the ping's bytes were acknowledged. 8 s are far above any round trip, and with \
         idle_ping_ms a dead client is gone within 40 s."),
    limit("close_timeout_ms", 100, HOUR_MS, "milliseconds",
        "From our close frame to the reset, if the client does not answer."),
    limit("close_deadline_ms", 100, HOUR_MS, "milliseconds",
        "From falling out of the ring to the reset, while the rest of an unfinished frame and the close frame are owed: \
         a reader that stalled for good gets no more than this."),
    limit("connection_age_max_s", 0, 2_592_000, "seconds",
        "How long a connection may last, a tenth shorter or longer at random; then its client is told (serverShutdown), and closed with \
         1012 up to ten seconds later, so that clients spread over gateways that were added. 0 by default: no connection is too old; \
         exchanges close after 24 h."),
    limit("send_timeout_ms", 1000, HOUR_MS, "milliseconds",
        "TCP_USER_TIMEOUT: bytes that nobody acknowledged for this long reset the client. 30 s bear a tunnel or a \
         change of networks."),
    limit("send_unsent_bytes_max", 1024, 16 << 20, "bytes",
        "TCP_NOTSENT_LOWAT: what the kernel takes for a client beyond what is on the wire. With its own default a \
         reader that never reads pins 4.3 MB of kernel memory, with 16 KiB 47 KB; and its lag shows while it is young."),
    limit("conflate_unsent_bytes", 2304, 16 << 20, "bytes",
        "The same of a client with a subscription of slow=conflate, and its SO_SNDBUF (which the kernel doubles): what it gets is old \
         by no more than what the network and its own buffers hold."),
    limit("visit_bytes_max", 4096, 16 << 20, "bytes",
        "Most bytes of one send to one client, so that one that lags far behind does not hold up the others' turn. 17 \
         KB measured 0.7 us more than one small frame, so 256 KiB are some 11 us."),
    limit("tls_visit_bytes_max", 1024, 1 << 20, "bytes",
        "The same of one send to a TLS client, before it is sealed: one record. What its socket does not take of it is kept \
         for it, so a slow TLS client pins this much; sealing 16 KiB takes about as long as the send."),
    limit("tls_handshake_bytes_max", 2048, 64 << 10, "bytes",
        "What a client of a TLS listener can make us keep before its handshake is done; beyond, it is refused. A first \
         message has 300 bytes to 2 KB; a client's chain of certificates must fit too."),
    limit("reply_bytes_max", 1024, 16 << 20, "bytes",
        "Replies and echoes that one client has not taken; above it, its requests are not read. 256 KiB hold four of \
         the largest messages."),
    limit("torn_bytes_max", 1, u32::MAX as u64, "bytes",
        "Rests of unfinished frames that rings gave up, over all clients of a shard; above it a stalled client is reset \
         at once. 64 MiB are 64 of the largest publications, or some hundred thousand ordinary ones."),
    limit("pattern_rows_max", 1, 1 << 30, "rows",
        "Topics that clients are behind in by patterns, each counted once for each client, over all clients of a shard, some 40 bytes \
         each; above it a client of a pattern whose socket is full is reset at the next publication. 16 million, 0.6 GB, are \
         160 clients that take nothing of 100,000 topics."),
    limit("held_bytes_max", 4096, 1 << 30, "bytes",
        "Input that came while its client's earlier request waits, over all clients of a shard; beyond, clients that send \
         on without reading answers are closed with 1013. Publishers are held back in place of being closed."),
    limit("accept_backlog", 1, 65_535, "connections",
        "Clients that wait to be accepted, on each listening socket; the kernel caps it at net.core.somaxconn (4,096)."),
    limit("subscriptions_max", 1, 1 << 20, "subscriptions",
        "Subscriptions of one client; above it error 5. Exchanges allow 200 to 1,024."),
    limit("patterns_max", 1, 1 << 20, "patterns",
        "Different patterns that the clients of a shard are subscribed to; above it error 5. One takes some hundred bytes for a \
         few levels, 13 KiB for the most there can be, and each new one a look at every topic."),
    limit("requests_per_second", 1, 1_000_000, "requests a second",
        "Requests, pings and echoed messages of one client, on the long run; above it error 8. A client that subscribes \
         in lists needs one a second at most."),
    limit("requests_burst", 1, 1_000_000, "requests",
        "How many of them may come at once: a client that starts up and subscribes one by one."),
    limit("errors_in_a_row_max", 1, 10_000, "errors",
        "Requests in a row that ended in an error; then close 1008: that client is broken and will not mend itself."),
    limit("topics_max", 1, 10_000_000, "topics",
        "Topics of the whole gateway, published or subscribed. A quiet topic costs some hundred bytes; 200,000 hold \
         every instrument of several exchanges."),
    limit("replica_linger_ms", 1, HOUR_MS, "milliseconds",
        "A shard without subscribers of a topic gives up its copy of the ring after this; 30 s let clients reconnect \
         and find it."),
    limit("publish_credits", 1, 1 << 20, "publications",
        "Publications of one thread that another shard has not yet passed on; then that publisher is not read. 1,024 \
         are nearly 4 s of the recorded feed, and they bound a mailbox."),
    limit("broker_requests_max", 1, 1 << 20, "requests",
        "Requests of feeds and of the admin port that wait for the broker, a batch being one; beyond, whoever asks waits. \
         256 keep a feed going while one request waits for credits."),
    limit("publish_wait_ms", 1, HOUR_MS, "milliseconds",
        "How long an HTTP publisher waits for a full mailbox; then 503."),
    limit("stalled_after_ms", 1, HOUR_MS, "milliseconds",
        "A subscriber whose socket took no byte for so long is not waited for by a replay at speed = \"max\" or by the \
         stop: a second is many round trips, and short for one who watches."),
    limit("stop_timeout_ms", 1, HOUR_MS, "milliseconds",
        "How long close handshakes may take when the gateway stops: well below the 10 s after which common supervisors \
         kill."),
];
