"""Names that people give to concepts, kept with the library for each model."""

from __future__ import annotations

from collections.abc import Mapping

from vtr_demo.checkpoint import Pretrained
from vtr_demo.errors import LibraryError
from vtr_demo.results import LONGEST_NAME
from vtr_demo.shelf import Shelf
from vtr_demo.store import Store

_NOTE = "concept_names"


def concept_names(shelf: Shelf, pretrained: Pretrained) -> tuple[str, ...]:
    """(K,) what the concepts are called in this library: as a person called them, else as training did.

    A name that one before has already gets a number, so that names tell concepts apart.
    """
    given = _given(shelf, pretrained)
    names: list[str] = []
    for k, found in enumerate(pretrained.names):
        name = given.get(str(k), found)
        while name in names:
            name = f"{name} ({k + 1})"
        names.append(name)
    return tuple(names)


def rename(store: Store, pretrained: Pretrained, concept: int, name: str) -> None:
    """Call ``concept`` by another name from now on; an empty one gives back the name that training found."""
    count = pretrained.model.config.concepts
    if not 0 <= concept < count:
        raise LibraryError(f"There is no concept {concept + 1}; this model has {count}.")
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if len(name) > LONGEST_NAME:
        raise LibraryError(f"A name of {len(name)} letters is too long; give at most {LONGEST_NAME}.")
    given = {**_given(store, pretrained), str(concept): name}
    if name in ("", pretrained.names[concept]):
        del given[str(concept)]
    store.set_note(_NOTE, {**store.note(_NOTE), pretrained.fingerprint: given})


def _given(shelf: Shelf, pretrained: Pretrained) -> Mapping[str, str]:
    given = shelf.note(_NOTE).get(pretrained.fingerprint)
    named = given.items() if isinstance(given, dict) else ()
    return {concept: name for concept, name in named if isinstance(name, str)}
