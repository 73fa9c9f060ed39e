"""Settings as frozen dataclasses that refuse contradictions by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from vtr_demo.errors import ConfigError

# --------------------------------------------------------------------------- frozen dataclasses as plain
T = TypeVar("T")
_LISTS: dict[Any, tuple[Any, str]] = {
    tuple[float, ...]: ((int, float), "numbers"),
    tuple[int, ...]: (int, "whole numbers"),
    tuple[str, ...]: (str, "strings"),
}


def require(condition: bool, message: str) -> None:
    """Refuse settings with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ConfigError(message)


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
            raise ConfigError(f"Unknown setting {name!r}; known here: {', '.join(sorted(known))}.")
        arguments[key] = _coerced(hints[key], value, name)
    return kind(**arguments)


def _coerced(hint: Any, value: Any, name: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        require(isinstance(value, dict), f"Setting {name!r} must be a table of settings, got {value!r}.")
        return from_dict(hint, value, f"{name}.")
    choices = getattr(hint, "__args__", ()) if "Literal" in str(hint) else ()
    if choices:
        require(value in choices, f"Setting {name!r} must be one of {list(choices)}, got {value!r}.")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool):
        fits = isinstance(value, hint) and not (hint is not bool and isinstance(value, bool))
        require(fits, f"Setting {name!r} must be of type {hint.__name__}, got {value!r}.")
        return value
    kind, plural = _LISTS[hint]
    listed = isinstance(value, list | tuple) and all(
        isinstance(part, kind) and not isinstance(part, bool) for part in value
    )
    require(listed, f"Setting {name!r} must be a list of {plural}, got {value!r}.")
    return tuple(value)


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
        require(self.clip_frames >= 1, f"video.clip_frames must be at least 1, got {self.clip_frames}.")
        require(self.moment_frames >= 1, f"video.moment_frames must be at least 1, got {self.moment_frames}.")
        require(self.moment_s > 0, f"video.moment_s must be positive, got {self.moment_s}.")
        require(
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
    """lambda, the default weight of the concept score once trained; 0 takes it out of training too."""
    assign_eps: float = 1.0
    """epsilon in the mean over a concept's tokens (GroupViT uses 1.0)."""
    dropout: float = 0.1
    shared_attributes: bool = True
    """One attribute projection per level for both modalities (MCSAN); False: one each."""
    shared_prototypes: bool = True
    """One set of prototypes for both modalities (S2CA); False: one each."""
    allocation: Literal["hard", "soft"] = "hard"
    """hard: Gumbel-softmax straight-through, arg-max in use; soft: plain softmax (ablation)."""
    level_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    """The sliders' starting positions for global, entity, action and relationship, once trained."""
    binding: bool = True
    """Relationship tokens are content times role; False: plain contextual tokens (ablation)."""
    relationship: bool = True
    """False removes the relationship level from the score (ablation)."""

    def __post_init__(self) -> None:
        require(self.concepts >= 1, f"model.concepts must be at least 1, got {self.concepts}.")
        require(self.concept_width >= 1, f"model.concept_width must be positive, got {self.concept_width}.")
        require(
            self.heads >= 1 and self.hidden % self.heads == 0,
            f"model.hidden ({self.hidden}) must be a multiple of model.heads ({self.heads}).",
        )
        require(0 <= self.dropout < 1, f"model.dropout must lie in [0, 1), got {self.dropout}.")
        require(
            len(self.level_weights) == 4 and min(self.level_weights) >= 0,
            f"model.level_weights must be four numbers that are not negative, got {self.level_weights}.",
        )
        require(
            self.concept_weight >= 0, f"model.concept_weight must not be negative, got {self.concept_weight}."
        )


@dataclass(frozen=True)
class LossConfig:
    """The objective: a weight for each term (0 switches it off) and the constants of the losses."""

    ranking: Literal["infonce", "hinge"] = "infonce"
    scale: float = 20.0
    """Factor on cosines before InfoNCE's softmax."""
    soft_temperature: float = 0.1
    """Temperature of targets from text-text similarity; 0: only the own caption is right."""
    total: float = 1.0
    levels: float = 0.5
    """Ranking loss of each level alone."""
    pairs: float = 0.5
    """Minimal pairs: a true sentence against false ones that differ in one level."""
    kl: float = 0.02
    kl_on: Literal["feature", "attribute", "batch"] = "feature"
    kl_temperature: float = 0.05
    attributes: float = 0.05
    focal_gamma: float = 2.0
    focal_alpha: float = 0.25
    concepts: float = 0.3
    """Concept-level contrast of Conceptual Aggregated Features."""
    diversity: float = 0.01
    balance: float = 0.3
    distill: float = 0.1
    """Align-Transform-Reconstruct against the teacher's tokens and global vectors."""
    distill_mask: float = 0.3
    """Share of aligned tokens that are masked before they are transformed."""
    distill_similarity: float = 0.0
    """KL between the teacher's and the student's similarity rows."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float):
                require(value >= 0, f"loss.{name} must not be negative, got {value}.")
        require(self.scale > 0, "loss.scale must be positive.")
        require(self.kl_temperature > 0, "loss.kl_temperature must be positive.")
        require(0 <= self.distill_mask < 1, f"loss.distill_mask must lie in [0, 1), got {self.distill_mask}.")
        require(
            self.total + self.levels > 0, "loss.total and loss.levels are both 0: nothing would be ranked."
        )
        require(
            self.ranking == "infonce" or self.soft_temperature == 0,
            "loss.ranking 'hinge' has no soft targets; set loss.soft_temperature to 0.",
        )


@dataclass(frozen=True)
class TrainConfig:
    """One training run: data, optimisation and output."""

    out: str = "runs/latest"
    """Folder of the checkpoint, the state to resume from and the log."""
    train: tuple[str, ...] = ()
    """Manifests or benchmark names (`msrvtt-9k`, `msvd`, `didemo`, `activitynet`, `vatex`)."""
    validation: tuple[str, ...] = ()
    validation_split: str = "test"
    """Split that benchmark names in ``validation`` stand for; where one exists, prefer `val`."""
    annotations: str = ""
    """Folder of the benchmarks' official files."""
    videos: str = ""
    """Folder of the benchmarks' video files."""
    hold_out: float = 0.0
    """Share of the clips of ``train`` that is held out as the validation data, films kept together."""
    start: str = ""
    """Checkpoint that training goes on from, `bundled` or a folder; empty: heads that know nothing."""
    mirror: bool = False
    """Learn from each file a second time, mirrored and with its whole picture squashed into the square."""
    playground_clips: int = 0
    """Clips of the playground, rendered for training; they bring minimal pairs."""
    playground_encounters: int = 0
    """Further clips of it: who follows, passes, meets ... whom."""
    playground_neighbours: int = 0
    """Further clips of it: two things busy where they stand, one left of or behind the other."""
    playground_stills: int = 0
    """Single pictures of the playground: who is left of, behind, on ... whom."""
    playground_rivals: bool = False
    """Hold each of these against a further one of which something false about it is true."""
    sprites: str = ""
    """Folder of the playground's sprites."""
    attribute_sizes: tuple[int, ...] = (512, 512, 256, 256)
    """The most attributes that global, entity, action and relationship keep."""
    attribute_min_count: int = 5
    """Training clips that must carry an attribute for it to be kept."""
    teacher: str = ""
    """Backbone SPEC of the distillation teacher; empty: the frozen backbone itself."""
    model: ModelConfig = ModelConfig()
    video: VideoConfig = VideoConfig()
    loss: LossConfig = LossConfig()
    freeze_backbone: bool = True
    """True: train the heads on cached tokens; False: fine-tune the towers end to end."""
    seed: int = 0
    steps: int = 1000
    batch: int = 128
    """Clips a step and process."""
    long_share: float = 0.25
    """Share of a batch that is videos; the rest is photos, where there are any."""
    playground_share: float = 0.25
    """Share of a batch that is playground clips, where there are any."""
    still_share: float = 0.25
    """Share of a batch that is single pictures of the playground, where there are any."""
    drawn_end: float = 1.0
    """What is left of playground_share and still_share at the last step; they change along a line."""
    accumulate: int = 1
    lr: float = 1e-3
    backbone_lr: float = 1e-6
    weight_decay: float = 0.1
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises; then it falls along a cosine."""
    clip_norm: float = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    motion_precision: Literal["fp32", "bf16"] = "fp32"
    """Of a frozen motion tower; bf16 takes a third of the time where the processor has it."""
    checkpoint_activations: bool = False
    ema: float = 0.0
    """Decay of an exponential moving average of the weights; 0 is off."""
    learned_share: float = 1.0
    """How far between its start and its end the checkpoint's global level lies (WiSE-FT); 1 is the end."""
    evaluate_every: int = 100
    save_every: int = 0
    """Steps after which a run's state is saved between evaluations as well, to go on from; 0 never."""
    patience: int = 0
    """Evaluations without a better validation result before training stops; 0 never stops early."""
    device: str = "auto"
    cache: str = "cache"
    """Folder of tokens of frozen towers; empty: memory only."""
    frame_cache: str = ""
    """Folder of decoded frames for end-to-end training; empty: decode them every time."""
    workers: int = 4
    """Threads that decode and draw clips ahead of the towers."""

    @property
    def drawn(self) -> int:
        """How many clips and single pictures of the playground there are to learn from."""
        return self.drawn_clips + self.playground_stills

    @property
    def drawn_clips(self) -> int:
        """How many of these are clips."""
        return self.playground_clips + self.playground_encounters + self.playground_neighbours

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "evaluate_every", "workers", "attribute_min_count"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        require(self.save_every >= 0, f"save_every must not be negative, got {self.save_every}.")
        require(self.batch >= 2, "batch must be at least 2: ranking needs a negative.")
        require(
            bool(self.train) or self.drawn > 0,
            "train names no data, and playground_clips, _encounters, _neighbours and _stills are all 0.",
        )
        sizes = self.attribute_sizes
        require(
            len(sizes) == 4 and min(sizes) >= 0,
            f"attribute_sizes must be four whole numbers that are not negative, got {sizes}.",
        )
        require(
            any(sizes) or not self.loss.attributes,
            "loss.attributes has nothing to learn while attribute_sizes are all 0; set one of the two.",
        )
        drawn = self.playground_share + (self.still_share if self.playground_stills else 0.0)
        require(drawn <= 1, f"playground_share and still_share add up to {drawn}; 1 is a whole batch.")
        require(0 <= self.drawn_end <= 1, f"drawn_end must lie in [0, 1], got {self.drawn_end}.")
        require(not self.mirror or bool(self.train), "mirror has no effect while train names no data.")
        require(0 <= self.warmup < 1, f"warmup must lie in [0, 1), got {self.warmup}.")
        require(0 <= self.ema < 1, f"ema must lie in [0, 1), got {self.ema}.")
        require(0 <= self.learned_share <= 1, f"learned_share must lie in [0, 1], got {self.learned_share}.")
        require(self.lr > 0, f"lr must be positive, got {self.lr}.")
        require(self.backbone_lr >= 0, f"backbone_lr must not be negative, got {self.backbone_lr}.")
        require(0 <= self.hold_out < 1, f"hold_out must lie in [0, 1), got {self.hold_out}.")
        require(
            not (self.hold_out and self.validation),
            "hold_out takes the validation data from train, but validation names some; give one of the two.",
        )
        require(
            not self.hold_out or bool(self.train), "hold_out takes clips from train, which names no data."
        )
        require(
            not self.patience or bool(self.validation) or self.hold_out > 0,
            "patience needs validation data to judge by; name some in validation, or set hold_out.",
        )
        require(
            not self.teacher or self.loss.distill + self.loss.distill_similarity > 0,
            "teacher has no effect while loss.distill and loss.distill_similarity are 0.",
        )
        require(
            not (self.precision == "fp16" and self.device == "cpu"),
            "precision fp16 needs a GPU, but device is cpu; use bf16 or fp32.",
        )
        require(
            not (self.frame_cache and self.freeze_backbone),
            "frame_cache has no effect while freeze_backbone is true; set freeze_backbone=false.",
        )
        require(
            not (self.checkpoint_activations and self.freeze_backbone),
            "checkpoint_activations has no effect while freeze_backbone is true; set freeze_backbone=false.",
        )


# --------------------------------------------------------------------------- a training config as a JSON
CONFIGS = Path(__file__).resolve().parent / "training" / "configs"

_LIST_FIELDS = ("train", "validation")


def _names_no_benchmark(config: TrainConfig) -> bool:
    """Whether all data are manifests, which name their own files."""
    named = (*config.train, *config.validation)
    return all(name.endswith((".jsonl", ".json")) or Path(name).is_file() for name in named)


_IDLE: tuple[tuple[str, Callable[[TrainConfig], bool], str], ...] = (
    ("backbone_lr", lambda c: c.freeze_backbone, "freeze_backbone is true"),
    (
        "cache",
        lambda c: not c.freeze_backbone and bool(c.cache),
        "freeze_backbone is false",
    ),
    ("annotations", _names_no_benchmark, "train and validation name no benchmark"),
    ("videos", _names_no_benchmark, "train and validation name no benchmark"),
    (
        "motion_precision",
        lambda c: c.motion_precision == "bf16" and not c.start and c.model.backbone != "bundled",
        "only the bundled towers have a motion tower",
    ),
    ("sprites", lambda c: not c.drawn, "nothing of the playground is drawn"),
    ("playground_rivals", lambda c: not c.drawn, "nothing of the playground is drawn"),
    ("playground_rivals", lambda c: not c.loss.pairs, "loss.pairs is 0"),
    (
        "playground_share",
        lambda c: not c.drawn_clips,
        "playground_clips, playground_encounters and playground_neighbours are 0",
    ),
    ("drawn_end", lambda c: not c.train, "train names no data"),
    ("drawn_end", lambda c: not c.drawn, "nothing of the playground is drawn"),
    ("playground_share", lambda c: not c.train, "train names no data"),
    ("still_share", lambda c: not c.playground_stills, "playground_stills is 0"),
    ("validation_split", lambda c: not c.validation, "validation names no data"),
    ("loss.soft_temperature", lambda c: c.loss.ranking == "hinge", "loss.ranking is 'hinge'"),
    ("loss.kl_on", lambda c: not c.loss.kl, "loss.kl is 0"),
    ("loss.kl_temperature", lambda c: not c.loss.kl, "loss.kl is 0"),
    ("loss.kl_temperature", lambda c: c.loss.kl_on == "attribute", "loss.kl_on is 'attribute'"),
    ("loss.focal_gamma", lambda c: not c.loss.attributes, "loss.attributes is 0"),
    ("loss.focal_alpha", lambda c: not c.loss.attributes, "loss.attributes is 0"),
    ("loss.distill_mask", lambda c: not c.loss.distill, "loss.distill is 0"),
)
"""Settings that mean nothing under a condition, and the condition in words."""


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """A JSON config file with ``key=value`` overrides; nested keys are joined by dots.

    A path that does not exist may be the name of one of the package's own configs.
    """
    path = Path(path)
    own = CONFIGS / f"{path.name.removesuffix('.json')}.json"
    if not path.exists() and path.parent == Path(".") and own.is_file():
        path = own
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The config {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ConfigError(f"The config {path} is not valid JSON ({error}).") from error
    if not isinstance(values, dict):
        raise ConfigError(f"The config {path} must be a JSON object of settings.")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set takes key=value, got {override!r}.")
        _place(values, key.split("."), _value(text, key), key)
    values = {key: value for key, value in values.items() if not key.startswith("_")}
    config = from_dict(TrainConfig, values)
    _refuse_idle(config, values)
    return config


def _refuse_idle(config: TrainConfig, given: dict[str, Any]) -> None:
    for name, idle, because in _IDLE:
        table: Any = given
        for part in name.split("."):
            table = table.get(part) if isinstance(table, dict) else None
        if table not in (None, "", 0) and idle(config):
            raise ConfigError(f"{name} has no effect while {because}; leave one of the two out.")


def _value(text: str, key: str) -> Any:
    if key in _LIST_FIELDS and text and not text.startswith("["):
        return text.split(",")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _place(values: dict[str, Any], path: list[str], value: Any, key: str) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}: {part!r} is no table of settings.")
    values[path[-1]] = value
