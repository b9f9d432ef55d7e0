"""The 21 points: where the picture says they are."""

from __future__ import annotations

import pytest
import torch

from faces import faces, with_values
from trimtab.drag.face_world.landmarks import LANDMARKS, landmarks
from trimtab.drag.face_world.parameters import mirrored, parameters
from trimtab.drag.face_world.render import render

PLAIN = {"x": 0.0, "y": 0.0, "yaw": 0.0, "roll": 0.0, "light": 0.0, "gaze_x": 0.0}


def points_of(values, *names):
    found = landmarks(values, resolution=64)
    return found[:, [LANDMARKS.index(name) for name in names]]


def test_every_point_has_a_name():
    assert landmarks(parameters(faces(2)), resolution=64).shape == (2, len(LANDMARKS), 2)
    assert len(set(LANDMARKS)) == 21


def test_points_of_a_mirrored_face_are_mirrored_and_change_sides():
    latents = faces(5)
    straight = landmarks(parameters(latents), resolution=64)
    turned = landmarks(parameters(mirrored(latents)), resolution=64)
    sides = {"left": "right", "right": "left"}
    for index, name in enumerate(LANDMARKS):
        other = LANDMARKS.index(
            " ".join(sides.get(w.strip(","), w.strip(",")) + ("," if "," in w else "") for w in name.split())
        )
        expected = torch.stack([63 - straight[:, index, 0], straight[:, index, 1]], dim=1)
        torch.testing.assert_close(turned[:, other], expected, atol=1e-4, rtol=0)


def test_points_of_a_larger_picture_lie_at_the_same_places():
    values = parameters(faces(3))
    small, large = (landmarks(values, resolution=side) for side in (64, 256))
    torch.testing.assert_close((small + 0.5) * 4, large + 0.5)


MOVES = [
    ("smile", (-0.4, 1.0), ("mouth, left corner", "mouth, right corner", "lower lip", "upper lip")),
    ("mouth_opening", (0.0, 1.0), ("lower lip", "upper lip", "chin")),
    ("mouth_width", (0.28, 0.48), ("mouth, left corner", "mouth, right corner")),
    ("nose_length", (0.18, 0.28), ("tip of the nose",)),
    ("eye_opening", (0.2, 1.0), ("left eye, upper lid", "right eye, upper lid", "left eye, lower lid")),
    ("brow_height", (0.04, 0.13), ("left brow, inner end", "right brow, inner end", "left brow, outer end")),
    ("chin", (0.56, 0.70), ("chin", "jaw, left")),
    ("fringe", (-0.48, -0.32), ("hairline",)),
]


@pytest.mark.parametrize(("name", "ends", "near"), MOVES, ids=[move[0] for move in MOVES])
def test_a_number_changes_the_picture_at_the_points_that_it_moves(name, ends, near):
    """Between two values the points move, and around both places of each the picture changes more than elsewhere."""
    values = with_values(parameters(faces(6)), **PLAIN)
    both = [with_values(values, **{name: end}) for end in ends]
    change = (render(both[0]) - render(both[1])).abs().amax(dim=1)  # (faces, rows, columns)
    for point in near:
        here, there = (points_of(value, point)[:, 0] for value in both)
        assert (here - there).norm(dim=1).min() > 0.1
        for face, (x, y) in enumerate(((here + there) / 2).round().long().tolist()):
            around = change[face, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            assert around.max() > 4 * change[face].mean()


def test_the_chin_is_where_skin_ends():
    values = with_values(parameters(faces(6)), **PLAIN, skin=1.0)
    pictures = render(values, resolution=256)
    found = landmarks(values, resolution=256)[:, LANDMARKS.index("chin")]
    for picture, (x, y) in zip(pictures, found.tolist(), strict=True):
        column = picture.mean(dim=0)[:, round(x)]
        steepest = column[round(y) - 8 : round(y) + 9].diff().abs().argmax() + round(y) - 8 + 0.5
        assert abs(float(steepest) - y) < 1.5


def test_gradients_reach_the_numbers():
    values = parameters(faces(1)).requires_grad_()
    landmarks(values, resolution=64).sum().backward()
    assert torch.isfinite(values.grad).all()
    assert values.grad.abs().max() > 0
