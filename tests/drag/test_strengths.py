"""Photos whose adapter is turned up and down between steps."""

from __future__ import annotations

import json

import pytest
import torch

from drag_sessions import half, same
from dragging import edit, net, start
from trimtab.core.errors import FormatError, RangeError
from trimtab.drag.mask import check_mask
from trimtab.drag.recipe import RECIPE_NAME, PhotoStart, Start, read_recipe
from trimtab.drag.session import Place, Session
from trimtab.drag.stored import ADAPTER_NAME, PHOTO_FOLDER, hash_tensor, load_session, recipe_of, replay, save_session
from trimtab.models.stylegan.adapter import Adapter, Factors, adapted, fresh_adapter, save_adapter
from trimtab.store.durable import hash_file


def adapter() -> Adapter:
    source = torch.Generator().manual_seed(2)
    pairs = fresh_adapter(net(), rank=2).factors.items()
    made = {name: Factors(0.5 * torch.randn(up.shape, generator=source), down) for name, (up, down) in pairs}
    return Adapter(made).rounded()


def photo(strength: float = 1.0) -> Session:
    return Session(adapted(net(), adapter(), strength), start(net()), strength=strength)


def turned(made: Session, strength: float) -> Session:
    return made.under(adapted(net(), adapter(), strength), strength)


def stepped(made: Session, steps: int) -> Session:
    for _ in range(steps):
        made.advance()
    return made


def pulled(made: Session, **changes) -> Session:
    made.begin(edit(net(), feature_size=16, **changes))
    return made


def save(made: Session, folder) -> None:
    path = folder / PHOTO_FOLDER / ADAPTER_NAME
    path.parent.mkdir(exist_ok=True)
    save_adapter(path, adapter())
    of = PhotoStart("0" * 64, (0.0,) * 4, made.strength, hash_file(path).sha256)
    save_session(folder, made, recipe_of(made, Start(None, 1.0, hash_tensor(made.start), of), generator="tiny"))


def mixed(**changes) -> Session:
    """Two steps at 1, one at 0.25 and none at all; undone to the second; one at 3, and another edit at 0.5."""
    made = stepped(turned(stepped(pulled(photo(), **changes), 2), 0.25), 1)
    made.undo()
    made = stepped(turned(turned(made, 0.0), 3.0), 1)
    return stepped(pulled(turned(made, 0.5), handles=((10.0, 40.0),), targets=((10.0, 44.0),)), 2)


def test_every_step_has_the_strength_that_it_was_taken_with(tmp_path):
    made = mixed()
    assert [take.strengths for take in made.takes] == [[1.0, 1.0, 3.0], [0.5, 0.5]]
    save(made, tmp_path)
    assert [edit.strengths for edit in read_recipe(tmp_path / RECIPE_NAME).edits] == [((1.0, 2), (3.0, 1)), ((0.5, 2),)]


@pytest.mark.parametrize("masked", [False, True])
def test_steps_of_several_strengths_are_made_again_to_the_same_bits(tmp_path, masked):
    made = turned(mixed(mask=check_mask(half(), 64) if masked else None), 2.0)
    made.go_to(Place(1, 1))
    save(made, tmp_path)
    again = replay(tmp_path, net())
    assert (again.place, again.strength) == (made.place, 2.0)
    for one, two in zip(made.takes, again.takes, strict=True):
        assert all(same(*frames) for frames in zip(one.frames, two.frames, strict=True))
    assert torch.equal(again.picture(), made.picture())
    assert same(again.advance(), made.advance())


def test_a_strength_makes_a_difference_to_the_steps():
    ends = [stepped(turned(stepped(pulled(photo()), 1), strength), 1).frame for strength in (1.0, 0.0)]
    assert not same(*ends)


def test_a_session_is_taken_up_with_the_strengths_of_its_steps(tmp_path):
    made = mixed()
    save(made, tmp_path)
    again, _ = load_session(tmp_path, made.generator)
    assert ([take.strengths for take in again.takes], again.strength) == ([[1.0, 1.0, 3.0], [0.5, 0.5]], 0.5)
    again, _ = load_session(tmp_path, adapted(net(), adapter(), 2.0), strength=2.0)
    assert stepped(again, 1).takes[-1].strengths == [0.5, 0.5, 2.0]


def older(folder, found_with: list[float]) -> None:
    """Write a recipe as it was before it told the strength of each step."""
    document = json.loads((folder / RECIPE_NAME).read_text())
    for one in document["edits"]:
        del one["strengths"]
    document["start"]["photo"]["found_with"] = found_with
    (folder / RECIPE_NAME).write_text(json.dumps(document | {"format": 2}))


@pytest.mark.parametrize("found_with", [[], [0.5]])
def test_an_older_recipe_of_one_strength_is_made_again(tmp_path, found_with):
    made = stepped(pulled(photo(0.5)), 2)
    save(made, tmp_path)
    older(tmp_path, found_with)
    assert same(replay(tmp_path, net()).frame, made.frame)


def test_an_older_recipe_of_one_strength_that_was_changed_after_all_steps_is_made_again(tmp_path):
    made = turned(stepped(pulled(photo(0.5)), 2), 1.0)
    save(made, tmp_path)
    older(tmp_path, [0.5])
    assert same(replay(tmp_path, net()).frame, made.frame)


@pytest.mark.parametrize("found_with", ["1.0", [None], ["much"], [[]]])
def test_an_older_recipe_is_read_strictly(tmp_path, found_with):
    save(stepped(pulled(photo()), 1), tmp_path)
    older(tmp_path, found_with)
    with pytest.raises(FormatError, match="is no recipe of a drag"):
        read_recipe(tmp_path / RECIPE_NAME)


def test_more_steps_than_were_saved_take_no_memory(tmp_path):
    made = stepped(pulled(photo()), 2)
    save(made, tmp_path)
    document = json.loads((tmp_path / RECIPE_NAME).read_text())
    document["edits"][0] |= {"steps": 10**15, "strengths": [[1.0, 10**15]]}
    (tmp_path / RECIPE_NAME).write_text(json.dumps(document))
    again, _ = load_session(tmp_path, made.generator)
    assert again.take.strengths == [1.0, 1.0]


def test_an_older_recipe_of_several_strengths_is_taken_up_but_says_that_it_does_not_make_them_again(tmp_path):
    made = mixed()
    save(made, tmp_path)
    older(tmp_path, [1.0, 3.0, 0.5])
    with pytest.raises(RangeError, match="of an older format, does not tell which"):
        replay(tmp_path, net())
    again, recipe = load_session(tmp_path, made.generator)
    assert same(again.frame, made.frame)
    save_session(tmp_path, again, recipe_of(again, recipe.start, generator="tiny"))
    with pytest.raises(RangeError, match="does not tell which"):
        replay(tmp_path, net())


@pytest.mark.parametrize(
    ("strengths", "said"),
    [
        ([[1.0, 1]], "those of 1 steps, and 2 were taken"),
        ([1.0, 1.0], "a strength with its steps is 1.0"),
        ([["much", 2]], "a strength with its steps is"),
        ([[1.0, 2.0]], "a strength with its steps is"),
        ([[True, 2]], "a strength with its steps is"),
        ([[-0.5, 2]], "a strength with its steps is"),
        ([[float("nan"), 2]], "a strength with its steps is"),
        ([[1.0, -1], [1.0, 3]], "a strength with its steps is"),
        (None, "a list was expected"),
    ],
)
def test_strengths_are_read_strictly(tmp_path, strengths, said):
    save(stepped(pulled(photo()), 2), tmp_path)
    document = json.loads((tmp_path / RECIPE_NAME).read_text())
    document["edits"][0]["strengths"] = strengths
    (tmp_path / RECIPE_NAME).write_text(json.dumps(document))
    with pytest.raises(FormatError, match=said):
        read_recipe(tmp_path / RECIPE_NAME)
