"""Which generators are offered, and which of them a drag that is kept belongs to."""

from __future__ import annotations

from dragging import generator_folder
from live_drag import NAME, PULLS, begin, dragging, line
from trimtab.serve.drag.generators import Generators
from trimtab.store.bundled import bundled_folder
from trimtab.store.cards import CARD_NAME


def test_without_a_name_the_store_is_offered_and_below_it_what_comes_with_the_package(own_store):
    assert Generators().folders() == {"cartoon": bundled_folder("cartoon")}
    generator_folder(own_store / "models" / "mine")
    (own_store / "models" / "no-generator").mkdir()
    assert list(Generators().folders()) == ["mine", "cartoon"]
    own = generator_folder(own_store / "models" / "cartoon")
    assert Generators().folders()["cartoon"] == own


def test_a_drag_of_a_generator_that_was_exchanged_is_not_taken_up(tmp_path):
    with dragging(tmp_path) as running:
        key = begin(running)
        with line(running, key) as page:
            page.open()
            page.say(do="step", points=PULLS)
            page.rest()
    card = tmp_path / NAME / CARD_NAME
    card.write_text(card.read_text().replace("random numbers", "other numbers"))
    with dragging(tmp_path) as running, line(running, key) as page:
        assert "this generator has" in page.until(lambda parcel: parcel["state"] == "failed")["problem"]
