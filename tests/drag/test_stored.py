"""Sessions in a folder: saving, taking up, repeating, refusing what is not theirs."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from drag_sessions import SEEDED, half, masked, more, same, save, session
from dragging import edit, generator_folder, net
from trimtab.core.errors import FormatError, RangeError
from trimtab.drag.mask import check_mask
from trimtab.drag.picture import write_grey
from trimtab.drag.recipe import RECIPE_NAME, Start, read_recipe
from trimtab.drag.session import Place, Session
from trimtab.drag.stored import (
    hash_tensor,
    latents_path,
    load_session,
    read_latent,
    recipe_of,
    replay,
    save_session,
    start_styles,
    write_latent,
)
from trimtab.models.stylegan.adapter import adapted, fresh_adapter
from trimtab.models.stylegan.load import load_generator
from trimtab.models.stylegan.stylegan2 import StyleGan2
from trimtab.store.cards import CARD_NAME, Card, write_card
from trimtab.store.durable import hash_file


def test_a_saved_session_goes_on_to_the_same_bits(tmp_path):
    made = session(steps=2)
    save(made, tmp_path)
    expected = [made.advance() for _ in range(3)]
    again, _ = load_session(tmp_path, net())
    assert all(same(again.advance(), frame) for frame in expected)


def test_a_windowed_session_goes_on_to_the_same_bits(tmp_path):
    """Its window is that of the step that was saved, not of the points that were found since."""
    made = session(steps=2, search_px=2.0)
    made.takes.clear()
    made.place = None
    made.begin(edit(net(), feature_size=64, search_px=2.0))
    made.advance()
    save(made, tmp_path)
    expected = made.advance()
    again, _ = load_session(tmp_path, net())
    assert again.take.engine.features(again.frame).window is not None
    assert same(again.advance(), expected)


@pytest.mark.parametrize("undone", [1, 4])
def test_a_crash_while_saving_after_an_undo_leaves_what_was_there(tmp_path, monkeypatch, undone):
    """The other edit has as many frames, so that nothing but their values tells whose they are."""
    made = session(steps=1)
    more(made)
    save(made, tmp_path)
    expected = made.frame
    for _ in range(undone):
        made.undo()
    more(made)

    def crash(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trimtab.drag.stored.write_recipe", crash)
    with pytest.raises(KeyboardInterrupt):
        save(made, tmp_path)
    again, _ = load_session(tmp_path, net())
    assert same(again.frame, expected)


def test_saving_leaves_the_latents_of_one_moment(tmp_path):
    made = session(steps=1)
    (tmp_path / ".latents-0.safetensors.tmp-7").write_bytes(b"half of it")
    save(made, tmp_path)
    made.advance()
    save(made, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if "latents" in path.name] == [
        latents_path(tmp_path, read_recipe(tmp_path / RECIPE_NAME)).name
    ]


def test_a_session_of_the_old_format_is_taken_up_and_saved_in_the_new(tmp_path):
    made = session(steps=2, mask=check_mask(half(), 64))
    save(made, tmp_path)
    latents_path(tmp_path, read_recipe(tmp_path / RECIPE_NAME)).rename(tmp_path / "latents.safetensors")
    document = json.loads((tmp_path / RECIPE_NAME).read_text())
    del document["latents_sha256"], document["edits"][0]["mask_file_sha256"], document["edits"][0]["strengths"]
    (tmp_path / RECIPE_NAME).write_text(json.dumps(document | {"format": 1}))
    again, _ = load_session(tmp_path, net())
    assert same(again.frame, made.frame)
    save(again, tmp_path)
    assert not (tmp_path / "latents.safetensors").exists()
    assert same(load_session(tmp_path, net())[0].frame, made.frame)


def test_a_saved_session_can_be_undone_further_back_than_it_was_saved(tmp_path):
    made = session(steps=3)
    save(made, tmp_path)
    again, _ = load_session(tmp_path, net())
    assert [again.undo() for _ in range(5)] == [True] * 4 + [False]
    assert torch.equal(again.w_plus, made.start)


def test_a_session_is_where_it_was_saved(tmp_path):
    made = session(steps=3)
    made.undo()
    save(made, tmp_path)
    again, _ = load_session(tmp_path, net())
    assert again.place == Place(0, 2)
    assert again.redo()


def test_a_recipe_alone_gives_the_same_bits(tmp_path):
    made = session(steps=3, mask=check_mask(half(), 64))
    made.begin(edit(net(), feature_size=16, handles=((10.0, 40.0),), targets=((10.0, 44.0),)))
    made.advance()
    save(made, tmp_path)
    latents_path(tmp_path, read_recipe(tmp_path / RECIPE_NAME)).unlink()
    again = replay(tmp_path, net())
    assert same(again.frame, made.frame)
    assert torch.equal(again.w_plus, made.w_plus)


@pytest.mark.parametrize("undone", [1, 3, 5])
def test_a_replay_is_where_the_session_was(tmp_path, undone):
    made = session(steps=2)
    more(made)
    for _ in range(undone):
        made.undo()
    save(made, tmp_path)
    again = replay(tmp_path, net())
    assert again.place == made.place
    assert torch.equal(again.w_plus, made.w_plus)
    assert again.redo()


def test_what_a_mask_kept_is_there_in_a_session_that_is_taken_up(tmp_path):
    made = masked()
    more(made)
    save(made, tmp_path)
    again, _ = load_session(tmp_path, net())
    assert torch.equal(again.picture(), made.picture())
    assert torch.equal(replay(tmp_path, net()).picture(), made.picture())


def test_a_latent_comes_back(tmp_path):
    made = session()
    write_latent(tmp_path / "w.safetensors", made.w_plus)
    assert torch.equal(read_latent(tmp_path / "w.safetensors", net()), made.w_plus)


def test_a_latent_of_another_generator_is_refused(tmp_path):
    write_latent(tmp_path / "w.safetensors", torch.zeros(1, 3, 4))
    with pytest.raises(RangeError, match=r"\[1, 3, 4\]; this generator takes"):
        read_latent(tmp_path / "w.safetensors", net())


def test_a_recipe_says_everything(tmp_path):
    made = session(steps=2)
    save(made, tmp_path)
    recipe = read_recipe(tmp_path / RECIPE_NAME)
    assert recipe.start == SEEDED
    assert recipe.edits[0].settings == made.take.edit.settings
    assert recipe.edits[0].steps == 2
    assert recipe.surroundings.keys() == {"torch", "threads", "device"}


def change(folder, **changes) -> None:
    path = folder / RECIPE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


WRONG = [
    ({"format": 4}, "format 4; known are 1 to 3"),
    ({"extra": 1}, "extra"),
    ({"place": [0]}, "place"),
    ({"edits": [{}]}, "settings"),
    ({"edits": 7}, "list"),
    ({"start": {"seed": "x", "truncation": 1, "latent_sha256": ""}}, "seed"),
    ({"start": {"seed": 1, "truncation": 1}}, "latent_sha256"),
    ({"start": {"seed": 1, "truncation": float("nan"), "latent_sha256": ""}}, "truncation is nan"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_a_recipe_is_read_strictly(tmp_path, changes, said):
    save(session(steps=1), tmp_path)
    change(tmp_path, **changes)
    with pytest.raises(FormatError, match=said):
        read_recipe(tmp_path / RECIPE_NAME)


def test_an_unknown_setting_in_a_recipe_is_named(tmp_path):
    save(session(steps=1), tmp_path)
    document = json.loads((tmp_path / RECIPE_NAME).read_text())
    document["edits"][0]["settings"]["radius"] = 3
    change(tmp_path, edits=document["edits"])
    with pytest.raises(FormatError, match="radius_px"):
        read_recipe(tmp_path / RECIPE_NAME)


@pytest.mark.parametrize("name", ["handles", "targets"])
@pytest.mark.parametrize("point", [[float("inf"), 0], [True, 0], ["1", 0], [1], 7])
def test_points_in_a_recipe_are_read_strictly(tmp_path, name, point):
    save(session(steps=1), tmp_path)
    document = json.loads((tmp_path / RECIPE_NAME).read_text())
    document["edits"][0][name] = [point]
    change(tmp_path, edits=document["edits"])
    with pytest.raises(FormatError, match="is no recipe of a drag"):
        read_recipe(tmp_path / RECIPE_NAME)


def test_latents_that_were_cut_off_are_refused(tmp_path):
    save(session(steps=1), tmp_path)
    path = latents_path(tmp_path, read_recipe(tmp_path / RECIPE_NAME))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError):
        load_session(tmp_path, net())


def other_net(**changes: float) -> StyleGan2:
    """Give the known network with some tensors scaled."""
    state = {name: tensor * changes.get(name.split(".")[0], 1.0) for name, tensor in net().state_dict().items()}
    return StyleGan2(net().sizes, state)


TAKEN_UP = [lambda folder, generator: load_session(folder, generator)[0], replay]


@pytest.mark.parametrize("take_up", TAKEN_UP)
def test_a_session_of_a_generator_with_another_card_is_refused(tmp_path, take_up):
    folders = [generator_folder(tmp_path / name) for name in ("first", "second")]
    write_card(folders[1], Card("tiny", "stylegan2", "other numbers", "Apache-2.0", "1" * 64))
    generator, other = map(load_generator, folders)
    made = Session(generator, start_styles(generator, SEEDED))
    made.begin(edit(generator, feature_size=16))
    made.advance()
    save(made, tmp_path)
    assert torch.equal(take_up(tmp_path, generator).w_plus, made.w_plus)
    with pytest.raises(RangeError, match="this generator has"):
        take_up(tmp_path, other)


def test_a_session_of_a_generator_with_other_styles_is_refused_without_any_card(tmp_path):
    save(session(steps=1), tmp_path)
    with pytest.raises(RangeError, match="makes other styles of seed 7"):
        load_session(tmp_path, other_net(mapping=1.1))


@pytest.mark.parametrize("take_up", TAKEN_UP)
def test_latents_that_begin_with_another_picture_than_the_recipe_says_are_refused(tmp_path, take_up):
    made = session(steps=1)
    named = Start(None, 1.0, hash_tensor(made.start + 1))
    save_session(tmp_path, made, recipe_of(made, named, generator="tiny"))
    with pytest.raises(FormatError, match="begins with other styles"):
        take_up(tmp_path, net())


def test_a_generator_keeps_its_card_under_an_adapter(tmp_path):
    generator = load_generator(generator_folder(tmp_path / "tiny"))
    worn = adapted(generator, fresh_adapter(generator, rank=1))
    assert worn.card_sha256 == generator.card_sha256 == hash_file(tmp_path / "tiny" / CARD_NAME).sha256


def test_latents_that_were_changed_are_refused(tmp_path):
    save(session(steps=1), tmp_path)
    path = latents_path(tmp_path, read_recipe(tmp_path / RECIPE_NAME))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="changed since the drag"):
        load_session(tmp_path, net())


def test_a_mask_that_was_painted_over_is_refused(tmp_path):
    save(session(steps=1, mask=check_mask(half(), 64)), tmp_path)
    (file,) = tmp_path.glob("mask-*.png")
    write_grey(file, ~half())
    with pytest.raises(FormatError, match="changed since the drag"):
        load_session(tmp_path, net())


def test_a_mask_that_was_exchanged_is_refused_before_it_is_decoded(tmp_path):
    save(session(steps=1, mask=check_mask(half(), 64)), tmp_path)
    (file,) = tmp_path.glob("mask-*.png")
    file.write_bytes(b"no picture at all")
    with pytest.raises(FormatError, match="changed since the drag"):
        load_session(tmp_path, net())


def test_a_mask_of_the_old_format_is_refused_where_it_is_no_png(tmp_path):
    """Nothing is known of its file; another kind of picture with the same pixels is not decoded."""
    save(session(steps=1, mask=check_mask(half(), 64)), tmp_path)
    document = json.loads((tmp_path / RECIPE_NAME).read_text())
    document["edits"][0]["mask_file_sha256"] = ""
    change(tmp_path, edits=document["edits"])
    (file,) = tmp_path.glob("mask-*.png")
    load_session(tmp_path, net())
    with Image.open(file) as picture:
        picture.save(file, "bmp")
    with pytest.raises(FormatError, match="no picture that can be read"):
        load_session(tmp_path, net())
