"""Numbers as people say them."""

from __future__ import annotations

import pytest

from trimtab.core.words import human_bytes, human_count, human_seconds


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (7, "7 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (1536, "1.54 kB"),
        (47_900_000_000, "47.9 GB"),
        (812_300_000, "812 MB"),
        (999_700, "1.00 MB"),
        (999_999_999, "1.00 GB"),
        (1_234_567_890_123, "1.23 TB"),
    ],
)
def test_bytes_are_said_in_three_digits(count: float, said: str) -> None:
    assert human_bytes(count) == said


@pytest.mark.parametrize(("count", "said"), [(65_200_000_000, "65.2 billion"), (135_000_000, "135 million")])
def test_large_numbers_are_said_in_millions_and_billions(count: int, said: str) -> None:
    assert human_count(count) == said


@pytest.mark.parametrize(("seconds", "said"), [(12.4, "12 s"), (100, "2 min"), (7200, "2.0 h")])
def test_times_are_said_in_the_unit_that_fits(seconds: float, said: str) -> None:
    assert human_seconds(seconds) == said
