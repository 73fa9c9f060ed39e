"""Settings as frozen pydantic models that refuse what is unknown, ill-typed or contradictory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from vtr_demo.errors import ConfigError

__all__ = ["LossConfig", "MixtureConfig", "ModelConfig", "SharedConfig", "TrainConfig", "VideoConfig", "read_config"]

CONFIGS = Path(__file__).resolve().parent / "training" / "configs"

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Names = Annotated[tuple[str, ...], Field(strict=False)]  # JSON has lists where a config has tuples
FourWeights = Annotated[tuple[NonNegative, NonNegative, NonNegative, NonNegative], Field(strict=False)]
FourSizes = Annotated[tuple[Natural, Natural, Natural, Natural], Field(strict=False)]
Protocol = Literal["merged", "as_published"]
"""How captions count in an evaluation, see ``evaluation.metrics``."""
Split = Literal["train", "probe", "unseen_sprites"]
"""Splits of the playground, see ``playground.spec``."""

GROUNDED_CONCEPTS = 16
"""Categories of things and scenes that ``loss.grounding`` gives a concept each."""


_MESSAGES = {
    "tuple_type": "it should be a list",
    "model_type": "it should be a table of settings",
    "missing": "the entry is missing",
    "too_long": "it has more entries than it should",
}
"""In place of pydantic's messages about Python's types, by the type of its error."""


def require(condition: bool, message: str) -> None:
    """Raise ``ConfigError`` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ConfigError(message)


class Settings(BaseModel):
    """Base of all settings: frozen, strictly typed and closed; a violation is a ``ConfigError``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    table: ClassVar[str] = ""
    """Name of the table within a training config that holds these settings."""

    @model_validator(mode="wrap")
    @classmethod
    def _one_sentence(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            raise ConfigError(cls._sentence(error)) from error

    @classmethod
    def _sentence(cls, error: ValidationError) -> str:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        name = ".".join(part for part in (cls.table, key) if part)
        if first["type"] == "extra_forbidden":
            near = get_close_matches(key, cls.model_fields, 1)
            hint = f"did you mean {near[0]!r}" if near else f"known here: {', '.join(sorted(cls.model_fields))}"
            return f"Unknown setting {name!r}; {hint}{'?' if near else '.'}"
        text = _MESSAGES.get(first["type"], first["msg"].replace("Input should", "it should"))
        return f"Setting {name!r}: {text}, got {first['input']!r}."

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with other values for the fields named."""
        return type(self)(**{**dict(self), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, nested tables included."""
        return self.model_dump()


class VideoConfig(Settings):
    """How a file becomes frames."""

    table = "video"
    reader: Literal["pyav", "decord"] = "pyav"
    fit: Literal["crop", "squash"] = "crop"
    """crop: the largest centred square; squash: the whole picture, aspect ratio not kept."""
    clip_frames: Count = 8
    """Frames that stand for a whole clip in training, evaluation and search."""
    moment_s: Positive = 4.0
    """Target length of a moment in seconds when no shot cut divides the clip."""
    moment_frames: Count = 6
    """Frames that stand for one moment."""
    max_frames: int = 240
    """Frames stored for one clip at most; longer clips are sampled more thinly."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require(
            self.max_frames >= self.clip_frames,
            f"video.max_frames ({self.max_frames}) is below video.clip_frames ({self.clip_frames}).",
        )
        return self


class ModelConfig(Settings):
    """The architecture. Nothing here depends on the number of frames, patches or words."""

    table = "model"
    backbone: str = "bundled"
    """`bundled`, `tiny` or `open_clip:NAME/PRETRAINED`."""
    trained: bool = False
    """False: heads are identities and only the global level has a default weight."""
    reduce: int = 0
    """Width to which patch tokens are projected (by principal directions) before the heads; 0 keeps it."""
    hidden: int = 128
    """H, the width of the heads' transformer blocks."""
    heads: int = 4
    concepts: Count = 16
    """K, the number of shared concept prototypes."""
    concept_width: Count = 64
    """Dc, the width of a Conceptual Aggregated Feature."""
    concept_weight: NonNegative = 0.5
    """lambda, the weight of the concept score in training, and its default once trained."""
    centred_shift: bool = True
    """Subtract from the cross-attention's shift of the prototypes its mean over K (see ``s2ca``); earlier
    checkpoints were trained without."""
    focus: Natural = 0
    """Width of the network that looks for things for the entity level (see ``mcsan.Focus``); 0 leaves it out."""
    dropout: BelowOne = 0.1
    level_weights: FourWeights = (1.0, 1.0, 1.0, 1.0)
    """Weights of global, entity, action and relationship in training, and their defaults once trained."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require(
            self.heads >= 1 and self.hidden % self.heads == 0,
            f"model.hidden ({self.hidden}) must be a multiple of model.heads ({self.heads}).",
        )
        return self


class SharedConfig(Settings):
    """What a page that strangers share allows; ``limits`` lists it."""

    table = "shared"
    visitor_clips: Annotated[int, Field(ge=1, description="clips that a visitor of a shared page may keep")] = 10
    visitor_bytes: Annotated[int, Field(ge=1, description="bytes that these may take in the library")] = 500 * 10**6
    all_clips: Annotated[int, Field(ge=1, description="clips that all its visitors together may keep")] = 500
    all_bytes: Annotated[int, Field(ge=1, description="bytes that these may take")] = 20 * 10**9
    kept_hours: Annotated[float, Field(gt=0, description="hours after which a visitor's clip is deleted")] = 24.0
    sentences: Annotated[int, Field(ge=1, description="sentences that one request may rank on a shared page")] = 200


class LossConfig(Settings):
    """The objective: a weight for each term (0 switches it off) and the constants of the losses."""

    table = "loss"
    scale: Positive = 20.0
    """Factor on cosines before InfoNCE's softmax."""
    soft_temperature: NonNegative = 0.1
    """Temperature of targets from text-text similarity; 0: only the clip's own caption is a positive."""
    total: NonNegative = 1.0
    levels: NonNegative = 0.5
    """Ranking loss of each level alone."""
    pairs: NonNegative = 0.5
    """Minimal pairs: a true sentence against false ones that differ in one level."""
    kl: NonNegative = 0.02
    attributes: NonNegative = 0.05
    focal_gamma: NonNegative = 2.0
    focal_alpha: NonNegative = 0.25
    concepts: NonNegative = 0.3
    """Concept-level contrast of Conceptual Aggregated Features."""
    diversity: NonNegative = 0.01
    balance: NonNegative = 0.3
    grounding: NonNegative = 0.0
    """Cross-entropy of the allocation of patches and words on the playground, whose truth is known."""
    focus: NonNegative = 0.0
    """Cross-entropy of the focus's attention and the patches of things, on the playground."""
    anchor: NonNegative = 0.0
    """Squared distance of the entity vectors of files and captions from what they were before the run."""
    short: NonNegative = 0.0
    """Ranking loss of short queries ("a dog", "jumping", "in the forest"); every clip that has it is right."""
    occurrence: NonNegative = 0.0
    """Multiple instances on captioned files: a caption's concepts must occur among the patches."""
    distill: NonNegative = 0.1
    """Align-Transform-Reconstruct against the teacher's tokens and global vectors."""
    distill_mask: BelowOne = 0.3
    """Share of aligned tokens that are masked before they are transformed."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require(self.total + self.levels > 0, "loss.total and loss.levels are both 0: nothing would be ranked.")
        return self


class MixtureConfig(Settings):
    """What a batch consists of, as shares of it; a kind that the data lack takes none."""

    table = "mixture"
    playground: Share = 0.25
    """Share of playground clips."""
    still: Share = 0.25
    """Share of single pictures of the playground."""
    video: Share = 0.25
    """Share of videos in the rest, which are photos otherwise."""
    drawn_end: Share = 1.0
    """Factor on ``playground`` and ``still`` at the last step, reached linearly."""


class TrainConfig(Settings):
    """One training run: data, optimisation and output."""

    out: str = "runs/latest"
    """Folder of the checkpoint, the state to resume from and the log."""
    train: Names = ()
    """Manifests or benchmark names (`msrvtt-9k`, `msvd`, `didemo`, `activitynet`, `vatex`)."""
    validation: Names = ()
    validation_split: str = "test"
    """Split that benchmark names in ``validation`` stand for; where one exists, prefer `val`."""
    annotations: str = ""
    """Folder of the benchmarks' official files."""
    videos: str = ""
    """Folder of the benchmarks' video files."""
    hold_out: BelowOne = 0.0
    """Share of the clips of ``train`` that is held out as the validation data, films kept together."""
    start: str = ""
    """Checkpoint to fine-tune, `bundled` or a folder; empty: start from untrained heads."""
    new_concepts: bool = False
    """With ``start``: S2CA begins from the training data, not from the checkpoint's concepts."""
    train_only: Names = ()
    """Parts of the model that learn, such as `concepts` or `video.pools`; the others keep the weights of
    ``start``. Empty: all learn."""
    mirror: bool = False
    """Add each file a second time, mirrored and with its whole picture squashed into the square."""
    playground_clips: Natural = 0
    """Clips of the playground, rendered for training; they bring minimal pairs."""
    playground_encounters: Natural = 0
    """Further playground clips: who follows, passes, meets ... whom."""
    playground_neighbours: Natural = 0
    """Further playground clips: two things that move in place, one left of or behind the other."""
    playground_stills: Natural = 0
    """Single pictures of the playground: who is left of, behind, on ... whom."""
    playground_validation: Natural = 0
    """Playground clips of unseen combinations to validate on where no files are named or held out for that."""
    grounding_captions: Natural = 0
    """Further captions of the playground, without pictures, whose words ``loss.grounding`` learns from."""
    sprites: str = ""
    """Folder of the playground's sprites."""
    attribute_sizes: FourSizes = (512, 512, 256, 256)
    """The most attributes that global, entity, action and relationship keep."""
    attribute_min_count: Count = 5
    """Training clips that must carry an attribute for it to be kept."""
    teacher: str = ""
    """Backbone SPEC of the distillation teacher; empty: the frozen backbone itself."""
    model: ModelConfig = ModelConfig()
    video: VideoConfig = VideoConfig()
    loss: LossConfig = LossConfig()
    freeze_backbone: bool = True
    """True: train the heads on cached tokens; False: fine-tune the towers end to end."""
    hold_global: bool = False
    """The global level stays what the towers alone rank by; the other levels and the concepts learn."""
    seed: int = 0
    steps: Count = 1000
    batch: Annotated[int, Field(ge=2)] = 128
    """Clips a step and process; ranking needs a negative."""
    mixture: MixtureConfig = MixtureConfig()
    lr: Positive = 1e-3
    backbone_lr: NonNegative = 1e-6
    weight_decay: float = 0.1
    warmup: BelowOne = 0.1
    """Share of the steps in which the learning rate rises; then it falls along a cosine."""
    clip_norm: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    motion_precision: Literal["fp32", "bf16", "off"] = "fp32"
    """Of a frozen motion tower; bf16 takes a third of the time where the processor has it. off: training
    data come without motion, which only the global and the action level use."""
    checkpoint_activations: bool = False
    """Compute the activations of learning towers, block by block, again in the backward pass."""
    tower_chunk: Natural = 0
    """Frames, and sentences, that go through learning towers at a time; 0: the whole batch. Their activations
    are computed again in the backward pass, so that memory does not grow with ``batch`` while the gradients stay
    those of the whole batch (as GradCache's, Gao et al. 2021)."""
    ema: BelowOne = 0.0
    """Decay of an exponential moving average of the weights; 0 is off."""
    learned_share: Share = 1.0
    """WiSE-FT coefficient of the global level: 0 keeps its initial weights, 1 its trained ones."""
    evaluate_every: Count = 100
    save_every: Natural = 0
    """Steps between extra saves of the resumable state; 0: save at evaluations only."""
    patience: int = 0
    """Evaluations without a better validation result before training stops; 0 never stops early."""
    tracker: Literal["", "tensorboard", "trackio"] = ""
    """What the log is reported to beside the CSV file."""
    device: str = "auto"
    cache: str = "cache"
    """Folder of tokens of frozen towers; empty: memory only."""
    frame_cache: str = ""
    """Folder of decoded frames for end-to-end training, 150 KB a frame; empty: decode them every time."""
    workers: Count = 4
    """Clips that are decoded and drawn ahead of the towers at a time; files are decoded in processes."""

    @property
    def drawn(self) -> int:
        """Number of playground clips and single pictures."""
        return self.drawn_clips + self.playground_stills

    @property
    def drawn_clips(self) -> int:
        """Number of playground clips."""
        return self.playground_clips + self.playground_encounters + self.playground_neighbours

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require(
            bool(self.train) or self.drawn > 0,
            "train names no data, and playground_clips, _encounters, _neighbours and _stills are all 0.",
        )
        require(
            any(self.attribute_sizes) or not self.loss.attributes,
            "loss.attributes has nothing to learn while attribute_sizes are all 0; set one of the two.",
        )
        drawn = self.mixture.playground + (self.mixture.still if self.playground_stills else 0.0)
        require(drawn <= 1, f"mixture.playground and .still add up to {drawn}; 1 is a whole batch.")
        require(
            not self.loss.grounding or self.drawn > 0,
            "loss.grounding has nothing to learn from, since nothing of the playground is drawn; set "
            "playground_clips, or loss.grounding to 0.",
        )
        require(
            not self.loss.grounding or self.model.concepts >= GROUNDED_CONCEPTS,
            f"loss.grounding needs {GROUNDED_CONCEPTS} model.concepts or more, got {self.model.concepts}.",
        )
        require(
            not (self.hold_out and self.validation),
            "hold_out takes the validation data from train, but validation names some; give one of the two.",
        )
        require(
            not (self.hold_global and self.start) and (self.freeze_backbone or not self.hold_global),
            "hold_global keeps what frozen towers alone rank by; leave out start and freeze_backbone=false.",
        )
        for names, idle, reason in _IDLE:
            for name in names.split() if idle(self) else ():
                table, _, field = name.rpartition(".")
                owner = getattr(self, table) if table else self
                default = type(owner).model_fields[field].default
                require(
                    getattr(owner, field) in (default, "", 0),
                    f"{name} has no effect while {reason}; leave one of the two out.",
                )
        return self


def _names_no_benchmark(config: TrainConfig) -> bool:
    """Whether all data are manifests, which name their own files."""
    names = (*config.train, *config.validation)
    return all(name.endswith((".jsonl", ".json")) or Path(name).is_file() for name in names)


def _has_no_validation(config: TrainConfig) -> bool:
    return not (config.validation or config.hold_out or config.playground_validation)


_IDLE: tuple[tuple[str, Callable[[TrainConfig], bool], str], ...] = (
    ("mirror hold_out mixture.playground mixture.drawn_end", lambda c: not c.train, "train names no data"),
    ("mixture.drawn_end", lambda c: not c.drawn, "nothing of the playground is drawn"),
    ("mixture.playground", lambda c: not c.drawn_clips, "playground_clips, _encounters and _neighbours are 0"),
    ("mixture.still", lambda c: not c.playground_stills, "playground_stills is 0"),
    ("sprites", lambda c: not (c.drawn or c.playground_validation), "nothing of the playground is drawn"),
    ("annotations videos", _names_no_benchmark, "train and validation name no benchmark"),
    ("validation_split", lambda c: not c.validation, "validation names no data"),
    ("patience", _has_no_validation, "validation, hold_out and playground_validation give no data to judge by"),
    ("new_concepts train_only", lambda c: not c.start, "start names no checkpoint"),
    (
        "backbone_lr frame_cache checkpoint_activations tower_chunk",
        lambda c: c.freeze_backbone,
        "freeze_backbone is true",
    ),
    ("cache", lambda c: not c.freeze_backbone, "freeze_backbone is false"),
    (
        "motion_precision",
        lambda c: not c.start and c.model.backbone != "bundled",
        "only the bundled towers have a motion tower",
    ),
    ("grounding_captions", lambda c: not c.loss.grounding, "loss.grounding is 0"),
    ("teacher loss.distill_mask", lambda c: not c.loss.distill, "loss.distill is 0"),
    ("loss.focal_gamma loss.focal_alpha", lambda c: not c.loss.attributes, "loss.attributes is 0"),
)
"""Settings that have no effect under a condition, and that condition in words."""


# --------------------------------------------------------------------------- config files
def read_config(path: Path | str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a JSON config and apply ``key=value`` overrides; dots join the keys of nested settings.

    ``path`` is a file, or the name of a config that comes with the package. Keys that begin with an
    underscore are comments. Raises ``ConfigError``.
    """
    path = Path(path)
    packaged = CONFIGS / f"{path.name.removesuffix('.json')}.json"
    if not path.exists() and path.parent == Path(".") and packaged.is_file():
        path = packaged
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The config {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ConfigError(f"The config {path} is not valid JSON ({error}).") from error
    require(isinstance(values, dict), f"The config {path} must be a JSON object of settings.")
    for override in overrides:
        key, equals, text = override.partition("=")
        require(bool(equals), f"--set takes key=value, got {override!r}.")
        _set(values, key, _parse_value(text, key))
    try:
        return TrainConfig(**{key: value for key, value in values.items() if not key.startswith("_")})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _parse_value(text: str, key: str) -> Any:
    if key in ("train", "validation") and text and not text.startswith("["):
        return text.split(",")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *tables, field = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        require(isinstance(values, dict), f"--set {key}: {table!r} is no table of settings.")
    values[field] = value
