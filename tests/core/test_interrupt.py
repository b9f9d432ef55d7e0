"""Signals that arrive only where a run can be left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from trimtab.core.interrupt import Interrupted, Interrupts


def _signalled(work: Callable[[Interrupts], None]) -> list[str]:
    """Run ``work`` where signals are caught, and give what came out of it."""
    interrupts = Interrupts()
    try:
        with interrupts.catching():
            work(interrupts)
    except (Interrupted, ZeroDivisionError) as error:
        return [type(error).__name__]
    return []


def test_a_deferred_signal_arrives_at_the_end_of_the_block() -> None:
    reached = []

    def work(interrupts: Interrupts) -> None:
        with interrupts.deferred():
            signal.raise_signal(signal.SIGTERM)
            reached.append("end of the block")
        reached.append("behind the block")

    assert (_signalled(work), reached) == (["Interrupted"], ["end of the block"])


def test_only_the_outermost_block_lets_a_signal_through() -> None:
    reached = []

    def work(interrupts: Interrupts) -> None:
        with interrupts.deferred():
            with interrupts.deferred():
                signal.raise_signal(signal.SIGTERM)
            reached.append("behind the inner block")

    assert (_signalled(work), reached) == (["Interrupted"], ["behind the inner block"])


def test_a_failure_inside_the_block_wins_over_a_signal() -> None:
    def work(interrupts: Interrupts) -> None:
        with interrupts.deferred():
            signal.raise_signal(signal.SIGTERM)
            raise ZeroDivisionError

    assert _signalled(work) == ["ZeroDivisionError"]


def test_outside_of_a_block_a_signal_arrives_at_once() -> None:
    assert _signalled(lambda _: signal.raise_signal(signal.SIGINT)) == ["Interrupted"]


def test_the_signals_do_what_they_did_before_once_the_block_is_left() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts().catching():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_threads_other_than_the_main_one_leave_signals_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with Interrupts().catching():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_knows_its_exit_code(number: signal.Signals, code: int) -> None:
    assert Interrupted(number).exit_code == code
