"""``trimtab drag`` from its words to its files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from dragging import generator_folder
from one_line import one_line
from trimtab.cli.main import run as command
from trimtab.core.errors import NonFiniteError
from trimtab.core.job import Note, Progress
from trimtab.drag.engine import Engine, Frame
from trimtab.drag.recipe import RECIPE_NAME, read_recipe
from trimtab.drag.run import DragRequest, run
from trimtab.drag.stored import latents_path
from trimtab.store.safetensors import TensorFile

pytestmark = pytest.mark.usefixtures("own_store")
POINTS = ["--handle", "30,30", "--target", "34,30"]
QUICK = ["--set", "feature_size=16", "--set", "search_px=3", "--set", "lost_ratio=0"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return generator_folder(tmp_path_factory.mktemp("store") / "tiny")


def request_of(tiny: Path, out: Path, **changes) -> DragRequest:
    options = (("feature_size", 16), ("lost_ratio", 0.0), ("max_steps", 6), ("search_px", 3.0))
    given = {"changes": options, "animation": None, **changes}
    return DragRequest(tiny, "tiny", out, ((30.0, 30.0),), ((34.0, 30.0),), **given)


def latents(out: Path) -> dict[str, torch.Tensor]:
    file = TensorFile(latents_path(out, read_recipe(out / RECIPE_NAME)))
    return {name: file.load(name) for name in file.shapes}


def same_session(a: Path, b: Path) -> bool:
    one, two = latents(a), latents(b)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_drag_leaves_pictures_a_latent_and_a_recipe(tiny, tmp_path, capfd, kind):
    out = tmp_path / "out"
    words = ["drag", str(tiny), *POINTS, *QUICK, "--steps", "4", "--animation", kind, "--out", str(out), "--json"]
    assert command(words) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert events[0] == {"event": "started", "what": f"dragging {tiny}", "out": str(out)}
    assert events[-1]["event"] == "result"
    assert events[-1]["steps"] <= 4
    assert events[-1]["distance_before_px"] == 4.0
    for name in ("before.png", "after.png"):
        with Image.open(out / name) as picture:
            assert picture.size == (64, 64)
    with Image.open(out / f"drag.{kind}") as moving:
        assert moving.n_frames > 2
    assert {"recipe.json", "latent.safetensors"} <= {path.name for path in out.iterdir()}
    assert latents(out)


def test_a_person_reads_where_it_writes_and_how_far_it_came(tiny, tmp_path, capfd):
    words = ["drag", str(tiny), *POINTS, *QUICK, "--steps", "2", "--animation", "none", "--out", str(tmp_path / "o")]
    assert command(words) == 0
    said = capfd.readouterr().out
    assert said.startswith(f"dragging {tiny} -> {tmp_path / 'o'}")
    assert "mean distance 4.0 px ->" in said


def test_a_drag_that_was_closed_goes_on_to_the_same_bits(tiny, tmp_path):
    list(run(request_of(tiny, tmp_path / "whole")))
    job = run(request_of(tiny, tmp_path / "halves"))
    for event in job:
        if isinstance(event, Progress) and event.done == 2:
            job.close()
            break
    assert latents(tmp_path / "halves")["0.points"].shape[0] == 3
    list(run(request_of(tiny, tmp_path / "halves")))
    assert same_session(tmp_path / "whole", tmp_path / "halves")


def test_a_drag_that_was_closed_while_its_moving_picture_was_made_is_at_its_end(tiny, tmp_path):
    job = run(request_of(tiny, tmp_path, animation="gif"))
    steps = 0
    for event in job:
        if isinstance(event, Progress) and event.what == "drag":
            steps = event.done
        if isinstance(event, Progress) and event.what == "moving picture":
            job.close()
            break
    assert read_recipe(tmp_path / RECIPE_NAME).place == (0, steps)
    assert steps > 1


def test_more_steps_go_on_from_the_last(tiny, tmp_path):
    short = (("feature_size", 16), ("lost_ratio", 0.0), ("max_steps", 2), ("search_px", 3.0))
    list(run(request_of(tiny, tmp_path / "a", changes=short)))
    list(run(request_of(tiny, tmp_path / "a")))
    list(run(request_of(tiny, tmp_path / "b")))
    assert same_session(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_drag_that_was_stopped_goes_on_to_the_same_bits(tiny, tmp_path, stop):
    own = ["--set", "max_steps=1500", "--set", "lr=1e-6", "--set", "feature_size=16", "--set", "lost_ratio=0"]
    words = ["drag", str(tiny), *POINTS, *own, "--animation", "none", "--out", str(tmp_path / "a"), "--json"]
    code = "import trimtab.drag.run as r; r.SAVE_EVERY_S = 0; from trimtab.cli.main import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += b'"progress"' in line
        if seen == 4:
            process.send_signal(stop)
            break
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL)
    assert (b"Continue with the same command" in said) == (stop == signal.SIGINT)
    done = latents(tmp_path / "a")["0.points"].shape[0] - 1
    assert done >= 3
    most = (("feature_size", 16), ("lost_ratio", 0.0), ("lr", 1e-6), ("max_steps", done + 3))
    events = list(run(request_of(tiny, tmp_path / "a", changes=most)))
    assert Note(f"continuing after step {done}.") in events
    assert [event.done for event in events if isinstance(event, Progress)] == [done + 1, done + 2, done + 3]
    list(run(request_of(tiny, tmp_path / "b", changes=most)))
    assert same_session(tmp_path / "a", tmp_path / "b")


def test_a_gradient_that_is_no_number_loses_no_step(tiny, tmp_path, monkeypatch):
    whole = Engine.advance

    def breaking(engine: Engine, frame: Frame) -> Frame:
        if frame.number == 3:
            raise NonFiniteError("the gradient of step 4 is not finite.")
        return whole(engine, frame)

    monkeypatch.setattr(Engine, "advance", breaking)
    with pytest.raises(NonFiniteError):
        list(run(request_of(tiny, tmp_path)))
    assert latents(tmp_path)["0.points"].shape[0] == 4


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_told(tiny, tmp_path, capfd, out):
    (tmp_path / "file").write_text("something else")
    assert command(["drag", str(tiny), *POINTS, *QUICK, "--out", str(tmp_path / out), "--quiet"]) == 1
    assert "cannot be made" in one_line(capfd)


def test_a_latent_starts_another_drag(tiny, tmp_path):
    list(run(request_of(tiny, tmp_path / "a")))
    again = request_of(tiny, tmp_path / "b", latent=tmp_path / "a" / "latent.safetensors")
    list(run(again))
    assert (tmp_path / "a/after.png").read_bytes() == (tmp_path / "b/before.png").read_bytes()


def test_a_folder_of_another_drag_is_refused(tiny, tmp_path, capfd):
    list(run(request_of(tiny, tmp_path)))
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert command(["drag", str(tiny), "--seed", "3", *POINTS, "--out", str(tmp_path), "--quiet"]) == 2
    assert "holds another drag" in one_line(capfd)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


WRONG = [
    (["--handle", "64,3", "--target", "3,3"], "handle 64,3 lies outside the picture. Allowed is 0 to 63"),
    (["--handle", "3,3", "--target", "3,-4"], "target 3,-4 lies outside"),
    (["--handle", "3,3", "--handle", "4,4", "--target", "3,4"], "2 handles and 1 targets"),
    (["--handle", "3;3", "--target", "3,4"], "expected are two numbers such as 300,420"),
    (["--handle", "3,3"], "1 handles and 0 targets"),
    ([], "no --handle and no --target"),
    ([*POINTS, "--photo-square", "3,3,9"], "--photo-square is about a photo. Give one with --photo"),
    ([*POINTS, "--photo", "none.jpg"], "no such file"),
    ([*POINTS, "--photo", "EMPTY"], "no face found in the photo. Place the square by hand"),
    ([*POINTS, "--photo", "NOTES"], "is no picture that can be read whole"),
    ([*POINTS, "--photo", "EMPTY", "--photo-square", "3,3"], "expected are three or four numbers"),
    ([*POINTS, "--photo", "EMPTY", "--photo-square", "3,900,20"], "outside the photo of 64 x 64"),
    ([*POINTS, "--photo", "EMPTY", "--photo-square", "3,3,20", "--strength", "5"], "strength 5: allowed is 0 to 4"),
    ([*POINTS, "--photo", "EMPTY", "--latent", "SMALL"], "two starts"),
    ([*POINTS, "--strength", "3"], "--strength is about a photo"),
    ([*POINTS, "--strength", "1"], "--strength is about a photo"),
    ([*POINTS, "--photo", "EMPTY", "--seed", "0"], "--photo and --seed are two starts"),
    ([*POINTS, "--latent", "SMALL", "--seed", "3"], "--latent and --seed are two starts"),
    (
        [*POINTS, "--photo", "EMPTY", "--truncation", "0.5"],
        "--truncation is about a seed, and --photo is another start",
    ),
    ([*POINTS, "--latent", "SMALL", "--truncation", "0.7"], "--truncation is about a seed, and --latent"),
    (["--photo", "EMPTY", "--preset", "nonsense"], "--preset is about a drag. Give --handle and --target too"),
    (["--photo", "EMPTY", "--mask", "none.png"], "--mask is about a drag"),
    (["--photo", "EMPTY", "--steps", "3"], "--steps is about a drag"),
    (["--photo", "EMPTY", "--set", "radius_px=3"], "--set radius_px is about a drag"),
    (["--photo", "EMPTY", "--animation", "webp"], "--animation is about a drag"),
    ([*POINTS, "--steps", "3", "--set", "max_steps=9"], "--steps 3 and --set max_steps=9 are the same"),
    ([*POINTS, "--mask", "EMPTY"], "nothing may move"),
    ([*POINTS, "--mask", "SMALL"], "expected are 64 x 64"),
    ([*POINTS, "--mask", "none.png"], "no such file"),
    ([*POINTS, "--preset", "oficial"], "Did you mean 'official'"),
    ([*POINTS, "--set", "radus_px=3"], "Did you mean 'radius_px'"),
    ([*POINTS, "--steps", "0"], "max_steps 0"),
    ([*POINTS, "--truncation", "nan"], "--truncation nan"),
    ([*POINTS, "--animation", "mp4"], "--animation mp4"),
    ([*POINTS, "--seed", "4294967296"], "seed 4294967296"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_a_wrong_request_is_one_line_and_writes_nothing(tiny, tmp_path, capfd, words, said):
    Image.new("L", (64, 64)).save(tmp_path / "EMPTY", "png")
    Image.new("L", (32, 32), 255).save(tmp_path / "SMALL", "png")
    (tmp_path / "NOTES").write_text("hello")
    places = [str(tmp_path / word) if word in ("EMPTY", "SMALL", "NOTES") else word for word in words]
    assert command(["drag", str(tiny), *places, "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert said in one_line(capfd)
    assert not (tmp_path / "out").exists()


def test_an_unknown_generator_is_refused_with_a_near_name(tmp_path, capfd):
    assert command(["drag", "fase", *POINTS, "--out", str(tmp_path / "out")]) == 2
    assert "Did you mean 'face'" in one_line(capfd)


def test_a_model_of_another_kind_is_refused(tmp_path, capfd):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert command(["drag", str(tmp_path / "model"), *POINTS, "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "holds no generator" in one_line(capfd)
