"""What is measured: one row per target, as data. A row is a scenario of the load generator and the contenders that run it in
turn; a target bounds one figure of tidegate's, by itself or as a ratio to another contender of the same rounds.
"""

import dataclasses
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Recordings are not part of the repository; tests find them by the same name.
FEEDS = pathlib.Path(os.environ.get("TIDEGATE_DATA", ROOT.parent / "shared/data"))
BINANCE = FEEDS / "hft_usdm_btcusdt_20240808.gz"
COINBASE = FEEDS / "cf_COINBASE.ws.28.0.gz"

CPU = "server.cpu_ns_per_delivery"
RATE = "deliveries_per_second"
MEAN = "latency_us.mean"
P50 = "latency_us.p50"
P99 = "latency_us.p99"
P99_9 = "latency_us.p99_9"
RESIDENT = "extra.server_resident_bytes_per_client"
FAILED = "extra.failed"

# Where subscribers connect; a server with a dialect of its own has its own.
PATH = "/ws/demo.load0"

TIDEGATE = "tidegate"
OTHER = "tidegate-other"  # another build of it, given by the user
BUN = "bun"
FLOOR_SEND = "floor-send"
FLOOR_URING = "floor-uring"
BEST_PEER = "the best peer"  # by the same figure
LIBRARIES = ("fastwebsockets", "tokio-websockets", "sockudo-ws", "sockudo-ws-uring", "tokio-uring", "ws")
BROKERS = ("nchan", "nats")


@dataclasses.dataclass(frozen=True)
class Contender:
    """A server in a row: how it is set up there, and what the generator is told besides the row's flags."""

    server: str
    name: str = ""
    deflate: bool = False
    tls: bool = False
    tidegate: dict = dataclasses.field(default_factory=dict)  # over the configuration that all rows share
    flags: dict = dataclasses.field(default_factory=dict)  # over the row's

    @property
    def label(self):
        return self.name or self.server


    def in_other_build(self):
        return dataclasses.replace(self, server=OTHER, name=f"{self.label}, other build")


@dataclasses.dataclass(frozen=True)
class Target:
    """At most (or at least) so much: a figure of `who`, or its ratio to the same figure of `to`."""

    figure: str
    at_most: float | None = None
    at_least: float | None = None
    to: str = ""
    who: str = TIDEGATE
    note: str = ""  # where the issue words it differently


def is_of_the_server_alone(figure):
    """Whether a busy generator leaves it as it is: CPU and memory, not rates and latencies."""
    return figure.startswith(("server.", "extra.server_", "extra.kernel_", FAILED))


@dataclasses.dataclass(frozen=True)
class Column:
    title: str
    figure: str
    scale: float = 1
    digits: int = 0
    ratio: bool = False  # to Bun, beside it
    inverse: bool = False  # scale / figure in place of scale * figure

    def of(self, value):
        return self.scale / value if self.inverse else self.scale * value


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    title: str
    scenario: str
    flags: dict  # of the load generator, `in_flight` for `--in-flight`
    contenders: tuple
    targets: tuple = ()
    columns: tuple = ()
    seconds: float = 3
    feed: pathlib.Path | None = None
    path: str = PATH
    base: str = BUN


DELIVERY = (
    Column("CPU ns/delivery", CPU, ratio=True),
    Column("deliveries/s", RATE),
    Column("mean us", MEAN, ratio=True),
    Column("p50 us", P50, ratio=True),
    Column("p99 us", P99, ratio=True),
    Column("p99.9 us", P99_9),
    Column("messages/receive", "messages_per_receive", digits=1),
)
ECHO = (
    Column("CPU ns/message", CPU, ratio=True),
    # What a closed loop of client and server cannot show, since the client's core is as full as the server's.
    Column("messages/s that a core would do", CPU, scale=1e9, inverse=True),
    Column("messages/s", RATE, ratio=True),
    Column("p50 us", P50),
    Column("p99 us", P99, ratio=True),
)
IDLE = (
    Column("resident bytes/client", RESIDENT, ratio=True),
    Column("anonymous", "extra.server_anonymous_bytes_per_client", ratio=True),
    Column("kernel's slab, both ends", "extra.kernel_slab_both_ends_bytes_per_client"),
)
STORM = (
    Column("connects/s", RATE, ratio=True),
    Column("CPU us/connect", CPU, scale=1e-3, digits=1, ratio=True),
    Column("handshake p50 us", P50),
    Column("p99 us", P99, ratio=True),
    Column("from connect p99 us", "extra.from_connect_us.p99"),
    Column("connects/s offered", "extra.offered_per_second"),
    Column("failed", FAILED),
)
BESIDE = (
    Column("echo p50 us", "extra.ping_us.p50", ratio=True),
    Column("echo p99 us", "extra.ping_us.p99", ratio=True),
    Column("fan-out p99 us", P99),
    Column("CPU ns/delivery", CPU, ratio=True),
)


def each(*servers, **setup):
    return tuple(Contender(server, **setup) for server in servers)


def fan_out(clients, in_flight, contenders, targets, size=128, **more):
    return Row(
        name=f"fanout-{clients}-w{in_flight}",
        title=f"{clients:,} subscribers, {size} bytes, {in_flight} in flight",
        scenario="fanout",
        flags={"clients": clients, "size": size, "in_flight": in_flight},
        contenders=contenders,
        targets=targets,
        columns=DELIVERY,
        **more,
    )


def floors(in_flight):
    return (Contender(FLOOR_SEND), Contender(FLOOR_URING)) if in_flight == 1 else ()


def replay(feed, name, clients, cpu, mean):
    return Row(
        name=f"replay-{name.lower()}-{clients}",
        title=f"recorded {name} feed at its own pace, {clients:,} subscribers",
        scenario="replay",
        flags={"feed": feed, "pace": 1, "clients": clients},
        contenders=each(TIDEGATE, BUN),
        targets=(
            Target(CPU, at_most=cpu, to=BUN),
            Target(MEAN, at_most=mean, to=BUN),
            Target(P99, at_most=0.60, to=BUN),
        ),
        columns=DELIVERY,
        seconds=12,
        feed=feed,
    )


def flushing(flush_us, **flags):
    """tidegate with a flush window for every topic."""
    return Contender(TIDEGATE, f"tidegate, flush_us = {flush_us}", tidegate={"topic": {"pattern": ">", "flush_us": flush_us}}, flags=flags)


def burst(feed, name, clients):
    return Row(
        name=f"burst-{name.lower()}-{clients}",
        title=f"recorded {name} feed at four times its pace, {clients:,} subscribers, flush window of 2 ms",
        scenario="replay",
        flags={"feed": feed, "pace": 4, "clients": clients},
        contenders=(*each(TIDEGATE, BUN), flushing(2000), flushing(8000)),
        targets=(
            Target(CPU, at_most=0.35, to=BUN, who="tidegate, flush_us = 2000"),
            Target(MEAN, at_most=2000, to="-tidegate", who="tidegate, flush_us = 2000", note="added mean latency at most the window"),
        ),
        columns=DELIVERY,
        seconds=7,
        feed=feed,
    )


def compressed(in_flight, to_plain):
    return Row(
        name=f"deflate-w{in_flight}",
        title=f"1,000 subscribers, JSON of 200 to 2,000 bytes, compressed, {in_flight} in flight",
        scenario="fanout",
        flags={"clients": 1000, "sizes": "200..2000", "in_flight": in_flight},
        contenders=(
            Contender(TIDEGATE, deflate=True, flags={"deflate": True}),
            Contender(TIDEGATE, "tidegate, plain"),
            Contender(BUN, deflate=True, flags={"deflate": True}),
            Contender(BUN, "bun, plain"),
        ),
        targets=(Target(CPU, at_most=to_plain, to="tidegate, plain"), Target(CPU, at_most=0.1, to=BUN)),
        columns=DELIVERY,
    )


def secure(in_flight):
    return Row(
        name=f"tls-w{in_flight}",
        title=f"1,000 subscribers, 128 bytes, TLS, {in_flight} in flight",
        scenario="fanout",
        flags={"clients": 1000, "size": 128, "in_flight": in_flight},
        contenders=(*each(TIDEGATE, BUN, tls=True), Contender(TIDEGATE, "tidegate, plain")),
        targets=(Target(CPU, at_most=0.9, to=BUN),),
        columns=DELIVERY,
    )


def echo(size, cpu=None, pipelined=1, rate=None):
    """In a closed loop, or at a rate of about half of what one does: the first tells CPU, the second latencies too (which bound
    nobody: p99 swings more from round to round than from server to server)."""
    name, title, flags = f"echo-{size}", f"echo, 64 clients, {size:,} bytes", {"clients": 64, "size": size}
    if rate:
        name, title, flags = f"{name}-fixed", f"{title}, {rate:,} messages a second", {**flags, "rate": rate}
    elif pipelined > 1:
        name, title, flags = f"{name}-p{pipelined}", f"{title}, {pipelined} pipelined", {**flags, "pipelined": pipelined}
    return Row(
        name=name,
        title=title,
        scenario="echo",
        flags=flags,
        contenders=each(TIDEGATE, BUN, *LIBRARIES),
        targets=((Target(CPU, at_most=cpu, to=BUN),) if cpu else ()) + (Target(CPU, at_most=1.0, to=BEST_PEER),),
        columns=ECHO,
        path="/echo",
    )


def idle(clients, *contenders):
    return Row(
        name=f"idle-{clients}",
        title=f"{clients:,} idle clients with one subscription each",
        scenario="idle",
        flags={"clients": clients},
        contenders=contenders,
        targets=(Target(RESIDENT, at_most=300),),
        columns=IDLE,
        seconds=2,
    )


def turn_length(sends):
    """tidegate with turns of so many sends. Their time does not bound them here."""
    name = TIDEGATE if sends == 64 else f"tidegate, turns of {sends}"
    return Contender(TIDEGATE, name, tidegate={"shards": {"sends_per_turn": sends, "turn_us": 10000}})


def turns(name, title, flags, columns, **more):
    return Row(
        name=f"turns-{name}",
        title=f"turns of 64 sends beside shorter and longer ones: {title}",
        scenario="fanout",
        flags=flags,
        contenders=tuple(turn_length(sends) for sends in (16, 32, 64, 128, 256)),
        columns=columns,
        base=TIDEGATE,
        **more,
    )


def reactors(name, title, scenario, flags, columns, *beside, **more):
    """The same gateway by io_uring and by epoll."""
    return Row(
        name=f"reactors-{name}",
        title=f"by io_uring and by epoll: {title}",
        scenario=scenario,
        flags=flags,
        contenders=(
            Contender(TIDEGATE, tidegate={"shards": {"reactor": "io_uring"}}),
            Contender(TIDEGATE, "tidegate, epoll", tidegate={"shards": {"reactor": "epoll"}}),
            *each(*beside),
        ),
        columns=columns,
        base=TIDEGATE,
        **more,
    )


STORM_LIMITS = {"limits": {"connections_max": 18500, "half_open_per_address_max": 18500, "accept_backlog": 65535}}
CROWD = {"limits": {"connections_max": 110000, "half_open_per_address_max": 110000}, "shards": {"count": 16}}

ROWS = (
    fan_out(
        1000, 1, (*each(TIDEGATE, BUN), *floors(1), *each(*LIBRARIES, *BROKERS)),
        (Target(CPU, at_most=0.95, to=BUN), Target(CPU, at_most=1.08, to=FLOOR_SEND), Target(CPU, at_most=1.08, to=FLOOR_URING)),
    ),
    fan_out(
        1000, 16, each(TIDEGATE, BUN, *LIBRARIES, *BROKERS),
        (Target(CPU, at_most=0.45, to=BUN), Target(P99, at_most=0.55, to=BUN)),
    ),
    Row(
        name="fanout-1000-fixed",
        title="1,000 subscribers, 128 bytes, 100 publications a second",
        scenario="fanout",
        flags={"clients": 1000, "size": 128, "rate": 100},
        contenders=each(TIDEGATE, BUN),
        targets=(Target(P50, at_most=1.0, to=BUN), Target(P99, at_most=1.0, to=BUN)),
        columns=DELIVERY,
    ),
    fan_out(10000, 1, each(TIDEGATE, BUN), (Target(CPU, at_most=0.95, to=BUN),), seconds=5),
    fan_out(10000, 16, each(TIDEGATE, BUN), (Target(CPU, at_most=0.60, to=BUN),), seconds=5),
    Row(
        name="topics",
        title="50 of 5,000 topics for each of 1,000 clients, combined, recorded sizes, 20,000 publications a second",
        scenario="fanout",
        flags={"clients": 1000, "topics": 5000, "topics_per_subscriber": 50, "sizes_from": BINANCE, "rate": 20000},
        contenders=(
            Contender(TIDEGATE, flags={"dialect": "tidegate"}), Contender(BUN),
            flushing(5000, dialect="tidegate"), flushing(10000, dialect="tidegate"),
        ),
        targets=(Target(CPU, at_most=0.6, to=BUN), Target(CPU, at_most=0.6, to=BUN, who="tidegate, flush_us = 10000")),
        columns=DELIVERY,
        seconds=5,
        feed=BINANCE,
        path="/stream",
    ),
    *(replay(BINANCE, "Binance", *figures) for figures in ((300, 0.80, 0.62), (1000, 0.90, 0.60), (3000, 0.95, 0.55))),
    *(replay(COINBASE, "Coinbase", *figures) for figures in ((300, 0.80, 0.62), (1000, 0.90, 0.60), (3000, 0.95, 0.55))),
    burst(BINANCE, "Binance", 300),
    burst(COINBASE, "Coinbase", 300),
    compressed(1, 1.05),
    compressed(16, 1.25),
    secure(1),
    secure(16),
    echo(125, 0.97),
    echo(1024, 0.85),
    echo(16384, 0.5),
    echo(125, pipelined=16),
    echo(125, rate=50000),
    echo(1024, rate=50000),
    echo(16384, rate=25000),
    # Without the brokers: the scenario speaks no dialect.
    idle(10000, *each(TIDEGATE, BUN, *LIBRARIES), Contender(TIDEGATE, "tidegate, TLS", tls=True), Contender(BUN, "bun, TLS", tls=True)),
    idle(100000, Contender(TIDEGATE, tidegate=CROWD)),
    Row(
        name="beside",
        title="one client's echo beside 10,000 subscribers that are served 10 publications a second",
        scenario="fanout",
        flags={"clients": 10000, "size": 128, "rate": 10, "ping_url": "/echo"},
        contenders=(*each(TIDEGATE, BUN), Contender(TIDEGATE, "tidegate, echo alone", flags={"clients": 1})),
        targets=(Target("extra.ping_us.p99", at_most=1500, to="-tidegate, echo alone", note="at most 1.5 ms more than without them"),),
        columns=BESIDE,
        seconds=5,
    ),
    Row(
        name="connects",
        title="connects, 4 waves of 5,000",
        scenario="storm",
        flags={"clients": 5000, "waves": 4},
        contenders=each(TIDEGATE, BUN, *LIBRARIES, "nchan"),
        targets=(Target(RATE, at_least=1.2, to=BUN),),
        columns=STORM,
    ),
    Row(
        name="storm",
        title="18,000 clients that come all at once",
        scenario="storm",
        flags={"clients": 18000, "waves": 1},
        contenders=(Contender(TIDEGATE, tidegate=STORM_LIMITS), Contender(BUN)),
        targets=(Target(P99, at_most=1_000_000), Target(FAILED, at_most=0)),
        columns=STORM,
    ),
    Row(
        name="storm-rate",
        title="18,000 clients that come at 15,000 a second",
        scenario="storm",
        # The most that leaves the generator's core below 80 %.
        flags={"clients": 18000, "rate": 15000, "warm_up": 0},
        contenders=(Contender(TIDEGATE, tidegate=STORM_LIMITS), Contender(BUN)),
        targets=(Target(P99, at_most=1_000_000), Target(FAILED, at_most=0)),
        columns=STORM,
        seconds=1.2,
    ),
    Row(
        name="shards",
        title="1,000 subscribers, 128 bytes, one in flight: one shard beside two with half of the clients each",
        scenario="fanout",
        flags={"clients": 1000, "size": 128, "in_flight": 1},
        contenders=(Contender(TIDEGATE), Contender(TIDEGATE, "tidegate, two shards", tidegate={"shards": {"count": 2}})),
        targets=(Target(CPU, at_most=1.05, to=TIDEGATE, who="tidegate, two shards"),),
        columns=DELIVERY,
        base=TIDEGATE,
    ),
    *(
        reactors(
            f"w{in_flight}", f"1,000 subscribers, 128 bytes, {in_flight} in flight", "fanout",
            {"clients": 1000, "size": 128, "in_flight": in_flight}, DELIVERY, BUN,
        )
        for in_flight in (1, 16)
    ),
    *(
        reactors(f"echo-{size}", f"echo, 64 clients, {size:,} bytes", "echo", {"clients": 64, "size": size}, ECHO, path="/echo")
        for size in (125, 16384)
    ),
    turns("w16", "1,000 subscribers, 128 bytes, 16 in flight", {"clients": 1000, "size": 128, "in_flight": 16}, DELIVERY),
    turns(
        "beside", "one client's echo beside 10,000 subscribers that are served 10 publications a second",
        {"clients": 10000, "size": 128, "rate": 10, "ping_url": "/echo"}, BESIDE, seconds=5,
    ),
)

QUICK = ("fanout-1000-w1", "fanout-1000-w16", "fanout-1000-fixed", "echo-125")
