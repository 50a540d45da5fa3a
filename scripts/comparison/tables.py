"""How it is told: medians of the rounds, ratios of two contenders as the median of the rounds' own ratios with its quartiles,
and targets beside what was reached; into the document between markers, with the hand-written text around left as it is.
"""

import re
import statistics

from .rows import BEST_PEER, FLOOR_SEND, FLOOR_URING, ROOT, TIDEGATE, is_of_the_server_alone
from .servers import SERVERS

DOCUMENT = ROOT / "docs/benchmarks.md"
# Above this its own delay is in the latencies, and its own limit in the rates.
GENERATOR_BUSY_MAX = 0.8


def void(runs, label):
    """Whether the generator was too busy to tell rates and latencies."""
    busy = runs.of(label, "generator.busy_max").values()
    return bool(busy) and statistics.median(busy) > GENERATOR_BUSY_MAX


def ratios(runs, figure, who, to):
    mine, theirs = runs.of(who, figure), runs.of(to, figure)
    return [mine[turn] / theirs[turn] for turn in mine if theirs.get(turn)]


def spread(values):
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def title(label):
    return SERVERS[label].title if label in SERVERS else label


def table(runs):
    """The row's table in Markdown."""
    row = runs.row
    base = title(row.base)
    head = ["server"]
    for column in row.columns:
        head += [column.title] + ([f"to {base}"] if column.ratio else [])
    head.append("generator")
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for label in ordered(runs):
        lines.append("| " + " | ".join([title(label), *cells(runs, label, len(head) - 1)]) + " |")
    rounds = max((len(runs.of(label, "seconds")) for label in runs.labels()), default=0)
    if any(void(runs, label) for label in runs.labels()):
        lines += ["", f"`void`: the generator used more than {GENERATOR_BUSY_MAX:.0%} of its core, so this is its figure as much as the server's."]
    return f"{row.title[0].upper()}{row.title[1:]}; {count(rounds)}.\n\n" + "\n".join(lines)


def count(rounds):
    return f"{rounds} round" if rounds == 1 else f"{rounds} rounds"


def ordered(runs):
    """As the row names them, whatever round they came in first."""
    names = [contender.label for contender in runs.row.contenders]
    return sorted(runs.labels(), key=lambda label: names.index(label) if label in names else len(names))


def cells(runs, label, width):
    row = runs.row
    if not runs.of(label, "seconds"):
        return [f"no figures: {runs.failure(label)}"] + [""] * (width - 1)
    told = []
    for column in row.columns:
        values = runs.of(label, column.figure).values()
        is_bound = not is_of_the_server_alone(column.figure)
        is_void = is_bound and void(runs, label)
        told.append("" if not values else "void" if is_void else f"{column.of(statistics.median(values)):,.{column.digits}f}")
        if column.ratio:
            found = ratios(runs, column.figure, label, row.base)
            hidden = not found or is_bound and (is_void or void(runs, row.base))
            told.append("" if hidden else "1" if label == row.base else in_words(found))
    busy = runs.of(label, "generator.busy_max").values()
    told.append(f"{statistics.median(busy):.2f}" if busy else "")
    failure = runs.failure(label)
    if failure:
        told[-1] += f" ({failure})"
    return told


def in_words(values):
    low, middle, high = spread(values)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})" if len(values) > 1 else f"{middle:.2f}"


def targets(runs):
    """One line of the targets' table for each target of the row: what was measured, what was asked, what was reached."""
    lines = []
    for target in runs.row.targets:
        values, bound = reached(runs, target), target.at_most if target.at_most is not None else target.at_least
        asked = asked_in_words(target, bound)
        whose = "" if target.who == TIDEGATE else f" of {target.who}"
        subject = f"{runs.row.title}: {figure_title(target.figure)}{whose}"
        lines.append(f"| {subject} | {asked} | {verdict(values, bound, target)} |")
    return lines


def reached(runs, target):
    """The rounds' own values of what the target bounds; none where a figure is missing or the generator was too busy."""
    to = best_peer(runs, target) if target.to == BEST_PEER else target.to.lstrip("-")
    if not is_of_the_server_alone(target.figure) and any(void(runs, label) for label in (target.who, to)):
        return []
    if target.to.startswith("-"):
        mine, theirs = runs.of(target.who, target.figure), runs.of(to, target.figure)
        return [mine[turn] - theirs[turn] for turn in mine if turn in theirs]
    if target.to:
        return ratios(runs, target.figure, target.who, to)
    return list(runs.of(target.who, target.figure).values())


def best_peer(runs, target):
    """By its median, the largest where at least so much is asked."""
    peers = [label for label in runs.labels() if label in SERVERS and label not in (target.who, FLOOR_SEND, FLOOR_URING)]
    told = {label: statistics.median(values) for label in peers if (values := runs.of(label, target.figure).values())}
    choose = max if target.at_least is not None else min
    return choose(told, key=told.get) if told else ""


def asked_in_words(target, bound):
    words = "at most" if target.at_most is not None else "at least"
    if target.note:
        return target.note
    return f"{words} {bound:g}x {title(target.to)}" if target.to else f"{words} {bound:,}"


def verdict(values, bound, target):
    if not values:
        return "void or not measured"
    low, middle, high = spread(values)
    is_reached = middle <= bound if target.at_most is not None else middle >= bound
    digits = 2 if target.to and not target.to.startswith("-") else 0
    return f"{'**reached**' if is_reached else 'missed'}: {middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f}, {count(len(values))})"


def figure_title(figure):
    names = {
        "server.cpu_ns_per_delivery": "CPU per delivery", "deliveries_per_second": "rate", "latency_us.mean": "mean latency",
        "latency_us.p50": "p50", "latency_us.p99": "p99",
    }
    return names.get(figure, figure.removeprefix("extra.").replace("_", " ").replace(".", " "))


def write(name, text):
    """Puts a text between its markers in the document; says so where there are none."""
    document = placed(DOCUMENT.read_text(), name, text)
    if document is None:
        print(f"docs/benchmarks.md has no <!-- compare:{name} --> ... <!-- /compare -->; what belongs there is printed only")
    else:
        DOCUMENT.write_text(document)


def placed(document, name, text):
    """The document with the text between the markers of that name; nothing where it has none."""
    found = marked(document, name)
    return f"{document[: found[0]]}\n{text}\n{document[found[1] :]}" if found else None


def marked(document, name):
    """From behind the opening marker to the closing one."""
    found = re.search(rf"<!-- compare:{re.escape(name)} -->(.*?)<!-- /compare -->", document, re.DOTALL)
    return found.span(1) if found else None


def write_targets(lines):
    write("targets", targets_table(DOCUMENT.read_text(), lines))


def targets_table(document, lines):
    """The table of all targets with these lines in their places; those of rows that were not run stay as they are."""
    found = marked(document, "targets")
    old = [line for line in document[slice(*found)].splitlines() if line.startswith("| ")] if found else []
    old = old[2:]
    fresh = {key(line): line for line in lines}
    kept = [fresh.pop(key(line), line) for line in old]
    return "\n".join(["| measure | target | reached |", "| --- | --- | --- |", *kept, *fresh.values()])


def key(line):
    return tuple(cell.strip() for cell in line.split("|")[1:3])
