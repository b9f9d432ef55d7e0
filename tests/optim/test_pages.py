"""The page store against a plain dictionary of bytes."""

from __future__ import annotations

import random

import pytest
import torch

from optim.fake_tier import FakeTier
from trimtab.core.errors import RangeError, ResourceError
from trimtab.optim.pages import PageStore

SIZE = 64


def _store(pages: int, frames: int, *, failing: tuple[int, ...] = ()) -> tuple[PageStore, FakeTier]:
    tier = FakeTier(10**9, failing=failing)
    return PageStore([SIZE] * pages, tier, budget_bytes=frames * SIZE), tier


def _bump(store: PageStore, order: list[int]) -> None:
    """Add one to every byte of each page."""
    for _, frame in store.visit(order):
        frame.add_(1)


def _values(store: PageStore, pages: int) -> list[int]:
    values = []
    for _, frame in store.visit(range(pages), writes=False):
        assert bool((frame == frame[0]).all())
        values.append(int(frame[0]))
    return values


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("seed", range(2))
def test_pages_keep_what_was_written_whatever_the_order_and_the_memory(frames: int, seed: int) -> None:
    chance, pages = random.Random(seed), 8
    store, _ = _store(pages, frames)
    expected = [0] * pages
    for _ in range(20):
        order = sorted(chance.sample(range(pages), chance.randint(1, pages)))
        if chance.random() < 0.3:
            chance.shuffle(order)
        _bump(store, order)
        for page in order:
            expected[page] += 1
    assert _values(store, pages) == expected


def test_no_copy_is_made_while_everything_fits() -> None:
    store, tier = _store(5, 5)
    for _ in range(3):
        _bump(store, [0, 1, 2, 3, 4])
    assert (store.exchanges, tier.outside, store.everything_fits) == (0, [], True)


@pytest.mark.parametrize("frames", [2, 3, 5, 7])
def test_memory_stays_within_the_budget(frames: int) -> None:
    store, _ = _store(9, frames)
    _bump(store, list(range(9)))
    assert store.resident_bytes == frames * SIZE


def test_only_the_pages_that_do_not_fit_travel() -> None:
    store, _ = _store(20, 16)
    _bump(store, list(range(20)))
    before = store.exchanges
    for _ in range(10):
        _bump(store, list(range(20)))
    assert (store.exchanges - before) / 10 <= 20 - 16 + 2


def test_pages_are_asked_for_before_they_are_needed() -> None:
    store, tier = _store(6, 4)
    _bump(store, list(range(6)))
    visit = store.visit(range(6))
    waiting = []
    for page, _ in visit:
        waiting.append([job[2] for job in tier.queue if job[1] == "in" and job[2] != page])
    assert any(waiting)


def test_reading_changes_nothing_outside() -> None:
    store, tier = _store(6, 2)
    _bump(store, list(range(6)))
    _values(store, 6)
    written = tier.copies_out
    _values(store, 6)
    assert tier.copies_out == written


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, torch.OutOfMemoryError])
def test_a_failed_allocation_turns_paging_on(error: type[Exception]) -> None:
    store = PageStore([SIZE] * 6, FakeTier(3 * SIZE, error=error))
    for _ in range(3):
        _bump(store, list(range(6)))
    assert _values(store, 6) == [3] * 6
    assert store.resident_bytes == 3 * SIZE


def test_pages_of_several_sizes_survive_a_failed_allocation() -> None:
    store = PageStore([SIZE, 8, SIZE, SIZE, 16], FakeTier(2 * SIZE + 20))
    for _ in range(4):
        _bump(store, [0, 1, 2, 3, 4])
    assert _values(store, 5) == [4] * 5


def test_another_error_of_the_allocator_passes_through() -> None:
    class Broken(FakeTier):
        def allocate(self, size_bytes: int) -> torch.Tensor:
            raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        PageStore([SIZE], Broken(0)).prepare()


def test_no_room_for_a_single_page_is_said() -> None:
    with pytest.raises(ResourceError, match="Not even one page"):
        PageStore([SIZE] * 2, FakeTier(10)).prepare()


def test_a_budget_below_one_page_is_refused() -> None:
    with pytest.raises(RangeError, match="less than one page"):
        PageStore([SIZE] * 2, FakeTier(10**6), budget_bytes=SIZE - 1).prepare()


@pytest.mark.parametrize("failing", range(0, 12, 2))
@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize("pages", [6, 7])
def test_a_page_that_cannot_be_stored_loses_nothing(pages: int, frames: int, failing: int) -> None:
    store, tier = _store(pages, frames, failing=(failing,))
    expected, failures = [0] * pages, 0
    for _ in range(6):
        visit = store.visit(range(pages))
        try:
            for page, frame in visit:
                frame.add_(1)
                expected[page] += 1
        except ResourceError:
            failures += 1
    assert failures == (1 if tier.copies_out > failing else 0)
    assert failures == 1
    assert _values(store, pages) == expected


def test_closing_closes_the_tier() -> None:
    store, tier = _store(2, 1)
    store.close()
    assert tier.closed
