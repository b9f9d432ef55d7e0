"""Named sets of settings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

GUANACO: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "method": "qlora",
        "steps": 1875,
        "batch_size": 1,
        "accumulate": 16,
        "max_length": 528,
        "loss_on": "all",  # the whole conversation stands in the paper's target
        "source_max_length": 16,
        "target_max_length": 512,
        "lr": 2e-4,
        "schedule": "constant",
        "beta2": 0.999,
        "clip_norm": 0.3,
        "rank": 64,
        "alpha": 16.0,
        "dropout": 0.1,
        "quant_type": "nf4",
        "double": True,
        "optimizer_bits": 32,
        "group_by_length": True,
        "gradient_checkpointing": True,
    }
)
RECIPES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"guanaco": GUANACO})
"""Named sets of settings; guanaco is arXiv:2305.14314, appendix B and table 9 (7B and 13B, OASST1)."""
