"""A small network and edits of its pictures."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from stylegan_nets import golden, random_net
from trimtab.drag.edit import Edit
from trimtab.drag.settings import DragSettings, preset
from trimtab.models.stylegan.load import write_generator
from trimtab.models.stylegan.stylegan2 import Sizes, StyleGan2
from trimtab.store.cards import Card, write_card

SMOOTH = Sizes(64, z_width=8, w_width=16, channel_base=512, channel_max=16, mapping_layers=2, clamp=None)


@cache
def net() -> StyleGan2:
    """Give the known network of 64 px."""
    return golden("net64").net()


@cache
def wide() -> StyleGan2:
    """Give a random network of 128 px whose two highest blocks can be windowed."""
    return random_net(Sizes(128, z_width=8, w_width=12, channel_base=1024, channel_max=16, mapping_layers=2), seed=3)


def start(generator: StyleGan2, seed: int = 1) -> torch.Tensor:
    """Give styles, (1, styles, width), of a random picture."""
    z = torch.randn(1, generator.z_width, generator=torch.Generator().manual_seed(seed))
    return generator.w_plus(generator.map(z), truncation=0.7)


def settings(generator: StyleGan2, **changes) -> DragSettings:
    """Give the own preset for a network, with changes; nothing is lost unless asked for."""
    own = preset("trimtab", resolution=generator.resolution, feature_sizes=generator.feature_sizes)
    return replace(own, **{"lost_ratio": 0.0, "lr": 0.02, **changes})


def edit(generator: StyleGan2, *, mask=None, handles=((30.0, 30.0),), targets=((34.0, 30.0),), **changes) -> Edit:
    """Give an edit that drags one point four pixels to the right, unless told otherwise."""
    return Edit(handles, targets, settings(generator, **changes), mask)


def generator_folder(folder: Path) -> Path:
    """Write the small network as a folder of the store."""
    known = golden("net64")
    folder.mkdir(parents=True)
    write_generator(folder, known.sizes, known.state)
    write_card(folder, Card("tiny", "stylegan2", "random numbers", "Apache-2.0", "0" * 64))
    return folder
