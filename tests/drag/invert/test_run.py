"""Inverting pictures on small networks: it comes near, stays frozen, repeats, and goes on where it was stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dragging
from stylegan_nets import random_mobile, random_net
from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.drag.invert.run import Inversion, InvertSettings, InvertStep, invert, read_inversion, save_inversion
from trimtab.models.stylegan.adapter import MOST_BYTES, adapted, most_rank
from trimtab.models.stylegan.mobile import MobileSizes
from trimtab.models.stylegan.preview import psnr
from trimtab.nn.freeze import fingerprint

SHORT = InvertSettings(
    guesses=4, style_steps=9, detail_steps=2, adapter_steps=6, whole_share=0.5, look_every=3, rank=2, part_px=32
)
MOBILE = MobileSizes(channels=(16, 16, 12, 8), width=6)
MAKERS = {"stylegan2": lambda: random_net(dragging.SMOOTH), "mobile": lambda: random_mobile(MOBILE)}


def picture_of(net, seed: int = 5) -> torch.Tensor:
    z = torch.randn(1, net.z_width, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return net.image(net.w_plus(net.map(z)))


def strange(picture: torch.Tensor) -> torch.Tensor:
    """Change a picture as no style does: colours, and a mark."""
    changed = 0.7 * picture + torch.tensor([0.2, -0.1, 0.0])[:, None, None]
    changed[:, :, 20:28, 30:44] = 1.0
    return changed.clamp(-1, 1)


def last(steps) -> InvertStep:
    *_, end = steps
    return end


@pytest.fixture(scope="module", params=MAKERS.values(), ids=MAKERS.keys())
def net(request):
    return request.param()


@pytest.fixture(scope="module")
def picture(net) -> torch.Tensor:
    return strange(picture_of(net))


@pytest.fixture(scope="module")
def before(net) -> str:
    """The generator's bytes before anything was inverted."""
    return fingerprint(net)


@pytest.fixture(scope="module")
def kept(net, tmp_path_factory) -> Path:
    assert net  # a folder for each
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def told(net, picture, before, kept) -> list[InvertStep]:
    """All steps of an inversion whose result is kept."""
    assert before
    return list(invert(net, picture, SHORT, folder=kept))


@pytest.fixture(scope="module")
def found(told) -> Inversion:
    return told[-1].inversion


def test_the_result_is_as_near_as_it_says(net, picture, found):
    assert psnr(adapted(net, found.adapter).image(found.w_plus), picture) == pytest.approx(found.psnr_db)
    assert psnr(net.image(found.w_plus), picture) == pytest.approx(found.psnr_styles_db, abs=1e-3)


def test_styles_come_near_a_picture_and_the_adapter_nearer():
    net = dragging.net()
    picture = strange(picture_of(net))
    settings = InvertSettings(
        guesses=4, style_steps=40, detail_steps=5, adapter_steps=50, rank=8, part_px=64, part_lr=0.02
    )
    found = last(invert(net, picture, settings)).inversion
    mean = psnr(net.image(net.w_plus(net.w_mean[None])), picture)
    assert found.psnr_styles_db > mean + 2
    assert found.psnr_db > found.psnr_styles_db + 2


def test_no_byte_of_the_generator_changes(net, before, found):
    assert found
    assert fingerprint(net) == before


def test_the_same_seed_gives_the_same_bits(net, picture, found):
    again = last(invert(net, picture, SHORT)).inversion
    assert torch.equal(again.w_plus, found.w_plus)
    assert same_factors(again.adapter, found.adapter)


def same_factors(a, b) -> bool:
    return all(torch.equal(x, y) for n in a.factors for x, y in zip(a.factors[n], b.factors[n], strict=True))


def test_every_step_of_both_stages_is_told(told):
    places = [(step.stage, step.step, step.steps) for step in told]
    assert places == [("styles", n, 9) for n in range(1, 10)] + [("adapter", n, 6) for n in range(1, 7)]


def test_only_the_last_step_has_the_result(told):
    assert [step.inversion is not None for step in told] == [False] * 14 + [True]


def test_a_preview_is_the_picture_as_it_was_last_seen(net, told, found):
    made = adapted(net, found.adapter).image(found.w_plus)
    assert torch.equal(told[-1].preview(), made)  # of 64 px: nothing to shrink


def test_a_rank_that_is_too_large_is_lowered():
    net = MAKERS["mobile"]()
    found = last(invert(net, picture_of(net), replace(SHORT, rank=512))).inversion
    assert max(pair.up.shape[1] for pair in found.adapter.factors.values()) == most_rank(net)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_adapter_can_be_fitted_to_the_whole_picture_or_to_parts_alone(net, picture, share):
    found = last(invert(net, picture, replace(SHORT, whole_share=share))).inversion
    assert any(bool(pair.up.any()) for pair in found.adapter.factors.values())


def test_without_an_adapter_styles_are_the_result():
    net = dragging.net()
    found = last(
        invert(net, picture_of(net), InvertSettings(guesses=4, style_steps=5, detail_steps=0, adapter_steps=0))
    )
    assert found.inversion.psnr_db == pytest.approx(found.inversion.psnr_styles_db)
    assert found.inversion.adapter.stored_bytes <= MOST_BYTES


@pytest.mark.parametrize("stop", [4, 10, 13], ids=lambda at: f"after {at} steps")
def test_what_was_stopped_goes_on_to_the_same_bits(net, picture, found, tmp_path, stop):
    job = invert(net, picture, SHORT, folder=tmp_path)
    for _ in range(stop):
        next(job)
    job.close()
    assert [path.name for path in tmp_path.iterdir()] == ["working.safetensors"]
    steps = list(invert(net, picture, SHORT, folder=tmp_path))
    assert len(steps) < 16 - stop + SHORT.look_every
    assert torch.equal(steps[-1].inversion.w_plus, found.w_plus)
    assert same_factors(steps[-1].inversion.adapter, found.adapter)


def test_a_finished_folder_is_read_and_not_worked_at(net, picture, kept, found):
    (again,) = invert(net, picture, SHORT, folder=kept)
    assert torch.equal(again.inversion.w_plus, found.w_plus)
    assert (again.psnr_db, again.inversion.psnr_styles_db) == (found.psnr_db, found.psnr_styles_db)
    assert torch.isfinite(again.preview()).all()


def test_a_finished_folder_of_another_picture_is_refused(net, kept, found):
    assert found
    with pytest.raises(RangeError, match="another picture"):
        next(invert(net, picture_of(net, seed=6), SHORT, folder=kept))


def test_a_begun_folder_of_another_picture_is_refused(net, picture, tmp_path):
    job = invert(net, picture, SHORT, folder=tmp_path)
    next(job)
    job.close()
    with pytest.raises(RangeError, match="another picture"):
        next(invert(net, picture_of(net, seed=6), SHORT, folder=tmp_path))


def test_a_picture_of_another_size_is_refused(net):
    with pytest.raises(RangeError, match=r"is \[1, 3, 32, 32\]; this generator takes finite \[1, 3, 64, 64\]"):
        next(invert(net, torch.zeros(1, 3, 32, 32), SHORT))


def test_a_picture_that_is_no_number_is_refused(net):
    with pytest.raises(RangeError, match="finite"):
        next(invert(net, torch.full((1, 3, 64, 64), torch.nan), SHORT))


def test_an_inversion_is_read_as_it_was_saved(net, found, tmp_path):
    save_inversion(tmp_path / "again", found)
    again = read_inversion(tmp_path / "again", net)
    assert torch.equal(again.w_plus, found.w_plus)
    assert same_factors(again.adapter, found.adapter)
    assert again.asked == found.asked


def test_an_inversion_of_another_generator_is_refused(kept, found):
    assert found
    with pytest.raises(RangeError, match="for another generator"):
        read_inversion(kept, dragging.wide())


def test_a_folder_without_an_inversion_is_missing(net, tmp_path):
    with pytest.raises(MissingError, match="holds no inversion"):
        read_inversion(tmp_path, net)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"psnr_db": "30"}'])
def test_a_damaged_inversion_is_refused(net, tmp_path, text):
    (tmp_path / "inversion.json").write_text(text)
    with pytest.raises(FormatError, match=r"inversion\.json"):
        read_inversion(tmp_path, net)


@pytest.mark.parametrize(
    ("name", "value"), [("rank", 0), ("style_lr", float("nan")), ("detail_steps", 10_000), ("part_px", 8)]
)
def test_a_setting_that_is_not_allowed_is_refused(name, value):
    with pytest.raises(RangeError, match=f"{name}.*allowed is"):
        InvertSettings(**{name: value})
