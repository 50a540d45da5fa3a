"""The gateway under soak: its settings, its process, and its own figures over the admin port."""

import pathlib
import re
import signal
import subprocess
import tempfile
import time
import urllib.request

from comparison import install

READY_S = 20
STOP_S = 15
TOLD = re.compile(r"^\s*(clients|admin)\s+(\w+)://(127\.0\.0\.1:\d+)", re.MULTILINE)
METRIC = re.compile(r'^tidegate_(\w+)\{shard="\d+"(?:,\w+="(\w+)")?\} (\d+)$', re.MULTILINE)

# Rings are full within half a minute, so that memory that still grows after the warm-up grows for another reason; each holds
# seconds of what is published, which is what a subscriber that waits for a core may lack.
SETTINGS = """\
[[listener]]
address = "127.0.0.1:0"
permessage_deflate = true
[[listener]]
address = "127.0.0.1:0"
[listener.tls]
certificate = "{certificate}"
key = "{key}"
[admin]
address = "127.0.0.1:{admin_port}"
[publish]
allow = "loopback"
topics = ["demo.>", "churn.*"]
[shards]
count = {shards}
pin = false
[limits]
half_open_per_address_max = 16384
requests_per_second = 1000000
requests_burst = 1000000
[[topic]]
pattern = "churn.*"
ring_publications = 128
[[topic]]
pattern = "demo.fanout"
ring_publications = 1024
[[topic]]
pattern = "demo.tls"
ring_publications = 1024
[[topic]]
pattern = "demo.compressed"
ring_publications = 512
[[topic]]
pattern = "demo.slow"
ring_bytes = 1048576
[[topic]]
pattern = "demo.replay"
ring_bytes = 2097152
[[topic]]
pattern = ">"
ring_publications = 64
"""


class Failed(Exception):
    """A gateway that did not start or did not last, as a sentence."""


class Gateway:
    """A started gateway. Ends with the `with` block, whatever happens in it."""

    def __init__(self, shards, admin_port):
        self.directory = tempfile.TemporaryDirectory(prefix="tidegate-soak-")
        directory = pathlib.Path(self.directory.name)
        self.output = directory / "output"
        certificate, key = install.identity()
        config = directory / "tidegate.toml"
        config.write_text(SETTINGS.format(certificate=certificate, key=key, shards=shards, admin_port=admin_port))
        command = [install.TARGET / "release/tidegate", "--config", config]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            self.addresses = self.wait()
        except BaseException:
            self.end()
            raise

    def wait(self):
        """Where it listens, by scheme."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"the gateway ended at its start: {self.last_words()}")
            told = {scheme: address for _, scheme, address in TOLD.findall(self.output.read_text(errors="replace"))}
            if {"ws", "wss", "http"} <= told.keys():
                return told
            time.sleep(0.05)
        raise Failed(f"the gateway was not ready after {READY_S} s: {self.last_words()}")

    @property
    def pid(self):
        return self.process.pid

    def last_words(self):
        return install.telling_line(self.output.read_text(errors="replace"))

    def must_live(self):
        if self.process.poll() is not None:
            raise Failed(f"the gateway died with {self.process.returncode}: {self.last_words()}")

    def freeze(self, seconds):
        """Gives it no core for so long, as a machine that has other work may."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self.process.send_signal(signal.SIGCONT)

    def figures(self):
        """Its counters and gauges, summed over the shards: `deliveries_total`, `closes_total.lag`."""
        with urllib.request.urlopen(f"http://{self.addresses['http']}/metrics", timeout=10) as answer:
            return summed(answer.read().decode())

    def end(self):
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.directory.cleanup()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def summed(text):
    sums = {}
    for name, label, value in METRIC.findall(text):
        name = f"{name}.{label}" if label else name
        sums[name] = sums.get(name, 0) + int(value)
    return sums
