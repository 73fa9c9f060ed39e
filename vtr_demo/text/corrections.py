"""Corrections of the errors that a small English parser makes on captions (all: our decision).

There are two kinds. Prepositions of several words ("to the left of") mislead it, so each is passed to it as
one token (``split_units``). And it takes a verb after a bare noun for a plural or a compound noun ("a dog
wanders", "a turtle swimming"), so such a word is replaced by an unmistakable verb (``find_replacements``) and
parsed again; ``apply`` then corrects what is contradictory in the parse. It works on spaCy documents and
loads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtr_demo.files import read_table

Doc = Any
"""A ``spacy.tokens.Doc``."""
Token = Any
"""A ``spacy.tokens.Token``."""


_HERE = Path(__file__).parent
WORDS = {row["name"]: frozenset(row["words"].split()) for row in read_table(_HERE / "words.csv")}
"""Lists of words by name; the table says what each is for."""


@dataclass(frozen=True)
class Lexicon:
    """Base forms of English words, from the parser's lemma tables."""

    verbs: frozenset[str]
    adjectives: frozenset[str]

    def is_verb(self, word: str) -> bool:
        """Tell whether ``word`` can be the base form of a verb."""
        return word in self.verbs or word in WORDS["common_verbs"]

    def is_gerund(self, word: str) -> bool:
        """Tell whether ``word`` is an -ing form that names an activity: "swimming", not "ceiling"."""
        return word not in WORDS["ing_nouns"] and any(self.is_verb(base) for base in _bases(word, "ing"))

    def lemma(self, form: str, lemma: str) -> str:
        """Correct the ``lemma`` of an -ing or -ed form: "riding" comes from "ride", though "rid" exists too.

        English doubles the last letter of a short stem (ridding), so one that is not doubled dropped an e.
        """
        short_stem = re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", lemma)
        undoubled = form in (lemma + "ing", lemma + "ed")
        return lemma + "e" if short_stem and undoubled and self.is_verb(lemma + "e") else lemma


def _bases(word: str, ending: str) -> list[str]:
    """Possible base forms of ``word``, whose ending is "ing" or "s"."""
    if not word.endswith(ending) or len(word) < len(ending) + 2:
        return []
    stem = word[: -len(ending)]
    if ending == "ing":
        return [stem, stem + "e", *([stem[:-1]] if stem[-1] == stem[-2] else [])]
    return [stem, *([stem[:-1]] if stem.endswith("e") else []), *([stem[:-2] + "y"] if stem.endswith("ie") else [])]


_PHRASES = [(row["pattern"], row["parsed_as"]) for row in read_table(_HERE / "phrases.csv")]
"""Patterns of fixed phrases, each with the word that the parser gets instead."""
_PHRASE = re.compile("|".join(rf"\b(?P<p{i}>{pattern})\b" for i, (pattern, _) in enumerate(_PHRASES)))

NOUNS = ("NOUN", "PROPN")
_DO_HAVE = ("do", "does", "did", "doing", "have", "has", "had", "having")


# --------------------------------------------------------------------------- before the parse
@dataclass(frozen=True)
class Unit:
    """Characters ``[start, end)`` that the parser gets as one token, spelled ``form``."""

    text: str
    start: int
    end: int
    form: str


def split_units(text: str, tokens: Sequence[tuple[int, int]]) -> list[Unit]:
    """Split the lower-case ``text`` into units: the character spans ``tokens``, some of them joined.

    Joined are fixed phrases ("next to") and words with hyphens ("t-shirt").
    """
    phrases = {hit.start(): (hit.end(), hit.lastgroup or "") for hit in _PHRASE.finditer(text)}
    ends = {end for _, end in tokens}
    spans: list[tuple[int, int, str]] = []
    closed = -1
    for start, end in tokens:
        if start < closed:
            continue
        if start in phrases and phrases[start][0] in ends:
            closed, name = phrases[start]
            spans.append((start, closed, _PHRASES[int(name[1:])][1]))
        elif spans and spans[-1][1] == start and _hyphenated(text, spans[-1], start, end):
            spans[-1] = (spans[-1][0], end, text[spans[-1][0] : end])
        else:
            spans.append((start, end, text[start:end]))
    return [Unit(text[start:end], start, end, form) for start, end, form in spans]


def _hyphenated(text: str, last: tuple[int, int, str], start: int, end: int) -> bool:
    before, piece, after = text[last[0] : last[1]], text[start:end], text[end : end + 1]
    if piece == "-":
        return before[-1].isalnum() and after.isalnum()
    return piece[0].isalnum() and before[-1] == "-" and before[0].isalnum()


# --------------------------------------------------------------------------- between two parses
def find_replacements(doc: Doc, lexicon: Lexicon) -> dict[int, str]:
    """Return the tokens that are verbs but were taken for nouns, each with a verb to parse instead."""
    finite = any(t.tag_ in ("VBZ", "VBP", "VBD", "MD") for t in doc)
    verbs: dict[int, str] = {}
    for token in doc:
        if token.pos_ in ("VERB", "AUX") or token.i == 0 or token.i - 1 in verbs:
            continue
        if _misread_gerund(token, lexicon):
            verbs[token.i] = "holding" if _has_object(token) else "walking"
        elif _misread_participle(token):
            verbs[token.i] = "smiling"
        elif _misread_third_person(token, verbs, finite, lexicon):
            verbs[token.i] = "sees" if _has_object(token) else "goes"
        elif _misread_plural_verb(token, finite):
            verbs[token.i] = "see" if _has_object(token) else "go"
    return verbs


def _misread_gerund(token: Token, lexicon: Lexicon) -> bool:
    before = token.nbor(-1)
    describes = token.dep_ in ("compound", "amod", "nmod") and token.head.i == token.i + 1
    return (
        lexicon.is_gerund(token.lower_)
        and not describes
        and (before.pos_ in NOUNS or (before.pos_ == "ADJ" and before.lower_ not in lexicon.adjectives))
    )


def _misread_participle(token: Token) -> bool:
    """ "a dancing horse", but not "a dancing competition"."""
    return (
        any(base in WORDS["common_verbs"] for base in _bases(token.lower_, "ing"))
        and token.dep_ in ("compound", "nmod", "amod")
        and token.head.i > token.i
        and token.nbor(-1).pos_ in ("DET", "ADJ", "NUM")
        and token.head.lower_.rstrip("s") not in WORDS["occasions"]
    )


def _misread_third_person(token: Token, replaced: dict[int, str], finite: bool, lexicon: Lexicon) -> bool:
    bases = [base for base in _bases(token.lower_, "s") if lexicon.is_verb(base)]
    if not bases:
        return False
    before = token.nbor(-1)
    if before.dep_ == "cc" and any(i in replaced for i in (token.head.i, before.i - 1)):
        return True
    if before.tag_ not in ("NN", "NNP", "JJ", "RB", "WP", "WDT", "VBG") or _describes_plural(before, lexicon):
        return False
    common = any(base in WORDS["common_verbs"] for base in bases)
    if _has_singular_article(token):
        return common or token.dep_ not in ("compound", "nmod")
    before_path = any(t.lower_ in WORDS["paths"] for t in token.doc[token.i + 1 : token.i + 2])
    moving = before_path and not any(base in WORDS["plurals"] for base in bases)
    return (common or moving) and not finite


def _misread_plural_verb(token: Token, finite: bool) -> bool:
    before = token.nbor(-1)
    plural = before.tag_ in ("NNS", "NNPS") or (before.pos_ in NOUNS and _is_coordinated(before))
    known = token.lower_ in WORDS["common_verbs"] and token.lower_ not in WORDS["also_nouns"]
    return known and plural and not finite and token.tag_ in ("NN", "VB", "JJ")


def _describes_plural(token: Token, lexicon: Lexicon) -> bool:
    # "the young dances": between an article and an -s form an adjective describes a plural.
    after_article = token.i > 0 and token.nbor(-1).pos_ in ("DET", "ADJ", "NUM")
    return after_article and (token.tag_ == "VBG" or (token.tag_ == "JJ" and token.lower_ in lexicon.adjectives))


def _is_coordinated(token: Token) -> bool:
    return any(t.dep_ == "cc" and t.lower_ == "and" for t in token.doc[max(token.i - 4, 0) : token.i])


def _has_singular_article(token: Token) -> bool:
    """Whether the noun phrase that ends before ``token`` began with "a", "an", "another" ..."""
    for i in range(token.i - 1, -1, -1):
        other = token.doc[i]
        if other.pos_ in ("DET", "PRON") or other.tag_ == "CD":
            return other.lower_ in ("a", "an", "another", "every", "each", "this", "one", "someone", "who")
        if other.pos_ not in (*NOUNS, "ADJ", "ADV", "VERB"):
            return False
    return False


def _has_object(token: Token) -> bool:
    following = token.doc[token.i + 1 : token.i + 2]
    return any(t.pos_ in ("DET", "PRON", "NUM", "ADJ", *NOUNS) for t in following)


# --------------------------------------------------------------------------- after the parse
@dataclass
class Parse:
    """A parse as lists over the N units: spaCy's pos, tag, dep and head index."""

    pos: list[str]
    tags: list[str]
    deps: list[str]
    heads: list[int]


def apply(doc: Doc, replaced: Collection[int], lexicon: Lexicon) -> Parse:
    """Return the parse of ``doc`` without its contradictions; the tokens ``replaced`` are verbs."""
    parse = Parse([t.pos_ for t in doc], [t.tag_ for t in doc], [t.dep_ for t in doc], [t.head.i for t in doc])
    for token in doc:
        if parse.pos[token.i] != "VERB" and (token.i in replaced or _is_activity(token, lexicon)):
            parse.pos[token.i], parse.tags[token.i] = "VERB", "VBG" if token.lower_.endswith("ing") else "VBZ"
        if token.lower_ in _DO_HAVE and any(c.dep_ == "dobj" for c in token.children):
            parse.pos[token.i] = "VERB"  # "does her routine": taken for an auxiliary
        known_adjective = token.lower_ in lexicon.adjectives
        if token.pos_ == "ADJ" and token.dep_ in ("nsubj", "dobj", "pobj") and not known_adjective:
            parse.pos[token.i], parse.tags[token.i] = "NOUN", "NN"  # "the castle/ADJ walks"
    for token in doc:
        if parse.pos[token.i] == "VERB" and token.i > 0:
            _give_subject(parse, token, token.i in replaced)
    return parse


def _give_subject(parse: Parse, verb: Token, replaced: bool) -> None:
    """Make a noun that hangs on the verb as if compounded its subject: "the airplane runs"."""
    noun, beside = verb.i - 1, ("compound", "amod", "nmod")
    left = [c.i for c in verb.children if c.i < noun and c.dep_ in (*beside, "det", "nummod", "poss")]
    if parse.heads[noun] != verb.i or parse.deps[noun] not in beside or not (left or replaced):
        return
    parse.pos[noun], parse.deps[noun] = "NOUN", "nsubj"
    for index in left:
        parse.heads[index] = noun


def _is_activity(token: Token, lexicon: Lexicon) -> bool:
    """Whether a gerund in the place of a noun names an activity: "(go) fishing", "swimming"."""
    return (
        token.pos_ in NOUNS
        and lexicon.is_gerund(token.lower_)
        and token.dep_ not in ("compound", "amod", "nmod")
        and not any(c.dep_ in ("det", "poss", "amod") for c in token.children)
    )
