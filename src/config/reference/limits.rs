//! Keys of every bound.

use super::super::keys::Key;
use super::{HOUR_MS, limit};

/// In the order in which they are printed.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    limit("connections_max", 1, 1 << 20, "clients",
        "Clients of the whole process, divided among the shards; who comes then is told 503 with Retry-After, and /health/ready says 503. 16,384 take about 75 MB of kernel memory for their \
         sockets and fit a descriptor limit of 20,000."),
    limit("memory_bytes_max", 0, 1 << 44, "bytes",
        "Resident memory of the process, looked at once a second, above which nobody more is let in: 503 with Retry-After, and \
         /health/ready says 503; those who are there are served. They are let in again a sixteenth below it. 0: three quarters of what the \
         machine has, or its control group where that is less; the rest is for the kernel's sockets and for others."),
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
        "TCP_USER_TIMEOUT: bytes that nobody acknowledged for this long reset the client; by a Unix socket, a socket that takes \
         nothing for this long. 30 s bear a tunnel or a change of networks."),
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
    limit("history_bytes_per_second", 1, u32::MAX as u64, "bytes a second",
        "Bytes of the past that one client asks for by since and last, on the long run; above it error 8. A request of sixty bytes may ask \
         for a whole ring, again and again; 16 MiB are four full rings a second."),
    limit("history_burst_bytes", 1, u32::MAX as u64, "bytes",
        "How many of them may be asked for before the next such request is refused: one request has all that it asks for. 64 MiB are a \
         client that comes back to its topics one by one."),
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
