"""How it is measured: the contenders of a row take turns, round after round, each with the order of the one before rotated by
one, and every run is one line of JSON in target/compare.

Absolute figures drift from minute to minute, so what is told of two contenders is told of runs of the same round.
"""

import json
import subprocess
import time

from .install import TARGET, Missing, telling_line
from .rows import PATH
from .servers import SERVERS, Failed, Running

RAW = TARGET / "compare"
GENERATOR_CORE = "1"
# Over the seconds that are measured: connecting, and whatever a slow server adds before the generator gives up.
PATIENCE_S = 60


class Runs:
    """The runs of a row, as they are kept: figures of the generator's, or why there are none."""

    def __init__(self, row, keep):
        self.row = row
        self.file = RAW / f"{row.name}.jsonl"
        RAW.mkdir(parents=True, exist_ok=True)
        if not keep:
            self.file.unlink(missing_ok=True)
        kept = self.file.read_text().splitlines() if self.file.exists() else []
        self.lines = [json.loads(line) for line in kept]

    def add(self, contender, turn, figures):
        line = {**figures, "label": contender.label, "row": self.row.name, "round": turn}
        self.lines.append(line)
        with self.file.open("a") as raw:
            raw.write(json.dumps(line) + "\n")

    def of(self, label, figure):
        """The figure of each round in which there is one."""
        found = {line["round"]: look_up(line, figure) for line in self.lines if line["label"] == label}
        return {turn: value for turn, value in found.items() if value is not None}

    def failure(self, label):
        """Why a contender has no figures, or not all of them; in its own words."""
        told = [line.get("failed") or line.get("ended_early") for line in self.lines if line["label"] == label]
        return next((why for why in reversed(told) if why), None)

    def labels(self):
        return list(dict.fromkeys(line["label"] for line in self.lines))


def look_up(line, figure):
    """A figure by its path, like `latency_us.p99`."""
    for name in figure.split("."):
        if not isinstance(line, dict):
            return None
        line = line.get(name)
    return line if isinstance(line, (int, float)) else None


def run(row, contenders, rounds, seconds, keep):
    """Runs a row and returns what all its runs, earlier ones among them if they are kept, have shown."""
    runs = Runs(row, keep)
    first = time.time_ns()
    lost = set()
    for turn in range(rounds):
        for contender in rotated(contenders, turn):
            if contender.label in lost:
                continue
            try:
                figures = measure(row, contender, seconds)
            except (Failed, Missing) as why:
                figures = {"failed": str(why)}
                lost.add(contender.label)
            runs.add(contender, first + turn, figures)
            say(contender, turn, rounds, figures)
    return runs


def rotated(contenders, turn):
    start = turn % len(contenders)
    return contenders[start:] + contenders[:start]


def measure(row, contender, seconds):
    """One run of one contender, in a process of its own: where its memory happens to lie makes up to a fifth of its time, and a
    process that takes part in all rounds would carry that luck through all of them."""
    server = Running(contender)
    try:
        return generate(command(row, contender, server, seconds), seconds, server)
    finally:
        server.end()


def command(row, contender, server, seconds):
    kind = SERVERS[contender.server]
    root = f"{'wss' if contender.tls else 'ws'}://{server.address}"
    path = kind.path if row.path == PATH else row.path
    flags = {"url": root + path, "server_pid": server.pid, "seconds": seconds, "label": contender.label}
    if kind.dialect:
        flags["dialect"] = kind.dialect
    flags |= row.flags | contender.flags | {"json": True}
    if "waves" in flags:
        # They take what they take.
        del flags["seconds"]
    words = ["taskset", "-c", GENERATOR_CORE, TARGET / "release/tidegate-loadtest", row.scenario]
    for name, value in flags.items():
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(root + value if name == "ping_url" else value)
    return list(map(str, words))


def generate(words, seconds, server):
    """The generator's figures; its last words where it has none."""
    try:
        result = subprocess.run(words, capture_output=True, text=True, timeout=seconds + PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"gave no figures within {seconds + PATIENCE_S:.0f} s") from None
    line = next((line for line in reversed(result.stdout.splitlines()) if line.startswith("{")), None)
    if line is None:
        if server.process.poll() is not None:
            raise Failed(f"the server died: {server.last_words()}")
        raise Failed(telling_line(result.stderr))
    return json.loads(line)


def say(contender, turn, rounds, figures):
    if "failed" in figures:
        told = f"no figures: {figures['failed']}"
    else:
        cpu, busy = look_up(figures, "server.cpu_ns_per_delivery"), look_up(figures, "generator.busy_max")
        told = f"{look_up(figures, 'deliveries_per_second') or 0:,.0f} deliveries/s"
        told += f", {cpu:,.0f} ns of CPU each" if cpu else ""
        told += f", p99 {look_up(figures, 'latency_us.p99') or 0:,.0f} us"
        told += f", generator {busy:.2f} of its core" if busy is not None else ""
    print(f"  round {turn + 1}/{rounds}  {contender.label:<28} {told}", flush=True)
