"""Transformers' own networks behind the protocol: whatever is read how, the logits are those of one plain pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tiny
from trimtab.core.errors import RangeError
from trimtab.models.decoder import Read, State
from trimtab.models.transformers_decoder import TransformersDecoder
from trimtab.nn.lora import LoraSettings, activate, add_lora

PLAIN = ("llama", "qwen2", "qwen3", "gpt_neox", "opt", "mixtral", "gpt2")
SLIDING = ("gemma2", "gemma3")
RECURRENT = {
    "mamba": {"state_size": 8},
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 8, "n_groups": 2, "hidden_size": 64},
    "qwen3_next": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"], "num_key_value_heads": 2},
}
ALL = (*PLAIN, *SLIDING, *RECURRENT)


def network(family: str) -> torch.nn.Module:
    if family in SLIDING:
        return tiny.FAMILIES[family](sliding_window=6, layer_types=["sliding_attention", "full_attention"])
    if family in RECURRENT:
        return tiny.causal(family, **RECURRENT[family])
    return (tiny.FAMILIES | tiny.UNUSUAL)[family]()


@pytest.fixture(scope="module")
def decoders() -> dict[str, TransformersDecoder]:
    return {family: TransformersDecoder(network(family)) for family in ALL}


def tokens(length: int, *, seed: int = 1) -> tuple[int, ...]:
    return tuple(tiny.token_ids(1, length, seed=seed)[0].tolist())


def whole(decoder: TransformersDecoder, sequence: tuple[int, ...]) -> torch.Tensor:
    return tiny.logits(decoder.net, torch.tensor([sequence]))[0]


def read(decoder: TransformersDecoder, state: State, sequence: tuple[int, ...], wanted: Any = "all") -> torch.Tensor:
    (logits,) = decoder.read([Read(state, sequence, wanted)])
    return logits


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("cuts", [(12,), (5, 4, 3), (1,) * 12], ids=str)
def test_reading_in_parts_is_reading_at_once(decoders, family, cuts):
    decoder, sequence, at = decoders[family], tokens(12), 0
    state, parts = decoder.start(), []
    for cut in cuts:
        parts.append(read(decoder, state, sequence[at : at + cut]))
        at += cut
    torch.testing.assert_close(torch.cat(parts), whole(decoder, sequence), atol=2e-5, rtol=1e-4)
    assert state.length == 12


@pytest.mark.parametrize("family", ALL)
def test_rows_of_any_lengths_and_pasts_are_what_they_are_alone(decoders, family):
    decoder = decoders[family]
    sequences = [tokens(4, seed=1), tokens(11, seed=2), tokens(7, seed=3), tokens(12, seed=4), tokens(9, seed=5)]
    pasts = [0, 8, 3, 9, 8]
    states = [decoder.start() for _ in sequences]
    for state, sequence, past in zip(states, sequences, pasts, strict=True):
        if past:
            decoder.read([Read(state, sequence[:past], "none")])
    rest = [Read(s, q[p:], "all") for s, q, p in zip(states, sequences, pasts, strict=True)]
    for sequence, past, logits in zip(sequences, pasts, decoder.read(rest), strict=True):
        torch.testing.assert_close(logits, whole(decoder, sequence)[past:], atol=2e-5, rtol=1e-4)
    for sequence, logits in zip(sequences, decoder.read([Read(s, (7,)) for s in states]), strict=True):
        torch.testing.assert_close(logits[0], whole(decoder, (*sequence, 7))[-1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ALL)
def test_a_fork_and_its_original_go_their_own_ways(decoders, family):
    decoder, stem = decoders[family], tokens(8)
    one = decoder.start()
    read(decoder, one, stem)
    other = one.fork()
    for state, ending in ((one, (3, 4)), (other, (5, 6))):
        for token in ending:
            logits = read(decoder, state, (token,))
        torch.testing.assert_close(logits[-1], whole(decoder, (*stem, *ending))[-1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", PLAIN)
@pytest.mark.parametrize("at", [0, 3])
def test_a_fork_of_plain_attention_may_forget(decoders, family, at):
    decoder, stem = decoders[family], tokens(8)
    state = decoder.start()
    read(decoder, state, stem)
    fork = state.fork(at)
    logits = read(decoder, fork, (5, 6))
    torch.testing.assert_close(logits[-1], whole(decoder, (*stem[:at], 5, 6))[-1], atol=2e-5, rtol=1e-4)
    assert (fork.length, state.length) == (at + 2, 8)


@pytest.mark.parametrize("family", ALL)
def test_only_plain_attention_can_be_rewound(decoders, family):
    assert decoders[family].rewindable == (family in PLAIN)


@pytest.mark.parametrize("family", [*SLIDING, *RECURRENT])
def test_forgetting_what_cannot_be_forgotten_is_refused(decoders, family):
    state = decoders[family].start()
    read(decoders[family], state, tokens(8))
    with pytest.raises(RangeError, match="fork at 3 of 8"):
        state.fork(3)


@pytest.mark.parametrize("at", [-1, 9])
def test_a_fork_outside_of_what_was_read_is_refused(decoders, at):
    state = decoders["llama"].start()
    read(decoders["llama"], state, tokens(8))
    with pytest.raises(RangeError, match=rf"fork\(at={at}\) of a state of 8 tokens. Allowed: 0 to 8"):
        state.fork(at)


@pytest.mark.parametrize("family", ["llama", "mamba"])
@pytest.mark.parametrize(("wanted", "rows"), [("last", 1), ("all", 5), ("none", 0)])
def test_only_the_logits_that_are_wanted_come_back(decoders, family, wanted, rows):
    decoder = decoders[family]
    logits = read(decoder, decoder.start(), tokens(5), wanted)
    assert logits.shape == (rows, decoder.vocabulary)
    assert torch.allclose(logits, whole(decoder, tokens(5))[5 - rows :], atol=2e-5)


def test_rows_of_several_adapters_and_the_base_stand_in_one_batch():
    net = tiny.llama()
    for name in ("first", "second"):
        add_lora(net, LoraSettings(rank=4), adapter=name)
        tiny.tune(net)
    decoder, sequence = TransformersDecoder(net), tokens(6)
    names = ["second", None, "first", "second"]
    rows = decoder.read([Read(decoder.start(name), sequence) for name in names])
    alone = []
    for name in names:
        activate(net, name)
        alone.append(whole(decoder, sequence)[-1:])
    torch.testing.assert_close(rows, alone, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(rows[0], rows[1], atol=1e-3)
    assert decoder.adapters == ("first", "second")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((), "no tokens"),
        ((3, -1), "token -1: allowed is 0 to"),
        ((10**6,), "token 1000000: allowed is 0 to"),
        ((1,) * 129, "pass the window of 128"),
    ],
)
def test_a_read_that_is_not_allowed_leaves_every_state_of_the_batch_alone(decoders, wrong, message):
    decoder = decoders["llama"]
    good, bad = decoder.start(), decoder.start()
    with pytest.raises(RangeError, match=message):
        decoder.read([Read(good, (1, 2)), Read(bad, wrong)])
    assert (good.length, bad.length) == (0, 0)


def test_one_state_cannot_stand_twice_in_a_batch(decoders):
    state = decoders["llama"].start()
    with pytest.raises(RangeError, match="2 reads of 1 states"):
        decoders["llama"].read([Read(state, (1,)), Read(state, (2,))])


def test_an_adapter_that_is_not_loaded_is_named(decoders):
    with pytest.raises(RangeError, match="adapter 'mine' is not loaded"):
        decoders["llama"].start("mine")


def test_a_closed_state_holds_nothing_and_reads_nothing(decoders):
    state = decoders["llama"].start()
    read(decoders["llama"], state, tokens(4))
    assert state.bytes == tiny.LAYERS * 2 * 4 * (tiny.WIDTH // tiny.HEADS) * tiny.KV_HEADS * 4
    state.close()
    state.close()
    assert state.bytes == 0
    with pytest.raises(RangeError, match="closed"):
        read(decoders["llama"], state, (1,))


def test_a_closed_state_that_had_read_nothing_stops_the_others(decoders):
    state, closed = decoders["llama"].start(), decoders["llama"].start()
    closed.close()
    with pytest.raises(RangeError, match="closed"):
        decoders["llama"].read([Read(state, (1,) * 9), Read(closed, (1,))])
    assert state.length == 0


def test_a_state_of_another_decoder_is_refused(decoders):
    with pytest.raises(RangeError, match="of another decoder"):
        decoders["llama"].read([Read(decoders["gpt_neox"].start(), (1,))])


def test_states_that_were_read_in_one_batch_share_its_memory(decoders):
    states = [decoders["llama"].start() for _ in range(3)]
    decoders["llama"].read([Read(state, tuple(tokens(5))) for state in states])
    assert states[0].parts() == states[1].parts() == states[2].parts()


def test_an_encoder_decoder_is_refused():
    with pytest.raises(RangeError, match="allowed are causal networks"):
        TransformersDecoder(tiny.FAMILIES["t5"]())
