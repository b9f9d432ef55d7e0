"""The command line as programs and people meet it: events, results, exit codes, one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from one_line import one_line
from train_runs import write_rows
from trimtab.cli.main import run

KEYS = {
    "train": {"adapter", "steps", "loss", "eval_loss_before", "eval_loss_after", "tokens_per_s", "peak_bytes"},
    "plan": {"peak_bytes", "parts", "fits"},
    "generate": {"text", "tokens", "prompt_tokens", "tokens_per_s"},
    "quantize": {"bytes_before", "bytes_after", "tensors"},
}
pytestmark = pytest.mark.usefixtures("own_store")
QUICK = ["--set", "steps=2", "--set", "batch_size=2", "--set", "accumulate=1", "--set", "max_length=48"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama_folder(tmp_path_factory.mktemp("base"), hidden_size=32, intermediate_size=64)


LINES = {
    "train": ["train", "BASE", "--data", "ROWS", "--out", "RUN", *QUICK],
    "plan": ["plan", "BASE", *QUICK],
    "generate": ["generate", "BASE", "--prompt", "on the", "--max-tokens", "3"],
    "quantize": ["quantize", "BASE", "--out", "SMALL"],
    "doctor": ["doctor"],
    "models list": ["models", "list"],
    "models show": ["models", "show", "BASE"],
}
"""A command line of each kind that works; capital words are places."""


@pytest.fixture
def places(base: Path, tmp_path: Path) -> dict[str, str]:
    """What capital words stand for."""
    rows = write_rows(tmp_path / "rows.jsonl")
    own = {name: str(tmp_path / name.lower()) for name in ("RUN", "SMALL", "OUT")}
    return {"BASE": str(base), "ROWS": str(rows), **own}


@pytest.fixture
def words(places: dict[str, str]) -> dict[str, list[str]]:
    """The lines with their places."""
    return {name: [places.get(word, word) for word in line] for name, line in LINES.items()}


@pytest.mark.parametrize("command", LINES)
def test_json_gives_one_object_a_line_and_the_result_last(
    words: dict[str, list[str]], capfd: pytest.CaptureFixture[str], command: str
) -> None:
    assert run([*words[command], "--json"]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [event["event"] for event in events].count("result") == 1
    assert events[-1]["event"] == "result"
    assert KEYS.get(command, set()) <= events[-1].keys()


@pytest.mark.parametrize("command", [name for name in LINES if name != "generate"])
def test_quiet_prints_nothing_on_the_way(
    words: dict[str, list[str]], capfd: pytest.CaptureFixture[str], command: str
) -> None:
    assert run([*words[command], "--quiet"]) == 0
    assert capfd.readouterr().out == ""


def test_a_person_reads_where_it_writes_and_what_it_learned(
    words: dict[str, list[str]], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(words["train"]) == 0
    said = capfd.readouterr().out
    assert f"-> {tmp_path / 'run'}" in said
    assert "held-out loss" in said
    assert "tokens/s" in said


WRONG: list[tuple[list[str], int, str]] = [
    (["train", "smolm2", "--data", "x.jsonl"], 2, "Did you mean 'smollm2'?"),
    (["train", "smollm2", "--data", "x.jsonl"], 2, "trimtab models add smollm2"),
    (["train", "smollm2"], 2, "--data"),
    (["train"], 2, "MODEL"),
    (["train", "BASE", "--data", "none.jsonl"], 2, "no such file"),
    (["train", "BASE", "--data", "ROWS", "--set", "lerning_rate=1"], 2, "unknown setting 'lerning_rate'"),
    (["train", "BASE", "--data", "ROWS", "--set", "rank=-1"], 2, "rank = -1"),
    (["train", "BASE", "--data", "ROWS", "--set", "lr=nan"], 2, "lr = nan"),
    (["train", "BASE", "--data", "ROWS", "--method", "magic"], 2, "allowed is qlora, lora, int8, full"),
    (["train", "BASE", "--data", "ROWS", "--recipe", "guanako"], 2, "Did you mean 'guanaco'"),
    (["train", "BASE", "--data", "ROWS", "--config", "none.toml"], 2, "does not exist"),
    (["train", "BASE", "--data", "ROWS", "--seed", "-1"], 2, "--seed"),
    (["train", "BASE", "--data", "ROWS", "--device", "tpu9"], 2, "--device tpu9"),
    (["train", "BASE", "--data", "ROWS", "--device", "cuda:77"], 2, "--device cuda:77"),
    (["generate", "BASE"], 2, "--prompt"),
    (["generate", "BASE", "--prompt", "", "--max-tokens", "3"], 2, "prompt is empty"),
    (["generate", "BASE", "--prompt", "on", "--max-tokens", "0"], 2, "max_tokens = 0"),
    (["generate", "BASE", "--prompt", "on", "--max-tokens", "9999"], 2, "pass the window of 128"),
    (["generate", "BASE", "--prompt", "on", "--temperature", "nan"], 2, "temperature"),
    (["generate", "BASE", "--prompt", "on", "--top-p", "0"], 2, "top_p"),
    (["quantize", "BASE", "--out", "OUT", "--type", "nf5"], 2, "nf5"),
    (["quantize", "BASE", "--out", "OUT", "--block-size", "63"], 2, "63"),
    (["quantize", "BASE", "--out", "OUT", "--block-size", "0"], 2, "0"),
    (["export", "BASE", "--format", "onnx", "--out", "OUT"], 2, "gguf"),
    (["export", "BASE", "--format", "gguf", "--dtype", "q5", "--out", "OUT"], 2, "q8_0"),
    (["merge", "BASE", "none", "--out", "OUT"], 2, "none"),
    (["models", "show", "nobody"], 2, "no model 'nobody'"),
    (["models", "path", "nobody"], 2, "nobody"),
    (["models", "remove", "../../etc"], 2, "allowed are letters"),
    (["models", "add", "smollm3"], 2, "smollm2"),
    (["models", "import", "none.gguf", "--out", "OUT"], 2, "none.gguf"),
    (["plan", "nobody"], 2, "nobody"),
    (["bench", "nobody"], 2, "no benchmark 'nobody'"),
    (["chat", "nobody"], 2, "no model 'nobody'"),
    (["trian"], 2, "Did you mean 'train'"),
    (["train", "--wat"], 2, "--wat"),
]


@pytest.mark.parametrize(("given", "code", "said"), WRONG, ids=[" ".join(given) for given, _, _ in WRONG])
def test_wrong_use_gives_one_line_and_its_exit_code(
    places: dict[str, str], capfd: pytest.CaptureFixture[str], given: list[str], code: int, said: str
) -> None:
    out = ["--out", places["OUT"]] if "ROWS" in given else []
    assert run([places.get(word, word) for word in given] + out) == code
    assert said in one_line(capfd)


def test_a_failure_nobody_foresaw_is_still_one_line(
    words: dict[str, list[str]], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any, **__: Any) -> None:
        raise KeyError("a\nb")

    monkeypatch.setattr("trimtab.text.generation.Speaker.load", explode)
    assert run(words["generate"]) == 1
    assert capfd.readouterr().err.strip() == "trimtab: KeyError: 'a\\nb'. Run again with --debug to see where."


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "show", "nobody", "--debug"]) == 2
    assert "Traceback" in capfd.readouterr().err


def test_settings_of_an_option_win_over_those_of_a_word(
    words: dict[str, list[str]], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run([*words["train"], "--set", "seed=3", "--seed", "5", "--method", "lora", "--json"]) == 0
    written = (tmp_path / "run" / "config.toml").read_text()
    assert "seed = 5" in written
    assert 'method = "lora"' in written


def test_show_prints_the_first_examples_and_trains_nothing(
    words: dict[str, list[str]], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run([*words["train"], "--show"]) == 0
    said = capfd.readouterr().out
    assert said.count("of them learned") == 3
    assert "<|im_start|>assistant" in said
    assert not (tmp_path / "run").exists()


def test_training_opens_no_socket(words: dict[str, list[str]]) -> None:
    watch = (
        "import sys, socket\n"
        "def hook(event, args):\n"
        "    if event in ('socket.connect', 'socket.bind', 'socket.getaddrinfo'):\n"
        "        raise SystemExit(f'socket: {event} {args}')\n"
        "sys.addaudithook(hook)\n"
        "from trimtab.cli.main import run\n"
        f"sys.exit(run({[*words['train'], '--quiet']!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
