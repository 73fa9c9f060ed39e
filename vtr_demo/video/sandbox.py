"""The guarded process in which files of unknown origin are decoded, with limits on time, memory and rights.

Both ends are here. A call takes an idle worker or starts one (0.3 s), sends one job and waits. The worker
forks a child for each job, so that a file meets a process that no other file has touched; the child gives
up all it does not need (`confine`) and answers through a pipe. Whatever goes wrong in between (a hang, a
crash, too much memory) ends that child and becomes one VideoError. Where processes cannot be forked safely
(Windows, macOS) a worker does one job and ends.

The worker is a plain child process, not a `multiprocessing` one: those import the program's main module
again (torch, gradio) and may not be started from a data loader's workers. Requests and answers are JSON and
raw bytes, never pickles, so a decoder that was taken over cannot run code in the process that asked.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import math
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from vtr_demo.errors import VideoError
from vtr_demo.video import confine, reader, transcode
from vtr_demo.video.confine import LimitConfig
from vtr_demo.video.decode import RESAVE, library_errors

log = logging.getLogger("vtr_demo.video")

IDLE_WORKERS = max(2, min(8, (os.cpu_count() or 2) // 2))
CPU_PER_SECOND = {"frames": 1.0, "film": 1.0, "convert": 2.0}
"""Processor seconds that each second of a film adds to limits.decode_timeout_s."""
WALL_FACTOR = 10
"""How many times its processor time a job may take by the clock, on however busy a machine."""
REFUND = 0.1
"""Processor seconds by which a file's account recovers in a second, so that it can be read again later."""
ENVIRONMENT = (
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONUSERBASE",
    "SYSTEMDRIVE", "SYSTEMROOT", "TZ", "USERPROFILE",
)  # fmt: skip
"""What a worker inherits; the rest may hold secrets."""
_COPY_FACTOR = 4
_ACCOUNTS = 1024
_LENGTHS = struct.Struct("<QQ")
_MAX_HEADER_BYTES, _MAX_PAYLOAD_BYTES = 2**24, 2**31
_FORKS = sys.platform == "linux"

Answer = tuple[dict[str, Any], bytes]


# ---------------------------------------------------------------------- the asking side
class _Worker:
    """One child process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        root = str(Path(__file__).resolve().parents[2])
        known = os.environ.get("PYTHONPATH")
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from vtr_demo.video.sandbox import serve; serve()", str(self.owner)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,  # Ctrl-C is for the parent; the child then sees its input close
            env={
                **{name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
                "PYTHONPATH": root if not known else root + os.pathsep + known,
                "PYTHONSAFEPATH": "1",
                # Fewer arenas and threads: they reserve address space, which is what is limited.
                "MALLOC_ARENA_MAX": "2",
                "OPENBLAS_NUM_THREADS": "1",
            },
        )

    def ask(self, request: dict[str, Any], wall_s: float) -> Answer:
        """The answer; {"error": "stalled"} or {"error": "crash"} where there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.kill()

        timer = threading.Timer(min(wall_s, threading.TIMEOUT_MAX), stop)
        timer.daemon = True
        timer.start()
        try:
            _send(self.process.stdin, request)
            return _receive(self.process.stdout)
        except (OSError, EOFError, ValueError, RecursionError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)  # it is ending by itself: its own exit status tells why
            status = self.process.returncode
            return {"error": "stalled", "wall_s": wall_s} if late.is_set() else _crash(status), b""
        finally:
            timer.cancel()

    def kill(self) -> None:
        """End the process and what it started."""
        if self.process.poll() is None and hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()

    def end(self) -> str:
        """Kill the process, wait for it, and give back the last line that it wrote."""
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.wait()
        self.errors.seek(max(0, self.errors.seek(0, os.SEEK_END) - 2000))
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        self.errors.close()
        return lines[-1] if lines else ""


_idle: deque[_Worker] = deque()
_accounts: OrderedDict[tuple[str, int, int], tuple[float, float]] = OrderedDict()
"""Processor seconds spent on a file, and when that was."""
_lock = threading.Lock()
_prepared: list[int] = []


def call(
    job: str,
    path: str | Path,
    arguments: dict[str, Any],
    limits: LimitConfig,
    *,
    write: str | Path | None = None,
    account: bool = True,
) -> Answer:
    """Do ``job`` on ``path`` in a guarded process: its answer as (JSON values, raw bytes), unchecked.

    ``write`` is the one file, existing already, that the job may write. All calls for one file share its
    processor time, which is limits.decode_timeout_s and more for a longer film, unless ``account`` is
    False. Raises VideoError where the file is to blame or a limit of ``limits`` was reached.
    """
    key = _account_key(path) if account else None
    stall_s = limits.decode_timeout_s
    film_s = min(limits.max_duration_s, 3600.0)
    wall_s = WALL_FACTOR * (stall_s + CPU_PER_SECOND.get(job, 0.0) * film_s)
    request = {
        "job": job, "path": str(path), "arguments": arguments, "limits": asdict(limits),
        "write": None if write is None else str(write), "spent_s": _spent(key), "stall_s": stall_s,
        "wall_s": wall_s,
    }  # fmt: skip
    header, payload = _asked(request, wall_s + 5)
    _spend(key, header.get("cpu_s"))
    error = header.get("error")
    if error is None:
        return header, payload
    used = header.get("cpu_s") if isinstance(header.get("cpu_s"), float) else stall_s
    sentences = {
        "memory": (
            f"reading it needs more than {limits.decode_memory_bytes / 2**30:.2g} GiB of memory",
            f"{RESAVE}, or raise the limit with --limits decode_memory_bytes=N",
        ),
        "time": (
            f"reading it took {used:.0f} s of processor time, too long for its length, and was stopped",
            f"{RESAVE}, or raise the limit with --limits decode_timeout_s=N",
        ),
        "stalled": (
            f"reading it stood still for {_number(header.get('wall_s'), stall_s):g} s and was stopped",
            "check the disk that it lies on, or raise the limit with --limits decode_timeout_s=N",
        ),
        "crash": (f"the decoder crashed on it ({header.get('status')})", RESAVE),
        "file": (str(header.get("reason"))[:300], str(header.get("advice"))[:300]),
    }
    raise VideoError(path, *sentences.get(str(error), sentences["crash"]))


def protections() -> dict[str, bool]:
    """Which protections the system grants to the processes that decode strangers' files, by name.

    parent: ends with its parent; memory, written, descriptors, dumps: resource limits; privileges: none to
    gain; files: Landlock; processes: neither programs nor sockets (seccomp).
    """
    values, _ = call("protections", os.devnull, {}, LimitConfig(), account=False)
    return {str(name): value is True for name, value in values.get("active", {}).items()}


def close_workers() -> None:
    """End the idle workers of this process; the next call starts new ones."""
    while True:
        with _lock:
            if not _idle:
                return
            worker = _idle.pop()
        if worker.owner == os.getpid():
            worker.end()


def _asked(request: dict[str, Any], wall_s: float) -> Answer:
    """Let a worker do a job; afterwards it is idle or ended."""
    worker = _take()
    answer: Answer = (_crash(None), b"")
    try:
        answer = worker.ask(request, wall_s)
    finally:
        kept = False
        if worker.process.poll() is None and not answer[0].get("last") and answer[0].get("error") != "stalled":
            with _lock:
                if kept := len(_idle) < IDLE_WORKERS:
                    _idle.append(worker)
        if not kept:
            last_words = worker.end()
            if "error" in answer[0]:
                log.warning("a worker ended (%s) %s", answer[0], last_words)
    return answer


def _take() -> _Worker:
    with _lock:
        if not _prepared:
            _prepared.append(os.getpid())
            atexit.register(close_workers)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_forget)
        while _idle:
            worker = _idle.popleft()
            if worker.process.poll() is None:
                return worker
            worker.end()
    return _Worker()


def _forget() -> None:
    # After a fork the workers belong to the other process, and its threads may have held the lock.
    global _lock  # noqa: PLW0603 - a lock cannot be reset
    _lock = threading.Lock()
    _idle.clear()


def _account_key(path: str | Path) -> tuple[str, int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return str(Path(path).absolute()), stat.st_size, stat.st_mtime_ns


def _spent(key: tuple[str, int, int] | None) -> float:
    with _lock:
        spent, when = _accounts.get(key, (0.0, 0.0)) if key else (0.0, 0.0)
    return max(0.0, spent - REFUND * (time.monotonic() - when))


def _spend(key: tuple[str, int, int] | None, cpu_s: object) -> None:
    seconds = _number(cpu_s, 0.0)
    if key and 0 <= seconds < math.inf:
        spent = _spent(key) + seconds
        with _lock:
            _accounts[key] = spent, time.monotonic()
            _accounts.move_to_end(key)
            while len(_accounts) > _ACCOUNTS:
                _accounts.popitem(last=False)


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _crash(status: int | None) -> dict[str, Any]:
    return {"error": "crash", "status": status}


# ---------------------------------------------------------------------- the worker's side
def serve() -> None:
    """The worker's loop: answer one request after the other until the input ends."""
    # What a job needs is imported here, once, and before it gives up the right to read files.
    import av.subtitles.stream  # noqa: F401
    import numpy.ma  # noqa: F401
    import PIL.Image  # noqa: F401

    library_errors()
    parent = int(sys.argv[1])
    source, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up among the answers
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request, _ = _receive(source)
            if _FORKS:
                _send(answers, *_forked(request, parent))
            else:
                started = time.process_time()
                header, payload = _answer(request)
                _send(answers, {**header, "last": True, "cpu_s": time.process_time() - started}, payload)
                return


def _forked(request: dict[str, Any], parent: int) -> Answer:
    """Do a job in a child process: its answer, with the processor seconds that it used."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            sys.stdin.close()
            with os.fdopen(writing, "wb") as pipe:
                _send(pipe, *_answer(request))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    data, ending = _collected(reading, child, request, parent)
    os.close(reading)
    _, status, usage = os.wait4(child, 0)
    spent: dict[str, Any] = {"cpu_s": usage.ru_utime + usage.ru_stime}
    if ending is not None:
        return {**ending, **spent}, b""
    if os.WIFSIGNALED(status):
        code = os.WTERMSIG(status)
        return {**({"error": "time"} if code == signal.SIGXCPU else _crash(-code)), **spent}, b""
    try:
        header, payload = _parsed(data)
    except (ValueError, EOFError, RecursionError):
        return {**_crash(os.waitstatus_to_exitcode(status)), **spent}, b""
    return {**header, **spent}, payload


def _collected(pipe: int, child: int, request: dict[str, Any], parent: int) -> tuple[bytearray, dict[str, Any] | None]:
    """Read all that ``child`` writes, and kill it where it stands still, takes too long or says too much."""
    data, used, ending = bytearray(), -1.0, None
    started = moved = time.monotonic()
    while ending is None:
        ready, _, _ = select.select([pipe], [], [], min(1.0, request["stall_s"] / 4))
        now = time.monotonic()
        if ready:
            part = os.read(pipe, 2**20)
            if not part:
                return data, None
            data += part
            moved = now
        seconds = confine.cpu_seconds(child) or 0.0
        if seconds > used:
            used, moved = seconds, now
        if now - moved > request["stall_s"]:
            ending = {"error": "stalled", "wall_s": request["stall_s"]}
        elif now - started > request["wall_s"]:
            ending = {"error": "stalled", "wall_s": request["wall_s"]}
        elif len(data) > _MAX_HEADER_BYTES + _MAX_PAYLOAD_BYTES:
            ending = _crash(None)
        elif os.getppid() != parent:
            os.kill(child, signal.SIGKILL)
            os._exit(1)
    os.kill(child, signal.SIGKILL)
    return data, ending


def _answer(request: Mapping[str, Any]) -> Answer:
    limits = LimitConfig(**request["limits"])
    path, write, arguments = request["path"], request["write"], request["arguments"]
    trusted = arguments.get("reader") == "decord"
    active = confine.confine(
        memory_bytes=limits.decode_memory_bytes,
        written_bytes=2**20 if write is None else _COPY_FACTOR * min(limits.max_bytes, 2**32),
        cpu_s=limits.decode_timeout_s,
        cpu_per_second=CPU_PER_SECOND.get(request["job"], 0.0),
        spent_s=request["spent_s"],
        read=None if trusted else [path],
        write=[] if write is None else [write],
    )
    try:
        if request["job"] == "protections":
            return {"active": active}, b""
        return _JOBS[request["job"]](path, limits, **arguments)
    except VideoError as error:
        return {"error": "file", "reason": error.reason, "advice": error.advice}, b""
    except (MemoryError, BlockingIOError):  # the latter where there is no room for a decoder's threads
        return {"error": "memory"}, b""
    except library_errors() as error:
        log.warning("%s: %s: %s", request["job"], type(error).__name__, error)
        reason = f"the decoder gave up on it ({type(error).__name__})"
        return {"error": "file", "reason": reason, "advice": RESAVE}, b""


def _describe(path: str, limits: LimitConfig) -> Answer:
    return asdict(reader.describe(path, limits)), b""


def _film(path: str, limits: LimitConfig, **arguments: Any) -> Answer:
    info, clip, poster = reader.read_film(path, limits=limits, **arguments)
    values, payload = _pixels(clip)
    return {**values, "info": asdict(info)}, payload + poster.tobytes()


def _pixels(clip: reader.Clip) -> Answer:
    values = {"box": clip.box, "seconds": clip.seconds.tolist(), "duration_s": clip.duration_s}
    return values, clip.pixels.tobytes()


def _convert(path: str, limits: LimitConfig, **arguments: Any) -> Answer:
    transcode.convert(path, limits=limits, **arguments)
    return {}, b""


_JOBS: dict[str, Callable[..., Answer]] = {
    "describe": _describe,
    "frames": lambda path, limits, **arguments: _pixels(reader.read_clip(path, limits=limits, **arguments)),
    "film": _film,
    "photo": lambda path, limits, **arguments: _pixels(reader.read_photo(path, limits=limits, **arguments)),
    "convert": _convert,
}


# ---------------------------------------------------------------------- the wire between them
def _send(pipe: IO[bytes], header: dict[str, Any], payload: bytes | bytearray | memoryview = b"") -> None:
    text = json.dumps(header).encode()
    pipe.write(_LENGTHS.pack(len(text), len(payload)))
    pipe.write(text)
    pipe.write(payload)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Answer:
    header_size, payload_size = _LENGTHS.unpack(_exactly(pipe, _LENGTHS.size))
    if header_size > _MAX_HEADER_BYTES or payload_size > _MAX_PAYLOAD_BYTES:
        raise ValueError(f"a message of {header_size} + {payload_size} bytes")
    return _header(_exactly(pipe, header_size)), _exactly(pipe, payload_size)


def _parsed(data: bytearray) -> Answer:
    if len(data) < _LENGTHS.size:
        raise EOFError
    header_size, payload_size = _LENGTHS.unpack_from(data)
    start = _LENGTHS.size + header_size
    if len(data) != start + payload_size or header_size > _MAX_HEADER_BYTES:
        raise EOFError
    return _header(bytes(data[_LENGTHS.size : start])), bytes(memoryview(data)[start:])


def _header(text: bytes) -> dict[str, Any]:
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError(f"a header that is a {type(header).__name__}")
    return header


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) != size:
        raise EOFError
    return data
