"""One explanation as the JSON that static/explanation.js draws: every summand, the frames, the parse, the verdict.

Everything is read from ``Explanation.alignment``, whose summands add up to the score that ranked; the browser
only sums them, over what a person picks.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from vtr_demo.results import ClipView, Explanation, confidence_word
from vtr_demo.structures import LEVELS, NO_MIX, TERMS, Alignment, Mix, TermWeights
from vtr_demo.ui.address import encode
from vtr_demo.ui.html import TERM_LESSONS, TERM_NAMES, clip_url, data_uri, display_name, percentage
from vtr_demo.ui.view import ViewState
from vtr_demo.viz.figures import time_label
from vtr_demo.viz.overlays import CONCEPT_COLOURS, NEGATIVE, POSITIVE, frame_parts, rgb, word_parts

MIN_SHARE = 0.02
"""A word or level below this share of the positive parts is not worth a sentence."""
MIN_DIFFERENCE = 5e-3
"""Two scores closer than this are alike."""
BECAUSE = {
    "global": "sentence and clip fit as a whole",
    "entity": "the things it names are in the picture",
    "action": "of what happens",
    "relationship": "of who does what to whom, and where",
    "concepts": "words and picture fall into the same concepts",
}
"""What a term says for a clip, after “because”."""
BECAUSE_ALIKE = {
    "global": "example and clip are alike as a whole",
    "entity": "they show like things",
    "action": "alike things happen in them",
    "relationship": "things stand and act alike in them",
    "concepts": "both pictures fall into the same concepts",
}
"""The same where an example is all that is asked for."""


def payload(
    why: Explanation, clip: ClipView, weights: TermWeights, about: ViewState, comparison: dict[str, Any]
) -> dict[str, Any]:
    """Everything that the panel shows, as JSON values; arrays are base64 of little-endian numbers.

    ``about`` is what was asked: the whole sentence, where the explanation has only the words that are left.

    ``rows`` are the (term, word) pairs that add anything, and ``parts`` float32 (rows, T, 1+P) their summands,
    frames in time order; ``held`` int16 (T, 1+P) is the concept of each patch, -1 for none.
    """
    alignment = why.alignment
    order = np.argsort(alignment.seconds, kind="stable")
    terms = alignment.all_terms()[:, :, order]
    rows = np.argwhere(np.abs(terms).sum(axis=(2, 3)) > 0)
    box = why.crop
    return {
        "clip": {
            "id": clip.clip_id,
            "name": display_name(clip.name),
            "url": clip_url(clip.clip_id),
            "duration": clip.duration_s,
            "moments": clip.moments,
        },
        "moment": why.moment,
        "moment_scores": why.moment_scores if why.moment >= 0 else (),
        "score": alignment.score,
        "verdict": verdict(why, about.confidence, about.mix),
        "confidence": None
        if about.confidence is None
        else {"word": confidence_word(about.confidence), "percentage": percentage(about.confidence)},
        "terms": [
            {
                "name": name,
                "label": TERM_NAMES[name],
                "hears": TERM_LESSONS[name],
                "weight": why.gates.get(name, weights.concepts),
                "tags": why.video_tags.get(name, ()),
            }
            for name in TERMS
        ],
        "words": alignment.words,
        "chips": list(chips(why, about)),
        "extras": list(range(1 + len(why.sentence.words), len(alignment.words))),
        "phrases": phrases(why),
        "concepts": [
            {"name": name, "colour": CONCEPT_COLOURS[k % len(CONCEPT_COLOURS)], "muted": k in weights.muted}
            for k, name in enumerate(why.concept_names)
        ],
        "word_concept": alignment.word_concept.tolist(),
        "rows": rows.tolist(),
        "parts": _base64(terms[tuple(rows.T)], "<f4"),
        "held": _base64(alignment.patch_concept[order], "<i2"),
        "seconds": alignment.seconds[order].tolist(),
        "times": [time_label(float(second)) for second in alignment.seconds[order]],
        "grid": alignment.grid,
        "crop": [box.left / box.source_width, box.top / box.source_height,
                 box.width / box.source_width, box.height / box.source_height],
        "ratio": box.source_width / box.source_height,
        "frames": [data_uri(frame) for frame in why.frames[order]],
        "colours": [[round(255 * part) for part in rgb(colour).tolist()] for colour in (POSITIVE, NEGATIVE)],
        "comparison": comparison,
        "take": downloads(why, about),
    }  # fmt: skip


def chips(why: Explanation, about: ViewState) -> Iterator[dict[str, Any]]:
    """A chip a word of the whole sentence: its row in the alignment, None where it is struck out, and the
    change of the score without it."""
    row, sentence = 0, why.sentence
    against = {i + 1 for group in sentence.denied for i in group} | {i + 1 for i in sentence.cues}
    for index, text in enumerate(about.words or [word.text for word in why.sentence.words]):
        chip: dict[str, Any] = {"index": index, "text": text, "row": None}
        if index not in about.struck and row < len(why.sentence.words):
            row += 1
            chip |= {"row": row, "effect": float(why.word_effects[row - 1]), "denied": row in against}
        yield chip


def phrases(why: Explanation) -> list[dict[str, Any]]:
    """The parse: each noun phrase, verb and triple with its term and its rows in the alignment."""
    sentence = why.sentence
    groups = zip(LEVELS[1:], (sentence.entities, sentence.actions, sentence.relationships), strict=True)
    return [
        {
            "term": TERMS.index(level),
            "rows": [i + 1 for i in group],
            "text": " ".join(sentence.words[i].text for i in group),
        }
        for level, members in groups
        for group in members
    ]


def downloads(why: Explanation, about: ViewState) -> list[tuple[str, str]]:
    """What can be taken away, as (label, address)."""
    query = encode("search", about.explained(why.moment))
    return [(label, f"{clip_url(why.clip_id)}/{file}?{query}") for label, file in DOWNLOADS]


DOWNLOADS = (
    ("Picture (PNG)", "explanation.png"),
    ("Drawing (SVG)", "explanation.svg"),
    ("Numbers (JSON)", "explanation.json"),
    ("Concepts, hard (CSV)", "concepts-hard.csv"),
    ("Concepts, soft (CSV)", "concepts-soft.csv"),
)


def _base64(values: np.ndarray, kind: str) -> str:
    return b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")


# --------------------------------------------------------------------------- in one sentence
def verdict(why: Explanation, confidence: float | None = None, mix: Mix = NO_MIX) -> str:
    """Say in one sentence how well the clip fits, which part of the score says so, by which words and when,
    and the word that counts most against it."""
    alignment, words = why.alignment, why.sentence.words
    if not words and not mix.like:
        return "Nothing is asked for here, so a clip stands the higher, the less it shows of what is left out."
    term, best = max(alignment.terms().items(), key=lambda item: item[1])
    if best <= 0:
        asked = "sentence" if words else "example"
        return f"Nothing in this clip speaks for the {asked}: no part of the score is positive."
    by_word, by_frame = word_parts(alignment)[1:], frame_parts(alignment).sum(axis=1)
    says = _opening(confidence) + f", mostly because {(BECAUSE if words else BECAUSE_ALIKE)[term]}"
    told = [int(i) for i in np.argsort(-by_word) if i >= len(words) or not words[i].is_function_word]
    carry = [i for i in told[:2] if words and by_word[i] > 0.4 * by_word[told[0]] > 0]
    if carry:
        names = " and ".join(f"“{alignment.words[i + 1]}”" for i in carry)
        says += f"; {names} {'carries' if len(carry) == 1 else 'carry'} most of it"
    if len(by_frame) > 1:
        says += f", clearest at {time_label(float(alignment.seconds[int(by_frame.argmax())]))}"
    against = _against(alignment)
    return says + (f", and “{against}” counts against it." if against else ".")


def _opening(confidence: float | None) -> str:
    if confidence is None:
        return "It fits"
    words = {"strong": "A strong match", "weak": "A weak match", "no match": "No real match, only the closest"}
    return words[confidence_word(confidence)]


def _against(alignment: Alignment) -> str:
    """The word that counts most against the clip, if it counts at all."""
    parts = word_parts(alignment)[1:]
    gains = sum(value for value in alignment.terms().values() if value > 0)
    if not len(parts) or parts.min() >= -MIN_SHARE * gains:
        return ""
    return alignment.words[1 + int(parts.argmin())]


# --------------------------------------------------------------------------- against another clip
def difference(why: Explanation, other: Explanation, name: str, other_name: str) -> dict[str, Any]:
    """Both scores, the terms and words that their difference is made of, and one sentence about it."""
    one, two = why.alignment, other.alignment
    mine, theirs = one.terms(), two.terms()
    gap = round(one.score, 3) - round(two.score, 3)  # as the table shows it
    ordered = sorted(((np.sign(gap) * (mine[key] - theirs[key]), TERM_NAMES[key]) for key in TERMS), reverse=True)
    if abs(gap) < MIN_DIFFERENCE:
        says = f"{name} and {other_name} score alike."
    else:
        says = f"{name} lies {'above' if gap > 0 else 'below'} {other_name} by {abs(gap):.3f}{_listed(ordered)}."
    return {
        "says": says,
        "names": [name, other_name],
        "terms": [[TERM_NAMES[key], mine[key], theirs[key]] for key in TERMS],
        "words": [list(row) for row in zip(one.words, word_parts(one).tolist(), word_parts(two).tolist(), strict=True)],
        "scores": [one.score, two.score],
    }


def _listed(ordered: Collection[tuple[float, str]]) -> str:
    """The terms that make a difference, largest first, and those that lie the other way."""
    reasons = [label for value, label in ordered if value >= MIN_DIFFERENCE][:2]
    against = [label for value, label in ordered if value <= -MIN_DIFFERENCE]
    text = f", mostly by {' and '.join(reasons)}" if reasons else ""
    return text + (f"; {' and '.join(against)} say{'s' if len(against) == 1 else ''} the opposite" if against else "")
