"""The address holds all that is looked at: reading what was written changes nothing, and garbage gets a sentence."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtr_demo.errors import ConfigError
from vtr_demo.structures import TERMS, Mix
from vtr_demo.ui.address import TABS, decode, encode, link
from vtr_demo.ui.view import ADDED, LENGTHS, LOOKS, ORDERS, PAINTS, THEMES, Look, ViewState, Where

TEXT = st.text(max_size=40)
NAMES = st.text(min_size=1, max_size=40)
INDICES = st.lists(st.integers(0, 999_999), max_size=4, unique=True).map(lambda values: tuple(sorted(values)))
SHARES = st.floats(0, 1)
MIXES = st.builds(Mix, st.text(max_size=12), st.integers(-1, 99), SHARES, st.lists(NAMES, max_size=3).map(tuple))
WEIGHTS = st.lists(st.floats(0.001, 2), min_size=5, max_size=5).map(tuple)
PLACES = st.builds(Where, TEXT, st.sampled_from(["", *LENGTHS]), st.sampled_from(["", *ADDED]), st.booleans())
NUMBERS = st.none() | st.integers(0, 999_999)
BOXES = st.sampled_from(["", "whole"]) | st.lists(st.integers(0, 99), min_size=4, max_size=4).map(
    lambda corners: ",".join(map(str, corners))
)
PICKS = st.builds(Look, *(st.sampled_from(["", *values]) for values in (LOOKS, PAINTS)), NUMBERS,
                  st.sampled_from(["", *TERMS]), NUMBERS, NUMBERS, NUMBERS, BOXES)  # fmt: skip
VIEWS = st.builds(
    ViewState, text=TEXT, struck=INDICES, muted=INDICES, mix=MIXES, clip=st.text(max_size=12),
    moment=st.none() | st.integers(-1, 99), rival=st.text(max_size=12), weights=st.just(()) | WEIGHTS,
    where=PLACES, order=st.sampled_from([*ORDERS]), count=st.integers(1, 1000), own=st.text(max_size=80),
    look=PICKS,
    theme=st.sampled_from(["", *THEMES]),
)  # fmt: skip


@given(st.sampled_from(TABS), VIEWS)
@settings(max_examples=150, deadline=None)
def test_an_address_is_read_as_it_was_written(tab, view):
    assert decode(encode(tab, view)) == (tab, view)
    assert decode(link(tab, view)) == (tab, view)
    assert encode(*decode(encode(tab, view))) == encode(tab, view)


def test_the_start_of_the_page_has_an_empty_address():
    assert encode("search", ViewState()) == ""
    assert decode("") == decode("#") == ("search", ViewState())


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            ["q=a", "weights=1", "&", "=", "%", "%ff", "moment=-2", "tab=x", "count=0", "share=nan", "like-moment=01"]
        )
    ).map("&".join)
)
@settings(max_examples=200, deadline=None)
def test_any_text_is_an_address_or_is_refused_with_a_sentence(text):
    with suppress(ConfigError):
        tab, view = decode(text)
        assert decode(encode(tab, view)) == (tab, view)


@pytest.mark.parametrize(
    "address",
    ["q", "colour=red", "q=a&q=b", "weights=1,2", "weights=1,1,1,1,1,1,1", "weights=1,1,1,1,inf", "weights=0,0,0,0,0",
     "weights=-1,1,1,1,1",
     "share=2", "strike=3,1", "strike=²", "moment=-2", "tab=nowhere", "theme=pink", "mine=2", "mine=",
     "term=colour", "word=-1", "concept=x", "frame=01", "only=", "box=1,2,3", "box=1,2,3,-4", "paint=heat",
     "&".join(f"not=x{i}" for i in range(9)), "q=" + "a" * 50_000, "&".join("x" * 70)],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(address):
    with pytest.raises(ConfigError):
        decode(address)


def test_clicks_change_what_is_asked_for_and_what_is_listed():
    view = ViewState(text="a dog", muted=(2,), count=36)
    like = view.after({"do": "like", "clip": "abc", "moment": "3"})
    assert (like.text, like.mix, like.muted, like.count) == ("", Mix("abc", 3), (2,), 12)
    both = like.asking("at night").after({"do": "share", "value": "0.8"})
    assert (both.text, both.mix) == ("at night", Mix("abc", 3, 0.8))
    less = both.after({"do": "exclude", "value": "  a  red car "}).after({"do": "exclude", "value": "a red car"})
    assert less.mix.exclude == ("a red car",)
    assert less.after({"do": "include", "text": "a red car"}) == both
    assert both.after({"do": "unlike"}).mix == Mix()
    assert view.after({"do": "more"}).count == 48
    assert view.after({"do": "name", "value": " cat "}) == ViewState("a dog", muted=(2,), where=Where(name="cat"))
    for do, key, value in (("share", "value", "7"), ("order", "value", "worst"), ("length", "value", "tall"),
                           ("exclude", "value", "  "), ("include", "text", "x"), ("moment", "clip", "a")):  # fmt: skip
        click = {"do": do, key: value}
        assert view.after(click) == view
    full = ViewState(mix=Mix(exclude=tuple("abcdefgh")))
    with pytest.raises(ConfigError, match="left out already"):
        full.after({"do": "exclude", "value": "i"})


def test_filters_are_those_of_the_engine():
    now = datetime(2026, 11, 28, tzinfo=UTC)
    assert Where().clip_filter(now) is None
    where = Where("cat", "long", "week", mine=True).clip_filter(now)
    assert (where.name, where.shortest_s, where.longest_s, where.own) == ("cat", 60, math.inf, True)
    assert where.added_from.startswith("2026-11-21")
