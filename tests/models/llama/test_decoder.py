"""The lean decoder against transformers' own forward pass on the same, dequantised, weights."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from llama_family import NETWORKS
from needs import need
from trimtab.core.errors import RangeError
from trimtab.kernels import cpu, ops
from trimtab.models.decoder import Read
from trimtab.models.llama.decoder import MOST_TOKENS, LlamaDecoder
from trimtab.models.llama.family import obstacle
from trimtab.nn.linear import quantize_linears
from trimtab.nn.lora import LoraSettings, activate, add_lora, lora_layers


@pytest.fixture(autouse=True)
def compiled() -> None:
    need(ops.implementation("cpu") == "cpu", "the C library", "Install gcc and build the package again.")


@torch.no_grad()
def truth(net: nn.Module, ids: Tensor) -> Tensor:
    logits: Tensor = net(input_ids=ids.unsqueeze(0)).logits[0]
    return logits.float()


def ids_of(length: int, seed: int = 1) -> Tensor:
    return tiny.token_ids(1, length, seed=seed)[0]


def read_in_parts(decoder: LlamaDecoder, ids: Tensor, *borders: int) -> Tensor:
    state = decoder.start()
    parts = pairwise((0, *borders, len(ids)))
    reads = (Read(state, tuple(ids[a:b].tolist()), "all", written=b - a == 1) for a, b in parts)
    return torch.cat([decoder.read([read])[0] for read in reads])


def hold_to(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = min(level, cpu.level())
    monkeypatch.setattr(cpu, "level", lambda: allowed)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("stored", ["float32", "nf4", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_those_of_transformers(name: str, stored: Any) -> None:
    net = NETWORKS[name]()
    if stored != "float32":
        quantize_linears(net, kind=stored, double=stored == "nf4")
    ids = ids_of(70)
    assert_close(read_in_parts(LlamaDecoder(net), ids, 3, 4, 40, 64, 65), truth(net, ids))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_16_bits_are_read_without_loss(dtype: torch.dtype) -> None:
    net = tiny.llama().to(dtype)
    ids = ids_of(20)
    assert_close(read_in_parts(LlamaDecoder(net), ids, 10, 11, 12), truth(net.float(), ids))


def trained_at_random(net: nn.Module) -> None:
    """Give every adapter an effect, as training would."""
    generator = torch.Generator().manual_seed(3)
    for layer in lora_layers(net).values():
        for factor in layer.lora_B.values():
            factor.data = torch.randn(factor.shape, generator=generator) * 0.1


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("stored", ["float32", "nf4", "int8"])
@pytest.mark.parametrize("name", ["llama", "biased", "odd sizes"])
def test_a_sequence_has_the_same_bits_in_any_company(
    name: str, stored: Any, exact: bool, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_to(level, monkeypatch)
    net = NETWORKS[name]()
    if stored != "float32":
        quantize_linears(net, kind=stored, double=stored == "nf4")
    for adapter in ("one", "two"):
        add_lora(net, LoraSettings(rank=4), adapter=adapter)
    trained_at_random(net)
    decoder = LlamaDecoder(net, head="int8", exact=exact)

    def logits_of(texts: list[Tensor]) -> Tensor:
        """Read prompts and a written token each; give what the first one gets."""
        under = ("one", "one", None, "two", "one")
        states = [decoder.start(under[index % len(under)]) for index in range(len(texts))]
        pairs = list(zip(states, texts, strict=True))
        first = decoder.read([Read(state, tuple(text[:-1].tolist())) for state, text in pairs])[0]
        second = decoder.read([Read(state, tuple(text[-1:].tolist()), written=True) for state, text in pairs])[0]
        mixed = [Read(states[0], (5,), written=True), *(Read(decoder.start(), (1, 2, 3)) for _ in texts[1:])]
        return torch.cat((first, second, decoder.read(mixed)[0]))

    texts = [ids_of(length, seed=length) for length in (14, 3, 40, 9, 2, 7, 33, 5, 6, 8, 10, 11, 12, 4, 15, 16, 17, 18)]
    alone = logits_of(texts[:1])
    for company in (2, 5, len(texts)):
        assert torch.equal(logits_of(texts[:company]), alone)


def test_rounded_activations_stay_near_the_exact_logits() -> None:
    net = quantize_linears(tiny.llama())
    ids = ids_of(30)
    expected = truth(net, ids)
    found = read_in_parts(LlamaDecoder(net, exact=False), ids, *range(1, 30))
    assert float((found - expected).norm() / expected.norm()) < 1e-3
    assert not torch.equal(found, read_in_parts(LlamaDecoder(net), ids, *range(1, 30)))


@pytest.mark.parametrize(("head", "error"), [("int8", 1e-2), ("nf4", 0.3)])
def test_a_narrower_head_changes_logits_a_little(head: Any, error: float) -> None:
    net = tiny.llama()
    ids = ids_of(10)
    expected = truth(net, ids)
    found = read_in_parts(LlamaDecoder(net, head=head), ids, 5, 6, 7)
    assert 0.0 < float((found - expected).norm() / expected.norm()) < error


@pytest.mark.parametrize("level", [1, 2])
def test_each_instruction_set_gives_these_logits(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_to(level, monkeypatch)
    net = quantize_linears(tiny.llama())
    ids = ids_of(50)
    assert_close(read_in_parts(LlamaDecoder(net), ids, 30, 31), truth(net, ids))


def test_sequences_of_all_lengths_are_read_together_as_alone() -> None:
    net = quantize_linears(tiny.llama())
    decoder = LlamaDecoder(net)
    texts = [ids_of(length, seed=length) for length in (1, 33, 7, 40)]
    states = [decoder.start() for _ in texts]
    first = decoder.read(
        [Read(s, tuple(t[:-1].tolist()) or (0,), "none") for s, t in zip(states[1:], texts[1:], strict=True)]
    )
    assert [logits.shape[0] for logits in first] == [0, 0, 0]
    last = decoder.read([Read(s, tuple(t[-1:].tolist())) for s, t in zip(states, texts, strict=True)])
    for text, logits in zip(texts, last, strict=True):
        assert_close(logits, truth(net, text)[-1:])


def test_a_long_text_is_read_in_several_passes() -> None:
    net = tiny.llama(max_position_embeddings=2048)
    ids = ids_of(MOST_TOKENS + 100)
    assert_close(read_in_parts(LlamaDecoder(net), ids), truth(net, ids))


@pytest.mark.parametrize("at", [0, 1, 31, 32, 33, 40])
def test_a_fork_goes_its_own_way_from_any_token(at: int) -> None:
    net = quantize_linears(tiny.llama())
    decoder = LlamaDecoder(net)
    ids, other = ids_of(40), ids_of(9, seed=5)
    state = decoder.start()
    decoder.read([Read(state, tuple(ids.tolist()), "none")])
    fork = state.fork(at)
    (branched,) = decoder.read([Read(fork, tuple(other.tolist()))])
    (went_on,) = decoder.read([Read(state, (3,))])
    assert_close(branched, truth(net, torch.cat((ids[:at], other)))[-1:])
    assert_close(went_on, truth(net, torch.cat((ids, torch.tensor([3]))))[-1:])


def test_forks_share_pages_until_they_write() -> None:
    decoder = LlamaDecoder(tiny.llama())
    state = decoder.start()
    decoder.read([Read(state, tuple(ids_of(40).tolist()), "none")])
    assert decoder.pool.used == 2
    forks = [state.fork() for _ in range(3)]
    assert decoder.pool.used == 2
    decoder.read([Read(fork, (1,)) for fork in forks])
    assert decoder.pool.used == 5
    for one in (state, *forks):
        one.close()
        one.close()
    assert decoder.pool.used == 0


def test_adapters_are_applied_unmerged_each_to_its_own_rows() -> None:
    net = quantize_linears(tiny.llama())
    for name, rank in (("one", 4), ("two", 17)):
        add_lora(net, LoraSettings(rank=rank, targets=() if name == "one" else ("q_proj", "down_proj")), adapter=name)
    trained_at_random(net)
    decoder = LlamaDecoder(net)
    assert decoder.adapters == ("one", "two")
    ids = ids_of(20)
    names = ("two", None, "one", "one", "two")
    states = [decoder.start(name) for name in names]
    decoder.read([Read(state, tuple(ids[:-1].tolist()), "none") for state in states])
    found = decoder.read([Read(state, tuple(ids[-1:].tolist())) for state in states])
    for name, logits in zip(names, found, strict=True):
        activate(net, name)
        assert_close(logits, truth(net, ids)[-1:])


def test_a_full_window_is_refused_before_anything_is_read() -> None:
    decoder = LlamaDecoder(tiny.llama(max_position_embeddings=16))
    state = decoder.start()
    decoder.read([Read(state, (1,) * 16)])
    with pytest.raises(RangeError, match="window of 16"):
        decoder.read([Read(state, (1,))])
    assert state.length == 16


@pytest.mark.parametrize("token", [-1, 10**6])
def test_tokens_outside_the_vocabulary_are_refused(token: int) -> None:
    decoder = LlamaDecoder(tiny.llama())
    with pytest.raises(RangeError, match=str(token)):
        decoder.read([Read(decoder.start(), (token,))])


def test_a_closed_state_is_refused() -> None:
    decoder = LlamaDecoder(tiny.llama())
    state = decoder.start()
    state.close()
    with pytest.raises(RangeError, match="closed"):
        state.fork()
    with pytest.raises(RangeError, match="closed"):
        decoder.read([Read(state, (1,))])


def test_where_one_state_is_closed_no_other_reads() -> None:
    decoder = LlamaDecoder(tiny.llama())
    open_state, closed = decoder.start(), decoder.start()
    closed.close()
    with pytest.raises(RangeError, match="closed"):
        decoder.read([Read(open_state, (1,) * 40, "all"), Read(closed, (1,))])
    assert open_state.length == 0


def test_a_state_of_another_decoder_is_refused() -> None:
    one, other = LlamaDecoder(tiny.llama()), LlamaDecoder(tiny.llama())
    with pytest.raises(RangeError, match="of another decoder"):
        one.read([Read(other.start(), (1,))])


def test_parts_of_forks_are_the_same_until_they_read_on() -> None:
    decoder = LlamaDecoder(tiny.llama())
    state = decoder.start()
    decoder.read([Read(state, tuple(ids_of(40).tolist()))])
    fork = state.fork()
    assert fork.parts() == state.parts()
    decoder.read([Read(fork, (1,))])
    assert len({**fork.parts(), **state.parts()}) == 3
    assert sum(fork.parts().values()) == fork.bytes


def test_a_fork_beyond_what_was_read_is_refused() -> None:
    state = LlamaDecoder(tiny.llama()).start()
    with pytest.raises(RangeError, match=r"fork\(at=1\)"):
        state.fork(1)


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (lambda: tiny.causal("gpt_neox"), "architecture is gpt_neox"),
        (lambda: tiny.llama(hidden_act="gelu"), "activation is gelu"),
        (lambda: tiny.llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), "dynamic"),
        (lambda: nn.Linear(2, 2), "architecture is None"),
    ],
)
def test_another_network_is_refused_with_the_reason(net: Any, reason: str) -> None:
    built = net()
    assert reason in str(obstacle(built))
    with pytest.raises(RangeError, match=reason):
        LlamaDecoder(built)


def test_a_value_that_is_not_finite_reaches_only_its_own_logits() -> None:
    net = tiny.llama()
    net.get_input_embeddings().weight.data[7] = float("nan")
    decoder = LlamaDecoder(net)
    poisoned, clean = decoder.read([Read(decoder.start(), (1, 7)), Read(decoder.start(), (1, 2))])
    assert poisoned.isnan().all()
    assert clean.isfinite().all()


def test_the_base_stays_as_it_is(tmp_path: Path) -> None:
    net = quantize_linears(tiny.llama())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    read_in_parts(LlamaDecoder(net, exact=False), ids_of(30), 20, 21)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
