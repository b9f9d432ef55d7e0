"""A conversation in the terminal: its commands, and who answers."""

from __future__ import annotations

import pytest
import torch

import tiny
from trimtab.cli.chat import Conversation
from trimtab.nn.lora import LoraSettings, add_lora, lora_layers
from trimtab.text.engine import Sampling
from trimtab.text.generation import Speaker


@pytest.fixture
def conversation() -> Conversation:
    """A tiny network with two adapters that change it plainly, the first in use."""
    net = tiny.llama()
    for seed, name in enumerate(("pirate", "poet")):
        add_lora(net, LoraSettings(rank=4), adapter=name)
        generator = torch.Generator().manual_seed(seed)
        for layer in lora_layers(net).values():
            layer.lora_B[name].data = torch.randn(layer.lora_B[name].shape, generator=generator)
    return Conversation(Speaker(net, tiny.tokenizer()), Sampling(max_tokens=8), ["pirate", "poet"], "pirate")


def said(conversation: Conversation, capsys: pytest.CaptureFixture[str], line: str) -> str:
    conversation.take(line)
    return capsys.readouterr().out


def test_each_adapter_and_the_bare_base_answer_in_their_own_way(
    conversation: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for name in ("pirate", "poet", "none", "pirate"):
        conversation.take(f"/adapter {name}")
        conversation.take("/reset")
        capsys.readouterr()
        answers.append(said(conversation, capsys, "on the tab"))
    assert len(set(answers[:3])) == 3
    assert answers[3] == answers[0]


def test_adapters_are_listed_with_a_star_at_the_one_in_use(
    conversation: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(conversation, capsys, "/adapter") == "* pirate\n  poet\n  none\n"
    assert said(conversation, capsys, "/adapter none") == "  pirate\n  poet\n* none\n"


def test_a_misspelt_adapter_changes_nothing(conversation: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(conversation, capsys, "/adapter poem") == "no adapter poem. Did you mean 'poet'?\n"
    assert conversation.adapter == "pirate"


def test_a_misspelt_command_suggests_the_right_one(
    conversation: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(conversation, capsys, "/rest") == "/rest is no command. Did you mean '/reset'?\n"


def test_what_was_said_is_remembered_until_reset(
    conversation: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    first = said(conversation, capsys, "on the tab").rstrip("\n")
    assert [turn["content"] for turn in conversation.turns] == ["on the tab", first]
    conversation.take("/reset")
    assert not conversation.turns


def test_a_system_message_is_set_and_taken_back(conversation: Conversation) -> None:
    conversation.take("/system speak up")
    assert conversation.system == [{"role": "system", "content": "speak up"}]
    conversation.take("/system")
    assert not conversation.system


def test_a_conversation_that_outgrew_the_window_can_begin_anew(
    conversation: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation.take("on the tab " * 100)
    assert "/reset begins anew" in capsys.readouterr().err
    assert not conversation.turns
    assert said(conversation, capsys, "on the tab")


def test_a_system_message_that_the_template_refuses_can_be_taken_back(
    conversation: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = refusing + tiny.CHAT_TEMPLATE
    conversation.speaker = Speaker(tiny.llama(), tokenizer)
    conversation.adapter = None
    conversation.take("/system be brief")
    conversation.take("on the tab")
    error = capsys.readouterr().err
    assert "no system turns" in error
    assert "/system without TEXT takes the system message back" in error
    assert "--" not in error
    conversation.take("/system")
    assert said(conversation, capsys, "on the tab")


def test_help_names_every_command(conversation: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(conversation, capsys, "/help")
    assert all(command in shown for command in ("/reset", "/system", "/adapter", "/help", "/quit"))
