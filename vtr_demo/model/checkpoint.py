"""A checkpoint folder: weights, the settings that built them, and digests that prove both.

model.safetensors     the heads, and with them the towers if those were fine-tuned
checkpoint.json       settings, backbone and its fingerprint, attributes, concept names, digest
README.md             the model card
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

import vtr_demo
from vtr_demo.backbones.registry import Backbone, load_backbone
from vtr_demo.config import ModelConfig, Settings, VideoConfig, require
from vtr_demo.distributed import resolve_device
from vtr_demo.errors import CheckpointError, ConfigError, stop_if_unwanted
from vtr_demo.files import fingerprint, json_bytes, replace_file, sha256_of
from vtr_demo.model.attributes import Vocabulary
from vtr_demo.model.model import VTRModel, build_model, join_texts
from vtr_demo.structures import LEVELS, Sentence, TextFeatures

_CHUNK = 64
BUNDLED = Path(vtr_demo.__file__).resolve().parents[1] / "checkpoints" / "bundled"
WEIGHTS, SETTINGS = "model.safetensors", "checkpoint.json"
UNTRAINED = "untrained:"
_PREVIOUS = "model.previous.safetensors"
_FORMAT = 1
_LARGEST = 2**20
"""No width, count or size in a model's settings is larger."""
REMOVED_OPTIONS: dict[str, Any] = {
    "allocation": "hard",
    "assign_eps": 1.0,
    "binding": True,
    "relationship": True,
    "shared_attributes": True,
    "shared_prototypes": True,
}
"""Options that earlier versions stored, and the value at which they change nothing."""
ADDED_OPTIONS: dict[str, Any] = {"centred_shift": False, "focus": 0}
"""Options that earlier versions did not have, and the value at which they change nothing."""


class _Towers(Settings):
    spec: str
    fingerprint: str


class _Stored(Settings):
    """What ``SETTINGS`` holds; ``model`` and ``video`` may be of an earlier version."""

    model_config = ConfigDict(extra="ignore")
    sha256: str
    backbone: _Towers
    model: dict[str, Any]
    video: dict[str, Any]
    attributes: Vocabulary | None
    concept_names: list[str]
    concept_scores: list[float] = Field(default_factory=list)
    training: dict[str, Any]


@dataclass(frozen=True)
class RetrievalModel:
    """A model ready for use: heads, backbone, and what a checkpoint holds beside their weights."""

    spec: str
    model: VTRModel
    backbone: Backbone
    video: VideoConfig = field(default_factory=VideoConfig)
    vocabulary: Vocabulary | None = None
    concept_names: tuple[str, ...] = ()
    concept_scores: tuple[float, ...] = ()
    """How well each name tells what its concept holds, F1 from 0 to 1; empty where it was not measured."""
    training: dict[str, Any] = field(default_factory=dict)
    """Config and steps of the training run, for the record only."""
    weights_digest: str = "untrained"
    tuned: bool = False
    """Whether the towers were fine-tuned, so that their SPEC alone does not restore them."""

    @property
    def tower_fingerprint(self) -> str:
        """Equal for models with interchangeable frames and tower tokens."""
        return fingerprint(self.backbone.fingerprint, self.video)

    @property
    def fingerprint(self) -> str:
        """Equal for models that compute equal vectors."""
        # options that have left count as they did, and later ones only where they change something, so
        # that libraries made before stay valid
        known = self.model.config.to_dict()
        settings = {k: v for k, v in known.items() if ADDED_OPTIONS.get(k, ...) != v} | REMOVED_OPTIONS
        return fingerprint(self.tower_fingerprint, settings, self.weights_digest)

    @property
    def train_command(self) -> str:
        """The command that trains the heads over these towers; empty where they are trained."""
        if self.model.config.trained:
            return ""
        backbone = shlex.quote(f"model.backbone={self.backbone.spec}")
        return f"python -m vtr_demo train --config clip-heads --set {backbone}"

    @property
    def names(self) -> tuple[str, ...]:
        """(K,) the concepts' names, or numbers where they have none."""
        count = self.model.config.concepts
        return self.concept_names or tuple(f"concept {k + 1}" for k in range(count))

    @torch.no_grad()
    def encode_text(self, sentences: Sequence[Sentence]) -> TextFeatures:
        """Encode sentences in chunks to the text side of the score, without parts."""
        device = next(self.model.parameters()).device
        parts = []
        for a in range(0, len(sentences), _CHUNK):
            stop_if_unwanted()
            parts.append(self.model.encode_text(self.backbone.encode_text(sentences[a : a + _CHUNK]).to(device)))
        return join_texts(parts)


def save(folder: Path, trained: RetrievalModel, *, with_backbone: bool = False) -> None:
    """Write ``trained`` to ``folder``; a crash leaves either the old checkpoint or the new one.

    The settings hold the digest of their weights, so replacing the settings commits the save; until
    then the old weights are kept under another name.
    """
    from safetensors.torch import save as to_bytes

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"heads.{k}": v.detach().cpu().contiguous() for k, v in _own(trained.model).items()}
    if with_backbone:
        state = trained.backbone.state_dict()
        tensors |= {f"backbone.{k}": v.detach().cpu().contiguous() for k, v in state.items()}
    data = to_bytes(tensors)
    digest = hashlib.sha256(data).hexdigest()
    settings = {
        "format": _FORMAT,
        "sha256": digest,
        "backbone": {"spec": trained.backbone.spec, "fingerprint": trained.backbone.fingerprint},
        "model": trained.model.config.to_dict(),
        "video": trained.video.to_dict(),
        "attributes": trained.vocabulary.to_dict() if trained.vocabulary else None,
        "concept_names": list(trained.concept_names),
        "concept_scores": list(trained.concept_scores),
        "training": trained.training,
    }
    previous = folder / _PREVIOUS
    if (folder / WEIGHTS).is_file() and not previous.is_file():  # one that exists is left of an earlier crash
        (folder / WEIGHTS).replace(previous)
    replace_file(folder / WEIGHTS, data)
    replace_file(folder / SETTINGS, json_bytes(settings))
    previous.unlink(missing_ok=True)


def load(spec: str, device: str = "cpu") -> RetrievalModel:
    """Load the model that ``spec`` names.

    `bundled` is the checkpoint that comes with the package; a folder is a checkpoint; a backbone
    name (`tiny`, `open_clip:NAME/PRETRAINED`) or `untrained:BACKBONE` gives untrained heads, which
    rank exactly as the backbone alone does.
    """
    device = str(resolve_device(device))
    if spec == "bundled":
        return replace(_load_folder(BUNDLED, device), spec=spec)
    if spec.startswith(UNTRAINED):
        return untrained(spec.removeprefix(UNTRAINED), device, spec=spec)
    if (Path(spec) / SETTINGS).is_file():
        return _load_folder(Path(spec), device)
    if Path(spec).is_dir() and not (Path(spec) / "open_clip_config.json").is_file():
        raise CheckpointError(
            f"{spec} holds no {SETTINGS}; give a folder that `python -m vtr_demo train` wrote, "
            "`bundled`, or `open_clip:NAME/PRETRAINED`."
        )
    return untrained(spec, device)


def described(spec: str) -> tuple[ModelConfig, VideoConfig]:
    """Read the settings of the checkpoint that ``spec`` names (`bundled` or a folder), not its weights."""
    folder = BUNDLED if spec == "bundled" else Path(spec)
    if not (folder / SETTINGS).is_file():
        raise CheckpointError(
            f"{spec} is no trained checkpoint; give `bundled` or a folder that `python -m vtr_demo train` wrote."
        )
    return _described(folder, _stored(folder))


def untrained(backbone: str, device: str = "cpu", *, spec: str = "", seed: int = 0) -> RetrievalModel:
    """Build untrained heads over ``backbone``, deterministically for a ``seed``."""
    towers = load_backbone(backbone, device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(ModelConfig(backbone=backbone), towers)
    return RetrievalModel(spec or backbone, model.to(device), towers)


def _load_folder(folder: Path, device: str) -> RetrievalModel:
    stored = _stored(folder)
    weights = _weights(folder, stored.sha256)
    (config, video), vocabulary = _described(folder, stored), stored.attributes
    towers = load_backbone(stored.backbone.spec, device)
    tuned, heads = (
        {name.removeprefix(part): value for name, value in weights.items() if name.startswith(part)}
        for part in ("backbone.", "heads.")
    )
    if tuned:
        _check(_own(towers), tuned, folder)
        _fill(towers, tuned)
    elif towers.fingerprint != stored.backbone.fingerprint:
        raise CheckpointError(
            f"The heads in {folder} were trained over other weights of {towers.spec}; "
            "install the weights named in its model card or train again."
        )
    sizes = [vocabulary.sizes[level] for level in LEVELS] if vocabulary else ()
    heads = _renamed(heads)
    try:
        with torch.device("meta"):  # before the memory that the settings ask for is taken
            blank = build_model(config, towers, sizes).state_dict()
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{folder / SETTINGS} describes no model that can be built ({error}).") from error
    _check({name: value for name, value in blank.items() if value.numel()}, heads, folder)
    model = build_model(config, towers, sizes)
    _fill(model, heads)
    return RetrievalModel(
        str(folder),
        model.to(device),
        towers,
        video,
        vocabulary,
        tuple(stored.concept_names),
        tuple(stored.concept_scores),
        stored.training,
        stored.sha256,
        bool(tuned),
    )


def _described(folder: Path, stored: _Stored) -> tuple[ModelConfig, VideoConfig]:
    try:
        return ModelConfig(**_migrated(stored.model)), VideoConfig(**stored.video)
    except ConfigError as error:
        raise CheckpointError(f"{folder / SETTINGS} does not fit this version: {error}") from error


def _migrated(model: dict[str, Any]) -> dict[str, Any]:
    """Drop the options of earlier versions; refuse a value that computed other scores than today's model.

    Checkpoints from before ``centred_shift`` were trained without it.
    """
    model = ADDED_OPTIONS | model
    for name, value in REMOVED_OPTIONS.items():
        if model.get(name, value) != value:
            raise ConfigError(f"model.{name}={model[name]!r} is an option that is gone; train the checkpoint again.")
    return {name: value for name, value in model.items() if name not in REMOVED_OPTIONS}


def _renamed(heads: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of versions whose prototypes and attributes could differ by modality."""
    heads = {name.replace("attributes.video.", "attributes.layers."): value for name, value in heads.items()}
    prototypes = heads.get("concepts.prototypes")
    if prototypes is not None and prototypes.ndim == 3:
        heads["concepts.prototypes"] = prototypes.flatten(0, 1)
    return heads


def _stored(folder: Path) -> _Stored:
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if settings["format"] != _FORMAT:
            raise CheckpointError(f"{path} has format {settings['format']}, this version reads {_FORMAT}.")
        stored = _Stored(**settings)
        for key, value in (stored.model | stored.video).items():
            require(not isinstance(value, int) or abs(value) <= _LARGEST, f"{key!r} is larger than any model's.")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); train or download it again.") from error
    except (ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        raise CheckpointError(f"{path} is damaged ({error!s:.200}); train or download it again.") from error
    return stored


def _weights(folder: Path, digest: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    present = [path for path in (folder / WEIGHTS, folder / _PREVIOUS) if path.is_file()]
    for path in present:
        if sha256_of(path) == digest:
            try:
                weights = load_file(path)
            except (SafetensorError, ValueError, TypeError, KeyError) as error:
                raise CheckpointError(f"{path} is damaged ({error}); train or download it again.") from error
            if wrong := [name for name, value in weights.items() if not _is_finite(value)]:
                raise CheckpointError(f"{path} holds other things than finite numbers, such as in {wrong[0]!r}.")
            return weights
    fault = "does not match its digest" if present else "is missing"
    raise CheckpointError(f"{folder / WEIGHTS} {fault}; train or download the checkpoint again.")


def _is_finite(value: Tensor) -> bool:
    return value.is_floating_point() and bool(torch.isfinite(value.float()).all())


def _check(own: dict[str, Tensor], state: dict[str, Tensor], folder: Path) -> None:
    """Refuse a ``state`` whose names or shapes are not those of a module's ``own``."""
    names = own.keys() | state.keys()
    wrong = sorted(k for k in names if k not in own or k not in state or own[k].shape != state[k].shape)
    if wrong:
        raise CheckpointError(
            f"{folder} belongs to another architecture: {len(wrong)} tensors differ, such as {wrong[0]!r}; "
            "train or download it again."
        )


def _fill(module: torch.nn.Module, state: dict[str, Tensor]) -> None:
    own = module.state_dict()
    module.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()}, strict=False)


def _own(module: torch.nn.Module) -> dict[str, Tensor]:
    """The state with each shared tensor under its first name only (safetensors stores each once)."""
    first_names: dict[int, str] = {}
    return {
        name: value
        for name, value in module.state_dict().items()
        if value.numel() and first_names.setdefault(value.data_ptr(), name) == name
    }
