"""Text is let through up to a stop text, however it comes in parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.text.engine.stop_texts import StopTexts

LETTERS = st.text("ab", max_size=12)


def through(parts: list[str], stops: tuple[str, ...]) -> tuple[str, bool]:
    stopper = StopTexts(stops)
    text = "".join(stopper.push(part) for part in parts) + stopper.finish()
    return text, stopper.found


@given(st.lists(LETTERS, max_size=8), st.lists(LETTERS.filter(bool), max_size=3).map(tuple))
def test_parts_end_where_the_whole_text_first_completes_a_stop(parts, stops):
    whole = "".join(parts)
    text, found = through(parts, stops)
    assert found == any(stop in whole for stop in stops)
    assert whole.startswith(text)
    assert found or text == whole
    assert not any(stop in text for stop in stops)


@given(st.text("ab", max_size=20), st.text("ab", min_size=1, max_size=4))
def test_letter_by_letter_a_single_stop_ends_the_text_where_it_begins(whole, stop):
    assert through(list(whole), (stop,)) == (whole.split(stop)[0], stop in whole)


@pytest.mark.parametrize(
    ("parts", "given"),
    [(["on th", "e tab"], ["on ", "the tab"]), (["on t", "rim"], ["on ", "trim"]), (["on the e", "nd"], ["on ", ""])],
)
def test_only_what_may_begin_a_stop_is_held_back(parts, given):
    stopper = StopTexts(("the end", "e!"))
    assert [stopper.push(part) for part in parts] == given


def test_nothing_passes_after_a_stop():
    stopper = StopTexts(("b",))
    assert [stopper.push("abc"), stopper.push("d"), stopper.finish()] == ["a", "", ""]


def test_without_stops_everything_passes_at_once():
    assert StopTexts(()).push("the end") == "the end"
