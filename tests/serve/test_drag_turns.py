"""Turns: one at a time, in order."""

from __future__ import annotations

import threading

import pytest

from serving import eventually
from trimtab.serve.drag.turns import Turns


def test_whoever_asked_first_is_first():
    turns, order = Turns(), []

    def work(name: int) -> None:
        with turns.taken():
            order.append(name)

    with turns.taken():
        threads = []
        for name in range(4):
            threads.append(threading.Thread(target=work, args=(name,)))
            threads[-1].start()
            assert eventually(lambda: turns.asked == name + 2)  # noqa: B023 - called before the next one
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3]


def test_nobody_has_two_turns_while_another_waits():
    turns, order, both = Turns(), [], threading.Barrier(2)

    def work(name: str) -> None:
        both.wait(5)
        for _ in range(5):
            with turns.taken():
                order.append(name)
                assert eventually(lambda: turns.asked == 2 or len(order) > 8, 1)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert "".join(order) in ("ab" * 5, "ba" * 5)


def test_a_turn_ends_with_an_error_too():
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.taken():
        raise ZeroDivisionError
    assert not turns.busy
    with turns.taken():
        assert turns.busy
