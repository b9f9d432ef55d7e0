"""Jobs within jobs."""

from __future__ import annotations

from trimtab.core.job import Note, Result, result_of, without_result


def part():
    yield Note("one")
    yield Result({"x": 1})
    yield Note("after")


def whole():
    values = yield from without_result(part())
    yield Result({"y": values["x"] + 1})


def test_a_part_tells_its_events_and_keeps_its_result_to_the_whole():
    assert list(whole()) == [Note("one"), Note("after"), Result({"y": 2})]


def test_the_result_of_a_job_is_that_of_the_whole():
    assert result_of(whole()) == {"y": 2}


def test_a_job_without_a_result_gives_no_values():
    assert result_of(iter([Note("one")])) == {}
