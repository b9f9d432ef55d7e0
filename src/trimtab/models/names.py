"""Which tensor of a checkpoint belongs where in a network: names that differ by version or by tying."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from torch import nn


def stored_names(net: nn.Module, stored: Iterable[str]) -> dict[str, str]:
    """Match a network's tensors with those of a checkpoint.

    Names are translated by transformers' own table of renamings; where a tensor would have to be put together from
    several, it is left out.

    Args:
        net: a network of transformers.
        stored: names in the checkpoint.

    Returns:
        Name in the network to name in the checkpoint, for every tensor of the network that the checkpoint holds.
    """
    own: dict[str, Any] = net.state_dict()
    present = set(stored)
    found = {name: name for name in own if name in present}
    left = present - found.keys()
    if not left or not absent_names(net, found):
        return found
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    renamings = [step for step in get_model_conversion_mapping(net) if isinstance(step, WeightRenaming)]
    prefix = cast(str, getattr(net, "base_model_prefix", ""))
    for name in sorted(left):
        translated, _ = rename_source_key(name, renamings, [], prefix, own)
        if translated in own:
            found.setdefault(translated, name)
    return found


def absent_names(net: nn.Module, found: Iterable[str]) -> list[str]:
    """List the network's tensors that a checkpoint neither holds nor gives by tying weights."""
    present = set(found)
    tied: dict[str, str] = getattr(net, "all_tied_weights_keys", None) or {}
    return sorted(name for name in net.state_dict() if name not in present and tied.get(name) not in present)
