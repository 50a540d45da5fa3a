"""Who is measured: how each server is installed, set up and started, on core 0 and with one serving thread.

A server is ready when it says where clients connect, or, where it says nothing, when its port takes connections.
"""

import dataclasses
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable

from . import install
from .install import PEERS, SOURCES, TARGET
from .rows import BUN, FLOOR_SEND, FLOOR_URING, PATH, TIDEGATE

CORE = "0"
# As many as a process may have, and a few less for what is no client.
DESCRIPTORS_MAX = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
CLIENTS_MAX = min(DESCRIPTORS_MAX, 1 << 20) - 1000
READY_S = 20
CLIENTS = re.compile(r"clients\s+wss?://(127\.0\.0\.1:\d+)")

# What every row shares; a row's own settings are laid over it.
GATEWAY = {
    "listener": {"address": "127.0.0.1:0"},
    "publish": {"allow": "loopback", "topics": ["demo.>"]},
    "shards": {"count": 1, "pin": False},
    "echo": {"enabled": True},
    # One client's echoes and pings are the load here.
    "limits": {
        "half_open_per_address_max": 16384, "message_bytes_max": 1 << 20,
        "requests_per_second": 1000000, "requests_burst": 1000000,
    },
}


@dataclasses.dataclass(frozen=True)
class Server:
    title: str
    install: Callable
    command: Callable  # of a Setup
    dialect: str = ""  # of its own
    environment: dict = dataclasses.field(default_factory=dict)
    tells: bool = True  # where clients connect
    worker: bool = False  # the process that serves is the first one's child
    path: str = PATH


@dataclasses.dataclass
class Setup:
    contender: object
    directory: pathlib.Path
    address: str = "127.0.0.1:0"


def toml(settings):
    """Tables of plain values, as the gateway's configuration has them."""
    text = ""
    for table, values in settings.items():
        text += f"[[{table}]]\n" if table in ("listener", "topic") else f"[{table}]\n"
        for key, value in values.items():
            if isinstance(value, dict):
                text += f"[{table}.{key}]\n" + "".join(f"{inner} = {literal(of)}\n" for inner, of in value.items())
            else:
                text += f"{key} = {literal(value)}\n"
    return text


def literal(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def tidegate(setup):
    contender = setup.contender
    settings = {table: dict(values) for table, values in GATEWAY.items()}
    if contender.deflate:
        settings["listener"]["permessage_deflate"] = True
    if contender.tls:
        certificate, key = install.identity()
        settings["listener"]["tls"] = {"certificate": str(certificate), "key": str(key)}
    for table, values in contender.tidegate.items():
        settings.setdefault(table, {}).update(values)
    config = setup.directory / "tidegate.toml"
    config.write_text(toml(settings))
    return [TARGET / "release/tidegate", "--config", config]


def bun(setup):
    command = [install.bun_binary(), SOURCES / "bun/server.js", "0"]
    if setup.contender.deflate:
        command.append("--deflate")
    if setup.contender.tls:
        command += ["--tls", *install.identity()]
    return command


def filled(setup, template, **values):
    """A configuration of ours with what is known only now."""
    text = template.read_text()
    for name, value in {"ADDRESS": setup.address, "DIRECTORY": setup.directory, "DESCRIPTORS": CLIENTS_MAX, **values}.items():
        text = text.replace(f"@{name}@", str(value))
    file = setup.directory / template.name
    file.write_text(text)
    return file


def nchan(setup):
    modules = PEERS / "debian/usr/lib/nginx/modules"
    config = filled(setup, SOURCES / "nchan/nginx.conf", MODULES=modules)
    return [PEERS / "debian/usr/sbin/nginx", "-c", config, "-p", setup.directory, "-e", "stderr"]


def nats(setup):
    config = filled(setup, SOURCES / "nats/nats.conf", CLIENTS=free_address())
    return [PEERS / "debian/usr/sbin/nats-server", "--config", config]


def floor(way):
    return lambda setup: [TARGET / "release/tidegate-loadtest", "floor", "--serve", way, "--clients", CLIENTS_MAX]


def rust(binary, *flags):
    return lambda setup: [PEERS / f"release/peer-{binary}", *flags, "127.0.0.1:0"]


SERVERS = {
    TIDEGATE: Server("tidegate", install.gateway, tidegate),
    BUN: Server("Bun", install.bun, bun),
    FLOOR_SEND: Server("floor, `send()`", install.gateway, floor("send")),
    FLOOR_URING: Server("floor, io_uring", install.gateway, floor("uring")),
    "fastwebsockets": Server("fastwebsockets", lambda: install.crate("fastwebsockets"), rust("fastwebsockets")),
    "tokio-websockets": Server("tokio-websockets", lambda: install.crate("tokio-websockets"), rust("tokio-websockets")),
    "sockudo-ws": Server("sockudo-ws on tokio", lambda: install.crate("sockudo-ws"), rust("sockudo-ws")),
    "sockudo-ws-uring": Server("sockudo-ws on tokio-uring", lambda: install.crate("sockudo-ws"), rust("sockudo-ws", "--uring")),
    "tokio-uring": Server("plain tokio-uring", lambda: install.crate("tokio-uring"), rust("tokio-uring")),
    "ws": Server("ws on Node", install.ws, lambda setup: ["node", SOURCES / "ws/server.js", "0"]),
    "nchan": Server(
        "nchan", install.nchan, nchan, dialect="nchan", tells=False, worker=True, path="/"
    ),
    "nats": Server(
        "NATS", install.nats, nats, dialect="nats", tells=False, environment={"GOMAXPROCS": "1"}, path="/"
    ),
}


class Failed(Exception):
    """A server that did not start or did not last, as a sentence."""


class Running:
    """A started server. Ends with the `with` block, whatever happens in it."""

    def __init__(self, contender):
        self.contender = contender
        self.server = SERVERS[contender.server]
        self.directory = tempfile.TemporaryDirectory(prefix="tidegate-compare-")
        directory = pathlib.Path(self.directory.name)
        # nginx gives its worker up to another user, who must get in.
        directory.chmod(0o755)
        self.output = directory / "output"
        setup = Setup(contender, directory, self.address_before())
        command = ["taskset", "-c", CORE, *map(str, self.server.command(setup))]
        working = PEERS / "ws" if contender.server == "ws" else directory
        with self.output.open("wb") as output:
            environment = {**os.environ, **self.server.environment}
            self.process = subprocess.Popen(command, cwd=working, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            self.address = self.wait(setup.address)
        except BaseException:
            self.end()
            raise

    def address_before(self):
        return "127.0.0.1:0" if self.server.tells else free_address()

    def wait(self, address):
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"{self.server.title} ended at its start: {self.last_words()}")
            if self.server.tells:
                found = CLIENTS.search(self.output.read_text(errors="replace"))
                if found:
                    return found[1]
            elif takes_connections(address):
                return address
            time.sleep(0.02)
        raise Failed(f"{self.server.title} was not ready after {READY_S} s: {self.last_words()}")

    def last_words(self):
        return install.telling_line(self.output.read_text(errors="replace"))

    @property
    def pid(self):
        """Of the process that serves."""
        if not self.server.worker:
            return self.process.pid
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else self.process.pid

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.directory.cleanup()


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def takes_connections(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
