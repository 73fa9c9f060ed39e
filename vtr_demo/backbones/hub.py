"""From the SPEC of an open_clip model to the model and its tokenizer, by its own loader, online or not.

    open_clip:NAME/TAG            a released model, from the Hub or its local cache
    open_clip:NAME/FILE           the architecture NAME with a local .safetensors, .pt or .bin file
    open_clip:ORG/REPO            a Hub repository with an open_clip_config.json (or open_clip:hf-hub:ORG/REPO);
                                  names of CLIP and SigLIP in the format of transformers stand for the same
                                  weights as open_clip released them
    open_clip:local-dir:FOLDER    a folder with open_clip_config.json and the weights (or FOLDER alone)

NAME ends at the first slash, so an absolute FILE gives two slashes in a row.
"""

from __future__ import annotations

import logging
import pickle
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vtr_demo.backbones.base import guarded_import
from vtr_demo.errors import BackboneError

_log = logging.getLogger(__name__)

CONFIG_NAME = "open_clip_config.json"
_TRANSFORMERS = re.compile(
    r"(?:openai/clip-vit|google/siglip(?P<version>2?))-(?P<size>base|large|so400m|giant-opt)-patch(?P<patch>\d+)"
    r"(?:-(?P<side>\d+))?(?P<many>-multilingual)?"
)
_SIZES = {"base": "B", "large": "L", "so400m": "SO400M", "giant-opt": "gopt"}
HUB_TIMEOUT_S = 3.0
"""How long the Hub may take to answer before only the local cache is used (open_clip itself
would try for half a minute)."""


def is_open_clip_folder(spec: str) -> bool:
    """Whether ``spec`` is a folder that open_clip can open."""
    return (Path(spec).expanduser() / CONFIG_NAME).is_file()


def release_of(repository: str) -> str:
    """Return the NAME/TAG under which open_clip has a Hub repository in the format of transformers, or ''."""
    match = _TRANSFORMERS.fullmatch(repository)
    if not match:
        return ""
    version, side, tower = match["version"], match["side"], f"ViT-{_SIZES[match['size']]}-{match['patch']}"
    if version is None:
        return f"{tower}{f'-{side}' if side else ''}-quickgelu/openai"
    name = f"{tower}-SigLIP{version}{'-i18n' if match['many'] else ''}"
    return f"{name}{f'-{side}' if side != '224' else ''}/webli"


def open_model(source: str) -> tuple[Any, Any, dict[str, Any]]:
    """The model (eval, float32, CPU), its tokenizer and its preprocessing constants.

    ``source`` is what follows "open_clip:"; the module's docstring has its grammar. Random
    weights are never returned.
    """
    open_clip = guarded_import("open_clip")
    name, pretrained = parse_source(source)
    options = _tag_options(open_clip, name, pretrained)
    with _hub(needed=_needs_hub(name)) as reachable:
        try:
            model = open_clip.create_model(name, pretrained=pretrained, require_pretrained=True, **options)
            tokenizer = open_clip.get_tokenizer(name)
        except _load_errors() as error:
            raise BackboneError(_reason(source, name, pretrained, error, reachable)) from error
    return model.eval(), tokenizer, dict(model.visual.preprocess_cfg)


def parse_source(source: str) -> tuple[str, str | None]:
    """What follows "open_clip:" as open_clip's (model name, pretrained).

    Refuses what names no weights: open_clip would only warn and start from random ones.
    """
    if source.startswith(("hf-hub:", "local-dir:")):
        schema, _, rest = source.partition(":")
        if not rest:
            raise BackboneError(f"open_clip:{source} names nothing after {schema}:; complete it.")
        if schema == "local-dir":
            return _folder(rest), None
        return source, None
    if is_open_clip_folder(source):
        return _folder(source), None
    name, _, pretrained = (release_of(source) or source).partition("/")
    open_clip = guarded_import("open_clip")
    if name not in open_clip.list_models():
        near = get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.4)
        if not near and re.fullmatch(r"[\w.-]+/[\w.-]+", source):
            return f"hf-hub:{source}", None
        hint = f"did you mean {', '.join(near)}?" if near else "see open_clip.list_models() for the names."
        raise BackboneError(f"open_clip has no model {name!r}; {hint}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained in tags:
        return name, pretrained
    path = Path(pretrained).expanduser()
    if pretrained and path.is_file():
        return name, str(path)
    known = f"use one of {_some(tags)}" if tags else "no weights are released for it"
    lacking = f"{pretrained!r} is neither a tag nor a file of weights" if pretrained else "no weights are named"
    raise BackboneError(f"For the open_clip model {name}, {lacking}; {known}, or give a file's path.")


def _some(names: list[str], most: int = 6) -> str:
    rest = f" (and {len(names) - most} more)" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _folder(path: str) -> str:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise BackboneError(f"The model folder {path} does not exist; check the path.")
    if not (folder / CONFIG_NAME).is_file():
        raise BackboneError(f"The model folder {path} has no {CONFIG_NAME}; save the model in open_clip's layout.")
    return f"local-dir:{folder}"


def _tag_options(open_clip: Any, name: str, pretrained: str | None) -> dict[str, Any]:
    """Weights trained with QuickGELU need it, whatever the architecture's name says; open_clip
    only warns about it."""
    config = open_clip.get_pretrained_cfg(name, pretrained) if pretrained else None
    return {"force_quick_gelu": True} if (config or {}).get("quick_gelu") else {}


# --------------------------------------------------------------------------- the Hub
def _needs_hub(name: str) -> bool:
    """A local folder stands alone, unless its text tower is a model of the Hub."""
    if not name.startswith("local-dir:"):
        return True
    config = Path(name.removeprefix("local-dir:")) / CONFIG_NAME
    return "hf_model_name" in config.read_text(encoding="utf-8", errors="replace")


@contextmanager
def _hub(*, needed: bool) -> Iterator[bool]:
    """Whether the Hub answers; where it does not, its library works from the cache alone meanwhile."""
    from huggingface_hub import constants

    if not needed or constants.HF_HUB_OFFLINE:
        yield False
    elif _answers(constants.ENDPOINT):
        yield True
    else:
        _log.info("%s does not answer; only its local cache is used.", constants.ENDPOINT)
        constants.HF_HUB_OFFLINE = True
        try:
            yield False
        finally:
            constants.HF_HUB_OFFLINE = False


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=HUB_TIMEOUT_S):
            return True
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        # Certificates are judged by the Hub's own client, which may know other authorities.
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False


# --------------------------------------------------------------------------- errors
def _load_errors() -> tuple[type[Exception], ...]:
    """What open_clip, torch, safetensors and transformers raise for weights that do not load."""
    from safetensors import SafetensorError

    builtin = (OSError, RuntimeError, ValueError, AssertionError, KeyError, TypeError, AttributeError, EOFError)
    return (*builtin, ImportError, pickle.UnpicklingError, SafetensorError)


def _reason(source: str, name: str, pretrained: str | None, error: Exception, reachable: bool) -> str:
    what = f"open_clip:{source}"
    local = name.startswith("local-dir:") or (pretrained is not None and Path(pretrained).is_file())
    if not local and not reachable:
        return (
            f"The weights of {what} are not in the local cache and the Hub cannot be reached; open the "
            "model once on a connected machine and bring its cache (HF_HOME), or its files as "
            "open_clip:local-dir:FOLDER."
        )
    cause = " ".join(str(error).split()) or type(error).__name__
    cause = cause if len(cause) <= 240 else f"{cause[:240]}..."
    remedy = "check the name"
    if local:
        remedy = "check that the files are complete and belong to this architecture"
    elif name.startswith("hf-hub:"):
        remedy = f"check the name, and that the repository has an {CONFIG_NAME}"
    return f"{what} cannot be loaded ({cause.rstrip('.')}); {remedy}."
