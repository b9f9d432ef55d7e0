"""Learning-rate schedules as one pure function of the step."""

from __future__ import annotations

from math import cos, pi

from trimtab.core.errors import RangeError, did_you_mean

KINDS = ("constant", "linear", "cosine")


def factor(step: int, *, kind: str = "constant", warmup_steps: int = 0, total_steps: int) -> float:
    """Give the share of the full learning rate that a step takes.

    It rises in equal parts over the warm-up, reaches 1 at its end, and then stays (constant), falls to 0 at
    ``total_steps`` in a straight line (linear) or along half a cosine (cosine).

    Args:
        step: how many steps were taken before this one; the first step is 0.
        kind: one of ``KINDS``.
        warmup_steps: from 0 to ``total_steps``.
        total_steps: 1 or more; later steps get what the last point gives.

    Returns:
        From 0 to 1.

    Raises:
        RangeError: a value lies outside what is allowed.
    """
    if kind not in KINDS:
        raise RangeError(f"schedule={kind!r} is unknown. {did_you_mean(kind, KINDS)}")
    if step < 0 or total_steps < 1 or not 0 <= warmup_steps <= total_steps:
        raise RangeError(
            f"step={step}, warmup_steps={warmup_steps}, total_steps={total_steps}. "
            "Allowed: step 0 or more, total_steps 1 or more, warmup_steps from 0 to total_steps."
        )
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if kind == "constant":
        return 1.0
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return 1 - done if kind == "linear" else (1 + cos(pi * done)) / 2
