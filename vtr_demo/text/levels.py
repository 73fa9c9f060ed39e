"""Semantic levels of a caption from its dependency parse (rules: our decision).

Works on spaCy documents; loads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from vtr_demo.text.corrections import NOUNS, WORDS, Doc, Token

MAX_ENTITIES, MAX_ACTIONS, MAX_RELATIONSHIPS = 6, 4, 4
"""At most so many of each (as HGR, Chen et al. 2020: 6 nouns, 4 verbs)."""

_LEAVING = frozenset(("out of", "away from"))
_OBJECTS = frozenset(("dobj", "nsubjpass"))


Groups = tuple[tuple[int, ...], ...]
"""Groups of token indices."""


def extract(doc: Doc) -> tuple[Groups, Groups, Groups, dict[str, tuple[str, ...]]]:
    """Return the entities, actions and relationships of a lemmatised document, and each level's labels."""
    chunks = _entities(doc)[:MAX_ENTITIES]
    verbs = _verbs(doc)
    triples = sorted(_triples(doc, verbs), key=lambda t: t[1][0].i)[:MAX_RELATIONSHIPS]
    content = [t.lemma_ for t in doc if t.pos_ in ("NOUN", "PROPN", "VERB", "ADJ") and not _is_be(t)]
    labels = {
        "global": content,
        "entity": [t.lemma_ for chunk in chunks for t in chunk if t.pos_ in NOUNS],
        "action": [_verb_label(verb) for verb in verbs[:MAX_ACTIONS]],
        "relationship": [f"{_predicate_label(predicate)} {_counted(obj).lemma_}" for _, predicate, obj in triples],
    }
    return (
        tuple(_indices(chunk) for chunk in chunks),
        tuple(_indices(_verb_group(verb)) for verb in verbs[:MAX_ACTIONS]),
        tuple(_indices([*_named(subject), *predicate, *_named(obj)]) for subject, predicate, obj in triples),
        {level: tuple(dict.fromkeys(values)) for level, values in labels.items()},
    )


_NEGATIVES = frozenset(("not", "n't", "n’t", "never"))
_ONLY = frozenset(("only", "just", "merely"))
_RELATIVE = frozenset(("that", "which", "who"))
_EXCEPT = frozenset(("without", "except"))
_COMPLEMENTS = frozenset(("at", "to", "on", "in", "into", "onto", "with"))
"""Prepositions that a denied verb takes along."""
_BOUND_CUES = frozenset(("any", "for"))
"""Words that a negation takes along: "without any people", "except for a dog"."""


def negations(doc: Doc) -> tuple[Groups, tuple[int, ...]]:
    """Return the groups of tokens that a sentence denies, and the tokens that deny them.

    "a street without people" denies "people" by "without", "a man who is not wearing a hat" denies "wearing a
    hat" by "who is not", "not only a dog" nothing (rules: our decision).
    """
    denied: list[list[Token]] = []
    cues: set[int] = set()
    for token in doc:
        scope = [t for t in _denied(token, doc) if t.i > token.i]
        content = [t for t in scope if t.lower_ not in _BOUND_CUES]
        if not any(t.pos_ not in ("PUNCT", "DET", "PART") for t in content) or {t.i for t in scope} & cues:
            continue
        if any(t in group for group in denied for t in (token, *content)):
            continue
        denied.append(content)
        cues |= {token.i, *_cue_words(token, scope), *(t.i for t in scope if t not in content)}
    return tuple(_indices(group) for group in denied), tuple(sorted(cues))


def _denied(token: Token, doc: Doc) -> list[Token]:
    """What ``token`` denies; empty where it denies nothing."""
    head, word = token.head, token.lower_
    if word in _EXCEPT or (word == "than" and head.lower_ == "other"):
        return [t for child in token.children if child.dep_ in ("pobj", "pcomp", "prep") for t in _phrase(child)]
    if word in ("no", "neither") and token.dep_ == "det" and head.lower_ != "one":
        return _phrase(head)
    if token.dep_ != "neg" or word not in _NEGATIVES or doc[token.i + 1 : token.i + 2].text.lower() in _ONLY:
        return []
    if head.pos_ not in ("VERB", "AUX") and head.i < token.i:  # "a cat, not a dog"
        after = [c for c in head.children if c.i > token.i and c.dep_ in ("appos", "conj", "attr")]
        return _phrase(after[0]) if after else []
    if _is_be(head):
        return [t for c in head.children if c.i > token.i and c.dep_ != "punct" for t in c.subtree]
    return _phrase(head)


def _phrase(head: Token) -> list[Token]:
    """A noun with what stands before it and its equals ("people or cars"); of another word, its complements."""
    if head.pos_ in (*NOUNS, "PRON", "NUM", "ADJ"):
        kept = [t for c in head.children if c.i < head.i and c.dep_ not in ("cc", "punct") for t in c.subtree]
        joined = [c for c in head.children if c.dep_ == "conj" and _shares(head, c)]
        of = [t for c in head.children if c.lower_ == "of" for t in c.subtree]
        also = [t for c in joined for t in _phrase(c)]
        between = [c for c in head.children if c.dep_ == "cc" and joined]
        return sorted({*kept, head, *of, *between, *also}, key=lambda t: t.i)
    outside = ("nsubj", "nsubjpass", "csubj", "expl", "aux", "auxpass", "neg", "punct", "cc", "advcl")
    parts = [c for c in head.children if c.dep_ not in outside]
    parts = [c for c in parts if c.dep_ != "conj" or _shares(head, c)]
    if head.pos_ == "VERB":  # "not moving behind a panda": it is there
        parts = [c for c in parts if c.dep_ != "prep" or c.lower_ in _COMPLEMENTS]
    return sorted({head, *(t for c in parts for t in c.subtree)}, key=lambda t: t.i)


def _shares(head: Token, other: Token) -> bool:
    """Whether a negation of ``head`` reaches ``other``, which stands beside it: "no cars or people" it does,
    "no dogs and a cat" and "not running but asleep" it does not."""
    links = {c.lower_ for c in head.children if c.dep_ == "cc"}
    if links & {"or", "nor"}:
        return True
    return "but" not in links and not any(c.dep_ in ("det", "neg") for c in other.children)


def _cue_words(token: Token, scope: list[Token]) -> set[int]:
    """What goes with a negation once its scope is gone: auxiliaries, "who is", a preposition without its object,
    "there are", "but"."""
    gone = {*scope, token}
    verb = token.head if token.dep_ == "neg" else None
    cues: set[Token] = set()
    if verb is not None and verb.pos_ in ("VERB", "AUX"):
        cues |= {c for c in verb.children if c.dep_ in ("aux", "auxpass") or c.lower_ in _RELATIVE}
        cues |= {verb} - gone
    if token.dep_ == "det":
        above = token.head.head
        if token.head.dep_ == "pobj":
            cues.add(above)
        elif _is_be(above) and any(c.dep_ == "expl" for c in above.children):
            cues |= {above, *(c for c in above.children if c.dep_ == "expl")}
    if token.lower_ == "than":
        cues.add(token.head)
    first = min(t.i for t in gone | cues)
    before = [t for t in token.doc[max(0, first - 1) : first] if t.lower_ in ("but", "and", "or", "nor")]
    return {t.i for t in cues | set(before)} - {t.i for t in scope}


def _indices(tokens: Iterable[Token]) -> tuple[int, ...]:
    return tuple(sorted({t.i for t in tokens}))


def _entities(doc: Doc) -> list[list[Token]]:
    chunks = []
    for chunk in doc.noun_chunks:
        kept = [t for t in chunk if t.pos_ in ("NOUN", "PROPN", "ADJ", "NUM")]
        named = chunk.root.lower_ not in WORDS["relational"] and _counted(chunk.root) == chunk.root
        if named and any(t.pos_ in NOUNS for t in kept):
            chunks.append(kept)
    shown = [chunk for chunk in chunks if chunk[-1].lemma_ not in WORDS["footage"]]
    nouns = [[t] for t in doc if t.pos_ in NOUNS and t.lower_ not in WORDS["relational"]]
    people = [[t] for t in doc if t.lower_ in WORDS["people"] and t.pos_ == "PRON"]
    return shown or chunks or nouns or people


def _is_be(token: Token) -> bool:
    return token.pos_ == "AUX" or token.lower_ in WORDS["be"]


def _verbs(doc: Doc) -> list[Token]:
    verbs = [t for t in doc if t.pos_ == "VERB" and not _is_be(t) and not _is_state(t)]
    acts = [v for v in verbs if not (v.lemma_ in WORDS["catenatives"] and _complement(v, verbs))]
    return acts or verbs


def _is_state(token: Token) -> bool:
    """Whether a participle names no action: "a broken car", "is shown", "left" in "from the left"."""
    past_adjective = token.tag_ == "VBN" and (token.dep_ == "amod" or token.lemma_ in ("show", "see"))
    direction = token.lower_ == "left" and token.dep_ in ("pcomp", "pobj", "amod")
    return past_adjective or direction or token.lower_ == "according"


def _complement(verb: Token, verbs: list[Token]) -> bool:
    deps = ("xcomp", "ccomp", "oprd", "dobj", *(("advcl",) if verb.tag_ == "VBN" else ()))
    return any(c.dep_ in deps and c in verbs for c in verb.children)


def _objects(verb: Token) -> list[Token]:
    return [c for c in verb.children if c.dep_ in _OBJECTS and c.pos_ in (*NOUNS, "PRON", "NUM")]


def _particles(verb: Token) -> list[Token]:
    return [c for c in verb.children if c.dep_ == "prt"]


def _verb_group(verb: Token) -> list[Token]:
    """The verb with its particles, directions ("up", "from left to right") and light object."""
    bare = [c for c in verb.children if not any(g.dep_ == "pobj" for g in c.children)]
    directions = [c for c in verb.children if c.lower_ in _LEAVING]
    directions += [c for c in bare if c.lower_ in WORDS["directions"]]
    sideways = [c for c in verb.children if c.dep_ in ("advmod", "npadvmod") and " " in c.text]
    return [verb, *_particles(verb), *directions, *sideways, *_light_object(verb)]


def _light_object(verb: Token) -> list[Token]:
    return _objects(verb)[:1] if verb.lemma_ in WORDS["light_verbs"] else []


def _verb_label(verb: Token) -> str:
    particles = [t.lower_ for t in _particles(verb)]
    return " ".join([verb.lemma_, *particles, *(t.lemma_ for t in _light_object(verb))])


Triple = tuple[Token | None, list[Token], Token]
"""Subject, predicate (a verb or a preposition of one or more tokens), object."""


def _triples(doc: Doc, verbs: list[Token]) -> Iterator[Triple]:
    for token in doc:
        if token in verbs:
            for obj in (c for c in _objects(token)[:1] if c.dep_ == "dobj"):
                yield _subject(token), [token, *_particles(token)], obj
        for obj in (c for c in token.children if c.dep_ == "pobj"):
            if token.dep_ == "agent":
                patients = [c for c in token.head.children if c.dep_ in _OBJECTS]
                yield obj, [token.head], patients[0] if patients else _subject(token.head) or obj
            elif not (token.lower_ == "of" and token.head.pos_ in NOUNS):
                yield _placement(token, obj)
            break


def _placement(preposition: Token, obj: Token) -> Triple:
    """The triple of a preposition; chains such as "out onto" and "full of" are one predicate."""
    predicate, head = [preposition], preposition.head
    while head.pos_ in ("ADP", "ADV", "ADJ") and head is not predicate[0] and head.dep_ != "ROOT":
        predicate.insert(0, head)
        head = head.head
    subject = None
    if head.pos_ in (*NOUNS, "PRON", "NUM"):
        subject = head
    elif head.pos_ in ("VERB", "AUX"):
        moved = _objects(head) if preposition.lower_ in ("into", "onto") else []
        subject = moved[0] if moved else _subject(head)
    if subject is not None and (subject.lemma_ in WORDS["footage"] or subject == obj):
        subject = None
    return subject, predicate, obj


def _subject(verb: Token, depth: int = 0) -> Token | None:
    """The subject of a verb, else of the verb or noun that it depends on."""
    subjects = [c for c in verb.children if c.dep_ in ("nsubj", "csubj", "nsubjpass")]
    if subjects and subjects[0].tag_ not in ("WP", "WDT"):
        expletive = subjects[0].tag_ == "EX" or subjects[0].dep_ == "expl"
        return None if expletive else subjects[0]
    shown = [c for c in verb.children if c.dep_ == "attr"]
    if shown:
        return shown[0]
    if verb.dep_ == "ROOT" or depth > 8:
        return None
    if verb.head.pos_ in (*NOUNS, "PRON") and verb.dep_ in ("acl", "relcl", "amod", "appos", "conj"):
        return verb.head
    return _subject(verb.head, depth + 1) if verb.head.pos_ in ("VERB", "AUX") else None


def _named(token: Token | None) -> list[Token]:
    """A noun with the nouns compounded into it."""
    if token is None:
        return []
    noun = _counted(token)
    return [*(c for c in noun.children if c.dep_ == "compound"), noun]


def _counted(token: Token) -> Token:
    """The people of "a group of people", else the word itself."""
    of = [c for c in token.children if c.lower_ == "of"] if token.lower_ in WORDS["quantities"] else []
    objects = [c for preposition in of for c in preposition.children if c.dep_ == "pobj"]
    return objects[0] if objects else token


def _predicate_label(predicate: list[Token]) -> str:
    if predicate[0].pos_ == "VERB":
        return " ".join([predicate[0].lemma_, *(t.lower_ for t in predicate[1:])])
    phrase = " ".join(t.lower_ for t in predicate)
    return re.sub(r"^(?:on|at|to|by|in) (?=left|right)", "", re.sub(r"\b(?:the|very) ", "", phrase))
