"""Answers that must look like something always do, from networks that say anything."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest

import engines
import tiny
from trimtab.core.errors import RangeError
from trimtab.text.engine import Choices, JsonSchema, Regex, Request, Sampling
from trimtab.text.engine.matcher import MOST_COMPILED, Constraints

TEXTS = ("yes", "no", "the tab", "the trim", "the")
PATTERNS = [r"[0-9]{1,3}(\.[0-9]{2})?", r"(yes|no)( and (yes|no)){0,2}", r"[^x]{2,5}x", r"é{1,4}", r"a/b\\", r"a?"]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "size": {"type": "integer", "minimum": -9, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        "ok": {"type": "boolean"},
    },
    "required": ["name", "size"],
    "additionalProperties": False,
}
SEEDS = range(12)


def answers(constraint: Any, *, max_tokens: int = 120) -> list[Any]:
    hot = [Sampling(max_tokens, temperature=2.0, seed=seed) for seed in SEEDS]
    engine = engines.engine(ends=[engines.tokenizer().eos_token_id])
    return engine.run_all([Request(engines.prompt(5), sampling, None, constraint) for sampling in hot])


def test_an_answer_is_one_of_the_choices():
    given = answers(Choices(TEXTS))
    assert {answer.text for answer in given} <= set(TEXTS)
    assert len({answer.text for answer in given}) > 2
    assert all(answer.finished.reason == "stop" for answer in given)


def test_a_choice_is_spelt_as_the_tokenizer_spells_it():
    for answer in answers(Choices(TEXTS)):
        spelt = engines.tokenizer()(answer.text).input_ids
        assert [token for token in answer.tokens if token != engines.tokenizer().eos_token_id] == spelt


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_answer_matches_the_whole_expression(pattern):
    for answer in answers(Regex(pattern)):
        assert answer.finished.reason == "stop"
        assert re.fullmatch(pattern, answer.text)


def test_an_answer_is_json_of_the_schema():
    for answer in answers(JsonSchema(json.dumps(SCHEMA))):
        assert answer.finished.reason == "stop"
        found = json.loads(answer.text)
        assert found.keys() <= SCHEMA["properties"].keys()
        assert len(found["name"]) <= 4
        assert found["size"] in range(-9, 100)
        assert set(found.get("tags", [])) <= {"a", "b"}
        assert found.get("ok", True) in (True, False)


@pytest.mark.parametrize("constraint", [Regex("[a-z]{30,}"), JsonSchema(json.dumps(SCHEMA)), Choices(("a" * 40,))])
def test_an_answer_cut_short_says_so(constraint):
    for answer in answers(constraint, max_tokens=3):
        assert (answer.finished.reason, len(answer.tokens)) == ("length", 3)


@pytest.mark.parametrize(
    ("constraint", "steps"),
    [(Choices(("the", "the tab")), ["the", "the tab"]), (Regex("a(bb)*"), ["a", "abb", "abbbb"])],
    ids=["choices", "regex"],
)
def test_the_end_is_allowed_only_where_the_answer_is_whole(constraint, steps):
    tokenizer = engines.tokenizer()
    end = tokenizer.eos_token_id
    matcher = Constraints(tokenizer, vocabulary=tiny.vocabulary_size(), ends=[end]).matcher(constraint)
    assert not matcher.allowed()[end]
    written = ""
    for token in tokenizer(steps[-1], add_special_tokens=False).input_ids:
        assert matcher.allowed()[token]
        matcher.advance(token)
        written += tokenizer.decode([token])
        assert matcher.complete == (written in steps)
        assert bool(matcher.allowed()[end]) == matcher.complete


def test_what_is_asked_for_often_is_compiled_once(monkeypatch):
    compiled = []
    compile_one = Constraints._compile
    monkeypatch.setattr(Constraints, "_compile", lambda self, one: compiled.append(one) or compile_one(self, one))
    constraints = Constraints(engines.tokenizer(), vocabulary=tiny.vocabulary_size(), ends=[0])
    for number in range(MOST_COMPILED + 10):
        constraints.matcher(Choices(("yes",)))
        constraints.matcher(Choices((f"no {number}",)))
    assert compiled.count(Choices(("yes",))) == 1
    assert len(constraints._compiled) == MOST_COMPILED


def test_answers_go_on_while_a_constraint_is_compiled(monkeypatch):
    compiling, done = threading.Event(), threading.Event()
    compile_one = Constraints._compile

    def slow(self, constraint):
        compiling.set()
        assert done.wait(30)
        return compile_one(self, constraint)

    monkeypatch.setattr(Constraints, "_compile", slow)
    engine, events = engines.engine(), []
    engine.submit(engines.request(max_tokens=10), events.append)
    checking = threading.Thread(target=engine.check, args=[Request((1, 2), constraint=Choices(("yes",)))])
    checking.start()
    assert compiling.wait(30)
    while engine.step():
        pass
    assert events[-1].reason == "length"
    done.set()
    checking.join(30)
    assert not checking.is_alive()


def test_a_constraint_is_compiled_once_for_a_request(monkeypatch):
    begun = []
    matcher = Constraints.matcher
    monkeypatch.setattr(Constraints, "matcher", lambda self, one: begun.append(one) or matcher(self, one))
    engines.engine().run_all([Request((1, 2), Sampling(3), constraint=Choices(("yes",)))])
    assert len(begun) == 1


@pytest.mark.parametrize(
    ("constraint", "words"), [(Regex("(?=a)b"), "look-around"), (JsonSchema('{"enum": []}'), "JSON Schema")]
)
def test_a_refusal_says_what_is_allowed(constraint, words):
    constraints = Constraints(engines.tokenizer(), vocabulary=tiny.vocabulary_size(), ends=[0])
    with pytest.raises(RangeError, match=f"Allowed is .*{words}"):
        constraints.matcher(constraint)


def test_two_answers_under_one_constraint_do_not_disturb_each_other():
    constraints = Constraints(engines.tokenizer(), vocabulary=tiny.vocabulary_size(), ends=[0])
    one, other = (constraints.matcher(Regex("[ab]c")) for _ in range(2))
    token = engines.tokenizer().convert_tokens_to_ids("a")
    before = other.allowed()
    one.advance(token)
    assert bool((other.allowed() == before).all())
    assert not bool((one.allowed() == before).all())


@pytest.mark.parametrize(
    "constraint",
    [
        Regex("(a"),
        Regex("(?=a)b"),
        Regex("[^\\s\\S]"),
        JsonSchema('{"type": "objct"}'),
        JsonSchema('{"$ref": "http://a.example/b"}'),
        JsonSchema('{"$ref": "#"}'),
        JsonSchema('{"const": NaN}'),
        JsonSchema('{"const": "\\ud800"}'),
        JsonSchema('{"minimum": 1e999}'),
        JsonSchema('{"enum": []}'),
    ],
    ids=str,
)
def test_a_grammar_that_cannot_be_used_says_why(constraint):
    constraints = Constraints(engines.tokenizer(), vocabulary=tiny.vocabulary_size(), ends=[0])
    with pytest.raises(RangeError, match=r"^the (regular expression|JSON schema) cannot be used: "):
        constraints.matcher(constraint)


def test_a_choice_that_the_network_has_no_tokens_for_is_named():
    constraints = Constraints(engines.tokenizer(), vocabulary=10, ends=[0])
    with pytest.raises(RangeError, match="choice 'yes'"):
        constraints.matcher(Choices(("yes",)))
