"""What is asked, in the engine's terms."""

from __future__ import annotations

from serving import ASKED
from trimtab.serve.asking import samplings_of
from trimtab.serve.messages import ChatAsked
from trimtab.text.engine.request import MAX_TOKENS


def samplings(**more):
    asked = ChatAsked(**({key: ASKED[key] for key in ("model", "messages")} | more))
    return samplings_of(asked, max_tokens=None, room=more.pop("room", 10**7), logprobs=None)


def test_a_window_of_millions_asks_for_no_more_than_is_allowed():
    assert [each.max_tokens for each in samplings()] == [MAX_TOKENS]


def test_each_answer_has_a_seed_of_its_own():
    assert [each.seed for each in samplings(n=3, seed=7)] == [7, 8, 9]
