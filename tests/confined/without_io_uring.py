"""Runs a command under a seccomp filter that refuses io_uring with EPERM, as the default profile of containers does.

Needs no rights: a process may always give up its own (PR_SET_NO_NEW_PRIVS). Everything else stays allowed.
"""

import ctypes
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
EPERM = 1

# The same numbers on every machine: io_uring_setup, io_uring_enter, io_uring_register.
FORBIDDEN = (425, 426, 427)

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[platform.machine()]


def step(code, value, if_true=0, if_false=0):
    return struct.pack("=HBBI", code, if_true, if_false, value)


def program():
    """Looks at the architecture (at 4) and the call's number (at 0) of `struct seccomp_data`."""
    steps = [step(LOAD, 4), step(EQUAL, ARCHITECTURE, 1, 0), step(RETURN, KILL), step(LOAD, 0)]
    for index, number in enumerate(FORBIDDEN):
        steps.append(step(EQUAL, number, len(FORBIDDEN) - index, 0))
    return steps + [step(RETURN, ALLOW), step(RETURN, ERRNO | EPERM)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def confine():
    steps = program()
    libc = ctypes.CDLL(None, use_errno=True)
    filter = Program(len(steps), b"".join(steps))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter)):
        raise OSError(ctypes.get_errno(), "the filter cannot be set")


confine()
os.execv(sys.argv[1], sys.argv[1:])
