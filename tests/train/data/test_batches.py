"""Batches: their tensors, their order, and taking a stopped run up again."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
import transformers

from trimtab.core.errors import CheckpointError, DataError, RangeError
from trimtab.train.data import NOT_TRAINED, Batch, Batches, DataSettings, Example, collate, in_order, preview, split
from trimtab.train.data.batch import collate_packed
from trimtab.train.data.order import epoch_order, pack

WINDOW = 32


def made(count: int, *, seed: int = 0) -> list[Example]:
    """Make examples of 2 to 20 tokens whose first half is not learnt."""
    drawn = random.Random(seed)
    examples = []
    for line in range(1, count + 1):
        size = drawn.randint(2, 20)
        ids = [drawn.randint(3, 99) for _ in range(size)]
        examples.append(Example(ids, [n >= size // 2 for n in range(size)], f"made.jsonl:{line}"))
    return examples


EXAMPLES = made(23)


def stream(
    examples: list[Example] = EXAMPLES, *, packing: bool = False, grouped: bool = True, seed: int = 0
) -> Batches:
    settings = DataSettings(max_length=WINDOW, packing=packing, group_by_length=grouped, seed=seed)
    return Batches(examples, batch_size=4, settings=settings, pad_id=0)


def same(first: Batch, second: Batch) -> bool:
    return first.places == second.places and all(
        torch.equal(first.inputs()[name], second.inputs()[name]) for name in first.inputs() if name != "use_cache"
    )


def test_a_batch_is_padded_on_the_right_and_padding_is_neither_seen_nor_learnt() -> None:
    batch = collate([Example([5, 6, 7], [False, True, True], "a:1"), Example([8, 9], [True, True], "a:2")], pad_id=1)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 9, 1]]
    assert batch.attention_mask is not None
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.labels.tolist() == [[NOT_TRAINED, 6, 7], [NOT_TRAINED, 9, NOT_TRAINED]]
    assert (batch.trained_tokens, batch.tokens) == (3, 5)


def test_an_encoder_decoder_batch_has_the_answers_as_labels() -> None:
    examples = [Example([5, 6], [False] * 2, "a:1", [7]), Example([8], [False], "a:2", [9, 10, 11])]
    batch = collate(examples, pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6], [8, 0]]
    assert batch.labels.tolist() == [[7, NOT_TRAINED, NOT_TRAINED], [9, 10, 11]]


def test_a_packed_window_counts_positions_anew_and_never_learns_across_examples() -> None:
    examples = [Example([5, 6], [True, True], "a:1"), Example([7, 8, 9], [True, True, True], "a:2")]
    batch = collate_packed([examples, examples[:1]], pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9], [5, 6, 0, 0, 0]]
    assert batch.position_ids is not None
    assert batch.position_ids.tolist() == [[0, 1, 0, 1, 2], [0, 1, 0, 1, 2]]
    assert batch.labels.tolist() == [[NOT_TRAINED, 6, NOT_TRAINED, 8, 9], [NOT_TRAINED, 6] + [NOT_TRAINED] * 3]
    assert batch.attention_mask is None
    assert batch.places == ("a:1, a:2", "a:1")


NETWORK = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def test_padding_changes_no_logit_of_a_causal_network() -> None:
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, **NETWORK
    )
    network = transformers.LlamaForCausalLM(config).eval()
    batch = collate(EXAMPLES[:4], pad_id=0)
    with torch.no_grad():
        together = network(**batch.inputs()).logits
        for line, example in enumerate(EXAMPLES[:4]):
            alone = network(torch.tensor([example.input_ids])).logits[0]
            assert torch.allclose(together[line, : len(example)], alone, atol=1e-5)


def test_padding_changes_no_loss_of_an_encoder_decoder_network() -> None:
    config = transformers.T5Config(
        d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0, **NETWORK
    )
    network = transformers.T5ForConditionalGeneration(config).eval()
    examples = [Example([5, 6, 7, 2], [False] * 4, "a:1", [8, 2]), Example([9, 2], [False] * 2, "a:2", [10, 11, 12, 2])]

    def summed(chosen: list[Example]) -> torch.Tensor:
        batch = collate(chosen, pad_id=0)
        with torch.no_grad():
            return network(**batch.inputs(), labels=batch.labels).loss * batch.trained_tokens

    assert torch.allclose(summed(examples), summed(examples[:1]) + summed(examples[1:]), rtol=1e-5)


def test_a_batch_moves_to_a_device_whole() -> None:
    batch = collate(EXAMPLES[:2], pad_id=0)
    batch = replace(batch, position_ids=torch.zeros_like(batch.input_ids)).to("meta")
    tensors = [batch.input_ids, batch.labels, batch.attention_mask, batch.position_ids]
    assert all(tensor is not None and tensor.device.type == "meta" for tensor in tensors)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_every_epoch_gives_every_example_once(packing: bool, grouped: bool) -> None:
    batches = stream(packing=packing, grouped=grouped)
    for _ in range(3):
        epoch = list(islice(batches, batches.batches_per_epoch))
        places = ", ".join(place for batch in epoch for place in batch.places).split(", ")
        assert Counter(places) == Counter(example.place for example in EXAMPLES)


def test_epochs_differ_in_order() -> None:
    batches = stream(grouped=False)
    epochs = [[b.places for b in islice(batches, batches.batches_per_epoch)] for _ in range(2)]
    assert epochs[0] != epochs[1]


def test_seeds_differ_in_order() -> None:
    assert next(stream(grouped=False, seed=0)).places != next(stream(grouped=False, seed=1)).places


def test_no_packed_window_is_longer_than_allowed() -> None:
    batches = stream(packing=True)
    assert all(batch.input_ids.shape[1] <= WINDOW for batch in islice(batches, batches.batches_per_epoch))


def test_packing_needs_fewer_windows_than_examples() -> None:
    assert stream(packing=True).batches_per_epoch < stream().batches_per_epoch


def test_grouping_saves_padding() -> None:
    def padded(grouped: bool) -> int:
        batches = stream(made(400), grouped=grouped)
        return sum(batch.input_ids.numel() for batch in islice(batches, batches.batches_per_epoch))

    assert padded(True) < 0.75 * padded(False)


def test_the_longest_example_comes_in_the_first_batch_when_grouped() -> None:
    examples = made(300)
    assert next(stream(examples)).input_ids.shape[1] == max(map(len, examples))


@pytest.mark.parametrize("position", range(15))
@pytest.mark.parametrize("packing", [False, True])
def test_a_stream_taken_up_anywhere_goes_on_with_the_same_batches(position: int, packing: bool) -> None:
    first = stream(packing=packing)
    for _ in range(position):
        next(first)
    saved = json.loads(json.dumps(first.state()))
    second = stream(packing=packing)
    second.load_state(saved)
    assert all(same(next(first), next(second)) for _ in range(10))


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (lambda: stream(made(22)), "fingerprint"),
        (lambda: stream([replace(EXAMPLES[0], trained=[True] * len(EXAMPLES[0])), *EXAMPLES[1:]]), "fingerprint"),
        (lambda: stream(packing=True), "fingerprint"),
        (lambda: stream(seed=1), "seed"),
        (lambda: Batches(EXAMPLES, batch_size=5, settings=DataSettings()), "batch_size"),
    ],
)
def test_a_cursor_of_another_stream_is_refused(other: Any, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"begun with {name}"):
        stream().load_state(other().state())


@pytest.mark.parametrize("wrong", [{"position": 99}, {"position": -1}, {"epoch": -1}])
def test_a_cursor_that_points_nowhere_is_refused(wrong: dict[str, int]) -> None:
    batches = stream()
    with pytest.raises(CheckpointError, match="no such place"):
        batches.load_state({**batches.state(), **wrong})


ORDER_SCRIPT = """
from trimtab.train.data import Batches, DataSettings, Example, split
examples = [Example(list(range(2 + n % 7)), [True] * (2 + n % 7), f"made:{n}") for n in range(40)]
kept, held = split(examples, 0.2, 3)
for packing in (False, True):
    batches = Batches(kept, batch_size=3, settings=DataSettings(max_length=9, packing=packing, seed=5))
    print([next(batches).places for _ in range(20)], batches.state(), [example.place for example in held])
"""


def test_the_order_is_the_same_in_every_process() -> None:
    def printed(hash_seed: str) -> str:
        surroundings = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        command = [sys.executable, "-c", ORDER_SCRIPT]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings)
        return done.stdout

    assert printed("1") == printed("2") != ""


def test_evaluation_gives_every_example_once_in_order() -> None:
    places = [place for batch in in_order(EXAMPLES, batch_size=4) for place in batch.places]
    assert places == [example.place for example in EXAMPLES]


@pytest.mark.parametrize(("examples", "batch_size"), [([], 4), (EXAMPLES, 0)])
def test_batches_of_nothing_are_refused(examples: list[Example], batch_size: int) -> None:
    with pytest.raises(RangeError, match="at least 1 of each"):
        Batches(examples, batch_size=batch_size)


def test_encoder_decoder_examples_are_not_packed() -> None:
    with pytest.raises(RangeError, match="packing = false"):
        stream([Example([5], [False], "a:1", [6])], packing=True)


@pytest.mark.parametrize("seed", range(20))
def test_packing_places_every_example_once_and_fills_no_window_over(seed: int) -> None:
    drawn = random.Random(seed)
    lengths = [drawn.randint(1, 64) for _ in range(drawn.randint(1, 200))]
    windows = pack(lengths, 64)
    assert sorted(index for window in windows for index in window) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in window) <= 64 for window in windows)


def test_packing_wastes_little() -> None:
    drawn = random.Random(0)
    lengths = [drawn.randint(10, 400) for _ in range(2000)]
    assert sum(lengths) > 0.98 * 512 * len(pack(lengths, 512))


def test_an_example_longer_than_a_window_cannot_be_packed() -> None:
    with pytest.raises(RangeError, match="9 tokens does not fit a window of 8"):
        pack([3, 9], 8)


@pytest.mark.parametrize("grouped", [False, True])
def test_an_order_has_full_batches_but_for_one(grouped: bool) -> None:
    batches = epoch_order(list(range(1, 24)), 4, grouped=grouped, seed="0:0")
    assert sorted(map(len, batches)) == [3, 4, 4, 4, 4, 4]


@pytest.mark.parametrize(("fraction", "held"), [(0.05, 1), (0.0001, 1), (0.5, 12), (0.99, 22)])
def test_a_part_is_held_out_and_nothing_is_in_both(fraction: float, held: int) -> None:
    kept, held_out = split(EXAMPLES, fraction, 0)
    assert len(held_out) == held
    assert Counter(example.place for example in (*kept, *held_out)) == Counter(e.place for e in EXAMPLES)


def test_nothing_is_held_out_where_that_is_asked_for() -> None:
    assert split(EXAMPLES, 0.0, 0) == (tuple(EXAMPLES), ())


def test_examples_of_one_row_stay_together() -> None:
    examples = [replace(example, place=f"made.jsonl:{n // 3}") for n, example in enumerate(EXAMPLES)]
    kept, held_out = split(examples, 0.3, 0)
    assert not {example.place for example in kept} & {example.place for example in held_out}


def test_one_row_cannot_be_parted() -> None:
    with pytest.raises(DataError, match="at least 2 are needed"):
        split(EXAMPLES[:1], 0.05, 0)


def test_a_preview_shows_special_tokens_and_what_is_learnt(byte_tokenizer: Any) -> None:
    tokenizer = byte_tokenizer("chatml")
    ids = tokenizer("<|im_start|>hello<|im_end|>", add_special_tokens=False)["input_ids"]
    trained = [False] + [True] * (len(ids) - 1)
    assert preview(Example(ids, trained, "a:1"), tokenizer) == [("<|im_start|>", False), ("hello<|im_end|>", True)]


def test_a_preview_keeps_the_space_that_a_word_carries(word_tokenizer: Any) -> None:
    tokenizer = word_tokenizer()
    ids = tokenizer("It is four.", add_special_tokens=False)["input_ids"]
    assert preview(Example(ids, [False, True, True], "a:1"), tokenizer) == [("It", False), (" is four.", True)]
