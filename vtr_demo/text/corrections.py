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
from typing import Any

Doc = Any
"""A ``spacy.tokens.Doc``."""
Token = Any
"""A ``spacy.tokens.Token``."""


# --------------------------------------------------------------------------- word lists
def words_of(text: str) -> frozenset[str]:
    """Return the words of a list that is written as one string."""
    return frozenset(text.split())


_COMMON_VERBS = words_of(
    """
    add appear applaud approach ask attack bake bend bite blow boil bounce bow braid break brush build
    burn carry carve catch celebrate chase chat cheer chew chop circle clap clean climb collapse collide
    cook crash crawl cross cry cut dance demonstrate dig dive drag draw drift drink drive drop dunk eat
    enter escape explain explode fall feed fight flee flip float fly fold follow fry gallop glide grab
    greet grind grow hang hide hit hold hop hover hug hunt hurry jog juggle jump kick kiss kneel knit
    knock laugh launch lean leap leave lick lie lift listen march melt mix narrate orbit paddle paint
    peel perform pet play pose pour preform prepare pull punch push race rap read rest ride rise roar
    rock roll rotate run rush sail scream shake shine shoot shout shrink sing sink sit skate ski skip
    slap sleep slice slide smash smile snore speak spin splash spread squat stand stare stir stretch
    stroll stumble surf swap sway swim swing swirl switch talk tease throw tilt tour travel turn twirl
    twist vanish visit wade wag wait wake walk wander wash watch wave whip whirl wipe work wrestle yell
    zigzag zoom
    """
)
"""Verbs of captions whose -s form after a noun is more likely a verb than a plural."""
_BARE_VERBS = _COMMON_VERBS - words_of(
    "add ask bow cook cross cut drive flip hunt pet rap rest rock tour visit watch"
)
"""The same without those that are as often nouns: for verbs of plural subjects ("kids dance")."""
_PLURALS = words_of(
    """
    ball bar bead board book bottle box bubble bus can card cat clip color cup dog dress drum eye face finger
    flower frame game glass glove hand head highlight house joke light line match mask number outfit pan
    paper pen people petal photo picture piece plant plate pool record ring rock rope score screen shape
    shoe show sign skill sound star stick stone style tool toy tree truck vegetable view voice wall wheel
    """
)
"""Nouns that are verbs too, but whose -s form in a caption is a plural ("the city lights")."""
_ING_NOUNS = words_of(
    """
    anything awning being boarding building ceiling clothing crossing drawing dressing earring ending
    engineering evening everything flooring frosting herring housing icing king landing lettering
    lightning lining living marketing meaning meeting morning nothing offspring opening packaging
    painting paneling ping pudding railing recording ring seasoning setting sibling something spring
    sting string stuffing swing thing topping underling wedding wing
    """
)
"""Nouns in -ing that name things, not activities."""
_OCCASIONS = words_of(
    """
    act area board championship class club competition contest course event floor game gear group hall
    instructor lesson machine match move pan partner platform pool practice program range ring room rope
    routine scene school segment session shoe show song spree stage stick suit team technique tip track
    trail trip tutorial video
    """
)
"""Nouns that a gerund classifies rather than describes: in "a swimming pool" nobody swims."""


@dataclass(frozen=True)
class Lexicon:
    """Base forms of English words, from the parser's lemma tables."""

    verbs: frozenset[str]
    adjectives: frozenset[str]

    def is_verb(self, word: str) -> bool:
        """Tell whether ``word`` can be the base form of a verb."""
        return word in self.verbs or word in _COMMON_VERBS

    def is_gerund(self, word: str) -> bool:
        """Tell whether ``word`` is an -ing form that names an activity: "swimming", not "ceiling"."""
        return word not in _ING_NOUNS and any(self.is_verb(base) for base in _bases(word, "ing"))

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
    return [
        stem,
        *([stem[:-1]] if stem.endswith("e") else []),
        *([stem[:-2] + "y"] if stem.endswith("ie") else []),
    ]


_PHRASES = (  # (pattern of a fixed phrase, the word that the parser gets instead)
    (r"in (?:the )?(?:front|back|middle|cent(?:er|re)|midst) of", "behind"),
    (r"(?:on|at|to|by|in) the (?:very )?(?:top|bottom|left|right|edge|side|back|front)"
     r"(?:[- ]hand)?(?: (?:side|edge|corner))? of", "behind"),
    (r"on top of|next to|close to|near to|ahead of|across from|inside of|outside of", "behind"),
    (r"to (?:its|his|her|their) (?:left|right)|from (?:the )?left to (?:the )?right", "sideways"),
    (r"from (?:the )?right to (?:the )?left|from side to side|side by side", "sideways"),
    (r"back and forth|up and down|round and round|in (?:a )?circles?|upside down", "sideways"),
    (r"(?:left|right) of", "behind"),
    (r"away from|far from|out of", "from"),
    (r"along with|together with", "with"),
    (r"up to", "toward"),
    (r"(?:teddy|polar|panda|grizzly|brown|black) bears", "dolls"),  # "bear" is read as a verb
    (r"(?:teddy|polar|panda|grizzly|brown|black) bear", "doll"),
)  # fmt: skip
_PHRASE = re.compile("|".join(rf"\b(?P<p{i}>{pattern})\b" for i, (pattern, _) in enumerate(_PHRASES)))

_NOUNS = ("NOUN", "PROPN")
_PATHS = words_of(
    "above across against along around behind below beneath beside down into onto over past through "
    "toward towards under underneath up"
)
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
        and (before.pos_ in _NOUNS or (before.pos_ == "ADJ" and before.lower_ not in lexicon.adjectives))
    )


def _misread_participle(token: Token) -> bool:
    """ "a dancing horse", but not "a dancing competition"."""
    return (
        any(base in _COMMON_VERBS for base in _bases(token.lower_, "ing"))
        and token.dep_ in ("compound", "nmod", "amod")
        and token.head.i > token.i
        and token.nbor(-1).pos_ in ("DET", "ADJ", "NUM")
        and token.head.lower_.rstrip("s") not in _OCCASIONS
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
    common = any(base in _COMMON_VERBS for base in bases)
    if _has_singular_article(token):
        return common or token.dep_ not in ("compound", "nmod")
    moving = _is_before_path(token) and not any(base in _PLURALS for base in bases)
    return (common or moving) and not finite


def _misread_plural_verb(token: Token, finite: bool) -> bool:
    before = token.nbor(-1)
    plural = before.tag_ in ("NNS", "NNPS") or (before.pos_ in _NOUNS and _is_coordinated(before))
    return not finite and plural and token.tag_ in ("NN", "VB", "JJ") and token.lower_ in _BARE_VERBS


def _describes_plural(token: Token, lexicon: Lexicon) -> bool:
    # "the young dances": between an article and an -s form an adjective describes a plural.
    after_article = token.i > 0 and token.nbor(-1).pos_ in ("DET", "ADJ", "NUM")
    return after_article and (
        token.tag_ == "VBG" or (token.tag_ == "JJ" and token.lower_ in lexicon.adjectives)
    )


def _is_before_path(token: Token) -> bool:
    return any(t.lower_ in _PATHS for t in token.doc[token.i + 1 : token.i + 2])


def _is_coordinated(token: Token) -> bool:
    return any(t.dep_ == "cc" and t.lower_ == "and" for t in token.doc[max(token.i - 4, 0) : token.i])


def _has_singular_article(token: Token) -> bool:
    """Whether the noun phrase that ends before ``token`` began with "a", "an", "another" ..."""
    for i in range(token.i - 1, -1, -1):
        other = token.doc[i]
        if other.pos_ in ("DET", "PRON") or other.tag_ == "CD":
            return other.lower_ in ("a", "an", "another", "every", "each", "this", "one", "someone", "who")
        if other.pos_ not in (*_NOUNS, "ADJ", "ADV", "VERB"):
            return False
    return False


def _has_object(token: Token) -> bool:
    following = token.doc[token.i + 1 : token.i + 2]
    return any(t.pos_ in ("DET", "PRON", "NUM", "ADJ", *_NOUNS) for t in following)


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
    parse = Parse(
        [t.pos_ for t in doc], [t.tag_ for t in doc], [t.dep_ for t in doc], [t.head.i for t in doc]
    )
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
        token.pos_ in _NOUNS
        and lexicon.is_gerund(token.lower_)
        and token.dep_ not in ("compound", "amod", "nmod")
        and not any(c.dep_ in ("det", "poss", "amod") for c in token.children)
    )
