"""The plan: sizes from a config alone, the paper's claim, and advice where memory is short."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from trimtab.core.errors import FormatError, RangeError
from trimtab.store.bitsandbytes import quantization_config
from trimtab.train.plan import SHAPES, Plan, calibrate, make_plan, plan_events
from trimtab.train.plan.memory import measure_sizes
from trimtab.train.settings import RECIPES, TrainSettings

TINY: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "tie_word_embeddings": True,
}
LINEAR_WEIGHTS = 3 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 64 * 160)
SETTINGS = TrainSettings(batch_size=2, max_length=32, rank=4)


def test_codes_take_half_a_byte_a_weight() -> None:
    assert measure_sizes(TINY, SETTINGS).parts["codes"] == LINEAR_WEIGHTS // 2


def test_parameters_count_a_tied_embedding_once() -> None:
    norms = 64 * (2 * 3 + 1)
    assert measure_sizes(TINY, SETTINGS).parameters == LINEAR_WEIGHTS + 320 * 64 + norms


def test_adapter_has_rank_times_inputs_and_outputs() -> None:
    per_layer = 4 * ((64 + 64) * 2 + (64 + 32) * 2 + 3 * (64 + 160))
    assert measure_sizes(TINY, SETTINGS).adapter_parameters == 3 * per_layer


def test_activations_grow_with_the_batch_and_shrink_with_checkpointing() -> None:
    small = measure_sizes(TINY, SETTINGS).saved
    large = measure_sizes(TINY, replace(SETTINGS, batch_size=4)).saved
    checkpointed = measure_sizes(TINY, replace(SETTINGS, gradient_checkpointing=True)).saved
    assert 1.8 < large / small < 2.1
    assert checkpointed < small


def test_full_tuning_counts_every_weight_as_learning() -> None:
    sizes = measure_sizes(TINY, replace(SETTINGS, method="full"))
    assert sizes.adapter_parameters == sizes.parameters


def test_parts_add_up_to_the_peak() -> None:
    plan = make_plan(TINY, SETTINGS, limit_bytes=10**12, calibrate=False)
    assert sum(plan.parts.values()) == plan.peak_bytes
    assert plan.fits


def test_65b_fits_into_48_gb_and_full_tuning_needs_more_than_780() -> None:
    settings = TrainSettings(**dict(RECIPES["guanaco"]))
    plan = make_plan(SHAPES["llama-65b"], settings, limit_bytes=48 * 10**9, device="cuda", calibrate=False)
    assert plan.fits
    assert plan.peak_bytes <= 48 * 10**9
    assert plan.full_tuning_bytes > 780 * 10**9
    assert plan.paged_bytes > 0


@pytest.mark.parametrize(("name", "billions"), [("llama-7b", 6.74), ("llama-33b", 32.5)])
def test_llama_shapes_have_their_published_sizes(name: str, billions: float) -> None:
    assert measure_sizes(SHAPES[name], SETTINGS).parameters == pytest.approx(billions * 1e9, rel=0.01)


def test_what_does_not_fit_comes_with_knobs_and_what_each_saves() -> None:
    settings = replace(SETTINGS, batch_size=64, max_length=512)
    plan = make_plan(TINY, settings, limit_bytes=200 * 10**6, calibrate=False)
    assert not plan.fits
    assert any("gradient_checkpointing=true saves" in sentence for sentence in plan.advice)
    assert any("batch_size=1 saves" in sentence for sentence in plan.advice)


def test_an_optimizer_budget_moves_the_rest_out_of_the_peak() -> None:
    free = make_plan(TINY, SETTINGS, limit_bytes=10**12, calibrate=False)
    tight = make_plan(TINY, replace(SETTINGS, optimizer_budget=5000), limit_bytes=10**12, calibrate=False)
    assert tight.parts["optimizer"] == 5000
    assert tight.paged_bytes == free.parts["optimizer"] - 5000


def test_a_budget_too_large_for_the_memory_is_not_overruled_but_named() -> None:
    settings = replace(SETTINGS, rank=512, optimizer_budget=10**10)
    free = make_plan(TINY, replace(settings, optimizer_budget=0), limit_bytes=10**12, calibrate=False)
    tight = make_plan(TINY, settings, limit_bytes=free.peak_bytes // 2, calibrate=False)
    assert not tight.fits
    assert tight.parts["optimizer"] == free.parts["optimizer"]


@pytest.mark.parametrize(
    ("kind", "double", "codes"), [("nf4", True, 0.5), ("fp4", False, 0.5), ("int8", False, 1.0)], ids=str
)
@pytest.mark.parametrize("method", ["qlora", "lora", "int8"])
def test_a_quantized_base_is_planned_as_it_is_stored(method: Any, kind: Any, double: bool, codes: float) -> None:
    stored = TINY | {"quantization_config": quantization_config(kind, double=double)}
    sizes = measure_sizes(stored, replace(SETTINGS, method=method))
    assert sizes.parts["codes"] == LINEAR_WEIGHTS * codes
    assert sizes.parts["other weights"] < LINEAR_WEIGHTS


def test_full_tuning_of_a_quantized_base_cannot_be_planned() -> None:
    stored = TINY | {"quantization_config": quantization_config("nf4", double=True)}
    with pytest.raises(RangeError, match="needs a base that is not quantized"):
        make_plan(stored, replace(SETTINGS, method="full"), limit_bytes=10**12, calibrate=False)


@pytest.mark.parametrize("stored", [{"quant_method": "gptq", "bits": 4}, {}, 7, {"load_in_4bit": 1}], ids=str)
def test_a_base_quantized_in_another_way_is_refused(stored: Any) -> None:
    with pytest.raises(FormatError, match="readable are those of bitsandbytes"):
        make_plan(TINY | {"quantization_config": stored}, SETTINGS, limit_bytes=10**12, calibrate=False)


def test_plan_survives_json() -> None:
    plan = make_plan(TINY, SETTINGS, limit_bytes=10**9, calibrate=False)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_calibration_gives_a_time_and_takes_at_most_ten_seconds() -> None:
    import time

    began = time.perf_counter()
    plan = make_plan(TINY, SETTINGS, limit_bytes=10**12)
    assert time.perf_counter() - began < 10
    assert plan.seconds_a_step is not None
    assert 0 < plan.seconds_a_step < 10


@pytest.mark.parametrize("changes", [{"gradient_checkpointing": True}, {"method": "full"}], ids=str)
def test_calibration_runs_the_layers_as_the_run_does(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "LIMIT_S", 0.3)
    settings = replace(SETTINGS, **changes)
    seconds = calibrate.seconds_a_step(TINY, settings, measure_sizes(TINY, settings))
    assert seconds is not None
    assert seconds > 0


def test_planning_leaves_the_code_books_usable() -> None:
    from trimtab.quant import levels, quantize

    make_plan(TINY, SETTINGS, limit_bytes=10**12, calibrate=False)
    assert levels("nf4")[0].item() == -1.0
    assert quantize(torch.ones(64, 64)).dense().eq(1).all()


def test_encoder_decoders_and_other_families_can_be_planned() -> None:
    t5 = {"model_type": "t5", "d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 100, "d_kv": 16}
    opt = {"model_type": "opt", "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    neox = {"model_type": "gpt_neox", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    for document in (t5, opt | {"vocab_size": 100, "word_embed_proj_dim": 32}, neox | {"intermediate_size": 64}):
        assert make_plan(document, SETTINGS, limit_bytes=10**12, calibrate=False).parts["activations"] > 0


def test_a_config_that_names_no_network_is_refused() -> None:
    with pytest.raises(FormatError, match="no network that transformers knows"):
        make_plan({"model_type": "nothing"}, SETTINGS, limit_bytes=1)


def test_events_end_with_a_table_and_a_verdict() -> None:
    events = [event.to_json() for event in plan_events(make_plan(TINY, SETTINGS, limit_bytes=1, calibrate=False))]
    assert events[0]["event"] == "table"
    assert events[0]["rows"][-1][0] == "peak"
    assert "does NOT fit" in events[1]["text"]
