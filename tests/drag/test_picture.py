"""Pictures of other programs: which are read, and how deep their shades are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from trimtab.core.errors import FormatError
from trimtab.drag.invert.align import open_photo
from trimtab.drag.picture import eight_bits, read_grey

DEEP = np.linspace(0, 65535, 64 * 64).reshape(64, 64).round()
KINDS = [("png", np.uint16), ("tiff", np.uint16), ("tiff", ">u2"), ("tiff", np.int32)]


def grey(path: Path) -> np.ndarray:
    return read_grey(path, most_pixels=1 << 20).numpy()


def photo(path: Path) -> np.ndarray:
    return np.asarray(open_photo(path))[:, :, 1]


@pytest.mark.parametrize("read", [grey, photo])
@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_shades_of_sixteen_bits_are_scaled_and_not_clipped(tmp_path, read, kind, depth):
    path = tmp_path / f"deep.{kind}"
    Image.fromarray(DEEP.astype(depth)).save(path)
    assert np.abs(read(path) - DEEP / 257).max() <= 0.51


@pytest.mark.parametrize("read", [grey, photo])
@pytest.mark.parametrize("shades", [DEEP.astype(np.float32), DEEP.astype(np.int32) * 2, DEEP.astype(np.int32) - 1])
def test_shades_that_nobody_knows_the_most_of_are_refused(tmp_path, read, shades):
    Image.fromarray(shades).save(tmp_path / "odd.tiff")
    with pytest.raises(FormatError, match="shades are not those of 8 or 16 bits"):
        read(tmp_path / "odd.tiff")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_other_pictures_stay_as_they_are(mode):
    image = Image.new(mode, (3, 2))
    assert eight_bits(image) is image


@pytest.mark.parametrize("read", [grey, photo])
def test_no_file_starts_another_program(tmp_path, monkeypatch, read):
    program, started = tmp_path / "gs", tmp_path / "started"
    program.write_text(f"#!/bin/sh\ntouch {started}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    Image.new("RGB", (64, 64), "white").save(tmp_path / "mask.eps")
    with pytest.raises(FormatError):
        read((tmp_path / "mask.eps").rename(tmp_path / "mask.png"))
    assert not started.exists()
