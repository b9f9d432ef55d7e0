"""The network that learns is the network that is shipped."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from trimtab.models.stylegan.stylegan2 import Sizes, StyleGan2

TRAINING = Path(__file__).parents[3] / "bench" / "training"
SIZES = Sizes(32, z_width=8, w_width=6, channel_base=128, channel_max=8, mapping_layers=3, clamp=None)


@pytest.fixture
def trainer(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINING))
    return importlib.import_module("cartoon_net")


def test_what_is_exported_makes_the_pictures_that_were_trained(trainer):
    learner = trainer.CartoonNet(SIZES, hints=2, seed=1)
    net = StyleGan2(SIZES, learner.export(learner.tensors))
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        trained, _ = learner.pictures(learner.map(trainer.normalise(z)), upto=32)
        made = net.image(net.w_plus(net.map(z)))
    torch.testing.assert_close(made, trained[32].clamp(-1, 1), atol=1e-4, rtol=0)


def test_every_number_that_is_exported_can_learn(trainer):
    learner = trainer.CartoonNet(SIZES, hints=2, seed=1)
    pictures, hints = learner.pictures(learner.map(torch.ones(1, 8)), upto=32)
    loss = sum(made.square().sum() for made in pictures.values()) + sum(
        (made - 1).square().sum() for made in hints.values()
    )
    grads = torch.autograd.grad(loss, [*learner.tensors.values(), *learner.hints.values()])
    assert all(grad.abs().max() > 0 for grad in grads)
