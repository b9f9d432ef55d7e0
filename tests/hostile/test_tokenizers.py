"""Hostile tokenizers and chat templates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import tiny
from hostile.attack import nothing_runs, refused
from hostile.test_folders import code_that_marks
from trimtab.core.errors import FormatError, RangeError
from trimtab.models.tokenizer import read_tokenizer
from trimtab.text.generation import Speaker
from trimtab.text.prompts import PromptWriter

MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    tiny.llama().config.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def raw(content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / "tokenizer.json").write_bytes(content)


def inside(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def apply(folder: Path) -> None:
        path = folder / "tokenizer.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return apply


FILES: dict[str, Callable[[Path], Any]] = {
    "empty": raw(b""),
    "no JSON": raw(b"{"),
    "a list": raw(b"[]"),
    "bad UTF-8": raw(b"\xff\xfe"),
    "100,000 deep": raw(b"[" * 100_000),
    "an empty object": raw(b"{}"),
    "a pickle": raw(b"\x80\x04\x95" + bytes(40)),
    "no model": inside(lambda document: document.pop("model")),
    "an unknown model": inside(lambda document: document["model"].update(type="Evil")),
    "a vocabulary that is a list": inside(lambda document: document["model"].update(vocab=["a"])),
    "a token with a negative number": inside(lambda document: document["model"]["vocab"].update(a=-1)),
    "a token past 2^64": inside(lambda document: document["model"]["vocab"].update(a=2**64)),
    "a merge of unknown pieces": inside(lambda document: document["model"]["merges"].append(["東", "京"])),
    "a merge of one piece": inside(lambda document: document["model"]["merges"].append("a")),
    "an unknown step": inside(lambda document: document.update(pre_tokenizer={"type": "Evil"})),
    "a pattern that is none": inside(
        lambda document: document.update(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}
        )
    ),
    "added tokens that are numbers": inside(lambda document: document.update(added_tokens=[1])),
    "missing": lambda folder: (folder / "tokenizer.json").unlink(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", FILES)
def test_a_hostile_tokenizer_is_refused(folder, case):
    FILES[case](folder)
    with nothing_runs(folder):
        assert isinstance(refused(lambda: read_tokenizer(folder), folder), FormatError)


@pytest.mark.parametrize("key", ["auto_map", "tokenizer_class"])
def test_a_tokenizer_that_asks_for_code_gets_none(folder, tmp_path, key):
    value = {"AutoTokenizer": ["evil.Slow", "evil.Fast"]} if key == "auto_map" else "evil.Fast"
    tiny.change_json(folder / "tokenizer_config.json", **{key: value})
    (folder / "evil.py").write_text(code_that_marks(tmp_path / "mark"))
    with nothing_runs(folder), suppress(FormatError):
        read_tokenizer(folder)
    assert not (tmp_path / "mark").exists()


REFUSED_AT_ONCE: dict[str, str] = {
    "an unclosed tag": "{{ messages",
    "an unknown tag": "{% evil %}",
    "a power": "{{ 9 ** 9 ** 9 }}",
    "a large product": "{{ 'a' * 10000000000 }}",
    "a product of products": "{{ 'a' * 9999 * 9999 }}",
    "five loops inside each other": "{% for a in range(9) %}" * 5 + "x" + "{% endfor %}" * 5,
    "an inclusion": "{% include '/etc/passwd' %}",
    "an import": "{% import 'os' as os %}",
    "an extension": "{% extends '/etc/passwd' %}",
    "10,000 brackets": "{{" + "(" * 10_000 + "1" + ")" * 10_000 + "}}",
    "a megabyte": "x" * (1 << 20),
}

REFUSED_WHEN_RUN: dict[str, str] = {
    "the class of a text": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "the globals of a function": "{{ cycler.__init__.__globals__.os.system('true') }}",
    "a class by subscript": "{{ ''['__class__'].mro() }}",
    "a class by a filter": "{{ (''|attr('__class__')).mro() }}",
    "the format of an object": "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
    "a changed message": "{{ messages.append(1) }}",
    "a loop of 10^9": "{% for i in range(1000000000) %}x{% endfor %}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a division by zero": "{{ 1 / 0 }}",
    "a key that is not there": "{{ messages[0]['evil']['evil'] }}",
    "a refusal of its own": "{{ raise_exception('no\nnever') }}",
}


@pytest.mark.parametrize("case", REFUSED_AT_ONCE)
def test_a_template_that_could_take_everything_is_refused_when_it_is_read(folder, case):
    (folder / "chat_template.jinja").write_text(REFUSED_AT_ONCE[case])
    assert isinstance(refused(lambda: read_tokenizer(folder), folder), FormatError)


@pytest.mark.parametrize("case", REFUSED_WHEN_RUN)
def test_a_template_that_tries_to_get_out_is_stopped(folder, case):
    (folder / "chat_template.jinja").write_text(REFUSED_WHEN_RUN[case])
    prompts = Speaker(tiny.llama(), read_tokenizer(folder)).prompts
    with nothing_runs(folder):
        assert isinstance(refused(lambda: prompts.chat(MESSAGES), folder), FormatError | RangeError)


@pytest.mark.parametrize(
    "template",
    [
        tiny.CHAT_TEMPLATE,
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}",
        "{{ strftime_now('%Y') }}{{ messages | tojson }}{{ ' ' * 4 }}",
    ],
)
def test_what_real_templates_do_is_allowed(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    assert PromptWriter(read_tokenizer(folder)).chat(MESSAGES)
