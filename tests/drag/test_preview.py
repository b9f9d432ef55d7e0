"""Previews of a drag: the known picture, changed by what the features say."""

from __future__ import annotations

import itertools

import pytest
import torch

from dragging import edit, net, start, wide
from stylegan_nets import random_mobile
from trimtab.drag.preview import MOST_PX, Previews
from trimtab.drag.session import Session
from trimtab.models.stylegan.generator import Window
from trimtab.models.stylegan.mobile import MobileSizes
from trimtab.models.stylegan.preview import psnr, shrink

MOBILE = random_mobile(MobileSizes(channels=(8, 8, 8, 8, 8), width=4))
NETS = {"stylegan2": wide(), "mobile": MOBILE}
WINDOW = Window(8, 8, 20, 20)


def nearby(generator, w_plus, *, far: float = 0.1):
    """Give styles whose lower layers differ."""
    moved = w_plus.clone()
    moved[:, :4] += far * torch.randn(w_plus[:, :4].shape, generator=torch.Generator().manual_seed(5))
    return moved


@pytest.fixture(params=NETS)
def generator(request):
    return NETS[request.param]


@pytest.mark.parametrize("window", [None, WINDOW])
def test_the_known_picture_is_shown_as_it_is(generator, window):
    w_plus = start(generator)
    picture = generator.image(w_plus)
    shown = Previews(generator, w_plus, picture).of(generator.features(w_plus, 32, window=window))
    torch.testing.assert_close(shown, shrink(picture, min(MOST_PX, generator.resolution)))


@pytest.mark.parametrize("window", [None, WINDOW])
def test_a_neighbour_is_shown_nearer_than_by_its_own_preview(generator, window):
    w_plus = start(generator)
    moved = nearby(generator, w_plus)
    truth, features = generator.image(moved), generator.features(moved, 32, window=window)
    side = generator.resolution
    plain = torch.nn.functional.interpolate(generator.preview(features), size=(side, side), mode="bilinear")
    shown = Previews(generator, w_plus, generator.image(w_plus)).of(features)
    assert psnr(shown, truth) > psnr(plain, truth) + 1


def test_a_session_shows_its_start_before_any_edit():
    made = Session(net(), start(net()))
    assert torch.equal(made.preview(), made.picture())


def test_a_session_shows_each_step():
    made = Session(net(), start(net()))
    made.begin(edit(net(), feature_size=16, handles=((10.0, 10.0),), targets=((40.0, 40.0),), lr=0.1))
    shown = [made.preview()]
    for _ in range(3):
        made.advance()
        shown.append(made.preview())
    assert torch.equal(shown[0], made.start_picture())
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(shown))
