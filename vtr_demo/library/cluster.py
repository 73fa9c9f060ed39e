"""Read and encode files on a Ray cluster, while this process alone writes. The only file that imports ray
(requirements-scale.txt)."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from vtr_demo.errors import LibraryError, VtrError, readable_name
from vtr_demo.library.encoding import PreparedFile, encode_file, load_prototypes, read_file
from vtr_demo.model import checkpoint
from vtr_demo.model.checkpoint import RetrievalModel
from vtr_demo.video.frames import LimitConfig

Outcome = PreparedFile | VtrError | OSError
_MOST_BLOCKS = 10_000
"""Parts of a batch that are handed out: a machine that fails loses one of them, a file where there are few."""
_ATTEMPTS = 3
"""How often a file is tried whose process ends; Ray alone would try one that always ends it for ever."""


def prepare_on_ray(
    address: str,
    paths: Sequence[Path],
    model: RetrievalModel,
    limits: LimitConfig,
    prototypes: dict[str, Any] | None,
    scratch: Path,
) -> Generator[Outcome]:
    """Yield what becomes of each file, in order; ``LibraryError`` where the cluster is missing or of no use.

    `ray start` made the cluster, and its machines have this program and the files at the same paths. ``address``:
    ``local`` starts one of this machine's processors, ``auto`` finds the one of which this machine is a part,
    ``HOST:PORT`` names one (Ray then needs its token).
    """
    try:
        import ray.data
    except ImportError as error:
        raise LibraryError("Ray needs `pip install -r requirements-scale.txt`.") from error
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        yield from _in_order(_rows(ray, paths, model, limits, prototypes), paths, scratch)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise LibraryError(
            f"The Ray cluster {address} failed ({reason}); what was stored is kept, so index again."
        ) from error
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}}
    try:
        ray.init(address, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError) as error:
        raise LibraryError(
            f"No Ray cluster answers at {address}; start one by `ray start --head` and see that Ray has its "
            "token here, or use --ray local."
        ) from error


def _rows(
    ray: Any, paths: Sequence[Path], model: RetrievalModel, limits: LimitConfig, prototypes: dict[str, Any] | None
) -> Iterator[dict[str, Any]]:
    attempts = ray.remote(num_cpus=0)(_Attempts).remote()
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.max_errored_blocks, context.enable_progress_bars = -1, False
    spec = str(Path(model.spec).absolute()) if Path(model.spec).is_dir() else model.spec
    items = [{"number": i, "path": os.fsencode(path.absolute())} for i, path in enumerate(paths)]
    size = max(1, min(len(paths), int(ray.cluster_resources().get("CPU", 1))))
    with ray.data.DataContext.current(context):
        files = ray.data.from_items(items, override_num_blocks=min(len(items), _MOST_BLOCKS))
        rows = files.map(
            _Encoder,
            fn_constructor_args=(spec, model.fingerprint, limits, prototypes, attempts),
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=1,
        )
    return iter(rows.iter_rows())


class _Attempts:
    """The actor that counts how often each file was begun."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        self._counts[number] += 1
        return self._counts[number]


class _Encoder:
    """The actor that holds the model; a row is a file."""

    def __init__(
        self, spec: str, fingerprint: str, limits: LimitConfig, prototypes: dict[str, Any] | None, attempts: Any
    ) -> None:
        self._limits, self._attempts, self._refusal = limits, attempts, ""
        try:
            self._model = checkpoint.load(spec)
        except VtrError as error:
            self._refusal = str(error)
            return
        if self._model.fingerprint != fingerprint:
            self._refusal = f"A machine of the cluster has another {spec}; give all the same program and weights."
        elif prototypes is not None:
            load_prototypes(self._model, prototypes)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        answer = {"number": row["number"], "refusal": self._refusal, "outcome": b"", "film": b""}
        if self._refusal:
            return answer
        if self._begin(row["number"]) > _ATTEMPTS:
            return answer | {"outcome": pickle.dumps(_lost(Path(os.fsdecode(row["path"]))))}
        with tempfile.TemporaryDirectory(prefix="vtr-") as scratch:
            try:
                read = read_file(Path(os.fsdecode(row["path"])), self._model, self._limits, Path(scratch))
                film = read.playable.read_bytes() if read.playable else b""
                return answer | {"outcome": pickle.dumps(encode_file(read, self._model)), "film": film}
            except (VtrError, OSError) as error:
                return answer | {"outcome": pickle.dumps(error)}

    def _begin(self, number: int) -> int:
        import ray

        return int(ray.get(self._attempts.begin.remote(number)))


def _lost(path: Path) -> LibraryError:
    return LibraryError(f"{readable_name(path)}: the process that read it ended; index it again without --ray.")


def _in_order(rows: Iterator[dict[str, Any]], paths: Sequence[Path], scratch: Path) -> Iterator[Outcome]:
    """Yield an outcome for each of ``paths``; rows that are missing were lost with their process."""
    done = 0
    for row in itertools.chain(rows, [None]):
        until = len(paths) if row is None else row["number"]
        yield from map(_lost, paths[done:until])
        if row is None:
            return
        done = until + 1
        if row["refusal"]:
            raise LibraryError(row["refusal"])
        outcome = pickle.loads(row["outcome"])
        if row["film"]:
            film = scratch / f"{uuid4().hex}.mp4"
            film.write_bytes(row["film"])
            outcome = replace(outcome, contents=replace(outcome.contents, playable=film))
        yield outcome
