"""The guarded process in which files of unknown origin are decoded, with limits on time and memory.

Both ends are here. A call takes an idle worker or starts one (0.3 s), sends one job and waits; whatever
goes wrong in between (a hang, a crash, too much memory) ends that worker and becomes one VideoError.
Workers are used again for the next file and are replaced after a while; they end with the process that
started them, because their input closes.

The worker is a plain child process, not a `multiprocessing` one: those import the program's main module
again (torch, gradio) and may not be started from a data loader's workers. Requests and answers are JSON and
raw bytes, never pickles, so a decoder that was taken over cannot run code in the process that asked.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from vtr_demo.errors import VideoError
from vtr_demo.limits import LimitConfig
from vtr_demo.video.decode import RESAVE

log = logging.getLogger("vtr_demo.video")

JOBS_PER_WORKER = 100
IDLE_WORKERS = 2
LEAN_BYTES = 512 * 2**20
"""A worker whose memory once grew beyond this is not used again."""
_LENGTHS = struct.Struct("<QQ")
_MAX_HEADER_BYTES, _MAX_PAYLOAD_BYTES = 2**24, 2**31


# ---------------------------------------------------------------------- the asking side
class _Worker:
    """One child process."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes, self.owner, self.jobs = memory_bytes, os.getpid(), 0
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        root = str(Path(__file__).resolve().parents[2])
        known = os.environ.get("PYTHONPATH")
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from vtr_demo.video.sandbox import serve; serve()", str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,  # Ctrl-C is for the parent; the child then sees its input close
            env={
                **os.environ,
                "PYTHONPATH": root if not known else root + os.pathsep + known,
                "PYTHONSAFEPATH": "1",
                # Fewer arenas and threads: they reserve address space, which is what is limited.
                "MALLOC_ARENA_MAX": "2",
                "OPENBLAS_NUM_THREADS": "1",
            },
        )

    def ask(self, request: dict[str, Any], timeout_s: float) -> tuple[dict[str, Any], bytes] | str:
        """The answer, or in one word why there is none: "time" or "crash"."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(timeout_s, stop)
        timer.daemon = True
        timer.start()
        self.jobs += 1
        try:
            _send(self.process.stdin, request)
            answer = _receive(self.process.stdout)
        except (OSError, EOFError, ValueError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)  # it is ending by itself: its own exit status tells why
            return "time" if late.is_set() else "crash"
        finally:
            timer.cancel()
        return "time" if late.is_set() else answer

    def end(self) -> str:
        """Kill the process, wait for it, and give back the last line that it wrote."""
        self.process.kill()
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


def call(
    job: str, path: str | Path, arguments: dict[str, Any], limits: LimitConfig, timeout_s: float | None = None
) -> tuple[dict[str, Any], bytes]:
    """Do ``job`` on ``path`` in a guarded worker: its answer as (JSON values, raw bytes).

    Raises VideoError where the file is to blame or a limit of ``limits`` was reached; ``timeout_s``
    replaces limits.decode_timeout_s.
    """
    timeout_s = limits.decode_timeout_s if timeout_s is None else timeout_s
    request = {
        "job": job,
        "path": str(path),
        "arguments": arguments,
        "limits": asdict(limits),
        "timeout_s": timeout_s,
    }
    worker = _take(limits.decode_memory_bytes)
    used = worker.jobs > 0
    answer = _asked(worker, request, timeout_s)
    if answer == "crash" and used:
        # An earlier file may have left it damaged: this one is judged by a worker of its own.
        worker = _Worker(limits.decode_memory_bytes)
        answer = _asked(worker, request, timeout_s)
    if answer == "time":
        reason = f"reading it took longer than {timeout_s:g} s and was stopped"
        raise VideoError(path, reason, f"{RESAVE}, or raise limits.decode_timeout_s")
    if isinstance(answer, str):
        raise VideoError(path, f"the decoder crashed on it ({worker.process.returncode})", RESAVE)
    header, payload = answer
    if "error" in header:
        if header["error"] == "memory":
            reason = f"reading it needs more than {limits.decode_memory_bytes / 2**30:.2g} GiB of memory"
            raise VideoError(path, reason, f"{RESAVE}, or raise limits.decode_memory_bytes")
        raise VideoError(path, str(header["reason"]), str(header["advice"]))
    return header, payload


def _asked(worker: _Worker, request: dict[str, Any], timeout_s: float) -> tuple[dict[str, Any], bytes] | str:
    """Let ``worker`` do a job; afterwards it is idle or ended."""
    answer: tuple[dict[str, Any], bytes] | str = "crash"
    try:
        answer = worker.ask(request, timeout_s)
    finally:
        failed = isinstance(answer, str)
        worn = not isinstance(answer, str) and (answer[0].get("last") or worker.jobs >= JOBS_PER_WORKER)
        if failed or worn or len(_idle) >= IDLE_WORKERS:
            last_words = worker.end()
            if failed:
                log.warning("a worker ended (%s: %s) %s", answer, worker.process.returncode, last_words)
        else:
            _idle.append(worker)
    return answer


def close_workers() -> None:
    """End the idle workers of this process; the next call starts new ones."""
    while _idle:
        worker = _idle.pop()
        if worker.owner == os.getpid():
            worker.end()


def _take(memory_bytes: int) -> _Worker:
    while _idle:
        worker = _idle.popleft()
        # After a fork the deque is a copy: the workers in it belong to the other process.
        if worker.owner != os.getpid():
            continue
        if worker.memory_bytes == memory_bytes and worker.process.poll() is None:
            return worker
        worker.end()
    atexit.unregister(close_workers)
    atexit.register(close_workers)
    return _Worker(memory_bytes)


# ---------------------------------------------------------------------- the worker's side
def serve() -> None:
    """The worker's loop: limit the memory, then answer one request after the other until the input ends."""
    _limit_memory(int(sys.argv[1]))
    source, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not end up among the answers
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request, _ = _receive(source)
            if hasattr(signal, "alarm"):
                signal.alarm(int(request["timeout_s"]) + 5)  # should the parent be gone: no hang for ever
            header, payload = _answer(request)
            header["last"] = header.get("error") == "memory" or _peak_bytes() > LEAN_BYTES
            if hasattr(signal, "alarm"):
                signal.alarm(0)
            _send(answers, header, payload)


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    limits = LimitConfig(**request["limits"])
    try:
        return _JOBS[request["job"]](request["path"], limits, **request["arguments"])
    except VideoError as error:
        return {"error": "file", "reason": error.reason, "advice": error.advice}, b""
    except (MemoryError, BlockingIOError):  # the latter where there is no room for a decoder's threads
        return {"error": "memory"}, b""


def _describe(path: str, limits: LimitConfig) -> tuple[dict[str, Any], bytes]:
    from vtr_demo.video.reader import describe

    return asdict(describe(path, limits)), b""


def _frames(path: str, limits: LimitConfig, **arguments: Any) -> tuple[dict[str, Any], bytes]:
    from vtr_demo.video.reader import read_clip

    clip = read_clip(path, limits=limits, **arguments)
    values = {"box": clip.box, "seconds": clip.seconds.tolist(), "duration_s": clip.duration_s}
    return values, clip.pixels.tobytes()


def _convert(path: str, limits: LimitConfig, **arguments: Any) -> tuple[dict[str, Any], bytes]:
    from vtr_demo.video.transcode import convert

    convert(path, limits=limits, **arguments)
    return {}, b""


_JOBS = {"describe": _describe, "frames": _frames, "convert": _convert}


def _limit_memory(memory_bytes: int) -> None:
    # Only Linux keeps to RLIMIT_AS; elsewhere the time limit has to do.
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _peak_bytes() -> int:
    # Not getrusage: its peak is inherited from the parent, which holds a model.
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    sizes = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")]
    return sizes[0] * 1024 if sizes else 0


# ---------------------------------------------------------------------- the wire between them
def _send(pipe: IO[bytes], header: dict[str, Any], payload: bytes = b"") -> None:
    text = json.dumps(header).encode()
    pipe.write(_LENGTHS.pack(len(text), len(payload)))
    pipe.write(text)
    pipe.write(payload)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    header_size, payload_size = _LENGTHS.unpack(_exactly(pipe, _LENGTHS.size))
    if header_size > _MAX_HEADER_BYTES or payload_size > _MAX_PAYLOAD_BYTES:
        raise ValueError(f"a message of {header_size} + {payload_size} bytes")
    header = json.loads(_exactly(pipe, header_size))
    return header, _exactly(pipe, payload_size)


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) != size:
        raise EOFError
    return data
