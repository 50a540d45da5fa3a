//! Keys of how clients come, what they may do, and how they leave.

use super::super::forms;
use super::super::keys::{Form, Key};
use super::{
    ADDRESS, HOST, HOUR_MS, LISTENER_ADDRESS, NETWORK, ORIGIN, PATTERN, PEM_FILE, PREFIX, SOCKET_MODE, optional, required,
};

/// In the order in which they are printed.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    required("listener", "address", Form::Text(LISTENER_ADDRESS, forms::listener_address),
        "Address and port that clients connect to; port 0 lets the kernel choose, and the choice is printed at start. \
         Loopback by default in `tidegate config`: whoever wants to be reached says so. Or `unix:` and the absolute path of a socket, for \
         whoever is on this machine and may write its file, as a proxy: the socket of a gateway that is gone is replaced, one at which \
         somebody listens is not, nor a file that is no socket; it is left there at a stop."),
    optional("listener", "mode", Form::Text(SOCKET_MODE, forms::socket_mode),
        "Who may connect to a Unix socket: those who may write its file. 0660 by default: this user and its group. (In a directory with \
         the setgid bit, the directory's group.) Not touched where a supervisor made the socket."),
    optional("listener", "kind", Form::OneOf(&["tcp", "unix"]),
        "What carries it, which the address says already; the two must agree. TLS over it is a table of its own, [listener.tls]."),
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
         field of the request. Nobody else's is. `unix`, of a listener that is a Unix socket: whoever connects there."),
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
    optional("listener", "connection_age_max_s", Form::Whole(0, 2_592_000, "seconds"),
        "How long a connection by it may last, where that is other than limits.connection_age_max_s says; 0: for ever."),
    optional("listener.arrivals", "per_second", Form::Whole(1, 1_000_000, "clients a second"),
        "As in [arrivals]."),
    optional("listener.arrivals", "burst", Form::Whole(1, 1_000_000, "clients"),
        "As in [arrivals]."),
    optional("listener.arrivals", "per_address_per_second", Form::Whole(1, 1_000_000, "clients a second"),
        "As in [arrivals]."),
    optional("listener.arrivals", "per_address_burst", Form::Whole(1, 1_000_000, "clients"),
        "As in [arrivals]."),
    optional("listener.arrivals", "per_address_max", Form::Whole(1, 1 << 20, "clients"),
        "As in [arrivals]."),
    optional("listener.arrivals", "exempt", Form::Texts(NETWORK, forms::network),
        "As in [arrivals]."),
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
    optional("admin", "address", Form::Text(ADDRESS, forms::address),
        "Address and port, beside the clients' 8080. An address that other machines reach needs an [[admin.key]], and something that ends \
         TLS before it: it speaks plain HTTP."),
    optional("admin", "hosts", Form::Texts(HOST, forms::host),
        "Hosts that a request may name besides localhost and loopback addresses when the address is loopback (421 else)."),
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
    required("admin.key", "name", Form::Text("a name", forms::filled),
        "Whose it is, as the log names it; each once."),
    required("admin.key", "secret_file", Form::Text("the path of a file", forms::filled),
        "File with the key: a line of 20 to 512 visible ASCII characters, as from `openssl rand -hex 32`, or `sha256:` and the key's SHA-256 in \
         hexadecimal, which is what then lies on this machine. Keep it readable by the gateway's user alone."),
    optional("admin.key", "publish", Form::Texts(PATTERN, forms::pattern),
        "Topics, names or patterns, that may be published on with it. None by default."),
    optional("admin.key", "read", Form::Flag,
        "Whether metrics, topics and connections may be read with it."),
    optional("admin.key", "change", Form::Flag,
        "Whether anything else may be changed with it, as ending a connection."),
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
        "Addresses that the three bounds per address are not for, beside trusted_proxies: this machine's own, by default, and `unix`, \
         who comes by a Unix socket and no proxy says from where."),
    optional("drain", "delay_ms", Form::Whole(0, HOUR_MS, "milliseconds"),
        "How long clients are still taken and served while /health/ready says 503 already: as long as the balancer needs to notice, \
         the interval of its checks times how many must fail. 0 by default: whoever has no balancer waits for nothing."),
    optional("drain", "window_ms", Form::Whole(0, HOUR_MS, "milliseconds"),
        "Over how long the clients are closed then, one after the other in random order, each with 1012 and told before; feeds go on \
         meanwhile. Below what the supervisor waits before it kills, with delay_ms and stop_timeout_ms. 0 by default: all are closed \
         at once by the stop."),
    optional("takeover", "socket", Form::Text("the path of a Unix socket", forms::filled),
        "Where a gateway that runs is asked for its place, and where this one is asked then; made readable and writable by this user alone, \
         and taken from nobody else. Where nobody answers, the start is an ordinary one. Nothing is handed over without it. \
         (`--takeover` says the same.)"),
    optional("takeover", "handover_bytes_max", Form::Whole(0, 1 << 40, "bytes"),
        "Publications of rings that go along, newest first, dealt out fairly to topics, beside the newest of each key; what a journal \
         holds needs no room here. It is how far back a client can go on after the restart, and takes some milliseconds for 10 MiB, \
         while publishers wait."),
    optional("takeover", "timeout_ms", Form::Whole(100, HOUR_MS, "milliseconds"),
        "For what the other gateway has to do, and how long publishers are held back at most: then the one that runs goes on, and \
         the one that starts is refused. Journals are read meanwhile."),
    optional("takeover", "feed_bytes_max", Form::Whole(1 << 16, 1 << 40, "bytes"),
        "Publications that wait for the gateway before, which is told of all of them until its last client is gone. One that does not \
         read is left to itself above that: its clients are closed with 1012, and come back to this one."),
];
