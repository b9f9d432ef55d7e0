"""Speaking through an adapter: the base is put into the form in which the adapter learned, and that is said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny
from trimtab.cli.adapted import name_adapters, trained_quantization
from trimtab.cli.main import run
from trimtab.core.errors import UsageError
from trimtab.models.load import Quantization, load_network
from trimtab.models.quantize_folder import quantize_folder
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.store.adapter import save_adapter

SAID = "quantized in memory (nf4 + double, blocks of 64)"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense base, the same in NF4, and an adapter for each."""
    root = tmp_path_factory.mktemp("folders")
    base = tiny.llama_folder(root / "base")
    list(quantize_folder(base, root / "four"))
    for name, quantization in {"on-four": Quantization(), "on-dense": None}.items():
        torch.manual_seed(0)
        net = add_lora(load_network(base, quantization=quantization), LoraSettings(rank=4, alpha=8))
        tiny.tune(net)
        save_adapter(net, root / name)
    return root


def asked(root: Path, model: str, adapter: str, *more: str) -> list[str]:
    prompt = ["--prompt", "on the tab", "--max-tokens", "24"]
    return ["generate", str(root / model), "--adapter", str(root / adapter), *prompt, *more]


@pytest.mark.parametrize(
    ("model", "adapter", "more", "told"),
    [
        ("base", "on-four", [], True),
        ("base", "on-four", ["--json"], True),
        ("base", "on-four", ["--quiet"], False),
        ("base", "on-four", ["--as-stored"], False),
        ("base", "on-dense", [], False),
        ("four", "on-four", [], False),
    ],
)
def test_one_line_tells_that_the_base_was_quantized(
    folders: Path, capfd: pytest.CaptureFixture[str], model: str, adapter: str, more: list[str], told: bool
) -> None:
    assert run(asked(folders, model, adapter, *more)) == 0
    error = capfd.readouterr().err
    assert (SAID in error) == told
    assert len(error.splitlines()) == told


def text(folders: Path, capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert run([*asked(folders, *words), "--json"]) == 0
    return str(json.loads(capfd.readouterr().out.splitlines()[-1])["text"])


def test_the_answer_is_that_of_the_quantized_folder(folders: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert text(folders, capfd, "base", "on-four") == text(folders, capfd, "four", "on-four")


def test_as_stored_answers_from_the_dense_weights(folders: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dense = text(folders, capfd, "base", "on-four", "--as-stored")
    assert dense != text(folders, capfd, "base", "on-four")


def test_chat_says_it_too_and_answers_what_is_piped_into_it(folders: Path) -> None:
    command = [sys.executable, "-m", "trimtab.cli.main", "chat", str(folders / "base")]
    command += ["--adapter", str(folders / "on-four"), "--max-tokens", "2"]
    lines = "on the tab\n/wat\n/reset\n/quit\n"
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=120)
    assert SAID in done.stderr
    assert "/wat is no command" in done.stdout
    assert len(done.stdout.splitlines()) >= 3


def test_adapters_that_learned_on_different_weights_need_a_word(folders: Path) -> None:
    adapters = [folders / "on-four", folders / "on-dense"]
    for given in (adapters, adapters[::-1]):
        with pytest.raises(UsageError, match=r"different forms .* --as-stored"):
            trained_quantization(folders / "base", given, as_stored=False)
    assert trained_quantization(folders / "base", adapters, as_stored=True) is None


@pytest.mark.parametrize(
    "command", [["generate", "--prompt", "on"], ["chat"], ["serve", "--port", "0"]], ids=lambda c: c[0]
)
def test_an_adapter_that_is_not_there_is_missed_before_the_model_is_loaded(
    folders: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    monkeypatch.setattr("trimtab.models.load.skeleton", None)
    shutil.copytree(folders / "on-four", tmp_path / "run" / "adapter")
    name, *more = command
    assert run([name, str(folders / "base"), "--adapter", str(tmp_path / "run"), *more]) == 2
    error = capfd.readouterr().err
    assert "adapter_config.json" in error
    assert f"Did you mean {tmp_path / 'run' / 'adapter'}?" in error


def test_adapters_are_called_by_the_folder_that_means_something(tmp_path: Path) -> None:
    folders = [tmp_path / "runs" / "pirate-1" / "adapter", tmp_path / "poet", tmp_path / "2nd", tmp_path / "adapter-2"]
    assert list(name_adapters(folders)) == ["pirate_1", "poet", "adapter_2nd", "adapter_2"]


def test_two_adapters_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two adapters are called poet"):
        name_adapters([tmp_path / "a" / "poet", tmp_path / "b" / "poet"])
