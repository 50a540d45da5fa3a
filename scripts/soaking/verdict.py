"""What is held against a soak: each criterion with its figure, reached or missed."""

import dataclasses
from statistics import median

GROWTH_MAX = 0.02
# What no client of these loads gives a reason for.
FAULTS = ("protocol", "utf8", "too_big", "policy", "timeout", "internal")


@dataclasses.dataclass(frozen=True)
class Criterion:
    name: str
    is_reached: bool
    figure: str

    def row(self):
        return f"| {self.name} | {'**reached**' if self.is_reached else 'missed'} | {self.figure} |"


def judge(runs, before, samples, after, warm_up_s):
    warm = [sample for sample in samples if sample["at_s"] >= warm_up_s]
    return [
        whole(runs),
        lagging(runs, after["figures"]),
        storms(runs),
        faults(after["figures"]),
        flat("anonymous memory", warm, "anonymous_bytes"),
        flat("resident memory", warm, "resident_bytes"),
        returned("descriptors of the process", before, after, "descriptors"),
        returned("sockets in the rings' tables", before, after, "ring_descriptors"),
        returned("threads", before, after, "threads"),
        left(after["figures"]),
    ]


def whole(runs):
    failures = [failure for run in runs for failure in run.failures]
    idle = [run.load.name for run in runs if not run.rounds]
    failures += [f"{name} never ran" for name in idle]
    deliveries = sum(run.sum("deliveries") for run in runs if "storm" not in run.load.name)
    told = f"{deliveries:,} deliveries, each checked for order, sequence and bytes" if not failures else "; ".join(failures)
    return Criterion("every subscriber within the ring is whole", not failures, told)


def lagging(runs, figures):
    """The gateway's count of those it closed for lag, against the stalled readers that found themselves closed."""
    closed = figures.get("closes_total.lag", 0)
    stalled = sum(run.sum(name) for run in runs for name in ("slow_closed_1013", "slow_reset"))
    otherwise = sum(run.sum("slow_closed_otherwise") for run in runs)
    told = f"{closed:,} closed for lag, {stalled:,} stalled readers found themselves closed, {otherwise:,} for another reason"
    return Criterion("only readers that stalled were closed for lag", closed <= stalled and otherwise == 0, told)


def storms(runs):
    connects, failed = (sum(run.sum(name) for run in runs) for name in ("connects", "failed"))
    reasons = {round_.get("extra", {}).get("failures") for run in runs for round_ in run.rounds} - {None, ""}
    told = f"{failed:,} of {connects:,}" + "".join(f"; {reason}" for reason in sorted(reasons))
    return Criterion("connects of the storms that failed: none", failed == 0, told)


def faults(figures):
    found = {name: figures.get(f"closes_total.{name}", 0) for name in FAULTS}
    found |= {name: value for name, value in figures.items() if name.startswith("refusals_total.")}
    told = [f"{value:,} x {name.removeprefix('refusals_total.')}" for name, value in found.items() if value]
    return Criterion("nobody refused or closed for a fault", not told, ", ".join(told) or "none")


def flat(name, samples, figure):
    """The first tenth of the samples after the warm-up against the last, and the largest against the least."""
    values = [sample[figure] for sample in samples]
    if len(values) < 2:
        return Criterion(f"{name} flat within 2 %", False, "too few samples after the warm-up")
    tenth = max(1, len(values) // 10)
    first, last = median(values[:tenth]), median(values[-tenth:])
    grown, range_ = last / first - 1, max(values) / min(values) - 1
    told = f"{megabytes(first)} to {megabytes(last)}: {grown:+.2%}; "
    told += f"least {megabytes(min(values))}, largest {megabytes(max(values))}: {range_:.2%} apart"
    return Criterion(f"{name} flat within 2 %", abs(grown) <= GROWTH_MAX and range_ <= GROWTH_MAX, told)


def returned(name, before, after, figure):
    told = f"{before[figure]} before, {after[figure]} after everyone left"
    return Criterion(f"{name}: as many as before", before[figure] is not None and before[figure] == after[figure], told)


def left(figures):
    clients, subscriptions = figures.get("connections"), figures.get("subscriptions")
    return Criterion("nobody left behind", clients == 0 and subscriptions == 0, f"{clients} clients, {subscriptions} subscriptions")


def megabytes(count):
    return f"{count / 1e6:.2f} MB"
