"""Which generators are offered, and which of them a drag that is kept belongs to."""

from __future__ import annotations

from live_drag import NAME, PULLS, begin, dragging, line
from trimtab.store.cards import CARD_NAME


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
