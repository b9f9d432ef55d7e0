"""Every method learns, on every kind of network, and leaves frozen what is frozen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny
from train_runs import Making, measured, run
from trimtab.core.errors import DataError
from trimtab.core.job import Event
from trimtab.models.language_model import LanguageModel
from trimtab.models.load import load_network
from trimtab.models.tokenizer import read_tokenizer
from trimtab.nn.freeze import fingerprint, trainable
from trimtab.nn.lora import lora_layers
from trimtab.store.adapter import load_adapter
from trimtab.train import work
from trimtab.train.data import Batch, collate
from trimtab.train.evaluate import held_out_loss
from trimtab.train.prepare import build_model, read_data
from trimtab.train.request import TrainRequest
from trimtab.train.settings import read_settings
from trimtab.train.step import accumulate_gradients

TREES = Path(__file__).parents[1] / "data" / "oasst1_20_trees.jsonl.gz"


def _losses(request: TrainRequest) -> list[float]:
    return [line["loss"] for line in measured(request) if "loss" in line]


def _longest_step(request: TrainRequest) -> float:
    lines = (request.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return max(json.loads(line).get("seconds", 0.0) for line in lines)


def _learned(events: list[Event]) -> tuple[float, float]:
    result = events[-1].to_json()
    return result["eval_loss_before"], result["eval_loss_after"]


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "qlora"},
        {"method": "qlora", "quant_type": "fp4", "double": False},
        {"method": "qlora", "quant_type": "int4"},
        {"method": "lora"},
        {"method": "int8"},
        {"method": "full", "lr": 3e-3},
        {"method": "qlora", "rank_stabilised": True, "targets": ("q_proj", "v_proj")},
        {"method": "qlora", "optimizer_bits": 8, "loss_on": "all"},
    ],
    ids=str,
)
def test_every_method_lowers_the_held_out_loss(making: Making, settings: dict[str, Any]) -> None:
    before, after = _learned(run(making(steps=12, **settings)))
    assert after < before - 0.15


@pytest.mark.parametrize("family", ["t5", "qwen3", "gemma3", "gpt_neox", "opt", "mixtral"])
def test_other_families_learn_too(making: Making, tmp_path: Path, family: str) -> None:
    folder = tiny.save(tiny.FAMILIES[family](), tmp_path / family, with_tokenizer=True)
    before, after = _learned(run(making(model=folder, steps=10)))
    assert after < before - 0.1


def test_full_tuning_writes_a_model_that_transformers_loads(making: Making) -> None:
    from transformers import AutoModelForCausalLM

    request = making(method="full", lr=3e-3)
    run(request)
    theirs = AutoModelForCausalLM.from_pretrained(request.out / "model", dtype=torch.float32)
    ids = tiny.token_ids()
    assert torch.equal(tiny.logits(theirs.eval(), ids), tiny.logits(load_network(request.out / "model"), ids))
    assert not torch.equal(tiny.logits(theirs, ids), tiny.logits(load_network(request.model), ids))


def test_the_adapter_of_a_run_gives_the_held_out_loss_that_the_run_told(making: Making) -> None:
    request = making(method="lora", steps=6)
    _, told = _learned(run(request))
    data = read_data(request, read_tokenizer(request.model))
    net = load_adapter(load_network(request.model), request.out / "adapter")
    assert held_out_loss(LanguageModel(net), data.held_out, batch_size=2, pad_id=data.pad_id) == pytest.approx(told)


@pytest.mark.parametrize("method", ["qlora", "lora", "int8"])
def test_training_changes_no_byte_of_the_base(making: Making, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    prints: list[tuple[LanguageModel, str]] = []

    def build(request: TrainRequest, device: torch.device) -> LanguageModel:
        model = build_model(request, device)
        prints.append((model, fingerprint(model.net)))
        return model

    monkeypatch.setattr(work, "build_model", build)
    run(making(method=method))
    ((model, before),) = prints
    assert fingerprint(model.net) == before
    assert any(bool(parameter.any()) for name, parameter in trainable(model.net).items() if "lora_B" in name)


def _gradients(request: TrainRequest, batches: list[Batch]) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    model = build_model(request, torch.device("cpu"))
    for parameter in trainable(model.net).values():  # B is 0 at the start and would hide A
        torch.nn.init.normal_(parameter, std=0.05)
    model.net.train()
    accumulate_gradients(model, batches)
    return {name: parameter.grad for name, parameter in trainable(model.net).items()}  # type: ignore[misc]


def _examples(request: TrainRequest) -> list[Any]:
    return list(read_data(request, read_tokenizer(request.model)).train[:4])


def _assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_four_batches_of_one_give_the_gradient_of_one_batch_of_four(making: Making) -> None:
    request = making()
    examples = _examples(request)
    apart = _gradients(request, [collate([example], pad_id=0) for example in examples])
    _assert_same(apart, _gradients(request, [collate(examples, pad_id=0)]))


@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
def test_activations_computed_again_give_the_same_gradients(making: Making, method: str) -> None:
    batches = [collate(_examples(making()), pad_id=0)]
    kept = _gradients(making(method=method), batches)
    _assert_same(_gradients(making(method=method, gradient_checkpointing=True), batches), kept)


def test_one_batch_of_four_and_four_of_one_learn_the_same(making: Making) -> None:
    together = making(out="together", batch_size=4, accumulate=1, group_by_length=False)
    apart = making(out="apart", batch_size=1, accumulate=4, group_by_length=False)
    run(together)
    run(apart)
    assert _losses(apart) == pytest.approx(_losses(together), abs=2e-4)


def test_a_run_without_improvement_stops_early(making: Making) -> None:
    result = run(making(steps=50, eval_every=1, patience=3, lr=0.02))[-1].to_json()
    assert result["steps"] < 50
    assert result["stopped_by"] == "no better held-out loss in 3 evaluations"


def test_an_early_stop_is_final_until_patience_is_raised(making: Making) -> None:
    settings: dict[str, Any] = {"steps": 50, "eval_every": 1, "lr": 0.02}
    stopped = run(making(patience=2, **settings))[-1].to_json()["steps"]
    assert run(making(patience=2, **settings))[-1].to_json()["steps"] == stopped
    assert run(making(patience=3, **settings))[-1].to_json()["steps"] > stopped


def test_the_best_adapter_is_kept_apart_from_the_last(making: Making) -> None:
    request = making(steps=8, eval_every=1, lr=0.02, keep=1)
    result = run(request)[-1].to_json()
    losses = {line["step"]: line["eval_loss"] for line in measured(request) if "eval_loss" in line and line["step"]}
    assert result["best_step"] == min(losses, key=lambda step: losses[step])
    assert result["best_step"] < 8
    net = load_adapter(load_network(request.model), request.out / "adapter-best")
    saved = request.out / "checkpoints" / f"step-{result['best_step']}" / "weights.safetensors"
    best, kept = load_file(saved), {name: p.detach() for name, p in net.named_parameters() if "lora_" in name}
    assert best.keys() == kept.keys()
    assert all(torch.equal(best[name], kept[name]) for name in best)


def test_the_best_and_the_last_checkpoints_stay(making: Making) -> None:
    request = making(steps=8, eval_every=1, save_every=1, lr=0.02, keep=2)
    best = run(request)[-1].to_json()["best_step"]
    kept = {path.name for path in (request.out / "checkpoints").iterdir()}
    assert kept == {f"step-{step}" for step in {best, 7, 8}}


def test_a_time_limit_ends_the_run_and_a_longer_one_continues_it(making: Making) -> None:
    request = making(steps=10_000, time_limit_s=0.3)
    short = run(request)[-1].to_json()
    assert 0 < short["steps"] < 10_000
    assert 0.1 < short["seconds"] < 0.3 + 2 * _longest_step(request)
    assert short["stopped_by"] == "time limit of 0.3 s"
    longer = 2 * short["seconds"] + 4 * _longest_step(request)
    assert run(making(steps=10_000, time_limit_s=longer))[-1].to_json()["steps"] > short["steps"]


def test_the_guanaco_recipe_trains_on_real_trees(making: Making, base: Path, tmp_path: Path) -> None:
    settings = read_settings(recipe="guanaco", words=["steps=2", "accumulate=2", "max_length=100", "eval_limit=2"])
    request = TrainRequest(base, str(TREES), tmp_path / "guanaco", settings, device="cpu", questions=0)
    before, after = _learned(run(request))
    assert after < before
    config = json.loads((request.out / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (64, 16, 0.1)


def test_the_guanaco_recipe_adapts_every_layer_and_learns_from_every_word(base: Path, tmp_path: Path) -> None:
    settings = read_settings(recipe="guanaco", words=["max_length=100"])
    request = TrainRequest(base, str(TREES), tmp_path, settings, device="cpu", questions=0)
    assert all(len(example) - example.trained_tokens <= 1 for example in _examples(request))
    assert len(lora_layers(build_model(request, torch.device("cpu")).net)) == 2 * 7


def test_rows_beyond_the_window_are_cut(making: Making, long_rows: Path) -> None:
    request = making(data=long_rows)
    assert all(len(example) == request.settings.max_length for example in _examples(request))


def test_rows_beyond_the_window_are_refused_where_that_is_asked_for(making: Making, long_rows: Path) -> None:
    with pytest.raises(DataError, match=r"long\.jsonl:1"):
        _examples(making(data=long_rows, truncation="stop"))


@pytest.fixture
def long_rows(tmp_path: Path) -> Path:
    """Rows of some hundred tokens."""
    path = tmp_path / "long.jsonl"
    row = json.dumps({"prompt": "on", "completion": "tab and trim " * 60})
    path.write_text(f"{row}\n" * 8, encoding="utf-8")
    return path
