"""What runs at once: loads of the generator, each for the whole time or again and again.

Each has topics of its own, since it checks that what comes is what it published; the storms come to the fan-out's topic, as clients
that lost their server would.
"""

import dataclasses
import json
import subprocess
import threading
import time

from comparison import install
from comparison.rows import BINANCE

# Less than this is no round.
ROUND_S_MIN = 10
# Over the seconds that were asked for: connecting, and what a slow gateway adds before the generator gives up.
PATIENCE_S = 90


@dataclasses.dataclass(frozen=True)
class Load:
    name: str
    title: str
    scenario: str
    url: str  # scheme and path
    flags: dict
    round_s: float | None = None  # again and again; else one run for the whole time
    pause_s: float = 0


LOADS = [
    Load("fan-out", "300 subscribers, 100 publications of 128 bytes a second", "fanout", "ws/ws/demo.fanout",
         {"clients": 300, "rate": 100}),
    Load("combined", "200 subscribers of 10 topics each, 200 publications a second over 100 topics", "fanout", "ws",
         {"dialect": "tidegate", "clients": 200, "topics": 100, "topics-per-subscriber": 10, "rate": 200}),
    Load("compressed", "100 subscribers, 20 publications of 200 to 2,000 bytes a second", "fanout", "ws/ws/demo.compressed",
         {"deflate": True, "clients": 100, "sizes": "200..2000", "rate": 20}),
    Load("TLS", "100 subscribers, 50 publications of 128 bytes a second", "fanout", "wss/ws/demo.tls", {"clients": 100, "rate": 50}),
    Load("replay", "50 subscribers of a recorded feed, over and over", "replay", "ws/ws/demo.replay",
         {"clients": 50, "feed": BINANCE}, round_s=86400),
    Load("churn", "200 clients change 300 subscriptions a second, 500 publications a second over 100 topics", "churn", "ws/stream",
         {"clients": 200, "rate": 300, "publish-rate": 500}),
    Load("slow", "100 subscribers, 20 of them stall for 15 s at a time; 200 publications of 1,024 bytes a second; anew each minute",
         "slow", "ws/ws/demo.slow", {"clients": 100, "slow-percent": 20, "stall": 15, "rate": 200}, round_s=60),
    Load("storm", "1,000 clients that come at once and leave at once, every 4 s", "storm", "ws/ws/demo.fanout",
         {"clients": 1000, "waves": 1}, round_s=20, pause_s=4),
    Load("TLS storm", "20 connects a second, the oldest of 100 reset for each", "storm", "wss/ws/demo.tls",
         {"clients": 100, "rate": 20}, round_s=60),
]


def present():
    """The loads whose recording, if they need one, is there."""
    return [load for load in LOADS if "feed" not in load.flags or load.flags["feed"].exists()]


def words(load, addresses, seconds):
    scheme, _, path = load.url.partition("/")
    flags = {"url": f"{scheme}://{addresses[scheme]}" + (f"/{path}" if path else ""), "gather-us": 500, **load.flags}
    if "waves" not in flags:
        flags["seconds"] = round(seconds)
    command = [install.TARGET / "release/tidegate-loadtest", load.scenario, "--json"]
    for name, value in flags.items():
        command += [f"--{name}"] if value is True else [f"--{name}", value]
    return list(map(str, command))


class Runs:
    """One load's rounds until the end, in a thread of its own."""

    def __init__(self, load, addresses, until, keep):
        self.load = load
        self.rounds = []
        self.failures = []
        self.process = None
        self.is_over = False
        self.thread = threading.Thread(target=self.repeat, args=(addresses, until, keep), daemon=True)
        self.thread.start()

    def repeat(self, addresses, until, keep):
        while not self.is_over and (left := until - time.monotonic()) >= ROUND_S_MIN:
            seconds = min(left, self.load.round_s or left)
            try:
                figures, failure = self.run(words(self.load, addresses, seconds), seconds)
            except (OSError, ValueError) as why:
                figures, failure = {}, str(why)
            self.rounds.append(figures)
            if failure:
                # What is wrong once is wrong; the others go on.
                self.failures.append(f"{self.load.name}, round {len(self.rounds)}: {failure}")
                print(f"FAILED {self.failures[-1]}", flush=True)
                return
            keep({"load": self.load.name, **figures})
            if self.load.round_s is None:
                return
            time.sleep(self.load.pause_s)

    def run(self, command, seconds):
        """One round's figures, and why it is none."""
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            output, errors = self.process.communicate(timeout=seconds + PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return {}, f"no end within {seconds + PATIENCE_S:.0f} s"
        figures = figures_of(output)
        is_well = self.process.returncode == 0 and figures
        return figures, None if is_well else install.telling_line(errors)

    def end(self):
        """Kills the round that is under way, if any."""
        self.is_over = True
        if self.process and self.process.poll() is None:
            self.process.kill()

    def sum(self, figure):
        """A figure over all rounds."""
        return sum(round_.get(figure, round_.get("extra", {}).get(figure, 0)) for round_ in self.rounds)


def figures_of(output):
    """What is kept of a run's line: its timeline and its histograms are left out."""
    line = next((line for line in reversed(output.splitlines()) if line.startswith("{")), "{}")
    kept = {name: value for name, value in json.loads(line).items() if name not in ("timeline", "last_latency_us")}
    kept.get("latency_us", {}).pop("percentiles", None)
    return kept
