"""Settings as frozen dataclasses that refuse unknown keys and contradictions by name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_type_hints

from vtr_demo.errors import BadConfig

T = TypeVar("T")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise BadConfig(message)


@dataclass(frozen=True)
class VideoConfig:
    """How a file becomes frames."""

    reader: Literal["pyav", "decord"] = "pyav"
    fit: Literal["crop", "squash"] = "crop"
    """crop: the largest centred square; squash: the whole picture, aspect ratio not kept."""
    clip_frames: int = 8
    """Frames that stand for a whole clip in training, evaluation and search."""
    moment_s: float = 4.0
    """Target length of a moment in seconds when no shot cut divides the clip."""
    moment_frames: int = 6
    """Frames that stand for one moment."""
    max_frames: int = 240
    """Frames stored for one clip at most; longer clips are sampled more thinly."""

    def __post_init__(self) -> None:
        _require(self.clip_frames >= 1, f"video.clip_frames must be at least 1, got {self.clip_frames}.")
        _require(
            self.moment_frames >= 1, f"video.moment_frames must be at least 1, got {self.moment_frames}."
        )
        _require(self.moment_s > 0, f"video.moment_s must be positive, got {self.moment_s}.")
        _require(
            self.max_frames >= self.clip_frames,
            f"video.max_frames ({self.max_frames}) is below video.clip_frames ({self.clip_frames}).",
        )


@dataclass(frozen=True)
class LimitConfig:
    """What an untrusted file may cost before it is refused."""

    max_bytes: int = 200 * 2**20
    max_duration_s: float = 15 * 60
    max_pixels: int = 4096 * 2304
    """Width x height of the source picture."""
    decode_timeout_s: float = 60.0
    decode_memory_bytes: int = 3 * 2**30


@dataclass(frozen=True)
class ModelConfig:
    """The architecture. Nothing here depends on the number of frames, patches or words."""

    backbone: str = "bundled"
    """`bundled`, `tiny` or `open_clip:NAME/PRETRAINED`."""
    trained: bool = False
    """False: heads are identities and only the global level has a default weight (DESIGN rule 3)."""
    reduce: int = 0
    """Width to which patch tokens are projected (by principal directions) before the heads; 0 keeps it."""
    hidden: int = 128
    """H, the width of the heads' transformer blocks."""
    heads: int = 4
    concepts: int = 16
    """K, the number of shared concept prototypes."""
    concept_width: int = 64
    """Dc, the width of a Conceptual Aggregated Feature."""
    concept_weight: float = 0.5
    """lambda, the default weight of the concept score once trained."""
    assign_eps: float = 1.0
    """epsilon in the mean over a concept's tokens (GroupViT uses 1.0)."""
    dropout: float = 0.1
    shared_attributes: bool = True
    """One attribute projection per level for both modalities (MCSAN); False: one each."""
    shared_prototypes: bool = True
    """One set of prototypes for both modalities (S2CA); False: one each."""
    allocation: Literal["hard", "soft"] = "hard"
    """hard: Gumbel-softmax straight-through, arg-max in use; soft: plain softmax (ablation)."""
    relationship: bool = True
    """False removes the relationship level from the score (ablation)."""

    def __post_init__(self) -> None:
        _require(self.concepts >= 1, f"model.concepts must be at least 1, got {self.concepts}.")
        _require(self.concept_width >= 1, f"model.concept_width must be positive, got {self.concept_width}.")
        _require(
            self.heads >= 1 and self.hidden % self.heads == 0,
            f"model.hidden ({self.hidden}) must be a multiple of model.heads ({self.heads}).",
        )
        _require(0 <= self.dropout < 1, f"model.dropout must lie in [0, 1), got {self.dropout}.")
        _require(
            self.concept_weight >= 0, f"model.concept_weight must not be negative, got {self.concept_weight}."
        )


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON-ready values."""
    return asdict(config)


def from_dict(kind: type[T], values: dict[str, Any], where: str = "") -> T:
    """Build ``kind`` from plain values; an unknown key or a wrong type is refused by name."""
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{where}{key}"
        if key not in known:
            raise BadConfig(f"Unknown setting {name!r}; known here: {', '.join(sorted(known))}.")
        arguments[key] = _coerced(hints[key], value, name)
    return kind(**arguments)


def _coerced(hint: Any, value: Any, name: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        _require(isinstance(value, dict), f"Setting {name!r} must be a table of settings, got {value!r}.")
        return from_dict(hint, value, f"{name}.")
    choices = getattr(hint, "__args__", ()) if "Literal" in str(hint) else ()
    if choices:
        _require(value in choices, f"Setting {name!r} must be one of {list(choices)}, got {value!r}.")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool):
        fits = isinstance(value, hint) and not (hint is not bool and isinstance(value, bool))
        _require(fits, f"Setting {name!r} must be of type {hint.__name__}, got {value!r}.")
        return value
    return tuple(value) if isinstance(value, list) else value


def fingerprint(*parts: Any) -> str:
    """A short digest of configs and strings: equal settings, equal fingerprint."""
    plain = [to_dict(part) if is_dataclass(part) and not isinstance(part, type) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
