"""Rotary position embedding: the angles of each position, for the kinds whose angles depend on it alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

Parameters = Mapping[str, Any]

BASE: Final = "rope_theta"
KIND: Final = "rope_type"
BETA_FAST: Final = 32
BETA_SLOW: Final = 1


def rotation(
    parameters: Parameters, *, width: int, first: int, end: int
) -> tuple[Float[Tensor, "positions half"], Float[Tensor, "positions half"]]:
    """Give cosines and sines of the positions from ``first`` up to, not including, ``end``.

    Args:
        parameters: as a config's ``rope_parameters``: ``rope_type``, a key of ``NEEDED``, and the numbers it needs.
        width: elements of a head.
        first: a position.
        end: a position.

    Source: RoFormer (arXiv 2104.09864), section 3.2.2.
    """
    exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
    periods = parameters[BASE] ** exponents
    frequencies, scale = _FREQUENCIES[parameters[KIND]](periods, parameters)
    angles = torch.arange(first, end, dtype=torch.float32).unsqueeze(1) * frequencies
    return angles.cos() * scale, angles.sin() * scale


def _plain(periods: Tensor, _: Parameters) -> tuple[Tensor, float]:
    return 1.0 / periods, 1.0


def _linear(periods: Tensor, parameters: Parameters) -> tuple[Tensor, float]:
    """Squeeze all positions together (arXiv 2306.15595)."""
    return 1.0 / periods / parameters["factor"], 1.0


def _llama3(periods: Tensor, parameters: Parameters) -> tuple[Tensor, float]:
    """Squeeze slow waves, leave fast ones, blend between (Llama 3.1)."""
    factor, slow, fast = (float(parameters[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    frequencies = 1.0 / periods
    waves = parameters["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    kept = ((waves - slow) / (fast - slow)).clamp(0.0, 1.0)
    return (1 - kept) * frequencies / factor + kept * frequencies, 1.0


def _yarn(periods: Tensor, parameters: Parameters) -> tuple[Tensor, float]:
    """Squeeze by how often a wave turns within the first training's window, and sharpen attention.

    Source: YaRN (arXiv 2309.00071), sections 3.2 and 3.4.
    """
    factor = float(parameters["factor"])
    low, high = _yarn_border(parameters, len(periods))
    kept = 1 - ((torch.arange(len(periods), dtype=torch.float32) - low) / (high - low)).clamp(0.0, 1.0)
    frequencies = 1.0 / (factor * periods) * (1 - kept) + 1.0 / periods * kept
    return frequencies, _yarn_scale(parameters, factor)


def _yarn_border(parameters: Parameters, half: int) -> tuple[float, float]:
    """Give between which pairs of elements the squeezing sets in."""
    window, base = parameters["original_max_position_embeddings"], parameters[BASE]

    def pair_that_turns(times: float) -> float:
        return half * math.log(window / (times * 2 * math.pi)) / math.log(base)

    low = pair_that_turns(parameters.get("beta_fast") or BETA_FAST)
    high = pair_that_turns(parameters.get("beta_slow") or BETA_SLOW)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * half - 1)
    return low, high if high != low else high + 0.001


def _yarn_scale(parameters: Parameters, factor: float) -> float:
    stated = parameters.get("attention_factor")
    if stated is not None:
        return float(stated)
    over, under = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if over and under:
        return _sharpness(factor, over) / _sharpness(factor, under)
    return _sharpness(factor, 1.0)


def _sharpness(factor: float, weight: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


_FREQUENCIES: Final[Mapping[str, Callable[[Tensor, Parameters], tuple[Tensor, float]]]] = {
    "default": _plain,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}

NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "default": (BASE,),
    "linear": (BASE, "factor"),
    "llama3": (BASE, "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": (BASE, "factor", "original_max_position_embeddings"),
}
"""Every kind of rotary embedding that is known here, and the numbers that it must be given."""
