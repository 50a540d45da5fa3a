//! Every bound of the gateway.

use serde::{Deserialize, Serialize};

/// Every bound of the gateway. Bytes, counts and times; see docs/configuration.md for each reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Clients of the whole process, divided among the shards.
    pub connections_max: u32,
    /// Resident memory of the process above which no more clients are taken; 0: three quarters of what there is.
    pub memory_bytes_max: u64,
    /// Clients of one address that are not yet WebSockets, divided among the shards.
    pub half_open_per_address_max: u32,
    /// A request or echoed message.
    pub message_bytes_max: u32,
    /// Fragments of one message.
    pub fragments_max: u32,
    /// How many times its own bytes a compressed message may inflate to, beyond its first 64 KiB.
    pub inflate_ratio_max: u32,
    /// One publication, from whatever door.
    pub publication_bytes_max: u32,
    /// Publications below this are not compressed.
    pub deflate_bytes_min: u32,
    /// The head of the handshake.
    pub head_bytes_max: u32,
    /// Header fields in a head.
    pub headers_max: u16,
    /// The whole handshake.
    pub handshake_timeout_ms: u32,
    /// A PROXY header of version 2.
    pub proxy_header_bytes_max: u32,
    /// For a PROXY header, from accept to its last byte.
    pub proxy_timeout_ms: u32,
    /// A message that began must end.
    pub message_timeout_ms: u32,
    /// Without a byte from the client: a ping.
    pub idle_ping_ms: u32,
    /// A pong is due after this.
    pub pong_timeout_ms: u32,
    /// From our close frame to the reset.
    pub close_timeout_ms: u32,
    /// From falling out of the ring to the reset, while an unfinished frame's rest and the close frame are owed.
    pub close_deadline_ms: u32,
    /// A connection older than this is closed, a tenth earlier or later; 0: none is.
    pub connection_age_max_s: u32,
    /// `TCP_USER_TIMEOUT`: unacknowledged bytes older than this reset the client.
    pub send_timeout_ms: u32,
    /// `TCP_NOTSENT_LOWAT`: bytes that the kernel takes for a client beyond what is on the wire.
    pub send_unsent_bytes_max: u32,
    /// The same of a subscriber of `slow=conflate`, and its `SO_SNDBUF`.
    pub conflate_unsent_bytes: u32,
    /// Bytes in one visit of the sweep to one client.
    pub visit_bytes_max: u32,
    /// The same of a TLS client, before they are sealed.
    pub tls_visit_bytes_max: u32,
    /// What a client of a TLS listener can make us keep before its handshake is done.
    pub tls_handshake_bytes_max: u32,
    /// Replies owed to one client; above it, its requests are not read.
    pub reply_bytes_max: u32,
    /// Rests of frames that rings gave up, over all clients of a shard.
    pub torn_bytes_max: u32,
    /// Rows that patterns gave to clients that are behind, over all clients of a shard.
    pub pattern_rows_max: u32,
    /// Input held back while its clients wait for something, over all clients of a shard but publishers.
    pub held_bytes_max: u32,
    /// Clients that wait to be accepted, on each listening socket.
    pub accept_backlog: u32,
    /// Subscriptions of one client.
    pub subscriptions_max: u32,
    /// Patterns that clients of a shard are subscribed to.
    pub patterns_max: u32,
    /// Requests, pings and echoed messages of one client a second.
    pub requests_per_second: u32,
    /// Burst of them.
    pub requests_burst: u32,
    /// Bytes of the past, by `since` and `last`, of one client a second, on the long run.
    pub history_bytes_per_second: u32,
    /// How many of them may come at once.
    pub history_burst_bytes: u32,
    /// Errors in a row that close with 1008.
    pub errors_in_a_row_max: u16,
    /// Topics of the whole gateway.
    pub topics_max: u32,
    /// A replica without subscribers is given up after this.
    pub replica_linger_ms: u32,
    /// Publications of one shard or of the control thread that another shard has not yet passed on.
    pub publish_credits: u32,
    /// Requests of sources and of the admin port that wait for the broker; beyond, whoever asks waits.
    pub broker_requests_max: u32,
    /// An HTTP publisher waits this long for a full mailbox, then 503.
    pub publish_wait_ms: u32,
    /// A subscriber whose socket took no byte for so long is not waited for by a replay at `speed = "max"` or by the stop.
    pub stalled_after_ms: u32,
    /// At stop: how long close handshakes may take.
    pub stop_timeout_ms: u32,
}
