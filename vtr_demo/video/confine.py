"""What a stranger's file may cost, and what the process that decodes it gives up first.

That is memory, time, files, network and privileges, for this process itself; it cannot be taken back. Linux
has all of it; elsewhere what the system offers is used. The system calls are made by ctypes: no library is
needed for five of them.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import signal
import struct
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

OPEN_FILES = 64
"""File descriptors of a decoding process; a film, its copy and its sound need three."""

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
# linux/landlock.h: system calls, rights by the version that brought them, and scopes.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_NETWORK_RIGHTS, _SCOPES = {4: 3}, {6: 3}


@dataclass(frozen=True)
class LimitConfig:
    """What an untrusted file may cost before it is refused."""

    max_bytes: int = field(default=200 * 2**20, metadata={"about": "bytes of the file"})
    max_duration_s: float = field(default=15 * 60.0, metadata={"about": "seconds that it lasts"})
    max_pixels: int = field(default=4096 * 2304, metadata={"about": "width x height of the source picture"})
    decode_timeout_s: float = field(
        default=60.0, metadata={"about": "seconds of processor time to decode it; a longer film gets more"}
    )
    decode_memory_bytes: int = field(default=3 * 2**30, metadata={"about": "bytes of memory to decode it"})


def read_limit(text: str) -> tuple[str, float]:
    """Read NAME=X of the command line; raises ``ValueError`` with a sentence."""
    name, _, value = text.partition("=")
    kinds = {one.name: one.type for one in fields(LimitConfig)}
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if name not in kinds or not 0 < number < math.inf:
        raise ValueError(f"{text!r} is no limit such as max_duration_s=3600; `limits` lists them.")
    return name, int(number) if kinds[name] == "int" else number


@dataclass
class _Time:
    """Processor seconds of this process: what it may use at first, and for each second of film."""

    base_s: float
    per_second: float
    spent_s: float


_time: _Time | None = None


def confine(
    *,
    memory_bytes: int,
    written_bytes: int,
    cpu_s: float,
    cpu_per_second: float,
    spent_s: float,
    read: Sequence[str] | None,
    write: Sequence[str] = (),
) -> dict[str, bool]:
    """Give up what decoding does not need; which protections the system granted, by name.

    ``cpu_s`` are the processor seconds of a film of no length, ``cpu_per_second`` come on top for each
    second of it (`allow_for`), ``spent_s`` were used on it before. From now on only ``read`` and ``write``
    can be opened, and Python's own files; read=None leaves all open (decord loads its libraries late).
    """
    global _time  # noqa: PLW0603 - a process has one clock
    _time = _Time(cpu_s, cpu_per_second, spent_s)
    active = {"parent": _prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM if os.name == "nt" else signal.SIGKILL))}
    active |= _resource_limits(memory_bytes, written_bytes)
    _limit_cpu(cpu_s)
    active["privileges"] = _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    active["files"] = active["privileges"] and read is not None and _landlock(read, write)
    active["processes"] = active["privileges"] and _seccomp()
    return active


def allow_for(duration_s: float, packets: int, pixels: int) -> None:
    """Let this process work as long as a film of ``duration_s`` needs; nothing where it is not confined.

    A header may claim any length: seconds with fewer than four packets do not count. Large pictures count
    more, by their area over that of 1920 x 1080.
    """
    if _time is not None:
        film_s = min(duration_s, packets / 4) * max(1.0, pixels / (1920 * 1080))
        _limit_cpu(max(1.0, _time.base_s + _time.per_second * film_s - _time.spent_s))


def _resource_limits(memory_bytes: int, written_bytes: int) -> dict[str, bool]:
    limits = {"memory": ("RLIMIT_AS", memory_bytes), "written": ("RLIMIT_FSIZE", written_bytes)}
    limits |= {"descriptors": ("RLIMIT_NOFILE", OPEN_FILES), "dumps": ("RLIMIT_CORE", 0)}
    if sys.platform != "linux":
        del limits["memory"]  # only Linux keeps to it
    return {name: _set_limit(resource, value) for name, (resource, value) in limits.items()}


def _set_limit(name: str, value: int) -> bool:
    try:
        import resource
    except ImportError:
        return False
    kind = getattr(resource, name)
    _, most = resource.getrlimit(kind)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    try:
        resource.setrlimit(kind, (value, value))
    except (OSError, ValueError):
        return False
    return True


def _limit_cpu(seconds: float) -> None:
    # The soft limit ends the process with SIGXCPU; the hard one stays, so that `allow_for` can raise it.
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        wanted = math.ceil(min(seconds, 2**31))
        soft = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, most))


def _prctl(option: int, value: int, pointer: int = 0) -> bool:
    if sys.platform != "linux":
        return False
    call = ctypes.CDLL(None, use_errno=True).prctl
    call.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return bool(call(option, value, pointer, 0, 0) == 0)


# ---------------------------------------------------------------------- Landlock
def _landlock(read: Sequence[str], write: Sequence[str]) -> bool:
    """Close every file but these, and TCP, abstract sockets and signals to others; False without a kernel."""
    if sys.platform != "linux":
        return False
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    version = call(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    files, network, scopes = (
        sum(bits for since, bits in table.items() if since <= version)
        for table in (_FILE_RIGHTS, _NETWORK_RIGHTS, _SCOPES)
    )
    # An older kernel refuses a longer structure: the fields came with versions 1, 4 and 6.
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = call(_CREATE_RULESET, struct.pack("=QQQ", files, network, scopes)[:size], ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        # Python and PyAV import some of their modules when these are first used.
        code = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
        rights = dict.fromkeys((*sorted(code), str(Path(__file__).parents[1])), _READ_FILE | _READ_DIR)
        rights |= dict.fromkeys(read, _READ_FILE)
        rights |= dict.fromkeys(write, (_READ_FILE | _WRITE_FILE | _TRUNCATE) & files)
        for path, allowed in rights.items():
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                rule = struct.pack("=Qi", allowed, descriptor)
                if call(_ADD_RULE, ruleset, 1, rule, 0) != 0:
                    return False
            finally:
                os.close(descriptor)
        return bool(call(_RESTRICT_SELF, ruleset, 0) == 0)
    except OSError:
        return False  # the file is gone: opening it says so
    finally:
        os.close(ruleset)


# ---------------------------------------------------------------------- seccomp
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE, _CLONE3 = {"x86_64": 56, "aarch64": 220}, 435
_DENIED = {
    "x86_64": (41, 42, 49, 53, 57, 58, 59, 101, 310, 311, 322, 425),
    "aarch64": (198, 199, 200, 203, 117, 221, 270, 271, 281, 425),
}
"""socket, connect, bind, socketpair, fork, vfork, execve, ptrace, process_vm_readv and _writev, execveat,
io_uring_setup."""
_ALLOW, _REFUSE, _NO_SUCH_CALL = 0x7FFF0000, 0x00050001, 0x00050026  # the latter two: EPERM, ENOSYS
_LOAD, _EQUALS, _HAS_BITS, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_CLONE_THREAD, _X32 = 0x00010000, 0x40000000


def _seccomp() -> bool:
    """Allow threads, but no process, no program and no socket."""
    machine = platform.machine()
    if machine not in _AUDIT or sys.byteorder != "little":
        return False
    # Each line is (code, jump if true, jump if false, value); offsets: number 0, machine 4, arguments 16.
    lines = [(_LOAD, 0, 0, 4), (_EQUALS, 1, 0, _AUDIT[machine]), (_RETURN, 0, 0, _REFUSE), (_LOAD, 0, 0, 0)]
    lines += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _REFUSE)]
    for number in _DENIED[machine]:
        lines += [(_EQUALS, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    # The C library falls back to clone, whose flags a filter can see.
    lines += [(_EQUALS, 0, 1, _CLONE3), (_RETURN, 0, 0, _NO_SUCH_CALL)]
    lines += [(_EQUALS, 0, 3, _CLONE[machine]), (_LOAD, 0, 0, 16), (_HAS_BITS, 1, 0, _CLONE_THREAD)]
    lines += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    header = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(lines), ctypes.addressof(program)))
    return _prctl(_PR_SET_SECCOMP, 2, ctypes.addressof(header))


def cpu_seconds(pid: int) -> float | None:
    """Processor seconds that another process has used; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
