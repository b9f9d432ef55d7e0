"""Rotary angles against transformers' own modules."""

from __future__ import annotations

import pytest
import torch

import tiny
from llama_family import LLAMA3
from trimtab.models.llama.rotation import rotation

WIDTH, POSITIONS = 32, 5000
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 1250}
KINDS = {
    "default": {"rope_type": "default", "rope_theta": 1e4},
    "linear": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    "llama3": LLAMA3,
    "llama3, long": LLAMA3 | {"rope_theta": 5e5, "original_max_position_embeddings": 1024},
    "yarn": YARN,
    "yarn, two weights": YARN | {"mscale": 1.0, "mscale_all_dim": 0.707},
    "yarn, own factor": YARN | {"attention_factor": 1.3, "truncate": False},
    "yarn, other borders": YARN | {"beta_fast": 16, "beta_slow": 2},
    "yarn, borders in one place": YARN | {"beta_fast": 1, "beta_slow": 1, "truncate": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_angles_are_those_of_transformers_to_the_bit(kind):
    net = tiny.llama(rope_parameters=dict(KINDS[kind]), max_position_embeddings=POSITIONS, head_dim=WIDTH)
    expected = net.model.rotary_emb(torch.zeros(1), torch.arange(POSITIONS)[None])
    found = rotation(net.config.rope_parameters, width=WIDTH, first=0, end=POSITIONS)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs[0, :, : WIDTH // 2])


def test_a_later_stretch_is_part_of_the_whole():
    whole = rotation(KINDS["default"], width=WIDTH, first=0, end=100)
    for part, full in zip(rotation(KINDS["default"], width=WIDTH, first=60, end=100), whole, strict=True):
        assert torch.equal(part, full[60:])
