"""What is looked at while the loads run: memory, descriptors and threads of the gateway's process, the kernel's sockets, and the
gateway's own figures.

A client's socket is in the ring's table, not among the process's descriptors; the table is told by /proc/PID/fdinfo.
"""

import os
import pathlib
import re

TABLE_ENTRY = re.compile(r"^ *\d+: ", re.MULTILINE)


def sample(gateway, at_s):
    """Everything at one moment; the process before its own figures, since asking for those takes a descriptor for a moment."""
    gateway.must_live()
    seen = {"at_s": round(at_s, 1), **process(gateway.pid), **sockets()}
    return {**seen, "figures": gateway.figures()}


def process(pid):
    root = pathlib.Path("/proc") / str(pid)
    status = dict(re.findall(r"^(\w+):\s+(\d+)", (root / "status").read_text(), re.MULTILINE))
    tasks = threads(root)
    return {
        "resident_bytes": int(status["VmRSS"]) * 1024,
        "anonymous_bytes": int(status["RssAnon"]) * 1024,
        # The kernel's own workers of a ring come and go as it likes.
        "threads": sum(not name.startswith("iou-") for name, _ in tasks),
        "thread_names": sorted({name for name, _ in tasks}),
        "descriptors": len(os.listdir(root / "fd")),
        "ring_descriptors": ring_descriptors(root),
        "cpu_s": sum(ran_ns for _, ran_ns in tasks) / 1e9,
    }


def threads(root):
    """Name and run time of each."""
    found = []
    for task in (root / "task").iterdir():
        try:
            found.append(((task / "comm").read_text().strip(), int((task / "schedstat").read_text().split()[0])))
        except (FileNotFoundError, ProcessLookupError):
            # It ended in between.
            continue
    return found


def ring_descriptors(root):
    """Sockets in the tables of all rings; none where the kernel was busy with one."""
    count = 0
    for descriptor in (root / "fd").iterdir():
        try:
            if os.readlink(descriptor) == "anon_inode:[io_uring]":
                files = files_of((root / "fdinfo" / descriptor.name).read_text())
                if files is None:
                    return None
                count += files
        except (FileNotFoundError, ProcessLookupError):
            # It was closed in between.
            continue
    return count


def files_of(fdinfo):
    """Entries of the table between `UserFiles:` and `UserBufs:`; none where the kernel left it out."""
    _, found, rest = fdinfo.partition("\nUserFiles:")
    return len(TABLE_ENTRY.findall(rest.partition("\nUserBufs:")[0])) if found else None


def sockets():
    """The whole machine's TCP sockets, and their buffers."""
    text = pathlib.Path("/proc/net/sockstat").read_text()
    found = dict(re.findall(r"(\w+) (\d+)", text.partition("TCP:")[2].splitlines()[0]))
    return {"tcp_sockets": int(found["alloc"]), "tcp_bytes": int(found["mem"]) * os.sysconf("SC_PAGE_SIZE")}
