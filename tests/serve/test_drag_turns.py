"""Turns: one at a time, in order."""

from __future__ import annotations

import threading
import time

import pytest

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
            time.sleep(0.03)
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3]


def test_nobody_has_two_turns_while_another_waits():
    turns, order = Turns(), []

    def work(name: str) -> None:
        for _ in range(5):
            with turns.taken():
                order.append(name)
                time.sleep(0.01)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    middle = "".join(order[1:-1])
    assert "aa" not in middle
    assert "bb" not in middle


def test_a_turn_ends_with_an_error_too():
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.taken():
        raise ZeroDivisionError
    assert not turns.busy
    with turns.taken():
        assert turns.busy
