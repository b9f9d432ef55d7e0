"""A run that was stopped anywhere ends in the same bytes as one that was not."""

from __future__ import annotations

from typing import Any

import pytest

from train_runs import Making, measured, run, run_until, trained_bytes
from trimtab.train.loop import train

VARIETIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "packed": {"packing": True, "group_by_length": False},
    "packed and accumulated": {"packing": True, "accumulate": 4, "dropout": 0.2},
    "accumulated": {"accumulate": 4},
    "dropout": {"dropout": 0.3},
    "dropout, accumulated, 8-bit state": {"dropout": 0.3, "accumulate": 4, "optimizer_bits": 8, "rank": 64},
    "8-bit state": {"optimizer_bits": 8, "rank": 64},
    "paged": {"optimizer_budget": 16_384},
    "paged 8-bit state, packed": {"optimizer_budget": 16_384, "optimizer_bits": 8, "rank": 64, "packing": True},
    "ungrouped, linear schedule": {"group_by_length": False, "schedule": "linear", "warmup_steps": 2},
    "cosine schedule, weight decay": {"schedule": "cosine", "weight_decay": 0.1},
    "evaluated in between": {"eval_every": 2, "dropout": 0.2},
    "recomputed activations": {"gradient_checkpointing": True, "dropout": 0.2},
    "more than an epoch": {"batch_size": 8},
}


@pytest.mark.parametrize("settings", VARIETIES.values(), ids=VARIETIES)
def test_a_run_stopped_after_every_step_ends_in_the_same_bytes(making: Making, settings: dict[str, Any]) -> None:
    whole, broken = making(out="whole", steps=3, **settings), making(out="broken", steps=3, **settings)
    run(whole)
    for step in (1, 2, 3):
        run_until(broken, step)
    run(broken)
    assert trained_bytes(broken) == trained_bytes(whole)


@pytest.mark.parametrize("settings", [{}, {"eval_every": 2}], ids=["plain", "evaluated in between"])
def test_a_stopped_run_measures_every_step_once_and_the_same(making: Making, settings: dict[str, Any]) -> None:
    whole, broken = making(out="whole", **settings), making(out="broken", **settings)
    run(whole)
    for step in (1, 2, 3, 4):
        run_until(broken, step)
    run(broken)
    assert measured(broken) == measured(whole)


def test_a_run_that_loses_unsaved_steps_drops_their_measurements(making: Making) -> None:
    whole, killed = making(out="whole", save_every=3), making(out="killed", save_every=3)
    run(whole)
    run_until(killed, 3)
    with (killed.out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 77.0}\n{"step": 5, "lo')
    run(killed)
    assert measured(killed) == measured(whole)


def test_evaluating_in_between_changes_no_bit_of_what_is_learned(making: Making) -> None:
    often, never = making(out="often", eval_every=1, dropout=0.3), making(out="never", dropout=0.3)
    run(often)
    run(never)
    assert trained_bytes(often) == trained_bytes(never)


def test_pages_change_no_bit_of_what_is_learned(making: Making) -> None:
    paged, resident = making(out="paged", optimizer_budget=16_384), making(out="resident")
    run(paged)
    run(resident)
    assert trained_bytes(paged) == trained_bytes(resident)


def test_the_same_seed_gives_the_same_bytes(making: Making) -> None:
    first, second = making(out="first", dropout=0.2), making(out="second", dropout=0.2)
    run(first)
    run(second)
    assert trained_bytes(first) == trained_bytes(second)


def test_another_seed_gives_other_bytes(making: Making) -> None:
    first, second = making(out="first"), making(out="second", seed=1)
    run(first)
    run(second)
    assert trained_bytes(first) != trained_bytes(second)


def test_more_steps_under_a_constant_schedule_continue_a_finished_run(making: Making) -> None:
    longer, at_once = making(out="longer", steps=2), making(out="at once", steps=4)
    run(longer)
    run(making(out="longer", steps=4))
    run(at_once)
    assert trained_bytes(longer) == trained_bytes(at_once)


def test_a_finished_run_that_is_started_again_trains_no_step_more(making: Making) -> None:
    request = making()
    first = run(request)[-1].to_json()
    before = trained_bytes(request), measured(request)
    again = run(request)[-1].to_json()
    assert (again["steps"], again["eval_loss_after"]) == (first["steps"], first["eval_loss_after"])
    assert (trained_bytes(request), measured(request)) == before


def test_a_run_closed_before_its_first_step_begins_as_if_it_had_not_been(making: Making) -> None:
    whole, closed = making(out="whole"), making(out="closed")
    run(whole)
    for stop_at in range(4):
        job = train(closed)
        for _ in range(stop_at):
            next(job)
        job.close()
    run(closed)
    assert (trained_bytes(closed), measured(closed)) == (trained_bytes(whole), measured(whole))
