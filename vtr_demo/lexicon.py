"""Word lists and spelling rules of English, as far as captions need them (our decision).

The lists were drawn up from words that the small parser confuses in the MSR-VTT training captions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


def words_of(text: str) -> frozenset[str]:
    """A closed word list, written as one string."""
    return frozenset(text.split())


COMMON_VERBS = words_of(
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
"""What things do in captions, where an -s form after a noun is more likely a verb than a plural."""
BARE_VERBS = COMMON_VERBS - words_of(
    """
    add ask bow cook cross cut drive flip hunt pet rap rest rock tour visit watch
    """
)
"""The same without those that are nouns as often: for verbs of plural subjects ("kids dance")."""
PLURALS = words_of(
    """
    ball bar bead board book bottle box bubble bus can card cat clip color cup dog dress drum eye face finger
    flower frame game glass glove hand head highlight house joke light line match mask number outfit pan
    paper pen people petal photo picture piece plant plate pool record ring rock rope score screen shape
    shoe show sign skill sound star stick stone style tool toy tree truck vegetable view voice wall wheel
    """
)
"""Nouns that are verbs too, but whose -s form in a caption is a plural ("the city lights")."""
THINGS_IN_ING = words_of(
    """
    anything awning being boarding building ceiling clothing crossing drawing dressing earring ending
    engineering evening everything flooring frosting herring housing icing king landing lettering
    lightning lining living marketing meaning meeting morning nothing offspring opening packaging
    painting paneling ping pudding railing recording ring seasoning setting sibling something spring
    sting string stuffing swing thing topping underling wedding wing
    """
)
"""Words in -ing that name things, not what is done."""
OCCASIONS = words_of(
    """
    act area board championship class club competition contest course event floor game gear group hall
    instructor lesson machine match move pan partner platform pool practice program range ring room rope
    routine scene school segment session shoe show song spree stage stick suit team technique tip track
    trail trip tutorial video
    """
)
"""What a gerund names rather than describes: in "a swimming pool" nobody swims."""


@dataclass(frozen=True)
class Lexicon:
    """Base forms of English words, from the lemma tables of the parser."""

    verbs: frozenset[str]
    adjectives: frozenset[str]

    def is_verb(self, word: str) -> bool:
        """Whether ``word`` can be the base form of a verb."""
        return word in self.verbs or word in COMMON_VERBS

    def is_gerund(self, word: str) -> bool:
        """Whether ``word`` is an -ing form that names what is done: "swimming", not "ceiling"."""
        return word not in THINGS_IN_ING and any(self.is_verb(base) for base in bases(word, "ing"))

    def lemma(self, form: str, lemma: str) -> str:
        """The base of an -ing or -ed form: "riding" comes from "ride", though "rid" exists too.

        English doubles the last letter of a short stem (ridding), so an undoubled one dropped an e.
        """
        short_stem = re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", lemma)
        undoubled = form in (lemma + "ing", lemma + "ed")
        return lemma + "e" if short_stem and undoubled and self.is_verb(lemma + "e") else lemma


def bases(word: str, ending: str) -> list[str]:
    """The base forms that ``word`` may come from by the regular ``ending`` "ing" or "s"."""
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
